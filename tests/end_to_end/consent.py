"""The first-time consent, in a real browser: from the operator's command line to the published token.

Real: the callback function's program, cargo-lambda's function URL with HTTPS, the command line, Chromium. Stood in for: AWS by moto,
Zoho by the testkit's stand-in. `make test` builds the programs and installs the tools before.
"""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Callable
from urllib.parse import parse_qs, urlsplit

from browser import Profile, Seen, start_chromium
from checks import check, leaked, recent, tell
from installation import PREFIX, Installation, compiled
from processes import POLL_S, ROOT, environment

SCOPES = ["ZohoCRM.modules.ALL", "ZohoCRM.settings.READ"]
STATE_LIFE_S = 600
NOTE = {"owner": "sales", "since": 2026}
HEADERS = {
    "cache-control": "no-store",
    "referrer-policy": "no-referrer",
    "strict-transport-security": "max-age=31536000",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "x-robots-tag": "noindex",
}
POLICY = {"default-src", "base-uri", "form-action", "frame-ancestors"}
"""What the content security policy allows nothing for; there is one style beside it."""


class Story:
    """The steps in their order. Each relies on those before."""

    def __init__(self, programs: ExitStack) -> None:
        self.here = Installation(programs, "callback")
        self.zoho = self.here.zoho
        browser = start_chromium(programs)
        self.admin, self.other = Profile(browser, self.here.url), Profile(browser, self.here.url)
        self.signing_key = secrets.token_urlsafe(48)
        self.link = ""
        self.printed = ""
        self.arguments = ""
        self.passing: set[str] = set()
        """Codes, cookies and refresh tokens that came by."""

    def steps(self) -> list[Callable[[], None]]:
        return [
            self.an_operator_makes_a_link,
            self.a_refusal_changes_nothing,
            self.a_consent_connects,
            self.the_link_works_once,
            self.an_address_from_zoho_works_in_its_own_browser_only,
            self.a_new_consent_replaces_the_old_one,
            self.back_and_forward_break_nothing,
            self.events_of_aws_are_understood,
            self.every_answer_has_its_headers_and_chromium_no_complaint,
            self.no_secret_is_anywhere_but_in_its_store,
        ]

    # The steps.

    def an_operator_makes_a_link(self) -> None:
        """An operator stores a client and makes a link"""
        self.here.secrets.create_secret(Name=f"{PREFIX}/signing-key", SecretString=self.signing_key)
        self.token_keeper(
            "client", "add", "acme-app", "--client-id", self.zoho.client_id, secret=self.zoho.client_secret
        )
        stored = {"client_id": self.zoho.client_id, "client_secret": self.zoho.client_secret}
        check("the client is stored with the secret that was piped in", self.here.secret("clients/acme-app"), stored)
        by_hand = {"client": "acme-app", "data_center": "eu", "scopes": SCOPES[:1], "note": NOTE}
        self.here.create_secret("connections/crm-prod", by_hand)
        self.link = self.connect("crm-prod", "--scope", ",".join(SCOPES))
        check("the link leads to the callback function", self.link.startswith(f"{self.here.url}/connect?ticket="))
        check("the connection awaits consent", self.here.secret("connections/crm-prod"), {**by_hand, "scopes": SCOPES})

    def a_refusal_changes_nothing(self) -> None:
        """The administrator refuses"""
        asked = self.admin.open(self.link)
        check("the link leads to Zoho, in the connection's data centre", asked.url.startswith(self.zoho.accounts["eu"]))
        check("which asks for what the operator wants", [scope for scope in SCOPES if scope not in asked.text], [])
        (cookie,) = self.admin.cookies()
        check("one cookie is set, for this host alone", cookie["name"].startswith("__Host-token-keeper-"))
        attributes = (cookie["secure"], cookie["httpOnly"], cookie["sameSite"], cookie["path"])
        check("for HTTPS, out of reach of scripts and of other sites' requests", attributes, (True, True, "Lax", "/"))
        check("and for the ten minutes that a consent may take", 0 < cookie["expires"] - time.time() <= STATE_LIFE_S)
        refused = self.unchanged(lambda: self.admin.press("Refuse"))
        check("the page says so", (refused.status, refused.heading), (403, "Not connected"))
        check("and that nothing was changed", "Nothing was changed." in refused.text)

    def a_consent_connects(self) -> None:
        """The administrator accepts, with the same link"""
        before = self.here.secret("connections/crm-prod")
        version = self.here.secret_version("connections/crm-prod")
        self.accept(self.admin, self.link)
        grant = self.here.secret("connections/crm-prod")
        check("Zoho knows the refresh token in the secret", self.zoho.knows(grant["refresh_token"]))
        check("the time of the consent is there", recent(grant["granted_at"]))
        consent = {name: grant[name] for name in ("refresh_token", "granted_at")}
        kept = {**before, **consent, "api_domain": "https://www.zohoapis.eu"}
        check("scopes and unknown fields are as before", grant, kept)
        lease = self.here.lease("crm-prod")
        check(
            "the parameter holds a token that Zoho knows",
            (lease["status"], self.zoho.knows(lease["access_token"])),
            ("active", True),
        )
        check("with its scopes", lease["scope"].split(), SCOPES)
        check("and the grant's new version", lease["grant_version"], self.here.secret_version("connections/crm-prod"))
        check("which is another one than the link's", lease["grant_version"] != version)
        check("it is a SecureString", (self.here.parameter("tokens/crm-prod") or {}).get("Type"), "SecureString")

    def the_link_works_once(self) -> None:
        """The same link again, in this browser and in another"""
        for profile in self.admin, self.other:
            again = self.unchanged(lambda: profile.open(self.link))
            check("the page says what is the case", (again.status, again.heading), (409, "Already connected"))

    def an_address_from_zoho_works_in_its_own_browser_only(self) -> None:
        """An address that one browser got from Zoho, opened in another"""
        link = self.connect("books", "--client", "acme-app", "--data-center", "eu", "--scope", SCOPES[0])
        self.admin.open(link)
        address = self.admin.press_and_stay("Accept")
        self.passing |= set(parse_qs(urlsplit(address).query)["code"])
        check("Zoho's answer is for the callback", address.startswith(f"{self.here.url}/callback?"))
        self.other.open(link)
        check("the other browser has begun too, and has a cookie of its own", len(self.other.cookies()), 1)
        refused = self.unchanged(lambda: self.other.open(address))
        check("it is refused", (refused.status, refused.heading), (403, "Not the same browser"))
        check("nothing is connected", self.here.parameter("tokens/books"), None)
        connected = self.admin.open(address)
        check("in its own browser it works still", (connected.status, connected.heading), (200, "Connected"))
        check("and connects", self.here.lease("books")["status"], "active")

    def a_new_consent_replaces_the_old_one(self) -> None:
        """A connection is connected anew"""
        before, lease = self.here.secret("connections/crm-prod"), self.here.lease("crm-prod")
        self.passing.add(before["refresh_token"])
        asked = self.zoho.times_asked("revoke")
        self.accept(self.admin, self.connect("crm-prod"))
        after = self.here.secret("connections/crm-prod")
        check("there is another refresh token, and Zoho knows it", self.zoho.knows(after["refresh_token"]))
        check("the one before was revoked", self.zoho.knows(before["refresh_token"]), False)
        check("and that alone", self.zoho.times_asked("revoke") - asked, 1)
        check("the note is still there", after["note"], NOTE)
        renewed = self.here.lease("crm-prod")
        check("readers have a token of the new grant", self.zoho.knows(renewed["access_token"]))
        check("of its version", renewed["grant_version"] != lease["grant_version"])

    def back_and_forward_break_nothing(self) -> None:
        """The administrator goes back and forward, loads the last page again and accepts once more"""
        asked = self.unchanged(self.admin.back)
        check("back is Zoho's question", asked.heading, "Consent")
        for way, act in [
            ("forward", self.admin.forward),
            ("reload", self.admin.reload),
            ("back and accept", lambda: self.admin.back() and self.admin.press("Accept")),
        ]:
            seen = self.unchanged(act)
            check(f"{way}: the page says what is the case", (seen.status, seen.heading), (409, "Already connected"))
        check(
            "Zoho still knows the token that readers have", self.zoho.knows(self.here.lease("crm-prod")["access_token"])
        )

    def events_of_aws_are_understood(self) -> None:
        """events/callback-function-url.json, events/callback-http-api.json: what AWS sends, with a link of nobody"""
        for file in ("callback-function-url", "callback-http-api"):
            answer = self.here.function.invoke_file(file).answer()
            check(f"{file}: not valid", (answer["statusCode"], "This link is not valid" in answer["body"]), (400, True))

    def every_answer_has_its_headers_and_chromium_no_complaint(self) -> None:
        """What the browsers were told beside the pages"""
        answers = self.admin.answers + self.other.answers
        wrong = [answer for answer in answers if {**answer.headers, **HEADERS} != answer.headers]
        check(f"each of {len(answers)} answers has its headers", wrong, [])
        policies = {answer.headers["content-security-policy"] for answer in answers}
        check("and the same policy", len(policies), 1)
        directives = dict(directive.strip().split(" ", 1) for directive in policies.pop().split(";"))
        style = self.admin.page.locator("style").text_content() or ""
        digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
        check(
            "that allows nothing but the page's style",
            directives,
            {**dict.fromkeys(POLICY, "'none'"), "style-src": f"'sha256-{digest}'"},
        )
        width = self.admin.page.locator("main").evaluate("main => getComputedStyle(main).maxWidth")
        check("which is applied", width, "544px")
        check("Chromium complains about nothing", self.admin.complaints + self.other.complaints, [])

    def no_secret_is_anywhere_but_in_its_store(self) -> None:
        """Secrets"""
        names = [secret["Name"].removeprefix(f"{PREFIX}/") for secret in self.here.secrets.list_secrets()["SecretList"]]
        grants = [self.here.secret(name) for name in names if name.startswith("connections/")]
        found = self.passing | {grant["refresh_token"] for grant in grants}
        found |= {json.loads(value)["access_token"] for value in self.here.history()}
        found |= {self.zoho.client_secret, self.signing_key} | self.admin.codes() | self.other.codes()
        log = self.here.function.stdout() + self.here.function.stderr()
        check("the log tells of every consent", log.count('"connected"'), 3)
        for where, text in [
            ("the log", log),
            ("any page", self.admin.html + self.other.html),
            ("what the command line printed", self.printed),
            ("any program's arguments", self.arguments),
        ]:
            check(f"none of {len(found)} secrets is in {where}", leaked(found, text), [])
        check("the arguments were looked at", "token-keeper client add acme-app" in self.arguments)

    # What the steps share.

    def token_keeper(self, *arguments: str, secret: str = "") -> str:
        """What the command line prints to standard output."""
        program = subprocess.Popen(
            [compiled("token-keeper"), *arguments], cwd=ROOT, env=environment(**self.here.variables), text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        # For a moment after its start a program has no arguments yet.
        while Path("/proc/self/cmdline").exists() and program.poll() is None and not command_line(program.pid):
            time.sleep(POLL_S)
        self.arguments += arguments_of_all_programs()
        out, err = program.communicate(f"{secret}\n")
        self.printed += out + err
        check(f"token-keeper {' '.join(arguments[:3])}", program.returncode, 0)
        return out

    def connect(self, *arguments: str) -> str:
        """A new link."""
        out = self.token_keeper("connect", *arguments, "--callback-url", self.here.url, "--json")
        url: str = json.loads(out)["url"]
        return url

    def accept(self, profile: Profile, link: str) -> None:
        profile.open(link)
        self.passing |= {cookie["value"] for cookie in profile.cookies()}
        connected = profile.press("Accept")
        self.arguments += arguments_of_all_programs()
        check("the page says that it is connected", (connected.status, connected.heading), (200, "Connected"))

    def unchanged(self, act: Callable[[], Seen]) -> Seen:
        before = self.everything()
        seen = act()
        check("nothing was changed, and Zoho got no code", self.everything(), before)
        return seen

    def everything(self) -> tuple[Any, ...]:
        """Versions of all secrets and parameters, and what Zoho was asked by the function."""
        listed = self.here.secrets.list_secrets()["SecretList"]
        versions = {secret["Name"]: secret["SecretVersionsToStages"] for secret in listed}
        return (
            versions,
            self.here.versions(),
            self.zoho.times_asked("authorization_code"),
            self.zoho.times_asked("revoke"),
        )


def command_line(process: int) -> str:
    return Path(f"/proc/{process}/cmdline").read_text(errors="replace")


def arguments_of_all_programs() -> str:
    """As everybody on this machine can read them."""
    if Path("/proc/self/cmdline").exists():
        lines = []
        for file in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                lines.append(file.read_text(errors="replace").replace("\0", " "))
            except OSError:
                continue  # It has ended.
        return "\n".join(lines)
    return subprocess.run(["ps", "-A", "-ww", "-o", "args"], capture_output=True, text=True, check=True).stdout


if __name__ == "__main__":
    sys.exit(tell(lambda programs: Story(programs).steps()))
