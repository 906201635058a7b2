//! The AWS stand-in behaves as AWS does. The same behaviours are asked of moto in `aws_moto.rs`.

mod clients;
mod conformance;

use testkit::aws::Aws;
use testkit::clock::Clock;
use testkit::quota::Quotas;
use testkit::wire::Faults;

#[tokio::test]
async fn the_stand_in_behaves_as_aws_does() {
    let aws = Aws::start(Clock::system(), Faults::new());
    // The behaviours are those without haste, as moto shows them: it has no quotas.
    aws.quotas(Quotas::lifted());
    conformance::check(&aws.url(), |behaviour| behaviour.aws).await;
}
