//! Stand-ins for the two outside services, for tests, the demo and benchmarks. Never part of what is deployed.
//!
//! Reading order: [`clock`] (time as a value), [`wire`] (a loopback HTTP server that records every call and can be told
//! to misbehave), [`tls`] (certificates for that server, good and bad), [`zoho`] (the accounts servers), [`quota`] (how much
//! AWS lets pass), [`aws`] (Secrets Manager, Parameter Store and SQS), [`seed`] (many connections at once),
//! [`world`] (a whole installation before them), [`browser`] (somebody who consents), [`log`] (what was logged).
//!
//! The stand-ins are stateful: tests arrange a state, run the real program against them and look at the state afterwards.

pub mod clock;
pub mod wire;
pub mod tls;
pub mod zoho;
pub mod quota;
pub mod aws;
pub mod seed;
pub mod world;
pub mod browser;
pub mod log;
