//! Stand-ins for the outside services, for tests, the demo and benchmarks. Never deployed.
//!
//! Reading order: [`clock`] (time as a value), [`tls`] (good and bad certificates), [`wire`] (a
//! loopback HTTP server that records every call and can misbehave), [`zoho`] (the accounts
//! servers), [`oauth`] (any other provider), [`quota`] (AWS's request quotas), [`aws`] (Secrets
//! Manager, Parameter Store and SQS), [`outside`] (all stand-ins together, and what the operator
//! has stored), [`seed`] (many connections at once), [`world`] (the programs in front of all this),
//! [`browser`] (a user who consents), [`log`] (what was logged).
//!
//! The stand-ins keep state: a test arranges a state, runs the real program, and looks at the state
//! afterwards.

pub mod clock;
pub mod tls;
pub mod wire;
mod digest;
pub mod zoho;
pub mod oauth;
pub mod quota;
pub mod aws;
pub mod outside;
pub mod seed;
pub mod world;
pub mod browser;
pub mod log;
