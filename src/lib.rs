//! Token Keeper keeps Zoho OAuth access tokens fresh in AWS SSM Parameter Store.
//!
//! Modules in reading order:
//!
//! - [`secret`]: secrets as types;
//! - [`connection`]: names, data centres, grants and clients as parsed from their secrets;
//! - [`lease`]: the document that consumers read;
//! - [`notice`]: what an operator is told when it changes;
//! - [`decision`]: what to do about a connection, from grant, lease and time alone;
//! - [`pace`]: how fast Parameter Store is called;
//! - [`ports`]: the outside services as narrow traits;
//! - [`refresh`] with [`renew`], [`brake`] and [`report`]: use case 1, a run;
//! - [`dispatch`]: a run of more connections than one function's worth, in parts;
//! - [`consent`]: use case 2, from a link to a stored grant;
//! - [`zoho`] and [`aws`] over [`http`]: the services themselves;
//! - [`config`], [`telemetry`], [`lambda`]: the environment, what is told, events in and answers out;
//! - [`cli`]: the operator's commands.

pub mod aws;
pub mod brake;
pub mod cli;
pub mod config;
pub mod connection;
pub mod consent;
pub mod decision;
pub mod dispatch;
pub mod http;
pub mod lambda;
pub mod lease;
pub mod notice;
pub mod pace;
pub mod ports;
pub mod refresh;
pub mod renew;
pub mod report;
pub mod secret;
pub mod telemetry;
pub mod zoho;
