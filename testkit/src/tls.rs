//! Certificates for servers over TLS: an authority that is made anew each time, and what it vouches
//! for, good and bad.

use std::str::FromStr;
use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose, date_time_ymd,
};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

/// What a certificate is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// For `localhost`, and valid now.
    Good,
    /// Its time is over.
    Expired,
    /// Its time has not begun.
    NotValidYet,
    /// For a host that nobody asks for.
    OtherHost,
    /// An authority's, for `localhost` all the same.
    Authority,
}

/// Its names, as the stand-ins' program takes them.
impl FromStr for Kind {
    type Err = ();

    fn from_str(name: &str) -> Result<Self, ()> {
        match name {
            "good" => Ok(Self::Good),
            "expired" => Ok(Self::Expired),
            "not-valid-yet" => Ok(Self::NotValidYet),
            "other-host" => Ok(Self::OtherHost),
            "authority" => Ok(Self::Authority),
            _ => Err(()),
        }
    }
}

/// Vouches for certificates. Each has a key of its own, and all have the same name.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    /// One that nobody trusts yet.
    ///
    /// # Panics
    /// If there is no randomness for a key.
    pub fn new() -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "an authority of a test's");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let key = KeyPair::generate().expect("a key");
        Self(CertifiedIssuer::self_signed(params, key).expect("an authority's certificate"))
    }

    /// Its certificate, as `AWS_CA_BUNDLE` has to name it.
    pub fn pem(&self) -> String {
        let lines =
            ["-----BEGIN CERTIFICATE-----", &BASE64_STANDARD.encode(self.0.der()), "-----END CERTIFICATE-----", ""];
        lines.join("\n")
    }

    /// A certificate for a server, with its key.
    ///
    /// # Panics
    /// If there is no randomness for a key.
    pub fn certify(&self, kind: Kind) -> Certificate {
        let host = if kind == Kind::OtherHost { "elsewhere.example" } else { "localhost" };
        let mut params = CertificateParams::new([host.to_owned()]).expect("a host's name");
        params.use_authority_key_identifier_extension = true;
        match kind {
            Kind::Expired => params.not_after = date_time_ymd(2000, 1, 1),
            Kind::NotValidYet => params.not_before = date_time_ymd(4000, 1, 1),
            Kind::Authority => params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained),
            Kind::Good | Kind::OtherHost => {}
        }
        let key = KeyPair::generate().expect("a key");
        let signed = params.signed_by(&key, &self.0).expect("a certificate");
        let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a key in PKCS #8");
        let config = ServerConfig::builder().with_no_client_auth().with_single_cert(vec![signed.into()], key);
        Certificate(Arc::new(config.expect("a certificate with its own key")))
    }
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}

/// A server's certificate with its key.
#[derive(Clone)]
pub struct Certificate(Arc<ServerConfig>);

impl Certificate {
    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.0.clone())
    }
}
