//! The refresher against both stand-ins, over the wire. Each test arranges a world, sends events through the function's handler and
//! looks at what consumers can read afterwards.

mod bad_input;
mod cut_off;
mod events;
mod secrets;
mod life;
mod notices;
mod queue;
mod store;
mod time;
mod tls;
mod world;
mod zoho_answers;
