//! A consent, from the operator's command to what programs read.

use jiff::SignedDuration;
use serde_json::json;

use testkit::browser::{Browser, header, title};
use testkit::wire::{Fault, Rule};
use testkit::world::{Asked, BASE, CLIENT_ID, EU_SECRET, US_SECRET, World, grant_name, lease_name};
use testkit::zoho::answers;

#[tokio::test]
async fn a_first_consent_stores_the_grant_and_publishes_the_first_lease() {
    let world = World::new().await;
    let link = world.link("crm-prod");
    assert_eq!(world.refresh_token("crm-prod"), None);
    let page = Browser::default().consent(&world, &link).await;
    assert_eq!((page.status, title(&page)), (200, "Connected"));

    let grant = world.grant("crm-prod");
    let refresh_token = world.zoho.refresh_tokens().pop().expect("a refresh token");
    assert_eq!(
        grant,
        json!({"client": "acme", "data_center": "eu", "scopes": ["ZohoCRM.modules.ALL"], "refresh_token": refresh_token,
            "api_domain": "https://www.zohoapis.eu", "granted_at": "2026-11-21T00:00:00Z"})
    );
    let document = world.document("crm-prod").expect("a document");
    assert_eq!(document["status"], "active");
    assert_eq!(document["expires_at"], "2026-11-21T01:00:00Z");
    assert_eq!(document["scope"], "ZohoCRM.modules.ALL");
    assert_eq!(document["grant_version"], world.aws.secret_version(&grant_name("crm-prod")).expect("a version"));
    assert!(world.zoho.access_token_lives(document["access_token"].as_str().expect("a token")));
}

#[tokio::test]
async fn the_authorization_request_asks_for_a_lasting_grant_and_holds_no_secret() {
    let world = World::new().await;
    let link = world.link_with(
        "crm-prod",
        Asked { scopes: &["ZohoCRM.modules.ALL", "ZohoBooks.invoices.READ"], ..Asked::default() },
    );
    let response = Browser::default().open(&world, &link).await;
    let location = header(&response, "location");
    let (server, query) = location.split_once("/oauth/v2/auth?").expect("the consent page");
    assert_eq!(server, world.zoho.accounts("eu"));
    for parameter in [
        "response_type=code",
        "access_type=offline",
        "prompt=consent",
        "code_challenge_method=S256",
        "scope=ZohoCRM.modules.ALL%2CZohoBooks.invoices.READ",
        "redirect_uri=https%3A%2F%2Fconsent.example%2Fcallback",
        &format!("client_id={CLIENT_ID}"),
    ] {
        assert!(query.split('&').any(|pair| pair == parameter), "{parameter} is not in {query}");
    }
    assert!(!location.contains(EU_SECRET) && !link.contains(EU_SECRET));
    let [cookie] = &response.cookies[..] else { panic!("one cookie, not {:?}", response.cookies) };
    assert!(
        cookie.starts_with("__Host-") && cookie.ends_with("; Path=/; Max-Age=600; HttpOnly; SameSite=Lax; Secure"),
        "{cookie}"
    );
}

#[tokio::test]
async fn a_reconnection_replaces_the_grant_keeps_other_fields_and_revokes_the_old_refresh_token() {
    let world = World::new().await;
    Browser::default().consent(&world, &world.link("crm-prod")).await;
    let old = world.refresh_token("crm-prod").expect("a refresh token");
    let mut grant = world.grant("crm-prod");
    grant["note"] = json!(["mine"]);
    world.aws.put_secret(&grant_name("crm-prod"), &grant.to_string());
    world.advance_minutes(30);

    let link = world.link("crm-prod");
    assert_eq!(world.refresh_token("crm-prod").as_ref(), Some(&old), "a link alone changes nothing");
    let page = Browser::default().consent(&world, &link).await;
    assert_eq!((page.status, title(&page)), (200, "Connected"));
    let new = world.refresh_token("crm-prod").expect("a refresh token");
    assert_ne!(new, old);
    assert!(world.zoho.refresh_token_lives(&new) && !world.zoho.refresh_token_lives(&old));
    assert_eq!(world.grant("crm-prod")["note"], json!(["mine"]));
    assert_eq!(world.document("crm-prod").expect("a document")["issued_at"], "2026-11-21T00:30:00Z");
}

#[tokio::test]
async fn the_next_run_sends_the_notice_of_a_consent_whose_first_token_was_not_published() {
    let world = World::new().await;
    Browser::default().consent(&world, &world.link("desk")).await;
    world.advance_minutes(1);
    world.zoho.kill(&world.refresh_token("desk").expect("a refresh token"));
    let report = world.send(json!({"connections": ["desk"], "force": true})).await.expect("a run");
    assert_eq!(report["consent_required"], json!(["desk"]));
    world.advance_minutes(1);
    world.aws.deny_put(&lease_name("desk"));
    Browser::default().consent(&world, &world.link("desk")).await;
    assert_eq!(world.notices("desk").len(), 2, "its first consent and its death");
    world.aws.allow(&lease_name("desk"));
    world.run().await;
    let said = "Token Keeper: desk has a new consent, with an account in the data centre eu; whose it is could not be told. It replaces a grant that no longer worked.";
    assert_eq!(world.notices("desk").last().map(String::as_str), Some(said));
    world.advance_minutes(30);
    world.run().await;
    assert_eq!(world.notices("desk").len(), 3, "once");
}

#[tokio::test]
async fn an_account_of_another_data_center_is_remembered_and_gets_that_centers_client_secret() {
    let world = World::new().await;
    world.zoho.settings(|settings| settings.home = Some("us".to_owned()));
    let page = Browser::default().consent(&world, &world.link("crm-prod")).await;
    assert_eq!(title(&page), "Connected");
    assert_eq!(world.grant("crm-prod")["data_center"], "us");
    let document = world.document("crm-prod").expect("a document");
    assert_eq!(document["accounts_server"], world.zoho.accounts("us"));
    assert_eq!(document["api_domain"], "https://www.zohoapis.com");
    assert!(!page.body.contains(US_SECRET));
}

#[tokio::test]
async fn a_data_center_without_a_client_secret_is_named_and_the_code_is_kept() {
    let world = World::new().await;
    world.zoho.settings(|settings| settings.home = Some("in".to_owned()));
    let link = world.link("crm-prod");
    world.faults.forget_calls();
    let page = Browser::default().consent(&world, &link).await;
    assert_eq!((page.status, title(&page)), (502, "Not set up completely"));
    assert!(page.body.contains("<code>it has no client secret for the data centre in</code>"), "{}", page.body);
    assert_eq!((world.faults.count("zoho", "authorization_code"), world.writes()), (0, 0));
    let client = json!({"client_id": CLIENT_ID, "client_secrets": {"eu": EU_SECRET, "in": "unknown-here"}});
    world.aws.put_secret("token-keeper/clients/acme", &client.to_string());
    assert_eq!(
        title(&Browser::default().consent(&world, &link).await),
        "Connected",
        "the same link, now that it is mended"
    );
}

#[tokio::test]
async fn a_moved_account_is_refused_unless_the_link_allows_it() {
    let world = World::new().await;
    Browser::default().consent(&world, &world.link("crm-prod")).await;
    let before = world.grant("crm-prod");
    world.zoho.settings(|settings| settings.home = Some("us".to_owned()));
    let page = Browser::default().consent(&world, &world.link("crm-prod")).await;
    assert_eq!((page.status, title(&page)), (409, "Another data centre than before"));
    assert_eq!(world.grant("crm-prod"), before);
    let page = Browser::default()
        .consent(&world, &world.link_with("crm-prod", Asked { allow_move: true, ..Asked::default() }))
        .await;
    assert_eq!(title(&page), "Connected");
    assert_eq!(
        (world.grant("crm-prod")["data_center"].as_str(), world.grant("crm-prod")["api_domain"].as_str()),
        (Some("us"), Some("https://www.zohoapis.com"))
    );
}

#[tokio::test]
async fn a_redirect_without_an_accounts_server_means_the_connections_data_center() {
    let world = World::new().await;
    world.zoho.settings(|settings| settings.redirect_names_accounts_server = false);
    assert_eq!(title(&Browser::default().consent(&world, &world.link("crm-prod")).await), "Connected");
    assert_eq!(world.grant("crm-prod")["data_center"], "eu");
}

#[tokio::test]
async fn a_user_who_declines_changes_nothing_and_may_agree_later() {
    let world = World::new().await;
    let (link, browser) = (world.link("crm-prod"), Browser::default());
    world.faults.forget_calls();
    let zoho = browser.begin(&world, &link).await;
    let callback = browser.decide(&zoho, "refuse").await;
    let page = browser.open(&world, &callback).await;
    assert_eq!((page.status, title(&page)), (403, "Not connected"));
    assert_eq!((world.writes(), world.faults.count("zoho", "authorization_code")), (0, 0));
    assert_eq!(title(&browser.consent(&world, &link).await), "Connected");
}

#[tokio::test]
async fn the_page_names_scopes_that_zoho_withheld_and_the_grant_records_the_others() {
    let world = World::new().await;
    world.zoho.settings(|settings| settings.withheld_scopes = vec!["ZohoBooks.settings.ALL".to_owned()]);
    let link = world.link_with(
        "crm-prod",
        Asked { scopes: &["ZohoCRM.modules.ALL", "ZohoBooks.settings.ALL"], ..Asked::default() },
    );
    let page = Browser::default().consent(&world, &link).await;
    assert_eq!(title(&page), "Connected");
    assert!(page.body.contains("Not granted: <code>ZohoBooks.settings.ALL</code>."), "{}", page.body);
    assert_eq!(world.grant("crm-prod")["scopes"], json!(["ZohoCRM.modules.ALL"]));
}

/// A link that asks for a scope that Zoho does not know, beside one that it knows.
async fn misspelt() -> (World, String) {
    let world = World::new().await;
    world.zoho.settings(|settings| settings.known_scopes = Some(vec!["ZohoCRM.modules.ALL".to_owned()]));
    let scopes = &["ZohoCRM.modules.ALL", "ZohoCRM.modulse.READ"];
    let link = world.link_with("crm-prod", Asked { scopes, ..Asked::default() });
    (world, link)
}

#[tokio::test]
async fn after_a_refusal_for_a_scope_the_page_says_which_were_asked() {
    let (world, link) = misspelt().await;
    let before = world.grant("crm-prod");
    for code in ["invalid_scope", "INVALID_SCOPE", "INVALID_OAUTH_SCOPE", "INVALID_OAUTHSCOPE"] {
        world.zoho.settings(|settings| settings.scope_error = Some(code));
        let browser = Browser::default();
        let callback = browser.decide(&browser.begin(&world, &link).await, "accept").await;
        world.faults.forget_calls();
        let page = browser.open(&world, &callback).await;
        assert_eq!((page.status, title(&page)), (502, "Zoho refuses a scope"), "{code}");
        let asked = "Asked for: <code>ZohoCRM.modules.ALL</code>, <code>ZohoCRM.modulse.READ</code>.";
        assert!(page.body.contains(asked) && page.body.contains("Nothing was changed."), "{}", page.body);
        assert_eq!((world.grant("crm-prod"), world.zoho_calls(), world.writes()), (before.clone(), 0, 0), "{code}");
        // Without its cookie, the same redirect shows nothing of the connection's secret.
        let page = Browser::default().open(&world, &callback).await;
        assert_eq!(title(&page), "Not the same browser", "{code}");
        assert!(!page.body.contains("modulse"), "{}", page.body);
    }
    let link = world.link_with("crm-prod", Asked { scopes: &["ZohoCRM.modules.ALL"], ..Asked::default() });
    assert_eq!(title(&Browser::default().consent(&world, &link).await), "Connected");
}

#[tokio::test]
async fn a_refusal_for_a_scope_of_an_older_version_says_that_the_link_is_out_of_date() {
    let (world, link) = misspelt().await;
    world.zoho.settings(|settings| settings.scope_error = Some("invalid_scope"));
    let browser = Browser::default();
    let callback = browser.decide(&browser.begin(&world, &link).await, "accept").await;
    world.link_with("crm-prod", Asked { scopes: &["ZohoCRM.modules.ALL"], ..Asked::default() });
    let page = browser.open(&world, &callback).await;
    assert_eq!((page.status, title(&page)), (409, "This link is out of date"));
}

#[tokio::test]
async fn an_exchange_that_is_refused_for_a_scope_says_which_were_asked_too() {
    let world = World::new().await;
    let (link, browser) = (world.link("crm-prod"), Browser::default());
    let callback = browser.decide(&browser.begin(&world, &link).await, "accept").await;
    let refused = Fault::Respond(answers::refusal("invalid_scope"));
    world.faults.add(Rule::on("zoho", "authorization_code"), refused);
    let page = browser.open(&world, &callback).await;
    assert_eq!((page.status, title(&page)), (502, "Zoho refuses a scope"));
    assert!(page.body.contains("Asked for: <code>ZohoCRM.modules.ALL</code>."), "{}", page.body);
    assert_eq!(world.writes(), 0);
}

#[tokio::test]
async fn an_answer_without_a_refresh_token_changes_nothing() {
    let world = World::new().await;
    Browser::default().consent(&world, &world.link("crm-prod")).await;
    let before = (world.grant("crm-prod"), world.document("crm-prod"));
    let link = world.link("crm-prod");
    world.zoho.settings(|settings| settings.exchange_yields_refresh_token = false);
    let page = Browser::default().consent(&world, &link).await;
    assert_eq!((page.status, title(&page)), (502, "Zoho gave no lasting access"));
    assert_eq!((world.grant("crm-prod"), world.document("crm-prod")), before);
    assert!(world.zoho.refresh_token_lives(before.0["refresh_token"].as_str().expect("a refresh token")));
}

#[tokio::test]
async fn a_link_works_once_and_says_so() {
    let world = World::new().await;
    let (link, browser) = (world.link("crm-prod"), Browser::default());
    let zoho = browser.begin(&world, &link).await;
    let callback = browser.decide(&zoho, "accept").await;
    assert_eq!(title(&browser.open(&world, &callback).await), "Connected");
    let before = world.grant("crm-prod");
    world.faults.forget_calls();

    let page = browser.open(&world, &link).await;
    assert_eq!((page.status, title(&page)), (409, "Already connected"));
    // The administrator reloads the last page.
    let page = browser.open(&world, &callback).await;
    assert_eq!((page.status, title(&page)), (409, "Already connected"));
    assert_eq!((world.grant("crm-prod"), world.zoho_calls(), world.writes()), (before, 0, 0));
}

#[tokio::test]
async fn a_link_stops_working_when_the_connection_changes_or_is_removed_or_the_link_expires() {
    let world = World::new().await;
    let (link, browser) = (world.link("crm-prod"), Browser::default());
    world.link_with("crm-prod", Asked { scopes: &["ZohoCRM.users.READ"], ..Asked::default() });
    let page = browser.open(&world, &link).await;
    assert_eq!((page.status, title(&page)), (409, "This link is out of date"));

    let link = world.link_with("crm-prod", Asked { life: SignedDuration::from_mins(30), ..Asked::default() });
    let callback = browser.decide(&browser.begin(&world, &link).await, "accept").await;
    world.advance_minutes(11);
    let page = browser.open(&world, &callback).await;
    assert_eq!((page.status, title(&page)), (410, "That took too long"));
    world.advance_minutes(19);
    let page = browser.open(&world, &link).await;
    assert_eq!((page.status, title(&page)), (410, "This link has expired"));

    let link = world.link("crm-prod");
    world.aws.delete_secret(&grant_name("crm-prod"));
    let page = browser.open(&world, &link).await;
    assert_eq!((page.status, title(&page)), (410, "This connection is gone"));
}

#[tokio::test]
async fn two_links_can_be_open_at_once_in_one_browser() {
    let world = World::new().await;
    let browser = Browser::default();
    let (crm, books) = (world.link("crm"), world.link("books"));
    let (crm, books) = (browser.begin(&world, &crm).await, browser.begin(&world, &books).await);
    for zoho in [crm, books] {
        let callback = browser.decide(&zoho, "accept").await;
        assert_eq!(title(&browser.open(&world, &callback).await), "Connected");
    }
}

#[tokio::test]
async fn every_answer_has_the_headers_that_isolate_the_page() {
    let world = World::new().await;
    let browser = Browser::default();
    let link = world.link("crm-prod");
    for (url, status) in [
        (link.as_str(), 303),
        (&format!("{BASE}/callback"), 400),
        (&format!("{BASE}/"), 404),
        (&format!("{BASE}/healthz"), 204),
    ] {
        let response = browser.open(&world, url).await;
        assert_eq!(response.status, status, "{url}");
        assert!(header(&response, "content-security-policy").starts_with("default-src 'none'; style-src 'sha256-"));
        assert!(header(&response, "content-security-policy").ends_with("frame-ancestors 'none'"));
        for (name, value) in [
            ("cache-control", "no-store"),
            ("referrer-policy", "no-referrer"),
            ("x-content-type-options", "nosniff"),
            ("x-frame-options", "DENY"),
        ] {
            assert_eq!(header(&response, name), value, "{url}");
        }
        assert!(!response.body.contains("<script"), "{url}");
    }
}
