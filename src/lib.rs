//! Token Keeper keeps access tokens of an OAuth provider, Zoho first, fresh in AWS SSM Parameter
//! Store.
//!
//! Modules in reading order. Each uses only those above it.
//!
//! - [`source`]: where time and randomness come from;
//! - [`secret`]: secrets as types;
//! - [`address`]: base URLs, each in one spelling;
//! - [`name`]: names of connections and clients, and of everything that is stored for them;
//! - [`flaw`]: what can be wrong with a secret or a parameter;
//! - [`provider`]: OAuth providers other than Zoho, as data;
//! - [`connection`]: data centres, grants and clients as parsed from their secrets;
//! - [`settings`]: what the operator chose;
//! - [`lease`]: the document that consumers read;
//! - [`claim`]: who may send a refresh token that is good for one use;
//! - [`failure`]: how Zoho and AWS refuse or fail;
//! - [`notice`]: the sentence that an operator gets when a lease changes;
//! - [`pace`]: how fast Parameter Store is called;
//! - [`ports`]: the outside services as narrow traits;
//! - [`run`]: use case 1, from due leases to a report;
//! - [`consent`]: use case 2, from a link to a stored grant;
//! - [`http`], [`zoho`], [`oauth`] and [`aws`]: the services themselves;
//! - [`issuer`]: Zoho's servers and the others as one;
//! - [`config`], [`telemetry`], [`lambda`]: the environment; logs and metrics; events and answers.
//!
//! The functions are wired in `src/bin/`, the operator's command in the package `cli`.

pub mod source;
pub mod secret;
pub mod address;
pub mod name;
pub mod flaw;
pub mod provider;
pub mod connection;
pub mod settings;
pub mod lease;
pub mod claim;
pub mod failure;
pub mod notice;
pub mod pace;
pub mod ports;
pub mod run;
pub mod consent;
pub mod http;
pub mod zoho;
pub mod oauth;
pub mod aws;
pub mod issuer;
pub mod config;
pub mod telemetry;
pub mod lambda;
