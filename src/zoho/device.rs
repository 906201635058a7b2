//! The device flow: its two requests, and what Zoho's answers to them mean.
//!
//! Zoho's documents print the parameters in the URL. They go into the body here, as everywhere.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;

use super::Zoho;
use super::answer::{MAX_TOKEN, classify};
use crate::address::is_page;
use crate::connection::{Client, DataCenter, Grant};
use crate::failure::Refusal;
use crate::http::{is_token, positive};
use crate::lease::whole_second;
use crate::ports::{DeviceAuthorization, Polled};
use crate::secret::DeviceCode;

/// Zoho wants no more than one poll in this time, whatever `interval` says.
const MIN_INTERVAL: Duration = Duration::from_secs(30);
/// A longer `interval` makes no sense, because a code would end first. So a larger number counts
/// milliseconds, as on older pages of Zoho's documents.
const MAX_INTERVAL: Duration = Duration::from_mins(5);
/// How long a code waits, if the answer does not say.
const LIFE: Duration = Duration::from_mins(5);
/// A code is not believed to wait longer. A larger number counts milliseconds.
const MAX_LIFE: Duration = Duration::from_hours(1);
/// The longest user code that is shown, in bytes. A person has to type it.
const MAX_USER_CODE: usize = 40;

impl Zoho {
    /// See [`DeviceAuthorizer`](crate::ports::DeviceAuthorizer).
    pub async fn ask(&self, grant: &Grant, at: &DataCenter) -> Result<DeviceAuthorization, Refusal> {
        let url = format!("{}/oauth/v3/device/code", at.accounts_server);
        let form = [
            ("grant_type", "device_request"),
            ("client_id", &grant.client.id),
            ("scope", &grant.scopes.join(",")),
            // Zoho gives a refresh token only with both, as in a consent with a link.
            ("access_type", "offline"),
            ("prompt", "consent"),
        ];
        let (status, body) = self.post(url, &form).await?;
        asked(status, &body)
    }

    /// See [`DeviceAuthorizer`](crate::ports::DeviceAuthorizer).
    pub async fn poll(&self, client: &Client, at: &DataCenter, code: &DeviceCode) -> Result<Polled, Refusal> {
        let form = [
            ("grant_type", "device_token"),
            ("client_id", &client.id),
            ("client_secret", client.secret.expose()),
            ("code", code.expose()),
        ];
        let issued_at = whole_second(self.source.now());
        let (status, body) = self.post(format!("{}/oauth/v3/device/token", at.accounts_server), &form).await?;
        polled(status, &body, issued_at)
    }
}

/// Reads the answer to a request for a code.
///
/// # Errors
/// For everything except a 2xx JSON object with codes and a page that can be shown.
fn asked(status: u16, body: &[u8]) -> Result<DeviceAuthorization, Refusal> {
    let fields: Value = serde_json::from_slice(body).unwrap_or_default();
    let text = |field: &str| fields[field].as_str();
    let unclear = |what: &str| Refusal::Unclear { error: format!("HTTP {status} {what}"), at_once: false };
    if !(200..300).contains(&status) || !fields.is_object() || !fields["error"].is_null() {
        return Err(classify(status, body).err().unwrap_or_else(|| unclear("without a device code")));
    }
    let device_code = text("device_code").filter(|code| is_token(code, MAX_TOKEN));
    let device_code = DeviceCode::new(device_code.ok_or_else(|| unclear("without a device code"))?);
    let user_code = text("user_code").filter(|code| is_token(code, MAX_USER_CODE));
    // The second name is that of RFC 8628.
    let page = text("verification_url").or(text("verification_uri")).filter(|page| is_page(page));
    let life = time(&fields["expires_in"], MAX_LIFE).unwrap_or(LIFE);
    let interval = time(&fields["interval"], MAX_INTERVAL).unwrap_or_default();
    Ok(DeviceAuthorization {
        device_code,
        user_code: user_code.ok_or_else(|| unclear("without a user code that can be shown"))?.to_owned(),
        page: page.ok_or_else(|| unclear("without a page that is safe to open"))?.to_owned(),
        complete_page: text("verification_uri_complete").filter(|page| is_page(page)).map(str::to_owned),
        life,
        interval: interval.min(life).max(MIN_INTERVAL),
    })
}

/// A time in seconds, or in milliseconds if it would be longer than `most`; never more than `most`.
fn time(value: &Value, most: Duration) -> Option<Duration> {
    let number = positive(value)?.unsigned_abs();
    let seconds = Duration::from_secs(number);
    Some(if seconds > most { Duration::from_millis(number).min(most) } else { seconds })
}

/// Reads the answer to a poll. Statuses 3xx, 429 and 5xx decide alone. `issued_at` is when the poll
/// was sent.
///
/// # Errors
/// If the answer does not say whether the user has decided. [`Refusal::ConsentRequired`] and
/// [`Refusal::Misconfigured`] are for good; the others pass.
fn polled(status: u16, body: &[u8], issued_at: Timestamp) -> Result<Polled, Refusal> {
    let fields: Value = serde_json::from_slice(body).unwrap_or_default();
    // An end counts only with Zoho's status or that of the RFCs: another one may come from a proxy,
    // and the user may still agree.
    let certain = (200..300).contains(&status) || status == 400;
    let throttled = fields["status"] == "failure";
    match fields["error"].as_str() {
        _ if status >= 500 || (300..400).contains(&status) || status == 429 || throttled => {}
        Some("authorization_pending") => return Ok(Polled::Pending),
        Some("slow_down") => return Ok(Polled::SlowDown),
        Some("other_dc") if certain => {
            if let Some(location) = fields["user_location"].as_str().and_then(location) {
                return Ok(Polled::OtherDataCenter(location));
            }
        }
        Some("access_denied") if certain => return Ok(Polled::Denied),
        // The second name is that of RFC 8628.
        Some("expired" | "expired_token") if certain => return Ok(Polled::Expired),
        _ => {}
    }
    Ok(Polled::Granted(classify(status, body)?.issued(issued_at)))
}

/// The name of a data centre, as the table spells it.
fn location(text: &str) -> Option<String> {
    let name = (1..=20).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    name.then(|| text.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const PAGE: &str = "https://accounts.zoho.eu/oauth/v3/device";

    fn answer(changes: &Value) -> Value {
        let mut answer = json!({"device_code": "1004.d", "user_code": "ABCD-EFGH", "verification_url": PAGE,
            "verification_uri_complete": format!("{PAGE}?user_code=ABCD-EFGH"), "expires_in": 300, "interval": 30});
        for (field, value) in changes.as_object().expect("fields") {
            answer[field] = value.clone();
        }
        answer
    }

    fn read(changes: &Value) -> Result<DeviceAuthorization, String> {
        asked(200, answer(changes).to_string().as_bytes()).map_err(|refusal| refusal.to_string())
    }

    #[test]
    fn times_are_seconds_or_milliseconds_and_stay_within_reason() {
        for (expires_in, interval, life_s, interval_s) in [
            (json!(300), json!(30), 300, 30),
            (json!(300_000), json!(30_000), 300, 30),
            (json!("300000"), json!("5000"), 300, 30),
            (json!(1800), json!(60), 1800, 60),
            (json!(600_000), json!(45_000), 600, 45),
            (json!(0), json!(0), 300, 30),
            (json!(-1), json!(-5), 300, 30),
            (Value::Null, Value::Null, 300, 30),
            (json!("soon"), json!([]), 300, 30),
            (json!(1.5), json!(2.5), 300, 30),
            (json!(i64::MAX), json!(i64::MAX), 3600, 300),
            (json!(1e300), json!(1e300), 300, 30),
        ] {
            let read = read(&json!({"expires_in": expires_in, "interval": interval})).expect("an answer");
            let times = (read.life.as_secs(), read.interval.as_secs());
            assert_eq!(times, (life_s, interval_s), "{expires_in} {interval}");
        }
    }

    #[test]
    fn nothing_is_shown_that_could_lead_a_person_or_a_terminal_astray() {
        let kept = read(&json!({})).expect("an answer");
        assert_eq!((kept.user_code.as_str(), kept.page.as_str()), ("ABCD-EFGH", PAGE));
        assert_eq!(kept.complete_page, Some(format!("{PAGE}?user_code=ABCD-EFGH")));
        for code in [json!("AB\u{1b}[2J"), json!("AB CD"), json!("АB"), json!(""), json!("A".repeat(41)), json!(7)] {
            let refused = read(&json!({"user_code": code})).expect_err("not shown");
            assert_eq!(refused, "HTTP 200 without a user code that can be shown");
        }
        for page in ["http://accounts.zoho.eu/device", "javascript:alert(1)", "", "https://a.example/\u{7}"] {
            let refused = read(&json!({"verification_url": page})).expect_err("not shown");
            assert_eq!(refused, "HTTP 200 without a page that is safe to open");
            let left_out = read(&json!({"verification_uri_complete": page})).expect("an answer");
            assert_eq!(left_out.complete_page, None);
        }
        let standard = read(&json!({"verification_url": null, "verification_uri": PAGE})).expect("an answer");
        assert_eq!(standard.page, PAGE);
        assert_eq!(read(&json!({"device_code": "a b"})).expect_err("no code"), "HTTP 200 without a device code");
        assert!(!format!("{kept:?}").contains("1004.d"));
    }

    #[test]
    fn an_answer_without_codes_is_a_refusal() {
        let check = |status: u16, body: &str, refusal: &str| {
            assert_eq!(asked(status, body.as_bytes()).expect_err(body).to_string(), refusal, "{status} {body}");
        };
        check(200, r#"{"error": "invalid_client"}"#, "invalid_client");
        check(400, r#"{"error": "invalid_scope"}"#, "invalid_scope (HTTP 400)");
        check(400, r#"{"error": "Access Denied", "status": "failure"}"#, "too_many_requests");
        check(503, &answer(&json!({})).to_string(), "HTTP 503");
        check(403, &answer(&json!({})).to_string(), "HTTP 403");
        check(200, "[]", "HTTP 200 with a body that is not a JSON object");
        check(200, "<html>", "HTTP 200 with a body that is not a JSON object");
        check(200, "", "HTTP 200 with an empty body");
        check(200, "{}", "HTTP 200 without a device code");
        check(200, r#"{"access_token": "1000.a"}"#, "HTTP 200 without a device code");
    }

    #[test]
    fn a_poll_says_what_the_user_has_decided_or_that_nobody_can_say() {
        let read = |status: u16, body: &Value| match polled(status, body.to_string().as_bytes(), Timestamp::UNIX_EPOCH)
        {
            Ok(polled) => format!("{polled:?}").split([' ', '(', '{']).next().unwrap_or_default().to_owned(),
            Err(refusal) => refusal.to_string(),
        };
        let error = |code: &str| json!({"error": code, "user_location": "EU"});
        for (code, polled) in [
            ("authorization_pending", "Pending"),
            ("slow_down", "SlowDown"),
            ("other_dc", "OtherDataCenter"),
            ("access_denied", "Denied"),
            ("expired", "Expired"),
            ("expired_token", "Expired"),
        ] {
            assert_eq!([read(200, &error(code)), read(400, &error(code))], [polled, polled], "{code}");
            for status in [302, 429, 500, 503] {
                assert!(read(status, &error(code)).starts_with(['H', 't']), "{status} {code}");
            }
        }
        assert_eq!(read(403, &error("access_denied")), "access_denied (HTTP 403)");
        assert_eq!(read(400, &json!({"error": "access_denied", "status": "failure"})), "too_many_requests");
        for location in [json!("e\u{1b}u"), json!(""), json!("x".repeat(21)), json!("https://evil.example"), json!(1)] {
            assert_eq!(read(200, &json!({"error": "other_dc", "user_location": location})), "other_dc (HTTP 200)");
        }
        assert_eq!(read(200, &json!({"access_token": "1000.a", "refresh_token": "1000.r"})), "Granted");
        assert_eq!(read(200, &json!({"access_token": "1000.a", "error": "invalid_code"})), "invalid_code");
        assert_eq!(read(200, &json!({})), "HTTP 200 without an access_token");
    }
}
