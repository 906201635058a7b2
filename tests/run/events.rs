//! The events that the function accepts, and its answer to anything else.

use serde_json::{Value, json};
use testkit::log::Kept;
use testkit::wire::{Fault, Rule};
use testkit::world::World;
use token_keeper::lambda::refresher::{EventError, HandlerError, parse};
use token_keeper::telemetry;
use tracing_subscriber::util::SubscriberInitExt as _;

fn file(name: &str) -> Value {
    let path = format!("{}/events/{name}.json", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_str(&std::fs::read_to_string(path).expect("an event file")).expect("JSON")
}

#[tokio::test]
async fn every_event_file_goes_through_the_handler() {
    let check = async |name: &str, minted: [usize; 2], expected: Value| {
        let world = World::new().await;
        let tokens = [world.connect("crm-prod"), world.connect("books")];
        world.run().await;
        world.advance_minutes(if name.starts_with("force") { 0 } else { 30 });
        let answer = world.send(file(name)).await.expect(name);
        for (field, value) in expected.as_object().expect("fields") {
            assert_eq!(answer[field], *value, "{name}: {field}");
        }
        assert_eq!(tokens.map(|token| world.zoho.mints(&token) - 1), minted, "{name}");
    };
    let names = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/events")).expect("the event files");
    let mut checked = 0;
    for entry in names {
        let file = entry.expect("an entry").file_name().into_string().expect("a name in UTF-8");
        match file.trim_end_matches(".json") {
            name @ ("schedule" | "schedule-rule" | "empty") => {
                check(name, [1, 1], json!({"schema": 1, "connections": 2, "refreshed": 2, "failed": []})).await;
            }
            "named" => check("named", [1, 1], json!({"connections": 2, "refreshed": 2})).await,
            "force" => check("force", [1, 0], json!({"connections": 1, "refreshed": 1})).await,
            "queue" => check("queue", [1, 1], json!({"batchItemFailures": []})).await,
            "complaint" => check("complaint", [1, 0], json!({"batchItemFailures": []})).await,
            // tests/consent/ sends the callback's events to the callback's handler.
            "callback-http-api" | "callback-function-url" => continue,
            other => panic!("events/{other}.json is sent by no test"),
        }
        checked += 1;
    }
    assert_eq!(checked, 7);
}

#[test]
fn any_other_event_is_refused_and_the_error_names_the_field() {
    let check = |event: Value, expected: &str| {
        let error: EventError = parse(&event).expect_err(expected);
        assert_eq!(error.to_string(), expected);
    };
    let unknown = "is not a field of a request (`connections`, `force`), and no scheduled event or queue batch has it";
    check(json!(null), "event: is not a JSON object");
    check(json!([]), "event: is not a JSON object");
    check(json!("crm"), "event: is not a JSON object");
    check(json!({"connection": "crm"}), &format!("connection: {unknown}"));
    check(json!({"connections": ["crm"], "Force": true}), &format!("Force: {unknown}"));
    check(json!({"detail-type": "Parameter Store Change", "source": "aws.ssm"}), &format!("detail-type: {unknown}"));
    check(json!({"detail-type": "Scheduled Event"}), "source: is neither aws.events nor aws.scheduler");
    check(json!({"detail-type": "Scheduled Event", "source": 7}), "source: is neither aws.events nor aws.scheduler");
    check(json!({"connections": "crm"}), "connections: is not an array of names");
    check(json!({"connections": []}), "connections: is empty");
    check(json!({"connections": ["crm", 7]}), "connections[1]: is not a string");
    check(json!({"connections": ["CRM"]}), "connections[0]: a name is made of a-z, 0-9, '-', '_' and '.', not of 'C'");
    check(json!({"force": true}), "force: goes with `connections` only: name the connections to force");
    check(json!({"connections": ["crm"], "force": "yes"}), "force: is neither true nor false");
    check(json!({"Records": {}}), "Records: is not an array");
    check(json!({"Records": [7]}), "Records[0].eventSource: is not a string");
    check(json!({"Records": [{"eventSource": "aws:sns"}]}), "Records[0].eventSource: is not aws:sqs");
    check(json!({"Records": [{"eventSource": "aws:sqs"}]}), "Records[0].body: is not a string");
    check(json!({"Records": [{"eventSource": "aws:sqs", "body": "{}"}]}), "Records[0].messageId: is not a string");
}

#[tokio::test]
async fn a_refused_event_does_nothing_and_has_a_stable_error_type() {
    let world = World::new().await;
    world.connect("crm-prod");
    let error = world.send(json!({"connectoins": []})).await.expect_err("a refusal");
    let diagnostic = lambda_runtime::Diagnostic::from(error);
    assert_eq!(diagnostic.error_type, "InvalidEvent");
    assert!(diagnostic.error_message.contains("connectoins"));
    assert!(world.faults.calls().is_empty());
}

#[tokio::test]
async fn a_batch_returns_only_the_messages_that_must_come_again() {
    let world = World::new().await;
    let [healthy, hung, _] = ["healthy", "hung", "dead"].map(|name| world.connect(name));
    let dead = world.connect("dead");
    world.zoho.kill(&dead);
    world.faults.add(Rule::on("zoho", "refresh_token").about(&hung), Fault::Hang { handled: false });
    let message = |id: &str, body: &str| json!({"messageId": id, "eventSource": "aws:sqs", "body": body});
    let batch = json!({"Records": [
        message("1", r#"{"connections":["healthy"]}"#),
        message("2", r#"{"connections":["hung"]}"#),
        message("3", r#"{"connections":["dead"]}"#),
        message("4", "not JSON"),
        message("5", r#"{"connections":["healthy"]}"#),
    ]});
    let answer = world.send(batch).await.expect("a batch answer");
    assert_eq!(answer, json!({"batchItemFailures": [{"itemIdentifier": "2"}, {"itemIdentifier": "4"}]}));
    assert_eq!(world.zoho.mints(&healthy), 1, "a message that comes twice does no harm");
}

#[tokio::test]
async fn a_run_that_could_list_nothing_is_an_error_with_a_stable_type() {
    let check = async |service, operation: &str, expected: &str, named: &str| {
        let world = World::new().await;
        world.connect("crm-prod");
        let refusal = testkit::aws::error("AccessDeniedException", "User: arn:aws:iam::1:role/r is not authorized");
        world.faults.add(Rule::on(service, operation), Fault::Respond(refusal));
        let error = world.send(json!({})).await.expect_err("an error");
        assert!(matches!(error, HandlerError::Run(_)));
        let diagnostic = lambda_runtime::Diagnostic::from(error);
        assert_eq!(diagnostic.error_type, expected);
        let message = diagnostic.error_message;
        assert!(message.contains(named) && message.contains("is not authorized"), "{message}");
        assert_eq!((world.zoho_calls(), world.puts()), (0, 0));
    };
    let batch = "BatchGetSecretValue";
    check("secretsmanager", batch, "GrantsUnavailable", "allow secretsmanager:BatchGetSecretValue").await;
    check("ssm", "GetParametersByPath", "LeasesUnavailable", "allow ssm:GetParametersByPath").await;
}

#[test]
fn a_log_line_has_the_request_id_once_and_an_error_in_words() {
    let log = Kept::default();
    let writer = log.clone();
    let guard = telemetry::subscriber(None, false, move || writer.clone()).set_default();
    let error = HandlerError::from(parse(&json!([])).expect_err("no event"));
    tracing::info_span!(target: "lambda_runtime", "Lambda runtime invoke", requestId = "4f1c").in_scope(|| {
        // The form in which the runtime logs a failed invocation.
        tracing::error!(target: "lambda_runtime", "{error:?}");
    });
    drop(guard);
    let line: Value = serde_json::from_str(&log.text()).expect("one line of JSON");
    assert_eq!(line["message"], "nothing was done, the event is not understood: event: is not a JSON object");
    assert_eq!(line["span"]["requestId"], "4f1c");
    assert_eq!(log.text().matches("4f1c").count(), 1, "{line}");
}
