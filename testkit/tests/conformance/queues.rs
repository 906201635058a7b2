//! The expected behaviour of SQS.

use aws_sdk_sqs::operation::receive_message::ReceiveMessageOutput;
use aws_sdk_sqs::types::{DeleteMessageBatchRequestEntry, SendMessageBatchRequestEntry};

use super::{Behaviour, World, joined, outcome_of};

pub(super) fn behaviours() -> Vec<Behaviour> {
    vec![
        Behaviour::new(
            "a batch is sent, received, and gone once it is deleted",
            life,
            "sent 0 1 2, received a b c, then ",
        ),
        Behaviour::new("a received message is hidden for as long as was asked", hidden, "shortly a, long a, hidden "),
        Behaviour::new(
            "a batch has 1 to 10 entries, each with an id of its own",
            entries,
            "none EmptyBatchRequest, 10 accepted, 11 TooManyEntriesInBatchRequest, twice BatchEntryIdsNotDistinct, \
             blank InvalidBatchEntryId",
        ),
        Behaviour::new("a batch has at most 1 MiB", size, "accepted, BatchRequestTooLong"),
        Behaviour::new(
            "1 to 10 messages are received at once",
            at_once,
            "0 InvalidParameterValue, 11 InvalidParameterValue",
        ),
        Behaviour::new("an unknown receipt fails alone", wrong_receipt, "ReceiptHandleIsInvalid, through the sender"),
        Behaviour::new("a queue that is not there is said so", absent, "NonExistentQueue NonExistentQueue"),
    ]
}

async fn queue(world: &World) -> String {
    let created = world.sqs.create_queue().queue_name(&world.prefix).send().await;
    created.expect("a new queue").queue_url.expect("a URL")
}

/// A result without the prefix that all of SQS's codes share.
fn short(outcome: &str) -> &str {
    outcome.trim_start_matches("AWS.SimpleQueueService.")
}

async fn send(world: &World, queue: &str, entries: impl IntoIterator<Item = (String, String)>) -> String {
    let entry = |(id, body)| SendMessageBatchRequestEntry::builder().id(id).message_body(body).build();
    let entries = entries.into_iter().map(|entry_of| entry(entry_of).expect("an entry")).collect();
    let send = world.sqs.send_message_batch().queue_url(queue).set_entries(Some(entries));
    short(&outcome_of(send.send().await)).to_owned()
}

async fn receive(world: &World, queue: &str, visibility_timeout: i32) -> ReceiveMessageOutput {
    let receive = world.sqs.receive_message().queue_url(queue).max_number_of_messages(10);
    receive.visibility_timeout(visibility_timeout).send().await.expect("messages, or none")
}

fn bodies(received: &ReceiveMessageOutput) -> String {
    let mut bodies: Vec<_> = received.messages().iter().filter_map(|message| message.body()).collect();
    bodies.sort_unstable();
    joined(bodies)
}

async fn life(world: World) -> String {
    let queue = queue(&world).await;
    let entry = |(id, body): (usize, &str)| {
        SendMessageBatchRequestEntry::builder().id(id.to_string()).message_body(body).build().expect("an entry")
    };
    let entries = ["a", "b", "c"].into_iter().enumerate().map(entry).collect();
    let sent = world.sqs.send_message_batch().queue_url(&queue).set_entries(Some(entries)).send().await;
    let sent = sent.expect("a batch");
    let received = receive(&world, &queue, 0).await;
    // Only the newest receipts count.
    let entries = receive(&world, &queue, 0).await.messages.unwrap_or_default().into_iter().enumerate();
    let entries = entries.map(|(id, message)| {
        let entry = DeleteMessageBatchRequestEntry::builder().id(id.to_string());
        entry.set_receipt_handle(message.receipt_handle).build().expect("an entry")
    });
    let delete = world.sqs.delete_message_batch().queue_url(&queue).set_entries(Some(entries.collect()));
    delete.send().await.expect("a deletion");
    let ids = joined(sent.successful.iter().map(|entry| &entry.id));
    let left = receive(&world, &queue, 0).await;
    format!("sent {ids}, received {}, then {}", bodies(&received), bodies(&left))
}

async fn hidden(world: World) -> String {
    let queue = queue(&world).await;
    send(&world, &queue, [("0".to_owned(), "a".to_owned())]).await;
    let mut seen = Vec::new();
    for (how, visibility_timeout) in [("shortly", 0), ("long", 60), ("hidden", 0)] {
        seen.push(format!("{how} {}", bodies(&receive(&world, &queue, visibility_timeout).await)));
    }
    seen.join(", ")
}

async fn entries(world: World) -> String {
    let queue = queue(&world).await;
    let up_to = |end: usize| (0..end).map(|id| (id.to_string(), "x".to_owned())).collect();
    let twice = ["a", "a"].map(|id| (id.to_owned(), "x".to_owned())).to_vec();
    let blank = vec![("a b".to_owned(), "x".to_owned())];
    let cases: [(&str, Vec<_>); 5] =
        [("none", up_to(0)), ("10", up_to(10)), ("11", up_to(11)), ("twice", twice), ("blank", blank)];
    let mut seen = Vec::new();
    for (what, entries) in cases {
        seen.push(format!("{what} {}", send(&world, &queue, entries).await));
    }
    seen.join(", ")
}

async fn size(world: World) -> String {
    let queue = queue(&world).await;
    let batch = |bytes: usize| ["a", "b"].map(|id| (id.to_owned(), "x".repeat(bytes)));
    let largest = send(&world, &queue, batch(524_288)).await;
    format!("{largest}, {}", send(&world, &queue, batch(524_289)).await)
}

async fn at_once(world: World) -> String {
    let queue = queue(&world).await;
    let mut seen = Vec::new();
    for number in [0, 11] {
        let receive = world.sqs.receive_message().queue_url(&queue).max_number_of_messages(number);
        seen.push(format!("{number} {}", outcome_of(receive.send().await)));
    }
    seen.join(", ")
}

async fn wrong_receipt(world: World) -> String {
    let queue = queue(&world).await;
    let entry = DeleteMessageBatchRequestEntry::builder().id("0").receipt_handle("made up").build();
    let delete = world.sqs.delete_message_batch().queue_url(&queue).entries(entry.expect("an entry"));
    let deleted = delete.send().await.expect("an answer");
    let failed = deleted.failed.first().expect("a failure");
    format!("{}, through {}", failed.code, if failed.sender_fault { "the sender" } else { "the receiver" })
}

async fn absent(world: World) -> String {
    let url = queue(&world).await + "-not";
    let sent = send(&world, &url, [("0".to_owned(), "x".to_owned())]).await;
    let received = outcome_of(world.sqs.receive_message().queue_url(&url).send().await);
    format!("{sent} {}", short(&received))
}
