//! Two writers of one secret at the same time. One of them is stopped before each of its calls in
//! turn. Meanwhile the other does all its work, or is stopped before each of its own calls until
//! the first is done. However they meet: nothing is lost, and what they say is true.

use std::pin::Pin;
use std::time::Duration;

use serde_json::{Value, json};
use testkit::browser::{Browser, title};
use testkit::wire::Hold;
use testkit::world::{CLIENT_ID, SCOPE, World, grant_name};
use token_keeper_cli::Terminal;

use crate::typed::{Typed, run};

const NEW_SCOPE: &str = "ZohoCRM.users.READ";

/// Everybody who writes the secret of a connection.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Writer {
    /// An administrator comes back from Zoho.
    Consent,
    /// `connect --scope`
    Connect,
    /// `import --replace`
    Import,
    /// `import`
    ImportNew,
    /// `grant`
    Grant,
    /// `grant --client-credentials`
    Own,
    /// `connect --device`
    Device,
    /// `revoke`
    Revoke,
    /// `connect --void`
    Void,
    /// Somebody edits the secret in the console.
    Person,
}

use Writer::{Connect, Consent, Device, Grant, Import, ImportNew, Own, Person, Revoke, Void};

const ALL: [Writer; 9] = [Consent, Connect, Import, ImportNew, Grant, Device, Revoke, Void, Person];
/// Whose tokens come from a consent.
const CONSENTS: [Writer; 3] = [Consent, Grant, Device];

/// A terminal before which somebody agrees as soon as the code is shown.
struct Agreeing<'w>(&'w World);

impl Terminal for Agreeing<'_> {
    fn print(&self, text: &str) -> std::io::Result<()> {
        // All other lines are no user codes.
        let _decided = self.0.zoho.decide(text.trim(), true);
        Ok(())
    }

    fn wait(&self, _: Duration) -> Pin<Box<dyn Future<Output = ()> + '_>> {
        unreachable!("somebody has agreed before the first poll")
    }
}

/// The connection before, and what each writer brings along.
struct Stage {
    world: World,
    /// The refresh token before, if the connection was connected.
    before: Option<String>,
    /// The consents that are on their way back: one for each of two writers.
    callbacks: [(Browser, String); 2],
    /// The refresh tokens to import.
    imports: [String; 2],
    /// Codes of the self client.
    codes: [String; 2],
}

impl Stage {
    async fn set(connected: bool) -> Self {
        let world = World::patient().await;
        world.zoho.register("1000.SELF", &[], &[("eu", "hush")]);
        world.aws.put_secret("token-keeper/clients/self", r#"{"client_id": "1000.SELF", "client_secret": "hush"}"#);
        world.zoho.allow_device(CLIENT_ID);
        let link = world.link("crm");
        let mut before = None;
        if connected {
            Browser::default().consent(&world, &link).await;
            before = world.refresh_token("crm");
        }
        world.advance_minutes(1);
        let link = world.link("crm");
        let mut callbacks = Vec::new();
        for _ in 0..2 {
            let browser = Browser::default();
            let zoho = browser.begin(&world, &link).await;
            let callback = browser.decide(&zoho, "accept").await;
            callbacks.push((browser, callback));
        }
        let imports = [(); 2].map(|()| world.zoho.consent("eu", CLIENT_ID, &[SCOPE]));
        let codes = [(); 2].map(|()| world.zoho.code("eu", CLIENT_ID, &[SCOPE], None));
        let callbacks = callbacks.try_into().unwrap_or_else(|_| unreachable!("two"));
        Self { world, before, callbacks, imports, codes }
    }

    /// The writer does its work. Returns whether it says that this is done.
    async fn act(&self, writer: Writer, which: usize) -> bool {
        let Self { world, callbacks, imports, codes, .. } = self;
        let import =
            json!([{"connection": "crm", "client": "acme", "data_center": "eu", "refresh_token": imports[which]}]);
        let (command, file, answer) = match writer {
            Consent => {
                let (browser, callback) = &callbacks[which];
                let page = Box::pin(browser.open(world, callback)).await;
                return title(&page) == "Connected";
            }
            Person => {
                let mut grant = world.grant("crm");
                if grant.is_null() {
                    return false;
                }
                grant["note"] = json!("by hand");
                world.aws.put_secret(&grant_name("crm"), &grant.to_string());
                return true;
            }
            Connect => (format!("connect crm --scope {NEW_SCOPE} --callback-url BASE"), String::new(), String::new()),
            Import => ("import grants.json --replace".to_owned(), import.to_string(), String::new()),
            ImportNew => ("import grants.json".to_owned(), import.to_string(), String::new()),
            Grant => ("grant crm --client acme --data-center eu".to_owned(), String::new(), codes[which].clone()),
            Own => {
                let organisation = "--client-credentials --soid ZohoCRM.600000434";
                (format!("grant crm --client self --data-center eu {organisation}"), String::new(), String::new())
            }
            Device => {
                let console = Agreeing(world);
                return Box::pin(run(world, "connect crm --client acme --data-center eu --device", &console))
                    .await
                    .is_ok();
            }
            Revoke => ("revoke crm --yes".to_owned(), String::new(), String::new()),
            Void => ("connect crm --void".to_owned(), String::new(), String::new()),
        };
        let console = Typed { file: file.into_bytes(), answer, ..Typed::default() };
        Box::pin(run(world, &command, &console)).await.is_ok()
    }

    /// Checks what is stored, published and alive against what both have said.
    async fn check(&self, when: &str, said: [(Writer, bool); 2]) {
        let world = &self.world;
        let done = |writer: Writer| said.contains(&(writer, true));
        let among = |writer: Writer| said.iter().any(|(one, _)| *one == writer);
        let grant = world.grant("crm");
        let live = world.zoho.refresh_tokens();
        let stored = grant["refresh_token"].as_str().map(str::to_owned);
        if let Some(stored) = &stored {
            assert!(live.contains(stored), "{when}: the stored refresh token is dead: {grant}");
        }
        if done(Own) {
            assert!(!done(Consent) && stored.is_none(), "{when}: a connection has two ways: {grant}");
        }
        // Of the other refresh tokens that live, those to import were brought along. `import
        // --replace` revokes nothing, and a person may write over anything; so the token before may
        // live on then, and so may one that was stored before it was written over. A loser's is
        // dead.
        let others = live.iter().filter(|token| Some(*token) != stored.as_ref() && !self.imports.contains(token));
        let (before, issued): (Vec<_>, Vec<_>) = others.partition(|token| self.before.as_ref() == Some(token));
        let written_over = done(Import) || among(Person);
        assert!(before.is_empty() || written_over, "{when}: the old refresh token was not revoked");
        let stored_before = said.iter().filter(|(writer, done)| *done && CONSENTS.contains(writer)).count();
        let excused = if written_over { stored_before } else { 0 };
        assert!(issued.len() <= excused, "{when}: nobody knows the refresh token that was just issued");
        if done(Revoke) {
            assert_eq!(grant, Value::Null, "{when}: revoked, but stored");
            return;
        }
        if grant.is_null() {
            return;
        }
        if done(Person) {
            assert_eq!(grant["note"], "by hand", "{when}: what a person wrote is lost: {grant}");
        }
        // The code of a self client says itself which scopes it is for.
        if done(Connect) && !done(Person) && !done(Grant) {
            assert_eq!(grant["scopes"], json!([NEW_SCOPE]), "{when}: the new scope is lost: {grant}");
        }
        if !among(Person) {
            let news = said.iter().filter(|(writer, done)| {
                *done && [Import, ImportNew].iter().chain(&CONSENTS).any(|news| news == writer)
            });
            let unchanged = stored == self.before;
            assert_eq!(news.count() > 0, !unchanged, "{when}: {grant}");
        }
        // The next run leaves a living token behind, if there is a grant to mint with.
        world.advance_minutes(1);
        world.run().await;
        if stored.is_some() || done(Own) {
            assert!(world.token_lives("crm"), "{when}: {:?}", world.document("crm"));
        }
    }
}

/// Waits for `work`, or until the call is held.
async fn until_held(work: &mut (impl Future<Output = bool> + Unpin), hold: &Hold) -> Option<bool> {
    tokio::select! {
        biased;
        done = work => Some(done),
        () = hold.reached() => None,
    }
}

/// Lets `first` meet each of the others, at each of its calls.
async fn meet(first: Writer, others: &[Writer], connected: bool) {
    let mut meetings = 0;
    for &second in others {
        for at in 0.. {
            let stage = Stage::set(connected).await;
            let when = format!("{first:?}, connected before: {connected}, stopped at call {at}, for {second:?}");
            let hold = stage.world.faults.hold_at(at);
            let mut one = Box::pin(stage.act(first, 0));
            if until_held(&mut one, &hold).await.is_some() {
                break;
            }
            let other = stage.act(second, 1).await;
            hold.release();
            let said = [(first, one.await), (second, other)];
            stage.check(&format!("{when}: {said:?}"), said).await;
            meetings += 1;
        }
    }
    assert!(meetings >= others.len(), "{first:?} made its calls");
}

/// Lets two writers meet that are both stopped: the first at each of its calls, the second at each
/// of its own until the first is done.
async fn meet_halfway(first: Writer, second: Writer) {
    for at in 0.. {
        for then in 0.. {
            let stage = Stage::set(true).await;
            let when = format!("{first:?} stopped at call {at}, {second:?} at {then}");
            let hold = stage.world.faults.hold_at(at);
            let mut one = Box::pin(stage.act(first, 0));
            if until_held(&mut one, &hold).await.is_some() {
                return;
            }
            let second_hold = stage.world.faults.hold_at(then);
            let mut other = Box::pin(stage.act(second, 1));
            let over = until_held(&mut other, &second_hold).await;
            if over.is_some() {
                stage.world.faults.clear();
            }
            hold.release();
            let one = one.await;
            second_hold.release();
            let said = match over {
                Some(over) => [(first, one), (second, over)],
                None => [(first, one), (second, other.await)],
            };
            stage.check(&format!("{when}: {said:?}"), said).await;
            if over.is_some() {
                break;
            }
        }
    }
}

macro_rules! meetings {
    ($($test:ident: $writer:expr;)+) => {$(
        #[tokio::test]
        async fn $test() {
            meet($writer, &ALL, true).await;
            meet($writer, &ALL, false).await;
        }
    )+};
}

meetings! {
    a_consent_meets_everybody: Consent;
    connect_meets_everybody: Connect;
    import_with_replace_meets_everybody: Import;
    import_meets_everybody: ImportNew;
    grant_meets_everybody: Grant;
    a_device_meets_everybody: Device;
    revoke_meets_everybody: Revoke;
    a_voided_link_meets_everybody: Void;
}

#[tokio::test]
async fn client_credentials_meet_a_consent_and_themselves() {
    meet(Own, &[Consent, Own], false).await;
    meet(Consent, &[Own], false).await;
}

#[tokio::test]
async fn a_consent_meets_another_halfway() {
    meet_halfway(Consent, Consent).await;
}

#[tokio::test]
async fn a_consent_meets_connect_halfway() {
    meet_halfway(Consent, Connect).await;
    meet_halfway(Connect, Consent).await;
}

#[tokio::test]
async fn revoke_meets_a_consent_halfway() {
    meet_halfway(Revoke, Consent).await;
    meet_halfway(Consent, Revoke).await;
}

#[tokio::test]
async fn a_secret_that_is_added_to_a_client_meets_another_and_a_person() {
    // Each call twice: once for another command, once for a person.
    for turn in 0.. {
        let at = turn / 2;
        let world = World::patient().await;
        let add = async |data_center: &str| {
            let console = Typed { answer: format!("hush-{data_center}"), ..Typed::default() };
            let command = format!("client add acme --client-id {CLIENT_ID} --data-center {data_center}");
            Box::pin(run(&world, &command, &console)).await.is_ok()
        };
        let hold = world.faults.hold_at(at);
        let mut one = Box::pin(add("in"));
        if until_held(&mut one, &hold).await.is_some() {
            assert!(at > 3, "the calls were held");
            break;
        }
        let name = "token-keeper/clients/acme";
        if turn % 2 == 0 {
            assert!(add("us").await);
        } else {
            let mut client: Value = serde_json::from_str(&world.aws.secret(name).expect("a client")).expect("JSON");
            client["client_secrets"]["us"] = json!("hush-us");
            world.aws.put_secret(name, &client.to_string());
        }
        hold.release();
        assert!(one.await);
        let stored = world.aws.secret(name).expect("a client");
        assert!(stored.contains("hush-in") && stored.contains("hush-us"), "stopped at call {at}");
    }
}
