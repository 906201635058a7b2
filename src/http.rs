//! The one HTTP client of a process.

use std::time::Duration;

/// How long a connection may take to stand.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// A client that follows no redirect. Whoever asks with it sets how long an answer may take.
///
/// # Panics
/// If the platform's certificates cannot be loaded.
pub fn client() -> reqwest::Client {
    reqwest::Client::builder()
        .user_agent(concat!("token-keeper/", env!("CARGO_PKG_VERSION")))
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(CONNECT_TIMEOUT)
        .build()
        .expect("a TLS stack and certificates")
}
