//! `import`: each format, and each thing that it refuses.
//!
//! Every secret here contains "hush" or belongs to the stand-in. No command may print one.

use serde_json::{Value, json};
use testkit::aws;
use testkit::wire::{Fault, Rule};
use testkit::world::{CLIENT_ID, EU_SECRET, World, grant_name};

use crate::typed::{Typed, run, type_in};

const HUSH: &str = "1000.hush00000000000000000000000000000000000000000000000000.hush";

/// Imports this input. Returns what the command shows, and its error.
pub(crate) async fn import(world: &World, arguments: &str, input: impl AsRef<[u8]>) -> (String, Result<(), String>) {
    let console = Typed { file: input.as_ref().to_vec(), width: Some(120), ..Typed::default() };
    let done = Box::pin(run(world, &format!("import {arguments}"), &console)).await;
    let shown = console.shown.into_inner();
    let said = format!("{shown}{done:?}");
    assert!(!said.contains("hush"), "{said}");
    assert!(!said.contains(EU_SECRET), "{said}");
    for refresh_token in world.zoho.refresh_tokens() {
        assert!(!said.contains(&refresh_token), "{said}");
    }
    (shown, done)
}

pub(crate) async fn complaint(world: &World, arguments: &str, input: impl AsRef<[u8]>) -> String {
    import(world, arguments, input).await.1.expect_err("an input that is refused")
}

/// A grant that refers to client acme.
fn grant(connection: &str, refresh_token: &str) -> Value {
    json!({"connection": connection, "client": "acme", "data_center": "eu", "refresh_token": refresh_token})
}

fn token(number: usize) -> String {
    format!("1000.hush{number:0>50}.hush")
}

#[tokio::test]
async fn import_shows_its_plan_stores_it_and_mints_nothing() {
    let world = World::new().await;
    world.aws.put_secret(&grant_name("books"), &grant("books", &token(1)).to_string());
    world.aws.put_secret(&grant_name("desk"), &grant("desk", &token(9)).to_string());
    let crm = json!({"connection": "crm-prod", "client_id": "1000.OTHER", "client_secret": "hush", "data_center": "us",
        "refresh_token": token(2), "scopes": ["ZohoCRM.modules.ALL"], "api_domain": "https://www.zohoapis.com"});
    let input = json!([grant("books", &token(1)), crm, grant("desk", &token(3))]);
    let (shown, done) = import(&world, "grants.json --replace", input.to_string()).await;
    assert_eq!(done, Ok(()));
    assert_eq!(
        shown,
        " connection  server  client   scopes               refresh token  plan\n \
          books       eu      acme                          1000....       unchanged\n \
          crm-prod    us      its own  ZohoCRM.modules.ALL  1000....       new\n \
          desk        eu      acme                          1000....       replace\n\n\
         2 of 3 connections stored.\n\
         Nothing was minted. Next: token-keeper refresh books crm-prod desk\n"
    );
    assert_eq!((world.writes(), world.zoho_calls()), (2, 0));
    let mut stored = crm.clone();
    stored.as_object_mut().expect("an object").remove("connection");
    assert_eq!(world.grant("crm-prod"), stored);
    assert_eq!(world.refresh_token("desk"), Some(token(3)));
}

#[tokio::test]
async fn each_format_becomes_a_connection_that_mints() {
    let sdk = "id,user_name,client_id,client_secret,refresh_token,access_token,grant_token,expiry_time,redirect_url,api_domain";
    let older = "user_mail,client_id,refresh_token,access_token,grant_token,expiry_time";
    let inline = json!({"client_id": CLIENT_ID, "client_secret": EU_SECRET, "data_center": "eu"});
    let acme = json!({"client": "acme", "data_center": "eu"});
    let with = |fields: &Value, more: Value| {
        let mut fields = fields.as_object().expect("an object").clone();
        fields.extend(more.as_object().expect("an object").clone());
        Value::Object(fields)
    };
    let api_domain = json!({"api_domain": "https://www.zohoapis.eu"});
    let scopes = json!({"scopes": ["A.x.ALL", "B.x.READ"]});
    for (arguments, input, connection, expected) in [
        ("a.json", json!({"connection": "crm", "client": "acme", "data_center": "eu", "refresh_token": "<token>"}).to_string(), "crm", acme.clone()),
        ("", format!(r#"{{"connections": [{}]}}"#, with(&inline, json!({"connection": "crm", "refresh_token": "<token>", "note": [1]}))), "crm", with(&inline, json!({"note": [1]}))),
        ("--client acme", format!("\u{feff}[{}]", with(&inline, json!({"connection": "crm", "refresh_token": "<token>"}))), "crm", acme.clone()),
        ("a.csv", "Connection,client,data_center,refresh_token,scopes\r\n crm ,acme,eu,<token>,\"A.x.ALL,B.x.READ\"\r\n\r\n".to_owned(), "crm", with(&acme, scopes.clone())),
        ("", "connection,client,data_center,refresh_token,scopes\ncrm,acme,eu,<token>,A.x.ALL B.x.READ".to_owned(), "crm", with(&acme, scopes.clone())),
        ("", "connection;client;data_center;refresh_token;scopes\r\n\"crm\";acme;eu;<token>;A.x.ALL,B.x.READ\r\n".to_owned(), "crm", with(&acme, scopes.clone())),
        ("a.tsv", "connection\tclient\tdata_center\trefresh_token\tscopes\ncrm\tacme\teu\t<token>\tA.x.ALL B.x.READ\n".to_owned(), "crm", with(&acme, scopes.clone())),
        ("a.csv --data-center eu --client acme", "connection,client_id,client_secret,data_center,refresh_token\ncrm,<id>,<secret>,mars,<token>".to_owned(), "crm", acme.clone()),
        (".env --connection crm", "# Zoho\nPORT=1\nexport ZOHO_CLIENT_ID=<id>\nZOHO_CLIENT_SECRET='<secret>'\nZOHO_REFRESH_TOKEN=\"<token>\"\nZOHO_DC=EU\nZOHO_API_DOMAIN=https://www.zohoapis.eu\n".to_owned(), "crm", inline.clone()),
        ("--connection crm --client acme --data-center eu", "ZOHO_REFRESH_TOKEN=<token>".to_owned(), "crm", acme.clone()),
        ("zoho_sdk_tokens.txt", format!("{sdk}\n1,Sales@Example.com,<id>,<secret>,<token>,1000.hush,,1700000000000,,https://www.zohoapis.eu\n"), "sales-example.com", with(&inline, api_domain.clone())),
        ("tokens.txt --connection crm --client acme", format!("{sdk}\n1,,<id>,<secret>,<token>,1000.hush,,,,https://www.zohoapis.eu/"), "crm", with(&acme, json!({"api_domain": "https://www.zohoapis.eu/"}))),
        ("tokens.txt", format!("{sdk}\n17,,<id>,<secret>,<token>,,,,,https://www.zohoapis.eu"), "17", with(&inline, api_domain)),
        ("--client acme --data-center eu", format!("{older}\nme@example.com,<id>,<token>,1000.hush,,1700000000000"), "me-example.com", acme),
    ] {
        let world = World::new().await;
        let refresh_token = world.zoho.consent("eu", CLIENT_ID, &["ZohoCRM.modules.ALL"]);
        let words = [("<token>", refresh_token.as_str()), ("<secret>", EU_SECRET), ("<id>", CLIENT_ID)];
        let input = words.iter().fold(input, |input, (word, value)| input.replace(word, value));
        let (shown, done) = import(&world, arguments, &input).await;
        assert_eq!(done, Ok(()), "{arguments} {input}");
        assert!(shown.ends_with(&format!("\n1 of 1 connection stored.\nNothing was minted. Next: token-keeper refresh {connection}\n")), "{shown}");
        assert_eq!(world.grant(connection), with(&expected, json!({"refresh_token": refresh_token})), "{input}");
        type_in(&world, &format!("refresh {connection}"), "").await.expect(arguments);
        assert!(world.document(connection).is_some(), "{arguments}");
    }
}

#[tokio::test]
async fn an_input_that_cannot_be_read_is_refused_and_changes_nothing() {
    let world = World::new().await;
    world.faults.forget_calls();
    let header = "connection,client,data_center,refresh_token";
    let own = |fields: &str| format!("[{{{fields}}}]");
    for (arguments, input, expected) in [
        ("", String::new(), "the input is empty\n  -> name a file, or pipe one in"),
        ("a.csv", " \n".to_owned(), "the input is empty"),
        (
            "",
            "hush".to_owned(),
            "the input does not look like JSON, CSV or .env\n  -> name its format: --format json, csv or env",
        ),
        ("a.json", "hush".to_owned(), "the input is not valid JSON: see line 1, column 1\n"),
        ("a.json", "\"hush\"".to_owned(), "the input is neither a JSON object nor an array\n"),
        ("a.json", "[{}, \"hush\"]".to_owned(), "row 2 is not a JSON object\n"),
        ("", "{\"connections\": [7]}".to_owned(), "row 1 is not a JSON object\n"),
        ("", "[]".to_owned(), "there is no connection in the input\n"),
        ("", own(r#""refresh_token": "hush1", "refresh_token": "hush2""#), "a field occurs twice, at line 1\n"),
        (
            "a.csv",
            "crm,acme,eu,hush".to_owned(),
            "the header has no column `refresh_token`\n  -> the first line must name the columns, separated by commas, semicolons or tabs: connection, client,",
        ),
        ("a.csv", header.to_owned(), "there is no connection in the input"),
        ("a.csv", format!("{header},hush\n"), "column 5 of the header has an unknown name"),
        ("a.csv", format!("{header},client\n"), "the header has the column `client` twice"),
        (
            "a.csv",
            format!("{header}\ncrm,acme,eu,hush\ndesk,acme,eu,hush,A.b.READ\n"),
            "row 2 has 5 fields, and the header has 4\n",
        ),
        (
            "a.env",
            "A=1\n\nhush hush\n".to_owned(),
            "the input is not a .env file: a line is not NAME=value (see line 3)\n",
        ),
        ("a.env", "A='hush\nZOHO_REFRESH_TOKEN=hush\n".to_owned(), "a line is not NAME=value (see line 1)\n"),
        (
            "a.env",
            "ZOHO_DC=eu\nZOHO_ACCOUNTS_URL=https://accounts.zoho.jp".to_owned(),
            "the input has two values for `data_center`, the second in ZOHO_ACCOUNTS_URL\n",
        ),
        (
            "a.env",
            "ZOHO_REFRESH_TOKEN=hush\nZOHO_REFRESH_TOKEN=hush2".to_owned(),
            "the input has two values for `refresh_token`",
        ),
        (
            "a.env",
            "A=1\nexport ZOHO_REFRESH_TOKEN=${HOME}".to_owned(),
            "ZOHO_REFRESH_TOKEN in line 2 refers to another variable\n  -> write the value itself",
        ),
        (
            "a.json --connection crm",
            "[{}, {}]".to_owned(),
            "--connection gives one name, but the input has 2 connections\n",
        ),
        ("a.json --data-center mars", "[{}]".to_owned(), "mars is not a known data centre\n  -> use one of ae, au"),
        ("a.json --format xml", "[{}]".to_owned(), "invalid value 'xml'"),
        ("a.json --connection Crm", "[{}]".to_owned(), "a name is made of a-z"),
    ] {
        let seen = complaint(&world, arguments, &input).await;
        assert!(seen.contains(expected), "{arguments} {input}: {seen}");
    }
    let seen = complaint(&world, "a.csv", b"connection,refresh_token\ncrm,hush\xff\n").await;
    assert_eq!(seen, "the input is not UTF-8, from line 2 on\n  -> save it as UTF-8");
    let others = world.faults.calls().into_iter().filter(|call| call.subject != "/token-keeper/settings");
    assert_eq!(others.count(), 0, "no call is made");
}

#[tokio::test]
async fn a_refused_row_is_named_by_number_and_field_and_nothing_is_stored() {
    let world = World::new().await;
    world.aws.put_secret(&grant_name("gone"), "{}");
    world.aws.delete_secret(&grant_name("gone"));
    world.aws.put_secret(&grant_name("broken"), "hush");
    world.faults.forget_calls();
    let with = |field: &str, value: Value| {
        let mut row = grant("crm", HUSH);
        row[field] = value;
        row
    };
    let without = |field: &str| with(field, Value::Null);
    let like_a_token = "1000.0123456789abcdef0123456789abcdef";
    for (row, expected) in [
        (
            json!({}),
            "row 2: the field `connection` is missing; give the connection's name, in the input or with --connection",
        ),
        (
            without("client"),
            "row 2 (crm): the field `client` is missing; give `client_id` and `client_secret`, or --client",
        ),
        (
            without("data_center"),
            "row 2 (crm): the field `data_center` is missing; give the account's data centre, in the input or with --data-center",
        ),
        (
            without("refresh_token"),
            "row 2 (crm): the field `refresh_token` is missing; put a value into `refresh_token`",
        ),
        (with("refresh_token", json!("")), "row 2 (crm): the field `refresh_token` is empty"),
        (with("refresh_token", json!("1000.hush hush")), "row 2 (crm): the field `refresh_token` contains white space"),
        (with("refresh_token", json!("1000.hush\n")), "row 2 (crm): the field `refresh_token` contains white space"),
        (with("refresh_token", json!(["hush"])), "row 2 (crm): the field `refresh_token` is not a string"),
        (with("data_center", json!("hush")), "row 2 (crm): the data centre is not one of ae, au"),
        (
            with("data_center", json!("in")),
            "row 2 (crm): secret token-keeper/clients/acme: it has no client secret for the data centre in",
        ),
        (
            with("client", json!("nobody")),
            "row 2 (crm): secret token-keeper/clients/nobody: there is no secret of this name; store the client first: token-keeper client add nobody",
        ),
        (with("client", json!("Acme")), "row 2 (crm): the field `client`: a name is made of a-z"),
        (
            with("client", json!(like_a_token)),
            "row 2 (crm): the field `client` looks like a secret; check whether you mixed up two fields",
        ),
        (with("client_id", json!("hush")), "row 2 (crm): both `client` and `client_id`/`client_secret` are given"),
        (with("scopes", json!("hush")), "row 2 (crm): the field `scopes` is not an array of strings"),
        (with("api_domain", json!("hush")), "row 2 (crm): the field `api_domain` is not a URL"),
        (
            with("connection", json!("Crm")),
            "row 2: the field `connection`: a name is made of a-z, 0-9, '-', '_' and '.', not of 'C'",
        ),
        (
            with("connection", json!("x".repeat(65))),
            "row 2: the field `connection`: a name has at most 64 characters, this one has 65",
        ),
        (with("connection", json!(like_a_token)), "row 2: the field `connection` looks like a secret"),
        (with("connection", json!(["hush"])), "row 2: the field `connection` is not a string"),
        (with("connection", json!("books")), "row 2 (books): row 1 has the same name; give each connection one row"),
        (
            with("refresh_token", json!(token(1))),
            "row 2 (crm): row 1 has the same refresh token; import each refresh token once",
        ),
        (
            with("connection", json!("gone")),
            "row 2 (gone): secret token-keeper/connections/gone: it is marked for deletion; restore it",
        ),
        (
            with("connection", json!("broken")),
            "row 2 (broken): secret token-keeper/connections/broken: not JSON: it breaks off",
        ),
    ] {
        let input = json!([grant("books", &token(1)), row]).to_string();
        let (shown, done) = import(&world, "a.json", &input).await;
        let seen = done.expect_err("a refused row");
        assert!(seen.starts_with("nothing was stored, because 1 of 2 rows cannot be imported:\n  row 2"), "{seen}");
        assert!(seen.contains(expected), "{input}: {seen}");
        assert!(seen.ends_with("\n  -> correct this, then run the command again"), "{seen}");
        assert!(!format!("{shown}{seen}").contains(like_a_token), "{shown}{seen}");
        let plans: Vec<_> = shown.lines().filter_map(|line| line.split_whitespace().last()).collect();
        assert_eq!(plans, ["plan", "new", "refused"], "{shown}");
    }
    assert_eq!(world.writes(), 0);
}

#[tokio::test]
async fn what_is_missing_in_one_format_is_named_too() {
    let world = World::new().await;
    world.faults.forget_calls();
    let sdk = "id,user_name,client_id,client_secret,refresh_token,access_token,grant_token,expiry_time,redirect_url,api_domain";
    let other = json!([{"connection": "crm", "client_id": "1000.OTHER", "refresh_token": HUSH, "data_center": "eu"}]);
    for (arguments, input, expected) in [
        (".env", format!("ZOHO_REFRESH_TOKEN={HUSH}"), "row 1: the field `connection` is missing"),
        (
            ".env --connection crm --client acme",
            format!("ZOHO_REFRESH_TOKEN={HUSH}\nZOHO_DOMAIN=mars"),
            "row 1 (crm): the data centre is not one of",
        ),
        (
            ".env --connection crm --client acme --data-center eu",
            "ZOHO_REFRESH_TOKEN=\n".to_owned(),
            "row 1 (crm): the field `refresh_token` is missing",
        ),
        ("", format!("{sdk}\n1,me,c,hush,{HUSH},,,,,"), "row 1 (me): the field `data_center` is missing"),
        (
            "",
            format!("{sdk}\n1,me,c,hush,,,hush,,,https://www.zohoapis.eu"),
            "row 1 (me): the field `refresh_token` is missing",
        ),
        (
            "",
            format!(
                "{sdk}\n1,a@b,c,hush,{HUSH},,,,,https://www.zohoapis.eu\n2,a-b,c,hush,{HUSH}2,,,,,https://www.zohoapis.eu"
            ),
            "row 2 (a-b): row 1 has the same name",
        ),
        ("--client acme", other.to_string(), "row 1 (crm): its `client_id` is not that of --client"),
        ("", other.to_string(), "row 1 (crm): the field `client_secret` is missing"),
    ] {
        let seen = complaint(&world, arguments, &input).await;
        assert!(seen.contains(expected), "{arguments} {input}: {seen}");
    }
    assert_eq!(world.writes(), 0);
}

#[tokio::test]
async fn a_refusal_looks_like_this() {
    let world = World::new().await;
    let input =
        format!("connection,client,data_center,refresh_token\ncrm-prod,acme,eu,{HUSH}\ndesk,acme,mars,{HUSH}2\n");
    let (shown, done) = import(&world, "grants.csv", &input).await;
    assert_eq!(
        shown,
        " connection  server  client  scopes  refresh token  plan\n \
          crm-prod    eu      acme            1000....       new\n \
          desk        ?       ?       ?       1000....       refused\n"
    );
    assert_eq!(
        done.expect_err("a refused row"),
        "nothing was stored, because 1 of 2 rows cannot be imported:\n  \
           row 2 (desk): the data centre is not one of ae, au, ca, cn, eu, in, jp, sa, sg, uk, us; \
         correct `data_center`, or add the new one to TOKEN_KEEPER_DATA_CENTERS\n  \
         -> correct this, then run the command again"
    );
}

#[tokio::test]
async fn three_hundred_rows_are_all_stored_or_none() {
    let world = World::new().await;
    let mut rows: Vec<_> = (0..300).map(|row| grant(&format!("crm-{row}"), &token(row))).collect();
    rows[299]["refresh_token"] = json!("");
    world.faults.forget_calls();
    let seen = complaint(&world, "", json!(rows).to_string()).await;
    assert_eq!(
        seen,
        "nothing was stored, because 1 of 300 rows cannot be imported:\n  row 300 (crm-299): the field `refresh_token` is empty; \
         put a value into `refresh_token`\n  -> correct this, then run the command again"
    );
    assert_eq!(world.writes(), 0);
    rows[299]["refresh_token"] = json!(token(299));
    let (shown, done) = import(&world, "", json!(rows).to_string()).await;
    assert_eq!(done, Ok(()));
    assert!(shown.contains("\n300 of 300 connections stored.\n"), "{shown}");
    assert_eq!((world.writes(), world.refresh_token("crm-299")), (300, Some(token(299))));
}

#[tokio::test]
async fn only_replace_overwrites_a_stored_refresh_token_and_other_fields_stay() {
    let world = World::new().await;
    let before = json!({"client_id": "1000.OLD", "client_secret": "hush", "data_center": "us", "refresh_token": token(1),
        "scopes": ["A.b.READ"], "api_domain": "https://www.zohoapis.com", "granted_at": "2026-01-01T00:00:00Z", "note": ["mine"]});
    world.aws.put_secret(&grant_name("crm"), &before.to_string());
    world.faults.forget_calls();
    let input = json!([grant("crm", &token(2))]).to_string();
    let seen = complaint(&world, "", &input).await;
    assert!(seen.contains("row 1 (crm): it exists already, with another refresh token; use another name, or replace the stored one with --replace"), "{seen}");
    assert_eq!((world.grant("crm"), world.writes()), (before, 0));
    import(&world, "--replace", &input).await.1.expect("replaced");
    let after = json!({"client": "acme", "data_center": "eu", "refresh_token": token(2), "scopes": ["A.b.READ"], "note": ["mine"]});
    assert_eq!(world.grant("crm"), after);
    let (shown, done) = import(&world, "", &input).await;
    assert_eq!((done, world.writes()), (Ok(()), 1));
    assert!(shown.contains("unchanged") && shown.contains("\n0 of 1 connection stored.\n"), "{shown}");
}

#[tokio::test]
async fn the_same_refresh_token_may_add_fields_and_changes_one_only_with_replace() {
    let kept = json!({"client": "acme", "data_center": "eu", "refresh_token": token(1), "scopes": ["A.b.READ", "C.d.READ"],
        "api_domain": "https://www.zohoapis.eu", "granted_at": "2026-01-01T00:00:00Z", "note": ["mine"]});
    let own = json!({"client": null, "client_id": CLIENT_ID, "client_secret": EU_SECRET});
    let bare = json!({"scopes": null, "api_domain": null, "note": null});
    for (before, row, plan, changed) in [
        (json!({}), json!({}), "unchanged", ""),
        (
            json!({}),
            json!({"scopes": ["C.d.READ", "A.b.READ"], "api_domain": "https://www.zohoapis.eu/"}),
            "unchanged",
            "",
        ),
        (json!({}), json!({"scopes": null}), "update: scopes", "scopes"),
        (
            bare.clone(),
            json!({"scopes": ["A.b.READ"], "api_domain": "https://www.zohoapis.eu"}),
            "update: api_domain, scopes",
            "",
        ),
        (bare, json!({"note": "hush", "hush": 1}), "update: other", ""),
        (json!({}), json!({"note": "hush"}), "update: other", "other"),
        (json!({}), json!({"scopes": ["A.b.READ"]}), "update: scopes", "scopes"),
        (
            json!({}),
            json!({"data_center": "us", "api_domain": "https://www.zohoapis.com"}),
            "update: api_domain, data_center",
            "api_domain, data_center",
        ),
        (json!({}), own, "update: client, client_id, client_secret", "client"),
        (json!({}), json!({"refresh_token": token(2)}), "replace: granted_at", "another refresh token"),
        (json!({"refresh_token": null, "granted_at": null}), json!({}), "update: refresh_token", ""),
        (
            json!({"refresh_token": null, "granted_at": null}),
            json!({"data_center": "us"}),
            "update: api_domain, data_center, refresh_token",
            "api_domain, data_center",
        ),
    ] {
        let world = World::new().await;
        let with = |base: &Value, more: &Value| {
            let mut fields = base.as_object().expect("an object").clone();
            fields.extend(more.as_object().expect("an object").clone());
            fields.retain(|_, value| !value.is_null());
            Value::Object(fields)
        };
        let before = with(&kept, &before);
        world.aws.put_secret(&grant_name("crm"), &before.to_string());
        world.faults.forget_calls();
        let mut input = grant("crm", &token(1));
        input.as_object_mut().expect("an object").extend(row.as_object().expect("an object").clone());
        if !changed.is_empty() {
            let seen = complaint(&world, "", input.to_string()).await;
            assert!(seen.contains("row 1 (crm): it exists already, with "), "{input}: {seen}");
            assert!(seen.contains(&format!(" {changed}; ")) && seen.contains(" --replace"), "{input}: {seen}");
            assert_eq!((world.grant("crm"), world.writes()), (before.clone(), 0), "{input}");
        }
        let option = if changed.is_empty() { "" } else { "--replace" };
        let (shown, done) = import(&world, option, input.to_string()).await;
        assert_eq!(done, Ok(()), "{input}");
        let shown = shown.split_whitespace().collect::<Vec<_>>().join(" ");
        let stored = usize::from(plan != "unchanged");
        assert!(shown.contains(&format!(" 1000.... {plan} {stored} of 1 connection")), "{input}: {shown}");
        assert_eq!(world.writes(), stored, "{input}");
        let dated = world.grant("crm").get("granted_at") == before.get("granted_at");
        assert_eq!(dated, !plan.starts_with("replace"), "{input}");
        assert!(import(&world, "", input.to_string()).await.0.contains("unchanged"), "{input}");
    }
}

#[tokio::test]
async fn a_connection_that_awaits_consent_is_filled_in() {
    let world = World::new().await;
    world.link("crm");
    import(&world, "", json!(grant("crm", &token(1))).to_string()).await.1.expect("filled in");
    assert_eq!(
        (world.refresh_token("crm"), &world.grant("crm")["scopes"]),
        (Some(token(1)), &json!(["ZohoCRM.modules.ALL"]))
    );
}

#[tokio::test]
async fn an_import_that_stops_halfway_says_what_is_stored_and_the_next_one_finishes_it() {
    let input =
        json!(["books", "crm", "desk"].iter().zip(1..).map(|(name, at)| grant(name, &token(at))).collect::<Vec<_>>());
    for (fault, expected) in [
        (
            Fault::Respond(aws::error("AccessDeniedException", "not you")),
            "\n  stored: books\n  not stored: crm, desk\n  -> allow secretsmanager:CreateSecret to the role or user that ran this; \
             then run the same command again: it skips what is stored",
        ),
        (Fault::Drop { handled: true }, "\n  stored: books\n  perhaps stored: crm\n  not stored: desk\n  -> "),
    ] {
        let world = World::new().await;
        world.faults.add(Rule::on("secretsmanager", "CreateSecret").after(1), fault);
        let seen = complaint(&world, "", input.to_string()).await;
        assert!(seen.starts_with("secretsmanager:CreateSecret failed: ") && seen.contains(expected), "{seen}");
        assert_eq!((world.refresh_token("books"), world.refresh_token("desk")), (Some(token(1)), None));
        world.faults.clear();
        let (shown, done) = import(&world, "", input.to_string()).await;
        assert_eq!(done, Ok(()), "{shown}");
        assert!(shown.ends_with("Nothing was minted. Next: token-keeper refresh books crm desk\n"), "{shown}");
        for (name, at) in ["books", "crm", "desk"].iter().zip(1..) {
            assert_eq!(world.refresh_token(name), Some(token(at)));
        }
    }
}

#[tokio::test]
async fn import_stops_at_once_if_the_store_cannot_be_read() {
    let world = World::new().await;
    let denied = Fault::Respond(aws::error("AccessDeniedException", "not you"));
    world.faults.add(Rule::on("secretsmanager", "BatchGetSecretValue"), denied);
    let (shown, done) = import(&world, "", json!(grant("crm", HUSH)).to_string()).await;
    assert_eq!(shown, "");
    assert!(done.expect_err("denied").starts_with("secretsmanager:BatchGetSecretValue failed: AccessDeniedException"));
    assert_eq!(world.writes(), 0);
}

#[tokio::test]
async fn a_secret_in_the_column_of_the_scopes_is_neither_shown_nor_stored() {
    let world = World::new().await;
    let token = "1000.aaaabbbbccccddddeeeeffff00001111.22223333444455556666777788889999";
    for scopes in [token, "c0ffee00c0ffee00c0ffee00c0ffee00c0ffee00c0", "A.b.READ hush"] {
        let file = format!("connection,client,data_center,scopes,refresh_token\ncrm,acme,eu,{scopes},1000.r\n");
        let console = Typed { file: file.into_bytes(), ..Typed::default() };
        let failed = run(&world, "import tokens.csv", &console).await.expect_err(scopes);
        assert!(
            failed.contains("something in the field `scopes` is not of the form Service.module.OPERATION"),
            "{failed}"
        );
        let shown = format!("{failed}{}{}", console.shown.into_inner(), console.noted.into_inner());
        assert!(!shown.contains(token) && !shown.contains("c0ffee") && !shown.contains("hush"), "{shown}");
        assert_eq!(world.grant("crm"), Value::Null);
    }
}
