//! No secret appears in a wrong place, at any log level.

use std::fmt::Write as _;
use std::sync::Mutex;

use serde_json::{Value, json};
use testkit::log::Kept;
use testkit::wire::{Fault, Rule};
use testkit::zoho::answers;
use token_keeper::telemetry;
use tracing_subscriber::util::SubscriberInitExt as _;

use testkit::world::{EU_SECRET, World, grant_name, lease_name};

#[tokio::test]
async fn no_secret_reaches_a_log_a_report_an_error_a_metric_or_a_description_at_any_level() {
    for terminal in [false, true] {
        let log = Kept::default();
        let writer = log.clone();
        let guard = telemetry::subscriber(Some("TRACE"), terminal, move || writer.clone()).set_default();
        let world = World::with(&[("TOKEN_KEEPER_PUBLISH", "document,plain")]).await;
        let names = ["ok", "dead", "throttled", "refused", "down", "spoilt", "unwritten", "hung"];
        let tokens = names.map(|name| world.connect(name));
        let said = Mutex::new(String::new());
        let tell = |report: &token_keeper::run::report::Report| {
            telemetry::log(report);
            telemetry::write_metrics(report, &world.refresher.settings.prefix, world.clock.now(), &mut log.clone())
                .expect("a line");
            write!(said.lock().expect("the text"), "{report:?} {}", json!(report)).expect("text");
        };
        let [_, dead, throttled, refused, down, _, _, hung] = &tokens;
        world.zoho.kill(dead);
        let fault = |token: &str, fault: Fault| world.faults.add(Rule::on("zoho", "refresh_token").about(token), fault);
        fault(throttled, Fault::Respond(answers::throttled()));
        fault(refused, Fault::Respond(answers::status(200, &json!({"error": "invalid_client", "secret": EU_SECRET}))));
        fault(down, Fault::Respond(answers::status(200, &json!({"error": EU_SECRET, "access_token": down}))));
        fault(hung, Fault::Drop { handled: true });
        let spoilt =
            world.aws.secret(&grant_name("spoilt")).expect("a secret").replace("\"data_center\"", "data_center");
        world.aws.put_secret(&grant_name("spoilt"), &spoilt);
        world.faults.add(
            Rule::on("ssm", "PutParameter").about(&lease_name("unwritten")),
            Fault::Respond(testkit::aws::error("ValidationException", EU_SECRET)),
        );
        let arn = "arn:aws:sqs:eu-central-1:123456789012:token-keeper-complaints.fifo";
        let sent = |body: &Value| json!({"messageId": "1", "eventSource": "aws:sqs", "eventSourceARN": arn, "body": body.to_string()});
        let complaints = names.map(|name| sent(&json!({"connection": name, "issued_at": "2026-11-21T00:00:00Z"})));
        let complaints = json!({"Records": complaints});
        let events =
            [json!({}), json!({"connections": names, "force": true}), json!({"connections": tokens}), complaints];
        for event in events {
            let dispatcher = world.dispatcher.as_ref();
            let answer =
                token_keeper::lambda::refresher::handle(&event, &world.refresher, dispatcher, None, tell).await;
            let mut said = said.lock().expect("the text");
            match answer {
                Ok(answer) => said.push_str(&answer.to_string()),
                Err(error) => said.push_str(&error.to_string()),
            }
        }
        drop(guard);
        let mut said = said.into_inner().expect("the text");
        said.push_str(&log.text());
        let versions = world.aws.parameter_names().into_iter().flat_map(|name| world.aws.parameter_versions(&name));
        said.extend(versions.filter_map(|version| version.description));
        for word in ["run finished", "connection needs attention", "dead needs a new consent"] {
            assert!(said.contains(word), "{word} is not in {said}");
        }
        let access_tokens =
            names.map(|name| world.field(name, "access_token").as_str().unwrap_or("none yet").to_owned());
        for secret in tokens.iter().chain(&access_tokens).map(String::as_str).chain([EU_SECRET]) {
            assert!(!said.contains(secret), "a secret in: {said}");
        }
    }
}

#[tokio::test]
async fn debug_output_of_types_with_secrets_shows_no_secret() {
    let world = World::new().await;
    let refresh_token = world.connect("crm-prod");
    let settings = &world.refresher.settings;
    let secrets = token_keeper::ports::Grants::list(&world.refresher.grants).await.expect("secrets");
    let grants = token_keeper::connection::read_grants(&secrets, &settings.prefix, &settings.data_centers);
    let grant = grants["crm-prod"].as_ref().expect("a grant");
    let minted = token_keeper::ports::Issuer::mint(&world.refresher.issuer, grant).await.expect("a token");
    world.run().await;
    let leases = token_keeper::ports::Leases::list(&world.refresher.leases).await.expect("leases");
    let text = format!("{secrets:?} {grants:?} {minted:?} {leases:?}");
    let published = world.field("crm-prod", "access_token");
    for secret in
        [refresh_token.as_str(), EU_SECRET, minted.token.access_token.expose(), published.as_str().expect("a token")]
    {
        assert!(!text.contains(secret), "{text}");
    }
}
