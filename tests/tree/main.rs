//! Rules about the tree: what the documents say, what the code does and what the files hold are the same.

mod files;
mod source;
