//! [`Queue`] over SQS.

use aws_config::SdkConfig;
use aws_sdk_sqs::Client;
use aws_sdk_sqs::types::SendMessageBatchRequestEntry;
use futures_util::stream::{self, StreamExt as _};

use super::failed;
use crate::failure::StoreError;
use crate::ports::{Queue, Unsent};

/// The most messages in one call. Ten chunks of names are far below the 1 MiB that a call may have.
const BATCH: usize = 10;
/// Calls at the same time. A run of up to 16,000 connections sends all its calls at once, so a
/// queue that does not answer costs it only the time of one call.
const CALLS: usize = 16;
/// The action that an IAM policy needs for `SendMessageBatch`.
const ACTION: &str = "sqs:SendMessage";

/// One SQS queue. Its client is made when something is sent. Most runs send nothing, and their cold
/// start is shorter.
pub struct Sqs {
    shared: SdkConfig,
    url: String,
}

impl Sqs {
    /// The queue of this URL.
    pub fn new(shared: &SdkConfig, url: String) -> Self {
        Self { shared: shared.clone(), url }
    }

    async fn send_batch(&self, client: &Client, messages: &[String]) -> Result<(), Unsent> {
        let entry = |(id, body): (usize, &String)| {
            let entry = SendMessageBatchRequestEntry::builder().id(id.to_string()).message_body(body);
            entry.build().expect("an entry with id and body")
        };
        let entries = messages.iter().enumerate().map(entry).collect();
        let call = client.send_message_batch().queue_url(&self.url).set_entries(Some(entries));
        let answer = call.send().await;
        let answer = answer.map_err(|error| Unsent { messages: messages.len(), error: failed(ACTION, &error) })?;
        // AWS answers 200 even if it refused some or all of the messages.
        match answer.failed.first() {
            None => Ok(()),
            Some(first) => {
                let error = StoreError::refused(ACTION, &first.code);
                Err(Unsent { messages: answer.failed.len(), error })
            }
        }
    }
}

impl Queue for Sqs {
    async fn send(&self, messages: &[String]) -> Result<(), Unsent> {
        let client = Client::new(&self.shared);
        let calls = messages.chunks(BATCH).map(|batch| self.send_batch(&client, batch));
        let answers: Vec<_> = stream::iter(calls).buffer_unordered(CALLS).collect().await;
        let unsent = answers.into_iter().filter_map(Result::err);
        let sum = unsent.reduce(|sum, unsent| Unsent { messages: sum.messages + unsent.messages, ..sum });
        sum.map_or(Ok(()), Err)
    }
}
