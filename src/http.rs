//! The one HTTP client of a process: which servers it trusts, and what is wrong with a server that
//! it does not trust. And what all token endpoints have in common: a whole answer, and the values
//! in it.

mod values;

pub use values::{is_token, positive};

use std::error::Error;
use std::ffi::OsStr;
use std::io;
use std::iter::successors;
use std::path::PathBuf;
use std::time::Duration;

use reqwest::Certificate;
pub use reqwest::Client;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{CertificateError, ClientConfig, RootCertStore};

use crate::failure::{Silence, Untrusted};

/// How long connecting to a server may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// The largest bundle that is read, in bytes: all public authorities together are a quarter of a
/// megabyte.
const MAX_BUNDLE: u64 = 4_000_000;

/// The largest body that is read, in bytes. A token answer has some hundreds, or a few thousand.
const MAX_BODY: usize = 64 * 1024;

/// Which certificate authorities are trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Roots {
    /// Mozilla's, compiled in. Reading the platform's takes most of a cold start: some 140
    /// certificates to decode.
    BuiltIn,
    /// The platform's, for machines where an operator has added an authority.
    Platform,
}

/// Why no client could be made.
#[derive(Debug, thiserror::Error)]
pub enum NoClient {
    /// `AWS_CA_BUNDLE` names a file that cannot be used.
    #[error(
        "AWS_CA_BUNDLE: {path:?} {problem}. Name a PEM file with the certificates of your authorities, or unset it."
    )]
    Bundle {
        /// The file.
        path: PathBuf,
        /// What is wrong with it. It quotes no part of the file.
        problem: String,
    },
    /// The platform has no certificates.
    #[error(
        "no certificate authority of this machine could be loaded. Install the system's (Debian's package is \
         ca-certificates), or name a PEM file with AWS_CA_BUNDLE."
    )]
    Platform(#[source] reqwest::Error),
}

/// A client that follows no redirect. Each request sets how long its answer may take. `bundle` is
/// the value of `AWS_CA_BUNDLE`: the authorities in that file are trusted too.
pub fn client(roots: Roots, bundle: Option<&OsStr>) -> Result<reqwest::Client, NoClient> {
    let builder = reqwest::Client::builder()
        .user_agent(concat!("token-keeper/", env!("CARGO_PKG_VERSION")))
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(CONNECT_TIMEOUT);
    let more = bundle.filter(|path| !path.is_empty()).map_or_else(|| Ok(Vec::new()), certificates)?;
    let builder = match roots {
        Roots::BuiltIn => {
            let mut roots: RootCertStore = webpki_roots::TLS_SERVER_ROOTS.iter().cloned().collect();
            roots.add_parsable_certificates(more);
            builder
                .tls_backend_preconfigured(ClientConfig::builder().with_root_certificates(roots).with_no_client_auth())
        }
        Roots::Platform => {
            let more = more.iter().map(|der| Certificate::from_der(der));
            builder.tls_certs_merge(more.collect::<Result<Vec<_>, _>>().map_err(NoClient::Platform)?)
        }
    };
    builder.build().map_err(NoClient::Platform)
}

/// Sends a request, and reads the whole answer: its status and its body. The body is `None` if it
/// is too long.
pub async fn whole(request: reqwest::RequestBuilder) -> Result<(u16, Option<Vec<u8>>), Silence> {
    let mut response = request.send().await.map_err(|error| unanswered(&error))?;
    let status = response.status().as_u16();
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| unanswered(&error))? {
        body.extend_from_slice(&chunk);
        if body.len() > MAX_BODY {
            return Ok((status, None));
        }
    }
    Ok((status, Some(body)))
}

/// A request without a whole answer.
fn unanswered(error: &reqwest::Error) -> Silence {
    match untrusted(error) {
        Some(untrusted) => Silence::Untrusted(untrusted),
        None if error.is_connect() && error.is_timeout() => Silence::Unconnected,
        None if error.is_connect() => Silence::Unreachable,
        None if error.is_timeout() => Silence::TimedOut,
        None => Silence::Broken,
    }
}

/// The certificates in a PEM file: at least one, and each can be an authority's.
fn certificates(path: &OsStr) -> Result<Vec<CertificateDer<'static>>, NoClient> {
    let wrong = |problem: String| NoClient::Bundle { path: path.into(), problem };
    let unread = |error: io::Error| wrong(format!("cannot be read ({error})"));
    // A pipe or a device could be read for ever.
    let about = std::fs::metadata(path).map_err(unread)?;
    if about.is_file() && about.len() > MAX_BUNDLE {
        return Err(wrong(format!("is larger than {} MB", MAX_BUNDLE / 1_000_000)));
    } else if !about.is_file() && !about.is_dir() {
        return Err(wrong("is not a file".to_owned()));
    }
    let pem = std::fs::read(path).map_err(unread)?;
    let mut found = Vec::new();
    for (index, certificate) in CertificateDer::pem_slice_iter(&pem).enumerate() {
        // The parsers' messages are left out: they may quote the file, which may hold a key.
        let damaged = || wrong(format!("is damaged: certificate {} in it cannot be read", index + 1));
        let certificate = certificate.map_err(|_| damaged())?;
        RootCertStore::empty().add(certificate.clone()).map_err(|_| damaged())?;
        found.push(certificate);
    }
    if found.is_empty() { Err(wrong("has no certificate in it".to_owned())) } else { Ok(found) }
}

/// What is wrong with the server's certificate, if that is why a request has no answer.
pub fn untrusted(error: &(dyn Error + 'static)) -> Option<Untrusted> {
    // `source` of an I/O error skips the error inside it, so that one is taken first.
    successors(Some(error), |&error| match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        Some(within) => Some(within),
        None => error.source(),
    })
    .find_map(|error| match error.downcast_ref()? {
        rustls::Error::InvalidCertificate(why) => Some(flaw(why)),
        _ => None,
    })
}

fn flaw(why: &CertificateError) -> Untrusted {
    match why {
        // A bad signature: an authority has the name of a known one, but another key.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => Untrusted::UnknownAuthority,
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => Untrusted::Expired,
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => Untrusted::NotValidYet,
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => Untrusted::OtherHost,
        _ => Untrusted::Unusable,
    }
}
