//! Consents in which something goes wrong. Afterwards the old grant is whole, or the new one is.

use serde_json::json;
use testkit::wire::{Fault, Rule};
use testkit::zoho::answers;

use testkit::browser::{Browser, title};
use testkit::world::{World, grant_name};

/// A connected account. Its administrator has agreed at Zoho again and is on the way back.
async fn returning() -> (World, Browser, String, String) {
    let world = World::new().await;
    Browser::default().consent(&world, &world.link("crm-prod")).await;
    world.advance_minutes(30);
    let (link, browser) = (world.link("crm-prod"), Browser::default());
    let zoho = browser.begin(&world, &link).await;
    let callback = browser.decide(&zoho, "accept").await;
    world.faults.forget_calls();
    (world, browser, link, callback)
}

/// Checks that the stored grant can mint.
fn whole(world: &World, when: &str) {
    let stored = world.refresh_token("crm-prod").expect("a refresh token");
    assert!(world.zoho.refresh_token_lives(&stored), "{when}: the stored refresh token is dead");
}

#[tokio::test]
async fn a_consent_cut_off_at_any_call_leaves_a_whole_grant_and_a_way_to_go_on() {
    let (world, browser, _, callback) = returning().await;
    assert_eq!(title(&browser.open(&world, &callback).await), "Connected");
    let calls = world.faults.calls();
    // Grant, client, exchange, grant stored and made current, lease read, grant read again, lease
    // published, old refresh token revoked. The key is already in memory.
    assert_eq!(calls.len(), 9, "{calls:#?}");
    for (at, call) in calls.iter().enumerate() {
        for handled in [false, true] {
            let when = format!("cut at call {at} ({call}), handled: {handled}");
            let (world, browser, link, callback) = returning().await;
            world.faults.cut_at(at, handled);
            tokio::select! {
                biased;
                response = browser.open(&world, &callback) => panic!("{when}: answered {}", response.status),
                () = world.faults.until_cut() => {}
            }
            world.faults.clear();
            whole(&world, &when);
            let again = browser.open(&world, &callback).await;
            assert!(
                ["Connected", "Already connected", "Zoho's code is too old"].contains(&title(&again)),
                "{when}: {}",
                title(&again)
            );
            let anew = browser.open(&world, &link).await;
            if anew.status == 303 {
                assert_eq!(title(&browser.consent(&world, &link).await), "Connected", "{when}");
            } else {
                assert_eq!(title(&anew), "Already connected", "{when}");
            }
            whole(&world, &when);
            let document = world.document("crm-prod").expect("a document");
            assert!(
                world.zoho.access_token_lives(document["access_token"].as_str().expect("a token")) || at < 8,
                "{when}"
            );
        }
    }
}

#[tokio::test]
async fn of_two_callbacks_of_one_link_one_wins_and_the_other_leaves_no_refresh_token() {
    let world = World::new().await;
    let link = world.link("crm-prod");
    let (one, other) = (Browser::default(), Browser::default());
    let mut callbacks = Vec::new();
    for browser in [&one, &other] {
        let zoho = browser.begin(&world, &link).await;
        callbacks.push(browser.decide(&zoho, "accept").await);
    }
    let (first, second) = tokio::join!(one.open(&world, &callbacks[0]), other.open(&world, &callbacks[1]));
    let mut titles = [title(&first), title(&second)];
    titles.sort_unstable();
    assert_eq!(titles, ["Already connected", "Connected"]);
    assert_eq!(world.zoho.refresh_tokens(), [world.refresh_token("crm-prod").expect("a refresh token")]);
}

#[tokio::test]
async fn if_one_callback_is_sent_twice_at_once_one_wins() {
    let world = World::new().await;
    let (link, browser) = (world.link("crm-prod"), Browser::default());
    let zoho = browser.begin(&world, &link).await;
    let callback = browser.decide(&zoho, "accept").await;
    let request = browser.request(&callback);
    let (first, second) = tokio::join!(world.respond(&request), world.respond(&request));
    let connected = [&first, &second].iter().filter(|page| title(page) == "Connected").count();
    assert_eq!(connected, 1, "{} and {}", title(&first), title(&second));
    assert!([&first, &second].iter().any(|page| [400, 409].contains(&page.status)));
    assert_eq!(world.zoho.refresh_tokens(), [world.refresh_token("crm-prod").expect("a refresh token")]);
}

/// The two calls that store a grant.
const STORING: [&str; 2] = ["PutSecretValue", "UpdateSecretVersionStage"];

#[tokio::test]
async fn a_write_whose_answer_is_lost_is_stored_once() {
    for operation in STORING {
        let (world, browser, _, callback) = returning().await;
        world.faults.add(Rule::on("secretsmanager", operation).times(1), Fault::Drop { handled: true });
        assert_eq!(title(&browser.open(&world, &callback).await), "Connected", "{operation}");
        whole(&world, operation);
        assert_eq!(world.zoho.refresh_tokens().len(), 1, "{operation}");
    }
}

#[tokio::test]
async fn after_a_write_without_an_answer_the_callback_looks_before_it_revokes() {
    // The grant was made the current one, and the callback finds it.
    let (world, browser, _, callback) = returning().await;
    world.faults.add(Rule::on("secretsmanager", "UpdateSecretVersionStage"), Fault::Drop { handled: true });
    assert_eq!(title(&browser.open(&world, &callback).await), "Connected");
    whole(&world, "stored without an answer");
    // The grant seems not to be the current one. Both refresh tokens stay alive, because the call
    // may still succeed.
    let (world, browser, _, callback) = returning().await;
    world.faults.add(Rule::on("secretsmanager", "UpdateSecretVersionStage"), Fault::Drop { handled: false });
    let page = browser.open(&world, &callback).await;
    assert_eq!((page.status, title(&page)), (502, "Out of order"));
    assert!(page.body.contains("it is not certain that"), "{}", page.body);
    whole(&world, "not stored");
    assert_eq!(world.zoho.refresh_tokens().len(), 2);
    // A version that was only put aside is not current, so its refresh token is revoked.
    for handled in [false, true] {
        let (world, browser, _, callback) = returning().await;
        let old = world.grant("crm-prod");
        world.faults.add(Rule::on("secretsmanager", "PutSecretValue"), Fault::Drop { handled });
        let page = browser.open(&world, &callback).await;
        assert!(page.body.contains("handed back to Zoho"), "{}", page.body);
        assert_eq!((world.grant("crm-prod"), world.zoho.refresh_tokens().len()), (old, 1));
    }
}

#[tokio::test]
async fn if_the_store_refuses_either_call_for_good_the_new_refresh_token_is_revoked_and_the_old_one_stays() {
    for operation in STORING {
        let (world, browser, link, callback) = returning().await;
        let old = world.grant("crm-prod");
        world.faults.add(
            Rule::on("secretsmanager", operation).times(1),
            Fault::Respond(testkit::aws::error("AccessDeniedException", "not you")),
        );
        let page = browser.open(&world, &callback).await;
        assert_eq!((page.status, title(&page)), (502, "Out of order"));
        assert!(page.body.contains("handed back to Zoho"), "{}", page.body);
        assert_eq!(world.grant("crm-prod"), old);
        assert_eq!(world.zoho.refresh_tokens(), [old["refresh_token"].as_str().expect("a refresh token")]);
        assert_eq!(
            title(&browser.consent(&world, &link).await),
            "Connected",
            "the same link works once the store does"
        );
    }
}

#[tokio::test]
async fn if_the_secret_is_deleted_during_the_exchange_the_new_refresh_token_is_revoked() {
    let (world, browser, _, callback) = returning().await;
    let old = world.refresh_token("crm-prod").expect("a refresh token");
    world.aws.hold_back_secret(&grant_name("crm-prod"));
    world.aws.delete_secret(&grant_name("crm-prod"));
    world.faults.add(Rule::on("zoho", "authorization_code"), Fault::Delay(std::time::Duration::from_millis(1)));
    let page = browser.open(&world, &callback).await;
    assert_eq!((page.status, title(&page)), (502, "Out of order"), "the old state is still seen");
    assert_eq!(world.zoho.refresh_tokens(), [old]);
}

#[tokio::test]
async fn nothing_is_revoked_while_an_old_state_is_read_and_the_grant_may_be_stored() {
    let moved = || Rule::on("secretsmanager", "UpdateSecretVersionStage");
    let out_of_order = Fault::Respond(testkit::aws::server_error());
    for second in [None, Some(out_of_order)] {
        let (world, browser, _, callback) = returning().await;
        world.aws.hold_back_secret(&grant_name("crm-prod"));
        world.faults.add(moved().times(1), Fault::Drop { handled: true });
        if let Some(fault) = second {
            world.faults.add(moved(), fault);
        }
        let page = browser.open(&world, &callback).await;
        assert!(page.body.contains("it is not certain that"), "{}", page.body);
        world.aws.release(&grant_name("crm-prod"));
        whole(&world, "seen again");
        assert_eq!(world.faults.count("zoho", "revoke"), 0);
    }
}

#[tokio::test]
async fn a_page_of_a_proxy_does_not_count_as_handed_back() {
    let (world, browser, _, callback) = returning().await;
    world.faults.add(
        Rule::on("secretsmanager", "PutSecretValue"),
        Fault::Respond(testkit::aws::error("AccessDeniedException", "not you")),
    );
    world.faults.add(Rule::on("zoho", "revoke"), Fault::Respond(answers::page(400, "Bad request", "")));
    let page = browser.open(&world, &callback).await;
    assert!(page.body.contains("it is not certain that"), "{}", page.body);
}

#[tokio::test]
async fn a_link_that_is_cancelled_while_its_consent_is_stored_does_not_end_what_programs_read() {
    let (world, browser, _, callback) = returning().await;
    let hold = world.faults.hold_at(5);
    let request = browser.request(&callback);
    let mut consent = Box::pin(world.respond(&request));
    tokio::select! {
        biased;
        page = &mut consent => panic!("not held: {}", title(&page)),
        () = hold.reached() => {}
    }
    let mut grant = world.grant("crm-prod");
    grant["note"] = json!("by hand");
    world.aws.put_secret(&grant_name("crm-prod"), &grant.to_string());
    hold.release();
    assert_eq!(title(&consent.await), "Connected");
    assert!(world.token_lives("crm-prod"));
    assert_eq!(world.field("crm-prod", "grant_version"), json!(world.aws.secret_version(&grant_name("crm-prod"))));
    assert_eq!(world.zoho.refresh_tokens().len(), 1);
}

#[tokio::test]
async fn a_grant_put_back_by_hand_can_be_connected_again() {
    let (world, browser, link, callback) = returning().await;
    let before = world.aws.secret_version(&grant_name("crm-prod")).expect("a version");
    assert_eq!(title(&browser.open(&world, &callback).await), "Connected");
    let anew = browser.open(&world, &link).await;
    assert_eq!(title(&anew), "Already connected");
    // The operator makes the version from before the current one again.
    world.aws.make_current(&grant_name("crm-prod"), &before);
    world.advance_minutes(5);
    assert_eq!(title(&Browser::default().consent(&world, &link).await), "Connected");
    whole(&world, "connected again");
}

#[tokio::test]
async fn the_grant_stays_if_the_first_lease_cannot_be_published() {
    let world = World::new().await;
    world
        .faults
        .add(Rule::on("ssm", "PutParameter"), Fault::Respond(testkit::aws::error("AccessDeniedException", "not you")));
    let page = Browser::default().consent(&world, &world.link("crm-prod")).await;
    assert_eq!(title(&page), "Connected");
    assert!(page.body.contains("appears with the next scheduled run"), "{}", page.body);
    whole(&world, "without a lease");
}

#[tokio::test]
async fn a_parameter_that_is_not_ours_is_left_alone() {
    let world = World::new().await;
    world.aws.put_parameter("/token-keeper/tokens/crm-prod", "somebody else's");
    let page = Browser::default().consent(&world, &world.link("crm-prod")).await;
    assert_eq!(title(&page), "Connected");
    assert_eq!(world.aws.parameter("/token-keeper/tokens/crm-prod").expect("a parameter").value, "somebody else's");
}

#[tokio::test]
async fn the_grant_stays_if_the_old_refresh_token_cannot_be_revoked() {
    let (world, browser, _, callback) = returning().await;
    world.faults.add(Rule::on("zoho", "revoke"), Fault::Respond(answers::server_error("general_error")));
    assert_eq!(title(&browser.open(&world, &callback).await), "Connected");
    whole(&world, "with the old one still alive");
    assert_eq!(world.zoho.refresh_tokens().len(), 2);
}

#[tokio::test]
async fn a_failing_zoho_changes_nothing_and_looks_different_from_a_wrong_client() {
    for (fault, heading) in [
        (Fault::Respond(answers::server_error("invalid_code")), "Zoho is out of order"),
        (Fault::Respond(answers::html()), "Zoho is out of order"),
        (Fault::Respond(answers::empty()), "Zoho is out of order"),
        (Fault::Respond(answers::throttled_translated()), "Zoho is out of order"),
        (Fault::Respond(answers::without_access_token()), "Zoho is out of order"),
        (Fault::Drop { handled: false }, "Zoho is out of order"),
        (Fault::Hang { handled: false }, "Zoho is out of order"),
        (Fault::Respond(answers::refusal("invalid_client")), "Not set up completely"),
        (Fault::Respond(answers::refusal("invalid_redirect_uri")), "Not set up completely"),
        (Fault::Respond(answers::refusal("invalid_code")), "Zoho's code is too old"),
    ] {
        let (world, browser, _, callback) = returning().await;
        let before = (world.grant("crm-prod"), world.document("crm-prod"));
        let described = format!("{fault:?}");
        world.faults.add(Rule::on("zoho", "authorization_code"), fault);
        let page = browser.open(&world, &callback).await;
        assert_eq!(title(&page), heading, "{described}");
        assert_eq!((world.grant("crm-prod"), world.document("crm-prod")), before, "{described}");
        assert_eq!(world.faults.count("zoho", "authorization_code"), 1, "a code is never tried twice: {described}");
    }
}

#[tokio::test]
async fn a_failing_store_and_a_broken_grant_have_different_pages() {
    let world = World::new().await;
    let link = world.link("crm-prod");
    world.aws.put_secret("token-keeper/signing-key", "weak");
    let page = Browser::default().open(&world, &link).await;
    assert_eq!((page.status, title(&page)), (502, "Out of order"));
    let reads = world.faults.count("secretsmanager", "BatchGetSecretValue");
    for _ in 0..20 {
        assert_eq!(Browser::default().open(&world, &link).await.status, 502);
    }
    assert_eq!(world.faults.count("secretsmanager", "BatchGetSecretValue"), reads, "the weak key is remembered");
    world.aws.put_secret("token-keeper/signing-key", testkit::world::SIGNING_KEY);
    world.clock.advance(jiff::SignedDuration::from_secs(30));
    world.faults.add(
        Rule::on("secretsmanager", "BatchGetSecretValue").after(1).times(1),
        Fault::Respond(testkit::aws::error("AccessDeniedException", "not you")),
    );
    let page = Browser::default().open(&world, &link).await;
    assert_eq!((page.status, title(&page)), (502, "Out of order"), "the grant");
    world.aws.put_secret("token-keeper/clients/acme", "{");
    let page = Browser::default().open(&world, &link).await;
    assert_eq!((page.status, title(&page)), (502, "Not set up completely"));
    assert!(page.body.contains("<code>not JSON: it breaks off"), "{}", page.body);
    world.aws.deny_secret(&grant_name("crm-prod"));
    let page = Browser::default().open(&world, &link).await;
    assert_eq!((page.status, title(&page)), (502, "Not set up completely"));
    assert!(page.body.contains("<code>access denied</code>"), "{}", page.body);
    assert!(!page.body.contains("arn:aws") && !page.body.contains("123456789012"), "AWS's sentence: {}", page.body);
    assert_eq!(world.grant("crm-prod")["scopes"], json!(["ZohoCRM.modules.ALL"]));
}

#[tokio::test]
async fn a_new_signing_key_is_used_soon_and_cancels_older_links() {
    let world = World::new().await;
    let old = world.link("crm-prod");
    assert_eq!(Browser::default().open(&world, &old).await.status, 303);
    world.aws.put_secret("token-keeper/signing-key", "another-51gn1ng-key-of-more-than-32-chars");
    let new = world.link("crm-prod");
    world.advance_minutes(6);
    assert_eq!(title(&Browser::default().open(&world, &old).await), "This link is not valid");
    assert_eq!(Browser::default().open(&world, &new).await.status, 303);
}
