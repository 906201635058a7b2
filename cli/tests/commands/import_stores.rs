//! `import` of what other programs leave behind: the token stores of Zoho's SDKs, exports of their
//! table, and answers of Zoho's token endpoint. `../fixtures/README.md` says what made the files.

use serde_json::{Value, json};
use testkit::world::{CLIENT_ID, EU_SECRET, World};

use crate::import::{complaint, import};
use crate::typed::type_in;

const NODEJS: &str = include_str!("../fixtures/nodejs_sdk_8_tokens.txt");
const PYTHON: &str = include_str!("../fixtures/python_sdk_8_tokens.txt");
const PYTHON_2: &str = include_str!("../fixtures/python_sdk_2_tokens.txt");
const TYPESCRIPT: &str = include_str!("../fixtures/typescript_sdk_8_tokens.txt");
const TABLE: &str = include_str!("../fixtures/python_sdk_8_oauthtoken.tsv");
/// What the token endpoint answers to a code, with a refresh token.
const ANSWER: &str = r#"{"access_token":"1000.hush-access-token","refresh_token":"<token>","scope":"ZohoCRM.modules.ALL ZohoCRM.users.READ",
    "api_domain":"https://www.zohoapis.eu","token_type":"Bearer","expires_in":3600}"#;

/// What the stores of today hold: the connection, the end of its refresh token and its data centre.
const STORED: [(&str, &str, &str, &str); 3] = [
    ("sales-example.com", "sales", "eu", "https://www.zohoapis.eu"),
    ("example-support", "support", "us", "https://www.zohoapis.com"),
    ("3", "nobody", "in", "https://www.zohoapis.in"),
];

async fn check_stored(input: &str) {
    let world = World::new().await;
    let (shown, done) = import(&world, "", input).await;
    assert_eq!(done, Ok(()), "{input}");
    assert!(shown.contains("\n3 of 3 connections stored.\n"), "{shown}");
    for (connection, user, data_center, api_domain) in STORED {
        let expected = json!({"client_id": "1000.SDKCLIENT", "client_secret": "hush-client-secret", "data_center": data_center,
            "refresh_token": format!("1000.hush-refresh-token-of-{user}"), "api_domain": api_domain});
        assert_eq!(world.grant(connection), expected, "{input}");
    }
    let (shown, done) = import(&world, "", input).await;
    assert_eq!(done, Ok(()), "the same again");
    assert!(shown.contains("\n0 of 3 connections stored.\n"), "{shown}");
}

/// The rows of the table as an export to JSON has them.
fn json_rows() -> Vec<Value> {
    let mut lines = TABLE.lines().map(|line| line.split('\t').collect::<Vec<_>>());
    let header = lines.next().expect("a header");
    let value = |text: &str| if text == "NULL" { Value::Null } else { json!(text.replace("\\\\", "\\")) };
    lines.map(|row| header.iter().zip(row).map(|(name, text)| ((*name).to_owned(), value(text))).collect()).collect()
}

#[tokio::test]
async fn the_file_of_each_sdk_of_today_becomes_connections() {
    for file in [PYTHON, NODEJS, TYPESCRIPT] {
        check_stored(file).await;
    }
    // By their source, the Java SDK ends the last row too, and the PHP SDK on Windows writes
    // "\r\n".
    check_stored(&format!("{NODEJS}\n")).await;
    check_stored(&NODEJS.replace('\n', "\r\n")).await;
}

#[tokio::test]
async fn an_export_of_the_table_of_the_sdks_becomes_connections() {
    check_stored(TABLE).await;
    check_stored(&TABLE.replace("NULL", "\\N")).await;
    let quoted = TABLE.replace("\\\\", "\\").replace('\t', "\";\"").replace('\n', "\"\n\"").replace("\"NULL\"", "NULL");
    check_stored(&format!("\"{}", quoted.trim_end_matches('"'))).await;
    let mut rows = json_rows();
    check_stored(&json!(rows).to_string()).await;
    check_stored(&json!({"oauthtoken": rows}).to_string()).await;
    rows[2]["id"] = json!(3);
    check_stored(&json!(rows).to_string()).await;
}

#[tokio::test]
async fn an_older_sdk_names_no_data_center_and_a_newer_one_takes_its_file_over() {
    let expected = json!({"client_id": "1000.SDKCLIENT", "client_secret": "hush-client-secret", "data_center": "in",
        "refresh_token": "1000.hush-refresh-token-of-sales"});
    let (header, row) = PYTHON_2.trim_end().split_once("\r\n").expect("a header and a row");
    let taken_over = |blank: &str| format!("{header},api_domain\r\n{row},\r\n{blank}\r\n");
    for input in [PYTHON_2.to_owned(), taken_over("\"\""), taken_over(",")] {
        let world = World::new().await;
        let seen = complaint(&world, "", &input).await;
        assert!(seen.contains("row 1 (sales-example.com): the field `data_center` is missing"), "{seen}");
        import(&world, "--data-center in", &input).await.1.expect("imported");
        assert_eq!(world.grant("sales-example.com"), expected);
    }
}

#[tokio::test]
async fn an_answer_of_the_token_endpoint_becomes_a_connection_that_mints() {
    let acme = json!({"client": "acme", "data_center": "eu", "scopes": ["ZohoCRM.modules.ALL", "ZohoCRM.users.READ"]});
    let inline = json!({"client_id": CLIENT_ID, "client_secret": EU_SECRET, "data_center": "eu"});
    let with = |change: &dyn Fn(&mut Value)| {
        let mut answer = serde_json::from_str(ANSWER).expect("JSON");
        change(&mut answer);
        answer.to_string()
    };
    let named = with(&|answer| answer["connection"] = json!("crm"));
    let old = with(&|answer| {
        answer["expires_in_sec"] = json!(3600);
        answer["api_domain"] = Value::Null;
    });
    let own_client = with(&|answer| {
        for field in ["client_id", "client_secret"] {
            answer[field] = inline[field].clone();
        }
        answer["scope"] = Value::Null;
    });
    for (arguments, input, expected, api_domain) in [
        ("answer.json --connection crm --client acme", ANSWER.to_owned(), &acme, true),
        ("--client acme", format!("[{named}]"), &acme, true),
        ("--connection crm --client acme --data-center eu", old, &acme, false),
        ("--connection crm", own_client, &inline, true),
    ] {
        let world = World::new().await;
        let refresh_token = world.zoho.consent("eu", CLIENT_ID, &["ZohoCRM.modules.ALL"]);
        let done = import(&world, arguments, input.replace("<token>", &refresh_token)).await.1;
        assert_eq!(done, Ok(()), "{arguments} {input}");
        let mut expected = expected.clone();
        expected["refresh_token"] = json!(refresh_token);
        if api_domain {
            expected["api_domain"] = json!("https://www.zohoapis.eu");
        }
        assert_eq!(world.grant("crm"), expected, "{arguments} {input}");
        type_in(&world, "refresh crm", "").await.expect(arguments);
    }
}

#[tokio::test]
async fn an_answer_without_a_refresh_token_is_refused_with_what_it_is() {
    let world = World::new().await;
    let refresh = r#"{"access_token":"1000.hush","scope":"A.b","api_domain":"https://www.zohoapis.eu","token_type":"Bearer","expires_in":3600}"#;
    let no_refresh_token = "row 1: it has an access token but no refresh token, as Zoho answers a refresh or a consent without offline access; \
                            import what Zoho answered when the code was exchanged; if that is lost, make a new grant with token-keeper connect or grant";
    let refused = "row 1: it is an answer by which Zoho refused: it has an `error` and no refresh token; \
                   a code works once, for a few minutes, in its own data centre: make a new one and let token-keeper grant exchange it";
    let sdk = "id,user_name,client_id,client_secret,refresh_token,access_token,grant_token,expiry_time,redirect_url,api_domain";
    for (input, expected) in [
        (refresh.to_owned(), no_refresh_token),
        (refresh.replace("\"scope\"", "\"refresh_token\":null,\"scope\""), no_refresh_token),
        (r#"{"error":"hush"}"#.to_owned(), refused),
        (r#"{"error_description":"hush","error":"general_error","status":"failure"}"#.to_owned(), refused),
        (
            format!("{sdk}\n1,me,c,hush,,1000.hush,,,,https://www.zohoapis.eu"),
            "row 1 (me): it has an access token but no refresh token",
        ),
    ] {
        let seen = complaint(&world, "", &input).await;
        assert!(seen.contains(expected), "{input}: {seen}");
    }
    assert_eq!(world.writes(), 0);
}
