//! The real refresher and the real consent in a simulated world: AWS's quotas, Zoho's limits,
//! outages, stale reads. It uses no wire and virtual time, so a year takes a minute.

mod pace;
mod platform;
mod random;
mod recovery;
mod rotation;
mod stories;
mod world;
mod year;
