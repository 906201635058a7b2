//! A second opinion on the behaviours that the AWS stand-in is held to: moto shows them too, or
//! differs as noted. Needs a running `moto_server`, whose URL `MOTO_URL` gives; other users of that
//! server are not disturbed.

mod clients;
mod conformance;

#[tokio::test]
async fn moto_behaves_as_aws_does_or_as_noted() {
    let url = std::env::var("MOTO_URL").expect("MOTO_URL has to be the URL of a running moto_server");
    conformance::check(&url, |behaviour| behaviour.moto.unwrap_or(behaviour.aws)).await;
}
