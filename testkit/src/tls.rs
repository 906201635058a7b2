//! Certificates for servers over TLS, good and bad, from an authority that each test makes anew.

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

/// The kinds of certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// For `localhost`, and valid now.
    Good,
    /// Expired.
    Expired,
    /// Not valid yet.
    NotValidYet,
    /// For another host.
    OtherHost,
    /// An authority's certificate, although it names `localhost`.
    Authority,
}

/// The names of the kinds, as arguments of the stand-ins' program.
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

/// A certificate authority. Each has its own key, and all have the same name.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    /// A new authority, which nobody trusts yet.
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

    /// The authority's certificate, for the file that `AWS_CA_BUNDLE` names.
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

/// A server's certificate and its key.
#[derive(Clone)]
pub struct Certificate(Arc<ServerConfig>);

impl Certificate {
    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.0.clone())
    }
}
