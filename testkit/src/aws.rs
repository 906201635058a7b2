//! Secrets Manager, Parameter Store and SQS in memory, behind one URL, with AWS's wire protocols
//! (AWS JSON 1.1; 1.0 for SQS).
//!
//! It keeps rules that production has and emulators leave out: sizes, tiers, policies, request
//! tokens, page limits, key refusals, and AWS's quotas unless a test lifts them. It does not check
//! signatures or evaluate IAM. A write is readable at once, unless a test holds it back. Expiration
//! policies and deletion windows never act (AWS acts on both late). It refuses a request field that
//! it does not know.

mod answer;
mod held;
mod listing;
mod parameters;
mod put_parameter;
mod queues;
mod scramble;
mod secret;
mod secret_filters;
mod secret_reads;
mod secrets;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use hyper::{Request, Response};
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use serde_json::json;

use crate::clock::Clock;
use crate::quota::{Gate, Quotas};
use crate::wire::{Call, Faults, Server, StandIn};
use answer::{Answer, Refusal, refuse};
use parameters::Parameters;
use queues::Queues;
use secret::Content;
use secrets::Secrets;

pub use answer::{error, server_error};
pub use parameters::Parameter;

/// A running stand-in for the services. It stops when this value is dropped.
pub struct Aws {
    services: Arc<Services>,
    server: Server,
}

impl Aws {
    /// Serves empty services on a free loopback port.
    pub fn start(clock: Clock, faults: Faults) -> Self {
        Self::start_on(0, clock, faults)
    }

    /// Serves empty services on this loopback port.
    ///
    /// # Panics
    /// If the port is taken.
    pub fn start_on(port: u16, clock: Clock, faults: Faults) -> Self {
        let state = State {
            secrets: Secrets::new(clock.clone()),
            parameters: Parameters::new(clock.clone()),
            queues: Queues::new(clock),
            gate: Gate::new(&Quotas::default(), Timestamp::UNIX_EPOCH),
            started: Instant::now(),
            signers: BTreeSet::new(),
        };
        let services = Arc::new(Services(Mutex::new(state)));
        let server = Server::start_on(port, services.clone(), faults);
        Self { services, server }
    }

    /// The value for `AWS_ENDPOINT_URL`.
    pub fn url(&self) -> String {
        self.server.url()
    }

    /// The access key ids that calls were signed with so far.
    pub fn signers(&self) -> BTreeSet<String> {
        self.state().signers.clone()
    }

    /// Creates a secret or gives it a new current version, and undoes its deletion. Returns the id
    /// of that version.
    pub fn put_secret(&self, name: &str, text: &str) -> String {
        self.state().secrets.put(name, Content::Text(text.to_owned()))
    }

    /// Like [`put_secret`](Aws::put_secret), for a binary value.
    pub fn put_binary_secret(&self, name: &str, bytes: &[u8]) -> String {
        self.state().secrets.put(name, Content::Binary(BASE64_STANDARD.encode(bytes)))
    }

    /// The current text. `None` if the secret does not exist, is scheduled for deletion, or is
    /// binary.
    pub fn secret(&self, name: &str) -> Option<String> {
        match &self.state().secrets.current(name)?.content {
            Content::Text(text) => Some(text.clone()),
            Content::Binary(_) => None,
        }
    }

    /// The current version's id. `None` if the secret does not exist or is scheduled for deletion.
    pub fn secret_version(&self, name: &str) -> Option<String> {
        Some(self.state().secrets.current(name)?.id.clone())
    }

    /// The key that a secret was created with. `None` for the account's own.
    pub fn secret_key(&self, name: &str) -> Option<String> {
        self.state().secrets.by_name.get(name)?.kms_key_id.clone()
    }

    /// The names of the secrets that are not scheduled for deletion, in order.
    pub fn secret_names(&self) -> Vec<String> {
        self.state().secrets.names()
    }

    /// Makes this version the current one, as a person can in the console.
    ///
    /// # Panics
    /// If the secret or the version does not exist.
    pub fn make_current(&self, name: &str, version: &str) {
        self.state().secrets.make_current(name, version);
    }

    /// Schedules a secret for deletion.
    ///
    /// # Panics
    /// If the secret does not exist.
    pub fn delete_secret(&self, name: &str) {
        self.state().secrets.schedule_deletion(name);
    }

    /// From now on, reading this secret's value is denied (`AccessDeniedException`). The secret
    /// need not exist yet.
    pub fn deny_secret(&self, name: &str) {
        self.state().secrets.denied.insert(name.to_owned());
    }

    /// From now on, KMS refuses to decrypt this secret (`DecryptionFailure`).
    pub fn refuse_secret_key(&self, name: &str) {
        self.state().secrets.undecryptable.insert(name.to_owned());
    }

    /// Writes a standard `SecureString`, and overwrites an existing one.
    pub fn put_parameter(&self, name: &str, value: &str) {
        self.state().parameters.arrange(name, value);
    }

    /// Writes a standard `String`, and overwrites an existing one.
    ///
    /// # Panics
    /// If Parameter Store would refuse it.
    pub fn put_string_parameter(&self, name: &str, value: &str) {
        let put = json!({"Name": name, "Value": value, "Type": "String", "Overwrite": true}).to_string();
        let answer = self.state().parameters.answer("PutParameter", put.as_bytes());
        assert!(answer.is_ok(), "{name} can be written");
    }

    /// The newest version of a parameter, in clear.
    pub fn parameter(&self, name: &str) -> Option<Parameter> {
        self.state().parameters.newest(name).cloned()
    }

    /// The kept versions of a parameter, in clear, oldest first: one for each put. AWS emits an
    /// event for each put.
    pub fn parameter_versions(&self, name: &str) -> Vec<Parameter> {
        self.state().parameters.kept(name)
    }

    /// The parameters' names, in order.
    pub fn parameter_names(&self) -> Vec<String> {
        self.state().parameters.names()
    }

    /// Removes a parameter with all its versions, if it exists.
    pub fn remove_parameter(&self, name: &str) {
        self.state().parameters.remove(name);
    }

    /// From now on, KMS refuses to decrypt this parameter. A decrypted read that includes it fails
    /// as a whole.
    pub fn refuse_parameter_key(&self, name: &str) {
        self.state().parameters.undecryptable.insert(name.to_owned());
    }

    /// From now on, writing this parameter is denied (`AccessDeniedException`).
    pub fn deny_put(&self, name: &str) {
        self.state().parameters.put_denied.insert(name.to_owned());
    }

    /// From now on, reads show this secret as it is now, or as absent. Writes continue, but reads
    /// do not see them. AWS is eventually consistent.
    pub fn hold_back_secret(&self, name: &str) {
        let Secrets { held, by_name, .. } = &mut self.state().secrets;
        held.hold(name, by_name);
    }

    /// Like [`hold_back_secret`](Aws::hold_back_secret), for a parameter. The answer to a put
    /// always has the true version.
    pub fn hold_back_parameter(&self, name: &str) {
        let Parameters { held, versions, .. } = &mut self.state().parameters;
        held.hold(name, versions);
    }

    /// From now on, reads show this secret or parameter as it really is.
    pub fn release(&self, name: &str) {
        let mut state = self.state();
        state.secrets.held.release(name);
        state.parameters.held.release(name);
    }

    /// Makes a queue if it does not exist. Returns its URL.
    pub fn create_queue(&self, name: &str) -> String {
        self.state().queues.create(name)
    }

    /// Takes all messages out of the queue with this URL, in the order in which they were sent.
    pub fn take_messages(&self, url: &str) -> Vec<String> {
        self.state().queues.take(url)
    }

    /// From now on, a message that contains this text fails (`InternalError`). The other messages
    /// of its batch are accepted.
    pub fn refuse_message(&self, text: &str) {
        self.state().queues.refused.insert(text.to_owned());
    }

    /// Ends every refusal for this secret or parameter, or for messages with this text.
    pub fn allow(&self, name: &str) {
        let mut state = self.state();
        state.secrets.denied.remove(name);
        state.secrets.undecryptable.remove(name);
        state.parameters.undecryptable.remove(name);
        state.parameters.put_denied.remove(name);
        state.queues.refused.remove(name);
    }

    /// From now on, these quotas throttle calls instead of AWS's default ones. Every bucket is full
    /// again. Quotas use real time even if the clock is set by hand: that clock is for the life of
    /// tokens, not for the rate of calls.
    pub fn quotas(&self, quotas: Quotas) {
        let mut state = self.state();
        state.gate = Gate::new(&quotas, state.time_for_quotas());
    }

    /// A standard parameter can be created only while fewer than this exist; 10,000 by default.
    /// Existing ones can be overwritten.
    pub fn parameter_limit(&self, limit: usize) {
        self.state().parameters.limit = limit;
    }

    /// Whether an empty page with a token comes before each page of filtered `BatchGetSecretValue`,
    /// `ListSecrets` and `GetParametersByPath`.
    pub fn empty_pages(&self, on: bool) {
        let mut state = self.state();
        state.secrets.empty_pages = on;
        state.parameters.empty_pages = on;
    }

    /// A put of a parameter sooner than this after its previous put gets `TooManyUpdates`. The
    /// default is zero: never.
    pub fn update_window(&self, window: SignedDuration) {
        self.state().parameters.update_window = window;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.services.state()
    }
}

struct State {
    secrets: Secrets,
    parameters: Parameters,
    queues: Queues,
    gate: Gate,
    started: Instant,
    signers: BTreeSet<String>,
}

impl State {
    fn answer(&mut self, service: &str, operation: &str, body: &[u8]) -> Answer {
        let now = self.time_for_quotas();
        let passed = match (service, operation) {
            ("ssm", "PutParameter" | "DeleteParameter" | "DeleteParameters") => self.gate.put(now),
            ("ssm", _) => self.gate.read(now),
            ("secretsmanager", "BatchGetSecretValue") => self.gate.batch(now),
            ("secretsmanager", "ListSecrets") => self.gate.list(now),
            ("secretsmanager", "GetSecretValue" | "DescribeSecret") => self.gate.value(now),
            ("secretsmanager", _) => self.gate.write(now),
            _ => Ok(()),
        };
        if passed.is_err() {
            return refuse("ThrottlingException", "Rate exceeded");
        }
        match service {
            "secretsmanager" => self.secrets.answer(operation, body),
            "ssm" => self.parameters.answer(operation, body),
            "sqs" => self.queues.answer(operation, body),
            _ => Err(Refusal::unknown_operation(operation)),
        }
    }

    fn time_for_quotas(&self) -> Timestamp {
        Timestamp::UNIX_EPOCH + self.started.elapsed()
    }
}

struct Services(Mutex<State>);

impl Services {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("no call panics while it holds the state")
    }
}

impl StandIn for Services {
    fn identify(&self, request: &Request<Bytes>) -> Call {
        let (service, operation) = target(request);
        let subject = serde_json::from_slice::<Subject>(request.body()).unwrap_or_default();
        Call { service, operation: operation.to_owned(), subject: subject.name() }
    }

    fn handle(&self, request: &Request<Bytes>) -> Response<Bytes> {
        let (service, operation) = target(request);
        let mut state = self.state();
        state.signers.extend(signer(request));
        let answer = state.answer(service, operation, request.body());
        if service == "sqs" { answer::sqs_response(answer) } else { answer::response(answer) }
    }
}

/// The service and operation in the request's `X-Amz-Target` header.
fn target(request: &Request<Bytes>) -> (&'static str, &str) {
    let target = request.headers().get("x-amz-target").and_then(|target| target.to_str().ok()).unwrap_or_default();
    match target.split_once('.') {
        Some(("secretsmanager", operation)) => ("secretsmanager", operation),
        Some(("AmazonSSM", operation)) => ("ssm", operation),
        Some(("AmazonSQS", operation)) => ("sqs", operation),
        _ => ("unknown", target),
    }
}

/// The access key id in the signature.
fn signer(request: &Request<Bytes>) -> Option<String> {
    let signature = request.headers().get("authorization")?.to_str().ok()?;
    Some(signature.split_once("Credential=")?.1.split_once('/')?.0.to_owned())
}

/// The fields that name the subject of a request, for all services.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Subject {
    name: Option<String>,
    secret_id: Option<String>,
    queue_url: Option<String>,
    path: Option<String>,
    #[serde(alias = "SecretIdList")]
    names: Vec<String>,
    #[serde(alias = "ParameterFilters")]
    filters: Vec<SubjectFilter>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct SubjectFilter {
    #[serde(default)]
    values: Vec<String>,
}

impl Subject {
    fn name(self) -> String {
        if let Some(name) = self.name.or(self.path) {
            return name;
        }
        if let Some(url) = self.queue_url {
            return queues::name_in(&url).to_owned();
        }
        let ids = self.secret_id.into_iter().chain(self.names);
        let ids: Vec<_> = ids.map(|id| secrets::name_in(&id).to_owned()).collect();
        if ids.is_empty() {
            return self.filters.into_iter().flat_map(|filter| filter.values).next().unwrap_or_default();
        }
        ids.join(",")
    }
}
