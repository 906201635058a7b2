//! Zoho and AWS over TLS: which authorities the client trusts, and its error for a certificate that
//! it refuses.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::sync::Arc;

use testkit::tls::{Authority, Kind};
use testkit::wire::{Bytes, Call, Faults, Request, Response, Server, StandIn};
use token_keeper::config::Config;
use token_keeper::connection::{DataCenters, Grant};
use token_keeper::failure::{Refusal, StoreError};
use token_keeper::http::{self, Roots};
use token_keeper::issuer::Providers;
use token_keeper::ports::{Grants as _, Issuer as _, Minted};
use token_keeper::source::Source;

use testkit::world::{START, ZOHO_TIMEOUT, grant_of};

/// Answers as Zoho on one path, and as an empty Secrets Manager on the other.
struct Both;

impl StandIn for Both {
    fn identify(&self, _: &Request<Bytes>) -> Call {
        Call { service: "both", operation: "any".to_owned(), subject: String::new() }
    }

    fn handle(&self, request: &Request<Bytes>) -> Response<Bytes> {
        let zoho = request.uri().path() == "/oauth/v2/token";
        let body = if zoho { r#"{"access_token":"1000.a"}"# } else { r#"{"SecretValues":[]}"# };
        Response::new(Bytes::from_static(body.as_bytes()))
    }
}

struct Wire {
    faults: Faults,
    server: Server,
    http: reqwest::Client,
}

impl Wire {
    /// A server with this kind of certificate, and a client that trusts the authorities in
    /// `bundle`.
    fn new(authority: &Authority, kind: Kind, bundle: Option<&OsStr>) -> Self {
        let faults = Faults::new();
        let server = Server::start(Arc::new(Both), faults.over_tls(&authority.certify(kind)));
        Self { faults, server, http: http::client(Roots::BuiltIn, bundle).expect("a client") }
    }

    async fn ask_zoho(&self) -> Result<Minted, Refusal> {
        let start = START.parse().expect("a time");
        Providers::new(self.http.clone(), ZOHO_TIMEOUT, Source::new(move || start, || [0; 32]))
            .mint(&self.grant())
            .await
    }

    fn grant(&self) -> Grant {
        let mut table = DataCenters::default();
        table.extend(&format!("eu={}", self.server.url())).expect("an entry");
        let text = r#"{"client_id":"1000.id","client_secret":"s","refresh_token":"1000.r","data_center":"eu"}"#;
        grant_of(text, &table)
    }

    /// Lists the secrets, which is one request.
    async fn ask_aws(&self) -> Result<usize, StoreError> {
        let loader = aws_config::defaults(aws_config::BehaviorVersion::latest())
            .empty_test_environment()
            .test_credentials()
            .region("eu-central-1")
            .endpoint_url(self.server.url());
        let Config { settings, publishing, .. } = Config::read([]).expect("defaults");
        let source = Source::system();
        let (secrets, _) = token_keeper::aws::connect(loader, &self.http, &settings, publishing, &source).await;
        Ok(secrets.list().await?.len())
    }
}

/// A file for `AWS_CA_BUNDLE` with this content.
fn file(name: &str, text: &str) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.pem"));
    std::fs::write(&path, text).expect("a file");
    path
}

#[tokio::test]
async fn an_authority_in_the_bundle_is_trusted_beside_the_built_in_ones() {
    let (ours, another) = (Authority::new(), Authority::new());
    let bundle = file("both", &format!("Ours\n{}\nAnother's\n{}", ours.pem(), another.pem()));
    for authority in [&ours, &another] {
        let wire = Wire::new(authority, Kind::Good, Some(bundle.as_os_str()));
        assert_eq!(wire.ask_zoho().await.expect("a token").token.access_token.expose(), "1000.a");
        assert_eq!(wire.ask_aws().await, Ok(0));
    }
    let all = [Roots::BuiltIn, Roots::Platform].map(|roots| http::client(roots, Some(bundle.as_os_str())).is_ok());
    assert_eq!(all, [true, true]);
}

#[tokio::test]
async fn a_wrong_certificate_is_reported_once_and_nothing_is_sent_or_tried_again() {
    let (ours, another) = (Authority::new(), Authority::new());
    let bundle = file("ours", &ours.pem());
    let check = async |authority: &Authority, kind: Kind, bundle: Option<&OsStr>, words: &str, remedy: &str| {
        let wire = Wire::new(authority, kind, bundle);
        let refusal = wire.ask_zoho().await.expect_err("a refusal");
        assert_eq!(refusal.to_string(), format!("the server's certificate {words}"));
        assert!(!refusal.passes_at_once());
        assert_eq!(wire.server.connections(), 1, "Zoho: {words}");
        let error = wire.ask_aws().await.expect_err("an error");
        assert_eq!(
            error.to_string(),
            format!("secretsmanager:BatchGetSecretValue failed: the server's certificate {words}")
        );
        assert!(error.remedy().contains(remedy), "{}", error.remedy());
        assert!(error.undone());
        assert_eq!(wire.server.connections(), 2, "AWS: {words}");
        assert_eq!(wire.faults.calls(), []);
    };
    let unknown = "is not from a known authority";
    check(&ours, Kind::Good, None, unknown, "AWS_CA_BUNDLE").await;
    check(&ours, Kind::Good, Some(OsStr::new("")), unknown, "AWS_CA_BUNDLE").await;
    // All authorities of these tests have the same name.
    check(&another, Kind::Good, Some(bundle.as_os_str()), unknown, "AWS_CA_BUNDLE").await;
    check(&ours, Kind::Expired, Some(bundle.as_os_str()), "has expired", "this machine's clock").await;
    check(&ours, Kind::NotValidYet, Some(bundle.as_os_str()), "is not valid yet", "this machine's clock").await;
    check(&ours, Kind::OtherHost, Some(bundle.as_os_str()), "is for another host", "AWS_ENDPOINT_URL").await;
    check(&ours, Kind::Authority, Some(bundle.as_os_str()), "cannot be accepted", "or the certificate of an authority")
        .await;
}

#[test]
fn an_invalid_bundle_is_refused_by_name_with_the_reason_and_is_not_quoted() {
    let pem = Authority::new().pem();
    let key = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2Vw\n-----END PRIVATE KEY-----\n";
    let in_the_middle = pem.len() / 2;
    let check = |path: PathBuf, problem: &str| {
        for roots in [Roots::BuiltIn, Roots::Platform] {
            let error = http::client(roots, Some(path.as_os_str())).expect_err("no bundle").to_string();
            let wanted = format!(
                "AWS_CA_BUNDLE: {path:?} {problem}. Name a PEM file with the certificates of your authorities, or unset it."
            );
            assert_eq!(error, wanted);
        }
    };
    check(PathBuf::from("/nowhere/ca.pem"), "cannot be read (No such file or directory (os error 2))");
    check(PathBuf::from(env!("CARGO_TARGET_TMPDIR")), "cannot be read (Is a directory (os error 21))");
    check(file("empty", ""), "has no certificate in it");
    check(file("text", "no PEM at all"), "has no certificate in it");
    check(file("key", key), "has no certificate in it");
    check(file("cut", &pem[..in_the_middle]), "is damaged: certificate 1 in it cannot be read");
    let bad_letter = format!("{pem}{}*{}", &pem[..in_the_middle], &pem[in_the_middle + 1..]);
    check(file("bad-letter", &bad_letter), "is damaged: certificate 2 in it cannot be read");
    let no_certificate = key.replace("PRIVATE KEY", "CERTIFICATE");
    check(file("no-certificate", &no_certificate), "is damaged: certificate 1 in it cannot be read");
}
