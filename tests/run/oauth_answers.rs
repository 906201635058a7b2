//! The answers of the other providers, cell by cell of the table that their rows are built on: what
//! a dead grant looks like, what only looks like one, and the header for consumers. None of them
//! was seen at a live provider.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use testkit::world::START;
use token_keeper::connection::Provider;
use token_keeper::failure::{Refusal, Silence};
use token_keeper::oauth::{classify, revoked};
use token_keeper::ports::Minted;
use token_keeper::ports::Revoked;
use token_keeper::provider::Header;
use token_keeper::provider::server::Server;
use token_keeper::provider::table::{TABLE, find};

fn server(provider: &str) -> Server {
    let secret = match provider {
        "custom" => {
            json!({"authorization_endpoint": "https://a.example/", "token_endpoint": "https://a.example/token"})
        }
        "shopify" => json!({"tenant": "acme.myshopify.com"}),
        _ => json!({}),
    };
    let profile = find(provider).unwrap_or_else(|| panic!("no row {provider}"));
    Server::of(profile, |field| secret.get(field)).expect("a server")
}

fn start() -> Timestamp {
    START.parse().expect("a time")
}

fn read(provider: &str, status: u16, body: &str) -> Result<Minted, Refusal> {
    classify(&server(provider), status, body.as_bytes(), start())
}

fn refused(provider: &str, status: u16, body: &str) -> Refusal {
    read(provider, status, body).expect_err(body)
}

fn answer(provider: &str, more: &Value) -> Minted {
    let mut body = json!({"access_token": "at", "token_type": "bearer"});
    for (field, value) in more.as_object().expect("fields") {
        body[field] = value.clone();
    }
    read(provider, 200, &body.to_string()).unwrap_or_else(|refusal| panic!("{provider} {body}: {refusal}"))
}

/// An error as RFC 6749 §5.2 has it.
fn error(code: &str, description: &str) -> String {
    json!({"error": code, "error_description": description}).to_string()
}

fn dead(error: &str) -> Refusal {
    Refusal::ConsentRequired { error: error.to_owned() }
}

fn ours(error: &str) -> Refusal {
    Refusal::Misconfigured { error: error.to_owned() }
}

fn unclear(error: &str, at_once: bool) -> Refusal {
    Refusal::Unclear { error: error.to_owned(), at_once }
}

const ACTIVE: &str = "This request requires an active refresh_token";

#[test]
fn a_dead_grant_is_known_by_what_its_provider_says() {
    let check = |provider: &str, status: u16, body: &str, code: &str| {
        assert_eq!(refused(provider, status, body), dead(code), "{provider} {status} {body}");
        let outage = refused(provider, 503, body);
        assert_eq!(outage, Refusal::OutOfOrder(Silence::ServerError(503)), "{provider}: an outage decides alone");
    };
    check("google", 400, &error("invalid_grant", "Token has been expired or revoked."), "invalid_grant");
    let hubspot = json!({"status": "BAD_REFRESH_TOKEN", "message": "missing or unknown refresh token"});
    check("hubspot", 400, &hubspot.to_string(), "BAD_REFRESH_TOKEN");
    let hubspot =
        json!({"error": "invalid_grant", "status": "BAD_REFRESH_TOKEN", "message": "refresh token is not valid"});
    check("hubspot", 400, &hubspot.to_string(), "invalid_grant");
    for code in ["AADSTS70008", "AADSTS700082", "AADSTS50173", "AADSTS700084"] {
        check(
            "entra",
            400,
            &error("invalid_grant", &format!("{code}: The text differs. Trace ID: 0")),
            "invalid_grant",
        );
    }
    check("dropbox", 400, &error("invalid_grant", "refresh token is malformed"), "invalid_grant");
    let amazon = "The request has an invalid grant parameter : refresh_token. User may have revoked or didn't grant the permission.";
    let amazon = json!({"error": "invalid_grant", "error_description": amazon, "error_index": "", "request_id": "0"});
    check("amazon", 400, &amazon.to_string(), "invalid_grant");
    check("xero", 400, r#"{"error": "invalid_grant"}"#, "invalid_grant");
    check("quickbooks", 400, &error("invalid_grant", "Incorrect or invalid refresh token"), "invalid_grant");
    check("salesforce", 400, &error("invalid_grant", "expired access/refresh token"), "invalid_grant");
    check("box", 400, &error("invalid_grant", "Refresh token has expired"), "invalid_grant");
    check("box", 400, &error("invalid_grant", "Invalid refresh token"), "invalid_grant");
    check("atlassian", 403, &error("invalid_grant", "Unknown or invalid refresh token."), "invalid_grant");
    let github = "The refresh token passed is incorrect or expired.";
    check("github", 200, &error("bad_refresh_token", github), "bad_refresh_token");
    check("slack", 200, r#"{"ok": false, "error": "invalid_refresh_token"}"#, "invalid_refresh_token");
    check("slack", 400, r#"{"ok": false, "error": "invalid_grant"}"#, "invalid_grant");
    check("docusign", 400, &error("invalid_grant", "expired"), "invalid_grant");
    for status in [400, 401, 403] {
        check(
            "freshbooks",
            status,
            &error("invalid_grant", "The provided authorization grant is invalid"),
            "invalid_grant",
        );
    }
    check("shopify", 401, &error("invalid_request", ACTIVE), "invalid_request");
    check("shopify", 401, &format!("<html><body><h1>Oops</h1>{ACTIVE}</body></html>"), "HTTP 401");
    check("custom", 400, &error("invalid_grant", ""), "invalid_grant");
}

#[test]
fn what_looks_like_a_dead_grant_and_is_not_has_its_own_meaning() {
    let check = |provider: &str, status: u16, body: &str, expected: Refusal| {
        assert_eq!(refused(provider, status, body), expected, "{provider} {status} {body}");
    };
    check("google", 401, &error("invalid_client", "Unauthorized"), ours("invalid_client"));
    // Consent again: to us a dead grant.
    let reauthenticate = json!({"error": "invalid_grant", "error_subtype": "invalid_rapt"});
    check("google", 400, &reauthenticate.to_string(), dead("invalid_grant"));
    for code in ["BAD_CLIENT_ID", "BAD_CLIENT_SECRET"] {
        check("hubspot", 400, &json!({"status": code, "message": "not known"}).to_string(), ours(code));
        let both = json!({"error": "invalid_grant", "status": code}).to_string();
        check("hubspot", 400, &both, ours("invalid_grant"));
    }
    for code in ["AADSTS50076", "AADSTS50079", "AADSTS65001"] {
        check("entra", 400, &error("invalid_grant", &format!("{code}: Do it again.")), dead("invalid_grant"));
    }
    check("entra", 400, &error("interaction_required", "AADSTS50076: Do it again."), dead("interaction_required"));
    for code in ["AADSTS7000215", "AADSTS7000222"] {
        check("entra", 401, &error("invalid_client", &format!("{code}: The secret.")), ours("invalid_client"));
    }
    let unknown = error("invalid_grant", "AADSTS9002313: Malformed.");
    check("entra", 400, &unknown, unclear("invalid_grant (HTTP 400)", false));
    check("amazon", 401, &error("invalid_client", "Client authentication failed"), ours("invalid_client"));
    check("quickbooks", 400, &error("invalid_grant", "Incorrect Token type or clientID"), ours("invalid_grant"));
    check("salesforce", 400, &error("inactive_user", "user is inactive"), dead("inactive_user"));
    check("salesforce", 400, &error("invalid_grant", "ip restricted"), ours("invalid_grant"));
    for status in [400, 401, 403] {
        check("atlassian", status, &error("access_denied", "Unauthorized"), ours("access_denied"));
    }
    check("atlassian", 400, &error("invalid_grant", "?"), unclear("invalid_grant (HTTP 400)", false));
    let github = error("incorrect_client_credentials", "The client_id and/or client_secret passed are incorrect.");
    check("github", 200, &github, ours("incorrect_client_credentials"));
    for code in ["bad_client_secret", "invalid_client_id"] {
        check("slack", 200, &json!({"ok": false, "error": code}).to_string(), ours(code));
    }
    // A part of it may have succeeded: the answer counts as lost.
    let lost = unclear("internal_error (HTTP 200)", true);
    check("slack", 200, r#"{"ok": false, "error": "internal_error"}"#, lost);
    check("shopify", 401, &error("invalid_request", "something else"), unclear("invalid_request (HTTP 401)", false));
    let page = unclear("HTTP 401 with a body that is not a JSON object", false);
    check("shopify", 401, "<html>Log in</html>", page);
    check("shopify", 404, ACTIVE, unclear("HTTP 404 with a body that is not a JSON object", false));
    // For Box, Salesforce, DocuSign and Shopify one text has two causes, and for Dropbox, Xero and
    // FreshBooks none is known: nothing can be told apart there.
}

#[test]
fn consumers_get_the_header_of_the_row_whatever_the_answer_calls_the_token() {
    for row in TABLE {
        let expected = match row.name {
            "amazon" => Header::Named("x-amz-access-token"),
            "shopify" => Header::Named("X-Shopify-Access-Token"),
            _ => Header::Bearer,
        };
        assert_eq!(row.header, expected, "{}", row.name);
        for token_type in [json!("bot"), json!("user"), json!("bearer"), json!("DPoP"), json!(7), Value::Null] {
            answer(row.name, &json!({"token_type": token_type}));
        }
    }
}

#[test]
fn at_every_provider_what_nobody_knows_passes() {
    for row in TABLE {
        let check = |status: u16, body: &str, expected: Refusal| {
            assert_eq!(refused(row.name, status, body), expected, "{} {status} {body}", row.name);
        };
        for body in ["", "<html>", &error("invalid_grant", "AADSTS70008:")] {
            check(429, body, Refusal::Throttled);
            check(500, body, Refusal::OutOfOrder(Silence::ServerError(500)));
            check(302, body, unclear("HTTP 302: a redirect, not followed", false));
        }
        for (status, client) in [(400, "invalid_client"), (401, "invalid_client"), (400, "unauthorized_client")] {
            check(status, &error(client, "?"), ours(client));
        }
        check(403, &error("invalid_client", "?"), unclear("invalid_client (HTTP 403)", false));
        for code in ["invalid_request", "slow_down", "invalid_scope", "SomeThing.else-9"] {
            check(400, &error(code, "?"), unclear(&format!("{code} (HTTP 400)"), false));
            check(200, &error(code, "?"), unclear(&format!("{code} (HTTP 200)"), false));
        }
        for code in ["", "a sentence with blanks", "r\u{e9}fus\u{e9}", &"x".repeat(41)] {
            let what = if code.is_empty() { "HTTP 400" } else { "an error without a known code (HTTP 400)" };
            check(400, &error(code, "?"), unclear(what, false));
        }
        check(404, "{}", unclear("HTTP 404", false));
        check(400, "", unclear("HTTP 400 with an empty body", false));
    }
}

/// A rotating provider may have spent the refresh token.
#[test]
fn a_success_of_no_use_may_have_been_carried_out() {
    for row in TABLE {
        let check = |body: &str, expected: &str| {
            assert_eq!(refused(row.name, 200, body), unclear(expected, true), "{} {body}", row.name);
        };
        check("", "HTTP 200 with an empty body");
        check("<html>", "HTTP 200 with a body that is not a JSON object");
        check("[]", "HTTP 200 with a body that is not a JSON object");
        check("{}", "HTTP 200 without an access_token");
        check(r#"{"access_token": null, "refresh_token": "rt"}"#, "HTTP 200 without an access_token");
        for token in [json!(""), json!("a b"), json!("a\r\nX: y"), json!(7), json!("a".repeat(9000))] {
            check(&json!({"access_token": token}).to_string(), "an invalid access_token");
            if token != "" {
                check(&json!({"access_token": "at", "refresh_token": token}).to_string(), "an invalid refresh_token");
            }
        }
        check(r#"{"access_token": "at", "error": "odd"}"#, "odd (HTTP 200)");
    }
    assert_eq!(refused("slack", 200, r#"{"ok": false}"#), unclear("HTTP 200", false));
}

#[test]
fn an_access_token_lives_as_long_as_the_answer_says_and_no_longer_than_the_row_says() {
    let check = |provider: &str, expires_in: Value, life: i64| {
        let token = answer(provider, &json!({"expires_in": expires_in})).token;
        assert_eq!(token.issued_at, start());
        assert_eq!(token.expires_at.duration_since(start()).as_secs(), life, "{provider} {expires_in}");
    };
    for (expires_in, life) in [
        (json!(1800), 1800),
        (json!("1200"), 1200),
        (json!(1_800_000), 1800),
        (json!(86_400), 1800),
        (json!(0), 1800),
        (json!(-1), 1800),
        (json!(1.5), 1800),
        (json!("soon"), 1800),
        (Value::Null, 1800),
        (json!({"odd": 1}), 1800),
    ] {
        check("xero", expires_in, life);
    }
    // Where nothing is said, an hour at most.
    check("salesforce", Value::Null, 3600);
    check("github", json!(28_800), 28_800);
    check("github", Value::Null, 3600);
    check("custom", json!(300), 300);
    check("custom", json!(28_800), 28_800);
    check("custom", json!(10_000_000), 86_400);
    check("custom", Value::Null, 3600);
}

#[test]
fn a_refresh_token_comes_or_not_and_its_end_is_in_the_field_of_the_row() {
    let token = |more: Value| answer("quickbooks", &more).refresh_token.map(|token| token.expose().to_owned());
    assert_eq!(token(json!({"refresh_token": "rt"})), Some("rt".to_owned()));
    for none in [json!({}), json!({"refresh_token": null}), json!({"refresh_token": ""})] {
        assert_eq!(token(none.clone()), None, "{none}");
    }
    let check = |provider: &str, field: &str, value: Value, life: Option<i64>| {
        let ends = answer(provider, &json!({field: value})).refresh_token_expires_at;
        assert_eq!(ends, life.map(|life| start() + SignedDuration::from_secs(life)), "{provider} {field} {value}");
    };
    check("quickbooks", "x_refresh_token_expires_in", json!(8_640_000), Some(8_640_000));
    check("quickbooks", "x_refresh_token_expires_in", json!("8640000"), Some(8_640_000));
    for odd in [json!(0), json!(-1), json!("never"), json!(i64::MAX), Value::Null] {
        check("quickbooks", "x_refresh_token_expires_in", odd, None);
    }
    check("quickbooks", "refresh_token_expires_in", json!(8_640_000), None);
    for provider in ["github", "google", "shopify", "custom"] {
        check(provider, "refresh_token_expires_in", json!(7_776_000), Some(7_776_000));
    }
}

#[test]
fn kept_values_are_taken_only_in_their_own_form() {
    let check = |provider: &str, more: Value, kept: &[(&str, &str)], api_domain: Option<&str>| {
        let answer = answer(provider, &more);
        let expected: BTreeMap<_, _> =
            kept.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let told = Provider::Other(Arc::new(server(provider))).api_domain(&answer.kept);
        assert_eq!((answer.kept, told.as_deref()), (expected, api_domain), "{provider} {more}");
    };
    let (mine, id) =
        ("https://acme.my.salesforce.com", "https://login.salesforce.com/id/00D000000000001AAA/005000000000001AAA");
    check("salesforce", json!({"instance_url": mine, "id": id}), &[("id", id), ("instance_url", mine)], Some(mine));
    for elsewhere in [
        json!("https://salesforce.com.evil.example"),
        json!("https://evilsalesforce.com"),
        json!("http://acme.my.salesforce.com"),
        json!("https://acme.my.salesforce.com/path"),
        json!("https://acme.my.salesforce.com:8443"),
        json!(["https://acme.my.salesforce.com"]),
    ] {
        check("salesforce", json!({"instance_url": elsewhere}), &[], None);
    }
    let hubspot = Some("https://api.hubapi.com");
    for hub in [json!(1_234_567), json!("1234567")] {
        check("hubspot", json!({"hub_id": hub}), &[("hub_id", "1234567")], hubspot);
    }
    check("hubspot", json!({"hub_id": "12\u{1b}[2J"}), &[], hubspot);
    let slack = json!({"ok": true, "team": {"id": "T1", "name": "Acme"}, "enterprise": null, "bot_user_id": "U1"});
    check("slack", slack, &[("bot_user_id", "U1"), ("team.id", "T1")], Some("https://slack.com"));
    check(
        "dropbox",
        json!({"account_id": "dbid:AAH4_-x"}),
        &[("account_id", "dbid:AAH4_-x")],
        Some("https://api.dropboxapi.com"),
    );
    // The realm comes with the callback, and not with an answer.
    check("quickbooks", json!({"realmId": "1234567890123"}), &[], None);
}

#[test]
fn scopes_are_separated_by_blanks_however_the_answer_has_them() {
    let check = |provider: &str, more: Value, scope: Option<&str>| {
        assert_eq!(answer(provider, &more).scope.as_deref(), scope, "{provider} {more}");
    };
    check("google", json!({"scope": "https://a.example/a,b openid"}), Some("https://a.example/a,b openid"));
    check("hubspot", json!({"scopes": ["oauth", "crm.objects.read"]}), Some("oauth crm.objects.read"));
    check("slack", json!({"scope": "chat:write,users:read"}), Some("chat:write users:read"));
    for none in [json!({}), json!({"scope": ""}), json!({"scope": null}), json!({"scope": 7}), json!({"scopes": []})] {
        check("google", none, None);
    }
}

#[test]
fn a_revocation_has_worked_or_the_token_is_unknown_or_it_may_still_live() {
    let read = |provider: &str, status: u16, body: &str| revoked(&server(provider), status, body.as_bytes());
    for body in ["", "{}", "<html>", r#"{"error": null}"#] {
        assert_eq!(read("salesforce", 200, body), Ok(Revoked::Now), "{body}");
    }
    assert_eq!(read("hubspot", 204, ""), Ok(Revoked::Now));
    assert_eq!(read("salesforce", 400, &error("invalid_token", "?")), Ok(Revoked::Unknown));
    assert_eq!(read("hubspot", 400, r#"{"status": "BAD_REFRESH_TOKEN"}"#), Ok(Revoked::Unknown));
    let check = |status: u16, body: &str, expected: Refusal| {
        assert_eq!(read("salesforce", status, body), Err(expected), "{status} {body}");
    };
    check(400, &error("unsupported_token_type", "?"), unclear("unsupported_token_type (HTTP 400)", false));
    check(401, &error("invalid_client", "?"), unclear("invalid_client", false));
    check(200, &error("odd", "?"), unclear("odd (HTTP 200)", false));
    check(429, "", Refusal::Throttled);
    check(503, "", Refusal::OutOfOrder(Silence::ServerError(503)));
    check(302, "", unclear("HTTP 302: a redirect, not followed", false));
}

#[test]
fn an_empty_error_beside_tokens_is_no_refusal() {
    assert_eq!(answer("custom", &json!({"error": ""})).token.access_token.expose(), "at");
    assert_eq!(refused("custom", 400, r#"{"error": ""}"#).to_string(), "HTTP 400");
}
