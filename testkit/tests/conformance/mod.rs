//! Behaviours of Secrets Manager, Parameter Store and SQS, seen through the SDK's clients. Each has
//! a probe that does something and returns the result in a few words, the answer of AWS, and the
//! answer of moto if it differs.

mod claims;
mod parameters;
mod queues;
mod secrets;

use std::fmt::Display;
use std::pin::Pin;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::clients::{clients, outcome_of};

type Probe = Box<dyn Fn(World) -> Pin<Box<dyn Future<Output = String>>>>;

/// One behaviour and its expected result.
pub(crate) struct Behaviour {
    title: &'static str,
    probe: Probe,
    /// What AWS does, according to its documentation and to reports of users. The stand-in must do
    /// the same.
    pub(crate) aws: &'static str,
    /// What moto does instead, if moto is wrong.
    pub(crate) moto: Option<&'static str>,
}

impl Behaviour {
    fn new<F: Future<Output = String> + 'static>(
        title: &'static str,
        probe: fn(World) -> F,
        aws: &'static str,
    ) -> Self {
        Self { title, probe: Box::new(move |world| Box::pin(probe(world))), aws, moto: None }
    }

    fn but_moto(self, instead: &'static str) -> Self {
        Self { moto: Some(instead), ..self }
    }
}

/// What a probe works with.
#[derive(Clone)]
struct World {
    secrets: aws_sdk_secretsmanager::Client,
    ssm: aws_sdk_ssm::Client,
    sqs: aws_sdk_sqs::Client,
    /// A prefix for every name that the probe uses. Nobody else uses it.
    prefix: String,
}

impl World {
    fn secret(&self, name: &str) -> String {
        format!("{}/{name}", self.prefix)
    }

    fn parameter(&self, name: &str) -> String {
        format!("/{}/{name}", self.prefix)
    }
}

/// Runs every behaviour against the services at `url`. Reports all that differ.
pub(crate) async fn check(url: &str, expected: impl Fn(&Behaviour) -> &'static str) {
    let (secrets, ssm, sqs) = clients(url).await;
    let run = SystemTime::now().duration_since(UNIX_EPOCH).expect("a time after 1970").as_nanos();
    let mut differences = Vec::new();
    let behaviours = secrets::behaviours().into_iter().chain(parameters::behaviours()).chain(claims::behaviours());
    let behaviours = behaviours.chain(queues::behaviours());
    for (number, behaviour) in behaviours.enumerate() {
        assert_ne!(Some(behaviour.aws), behaviour.moto, "{}: a note of no difference", behaviour.title);
        let (secrets, ssm, sqs) = (secrets.clone(), ssm.clone(), sqs.clone());
        let world = World { secrets, ssm, sqs, prefix: format!("tk{run}-{number}") };
        let seen = (behaviour.probe)(world).await;
        if seen != expected(&behaviour) {
            differences.push(format!("{}\n  expected: {}\n  seen:     {seen}", behaviour.title, expected(&behaviour)));
        }
    }
    assert!(differences.is_empty(), "{} behaviours differ:\n{}", differences.len(), differences.join("\n"));
}

fn joined<T: Display>(parts: impl IntoIterator<Item = T>) -> String {
    parts.into_iter().map(|part| part.to_string()).collect::<Vec<_>>().join(" ")
}
