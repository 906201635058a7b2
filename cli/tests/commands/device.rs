//! `connect --device`: somebody types a code at Zoho, and the command waits. Waiting moves the
//! clock of the stand-ins, so minutes pass at once.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::io;
use std::pin::Pin;
use std::time::Duration;

use jiff::SignedDuration;
use serde_json::{Value, json};
use testkit::wire::{Fault, Rule};
use testkit::world::{EU_SECRET, SCOPE, US_SECRET, World, grant_name};
use testkit::zoho::{User, answers};
use token_keeper_cli::Terminal;

use crate::typed::{run, type_in};

const CONNECT: &str = "connect crm --client tv --data-center eu --scope ZohoCRM.modules.ALL --device";

/// A user who sees the screen and does something: when the code is shown (0), and in the last
/// second of each wait (1, 2, …). Gets the user code.
type Act<'w> = &'w dyn Fn(usize, &str);

/// A terminal with a user in front of it. It keeps how long the command waits.
struct Screen<'w> {
    world: &'w World,
    act: Act<'w>,
    code: RefCell<String>,
    shown: RefCell<String>,
    noted: RefCell<String>,
    waits: RefCell<Vec<u64>>,
    progress: Cell<(usize, usize)>,
    finishing: Cell<bool>,
}

impl<'w> Screen<'w> {
    fn new(world: &'w World, act: Act<'w>) -> Self {
        Self {
            world,
            act,
            code: RefCell::default(),
            shown: RefCell::default(),
            noted: RefCell::default(),
            waits: RefCell::default(),
            progress: Cell::default(),
            finishing: Cell::default(),
        }
    }

    fn see(&self, text: &str) {
        let line = text.trim();
        if line.len() == 9
            && line.split('-').all(|part| part.len() == 4 && part.bytes().all(|b| b.is_ascii_uppercase()))
        {
            line.clone_into(&mut self.code.borrow_mut());
            (self.act)(0, line);
        }
    }
}

impl Terminal for Screen<'_> {
    fn print(&self, text: &str) -> io::Result<()> {
        self.shown.borrow_mut().extend([text, "\n"]);
        self.see(text);
        Ok(())
    }

    fn note(&self, text: &str) {
        self.noted.borrow_mut().extend([text, "\n"]);
        self.see(text);
    }

    fn finish_first(&self, on: bool) {
        self.finishing.set(on);
    }

    fn progress(&self, done: usize, all: usize) {
        self.progress.set((done, all));
    }

    fn wait(&self, time: Duration) -> Pin<Box<dyn Future<Output = ()> + '_>> {
        assert!(!self.finishing.get(), "Ctrl-C ends the command at once while it waits");
        self.waits.borrow_mut().push(time.as_secs());
        let end = SignedDuration::from_secs(1);
        self.world.clock.advance(SignedDuration::try_from(time).expect("a short time") - end);
        (self.act)(self.waits.borrow().len(), &self.code.borrow());
        self.world.clock.advance(end);
        Box::pin(async {})
    }
}

/// A world with the non-browser application `tv`, which has a secret in `us` and `eu`.
async fn world() -> World {
    let world = World::new().await;
    world.zoho.register("1000.TV", &[], &[("us", US_SECRET), ("eu", EU_SECRET), ("in", "unknown-here")]);
    world.zoho.allow_device("1000.TV");
    let client = json!({"client_id": "1000.TV", "client_secrets": {"us": US_SECRET, "eu": EU_SECRET}});
    world.aws.put_secret("token-keeper/clients/tv", &client.to_string());
    world
}

/// What a command showed, how long it waited, and how it ended.
struct Ran {
    shown: String,
    noted: String,
    waits: Vec<u64>,
    done: Result<(), String>,
}

/// Types a command while somebody sits there.
async fn typed(world: &World, command: &str, act: Act<'_>) -> Ran {
    let screen = Screen::new(world, act);
    let done = Box::pin(run(world, command, &screen)).await;
    assert!(done.is_err() || screen.finishing.get(), "Ctrl-C waited until the grant was stored");
    let (shown, noted) = (screen.shown.into_inner(), screen.noted.into_inner());
    let polled: Vec<_> = world.faults.calls().into_iter().filter(|call| call.operation == "device_token").collect();
    for secret in polled.iter().map(|call| call.subject.as_str()).chain([EU_SECRET, US_SECRET, "1000.refresh"]) {
        let said = format!("{shown}{noted}{done:?}");
        assert!(secret.is_empty() || !said.contains(secret), "{said}");
    }
    Ran { shown, noted, waits: screen.waits.into_inner(), done }
}

/// A user who decides in this wait.
fn decides(world: &World, at: usize, accept: bool) -> impl Fn(usize, &str) {
    move |now, code| {
        if now == at {
            world.zoho.decide(code, accept).expect("a code that waits");
        }
    }
}

fn nobody(_: usize, _: &str) {}

fn check_connected(world: &World, data_center: &str) {
    let refresh_token = world.refresh_token("crm").expect("a refresh token");
    assert_eq!(world.zoho.refresh_tokens(), [refresh_token], "the only one that lives");
    assert_eq!(world.grant("crm")["data_center"], data_center);
    assert!(world.token_lives("crm"));
}

#[tokio::test]
async fn a_code_that_is_typed_anywhere_connects_the_account() {
    let world = world().await;
    let accounts = world.zoho.accounts("eu");
    let code = RefCell::new(String::new());
    let ran = typed(&world, CONNECT, &|now, shown| {
        shown.clone_into(&mut code.borrow_mut());
        decides(&world, 2, true)(now, shown);
    })
    .await;
    ran.done.expect("connected");
    let guide = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/operating.md"));
    let guide = guide.split("```text\nRegion").nth(1).and_then(|rest| rest.split("```").next()).expect("an example");
    let example = format!("Region{guide}").replace("https://accounts.zoho.eu", &accounts);
    assert_eq!(ran.shown, example.replace("WDJB-MJHT", &code.borrow()), "as in the guide");
    assert_eq!((ran.waits, ran.noted.as_str()), (vec![30, 30], ""));
    assert_eq!(world.grant("crm")["scopes"], json!([SCOPE]));
    assert_eq!(world.notices("crm").len(), 1, "a notice as after each consent");
    check_connected(&world, "eu");
    world.advance_minutes(30);
    assert_eq!(world.run().await["refreshed"], 1);
    check_connected(&world, "eu");
}

#[tokio::test]
async fn a_second_consent_replaces_the_grant_and_revokes_the_old_one() {
    let world = world().await;
    for _ in 0..2 {
        typed(&world, CONNECT, &decides(&world, 0, true)).await.done.expect("connected");
        check_connected(&world, "eu");
        world.advance_minutes(10);
    }
    let again = typed(&world, "connect crm --device", &decides(&world, 1, true)).await;
    again.done.expect("the stored options are enough");
    assert_eq!(again.waits, [30]);
    check_connected(&world, "eu");
}

#[tokio::test]
async fn zoho_is_asked_no_more_than_once_in_thirty_seconds_or_as_it_says() {
    for (answer, waits) in [
        (json!({"interval": 0}), [30, 30]),
        (json!({"interval": 5}), [30, 30]),
        (json!({"interval": 5000, "expires_in": 300_000}), [30, 30]),
        (json!({"interval": 60}), [60, 60]),
        (json!({"interval": 45_000}), [45, 45]),
    ] {
        let world = world().await;
        let mut codes = json!({"device_code": "1000.unknown", "user_code": "ABCD-EFGH",
            "verification_url": "https://accounts.zoho.eu/oauth/v3/device", "expires_in": 90});
        codes.as_object_mut().expect("fields").extend(answer.as_object().expect("fields").clone());
        world.faults.add(Rule::on("zoho", "device_code"), Fault::Respond(answers::status(200, &codes)));
        world
            .faults
            .add(Rule::on("zoho", "device_token").times(2), Fault::Respond(answers::refusal("authorization_pending")));
        world.faults.add(Rule::on("zoho", "device_token"), Fault::Respond(answers::refusal("access_denied")));
        assert_eq!(typed(&world, CONNECT, &nobody).await.waits, waits, "{answer}");
    }
    let world = world().await;
    world.zoho.settings(|settings| settings.expires_in_milliseconds = true);
    let ran = typed(&world, CONNECT, &decides(&world, 9, true)).await;
    assert_eq!((ran.done, ran.waits), (Ok(()), vec![30; 9]), "the old form of the answer");
}

#[tokio::test]
async fn slow_down_and_passing_trouble_make_it_slower_and_end_nothing() {
    let world = world().await;
    let troubles = [
        Fault::Respond(answers::refusal("slow_down")),
        Fault::Respond(answers::status(400, &json!({"error": "slow_down"}))),
        Fault::Drop { handled: false },
        Fault::Respond(answers::html()),
        Fault::Respond(answers::throttled()),
    ];
    for trouble in troubles {
        world.faults.add(Rule::on("zoho", "device_token").times(1), trouble);
    }
    let ran = typed(&world, CONNECT, &decides(&world, 5, true)).await;
    ran.done.expect("connected");
    assert_eq!(ran.waits, [35, 40, 45, 50, 55]);
    assert_eq!(
        ran.noted,
        "Zoho gave no usable answer (the connection broke before the answer was whole). The command asks again.\n\
         Zoho gave no usable answer (HTTP 200 with a body that is not a JSON object). The command asks again.\n\
         Zoho gave no usable answer (too_many_requests). The command asks again.\n"
    );
    check_connected(&world, "eu");
}

#[tokio::test]
async fn each_ending_has_its_words_and_changes_nothing() {
    for (at, accept, fault, waits, ending) in [
        (1, Some(false), None, 1, "the user said no; no grant was changed\n  -> run the command again to ask again"),
        (
            0,
            None,
            None,
            10,
            "nobody agreed before the code ended; no grant was changed\n  -> run the command again for a new code",
        ),
        (
            1,
            Some(true),
            Some(Fault::Respond(answers::status(503, &json!({})))),
            7,
            "Zoho gave no usable answer until the code ended (HTTP 503)\n  -> run the command again in a few minutes",
        ),
        (
            1,
            Some(true),
            Some(Fault::Respond(answers::throttled_translated())),
            7,
            "Zoho gave no usable answer until the code ended (too_many_requests)\n  -> run the command again in ten minutes",
        ),
        (
            0,
            Some(true),
            Some(Fault::Drop { handled: true }),
            1,
            "Zoho does not accept the code any more (invalid_code)\n  -> if an answer of Zoho was lost before, the tokens were \
             in it; run the command again for a new code",
        ),
        (0, None, Some(Fault::Respond(answers::refusal("expired_token"))), 0, "nobody agreed before the code ended"),
        (
            0,
            None,
            Some(Fault::Respond(answers::refusal("invalid_client"))),
            0,
            "Zoho refuses the client's secret in the data centre eu (invalid_client)\n  -> compare it with Zoho's API console",
        ),
    ] {
        let world = world().await;
        let lost = matches!(fault, Some(Fault::Drop { .. }));
        if let Some(fault) = fault {
            let times = if lost { 1 } else { usize::MAX };
            world.faults.add(Rule::on("zoho", "device_token").times(times), fault);
        }
        let act = |now: usize, code: &str| {
            if let Some(accept) = accept {
                decides(&world, at, accept)(now, code);
            }
        };
        let ran = typed(&world, CONNECT, &act).await;
        let failure = ran.done.expect_err(ending);
        assert!(failure.starts_with(ending), "{failure}");
        assert_eq!(ran.waits.len(), waits, "{failure}");
        assert_eq!((world.refresh_token("crm"), world.document("crm")), (None, None), "{failure}");
        // Only a lost answer leaves a refresh token behind.
        assert_eq!(world.zoho.refresh_tokens().len(), usize::from(lost), "{failure}");
    }
}

#[tokio::test]
async fn somebody_who_agrees_in_the_last_second_is_not_too_late() {
    let world = world().await;
    let ran = typed(&world, CONNECT, &decides(&world, 10, true)).await;
    assert_eq!((ran.done, ran.waits), (Ok(()), vec![30; 10]));
    check_connected(&world, "eu");
}

#[tokio::test]
async fn a_wrong_client_is_found_before_anybody_types_the_code() {
    let world = world().await;
    world.zoho.change_secret("1000.TV", "eu", "another");
    let typed_in = Cell::new(0);
    let ran = typed(&world, CONNECT, &|_, _| typed_in.set(typed_in.get() + 1)).await;
    let failure = ran.done.expect_err("a wrong secret");
    assert!(
        failure.starts_with("Zoho refuses the client's secret in the data centre eu (invalid_client)"),
        "{failure}"
    );
    assert!(failure.ends_with("crm is stored and awaits a consent; token-keeper revoke crm removes it"), "{failure}");
    assert_eq!((ran.waits, typed_in.get()), (vec![], 1));
    // A client of another type gets no code.
    let acme = CONNECT.replace("--client tv", "--client acme").replace("crm", "books");
    let ran = typed(&world, &acme, &nobody).await;
    let failure = ran.done.expect_err("a server-based client");
    assert!(failure.starts_with("Zoho refuses the client in the data centre eu (invalid_client)"), "{failure}");
    assert!(!ran.shown.contains("types this code"), "{}", ran.shown);
    let refused = Fault::Respond(answers::refusal("invalid_scope"));
    world.faults.add(Rule::on("zoho", "device_code"), refused);
    let failure = typed(&world, CONNECT, &nobody).await.done.expect_err("a wrong scope");
    assert!(
        failure.starts_with("Zoho refuses the scopes (invalid_scope)\n  -> correct them with --scope"),
        "{failure}"
    );
}

#[tokio::test]
async fn an_account_of_another_data_center_gets_its_tokens_there() {
    let world = world().await;
    world.zoho.settings(|settings| settings.home = Some("us".to_owned()));
    let ran = typed(&world, CONNECT, &decides(&world, 1, true)).await;
    ran.done.expect("connected");
    assert!(ran.shown.contains("\nThe account lives in the data centre us. Its tokens come from there.\nConnected."));
    assert_eq!(ran.waits, [30, 30]);
    check_connected(&world, "us");
    assert_eq!(world.field("crm", "api_domain"), "https://www.zohoapis.com");
}

#[tokio::test]
async fn a_connected_account_stays_in_its_data_center_unless_it_may_move() {
    let world = world().await;
    typed(&world, CONNECT, &decides(&world, 0, true)).await.done.expect("connected");
    let before = world.grant("crm");
    world.zoho.settings(|settings| settings.home = Some("us".to_owned()));
    world.advance_minutes(1);
    let failure = typed(&world, "connect crm --device", &decides(&world, 0, true)).await.done.expect_err("moved");
    assert_eq!(
        failure,
        "the account lives in the data centre us, and crm belongs to eu\n  -> if the account has moved, add --allow-move; \
         no grant was changed"
    );
    assert_eq!(world.grant("crm"), before);
    check_connected(&world, "eu");
    world.advance_minutes(1);
    let moved = typed(&world, "connect crm --device --allow-move", &decides(&world, 0, true)).await;
    moved.done.expect("connected");
    check_connected(&world, "us");
}

#[tokio::test]
async fn a_data_center_without_a_secret_or_a_row_is_named() {
    for (home, failure) in [
        (
            "in",
            "the account lives in the data centre in; the client: it has no client secret for the data centre in\n  -> store the secret for it, then run the command again: token-keeper client add … --data-center in",
        ),
        (
            "mars",
            "the account lives in the data centre mars, which is not in the table of data centres\n  -> if that is one of Zoho's, add it",
        ),
    ] {
        let world = world().await;
        let elsewhere = answers::status(200, &json!({"user_location": home, "error": "other_dc"}));
        world.faults.add(Rule::on("zoho", "device_token"), Fault::Respond(elsewhere));
        let seen = typed(&world, CONNECT, &nobody).await.done.expect_err(home);
        assert!(seen.starts_with(failure), "{seen}");
        assert_eq!(world.refresh_token("crm"), None);
    }
}

#[tokio::test]
async fn nothing_hostile_is_shown_or_believed() {
    let page = "https://accounts.zoho.eu/oauth/v3/device";
    let codes = |user_code: &str, page: &str| {
        answers::status(
            200,
            &json!({"device_code": "1000.d", "user_code": user_code, "verification_url": page,
            "verification_uri_complete": "https://evil.example@\u{1b}]0;", "expires_in": i64::MAX, "interval": 0}),
        )
    };
    let endless = answers::status(200, &json!({"device_code": "d".repeat(100_000)}));
    for (answer, failure) in [
        (codes("AB\u{1b}[2JCD", page), "Zoho gave no code (HTTP 200 without a user code that can be shown)"),
        (
            codes("ABCD-EFGH", "http://accounts.zoho.eu/device"),
            "Zoho gave no code (HTTP 200 without a page that is safe to open)",
        ),
        (codes("ABCD-EFGH", "javascript:alert(1)"), "Zoho gave no code (HTTP 200 without a page"),
        (endless, "Zoho gave no code (the answer is too long)"),
        (answers::redirect("https://evil.example"), "Zoho gave no code (HTTP 302: a redirect, not followed)"),
        (answers::html(), "Zoho gave no code (HTTP 200 with a body that is not a JSON object)"),
        (
            answers::server_error("invalid_client"),
            "Zoho gave no code (HTTP 500)\n  -> run the command again in a few minutes",
        ),
        (answers::throttled(), "Zoho gave no code (too_many_requests)\n  -> run the command again in ten minutes"),
    ] {
        let world = world().await;
        world.faults.add(Rule::on("zoho", "device_code"), Fault::Respond(answer));
        let ran = typed(&world, CONNECT, &nobody).await;
        let said = format!("{}{}{:?}", ran.shown, ran.noted, ran.done);
        assert!(ran.done.is_err_and(|seen| seen.starts_with(failure)), "{said}");
        assert!(!said.contains(['\u{1b}', '\u{7}']) && !said.contains("evil"), "{said}");
    }
    // Whatever Zoho says, the command ends: an hour is the most that a code is believed to live.
    let world = world().await;
    world.faults.add(Rule::on("zoho", "device_code"), Fault::Respond(codes("ABCD-EFGH", page)));
    world.faults.add(Rule::on("zoho", "device_token"), Fault::Respond(answers::refusal("authorization_pending")));
    let ran = typed(&world, CONNECT, &nobody).await;
    assert!(ran.done.is_err_and(|failure| failure.starts_with("nobody agreed")));
    assert_eq!(ran.waits, vec![30; 120]);
    assert!(!ran.shown.contains("evil") && !ran.shown.contains("This page knows the code"), "{}", ran.shown);
}

#[tokio::test]
async fn the_secret_goes_into_the_body_and_only_to_known_hosts() {
    let world = world().await;
    typed(&world, CONNECT, &decides(&world, 1, true)).await.done.expect("connected");
    // The stand-in reads only the body. So the scopes arrived there, with commas between.
    let scopes = "connect books --client tv --data-center eu --scope A.b.READ --scope C.d.READ --device";
    typed(&world, scopes, &decides(&world, 1, true)).await.done.expect("connected");
    assert_eq!(world.grant("books")["scopes"], json!(["A.b.READ", "C.d.READ"]));
}

#[tokio::test]
async fn what_somebody_else_stores_meanwhile_stays_and_the_new_token_is_handed_back() {
    let world = world().await;
    let act = |now: usize, code: &str| {
        if now == 1 {
            let mut grant = world.grant("crm");
            grant["note"] = json!("by hand");
            world.aws.put_secret(&grant_name("crm"), &grant.to_string());
            world.zoho.decide(code, true).expect("a code that waits");
        }
    };
    let failure = typed(&world, CONNECT, &act).await.done.expect_err("overtaken");
    assert_eq!(
        failure,
        "somebody else changed crm meanwhile; nothing of this consent is kept\n  -> see token-keeper list"
    );
    assert_eq!((world.grant("crm")["note"].as_str(), world.refresh_token("crm")), (Some("by hand"), None));
    assert!(world.zoho.refresh_tokens().is_empty(), "the new refresh token is revoked");
}

#[tokio::test]
async fn the_account_has_to_be_the_same_if_it_is_known() {
    let world = world().await;
    typed(&world, &format!("{CONNECT} --identify"), &decides(&world, 0, true)).await.done.expect("connected");
    let before = world.grant("crm");
    assert_eq!(before["account"]["email"], "ann@example.com");
    world.zoho.settings(|settings| settings.user = User { id: 7, email: "bob@example.com".to_owned() });
    world.advance_minutes(1);
    let failure = typed(&world, "connect crm --device", &decides(&world, 0, true)).await.done.expect_err("another");
    assert!(failure.starts_with("crm belongs to another account; the new grant was handed back to Zoho"), "{failure}");
    assert_eq!(world.grant("crm"), before);
    check_connected(&world, "eu");
    world.advance_minutes(1);
    let allowed = typed(&world, "connect crm --device --allow-other-account", &decides(&world, 0, true)).await;
    allowed.done.expect("connected");
}

#[tokio::test]
async fn what_zoho_withholds_is_said() {
    let world = world().await;
    world.zoho.settings(|settings| settings.withheld_scopes = vec!["ZohoCRM.users.READ".to_owned()]);
    let both = CONNECT.replace(SCOPE, &format!("{SCOPE},ZohoCRM.users.READ"));
    let ran = typed(&world, &both, &decides(&world, 0, true)).await;
    assert!(ran.shown.contains("Zoho granted only some of the scopes. Missing: ZohoCRM.users.READ.\nConnected."));
    world.zoho.settings(|settings| settings.exchange_yields_refresh_token = false);
    world.advance_minutes(1);
    let before = world.grant("crm");
    let failure = typed(&world, "connect crm --device", &decides(&world, 0, true)).await.done.expect_err("none");
    assert!(failure.starts_with("Zoho sent no refresh token; no grant was changed"), "{failure}");
    assert_eq!(world.grant("crm"), before);
}

#[tokio::test]
async fn a_program_reads_one_object_and_people_read_the_code_on_standard_error() {
    let world = world().await;
    let ran = typed(&world, &format!("{CONNECT} --json"), &decides(&world, 1, true)).await;
    ran.done.expect("connected");
    let answer: Value = serde_json::from_str(&ran.shown).expect("one object");
    assert_eq!(
        answer,
        json!({"schema": 1, "connection": "crm", "data_center": "eu", "account": null, "parameter": "/token-keeper/tokens/crm",
            "published": true, "withheld": []})
    );
    for line in ["types this code and agrees, before 2026-11-21T00:05:00Z:", "/oauth/v3/device\n"] {
        assert!(ran.noted.contains(line), "{}", ran.noted);
    }
    let reference = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/reference.md"));
    let row = reference.lines().find(|row| row.starts_with("| `connect --device` |")).expect("a row");
    let listed: BTreeSet<_> = row.split('`').skip(3).step_by(2).collect();
    let fields: BTreeSet<_> = answer.as_object().expect("fields").keys().map(String::as_str).collect();
    assert_eq!(listed.union(&BTreeSet::from(["schema"])).copied().collect::<BTreeSet<_>>(), fields);
}

#[tokio::test]
async fn progress_shows_how_much_of_the_codes_life_has_passed() {
    let world = world().await;
    let screen = Screen::new(&world, &nobody);
    let _expired = Box::pin(run(&world, CONNECT, &screen)).await;
    assert_eq!(screen.progress.get(), (270, 300), "before the last wait");
}

/// A terminal that is closed.
struct Closed;

impl Terminal for Closed {
    fn print(&self, _: &str) -> io::Result<()> {
        Err(io::Error::other("closed"))
    }
}

#[tokio::test]
async fn if_nobody_can_read_the_code_nobody_waits_for_it() {
    let world = world().await;
    let failure = run(&world, CONNECT, &Closed).await.expect_err("nobody reads");
    assert!(failure.starts_with("nobody could read the code"), "{failure}");
    assert_eq!(world.faults.count("zoho", "device_token"), 0);
}

#[tokio::test]
async fn a_code_goes_with_nothing_that_belongs_to_a_link() {
    let world = world().await;
    for option in ["--local", "--void", "--callback-url BASE", "--valid-for 1h"] {
        let refused = type_in(&world, &format!("connect crm --device {option}"), "").await.expect_err(option);
        assert!(refused.contains("cannot be used with"), "{option}: {refused}");
    }
    // It takes the options of connect, and refuses what cannot work before it asks Zoho.
    for (arguments, complaint) in [
        ("new --scope ZohoCRM.org.READ --data-center eu", "--client is required"),
        ("new --client tv --scope ZohoCRM.org.READ", "--data-center is required"),
        ("new --client tv --data-center eu", "--scope is required"),
        ("new --client tv --scope ZohoCRM.org.READ --data-center in", "it has no client secret for the data centre in"),
    ] {
        let refused = type_in(&world, &format!("connect {arguments} --device"), "").await.expect_err(arguments);
        assert!(refused.contains(complaint), "{refused}");
    }
    assert_eq!((world.writes(), world.zoho_calls()), (0, 0));
}
