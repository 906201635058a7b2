//! Rules about the tree: what the documents say, what the code does and what the files contain must
//! agree.

mod files;
mod source;
