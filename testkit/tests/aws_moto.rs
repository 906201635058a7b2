//! Checks the behaviours that the AWS stand-in must have against moto, which differs only as noted.
//! Needs a running `moto_server` with its URL in `MOTO_URL`. Other users of that server are not
//! disturbed.

mod clients;
mod conformance;

#[tokio::test]
async fn moto_behaves_as_aws_does_or_as_noted() {
    let url = std::env::var("MOTO_URL").expect("MOTO_URL has to be the URL of a running moto_server");
    conformance::check(&url, |behaviour| behaviour.moto.unwrap_or(behaviour.aws)).await;
}
