"""A first consent in a real browser, from the operator's command line to the published token.

Real: the callback, cargo-lambda's function URL with HTTPS, the command line, Chromium.
Played: AWS by moto, Zoho by the stand-ins program.
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

from helpers.browser import Profile, Seen, start_chromium
from helpers.checks import check, leaked, recent, tell
from helpers.installation import PREFIX, Installation, compiled
from helpers.processes import POLL_S, ROOT, environment

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
"""The content security policy sets these to none. It allows one style."""


class Story:
    """The steps in their order. Each needs those before."""

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
        """The codes, cookies and refresh tokens that the story has seen."""

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

    def an_operator_makes_a_link(self) -> None:
        """An operator stores a client and makes a link"""
        self.here.secrets.create_secret(Name=f"{PREFIX}/signing-key", SecretString=self.signing_key)
        self.token_keeper(
            "client", "add", "acme-app", "--client-id", self.zoho.client_id, secret=self.zoho.client_secret
        )
        stored = {"client_id": self.zoho.client_id, "client_secret": self.zoho.client_secret}
        check("the stored client has the secret from standard input", self.here.secret("clients/acme-app"), stored)
        by_hand = {"client": "acme-app", "data_center": "eu", "scopes": SCOPES[:1], "note": NOTE}
        self.here.create_secret("connections/crm-prod", by_hand)
        self.link = self.connect("crm-prod", "--scope", ",".join(SCOPES))
        check("the link leads to the callback function", self.link.startswith(f"{self.here.url}/connect?ticket="))
        check("the connection awaits consent", self.here.secret("connections/crm-prod"), {**by_hand, "scopes": SCOPES})

    def a_refusal_changes_nothing(self) -> None:
        """The administrator refuses"""
        asked = self.admin.open(self.link)
        check("the link leads to Zoho, in the connection's data centre", asked.url.startswith(self.zoho.accounts["eu"]))
        check("Zoho's page shows the scopes", [scope for scope in SCOPES if scope not in asked.text], [])
        (cookie,) = self.admin.cookies()
        check("there is one cookie, for this host only", cookie["name"].startswith("__Host-token-keeper-"))
        attributes = (cookie["secure"], cookie["httpOnly"], cookie["sameSite"], cookie["path"])
        check("it is for HTTPS only, and hidden from scripts and from requests of other sites", attributes, (True, True, "Lax", "/"))
        check("it lasts ten minutes, as long as a consent may take", 0 < cookie["expires"] - time.time() <= STATE_LIFE_S)
        refused = self.unchanged(lambda: self.admin.press("Refuse"))
        check("the page says Not connected", (refused.status, refused.heading), (403, "Not connected"))
        check("and that nothing was changed", "Nothing was changed." in refused.text)

    def a_consent_connects(self) -> None:
        """The administrator accepts, with the same link"""
        before = self.here.secret("connections/crm-prod")
        version = self.here.secret_version("connections/crm-prod")
        self.accept(self.admin, self.link)
        grant = self.here.secret("connections/crm-prod")
        check("Zoho knows the refresh token in the secret", self.zoho.knows(grant["refresh_token"]))
        check("the secret has the time of the consent", recent(grant["granted_at"]))
        consent = {name: grant[name] for name in ("refresh_token", "granted_at")}
        kept = {**before, **consent, "api_domain": "https://www.zohoapis.eu"}
        check("scopes and unknown fields are as before", grant, kept)
        lease = self.here.lease("crm-prod")
        check(
            "the parameter holds a token that Zoho knows",
            (lease["status"], self.zoho.knows(lease["access_token"])),
            ("active", True),
        )
        check("the document has the scopes", lease["scope"].split(), SCOPES)
        check("and the grant's new version", lease["grant_version"], self.here.secret_version("connections/crm-prod"))
        check("which is not the version in the link", lease["grant_version"] != version)
        check("it is a SecureString", (self.here.parameter("tokens/crm-prod") or {}).get("Type"), "SecureString")

    def the_link_works_once(self) -> None:
        """The same link again, in this browser and in another"""
        for profile in self.admin, self.other:
            again = self.unchanged(lambda: profile.open(self.link))
            check("the page says Already connected", (again.status, again.heading), (409, "Already connected"))

    def an_address_from_zoho_works_in_its_own_browser_only(self) -> None:
        """One browser gets an address from Zoho, another browser opens it"""
        link = self.connect("books", "--client", "acme-app", "--data-center", "eu", "--scope", SCOPES[0])
        self.admin.open(link)
        address = self.admin.press_and_stay("Accept")
        self.passing |= set(parse_qs(urlsplit(address).query)["code"])
        check("Zoho's answer is for the callback", address.startswith(f"{self.here.url}/callback?"))
        self.other.open(link)
        check("the other browser has opened the link too, and has its own cookie", len(self.other.cookies()), 1)
        refused = self.unchanged(lambda: self.other.open(address))
        check("the callback refuses the address", (refused.status, refused.heading), (403, "Not the same browser"))
        check("nothing is connected", self.here.parameter("tokens/books"), None)
        connected = self.admin.open(address)
        check("in the first browser it still works", (connected.status, connected.heading), (200, "Connected"))
        check("and connects", self.here.lease("books")["status"], "active")

    def a_new_consent_replaces_the_old_one(self) -> None:
        """A second consent for a connected connection"""
        before, lease = self.here.secret("connections/crm-prod"), self.here.lease("crm-prod")
        self.passing.add(before["refresh_token"])
        asked = self.zoho.times_asked("revoke")
        self.accept(self.admin, self.connect("crm-prod"))
        after = self.here.secret("connections/crm-prod")
        check("there is another refresh token, and Zoho knows it", self.zoho.knows(after["refresh_token"]))
        check("the old one was revoked", self.zoho.knows(before["refresh_token"]), False)
        check("and nothing else was revoked", self.zoho.times_asked("revoke") - asked, 1)
        check("the note is still there", after["note"], NOTE)
        renewed = self.here.lease("crm-prod")
        check("readers have a token of the new grant", self.zoho.knows(renewed["access_token"]))
        check("with its version", renewed["grant_version"] != lease["grant_version"])

    def back_and_forward_break_nothing(self) -> None:
        """The administrator goes back and forward, reloads the page and accepts once more"""
        asked = self.unchanged(self.admin.back)
        check("back shows Zoho's question", asked.heading, "Consent")
        for way, act in [
            ("forward", self.admin.forward),
            ("reload", self.admin.reload),
            ("back and accept", lambda: self.admin.back() and self.admin.press("Accept")),
        ]:
            seen = self.unchanged(act)
            check(f"{way}: the page says Already connected", (seen.status, seen.heading), (409, "Already connected"))
        check(
            "Zoho still knows the token that readers have", self.zoho.knows(self.here.lease("crm-prod")["access_token"])
        )

    def events_of_aws_are_understood(self) -> None:
        """events/callback-function-url.json, callback-http-api.json: a false link"""
        for file in ("callback-function-url", "callback-http-api"):
            answer = self.here.function.invoke_file(file).answer()
            check(f"{file}: the page says that the link is not valid", (answer["statusCode"], "This link is not valid" in answer["body"]), (400, True))

    def every_answer_has_its_headers_and_chromium_no_complaint(self) -> None:
        """Headers, and complaints of Chromium"""
        answers = self.admin.answers + self.other.answers
        wrong = [answer for answer in answers if {**answer.headers, **HEADERS} != answer.headers]
        check(f"each of {len(answers)} answers has its headers", wrong, [])
        policies = {answer.headers["content-security-policy"] for answer in answers}
        check("all have the same content security policy", len(policies), 1)
        directives = dict(directive.strip().split(" ", 1) for directive in policies.pop().split(";"))
        style = self.admin.page.locator("style").text_content() or ""
        digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
        check(
            "it allows only the style of the page",
            directives,
            {**dict.fromkeys(POLICY, "'none'"), "style-src": f"'sha256-{digest}'"},
        )
        width = self.admin.page.locator("main").evaluate("main => getComputedStyle(main).maxWidth")
        check("Chromium applies the style", width, "544px")
        check("Chromium has no complaint", self.admin.complaints + self.other.complaints, [])

    def no_secret_is_anywhere_but_in_its_store(self) -> None:
        """Secrets"""
        names = [secret["Name"].removeprefix(f"{PREFIX}/") for secret in self.here.secrets.list_secrets()["SecretList"]]
        grants = [self.here.secret(name) for name in names if name.startswith("connections/")]
        found = self.passing | {grant["refresh_token"] for grant in grants}
        found |= {json.loads(value)["access_token"] for value in self.here.history()}
        found |= {self.zoho.client_secret, self.signing_key} | self.admin.codes() | self.other.codes()
        log = self.here.function.stdout() + self.here.function.stderr()
        check("the log has every consent", log.count('"connected"'), 3)
        for where, text in [
            ("the log", log),
            ("any page", self.admin.html + self.other.html),
            ("what the command line printed", self.printed),
            ("any program's arguments", self.arguments),
        ]:
            check(f"none of {len(found)} secrets is in {where}", leaked(found, text), [])
        check("the story has seen the arguments", "token-keeper client add acme-app" in self.arguments)

    def token_keeper(self, *arguments: str, secret: str = "") -> str:
        """Runs the command line. Returns what it prints to standard output."""
        program = subprocess.Popen(
            [compiled("token-keeper"), *arguments], cwd=ROOT, env=environment(**self.here.variables), text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        # For a moment after its start, a program has no arguments.
        while Path("/proc/self/cmdline").exists() and program.poll() is None and not command_line(program.pid):
            time.sleep(POLL_S)
        self.arguments += arguments_of_all_programs()
        out, err = program.communicate(f"{secret}\n")
        self.printed += out + err
        check(f"token-keeper {' '.join(arguments[:3])}", program.returncode, 0)
        return out

    def connect(self, *arguments: str) -> str:
        """Makes a link."""
        out = self.token_keeper("connect", *arguments, "--callback-url", self.here.url, "--json")
        url: str = json.loads(out)["url"]
        return url

    def accept(self, profile: Profile, link: str) -> None:
        profile.open(link)
        self.passing |= {cookie["value"] for cookie in profile.cookies()}
        connected = profile.press("Accept")
        self.arguments += arguments_of_all_programs()
        check("the page says Connected", (connected.status, connected.heading), (200, "Connected"))

    def unchanged(self, act: Callable[[], Seen]) -> Seen:
        before = self.everything()
        seen = act()
        check("nothing changed, and Zoho got no code", self.everything(), before)
        return seen

    def everything(self) -> tuple[Any, ...]:
        """The versions of all secrets and parameters, and how many requests Zoho got."""
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
    """What every user of this machine can read."""
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
