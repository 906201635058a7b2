//! What a person sees: what happened, to which connection, what to do next. Plain HTML without a script.
//!
//! A page shows names that a signature has vouched for, and nothing else of what was sent.

use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use sha2::{Digest as _, Sha256};

use crate::consent::{Connected, Stop};
use crate::name::ConnectionName;

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

fn page(status: u16, title: &str, what: &Markup, next: &Markup) -> Page {
    let mood = match status {
        200 => "good",
        403 | 409 | 410 => "even",
        _ => "bad",
    };
    page_of_mood(mood, status, title, what, next)
}

fn page_of_mood(mood: &str, status: u16, title: &str, what: &Markup, next: &Markup) -> Page {
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
                main class=(mood) {
                    h1 { (title) }
                    (what)
                    h2 { "What to do next" }
                    (next)
                    footer { "Token Keeper" }
                }
            }
        }
    };
    Page { status, html }
}

pub(super) fn not_found() -> Page {
    let what = html! { p { "There is nothing at this address." } };
    let next = html! { p { "Open the link that you were sent, whole and unchanged." } };
    page(404, "Not found", &what, &next)
}

pub(super) fn wrong_method() -> Page {
    let what = html! { p { "This address only takes the opening of a link." } };
    let next = html! { p { "Open the link that you were sent." } };
    page(405, "Not possible", &what, &next)
}

pub(super) fn connected(connected: &Connected) -> Page {
    let Connected { connection, data_center, withheld, published, .. } = connected;
    let what = html! {
        p { "The connection " (name(connection)) " may now use your Zoho account (data centre " code { (data_center) } ")." }
        @if !withheld.is_empty() {
            p { strong { "Zoho granted less than was asked for." } " Not granted: "
                @for (at, scope) in withheld.iter().enumerate() { @if at > 0 { ", " } code { (scope) } } "." }
        }
        @if !published {
            p { "The first token could not be published at once. The log says why; as a rule it appears with the next scheduled run." }
        }
    };
    let next = html! {
        @if withheld.is_empty() {
            p { "Nothing. You can close this page." }
        } @else {
            p { "Tell whoever sent you the link. If the missing permissions are needed, an administrator who has them must agree on a new link." }
        }
        p { "You can withdraw the permission at any time, in your Zoho account under connected apps." }
    };
    let mood = if withheld.is_empty() && *published { "good" } else { "part" };
    page_of_mood(mood, 200, "Connected", &what, &next)
}

/// The page of a consent that went no further.
#[expect(clippy::too_many_lines, reason = "a page for each arm")]
pub(super) fn stopped(stop: &Stop) -> Page {
    let unchanged = || html! { p { "Nothing was changed." } };
    let ask = || html! { p { "Ask whoever sent you the link for a new one." } };
    let again = || html! { p { "Open the link that you were sent once more." } };
    match stop {
        Stop::NotOurs => {
            let what = html! { p { "This link is damaged, or it was not made here." } (unchanged()) };
            page(
                400,
                "This link is not valid",
                &what,
                &html! {
                    p { "Open the link that you were sent, whole and unchanged. If it does not help, ask for a new one." }
                },
            )
        }
        Stop::Expired(connection) => {
            let what =
                html! { p { "The time to connect " (name(connection)) " with this link is over." } (unchanged()) };
            page(410, "This link has expired", &what, &ask())
        }
        Stop::TooLate(connection) => {
            let what = html! {
                p { "There are ten minutes to agree at Zoho, and those for " (name(connection)) " are over." }
                (unchanged())
            };
            page(410, "That took too long", &what, &again())
        }
        Stop::OtherBrowser(connection) => {
            let what = html! {
                p { "The consent for " (name(connection)) " was begun in another browser, or this browser does not keep cookies." }
                (unchanged())
            };
            page(
                403,
                "Not the same browser",
                &what,
                &html! {
                    p { "Open the link that you were sent in this browser, and agree at Zoho here. Never open an address that somebody else got from Zoho." }
                },
            )
        }
        Stop::Declined(connection) => {
            let what = html! { p { "Zoho says that access for " (name(connection)) " was declined." } (unchanged()) };
            page(
                403,
                "Not connected",
                &what,
                &html! {
                    p { "If that was not intended, open the link that you were sent once more and choose Accept." }
                },
            )
        }
        Stop::SentBack(connection) => {
            let what = html! { p { "Zoho did not ask for your consent for " (name(connection)) " but reported an error." } (unchanged()) };
            page(
                502,
                "Zoho reported an error",
                &what,
                &html! {
                    p { "Open the link once more. If it stays, tell whoever sent it: the client's redirect URI and scopes in Zoho's API console may be wrong." }
                },
            )
        }
        Stop::AlreadyConnected(connection) => {
            let what =
                html! { p { "This link has done its work: " (name(connection)) " is connected. A link works once." } };
            page(409, "Already connected", &what, &html! { p { "Nothing. You can close this page." } })
        }
        Stop::Superseded(connection) => {
            let what = html! { p { "The connection " (name(connection)) " was changed after this link was made." } (unchanged()) };
            page(409, "This link is out of date", &what, &ask())
        }
        Stop::Gone(connection) => {
            let what = html! { p { "The connection " (name(connection)) " no longer exists." } };
            page(410, "This connection is gone", &what, &ask())
        }
        Stop::UnknownDataCenter(connection) => {
            let what = html! {
                p { "Zoho's answer for " (name(connection)) " names a data centre that is not known here, so nothing was sent to it." }
                (unchanged())
            };
            page(
                400,
                "Unknown data centre",
                &what,
                &html! {
                    p { "Tell whoever sent you the link. If Zoho has opened a new data centre, it can be added with the setting "
                        code { "TOKEN_KEEPER_DATA_CENTERS" } "." }
                },
            )
        }
        Stop::Moved { connection, from, to } => {
            let what = html! {
                p { "The connection " (name(connection)) " belongs to an account in the data centre " code { (from) }
                    ", and the account that you agreed with is in " code { (to) } "." }
                (unchanged())
            };
            page(
                409,
                "Another data centre than before",
                &what,
                &html! {
                    p { "Log out at Zoho, open the link once more and use the account that was connected before. If the account has really moved, ask for a link that allows it." }
                },
            )
        }
        Stop::Misconfigured { connection, why } => {
            let what = html! {
                p { "The connection " (name(connection)) " cannot be made yet, because of its configuration:" }
                p { code { (why) } }
                (unchanged())
            };
            page(
                502,
                "Not set up completely",
                &what,
                &html! {
                    p { "Tell whoever sent you the link. When it is mended, the same link can be opened again, as long as it has not expired." }
                },
            )
        }
        Stop::CodeRefused(connection) => {
            let what = html! {
                p { "Zoho did not accept its own answer for " (name(connection)) ": it is good for one use within a minute or two." }
                (unchanged())
            };
            page(400, "Zoho no longer takes its answer", &what, &again())
        }
        Stop::NoRefreshToken(connection) => {
            let what = html! {
                p { "Zoho gave only a short-lived token for " (name(connection)) ", so it could not be kept connected." }
                (unchanged())
            };
            page(
                502,
                "Zoho gave no lasting access",
                &what,
                &html! {
                    p { "In your Zoho account, under connected apps, remove this app. Then open the link that you were sent once more." }
                },
            )
        }
        Stop::ZohoOutOfOrder(connection) => {
            let what = html! { p { "Zoho gave no usable answer when " (name(connection)) " was to be connected." } (unchanged()) };
            page(
                502,
                "Zoho is out of order",
                &what,
                &html! { p { "Wait some minutes, then open the link that you were sent once more." } },
            )
        }
        Stop::StoreOutOfOrder => {
            let what = html! { p { "The place where connections are kept does not answer." } (unchanged()) };
            page(
                502,
                "Out of order",
                &what,
                &html! { p { "Wait some minutes, then open the link that you were sent once more." } },
            )
        }
        Stop::NotStored { connection, revoked: true } => {
            let what = html! {
                p { "Zoho agreed, but the consent for " (name(connection)) " could not be stored, so it was handed back to Zoho." }
                (unchanged())
            };
            page(
                502,
                "Out of order",
                &what,
                &html! { p { "Wait some minutes, then open the link that you were sent once more." } },
            )
        }
        Stop::NotStored { connection, revoked: false } => {
            let what = html! {
                p { "Zoho agreed, but it is not known whether the consent for " (name(connection)) " was stored." }
            };
            page(
                502,
                "Out of order",
                &what,
                &html! {
                    p { "Wait some minutes, then open the link that you were sent once more. If it says that the connection is made, all is well." }
                },
            )
        }
    }
}

fn name(connection: &ConnectionName) -> Markup {
    html! { code { (connection.as_str()) } }
}
