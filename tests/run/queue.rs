//! More connections than one run has time for: a run sends names to a queue in chunks, and the
//! function refreshes the chunks.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::time::Duration;

use serde_json::{Value, json};
use testkit::wire::{Bytes, Fault, Response, Rule};
use testkit::zoho::answers;
use token_keeper::lambda::refresher::handle;
use token_keeper::run::brake::Brakes;
use token_keeper::run::dispatch::CHUNK;
use token_keeper::telemetry;
use tokio::time::Instant;

use crate::line;
use testkit::world::{World, grant_name, lease_name};

const QUEUE: &str = "https://sqs.eu-central-1.amazonaws.com/123456789012/token-keeper";

/// Connections `c-000`, …, and their refresh tokens. A run with more than `above` connections uses
/// the queue.
async fn world(connections: usize, above: usize) -> (World, Vec<(String, String)>) {
    let settings = [("TOKEN_KEEPER_QUEUE_URL", QUEUE), ("TOKEN_KEEPER_QUEUE_ABOVE", &above.to_string())];
    let world = World::with(&settings).await;
    assert_eq!(world.aws.create_queue("token-keeper"), QUEUE);
    let connect = |number| {
        let name = format!("c-{number:03}");
        let refresh_token = world.connect(&name);
        (name, refresh_token)
    };
    let connections = (0..connections).map(connect).collect();
    (world, connections)
}

/// The operations called so far, each once, in alphabetical order.
fn operations(world: &World) -> Vec<String> {
    let operations: BTreeSet<_> = world.faults.calls().into_iter().map(|call| call.operation).collect();
    operations.into_iter().collect()
}

/// The event that Lambda makes of messages. The id of a message is its number.
fn batch(messages: &[String]) -> Value {
    let record =
        |(id, body): (usize, &String)| json!({"messageId": id.to_string(), "eventSource": "aws:sqs", "body": body});
    json!({"Records": messages.iter().enumerate().map(record).collect::<Vec<_>>()})
}

fn names_in(message: &str) -> Vec<String> {
    let message: Value = serde_json::from_str(message).expect("JSON");
    serde_json::from_value(message["connections"].clone()).expect("names")
}

#[tokio::test]
async fn up_to_the_threshold_a_run_does_not_use_the_queue() {
    let (world, connections) = world(2, 2).await;
    let report = world.run().await;
    assert_eq!((&report["connections"], &report["refreshed"]), (&json!(2), &json!(2)));
    assert_eq!(report.get("queued"), None);
    assert!(connections.iter().all(|(name, _)| world.token_lives(name)));
    assert_eq!(world.faults.count("sqs", "SendMessageBatch"), 0);
}

#[tokio::test]
async fn above_the_threshold_a_run_only_lists_names_and_queues_each_once() {
    let (world, connections) = world(2 * CHUNK + 50, 2 * CHUNK + 49).await;
    let report = world.run().await;
    assert_eq!((&report["connections"], &report["queued"]), (&json!(0), &json!(connections.len())));
    assert_eq!((&report["min_remaining_s"], &report["outcomes"]), (&json!(null), &json!([])));
    assert_eq!(operations(&world), ["ListSecrets", "SendMessageBatch"]);
    assert_eq!(world.faults.calls().len(), 3 + 1, "three pages of names, and one batch");
    let messages = world.aws.take_messages(QUEUE);
    let chunks: Vec<_> = messages.iter().map(|message| names_in(message)).collect();
    assert_eq!(chunks.iter().map(Vec::len).collect::<Vec<_>>(), [84, 84, 82], "of equal size, none above {CHUNK}");
    assert_eq!(chunks.concat(), connections.into_iter().map(|(name, _)| name).collect::<Vec<_>>());
    world.run().await;
    assert_eq!(world.aws.take_messages(QUEUE), messages, "a connection is in the same chunk in every run");
}

#[tokio::test]
async fn a_listing_of_names_continues_after_an_empty_page() {
    let (world, connections) = world(CHUNK + 1, CHUNK).await;
    world.aws.empty_pages(true);
    assert_eq!(world.run().await["queued"], connections.len());
}

#[tokio::test]
async fn other_secrets_and_those_marked_for_deletion_do_not_count() {
    let (world, _) = world(3, 2).await;
    world.aws.put_secret("token-keeper/connections-of-old/crm", "{}");
    world.aws.put_secret("token-keeper/signing-key", "a key");
    world.aws.put_secret("other/connections/crm", "{}");
    world.aws.delete_secret(&grant_name("c-001"));
    let report = world.run().await;
    assert_eq!((&report["connections"], report.get("queued")), (&json!(2), None));
}

#[tokio::test]
async fn a_name_that_only_resembles_a_connections_name_does_not_count() {
    let (world, _) = world(2, 2).await;
    let names =
        ["token-keeper/connections/c-000", "Token-Keeper/Connections/c-001", "old/token-keeper/connections/c-002"];
    let secrets: Vec<_> = names.iter().map(|name| json!({"Name": name})).collect();
    let listed = Response::new(Bytes::from(json!({"SecretList": secrets}).to_string()));
    world.faults.add(Rule::on("secretsmanager", "ListSecrets"), Fault::Respond(listed));
    assert_eq!(world.run().await.get("queued"), None, "one name is no more than two");
}

#[tokio::test]
async fn a_chunk_that_comes_twice_mints_once() {
    let (world, connections) = world(CHUNK + 20, CHUNK).await;
    world.run().await;
    let messages = world.aws.take_messages(QUEUE);
    for _ in 0..2 {
        assert_eq!(world.send(batch(&messages)).await.expect("an answer"), json!({"batchItemFailures": []}));
    }
    for (name, refresh_token) in &connections {
        assert!(world.token_lives(name), "{name}");
        assert_eq!(world.zoho.mints(refresh_token), 1, "{name}");
    }
}

#[tokio::test]
async fn two_copies_of_a_chunk_at_once_end_in_the_right_state() {
    let (world, connections) = world(CHUNK, 1).await;
    world.run().await;
    let messages = world.aws.take_messages(QUEUE);
    let answers = tokio::join!(world.send(batch(&messages)), world.send(batch(&messages)));
    for answer in [answers.0, answers.1] {
        assert_eq!(answer.expect("an answer"), json!({"batchItemFailures": []}));
    }
    for (name, refresh_token) in &connections {
        assert_eq!(world.field(name, "status"), "active", "{name}");
        assert!(world.token_lives(name), "{name}");
        assert!((1..=2).contains(&world.zoho.mints(refresh_token)), "{name}");
    }
}

#[tokio::test]
async fn one_failing_connection_does_not_bring_its_chunk_back() {
    let (world, connections) = world(2 * CHUNK + 5, 1).await;
    world.run().await;
    let messages = world.aws.take_messages(QUEUE);
    world.aws.deny_put(&lease_name("c-150"));
    let answer = world.send(batch(&messages)).await.expect("an answer");
    assert_eq!(answer, json!({"batchItemFailures": []}));
    for (name, refresh_token) in connections.iter().filter(|(name, _)| name != "c-150") {
        assert!(world.token_lives(name), "{name}");
        assert_eq!(world.zoho.mints(refresh_token), 1, "{name}");
    }
    world.aws.allow(&lease_name("c-150"));
    world.run().await;
    world.send(batch(&world.aws.take_messages(QUEUE))).await.expect("an answer");
    assert!(world.token_lives("c-150"), "the next scheduled run has brought it");
}

#[tokio::test]
async fn a_chunk_comes_again_if_most_of_it_is_undone_and_mints_only_the_rest() {
    let (mut world, connections) = world(2 * CHUNK + 5, 1).await;
    world.run().await;
    let messages = world.aws.take_messages(QUEUE);
    let sick: Vec<_> = (69..138).map(|number| format!("c-{number:03}")).collect();
    for name in &sick {
        world.aws.deny_put(&lease_name(name));
    }
    // The run has so little time that it does not wait for its brake.
    let end = Instant::now() + Duration::from_secs(4);
    let answer = world.send_until(batch(&messages[..2]), Some(end)).await.expect("an answer");
    assert_eq!(answer, json!({"batchItemFailures": [{"itemIdentifier": "1"}]}));
    for name in &sick {
        world.aws.allow(&lease_name(name));
    }
    world.refresher.brakes = Brakes::default();
    let answer = world.send(batch(&messages[1..])).await.expect("an answer");
    assert_eq!(answer, json!({"batchItemFailures": []}));
    let twice = connections.iter().filter(|(_, refresh_token)| world.zoho.mints(refresh_token) == 2).count();
    assert!((2..=18).contains(&twice), "{twice} tokens were minted in vain: two, and those under way then");
    for (name, refresh_token) in &connections {
        assert!(world.token_lives(name), "{name}");
        assert!(sick.contains(name) || world.zoho.mints(refresh_token) == 1, "{name}");
    }
}

#[tokio::test]
async fn the_next_scheduled_run_repairs_a_lost_message() {
    let (world, connections) = world(2 * CHUNK, 1).await;
    world.run().await;
    let messages = world.aws.take_messages(QUEUE);
    world.send(batch(&messages[..1])).await.expect("an answer");
    assert!(!world.token_lives("c-150"));
    world.run().await;
    world.send(batch(&world.aws.take_messages(QUEUE))).await.expect("an answer");
    for (name, refresh_token) in &connections {
        assert!(world.token_lives(name), "{name}");
        assert_eq!(world.zoho.mints(refresh_token), 1, "{name}");
    }
}

#[tokio::test]
async fn messages_without_time_left_come_again_untouched() {
    let (world, _) = world(CHUNK + 1, 1).await;
    world.run().await;
    let messages = world.aws.take_messages(QUEUE);
    let answer = world.send_until(batch(&messages), Some(Instant::now())).await.expect("an answer");
    assert_eq!(answer, json!({"batchItemFailures": [{"itemIdentifier": "0"}, {"itemIdentifier": "1"}]}));
    assert_eq!((world.zoho_calls(), world.puts()), (0, 0));
}

#[tokio::test]
async fn a_run_without_time_queues_nothing_and_says_so() {
    let (world, _) = world(3, 2).await;
    let error = world.send_until(json!({}), Some(Instant::now())).await.expect_err("no time");
    assert_eq!(lambda_runtime::Diagnostic::from(error).error_type, "OutOfTime");
    assert!(world.aws.take_messages(QUEUE).is_empty());
}

#[tokio::test]
async fn connections_deferred_by_a_throttle_do_not_come_back_within_its_pause() {
    let (world, _) = world(40, 2).await;
    world.run().await;
    let messages = world.aws.take_messages(QUEUE);
    world.faults.add(Rule::on("zoho", "refresh_token"), Fault::Respond(answers::throttled()));
    let end = Some(Instant::now() + Duration::from_secs(4));
    let answer = world.send_until(batch(&messages), end).await.expect("an answer");
    assert_eq!(answer, json!({"batchItemFailures": []}));
    assert!(world.zoho_calls() < 40, "most were deferred");
}

#[tokio::test]
async fn a_connection_removed_after_it_was_queued_does_not_stop_the_others() {
    let (world, _) = world(3, 2).await;
    world.run().await;
    let messages = world.aws.take_messages(QUEUE);
    world.aws.delete_secret(&grant_name("c-001"));
    assert_eq!(world.send(batch(&messages)).await.expect("an answer"), json!({"batchItemFailures": []}));
    assert!(world.token_lives("c-000") && world.token_lives("c-002"));
    assert_eq!(world.document("c-001"), None);
    // A chunk with only this connection succeeds too. A run that an operator starts reports it.
    world.send(batch(&[json!({"connections": ["c-001"]}).to_string()])).await.expect("an answer");
    let report = world.send(json!({"connections": ["c-001"]})).await.expect("a report");
    assert_eq!(report["misconfigured"], json!(["c-001"]));
}

#[tokio::test]
async fn events_that_name_connections_and_messages_from_the_queue_are_not_queued_again() {
    let (world, connections) = world(3, 2).await;
    let names: Vec<_> = connections.iter().map(|(name, _)| name).collect();
    for event in
        [json!({"connections": names}), json!({"connections": names, "force": true}), batch(&["{}".to_owned()])]
    {
        world.send(event).await.expect("an answer");
    }
    assert_eq!(world.faults.count("sqs", "SendMessageBatch"), 0);
    assert!(connections.iter().all(|(_, refresh_token)| world.zoho.mints(refresh_token) == 2));
}

#[tokio::test]
async fn a_wrong_name_is_reported_and_the_others_are_queued() {
    let (world, connections) = world(3, 3).await;
    world.aws.put_secret(&grant_name("CRM"), "{}");
    let report = world.run().await;
    assert_eq!((&report["connections"], &report["queued"]), (&json!(1), &json!(3)));
    assert_eq!((&report["misconfigured"], &report["min_remaining_s"]), (&json!(["CRM"]), &json!(null)));
    let messages = world.aws.take_messages(QUEUE);
    assert_eq!(names_in(&messages[0]), connections.into_iter().map(|(name, _)| name).collect::<Vec<_>>());
    world.aws.delete_secret(&grant_name("c-000"));
    let ordinary = world.run().await;
    assert_eq!(ordinary.get("queued"), None);
    assert_eq!(line(&report, "CRM"), line(&ordinary, "CRM"));
    assert_ne!(*line(&report, "CRM"), json!(null));
}

#[tokio::test]
async fn if_no_message_can_be_sent_the_run_fails_with_a_stable_type_and_a_remedy() {
    let check = async |service, operation: &str, code: &str, error_type: &str, wanted: [&str; 2]| {
        let (world, _) = world(CHUNK + 1, 1).await;
        let refusal = testkit::aws::error(code, "User: arn:aws:iam::1:role/r is not authorized");
        world.faults.add(Rule::on(service, operation), Fault::Respond(refusal));
        let error = world.send(json!({})).await.expect_err("an error");
        let diagnostic = lambda_runtime::Diagnostic::from(error);
        assert_eq!(diagnostic.error_type, error_type);
        for wanted in wanted {
            assert!(diagnostic.error_message.contains(wanted), "{}", diagnostic.error_message);
        }
        assert!(operations(&world).iter().all(|call| ["ListSecrets", "SendMessageBatch"].contains(&call.as_str())));
    };
    let send = "SendMessageBatch";
    let gone = "2 of 2 messages could not be queued: sqs:SendMessage failed: QueueDoesNotExist";
    check("sqs", send, "QueueDoesNotExist", "QueueUnavailable", [gone, "check TOKEN_KEEPER_QUEUE_URL"]).await;
    let allow = ["is not authorized", "allow sqs:SendMessage"];
    check("sqs", send, "AccessDenied", "QueueUnavailable", allow).await;
    let allow = ["is not authorized", "allow secretsmanager:ListSecrets"];
    check("secretsmanager", "ListSecrets", "AccessDeniedException", "GrantsUnavailable", allow).await;
}

#[tokio::test]
async fn a_queue_that_does_not_exist_has_its_own_remedy() {
    let settings = [("TOKEN_KEEPER_QUEUE_URL", QUEUE), ("TOKEN_KEEPER_QUEUE_ABOVE", "1")];
    let world = World::with(&settings).await;
    world.connect("crm");
    world.connect("books");
    let error = world.send(json!({})).await.expect_err("an error").to_string();
    assert!(error.contains("check TOKEN_KEEPER_QUEUE_URL: there is no such queue"), "{error}");
}

#[tokio::test]
async fn a_message_that_cannot_be_sent_is_reported_and_the_others_are_queued() {
    let (world, connections) = world(2 * CHUNK + 5, 1).await;
    world.aws.refuse_message("c-150");
    let error = world.send(json!({})).await.expect_err("an error");
    let message =
        "1 of 3 messages could not be queued: sqs:SendMessage failed: InternalError; the next run tries again";
    assert!(error.to_string().contains(message), "{error}");
    let sizes: Vec<_> = world.aws.take_messages(QUEUE).iter().map(|message| names_in(message).len()).collect();
    assert_eq!(sizes, [69, 69]);
    world.aws.allow("c-150");
    assert_eq!(world.run().await["queued"], connections.len());
    assert_eq!(world.aws.take_messages(QUEUE).len(), 3);
}

#[tokio::test]
async fn a_run_that_queues_reports_how_many_it_queued_and_no_life_left() {
    let (world, _) = world(3, 2).await;
    let lines = Mutex::new(Vec::new());
    let tell = |report: &token_keeper::run::report::Report| {
        let mut line = Vec::new();
        telemetry::write_metrics(report, &world.refresher.settings.prefix, world.clock.now(), &mut line)
            .expect("a line");
        lines.lock().expect("the lines").push(serde_json::from_slice::<Value>(&line).expect("JSON"));
    };
    for event in [json!({}), json!({"connections": ["c-000"]})] {
        handle(&event, &world.refresher, world.dispatcher.as_ref(), None, tell).await.expect("an answer");
    }
    let named = |line: &Value, name: &str| {
        let metrics = line["_aws"]["CloudWatchMetrics"][0]["Metrics"].as_array().expect("metrics");
        let named = metrics.iter().any(|metric| metric["Name"] == name);
        assert_eq!(named, line.get(name).is_some(), "{line}");
        named
    };
    let lines = lines.into_inner().expect("the lines");
    let [queueing, ordinary] = lines.as_slice() else { panic!("{lines:?}") };
    assert_eq!(queueing["Queued"], 3);
    assert!(named(queueing, "Queued") && !named(queueing, "MinRemainingSeconds"));
    assert!(!named(ordinary, "Queued") && named(ordinary, "MinRemainingSeconds"));
    assert!(!named(ordinary, "MinRefreshTokenRemaining"), "no refresh token of Zoho has an end that is known");
}
