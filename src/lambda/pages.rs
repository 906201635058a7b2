//! What a person sees: what happened, to which connection, and what to do next. Plain HTML without
//! a script.
//!
//! A page shows names that a signature has vouched for, and nothing else of what was sent.

use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use sha2::{Digest as _, Sha256};

use crate::connection::Account;
use crate::consent::{Connected, Stop, Stopped};
use crate::provider::{ZOHO, table};

const STYLE: &str = "\
:root{color-scheme:light dark}\
body{margin:0;font:1.0625rem/1.55 system-ui,sans-serif;background:#f4f5f7;color:#1d2129}\
main{max-width:34rem;margin:8vh auto;padding:1.75rem 2rem 2rem;background:#fff;border-top:.3rem solid #5b6573;border-radius:.4rem;box-shadow:0 1px 4px #0003}\
main.good{border-color:#1a7f4b}main.part{border-color:#b26a00}main.bad{border-color:#b3261e}\
h1{font-size:1.5rem;line-height:1.25;margin:0 0 .75rem}h2{font-size:1.0625rem;margin:1.5rem 0 .25rem}\
p{margin:.5rem 0}code{font-size:.95em;background:#8881;padding:.1em .2em;border-radius:.2em;overflow-wrap:anywhere}\
footer{margin-top:1.75rem;font-size:.875rem;color:#5b6573}\
@media(max-width:40rem){main{margin:0;min-height:100svh;border-radius:0;box-shadow:none;box-sizing:border-box}}\
@media(prefers-color-scheme:dark){body{background:#14161a;color:#e4e6ea}main{background:#1e2127;box-shadow:0 0 0 1px #343943;border-color:#9aa4b2}main.good{border-color:#4cc38a}main.part{border-color:#f0b44c}main.bad{border-color:#f2746b}footer{color:#a0a7b1}}";

/// Nothing may be loaded, run, framed or sent from a page; its one stylesheet is named by its hash.
static POLICY: LazyLock<String> = LazyLock::new(|| {
    let style = STANDARD.encode(Sha256::digest(STYLE));
    format!(
        "default-src 'none'; style-src 'sha256-{style}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
});

/// The headers of every answer.
pub(super) fn headers() -> Vec<(&'static str, String)> {
    vec![
        ("cache-control", "no-store".to_owned()),
        ("content-security-policy", POLICY.clone()),
        ("referrer-policy", "no-referrer".to_owned()),
        ("strict-transport-security", "max-age=31536000".to_owned()),
        ("x-content-type-options", "nosniff".to_owned()),
        ("x-frame-options", "DENY".to_owned()),
        ("x-robots-tag", "noindex".to_owned()),
    ]
}

/// A page with its status.
pub(super) struct Page {
    pub(super) status: u16,
    pub(super) html: Markup,
}

/// How a page looks.
#[derive(Clone, Copy)]
enum Mood {
    Good,
    Part,
    Even,
    Bad,
}

impl Mood {
    fn class(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Part => "part",
            Self::Even => "even",
            Self::Bad => "bad",
        }
    }
}

/// The one template. Each line of `what` and `next` is a paragraph; what is between backticks is
/// shown as code.
fn page(mood: Mood, status: u16, title: &str, what: &str, next: &str) -> Page {
    let html = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) " - Token Keeper" }
                style { (PreEscaped(STYLE)) }
            }
            body {
                main class=(mood.class()) {
                    h1 { (title) }
                    (paragraphs(what))
                    h2 { "What to do next" }
                    (paragraphs(next))
                    footer { "Token Keeper" }
                }
            }
        }
    };
    Page { status, html }
}

fn paragraphs(text: &str) -> Markup {
    html! {
        @for line in text.lines() {
            p {
                @for (at, part) in line.split('`').enumerate() {
                    @if at % 2 == 0 { (part) } @else { code { (part) } }
                }
            }
        }
    }
}

pub(super) fn not_found() -> Page {
    let (what, next) = ("There is nothing at this address.", "Open the link that you were sent, whole and unchanged.");
    page(Mood::Bad, 404, "Not found", what, next)
}

pub(super) fn wrong_method() -> Page {
    let what = "This address only takes the opening of a link.";
    page(Mood::Bad, 405, "Not possible", what, "Open the link that you were sent.")
}

pub(super) fn connected(connected: &Connected) -> Page {
    let Connected { connection, provider, data_center, account, withheld, published } = connected;
    let at = At(provider);
    let email = account.as_ref().and_then(Account::email).map(|email| format!(" `{email}`")).unwrap_or_default();
    let home = data_center.as_ref().map(|home| format!(" (data centre `{home}`)")).unwrap_or_default();
    let yours = at.account();
    let mut what = vec![format!("The connection `{connection}` may now use {yours}{email}{home}.")];
    let mut next = vec!["Nothing. You can close this page.".to_owned()];
    if !withheld.is_empty() {
        let missing = withheld.join("`, `");
        what.push(format!("{} granted less than was asked for. Not granted: `{missing}`.", at.subject()));
        next = vec![
            "Tell the person who sent you the link. If the missing permissions are needed, an administrator who has them must agree on a new link.".to_owned(),
        ];
    }
    if !published {
        what.push("The first token could not be published at once. It usually appears with the next scheduled run; if not, the log says why.".to_owned());
    }
    let place = if at.is_zoho() { " under connected apps" } else { "" };
    next.push(format!("You can withdraw the permission at any time, in {yours}{place}."));
    let mood = if withheld.is_empty() && *published { Mood::Good } else { Mood::Part };
    page(mood, 200, "Connected", &what.join("\n"), &next.join("\n"))
}

/// The provider as the pages say it. They say of Zoho what Zoho's own pages show.
#[derive(Clone, Copy)]
struct At(&'static str);

impl At {
    fn is_zoho(self) -> bool {
        self.0 == table::title(ZOHO)
    }

    /// At the beginning of a sentence: a server that a client's secret describes is "the provider".
    fn subject(self) -> String {
        let mut name = self.0.to_owned();
        name[..1].make_ascii_uppercase();
        name
    }

    /// The account of the person who reads the page.
    fn account(self) -> String {
        if self.is_zoho() { "your Zoho account".to_owned() } else { format!("your account at {}", self.0) }
    }

    /// Where that person finds the app.
    fn apps(self) -> String {
        self.account() + if self.is_zoho() { ", under connected apps" } else { "" }
    }

    /// What became of a permission that is not used. Outside Zoho, its removal may end others too.
    fn handed_back(self, revoked: bool) -> String {
        let Self(at) = self;
        if revoked {
            format!("Your permission was handed back to {at}.")
        } else if self.is_zoho() {
            format!("Your permission is not used, but {at} did not take it back: remove this app in {}.", self.apps())
        } else {
            format!(
                "Your permission is not used, but it still exists: you can remove this app in {}, if nothing else there needs it.",
                self.apps()
            )
        }
    }
}

/// A row of the table of stops: status, heading, what happened, what to do next.
fn row(
    status: u16,
    title: impl Into<String>,
    what: impl Into<String>,
    next: impl Into<String>,
) -> (u16, String, String, String) {
    (status, title.into(), what.into(), next.into())
}

/// The page of a consent that went no further.
#[expect(clippy::too_many_lines, reason = "a table with a row for each stop")]
pub(super) fn stopped(Stopped { why: stop, provider }: &Stopped) -> Page {
    const ASK: &str = "Ask the person who sent you the link for a new one.";
    const AGAIN: &str = "Open the link that you were sent once more.";
    const TELL: &str =
        "Open the link that you were sent once more. If this page comes again, tell the person who sent it.";
    const LATER: &str = "Wait some minutes, then open the link that you were sent once more.";
    let at = At(provider);
    let (subject, apps) = (at.subject(), at.apps());
    let name = stop.connection().map(|connection| format!("`{connection}`")).unwrap_or_default();
    let (status, title, what, next) = match stop {
        Stop::NotOurs => row(
            400,
            "This link is not valid",
            "This link is damaged, or it was not made here.",
            "Open the link that you were sent, whole and unchanged. If that does not help, ask for a new one.",
        ),
        Stop::Expired(_) => {
            row(410, "This link has expired", format!("The time to connect {name} with this link is over."), ASK)
        }
        Stop::TooLate(_) => row(
            410,
            "That took too long",
            format!("There are ten minutes to agree at {provider}, and those for {name} are over."),
            AGAIN,
        ),
        Stop::OtherBrowser(_) => row(
            403,
            "Not the same browser",
            format!("The consent for {name} began in another browser, or this browser does not keep cookies."),
            format!(
                "Open the link that you were sent in this browser, and agree at {provider} here. Never open an address that somebody else got from {provider}."
            ),
        ),
        Stop::Declined(_) => row(
            403,
            "Not connected",
            format!("{subject} says that access for {name} was declined."),
            format!(
                "If you did not mean to decline, open the link that you were sent once more and {}.",
                if at.is_zoho() { "choose Accept" } else { "agree" }
            ),
        ),
        Stop::ScopeRefused { scopes, .. } => row(
            502,
            format!("{subject} refuses a scope"),
            format!(
                "{subject} does not accept one of the scopes that were asked for {name}, and does not say which. Asked for: `{}`.",
                scopes.join("\n").replace('`', "").replace('\n', "`, `")
            ),
            format!(
                "Tell the person who sent you the link: a scope is misspelt, or {}. Corrected scopes need a new link.",
                if at.is_zoho() {
                    "it belongs to a Zoho product that your organisation does not have"
                } else {
                    "the app or your organisation may not use it"
                }
            ),
        ),
        Stop::SentBack(_) => row(
            502,
            format!("{subject} reported an error"),
            format!("{subject} did not ask for your consent for {name} but reported an error."),
            format!(
                "Open the link once more. If the error stays, tell the person who sent it: the client's redirect URI {} may be wrong.",
                if at.is_zoho() { "in Zoho's API console".to_owned() } else { format!("at {provider}") }
            ),
        ),
        Stop::AlreadyConnected(_) => row(
            409,
            "Already connected",
            format!("This link has done its work: {name} is connected. A link works once."),
            "Nothing. You can close this page.",
        ),
        Stop::Superseded(_) => row(
            409,
            "This link is out of date",
            format!("The connection {name} was changed after this link was made."),
            ASK,
        ),
        Stop::Gone(_) => row(410, "This connection is gone", format!("The connection {name} no longer exists."), ASK),
        Stop::OtherIssuer(_) => row(
            400,
            "Not the right provider",
            format!("The answer for {name} says that another server has sent it. Nothing was sent to {provider}."),
            TELL,
        ),
        Stop::Incomplete { missing, revoked, .. } => row(
            502,
            "Something is missing in the answer",
            format!(
                "{subject} gave no usable `{missing}` for {name}, and programs need it. {}",
                revoked.map(|revoked| at.handed_back(revoked)).unwrap_or_default()
            ),
            TELL,
        ),
        Stop::UnknownDataCenter(_) => row(
            400,
            "Unknown data centre",
            format!("Zoho's answer for {name} names a data centre that is not known here. Nothing was sent to it."),
            "Tell the person who sent you the link. If Zoho has opened a new data centre, the setting `TOKEN_KEEPER_DATA_CENTERS` can add it.",
        ),
        Stop::Moved { from, to, .. } => row(
            409,
            "Another data centre than before",
            format!(
                "The connection {name} belongs to an account in the data centre `{from}`. The account that you agreed with is in `{to}`."
            ),
            "Log out at Zoho, open the link once more and use the account that was connected before. If the account has really moved, ask for a link that allows it.",
        ),
        Stop::OtherAccount { revoked, .. } => row(
            409,
            "Another account than before",
            format!(
                "The connection {name} belongs to {} than the one that you agreed with. {}",
                if at.is_zoho() { "another Zoho account".to_owned() } else { format!("another account at {provider}") },
                at.handed_back(*revoked)
            ),
            format!(
                "Log out at {provider}, open the link once more and use the account that was connected before. If another account is right, ask for a link that allows it."
            ),
        ),
        Stop::AccountUnknown { revoked, .. } => row(
            502,
            "It is not known whose account this is",
            format!(
                "The connection {name} belongs to one {provider} account, and {provider} did not say whether you agreed with that one. {}",
                at.handed_back(*revoked)
            ),
            TELL,
        ),
        Stop::Misconfigured { why, .. } => row(
            502,
            "Not set up completely",
            format!(
                "The connection {name} cannot be made yet, because of its configuration:\n`{}`",
                why.replace('`', "")
            ),
            "Tell the person who sent you the link. When the configuration is mended, the same link works until it expires.",
        ),
        Stop::CodeRefused(_) => row(
            400,
            if at.is_zoho() { "Zoho's code is too old".to_owned() } else { "The code is too old".to_owned() },
            format!(
                "{subject} did not accept its own answer for {name}: it is good for one use within {}.",
                if at.is_zoho() { "a minute or two" } else { "a few minutes" }
            ),
            AGAIN,
        ),
        Stop::NoRefreshToken(_) => row(
            502,
            format!("{subject} gave no lasting access"),
            format!("{subject} gave only a short-lived token for {name}, so it could not be kept connected."),
            if at.is_zoho() {
                format!("In {apps}, remove this app. Then open the link that you were sent once more.")
            } else {
                format!(
                    "Tell the person who sent you the link: the app has to ask for offline access. If it does, and nothing else needs this app in {apps}, remove it there and open the link once more."
                )
            },
        ),
        Stop::ProviderOutOfOrder(_) => row(
            502,
            format!("{subject} is out of order"),
            format!("{subject} gave no usable answer while {name} was being connected."),
            LATER,
        ),
        Stop::StoreOutOfOrder => {
            row(502, "Out of order", "The place where connections are kept does not answer.", LATER)
        }
        Stop::NotStored { revoked: true, .. } => row(
            502,
            "Out of order",
            format!(
                "{subject} agreed, but the consent for {name} could not be stored. It was handed back to {provider}."
            ),
            LATER,
        ),
        Stop::NotStored { revoked: false, .. } => row(
            502,
            "Out of order",
            format!("{subject} agreed, but it is not certain that the consent for {name} was stored."),
            "Wait some minutes, then open the link that you were sent once more. If the page says that the connection is made, all is well.",
        ),
    };
    let mood = if [403, 409, 410].contains(&status) { Mood::Even } else { Mood::Bad };
    let changed = matches!(stop, Stop::AlreadyConnected(_) | Stop::Gone(_) | Stop::NotStored { revoked: false, .. });
    let what = if changed { what } else { what + "\nNothing was changed." };
    page(mood, status, &title, &what, &next)
}
