//! SQS: standard queues, their messages, and the receipts of those who received them.

use std::collections::{BTreeMap, HashSet};

use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use serde_json::{Value, json};

use super::answer::{Answer, Refusal, input, refuse};
use super::scramble;
use crate::clock::Clock;

/// The start of every queue URL. SDKs send no request there: they use the endpoint.
const URL_START: &str = "https://sqs.eu-central-1.amazonaws.com/123456789012/";
/// The largest number of entries in a batch, and of messages received at once.
const BATCH: usize = 10;
/// The largest size of all bodies in a batch, in bytes.
const MAX_BYTES: usize = 1_048_576;
const MAX_ID_LEN: usize = 80;
/// How long a received message stays hidden by default, in seconds.
const VISIBILITY_TIMEOUT_S: i64 = 30;
const MAX_VISIBILITY_TIMEOUT_S: i64 = 43_200;

pub(super) struct Queues {
    by_name: BTreeMap<String, Vec<Message>>,
    /// A message that contains one of these texts fails, and the failure is not the sender's fault.
    pub(super) refused: HashSet<String>,
    clock: Clock,
    /// How many identifiers exist so far.
    made: u64,
}

struct Message {
    id: String,
    body: String,
    visible_from: Timestamp,
    /// The receipt of the last receiver, needed to delete the message.
    receipt: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Create {
    queue_name: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct SendBatch {
    queue_url: String,
    entries: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Entry {
    id: String,
    message_body: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Receive {
    queue_url: String,
    #[serde(default = "one")]
    max_number_of_messages: usize,
    #[serde(default = "default_visibility_timeout")]
    visibility_timeout: i64,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct DeleteBatch {
    queue_url: String,
    entries: Vec<DeleteEntry>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct DeleteEntry {
    id: String,
    receipt_handle: String,
}

fn one() -> usize {
    1
}

fn default_visibility_timeout() -> i64 {
    VISIBILITY_TIMEOUT_S
}

impl Queues {
    pub(super) fn new(clock: Clock) -> Self {
        Self { by_name: BTreeMap::new(), refused: HashSet::new(), clock, made: 0 }
    }

    pub(super) fn answer(&mut self, operation: &str, body: &[u8]) -> Answer {
        match operation {
            "CreateQueue" => Ok(json!({"QueueUrl": self.create(&input::<Create>(body)?.queue_name)})),
            "SendMessageBatch" => self.send(input(body)?),
            "ReceiveMessage" => self.receive(&input(body)?),
            "DeleteMessageBatch" => self.delete(&input(body)?),
            _ => Err(Refusal::unknown_operation(operation)),
        }
    }

    /// Makes the queue if it does not exist. Returns its URL.
    pub(super) fn create(&mut self, name: &str) -> String {
        self.by_name.entry(name.to_owned()).or_default();
        format!("{URL_START}{name}")
    }

    /// Takes all messages out, hidden or not.
    pub(super) fn take(&mut self, url: &str) -> Vec<String> {
        let messages = self.by_name.get_mut(name_in(url)).map(std::mem::take).unwrap_or_default();
        messages.into_iter().map(|message| message.body).collect()
    }

    fn send(&mut self, request: SendBatch) -> Answer {
        self.found(&request.queue_url)?;
        check_ids(request.entries.iter().map(|entry| entry.id.as_str()))?;
        let bytes: usize = request.entries.iter().map(|entry| entry.message_body.len()).sum();
        if bytes > MAX_BYTES {
            return refuse("BatchRequestTooLong", format!("a batch of {bytes} bytes; the limit is {MAX_BYTES}"));
        }
        let (mut successful, mut failed) = (Vec::new(), Vec::new());
        for Entry { id, message_body: body } in request.entries {
            if self.refused.iter().any(|text| body.contains(text)) {
                failed.push(failure(&id, "InternalError", false));
                continue;
            }
            self.made += 1;
            let message =
                Message { id: scramble::version_id(self.made), body, visible_from: self.clock.now(), receipt: None };
            successful.push(json!({"Id": id, "MessageId": message.id}));
            self.found(&request.queue_url)?.push(message);
        }
        Ok(json!({"Successful": successful, "Failed": failed}))
    }

    fn receive(&mut self, request: &Receive) -> Answer {
        if !(1..=BATCH).contains(&request.max_number_of_messages) {
            return refuse("InvalidParameterValue", "MaxNumberOfMessages is 1 to 10");
        }
        if !(0..=MAX_VISIBILITY_TIMEOUT_S).contains(&request.visibility_timeout) {
            return refuse("InvalidParameterValue", "VisibilityTimeout is 0 to 43200");
        }
        let (now, mut made) = (self.clock.now(), self.made);
        let visible = self.found(&request.queue_url)?.iter_mut().filter(|message| message.visible_from <= now);
        let mut receive = |message: &mut Message| {
            made += 1;
            let receipt = format!("receipt-{made}");
            message.visible_from = now + SignedDuration::from_secs(request.visibility_timeout);
            message.receipt = Some(receipt.clone());
            json!({"MessageId": message.id, "Body": message.body, "ReceiptHandle": receipt})
        };
        let messages: Vec<_> = visible.take(request.max_number_of_messages).map(&mut receive).collect();
        self.made = made;
        // AWS leaves out an empty list.
        Ok(if messages.is_empty() { json!({}) } else { json!({"Messages": messages}) })
    }

    fn delete(&mut self, request: &DeleteBatch) -> Answer {
        let messages = self.found(&request.queue_url)?;
        check_ids(request.entries.iter().map(|entry| entry.id.as_str()))?;
        let (mut successful, mut failed) = (Vec::new(), Vec::new());
        for DeleteEntry { id, receipt_handle } in &request.entries {
            if !receipt_handle.starts_with("receipt-") {
                failed.push(failure(id, "ReceiptHandleIsInvalid", true));
                continue;
            }
            // An old receipt deletes nothing, and AWS reports no error.
            messages.retain(|message| message.receipt.as_ref() != Some(receipt_handle));
            successful.push(json!({"Id": id}));
        }
        Ok(json!({"Successful": successful, "Failed": failed}))
    }

    fn found(&mut self, url: &str) -> Result<&mut Vec<Message>, Refusal> {
        let queue = self.by_name.get_mut(name_in(url));
        queue.map_or_else(|| refuse("QueueDoesNotExist", "The specified queue does not exist."), Ok)
    }
}

/// The queue's name in its URL.
pub(super) fn name_in(url: &str) -> &str {
    url.strip_prefix(URL_START).unwrap_or_default()
}

fn check_ids<'a>(ids: impl ExactSizeIterator<Item = &'a str>) -> Result<(), Refusal> {
    let number = ids.len();
    if number == 0 {
        return refuse("EmptyBatchRequest", "a batch without an entry");
    }
    if number > BATCH {
        return refuse("TooManyEntriesInBatchRequest", format!("{number} entries; the limit is {BATCH}"));
    }
    let mut seen = HashSet::new();
    for id in ids {
        let plain = id.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c));
        if !plain || !(1..=MAX_ID_LEN).contains(&id.len()) {
            return refuse("InvalidBatchEntryId", format!("{id:?} is no id of an entry"));
        }
        if !seen.insert(id) {
            return refuse("BatchEntryIdsNotDistinct", format!("the id {id} is there twice"));
        }
    }
    Ok(())
}

fn failure(id: &str, code: &str, sender_fault: bool) -> Value {
    json!({"Id": id, "Code": code, "SenderFault": sender_fault})
}
