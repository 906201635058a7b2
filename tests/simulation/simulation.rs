//! The real refresher and the real consent in a world of rules: AWS's quotas, Zoho's limits,
//! outages, stale reads. Nothing goes over a wire and time is virtual, so a year takes a minute.

mod pace;
mod platform;
mod random;
mod stories;
mod world;
mod year;
