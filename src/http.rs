//! The one HTTP client of a process.

use std::time::Duration;

use rustls::{ClientConfig, RootCertStore};

/// How long a connection may take to stand.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// Which certificate authorities are trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Roots {
    /// Mozilla's, compiled in. Reading the platform's takes most of a cold start: some 140 certificates to decode.
    BuiltIn,
    /// The platform's, for machines where an operator has added one.
    Platform,
}

/// A client that follows no redirect. Whoever asks with it sets how long an answer may take.
///
/// # Panics
/// If the platform's certificates are wanted and cannot be loaded.
pub fn client(roots: Roots) -> reqwest::Client {
    let builder = reqwest::Client::builder()
        .user_agent(concat!("token-keeper/", env!("CARGO_PKG_VERSION")))
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(CONNECT_TIMEOUT);
    let builder = match roots {
        Roots::BuiltIn => {
            let roots: RootCertStore = webpki_roots::TLS_SERVER_ROOTS.iter().cloned().collect();
            builder
                .tls_backend_preconfigured(ClientConfig::builder().with_root_certificates(roots).with_no_client_auth())
        }
        Roots::Platform => builder,
    };
    builder.build().expect("a TLS stack and certificates")
}
