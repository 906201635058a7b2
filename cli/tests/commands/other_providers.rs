//! The commands for connections at other providers than Zoho.

use jiff::SignedDuration;
use serde_json::{Value, json};
use testkit::browser::{Browser, title};
use testkit::oauth::{Authentication, Ends, Iss, Pkce, Rotation, rows};
use testkit::wire::{Fault, Rule};
use testkit::world::{BASE, CORP_ID, CORP_SCOPE, CORP_SECRET, World, grant_name, lease_name};

use crate::typed::{Typed, run, type_in};

const CALLBACK: &str = "--callback-url BASE";

/// The client `corp` is one of this provider, which the OAuth server plays.
async fn at(provider: &str) -> World {
    at_with(provider, &json!({})).await
}

async fn at_with(provider: &str, fields: &Value) -> World {
    let world = World::with(&[("TOKEN_KEEPER_ROTATING_PROVIDERS", "true")]).await;
    world.oauth().settings(|settings| *settings = rows::settings(provider));
    let mut client = json!({"provider": provider, "issuer": null});
    if !["hubspot", "salesforce"].contains(&provider) {
        client["revocation_endpoint"] = Value::Null;
    }
    if ["amazon", "shopify"].contains(&provider) {
        client["authorization_endpoint"] = Value::Null;
    }
    client.as_object_mut().expect("fields").extend(fields.as_object().expect("fields").clone());
    world.store_corp(&client);
    world
}

fn client(world: &World, name: &str) -> Value {
    let text = world.aws.secret(&format!("token-keeper/clients/{name}")).unwrap_or_else(|| "null".to_owned());
    serde_json::from_str(&text).expect("JSON")
}

/// Types a command, and returns its answer as JSON and what it notes beside it.
async fn ask(world: &World, command: &str, console: Typed) -> (Value, String, Result<(), String>) {
    let done = run(world, &format!("{command} --json"), &console).await;
    let answer = serde_json::from_str(&console.shown.into_inner()).unwrap_or_else(|_| panic!("{command}: no JSON"));
    (answer, console.noted.into_inner(), done)
}

/// The link that a command has printed.
fn link(shown: &str) -> &str {
    let link = shown.split_whitespace().find(|word| word.starts_with(&format!("{BASE}/connect?")));
    link.unwrap_or_else(|| panic!("no link in {shown}"))
}

#[tokio::test]
async fn a_client_of_a_provider_is_stored_with_its_name_and_nothing_else() {
    let world = World::new().await;
    let shown =
        type_in(&world, "client add books-app --client-id B00K5 --provider xero", " hush \n").await.expect("stored");
    assert_eq!(client(&world, "books-app"), json!({"client_id": "B00K5", "client_secret": "hush", "provider": "xero"}));
    assert!(shown.contains(
        "/callback with the client at Xero, then make a link:\n  token-keeper connect books --client books-app"
    ));
    assert!(!shown.contains("hush") && !shown.contains("data-center") && !shown.contains("Zoho"), "{shown}");

    type_in(&world, "client add sf --client-id S --provider salesforce --tenant acme.my.salesforce.com", "x")
        .await
        .expect("stored");
    assert_eq!(client(&world, "sf")["tenant"], "acme.my.salesforce.com");
    let (list, _, _) = ask(&world, "client list", Typed::default()).await;
    let sf = list["clients"].as_array().expect("clients").iter().find(|client| client["client"] == "sf").expect("sf");
    assert_eq!(sf["provider"], "salesforce");
    assert_eq!(sf["token_endpoint"], "https://acme.my.salesforce.com/services/oauth2/token");
    let shown = type_in(&world, "client list", "").await.expect("a list");
    assert!(shown.contains("provider") && shown.contains("xero") && shown.contains("zoho"), "{shown}");

    // Another secret of the same client keeps the rest.
    type_in(&world, "client add sf --client-id S", "y").await.expect("stored");
    assert_eq!(
        client(&world, "sf"),
        json!({"client_id": "S", "client_secret": "y", "provider": "salesforce", "tenant": "acme.my.salesforce.com"})
    );
    let shown =
        type_in(&world, "client add shop --client-id S --provider shopify --tenant acme.myshopify.com", "x").await;
    assert!(shown.expect("stored").contains("token-keeper import --help"));
}

#[tokio::test]
async fn what_does_not_fit_together_is_refused_and_nothing_is_stored() {
    let world = World::new().await;
    type_in(&world, "client add books-app --client-id B00K5 --provider xero", "hush").await.expect("stored");
    let before = world.aws.secret_names().into_iter().map(|name| (world.aws.secret(&name), name)).collect::<Vec<_>>();
    let check = async |command: &str, words: &str| {
        let error = type_in(&world, command, "hush").await.expect_err(command);
        assert!(error.contains(words), "{command}: {error}");
        assert!(!error.contains("hush"), "{error}");
        let after: Vec<_> = world.aws.secret_names().into_iter().map(|name| (world.aws.secret(&name), name)).collect();
        assert_eq!(after, before, "{command}");
    };
    check("client add a --client-id A --provider acme", "use one of google, hubspot,").await;
    check("client add a --client-id A --provider zoho", "a client is Zoho's without --provider").await;
    check("client add a --client-id A --provider custom", "is described with --issuer").await;
    check("client add a --client-id A --provider xero --data-center eu", "cannot be used with").await;
    check("client add a --client-id A --provider xero --issuer https://a.example", "cannot be used with").await;
    check("client add a --client-id A --issuer https://a.example --data-center eu", "cannot be used with").await;
    check("client add a --client-id A --tenant x", "required").await;
    check("client add a --client-id A --issuer https://a.example --tenant x", "cannot be used with").await;
    for option in ["--rotation never", "--reuse kills", "--revokes-one-token"] {
        check(&format!("client add a --client-id A {option}"), "required").await;
        check(&format!("client add a --client-id A --provider xero {option}"), "cannot be used with").await;
    }
    check("client add a --client-id A --issuer https://a.example --rotation often", "possible values").await;
    let reserved = "--authorization-parameter scope=a";
    check(&format!("client add a --client-id A --issuer https://a.example {reserved}"), "connect --scope").await;
    check("client add a --client-id A --issuer https://a.example --reuse 0", "use kills, tolerated").await;
    check("client add a --client-id A --provider xero --tenant x", "it takes no --tenant").await;
    check("client add a --client-id A --provider shopify", "the field `tenant` is missing").await;
    check("client add a --client-id A --provider shopify", "--tenant is the shop's host").await;
    check("client add a --client-id A --provider shopify --tenant evil.example", "--tenant is the shop's host").await;
    check("client add books-app --client-id B00K5 --provider hubspot", "already exists, for Xero").await;
    check("client add books-app --client-id B00K5 --data-center eu", "only Zoho has data centres").await;
    check("client add books-app --client-id OTHER --provider xero", "with another client id").await;
    check("client add acme --client-id 1000.CLIENTIDOFACME --provider xero", "already exists, for Zoho").await;
}

#[tokio::test]
async fn a_server_that_describes_itself_is_stored_as_it_says() {
    let world = World::new().await;
    let issuer = world.oauth().issuer();
    let add = format!("client add own --client-id {CORP_ID} --issuer {issuer}");
    let shown = type_in(&world, &add, CORP_SECRET).await.expect("stored");
    assert_eq!(
        client(&world, "own"),
        json!({"provider": "custom", "issuer": issuer, "client_id": CORP_ID, "client_secret": CORP_SECRET,
            "authorization_endpoint": format!("{issuer}/authorize"), "token_endpoint": format!("{issuer}/token"),
            "client_authentication": "basic", "pkce": "allowed"})
    );
    for words in
        ["says of itself:", "/authorize\n", "/revoke (not used: it may end other grants", "--rotation and --reuse"]
    {
        assert!(shown.contains(words), "{words} is not in {shown}");
    }
    assert_eq!(world.faults.count("oauth", "metadata"), 1, "read once");

    let more = format!("{add} --rotation sometimes --reuse 600 --revokes-one-token");
    let shown = type_in(&world, &more, CORP_SECRET).await.expect("stored");
    let stored = client(&world, "own");
    assert_eq!((&stored["rotation"], &stored["reuse"]), (&json!("sometimes"), &json!("600")));
    assert_eq!(stored["revocation_endpoint"], format!("{issuer}/revoke"));
    assert!(!shown.contains("not used"), "{shown}");
    // What is not said again is not kept: it is about the server as it was.
    type_in(&world, &add, CORP_SECRET).await.expect("stored");
    assert_eq!(client(&world, "own").get("revocation_endpoint"), None);

    let shown = type_in(&world, &format!("connect books --client own --scope {CORP_SCOPE} {CALLBACK}"), "")
        .await
        .expect("a link");
    assert_eq!(title(&Browser::default().consent(&world, link(&shown)).await), "Connected");
    assert!(world.token_lives("books"));
}

#[tokio::test]
async fn a_description_is_found_at_either_place_and_says_what_the_server_takes() {
    for (path, oauth, openid) in
        [("", true, false), ("", false, true), ("/realms/acme", true, false), ("/realms/acme", false, true)]
    {
        let world = World::new().await;
        world.oauth().settings(|settings| {
            path.clone_into(&mut settings.issuer_path);
            (settings.oauth_metadata, settings.openid_configuration) = (oauth, openid);
            settings.authentication = vec![Authentication::Form];
            settings.pkce = Pkce::Off;
            settings.revocation = None;
            settings.iss = Iss::Own;
        });
        let issuer = world.oauth().issuer();
        type_in(&world, &format!("client add own --client-id {CORP_ID} --issuer {issuer}"), CORP_SECRET)
            .await
            .expect(&issuer);
        let stored = client(&world, "own");
        let ways = (&stored["client_authentication"], &stored["pkce"], &stored["issuer"]);
        assert_eq!(ways, (&json!("form"), &json!("off"), &json!(issuer)));
        let refused = format!("client add own --client-id {CORP_ID} --issuer {issuer} --revokes-one-token");
        assert!(
            type_in(&world, &refused, CORP_SECRET).await.expect_err("none").contains("names no revocation endpoint")
        );
    }
}

#[tokio::test]
async fn a_description_that_does_not_fit_is_refused_before_the_secret_is_asked_for() {
    let world = World::new().await;
    let issuer = world.oauth().issuer();
    let check = async |issuer: &str, words: &[&str]| {
        let add = format!("client add own --client-id {CORP_ID} --issuer {issuer}");
        let error = type_in(&world, &add, "hush").await.expect_err(issuer);
        for words in words {
            assert!(error.contains(words), "{issuer}: {words} is not in {error}");
        }
        assert!(error.contains("nothing was changed") && !error.contains('\u{1b}'), "{error}");
        assert_eq!(client(&world, "own"), Value::Null);
    };
    check("http://login.example.com", &["--issuer: an issuer is an https URL"]).await;
    check(&format!("{issuer}?x=y"), &["without query and fragment"]).await;
    check("s3cr3t", &["--issuer: an issuer"]).await;
    check(&format!("{issuer}/"), &["it is another issuer", &format!("--issuer {issuer};")]).await;
    check(
        &format!("{issuer}/elsewhere"),
        &["it has no document at", "/.well-known/oauth-authorization-server/elsewhere or"],
    )
    .await;
    check(&format!("{issuer}/.well-known/openid-configuration"), &["leave out `/.well-known/`"]).await;
    let metadata = |field: &str, value: Value| {
        let field = field.to_owned();
        world.oauth().settings(move |settings| {
            settings.metadata.clear();
            settings.metadata.insert(field, value);
        });
    };
    metadata("issuer", json!("https://evil.example/\u{1b}[2J"));
    check(&issuer, &["says that it is another issuer\n"]).await;
    metadata("token_endpoint", json!("http://evil.example/token"));
    check(&issuer, &["no usable `token_endpoint`"]).await;
    metadata("authorization_endpoint", Value::Null);
    check(&issuer, &["no usable `authorization_endpoint`"]).await;
    metadata("token_endpoint_auth_methods_supported", json!(["private_key_jwt"]));
    check(&issuer, &["neither by client_secret_basic nor"]).await;
    let answer = |fault: Fault| world.faults.add(Rule::on("oauth", "metadata").times(2), fault);
    answer(Fault::Respond(testkit::zoho::answers::redirect("https://evil.example")));
    check(&issuer, &["it has no document at"]).await;
    answer(Fault::Respond(testkit::zoho::answers::page(200, "x", &"x".repeat(100_000))));
    check(&issuer, &["it has no document at"]).await;
    world.faults.add(Rule::on("oauth", "metadata").times(1), Fault::Drop { handled: false });
    check(&issuer, &["check the address"]).await;
}

#[tokio::test]
async fn a_link_connects_an_account_at_the_provider() {
    let world = at("quickbooks").await;
    let connect = format!("connect books --client corp --scope com.intuit.quickbooks.accounting {CALLBACK}");
    let shown = type_in(&world, &connect, "").await.expect("a link");
    assert!(shown.contains("1. At QuickBooks, register this redirect URI with the client:"), "{shown}");
    assert!(shown.contains("an administrator of the account at QuickBooks."), "{shown}");
    assert!(!shown.contains("Zoho") && !shown.contains("belongs to"), "{shown}");
    assert_eq!(world.grant("books"), json!({"client": "corp", "scopes": ["com.intuit.quickbooks.accounting"]}));
    assert_eq!(title(&Browser::default().consent(&world, link(&shown)).await), "Connected");
    let again = type_in(&world, &format!("connect books {CALLBACK}"), "").await.expect("a link");
    assert!(again.contains("It belongs to the account with realmId 9341452000000001. A consent by another"), "{again}");
}

#[tokio::test]
async fn what_only_zoho_has_is_refused_for_others_and_nothing_is_stored() {
    let world = at("xero").await;
    let check = async |command: &str, words: &str| {
        let error = type_in(&world, command, "code").await.expect_err(command);
        assert!(error.contains(words) && error.contains("nothing was changed"), "{command}: {error}");
        assert_eq!(world.grant("books"), Value::Null, "{command}");
    };
    let no_client = type_in(&world, &format!("connect books --scope accounting.transactions {CALLBACK}"), "").await;
    assert!(no_client.expect_err("no client").contains("--client is required"), "the scope may be right");
    let new = "books --client corp --scope accounting.transactions";
    check(
        &format!("connect {new} --data-center eu {CALLBACK}"),
        "--data-center is for Zoho, and books has a client of Xero",
    )
    .await;
    check(&format!("connect {new} --identify {CALLBACK}"), "--identify is for Zoho").await;
    check(&format!("connect {new} --allow-move {CALLBACK}"), "--allow-move is for Zoho").await;
    check(&format!("connect {new} --device"), "--device is for Zoho").await;
    check(&format!("grant {new}"), "token-keeper grant is for Zoho's self clients").await;
    check(&format!("grant {new} --client-credentials"), "token-keeper grant is for Zoho's self clients").await;
    check(&format!("connect books --client corp --scope a\"b {CALLBACK}"), "contains a character that no scope has")
        .await;
    assert_eq!((world.zoho_calls(), world.faults.count("oauth", "authorization_code")), (0, 0));
    for (provider, fields) in [("amazon", json!({})), ("shopify", json!({"tenant": "acme.myshopify.com"}))] {
        let world = at_with(provider, &fields).await;
        let error = type_in(&world, &format!("connect shop --client corp {CALLBACK}"), "").await.expect_err(provider);
        assert!(
            error.contains("are not made with a link")
                && error.contains("token-keeper import FILE --connection shop --client CLIENT"),
            "{error}"
        );
    }
}

#[tokio::test]
async fn scopes_have_the_providers_form_and_may_be_left_out() {
    let world = at("hubspot").await;
    let connect =
        async |scope: &str| type_in(&world, &format!("connect books --client corp {scope} {CALLBACK}"), "").await;
    connect("").await.expect("a link without scopes");
    assert_eq!(world.grant("books"), json!({"client": "corp"}));
    for scope in [
        "crm.objects.contacts.read",
        "https://www.googleapis.com/auth/drive.readonly",
        "chat:write",
        "api://app/.default",
    ] {
        connect(&format!("--scope {scope}")).await.expect(scope);
        assert_eq!(world.grant("books")["scopes"], json!([scope]));
    }
    connect("--scope b,a --scope b").await.expect("a link");
    assert_eq!(world.grant("books")["scopes"], json!(["a", "b"]));
    connect("").await.expect("a link");
    assert_eq!(world.grant("books")["scopes"], json!(["a", "b"]), "the stored ones stay");
}

#[tokio::test]
async fn without_permission_to_store_refresh_tokens_a_rotating_provider_is_warned_of_and_connected() {
    let world = World::new().await;
    world.store_corp(&json!({}));
    let console = Typed::default();
    run(&world, &format!("connect books --client corp {CALLBACK}"), &console).await.expect("a link");
    let noted = console.noted.into_inner();
    assert!(
        noted.contains("gives a new refresh token, and the refresher") && noted.contains("RotatingProviders=true"),
        "{noted}"
    );
    let row = json!({"connection": "kept", "client": "corp", "refresh_token": "rt"}).to_string();
    let console = Typed { file: row.into_bytes(), ..Typed::default() };
    run(&world, "import kept.json", &console).await.expect("imported");
    assert!(console.noted.into_inner().contains("RotatingProviders=true"));
    for (fields, setting) in [(json!({"rotation": "never"}), "false"), (json!({}), "true")] {
        let world = World::with(&[("TOKEN_KEEPER_ROTATING_PROVIDERS", setting)]).await;
        world.store_corp(&fields);
        let console = Typed::default();
        run(&world, &format!("connect books --client corp --scope read {CALLBACK}"), &console).await.expect("a link");
        assert_eq!(console.noted.into_inner(), "", "{fields}, {setting}");
        let console = Typed::default();
        run(&world, &format!("connect more --client corp {CALLBACK}"), &console).await.expect("a link");
        assert!(console.noted.into_inner().starts_with("No scope is stored."));
        let wrong =
            type_in(&world, &format!("connect new --client nope --scope accounting.transactions {CALLBACK}"), "").await;
        assert!(wrong.expect_err("no client").contains("token-keeper client add nope"));
    }
}

#[tokio::test]
async fn reconnect_makes_links_for_others_too_or_says_what_else_to_do() {
    let world = at("hubspot").await;
    world.store_of_corp("books", &json!({"scopes": null}));
    let console = Typed::default();
    let _attention = run(&world, &format!("reconnect {CALLBACK}"), &console).await;
    let shown = console.shown.into_inner();
    assert_eq!(title(&Browser::default().consent(&world, link(&shown)).await), "Connected", "{shown}");
    let world = at("amazon").await;
    world.store_of_corp("seller", &json!({}));
    let (answer, _, _) = ask(&world, &format!("reconnect {CALLBACK}"), Typed::default()).await;
    assert_eq!(answer["links"], json!([]));
    assert!(
        answer["without_scopes"][0]["remedy"]
            .as_str()
            .expect("a remedy")
            .contains("import --connection seller --replace")
    );
}

#[tokio::test]
async fn refresh_tokens_of_others_are_imported_with_a_stored_client_or_their_own() {
    let world = at("quickbooks").await;
    let import = async |row: Value, options: &str| {
        let console = Typed { file: row.to_string().into_bytes(), ..Typed::default() };
        let done = run(&world, &format!("import rows.json {options}"), &console).await;
        done.map(|()| console.shown.into_inner())
    };
    let row = json!({"connection": "books", "client": "corp", "refresh_token": "rt", "scopes": ["com.intuit.quickbooks.accounting"],
        "kept": {"realmId": "9341452000000001"}});
    let shown = import(row.clone(), "").await.expect("imported");
    assert!(shown.contains("books") && shown.contains("quickbooks") && !shown.contains("\"rt\""), "{shown}");
    let mut stored = row.clone();
    stored.as_object_mut().expect("fields").remove("connection");
    assert_eq!(world.grant("books"), stored);
    assert!(import(row.clone(), "").await.expect("imported").contains("unchanged"));
    let mut other = row.clone();
    other["kept"]["realmId"] = json!("9341452000000002");
    let error = import(other.clone(), "").await.expect_err("another account");
    assert!(error.contains("with other values in these fields: kept"), "{error}");
    import(other, "--replace").await.expect("imported");
    assert_eq!(world.grant("books")["kept"], json!({"realmId": "9341452000000002"}));

    let own = json!({"connection": "own", "provider": "dropbox", "client_id": "D", "client_secret": "s", "refresh_token": "dr"});
    import(own, "").await.expect("imported");
    assert_eq!(
        world.grant("own"),
        json!({"provider": "dropbox", "client_id": "D", "client_secret": "s", "refresh_token": "dr"})
    );
    let shop = json!({"connection": "shop", "provider": "shopify", "tenant": "acme.myshopify.com", "client_id": "S", "client_secret": "s",
        "refresh_token": "sr"});
    import(shop, "").await.expect("imported");
    // The same connection with a stored client: nothing of the old one is left.
    import(
        json!({"connection": "shop", "client": "acme", "data_center": "eu", "refresh_token": "1000.z"}),
        "--replace",
    )
    .await
    .expect("imported");
    assert_eq!(world.grant("shop"), json!({"client": "acme", "data_center": "eu", "refresh_token": "1000.z"}));
    let answer =
        json!({"access_token": "at", "refresh_token": "from-an-answer", "token_type": "bearer", "expires_in": 3600});
    let error = import(answer, "--connection more --client corp").await.expect_err("the realm is missing");
    assert!(error.contains("no usable `kept.realmId`") && error.contains("`realmId`: 10 to 19 digits"), "{error}");
}

#[tokio::test]
async fn a_row_that_does_not_fit_its_provider_is_refused() {
    let world = at("quickbooks").await;
    let check = async |fields: Value, words: &str| {
        let mut row = json!({"connection": "books", "client": "corp", "refresh_token": "rt-hush", "kept": {"realmId": "9341452000000001"}});
        row.as_object_mut().expect("fields").extend(fields.as_object().expect("fields").clone());
        let console = Typed { file: row.to_string().into_bytes(), ..Typed::default() };
        let error = run(&world, "import rows.json", &console).await.expect_err(words);
        assert!(error.contains(words) && !error.contains("hush"), "{fields}: {error}");
        assert_eq!(world.grant("books"), Value::Null, "{fields}");
    };
    check(json!({"data_center": "eu"}), "only Zoho has some; its client is one of QuickBooks").await;
    check(json!({"kept": {}}), "no usable `kept.realmId`").await;
    check(json!({"kept": {"realmId": "hush"}}), "no usable `kept.realmId`").await;
    check(json!({"kept": "hush"}), "the field `kept` is not a JSON object").await;
    check(json!({"scopes": ["a b"]}), "the field `scopes`").await;
    check(json!({"scopes": ["a,b"]}), "something in the field `scopes`").await;
    check(json!({"refresh_token": null}), "the field `refresh_token` is missing").await;
    check(json!({"client": null, "client_id": "c", "client_secret": "hush", "provider": "acme"}), "the provider").await;
    check(
        json!({"client": null, "client_id": "c", "client_secret": "hush", "provider": "custom"}),
        "authorization_endpoint",
    )
    .await;
    check(json!({"client": "nobody"}), "store the client first").await;
    check(json!({"grant_type": "client_credentials", "refresh_token": null, "scopes": ["a"]}), "grant_type").await;
}

#[tokio::test]
async fn list_shows_the_provider_and_when_a_refresh_token_ends() {
    let world = at("github").await;
    Browser::default().consent(&world, &world.link_of_corp("code", false)).await;
    Browser::default().consent(&world, &world.link("crm")).await;
    let shown = type_in(&world, "list", "").await.expect("all is well");
    assert!(shown.contains("github") && shown.contains("eu ") && !shown.contains("ends"), "{shown}");
    let console = Typed { width: Some(200), ..Typed::default() };
    run(&world, "list --long", &console).await.expect("all is well");
    let shown = console.shown.into_inner();
    assert!(shown.contains("refresh token ends") && shown.contains("2027-05-24"), "{shown}");
    let (answer, _, _) = ask(&world, "list", Typed::default()).await;
    let (code, crm) = (&answer["connections"][0], &answer["connections"][1]);
    assert_eq!((&code["provider"], &code["data_center"], &code["kept"]), (&json!("github"), &Value::Null, &json!({})));
    assert_eq!(code["refresh_token_expires_at"], "2027-05-24T00:00:00Z");
    assert_eq!((&crm["provider"], &crm["data_center"]), (&json!("zoho"), &json!("eu")));
    assert_eq!(crm["refresh_token_expires_at"], Value::Null);
}

#[tokio::test]
async fn two_weeks_before_its_end_a_refresh_token_needs_somebody() {
    let world = at("quickbooks").await;
    Browser::default().consent(&world, &world.link_of_corp("books", false)).await;
    let end = |hours: i64| {
        let mut grant = world.grant("books");
        grant["refresh_token_expires_at"] = json!(world.clock.now() + SignedDuration::from_hours(hours));
        world.aws.put_secret(&grant_name("books"), &grant.to_string());
    };
    end(14 * 24);
    assert!(type_in(&world, "list", "").await.is_ok());
    for (hours, words) in
        [(14 * 24 - 1, "its refresh token ends at 2026-12-04T23:00:00Z"), (-1, "its refresh token has ended at")]
    {
        end(hours);
        let console = Typed { width: Some(200), ..Typed::default() };
        let failed = run(&world, "list", &console).await.expect_err("somebody is needed");
        assert!(failed.starts_with("attention needed: 1 connection"), "{failed}");
        let shown = console.shown.into_inner();
        assert!(shown.contains(words) && shown.contains("make a link with `token-keeper connect books`"), "{shown}");
    }
}

#[tokio::test]
async fn revoke_revokes_where_that_ends_the_one_grant_and_otherwise_says_what_to_do_by_hand() {
    for (provider, revoked) in [("salesforce", true), ("xero", false), ("google", false)] {
        let world = at(provider).await;
        Browser::default().consent(&world, &world.link_of_corp("books", false)).await;
        let refresh_token = world.refresh_token("books").expect("a refresh token");
        let (answer, noted, done) = ask(&world, "revoke books --yes", Typed::default()).await;
        assert_eq!(done, Ok(()), "{provider}");
        assert_eq!(answer["refresh_token"], if revoked { "revoked" } else { "not_revoked" }, "{provider}");
        assert_eq!(noted.contains("has revoked the refresh token"), revoked, "{noted}");
        assert_eq!(noted.contains("remove the app in the account at"), !revoked, "{noted}");
        assert!(!noted.contains("Zoho") && !noted.contains(&refresh_token), "{noted}");
        assert_eq!(world.oauth().refresh_token_lives(&refresh_token), !revoked, "{provider}");
        assert_eq!(world.faults.count("oauth", "revoke"), usize::from(revoked), "{provider}");
        assert_eq!((world.document("books"), world.zoho_calls()), (None, 0), "{provider}");
        assert!(!world.aws.parameter_names().contains(&lease_name("books")));
    }
}

#[tokio::test]
async fn revoke_removes_nothing_if_the_provider_does_not_confirm() {
    let world = at("salesforce").await;
    Browser::default().consent(&world, &world.link_of_corp("books", false)).await;
    let before = world.grant("books");
    world.faults.add(Rule::on("oauth", "revoke").times(1), Fault::Respond(testkit::aws::server_error()));
    let error = type_in(&world, "revoke books --yes", "").await.expect_err("not confirmed");
    assert!(
        error.contains("Salesforce did not revoke the refresh token") && error.contains("nothing was removed"),
        "{error}"
    );
    assert_eq!(world.grant("books"), before);
    type_in(&world, "revoke books --yes", "").await.expect("revoked");
}

#[tokio::test]
async fn a_connection_whose_client_is_gone_can_be_ended() {
    let world = at("salesforce").await;
    Browser::default().consent(&world, &world.link_of_corp("books", false)).await;
    Browser::default().consent(&world, &world.link("crm")).await;
    world.aws.deny_secret("token-keeper/clients/corp");
    let error = type_in(&world, "revoke books --yes", "").await.expect_err("nobody knows");
    assert!(error.contains("token-keeper/clients/corp"), "{error}");
    world.aws.allow("token-keeper/clients/corp");
    for client in ["corp", "acme"] {
        world.aws.delete_secret(&format!("token-keeper/clients/{client}"));
    }
    let (answer, noted, done) = ask(&world, "revoke books --yes", Typed::default()).await;
    assert_eq!((&answer["refresh_token"], done), (&json!("not_revoked"), Ok(())));
    assert!(noted.contains("it is not known who the provider is"), "{noted}");
    let (answer, _, done) = ask(&world, "revoke crm --yes", Typed::default()).await;
    assert_eq!((&answer["refresh_token"], done), (&json!("revoked"), Ok(())), "with a data centre it is Zoho's");
}

#[tokio::test]
async fn token_prints_the_header_that_the_provider_wants() {
    for (provider, header, name) in
        [("xero", "Authorization: Bearer ", "Authorization"), ("amazon", "x-amz-access-token: ", "x-amz-access-token")]
    {
        let world = at(provider).await;
        world.connect_corp("books");
        world.run().await;
        let token = world.field("books", "access_token").as_str().expect("a token").to_owned();
        assert_eq!(type_in(&world, "token books", "").await.expect("a token").trim_end(), token);
        let shown = type_in(&world, "token books --header", "").await.expect("a header");
        assert_eq!(shown.trim_end(), format!("{header}{token}"));
        let (answer, _, _) = ask(&world, "token books", Typed::default()).await;
        assert_eq!((&answer["token_type"], &answer["header"]), (&json!("Bearer"), &json!(name)));
    }
}

/// The findings of `doctor` on other providers.
async fn diagnose(world: &World, schedule: &str) -> Vec<String> {
    let (answer, _, _) = ask(world, &format!("doctor --schedule {schedule}"), Typed::default()).await;
    let checks = answer["checks"].as_array().expect("checks").iter();
    let ours = checks.filter(|check| check["check"] == "providers");
    ours.map(|check| format!("{} {} -> {}", check["severity"], check["what"], check["remedy"])).collect()
}

#[tokio::test]
async fn doctor_says_what_keeps_a_connection_from_being_served() {
    let world = at("quickbooks").await;
    assert_eq!(diagnose(&world, "15m").await, [""; 0], "without such connections it says nothing");
    Browser::default().consent(&world, &world.link_of_corp("books", false)).await;
    assert!(diagnose(&world, "15m").await[0].contains("1 connection at other providers than Zoho can be kept fresh"));
    let mut grant = world.grant("books");
    grant["kept"] = json!({"realmId": "hush"});
    world.aws.put_secret(&grant_name("books"), &grant.to_string());
    let found = diagnose(&world, "15m").await;
    assert!(found.len() == 1 && found[0].contains("books: its secret has no usable `kept.realmId`"), "{found:?}");
    assert!(!found[0].contains("hush"), "{found:?}");
    let found = diagnose(&world, "40m").await;
    assert!(found.iter().any(|found| found.contains("lives 1h, and the refresher runs every 40m")), "{found:?}");

    let world = World::new().await;
    world.store_corp(&json!({}));
    world.connect_corp("books");
    let found = diagnose(&world, "15m").await;
    assert!(found[0].starts_with("\"wrong\"") && found[0].contains("the refresher may not store it"), "{found:?}");
    assert!(found[0].contains("RotatingProviders=true"), "{found:?}");
}

#[tokio::test]
async fn without_the_right_to_store_what_rotates_each_command_says_so_and_no_other_step() {
    let world = World::new().await;
    let remedy = "deploy the stack with RotatingProviders=true";
    let console = Typed { answer: "hush".to_owned(), ..Typed::default() };
    run(&world, "client add books-app --client-id B00K5 --provider xero", &console).await.expect("stored");
    assert!(console.noted.into_inner().contains(remedy));
    let row = json!({"connection": "books", "client": "books-app", "refresh_token": "rt"});
    let console = Typed { file: row.to_string().into_bytes(), ..Typed::default() };
    run(&world, "import rows.json", &console).await.expect("imported");
    assert!(console.noted.into_inner().contains(remedy));
    assert!(console.shown.into_inner().ends_with("Nothing was minted.\n"));
    let console = Typed::default();
    run(&world, "doctor --schedule 15m", &console).await.expect_err("it is not served");
    let shown = console.shown.into_inner();
    assert!(shown.contains("the refresher may not store it") && !shown.contains("there is no token yet"), "{shown}");
}

#[tokio::test]
async fn doctor_counts_the_versions_that_a_rotating_connection_would_need_in_a_day() {
    let world = at("xero").await;
    world.store_of_corp("books", &json!({"refresh_token": "rt"}));
    let found = diagnose(&world, "15m").await;
    assert!(found[0].starts_with("\"note\"") && found[0].contains("lives 30m and is renewed"), "96 a day: {found:?}");
    assert!(diagnose(&world, "5m").await[0].contains("can be kept fresh"));
    let found = diagnose(&world, "1m").await;
    assert!(found[0].starts_with("\"wrong\"") && found[0].contains("111 new refresh tokens a day"), "{found:?}");
    assert!(found[0].contains("lives 30m, margin 17m 30s, a run every 1m"), "{found:?}");
    // HubSpot's tokens live as long. One that never rotates writes nothing.
    let world = World::with(&[("TOKEN_KEEPER_ROTATING_PROVIDERS", "true")]).await;
    world.oauth().settings(|settings| {
        settings.rotation = Rotation::Never;
        settings.revocation = Some(Ends::Token);
        settings.access_token_life = SignedDuration::from_mins(30);
    });
    world.store_corp(&json!({"rotation": "never"}));
    world.connect_corp("books");
    world.run().await;
    assert!(diagnose(&world, "1m").await[0].contains("can be kept fresh"));
    world.oauth().settings(|settings| settings.access_token_life = SignedDuration::from_mins(5));
    world.advance_minutes(31);
    world.run().await;
    let found = diagnose(&world, "15m").await;
    assert!(
        found[0].contains("lives 5m, and the refresher runs every 15m") && found[0].contains("every 2m 30s"),
        "{found:?}"
    );
}

#[tokio::test]
async fn revoke_ends_the_refresh_token_that_a_claim_keeps_and_removes_the_claims() {
    for (provider, ended) in [("salesforce", true), ("xero", false)] {
        let world = at(provider).await;
        world.oauth().settings(|settings| {
            settings.rotation = Rotation::Always;
            settings.revocation = Some(Ends::Token);
        });
        world.connect_corp("books");
        world.run().await;
        world.advance_minutes(60);
        let refused = testkit::aws::error("AccessDeniedException", "no");
        world.faults.add(Rule::on("secretsmanager", "PutSecretValue"), Fault::Respond(refused));
        assert_eq!(world.run().await["failed"], json!(["books"]), "its new refresh token is in the claim");
        world.faults.clear();
        ask(&world, "revoke books --yes", Typed::default()).await.2.expect("revoked");
        let claims = world.aws.parameter_names().into_iter().filter(|name| name.contains("/claims/"));
        assert_eq!(claims.collect::<Vec<_>>(), Vec::<String>::new(), "{provider}");
        // At Xero a revocation would end other grants.
        assert_eq!(world.oauth().refresh_tokens().is_empty(), ended, "{provider}");
    }
}

#[tokio::test]
async fn a_command_after_a_refresh_that_was_cut_off_stores_the_new_refresh_token_first() {
    let world = at("box").await;
    world.connect_corp("books");
    let calls = async {
        let other = at("box").await;
        other.connect_corp("books");
        other.run().await;
        other.faults.calls()
    };
    let moves = calls.await.iter().position(|call| call.operation == "UpdateSecretVersionStage");
    world.faults.cut_at(moves.expect("the second step of a store"), false);
    tokio::select! {
        biased;
        report = world.run() => panic!("the run ended with {report}"),
        () = world.faults.until_cut() => {}
    }
    world.faults.clear();
    let spent = world.refresh_token("books").expect("a refresh token");
    assert!(!world.oauth().refresh_token_lives(&spent));
    let command = format!("connect books --scope {CORP_SCOPE},more.read {CALLBACK}");
    type_in(&world, &command, "").await.expect("a link");
    assert_eq!(world.grant("books")["scopes"], json!([CORP_SCOPE, "more.read"]));
    assert!(world.oauth().refresh_token_lives(&world.refresh_token("books").expect("a refresh token")));
}
