//! A reader whose token Zoho refuses says so through a queue. The refresher replaces a token that
//! died early, once, however many complain; it never asks Zoho too often because of complaints.

use std::sync::Mutex;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use testkit::wire::{Fault, Rule};
use testkit::world::{World, grant_name, lease_name};
use testkit::zoho::answers;
use token_keeper::lambda::refresher::{Event, handle, parse};
use token_keeper::run::brake::Brakes;
use token_keeper::run::report::Report;
use token_keeper::telemetry;

use crate::line;

const ARN: &str = "arn:aws:sqs:eu-central-1:123456789012:token-keeper-complaints.fifo";

/// The event that Lambda makes of messages from the queue of complaints.
pub(crate) fn batch(bodies: &[String]) -> Value {
    let record = |(id, body): (usize, &String)| {
        let said: Value = serde_json::from_str(body).unwrap_or_default();
        let attributes = json!({"MessageGroupId": said["connection"]});
        json!({"messageId": id.to_string(), "eventSource": "aws:sqs", "eventSourceARN": ARN, "attributes": attributes, "body": body})
    };
    json!({"Records": bodies.iter().enumerate().map(record).collect::<Vec<_>>()})
}

/// What a reader sends that has used the document which is published now.
pub(crate) fn complaint(world: &World, connection: &str) -> String {
    json!({"connection": connection, "issued_at": world.field(connection, "issued_at")}).to_string()
}

/// A world with the connection crm-prod, whose token is this many minutes old, and its refresh
/// token.
async fn world(minutes: i64) -> (World, String) {
    let world = World::new().await;
    let refresh_token = world.connect("crm-prod");
    world.run().await;
    world.advance_minutes(minutes);
    (world, refresh_token)
}

/// Sends the messages through the handler. Returns the report.
async fn answer(world: &World, bodies: &[String]) -> Value {
    let told = Mutex::new(Value::Null);
    let tell = |report: &Report| *told.lock().expect("the report") = json!(report);
    let done =
        handle(&batch(bodies), &world.refresher, world.dispatcher.as_ref(), None, tell).await.expect("an answer");
    assert_eq!(done, json!({"batchItemFailures": []}));
    told.into_inner().expect("the report")
}

#[tokio::test]
async fn fifty_readers_complain_and_one_new_token_is_minted() {
    let (world, refresh_token) = world(20).await;
    let books = world.connect("books");
    world.run().await;
    // Another program mints for itself, and Zoho ends the oldest token.
    world.zoho.settings(|settings| settings.live_access_tokens = 1);
    let seen = world.refresher.look(&token_keeper::run::Request::All, true, None).await.expect("the connections");
    let grant = seen.iter().find(|seen| seen.name == "crm-prod").and_then(token_keeper::run::Seen::grant);
    token_keeper::ports::Issuer::mint(&world.refresher.issuer, grant.expect("a grant")).await.expect("a token");
    assert!(!world.token_lives("crm-prod"));
    let (dead, before) = (world.field("crm-prod", "access_token"), world.zoho.mints(&refresh_token));
    let complaints = vec![complaint(&world, "crm-prod"); 10];

    let report = answer(&world, &complaints).await;
    assert_eq!((&report["complaints"], &report["refreshed"]), (&json!(1), &json!(1)), "{report}");
    for _ in 0..4 {
        let report = answer(&world, &complaints).await;
        assert_eq!((&report["complaints"], &report["connections"]), (&json!(1), &json!(0)), "{report}");
    }
    assert_eq!((world.zoho.mints(&refresh_token) - before, world.zoho.mints(&books)), (1, 1));
    assert!(world.token_lives("crm-prod"));
    assert_ne!(world.field("crm-prod", "access_token"), dead);
    assert_eq!(world.field("crm-prod", "complaint_at"), "2026-11-21T00:20:00Z");

    world.advance_minutes(30);
    world.run().await;
    assert_eq!(world.field("crm-prod", "complaint_at"), Value::Null, "an ordinary mint forgets it");
}

#[tokio::test]
async fn a_fresh_token_is_not_replaced_but_marked_once() {
    let (world, refresh_token) = world(1).await;
    let token = world.field("crm-prod", "access_token");
    for _ in 0..3 {
        let report = answer(&world, &[complaint(&world, "crm-prod")]).await;
        assert_eq!(report["rejected"], json!(["crm-prod"]));
        let said = line(&report, "crm-prod").to_string();
        assert!(said.contains("although it is new") && said.contains("token-keeper connect crm-prod"), "{said}");
        assert_eq!(world.field("crm-prod", "rejected_at"), "2026-11-21T00:01:00Z");
        world.clock.advance(SignedDuration::from_secs(10));
    }
    assert_eq!((world.puts(), world.zoho.mints(&refresh_token)), (2, 1));
    let kept = ["status", "access_token", "grant_version"].map(|field| world.field("crm-prod", field));
    assert_eq!(kept, [json!("active"), token, json!(world.aws.secret_version(&grant_name("crm-prod")))]);
    assert!(world.notices("crm-prod").is_empty());

    world.advance_minutes(30);
    world.zoho.kill(&refresh_token);
    world.run().await;
    assert_eq!(world.field("crm-prod", "status"), "consent_required");
    assert_ne!(world.field("crm-prod", "rejected_at"), Value::Null, "a change of status keeps the mark");
    world.connect("crm-prod");
    world.run().await;
    assert_eq!(world.field("crm-prod", "rejected_at"), Value::Null, "a new token has none");
}

#[tokio::test]
async fn a_token_counts_as_fresh_for_two_minutes_and_for_ten_if_it_answers_a_complaint() {
    let (world, refresh_token) = world(0).await;
    let second = async |wait: i64, minted: usize| {
        world.clock.advance(SignedDuration::from_secs(wait));
        answer(&world, &[complaint(&world, "crm-prod")]).await;
        assert_eq!(world.zoho.mints(&refresh_token), minted, "at {}", world.clock.now());
    };
    second(119, 1).await;
    second(1, 2).await;
    second(599, 2).await;
    second(1, 3).await;
}

#[tokio::test]
async fn a_complaint_about_another_token_does_nothing() {
    let (world, refresh_token) = world(40).await;
    let books = world.connect("books");
    let old = complaint(&world, "crm-prod");
    world.run().await;
    world.advance_minutes(40);
    world.faults.forget_calls();
    let never = json!({"connection": "crm-prod", "issued_at": "2027-01-01T00:00:00Z"}).to_string();
    let unknown = json!({"connection": "desk", "issued_at": "2026-11-21T00:00:00Z"}).to_string();
    let report = answer(&world, &[old, never, unknown]).await;
    assert_eq!((&report["complaints"], &report["connections"]), (&json!(3), &json!(0)));
    assert_eq!((world.zoho_calls(), world.puts()), (0, 0), "although the token is due");
    // Even if one of several complaints is about the published token, no other connection is done.
    let wrong = json!({"connection": "crm-prod", "issued_at": "2027-01-01T00:00:00Z"}).to_string();
    answer(&world, &[wrong, complaint(&world, "crm-prod")]).await;
    assert_eq!((world.zoho.mints(&refresh_token), world.zoho.mints(&books)), (3, 1));
}

#[tokio::test]
async fn what_is_in_trouble_is_never_forced() {
    let check = async |name: &str, refusal: Fault, outcome: &str| {
        let (world, refresh_token) = world(30).await;
        world.faults.add(Rule::on("zoho", "refresh_token"), refusal);
        world.run().await;
        world.faults.clear();
        world.faults.forget_calls();
        let report = answer(&world, &[complaint(&world, "crm-prod")]).await;
        assert_eq!(line(&report, "crm-prod")["outcome"], outcome, "{name}: {report}");
        assert_eq!((world.zoho_calls(), world.puts(), world.zoho.mints(&refresh_token)), (0, 0, 1), "{name}");
    };
    let error = |code: &str| Fault::Respond(answers::status(200, &json!({"error": code})));
    check("a pause", Fault::Respond(answers::throttled()), "throttled").await;
    check("a dead grant", error("invalid_code"), "consent_required").await;
    check("a refused client", error("invalid_client"), "misconfigured").await;

    let (world, _) = world(30).await;
    let said = complaint(&world, "crm-prod");
    world.store("crm-prod", &json!({}));
    assert_eq!(answer(&world, std::slice::from_ref(&said)).await["awaiting_consent"], 1);
    world.aws.put_secret(&grant_name("crm-prod"), "spoilt");
    assert_eq!(answer(&world, std::slice::from_ref(&said)).await["misconfigured"], json!(["crm-prod"]));
    world.aws.delete_secret(&grant_name("crm-prod"));
    assert_eq!(answer(&world, std::slice::from_ref(&said)).await["connections"], 0);
    world.connect("crm-prod");
    world.aws.remove_parameter(&lease_name("crm-prod"));
    assert_eq!(answer(&world, &[said]).await["connections"], 0, "a connection without a lease is the schedule's");
    assert_eq!(world.zoho_calls(), 1);
}

/// How many tokens are minted at most within ten minutes.
fn most_in_ten_minutes(mints: &[Timestamp]) -> usize {
    let within = |from: &Timestamp| {
        let window = *from..*from + SignedDuration::from_mins(10);
        mints.iter().filter(|mint| window.contains(mint)).count()
    };
    mints.iter().map(within).max().unwrap_or_default()
}

#[tokio::test]
async fn in_an_hour_of_complaints_zoho_is_never_asked_too_often() {
    // Whether there are scheduled runs too, and whether the reader complains about each new token.
    for (scheduled, follows) in [(false, false), (false, true), (true, false), (true, true)] {
        let (world, refresh_token) = world(0).await;
        let (mut mints, mut before) = (vec![world.clock.now()], world.zoho.mints(&refresh_token));
        let first = complaint(&world, "crm-prod");
        for half_minute in 1..=120 {
            world.clock.advance(SignedDuration::from_secs(30));
            let said = if follows { complaint(&world, "crm-prod") } else { first.clone() };
            let others = (0..8).map(|second| {
                json!({"connection": "crm-prod", "issued_at": format!("2026-11-20T00:00:0{second}Z")}).to_string()
            });
            answer(&world, &[vec![said; 2], others.collect()].concat()).await;
            if scheduled && half_minute % 30 == 0 {
                world.run().await;
            }
            let now = world.zoho.mints(&refresh_token);
            mints.extend(std::iter::repeat_n(world.clock.now(), now - before));
            before = now;
        }
        let most = most_in_ten_minutes(&mints);
        let case = format!("scheduled: {scheduled}, follows: {follows}, {} mints", mints.len());
        assert!(most <= 2, "{most} in ten minutes, {case}");
        assert!(mints.len() <= if follows { 8 } else { 4 }, "{case}");
        assert_eq!(world.field("crm-prod", "status"), "active", "{case}");
        assert_eq!(world.field("crm-prod", "rejected_at") == Value::Null, !follows, "{case}");
    }
}

#[tokio::test]
async fn two_batches_at_once_end_in_the_right_state() {
    let (world, refresh_token) = world(20).await;
    let complaints = [complaint(&world, "crm-prod")];
    // The second process does not know of the first.
    let mut other = World::new().await.refresher;
    let settings = world.refresher.settings.clone();
    let adapters = testkit::world::Adapters::connect(&world.outside, &world.refresher.source).await;
    (other.settings, other.source) = (settings, world.refresher.source.clone());
    (other.grants, other.issuer, other.leases) = (adapters.secrets, adapters.issuer, adapters.leases);
    let event = batch(&complaints);
    let (_, second) =
        tokio::join!(answer(&world, &complaints), handle(&event, &other, world.dispatcher.as_ref(), None, |_| {}),);
    assert_eq!(second.expect("an answer"), json!({"batchItemFailures": []}));
    assert!((2..=3).contains(&world.zoho.mints(&refresh_token)));
    assert!(world.token_lives("crm-prod"));
    assert_eq!(world.field("crm-prod", "status"), "active");
    let minted = world.zoho.mints(&refresh_token);
    answer(&world, &[complaint(&world, "crm-prod")]).await;
    assert_eq!(world.zoho.mints(&refresh_token), minted, "the document remembers the complaint");
}

#[tokio::test]
async fn a_run_that_is_cut_off_at_any_call_is_repaired_by_the_same_message() {
    let complaints = async |minutes: i64| {
        let (world, refresh_token) = world(minutes).await;
        let complaint = [complaint(&world, "crm-prod")];
        world.faults.forget_calls();
        (world, refresh_token, complaint)
    };
    // An old token is replaced, and a young one is marked.
    for (minutes, minted, marked) in [(20, 2, false), (1, 1, true)] {
        let (whole, _, complaint) = complaints(minutes).await;
        answer(&whole, &complaint).await;
        let calls = whole.faults.calls();
        assert_eq!(calls.len(), if marked { 4 } else { 5 }, "{calls:#?}");
        for (at, handled) in (0..calls.len()).flat_map(|at| [(at, false), (at, true)]) {
            let cut = format!("cut at call {at} ({}), handled: {handled}", calls[at]);
            let (mut world, refresh_token, complaint) = complaints(minutes).await;
            world.faults.cut_at(at, handled);
            tokio::select! {
                biased;
                report = answer(&world, &complaint) => panic!("{cut}: the run ended with {report}"),
                () = world.faults.until_cut() => {}
            }
            world.faults.clear();
            // A new process gets the message again.
            world.refresher.brakes = Brakes::default();
            answer(&world, &complaint).await;
            assert!(world.token_lives("crm-prod"), "{cut}");
            assert_eq!(world.field("crm-prod", "rejected_at") != Value::Null, marked, "{cut}");
            let mints = world.zoho.mints(&refresh_token);
            assert!((minted..=minted + usize::from(!marked)).contains(&mints), "{cut}: {mints} mints");
        }
    }
}

#[tokio::test]
async fn an_old_answer_of_parameter_store_costs_at_most_one_more_token() {
    for same_process in [true, false] {
        let (mut world, refresh_token) = world(20).await;
        let complaint = [complaint(&world, "crm-prod")];
        world.aws.hold_back_parameter(&lease_name("crm-prod"));
        for _ in 0..3 {
            answer(&world, &complaint).await;
        }
        assert_eq!(world.zoho.mints(&refresh_token), 2, "the process remembers");
        if !same_process {
            world.refresher.brakes = Brakes::default();
            answer(&world, &complaint).await;
        }
        world.aws.release(&lease_name("crm-prod"));
        assert_eq!(world.zoho.mints(&refresh_token), if same_process { 2 } else { 3 });
        assert!(world.token_lives("crm-prod"));
        assert_eq!(answer(&world, &complaint).await["connections"], 0);
    }
}

#[tokio::test]
async fn a_store_that_refuses_puts_costs_one_token_in_four_minutes() {
    let (world, refresh_token) = world(20).await;
    world.aws.deny_put(&lease_name("crm-prod"));
    for minute in 0..12 {
        let report = answer(&world, &[complaint(&world, "crm-prod")]).await;
        let expected = if minute % 4 == 0 { "failed" } else { "deferred" };
        assert_eq!(line(&report, "crm-prod")["outcome"], expected, "minute {minute}");
        world.advance_minutes(1);
    }
    assert_eq!(world.zoho.mints(&refresh_token), 1 + 3);
    world.aws.allow(&lease_name("crm-prod"));
    answer(&world, &[complaint(&world, "crm-prod")]).await;
    assert_eq!(world.zoho.mints(&refresh_token), 1 + 4);
    assert!(world.token_lives("crm-prod"));
}

#[tokio::test]
async fn a_complaint_during_a_consent_leaves_a_lease_of_the_new_grant() {
    // While the new token of a complaint is minted or published, or while the mark is written.
    for (minutes, at) in [(20, 2), (20, 3), (20, 4), (1, 2), (1, 3)] {
        let (world, old) = world(minutes).await;
        let complaint = [complaint(&world, "crm-prod")];
        let hold = world.faults.hold_at(at);
        let consent = async {
            hold.reached().await;
            world.connect("crm-prod");
            let mut lease = world.document("crm-prod").expect("a document");
            lease["grant_version"] = json!(world.aws.secret_version(&grant_name("crm-prod")));
            lease["access_token"] = json!("1000.of-the-consent");
            lease["issued_at"] = json!(world.clock.now() + SignedDuration::from_secs(1));
            lease["expires_at"] = json!("2026-11-21T01:30:00Z");
            world.aws.put_parameter(&lease_name("crm-prod"), &lease.to_string());
            world.zoho.kill(&old);
            hold.release();
            lease
        };
        let (_, lease) = tokio::join!(answer(&world, &complaint), consent);
        let case = format!("after {minutes} minutes, held at call {at}");
        for field in ["status", "grant_version"] {
            assert_eq!(world.field("crm-prod", field), lease[field], "{case}: {field}");
        }
        let same = world.field("crm-prod", "access_token") == lease["access_token"];
        assert!(same || world.token_lives("crm-prod"), "{case}");
    }
}

#[tokio::test]
async fn anything_else_from_the_queue_of_complaints_is_dropped_and_does_nothing() {
    let long = "x".repeat(1024);
    let time = "2026-11-21T00:00:00Z";
    let cases = [
        (json!({"connections": ["crm-prod"], "force": true}).to_string(), "connections: is not a field of a complaint"),
        (json!({"connection": "crm-prod", "issued_at": time, "force": true}).to_string(), "force: is not a field"),
        (json!({"connection": ["crm-prod"], "issued_at": time}).to_string(), "connection: is not a string"),
        (json!({"connection": "CRM", "issued_at": time}).to_string(), "connection: a name is made of"),
        (json!({"connection": "../crm-prod", "issued_at": time}).to_string(), "connection: a name"),
        (json!({"connection": "crm-prod"}).to_string(), "issued_at: is not a string"),
        (json!({"connection": "crm-prod", "issued_at": 1}).to_string(), "issued_at: is not a string"),
        (json!({"connection": "crm-prod", "issued_at": "today"}).to_string(), "issued_at: is not a time such as"),
        (json!({"connection": "crm-prod", "issued_at": time, "x\n\u{1b}[2J": ""}).to_string(), "x[2J: is not a field"),
        (
            json!({"connection": "crm-prod", "issued_at": time, long.clone(): ""}).to_string(),
            "body: has more than 1024",
        ),
        ("{}".to_owned(), "connection: is not a string"),
        ("[]".to_owned(), "body: is not a JSON object"),
        (long, "body: is not a JSON object"),
    ];
    let (world, _) = world(20).await;
    world.faults.forget_calls();
    for (body, expected) in cases {
        let event = batch(&[body]);
        let Ok(Event::Complaints(messages)) = parse(&event) else { panic!("{expected}: another event") };
        let error = messages[0].1.as_ref().expect_err(expected).to_string();
        assert!(error.starts_with(expected), "{error}");
        assert_eq!(world.send(event).await.expect("an answer"), json!({"batchItemFailures": []}), "{expected}");
    }
    assert!(world.faults.calls().is_empty());
    // The others of its batch are answered.
    let report = answer(&world, &["{}".to_owned(), complaint(&world, "crm-prod")]).await;
    assert_eq!((&report["complaints"], &report["refreshed"]), (&json!(1), &json!(1)));
}

#[tokio::test]
async fn a_complaint_is_taken_from_its_own_queue_only() {
    let (world, _) = world(20).await;
    world.faults.forget_calls();
    let said = complaint(&world, "crm-prod");
    let error = world.send(serde_json::from_str(&said).expect("JSON")).await.expect_err("a refusal");
    assert!(error.to_string().contains("connection: is not a field of a request"), "{error}");
    for arn in ["token-keeper-chunks", "token-keeper-complaints.fifo-chunks", ""] {
        let mut event = batch(std::slice::from_ref(&said));
        event["Records"][0]["eventSourceARN"] = json!(format!("arn:aws:sqs:eu-central-1:123456789012:{arn}"));
        assert!(matches!(parse(&event), Ok(Event::Batch(_))), "{arn}");
        let answer = world.send(event).await.expect("an answer");
        assert_eq!(answer, json!({"batchItemFailures": [{"itemIdentifier": "0"}]}), "{arn}");
    }
    assert!(world.faults.calls().is_empty());
}

#[tokio::test]
async fn complaints_come_again_only_if_the_run_could_do_nothing() {
    let (world, _) = world(20).await;
    let refusal = testkit::aws::error("AccessDeniedException", "not authorized");
    world.faults.add(Rule::on("secretsmanager", "BatchGetSecretValue").times(1), Fault::Respond(refusal));
    let bodies = ["{}".to_owned(), complaint(&world, "crm-prod"), complaint(&world, "crm-prod")];
    let answer = world.send(batch(&bodies)).await.expect("an answer");
    assert_eq!(answer, json!({"batchItemFailures": [{"itemIdentifier": "1"}, {"itemIdentifier": "2"}]}));
    world.faults.add(Rule::on("zoho", "refresh_token"), Fault::Respond(answers::status(503, &json!({}))));
    let answer = world.send(batch(&bodies)).await.expect("an answer");
    assert_eq!(answer, json!({"batchItemFailures": []}), "the reader complains again, as long as it has to");
}

#[tokio::test]
async fn complaints_have_metrics_of_their_own_and_none_of_a_run() {
    let (world, _) = world(20).await;
    world.connect("books");
    world.run().await;
    let lines = Mutex::new(Vec::new());
    let tell = |report: &Report| {
        let mut line = Vec::new();
        let prefix = &world.refresher.settings.prefix;
        telemetry::write_metrics(report, prefix, world.clock.now(), &mut line).expect("a line");
        lines.lock().expect("the lines").push(serde_json::from_slice::<Value>(&line).expect("JSON"));
    };
    // One token is replaced, one is marked. The second batch is about a token that is not published
    // any more.
    let first = [complaint(&world, "crm-prod"), complaint(&world, "books")];
    world.advance_minutes(1);
    for complaints in [&first[..], &first[..1]] {
        let event = batch(complaints);
        handle(&event, &world.refresher, world.dispatcher.as_ref(), None, tell).await.expect("an answer");
    }
    let values = lines.into_inner().expect("the lines").into_iter().map(|line| {
        let metrics = line["_aws"]["CloudWatchMetrics"][0]["Metrics"].as_array().expect("metrics").iter();
        let named: Vec<_> = metrics.map(|metric| metric["Name"].as_str().expect("a name").to_owned()).collect();
        named.iter().map(|name| format!("{name} {}", line[name])).collect::<Vec<_>>().join(", ")
    });
    let expected = ["Complaints 2, Replaced 1, Rejected 1", "Complaints 1, Replaced 0"];
    assert_eq!(values.collect::<Vec<_>>(), expected, "a zero would end the alarm");
}

#[tokio::test]
async fn a_complaint_in_another_group_than_its_connections_is_dropped() {
    let (world, refresh_token) = world(20).await;
    let before = world.zoho.mints(&refresh_token);
    for group in [json!("books"), json!(""), Value::Null] {
        let mut event = batch(&[complaint(&world, "crm-prod")]);
        event["Records"][0]["attributes"]["MessageGroupId"] = group.clone();
        let answer = world.send(event).await.expect("an answer");
        assert_eq!((answer, world.zoho.mints(&refresh_token)), (json!({"batchItemFailures": []}), before), "{group}");
    }
}
