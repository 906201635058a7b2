//! Rules of the AWS stand-in that moto does not have, and its functions to arrange and inspect.

mod clients;

use std::time::{Duration, Instant};

use aws_sdk_secretsmanager::types::{Filter, FilterNameStringType, SecretValueEntry};
use aws_sdk_ssm::types::{ParameterTier, ParameterType};
use clients::{clients, outcome_of};
use jiff::SignedDuration;
use testkit::aws::{self, Aws};
use testkit::clock::Clock;
use testkit::quota::Quotas;
use testkit::wire::{Fault, Faults, Rule};

struct Account {
    aws: Aws,
    clock: Clock,
    faults: Faults,
    secrets: aws_sdk_secretsmanager::Client,
    ssm: aws_sdk_ssm::Client,
    sqs: aws_sdk_sqs::Client,
}

impl Account {
    async fn new() -> Self {
        let (clock, faults) = (Clock::at("2026-11-21T00:00:00Z"), Faults::new());
        let aws = Aws::start(clock.clone(), faults.clone());
        let (secrets, ssm, sqs) = clients(&aws.url()).await;
        Self { aws, clock, faults, secrets, ssm, sqs }
    }

    async fn put(&self, name: &str, value: &str) -> String {
        let put = self.ssm.put_parameter().name(name).value(value).r#type(ParameterType::SecureString);
        outcome_of(put.overwrite(true).send().await)
    }

    async fn get(&self, name: &str, decrypted: bool) -> String {
        outcome_of(self.ssm.get_parameter().name(name).with_decryption(decrypted).send().await)
    }

    async fn by_path(&self, path: &str, decrypted: bool) -> String {
        outcome_of(self.ssm.get_parameters_by_path().path(path).with_decryption(decrypted).send().await)
    }
}

fn below(prefix: &str) -> Filter {
    Filter::builder().key(FilterNameStringType::Name).values(prefix).build()
}

#[tokio::test]
async fn what_a_test_stores_is_read_over_the_wire_and_the_reverse() {
    let account = Account::new().await;
    let version = account.aws.put_secret("tk/a", "one");
    let read = account.secrets.get_secret_value().secret_id("tk/a").send().await.expect("a value");
    assert_eq!((read.secret_string(), read.version_id()), (Some("one"), Some(version.as_str())));

    let put = account.secrets.put_secret_value().secret_id(read.arn().expect("an ARN")).secret_string("two");
    let put = put.send().await.expect("a new version");
    assert_eq!(account.aws.secret("tk/a").as_deref(), Some("two"));
    assert_eq!(account.aws.secret_version("tk/a"), put.version_id);

    account.aws.put_parameter("/tk/a", "one");
    assert_eq!(account.put("/tk/a", "two").await, "accepted");
    let parameter = account.aws.parameter("/tk/a").expect("a parameter");
    assert_eq!((parameter.value.as_str(), parameter.version, parameter.tier.as_str()), ("two", 2, "Standard"));
    assert_eq!(parameter.modified, account.clock.now());

    account.aws.put_binary_secret("tk/b", b"bytes");
    assert_eq!(account.aws.secret("tk/b"), None);
    let read = account.secrets.get_secret_value().secret_id("tk/b").send().await.expect("a value");
    assert_eq!(read.secret_binary().map(AsRef::as_ref), Some(b"bytes".as_slice()));

    account.aws.delete_secret("tk/a");
    assert_eq!(account.aws.secret_names(), ["tk/b"]);
    account.aws.remove_parameter("/tk/a");
    assert!(account.aws.parameter_names().is_empty());
}

#[tokio::test]
async fn a_denied_secret_or_refused_key_is_one_error_among_values() {
    let account = Account::new().await;
    for name in ["tk/a", "tk/b", "tk/c"] {
        account.aws.put_secret(name, "text");
    }
    account.aws.deny_secret("tk/a");
    account.aws.refuse_secret_key("tk/b");
    let by_id = ["tk/a", "tk/b", "tk/c"].map(String::from).to_vec();
    let batch = || account.secrets.batch_get_secret_value();
    for batch in [batch().set_secret_id_list(Some(by_id)), batch().filters(below("tk/"))] {
        let batch = batch.send().await.expect("a batch");
        let values: Vec<_> = batch.secret_values().iter().filter_map(|value| value.name()).collect();
        let errors: Vec<_> = batch.errors().iter().map(|error| (error.secret_id(), error.error_code())).collect();
        assert_eq!(values, ["tk/c"]);
        let expected = [(Some("tk/a"), Some("AccessDeniedException")), (Some("tk/b"), Some("DecryptionFailure"))];
        assert_eq!(errors, expected);
    }
    account.aws.allow("tk/a");
    assert_eq!(outcome_of(account.secrets.get_secret_value().secret_id("tk/a").send().await), "accepted");
}

#[tokio::test]
async fn a_refused_key_fails_every_decrypted_read_that_includes_the_parameter() {
    let account = Account::new().await;
    for number in 0..11 {
        account.aws.put_parameter(&format!("/tk/{number:02}"), "plaintext");
    }
    account.aws.refuse_parameter_key("/tk/05");
    assert_eq!(account.get("/tk/05", true).await, "AccessDeniedException");
    assert_eq!(account.get("/tk/05", false).await, "accepted");
    assert_eq!(account.get("/tk/06", true).await, "accepted");
    assert_eq!(account.by_path("/tk", true).await, "AccessDeniedException");
    assert_eq!(account.by_path("/tk", false).await, "accepted");
    let both = account.ssm.get_parameters().names("/tk/05").names("/tk/06").with_decryption(true);
    assert_eq!(outcome_of(both.send().await), "AccessDeniedException");
    assert_eq!(account.put("/tk/05", "new").await, "accepted");

    // A page that does not include the parameter is answered.
    account.aws.allow("/tk/05");
    account.aws.refuse_parameter_key("/tk/10");
    assert_eq!(account.by_path("/tk", true).await, "accepted");
}

#[tokio::test]
async fn a_denied_put_changes_nothing() {
    let account = Account::new().await;
    account.aws.deny_put("/tk/a");
    assert_eq!(account.put("/tk/a", "x").await, "AccessDeniedException");
    assert_eq!(account.aws.parameter("/tk/a"), None);
}

#[tokio::test]
async fn with_empty_pages_an_empty_page_comes_before_each_page() {
    let account = Account::new().await;
    for number in 0..21 {
        account.aws.put_secret(&format!("tk/{number}"), "text");
        account.aws.put_parameter(&format!("/tk/{number}"), "text");
    }
    account.aws.empty_pages(true);
    let (mut sizes, mut token) = (Vec::new(), None);
    loop {
        let page = account.secrets.batch_get_secret_value().filters(below("tk/")).set_next_token(token).send().await;
        let page = page.expect("a page");
        sizes.push(page.secret_values().len());
        token = page.next_token;
        if token.is_none() {
            break;
        }
    }
    assert_eq!(sizes, [0, 20, 0, 1]);

    let mut pages = account.secrets.list_secrets().filters(below("tk/")).into_paginator().send();
    let mut sizes = Vec::new();
    while let Some(page) = pages.next().await {
        sizes.push(page.expect("a page").secret_list().len());
    }
    assert_eq!(sizes, [0, 21]);

    let mut pages = account.ssm.get_parameters_by_path().path("/tk").into_paginator().send();
    let mut sizes = Vec::new();
    while let Some(page) = pages.next().await {
        sizes.push(page.expect("a page").parameters().len());
    }
    assert_eq!(sizes, [0, 10, 0, 10, 0, 1]);
}

#[tokio::test]
async fn after_a_burst_of_five_puts_are_refused_but_reads_and_other_services_are_not() {
    let account = Account::new().await;
    // Like the default, but refilled so slowly that the speed of this machine does not matter.
    account.aws.quotas(Quotas { puts_per_second: 0.001, ..Quotas::default() });
    let mut seen = Vec::new();
    for _ in 0..6 {
        seen.push(account.put("/tk/a", "x").await);
    }
    assert_eq!(seen[..5], ["accepted"; 5]);
    assert_eq!(seen[5], "ThrottlingException");
    assert_eq!(outcome_of(account.ssm.delete_parameter().name("/tk/a").send().await), "ThrottlingException");
    assert_eq!(
        account.aws.parameter("/tk/a").map(|parameter| parameter.version),
        Some(5),
        "what is refused changes nothing"
    );
    assert_eq!(account.get("/tk/a", true).await, "accepted");
    assert_eq!(outcome_of(account.secrets.list_secrets().send().await), "accepted");
    let url = account.aws.create_queue("tk");
    assert_eq!(outcome_of(account.sqs.receive_message().queue_url(url).send().await), "accepted");
}

#[tokio::test]
async fn each_kind_of_call_is_refused_by_its_own_quota() {
    let slow = 0.001;
    let account = Account::new().await;
    account.aws.put_secret("tk/a", "text");
    account.aws.put_parameter("/tk/a", "text");
    account.aws.quotas(Quotas {
        reads_per_second: slow,
        batches_per_second: slow,
        lists_per_second: slow,
        values_per_second: slow,
        writes_per_second: slow,
        ..Quotas::default()
    });
    for expected in ["accepted", "ThrottlingException"] {
        assert_eq!(account.get("/tk/a", true).await, expected);
        assert_eq!(outcome_of(account.secrets.batch_get_secret_value().secret_id_list("tk/a").send().await), expected);
        assert_eq!(outcome_of(account.secrets.list_secrets().send().await), expected);
        assert_eq!(outcome_of(account.secrets.get_secret_value().secret_id("tk/a").send().await), expected);
        let write = account.secrets.put_secret_value().secret_id("tk/a").secret_string("new");
        assert_eq!(outcome_of(write.send().await), expected);
    }
    assert_eq!(account.by_path("/tk", true).await, "ThrottlingException", "all reads of parameters share one");
    assert_eq!(account.put("/tk/a", "x").await, "accepted");
}

#[tokio::test]
async fn quotas_apply_by_default_and_can_be_lifted() {
    let account = Account::new().await;
    let mut seen = Vec::new();
    for _ in 0..100 {
        seen.push(account.put("/tk/a", "x").await);
    }
    assert!(seen.contains(&"ThrottlingException".to_owned()));
    account.aws.quotas(Quotas::lifted());
    for _ in 0..100 {
        assert_eq!(account.put("/tk/a", "x").await, "accepted");
    }
}

#[tokio::test]
async fn quotas_use_real_time_even_if_the_clock_is_set_by_hand() {
    let account = Account::new().await;
    account.aws.quotas(Quotas { puts_per_second: 0.001, put_burst: 1.0, ..Quotas::default() });
    assert_eq!(account.put("/tk/a", "x").await, "accepted");
    account.clock.advance(SignedDuration::from_hours(1));
    assert_eq!(account.put("/tk/a", "x").await, "ThrottlingException");

    account.aws.quotas(Quotas { puts_per_second: 20.0, put_burst: 1.0, ..Quotas::default() });
    assert_eq!(account.put("/tk/a", "x").await, "accepted");
    let started = Instant::now();
    while account.put("/tk/a", "x").await != "accepted" {
        assert!(started.elapsed() < Duration::from_secs(30), "the bucket never fills again");
    }
}

#[tokio::test]
async fn a_full_account_accepts_only_overwrites_and_advanced_parameters() {
    let account = Account::new().await;
    account.aws.quotas(Quotas::lifted());
    account.aws.parameter_limit(2);
    let create = async |name: &str, tier: ParameterTier| {
        outcome_of(
            account.ssm.put_parameter().name(name).value("x").r#type(ParameterType::String).tier(tier).send().await,
        )
    };
    assert_eq!(create("/tk/advanced", ParameterTier::Advanced).await, "accepted");
    assert_eq!(create("/tk/a", ParameterTier::Standard).await, "accepted");
    assert_eq!(create("/tk/b", ParameterTier::IntelligentTiering).await, "accepted");
    assert_eq!(create("/tk/c", ParameterTier::Standard).await, "ParameterLimitExceeded");
    assert_eq!(account.put("/tk/c", "x").await, "ParameterLimitExceeded");
    assert_eq!(account.aws.parameter("/tk/c"), None);
    let overwrite = account.ssm.put_parameter().name("/tk/a").value("y").overwrite(true);
    assert_eq!(outcome_of(overwrite.send().await), "accepted");
    // Intelligent-Tiering picks the tier that has room.
    assert_eq!(create("/tk/c", ParameterTier::IntelligentTiering).await, "accepted");
    let tiers = ["/tk/b", "/tk/c"].map(|name| account.aws.parameter(name).expect("a parameter").tier);
    assert_eq!(tiers, ["Standard", "Advanced"]);
    account.aws.remove_parameter("/tk/a");
    assert_eq!(create("/tk/d", ParameterTier::Standard).await, "accepted");
}

#[tokio::test]
async fn reads_of_a_held_back_secret_are_old_until_it_is_released() {
    let account = Account::new().await;
    let before = account.aws.put_secret("tk/changed", "old");
    account.aws.put_secret("tk/gone", "old");
    account.aws.put_secret("tk/other", "old");
    for name in ["tk/changed", "tk/gone", "tk/new"] {
        account.aws.hold_back_secret(name);
    }
    account.aws.delete_secret("tk/gone");
    let create = account.secrets.create_secret().name("tk/new").secret_string("new");
    assert_eq!(outcome_of(create.send().await), "accepted");
    for name in ["tk/changed", "tk/other"] {
        let put = account.secrets.put_secret_value().secret_id(name).secret_string("new");
        assert_eq!(outcome_of(put.send().await), "accepted");
    }
    let after = account.aws.secret_version("tk/changed").expect("a version");
    let ids = ["tk/changed", "tk/gone", "tk/new", "tk/other"];
    let seen = async || {
        let batch = || account.secrets.batch_get_secret_value();
        let by_id = batch().set_secret_id_list(Some(ids.map(String::from).to_vec())).send().await.expect("a batch");
        let by_filter = batch().filters(below("tk/")).send().await.expect("a batch");
        assert_eq!(by_id.secret_values(), by_filter.secret_values());
        let list = account.secrets.list_secrets().filters(below("tk/")).send().await.expect("a list");
        let listed: Vec<_> = list.secret_list().iter().filter_map(|secret| secret.name()).collect();
        let shown = |value: &SecretValueEntry| {
            (value.name().expect("a name").to_owned(), value.secret_string().expect("a text").to_owned())
        };
        let values: Vec<_> = by_id.secret_values().iter().map(shown).collect();
        assert_eq!(values.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), listed);
        let get = account.secrets.get_secret_value().secret_id("tk/changed").send().await.expect("a value");
        let described = account.secrets.describe_secret().secret_id("tk/new").send().await;
        (
            values.into_iter().map(|(name, text)| format!("{name} {text}")).collect::<Vec<_>>(),
            get.version_id,
            outcome_of(described),
        )
    };
    let old = ["tk/changed old", "tk/gone old", "tk/other new"].map(String::from).to_vec();
    for _ in 0..2 {
        assert_eq!(seen().await, (old.clone(), Some(before.clone()), "ResourceNotFoundException".to_owned()));
    }
    assert_eq!(account.aws.secret("tk/changed").as_deref(), Some("new"), "a test sees what is there");

    for name in ["tk/changed", "tk/gone", "tk/new"] {
        account.aws.release(name);
    }
    let new = ["tk/changed new", "tk/new new", "tk/other new"].map(String::from).to_vec();
    assert_eq!(seen().await, (new, Some(after), "accepted".to_owned()));
}

#[tokio::test]
async fn reads_of_a_held_back_parameter_are_old_but_puts_answer_the_true_version() {
    let account = Account::new().await;
    account.aws.put_parameter("/tk/changed", "old");
    account.aws.hold_back_parameter("/tk/changed");
    account.aws.hold_back_parameter("/tk/new");
    let mut versions = Vec::new();
    for name in ["/tk/changed", "/tk/changed", "/tk/new"] {
        let put = account.ssm.put_parameter().name(name).value("new").r#type(ParameterType::SecureString);
        versions.push(put.overwrite(true).send().await.expect("a version").version);
    }
    assert_eq!(versions, [2, 3, 1]);
    let seen = async || {
        let got = account.ssm.get_parameter().name("/tk/changed").with_decryption(true).send().await;
        let got = got.expect("a parameter").parameter.expect("a parameter");
        let many = account.ssm.get_parameters().names("/tk/changed").names("/tk/new").send().await.expect("parameters");
        let page = account.ssm.get_parameters_by_path().path("/tk").send().await.expect("a page");
        let described = account.ssm.describe_parameters().send().await.expect("a page");
        let counts = [many.parameters().len(), page.parameters().len(), described.parameters().len()];
        (got.value.expect("a value"), got.version, counts, account.get("/tk/changed:3", true).await)
    };
    assert_eq!(seen().await, ("old".to_owned(), 1, [1; 3], "ParameterVersionNotFound".to_owned()));
    assert_eq!(account.aws.parameter("/tk/changed").map(|parameter| parameter.version), Some(3));

    account.aws.release("/tk/changed");
    assert_eq!(seen().await, ("new".to_owned(), 3, [1; 3], "accepted".to_owned()), "the other is still held back");
    account.aws.release("/tk/new");
    assert_eq!(seen().await, ("new".to_owned(), 3, [2; 3], "accepted".to_owned()));
}

#[tokio::test]
async fn updates_of_one_parameter_that_come_too_soon_are_refused() {
    let account = Account::new().await;
    account.aws.update_window(SignedDuration::from_secs(5));
    assert_eq!(account.put("/tk/a", "x").await, "accepted");
    assert_eq!(account.put("/tk/a", "y").await, "TooManyUpdates");
    assert_eq!(account.put("/tk/b", "x").await, "accepted");
    account.clock.advance(SignedDuration::from_secs(5));
    assert_eq!(account.put("/tk/a", "y").await, "accepted");
}

#[tokio::test]
async fn an_overwrite_keeps_what_it_does_not_name() {
    let account = Account::new().await;
    let policies = r#"[{"Type":"Expiration","Version":"1.0","Attributes":{"Timestamp":"2026-11-21T01:00:00Z"}}]"#;
    let put = account.ssm.put_parameter().name("/tk/a").value("x").r#type(ParameterType::SecureString);
    let put = put.tier("Advanced".into()).key_id("alias/own").policies(policies);
    assert_eq!(outcome_of(put.send().await), "accepted");
    assert_eq!(account.put("/tk/a", "y").await, "accepted");
    let parameter = account.aws.parameter("/tk/a").expect("a parameter");
    assert_eq!((parameter.value.as_str(), parameter.tier.as_str()), ("y", "Advanced"));
    assert_eq!((parameter.key_id.as_deref(), parameter.policies.as_deref()), (Some("alias/own"), Some(policies)));
    // Nothing removes it at that time: AWS is late, and readers must not rely on it.
    account.clock.advance(SignedDuration::from_hours(2));
    assert_eq!(account.get("/tk/a", true).await, "accepted");
}

#[tokio::test]
async fn a_message_may_fail_while_the_others_of_its_batch_are_accepted() {
    let account = Account::new().await;
    let url = account.aws.create_queue("tk");
    account.aws.refuse_message("two");
    let entry = |body: &str| {
        aws_sdk_sqs::types::SendMessageBatchRequestEntry::builder()
            .id(body)
            .message_body(body)
            .build()
            .expect("an entry")
    };
    let send = || account.sqs.send_message_batch().queue_url(&url).entries(entry("one")).entries(entry("two")).send();
    let answer = send().await.expect("an answer");
    let failed: Vec<_> = answer.failed.iter().map(|entry| (entry.id.as_str(), entry.sender_fault)).collect();
    assert_eq!((failed, answer.successful.len()), (vec![("two", false)], 1));
    assert_eq!(account.aws.take_messages(&url), ["one"]);
    account.aws.allow("two");
    assert!(send().await.expect("an answer").failed.is_empty());
    assert_eq!(account.aws.take_messages(&url), ["one", "two"]);
    assert_eq!(account.faults.calls()[0].to_string(), "sqs SendMessageBatch tk");
}

#[tokio::test]
async fn a_received_message_comes_again_after_its_time_and_only_its_newest_receipt_deletes_it() {
    let account = Account::new().await;
    let url = account.aws.create_queue("tk");
    let entry = aws_sdk_sqs::types::SendMessageBatchRequestEntry::builder().id("a").message_body("a").build();
    let send = account.sqs.send_message_batch().queue_url(&url).entries(entry.expect("an entry"));
    send.send().await.expect("an answer");
    let receive = async || {
        let received = account.sqs.receive_message().queue_url(&url).send().await.expect("an answer");
        received.messages.unwrap_or_default().pop().and_then(|message| message.receipt_handle)
    };
    let delete = async |receipt: &str| {
        let entry =
            aws_sdk_sqs::types::DeleteMessageBatchRequestEntry::builder().id("a").receipt_handle(receipt).build();
        let delete = account.sqs.delete_message_batch().queue_url(&url).entries(entry.expect("an entry"));
        outcome_of(delete.send().await)
    };
    let first = receive().await.expect("a message");
    assert_eq!(receive().await, None);
    account.clock.advance(SignedDuration::from_secs(30));
    let second = receive().await.expect("the message again");
    account.clock.advance(SignedDuration::from_secs(30));
    assert_eq!(delete(&first).await, "accepted");
    assert!(receive().await.is_some_and(|third| third != second), "an old receipt deletes nothing");
    assert_eq!(account.aws.take_messages(&url), ["a"]);
}

#[tokio::test]
async fn calls_are_named_and_canned_errors_reach_the_client() {
    let account = Account::new().await;
    let arn = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:tk/a-AbCdEf";
    account.faults.add(
        Rule::on("ssm", "PutParameter").about("/tk/a").times(1),
        Fault::Respond(aws::error("TooManyUpdates", "busy")),
    );
    account.faults.add(Rule::service("secretsmanager").times(1), Fault::Respond(aws::server_error()));
    assert_eq!(account.put("/tk/a", "x").await, "TooManyUpdates");
    assert_eq!(account.put("/tk/a", "x").await, "accepted");
    assert_eq!(outcome_of(account.secrets.get_secret_value().secret_id(arn).send().await), "InternalServiceError");
    assert_eq!(account.by_path("/tk", false).await, "accepted");
    let batch = || account.secrets.batch_get_secret_value();
    assert_eq!(outcome_of(batch().filters(below("tk/")).send().await), "accepted");
    assert_eq!(outcome_of(batch().secret_id_list("tk/a").secret_id_list(arn).send().await), "accepted");
    let calls: Vec<_> = account.faults.calls().iter().map(ToString::to_string).collect();
    let expected = [
        "ssm PutParameter /tk/a",
        "ssm PutParameter /tk/a",
        "secretsmanager GetSecretValue tk/a",
        "ssm GetParametersByPath /tk",
        "secretsmanager BatchGetSecretValue tk/",
        "secretsmanager BatchGetSecretValue tk/a,tk/a",
    ];
    assert_eq!(calls, expected);
}

#[tokio::test]
async fn an_unknown_operation_or_field_or_token_is_refused() {
    let account = Account::new().await;
    let http = reqwest::Client::new();
    for (target, body, code) in [
        ("AmazonSSM.LabelParameterVersion", "{}", "UnknownOperationException"),
        ("DynamoDB_20120810.GetItem", "{}", "UnknownOperationException"),
        ("AmazonSSM.GetParameter", r#"{"Name": "/a", "Shape": "round"}"#, "SerializationException"),
        ("secretsmanager.ListSecrets", r#"{"NextToken": "made up"}"#, "InvalidNextTokenException"),
        ("AmazonSSM.GetParametersByPath", r#"{"Path": "/", "NextToken": "made up"}"#, "InvalidNextToken"),
    ] {
        let answer = http.post(account.aws.url()).header("x-amz-target", target).body(body).send().await;
        let answer = answer.expect("an answer");
        assert_eq!(answer.status(), 400, "{target}");
        assert_eq!(answer.headers()["x-amzn-errortype"], code, "{target}");
    }
}

#[tokio::test]
async fn a_secret_that_is_full_of_versions_takes_the_next_one_when_the_oldest_is_a_day_old() {
    let account = Account::new().await;
    account.aws.quotas(Quotas::lifted());
    account.aws.put_secret("rotating", "0");
    let put = |number: i32| account.secrets.put_secret_value().secret_id("rotating").secret_string(number.to_string());
    let quarter = SignedDuration::from_mins(15);
    for number in 1..=96 {
        account.clock.advance(quarter);
        put(number).send().await.expect("four versions an hour are fine");
    }
    for number in 97..=99 {
        put(number).send().await.expect("there are 100 places");
    }
    assert_eq!(outcome_of(put(100).version_stages("mine").send().await), "accepted", "the first one is a day old");
    assert_eq!(outcome_of(put(101).send().await), "LimitExceededException");
    assert_eq!(account.aws.secret("rotating").as_deref(), Some("99"), "the refused put has changed nothing");
    account.clock.advance(quarter);
    assert_eq!(outcome_of(put(101).send().await), "accepted");
}

#[tokio::test]
async fn a_call_that_is_cut_off_was_carried_out_or_not_as_the_test_says() {
    for handled in [false, true] {
        let account = Account::new().await;
        let version = account.aws.put_secret("connections/crm", "old");
        account.aws.put_parameter("/claims/crm/v0", "x");
        for (service, operation) in [
            ("ssm", "PutParameter"),
            ("ssm", "DeleteParameters"),
            ("secretsmanager", "PutSecretValue"),
            ("secretsmanager", "UpdateSecretVersionStage"),
        ] {
            account.faults.add(Rule::on(service, operation).times(1), Fault::Drop { handled });
        }
        let claim = || {
            let put =
                account.ssm.put_parameter().name("/claims/crm/v1").value("{}").r#type(ParameterType::SecureString);
            put.overwrite(false).send()
        };
        claim().await.expect_err("an answer that is lost");
        assert_eq!(outcome_of(claim().await), if handled { "ParameterAlreadyExists" } else { "accepted" });
        account.ssm.delete_parameters().names("/claims/crm/v0").send().await.expect_err("an answer that is lost");
        assert_eq!(account.aws.parameter("/claims/crm/v0").is_none(), handled);
        let token = "2".repeat(32);
        let put = account.secrets.put_secret_value().secret_id("connections/crm").secret_string("new");
        let put = put.client_request_token(&token).version_stages("mine");
        put.clone().send().await.expect_err("an answer that is lost");
        put.send().await.expect("the same version again");
        let move_label = || {
            let call = account.secrets.update_secret_version_stage().secret_id("connections/crm");
            let call = call.version_stage("AWSCURRENT").move_to_version_id(&token);
            call.remove_from_version_id(&version).send()
        };
        move_label().await.expect_err("an answer that is lost");
        assert_eq!(account.aws.secret("connections/crm").as_deref(), Some(if handled { "new" } else { "old" }));
        let again = if handled { "InvalidParameterException" } else { "accepted" };
        assert_eq!(outcome_of(move_label().await), again);
    }
}
