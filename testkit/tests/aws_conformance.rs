//! Checks that the AWS stand-in behaves as AWS does. `aws_moto.rs` checks moto for the same
//! behaviours.

mod clients;
mod conformance;

use testkit::aws::Aws;
use testkit::clock::Clock;
use testkit::quota::Quotas;
use testkit::wire::Faults;

#[tokio::test]
async fn the_stand_in_behaves_as_aws_does() {
    let aws = Aws::start(Clock::system(), Faults::new());
    // Without quotas, because moto has none.
    aws.quotas(Quotas::lifted());
    conformance::check(&aws.url(), |behaviour| behaviour.aws).await;
}
