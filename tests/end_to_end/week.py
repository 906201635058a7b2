"""One operator's week with the compiled command line, against moto and the served Zoho stand-in.

The administrator's browser is a few requests here; a real one is in consent.py.
"""

from __future__ import annotations

import http.cookiejar
import json
import subprocess
import sys
import urllib.error
import urllib.request
from contextlib import ExitStack
from typing import Callable, Optional

from checks import check, leaked, tell
from installation import PREFIX, Installation, compiled
from processes import ROOT, Program, environment, free_port

SCOPE = "ZohoCRM.modules.ALL"
REQUESTS_IN_TEN_MINUTES = 10


class NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: object) -> None:
        return None


class Story:
    """The days in their order. Each relies on those before."""

    def __init__(self, programs: ExitStack) -> None:
        self.programs = programs
        self.callback = f"http://localhost:{free_port()}"
        self.here = Installation(programs, callback=self.callback)
        self.zoho = self.here.zoho
        self.printed = ""
        self.secrets = {self.zoho.client_secret}

    def steps(self) -> list[Callable[[], None]]:
        return [
            self.monday,
            self.tuesday,
            self.wednesday,
            self.thursday,
            self.friday,
            self.no_secret_was_printed,
        ]

    # The days.

    def monday(self) -> None:
        """Monday: from nothing to a first token"""
        nothing = self.token_keeper("list")
        check("an empty installation says how to begin", "Next: token-keeper connect --help" in nothing.stdout)
        well = self.token_keeper("doctor")
        check("the doctor says the same", "connect an account: token-keeper connect --help" in well.stdout)
        self.token_keeper("client", "add", "acme", "--client-id", self.zoho.client_id, typed=self.zoho.client_secret)
        self.connect("crm-prod", "--client", "acme", "--data-center", "eu", "--scope", SCOPE)
        token = self.token_keeper("token", "crm-prod", secret=True).stdout.strip()
        check("the token is one that Zoho knows", self.zoho.knows(token))
        check("and the header holds it", self.header("crm-prod"), f"Authorization: Zoho-oauthtoken {token}")
        check("list calls it fresh", self.status("crm-prod"), "fresh")

    def tuesday(self) -> None:
        """Tuesday: the account's owner has removed the app"""
        dead = self.here.secret("connections/crm-prod")["refresh_token"]
        self.zoho.remove_app("eu", dead)
        refused = self.token_keeper("refresh", "crm-prod", "--force", fails=True)
        check("the run says what to do", "token-keeper connect crm-prod" in refused.stdout)
        check("list says so too", self.status("crm-prod"), "consent_required")
        self.connect("crm-prod")
        living = self.here.secret("connections/crm-prod")["refresh_token"]
        check("another refresh token is stored, and lives", (living != dead, self.zoho.knows(living)), (True, True))
        check("list calls it fresh again", self.status("crm-prod"), "fresh")

    def wednesday(self) -> None:
        """Wednesday: a refresh token from elsewhere is taken over"""
        refresh_token = self.zoho.consent("eu")
        self.secrets.add(refresh_token)
        lines = [
            f"ZOHO_CLIENT_ID={self.zoho.client_id}",
            f"ZOHO_CLIENT_SECRET={self.zoho.client_secret}",
            f"ZOHO_REFRESH_TOKEN={refresh_token}",
            "ZOHO_DC=eu",
        ]
        command = ["import", "--format", "env", "--connection", "books"]
        self.token_keeper(*command, typed="\n".join(lines))
        check("it is stored", self.here.secret("connections/books")["refresh_token"], refresh_token)
        asked = self.zoho.times_asked()
        planned = json.loads(self.token_keeper("refresh", "books", "--dry-run", "--json").stdout)
        check("a dry run would mint", planned[0]["would"], "mint")
        check("and asks nobody", self.zoho.times_asked(), asked)
        self.token_keeper("refresh", "books")
        check("a run does", self.status("books"), "fresh")

    def thursday(self) -> None:
        """Thursday: somebody mints too much"""
        for _ in range(REQUESTS_IN_TEN_MINUTES):
            if self.token_keeper("refresh", "books", "--force", fails=None).returncode != 0:
                break
        check("Zoho wants a pause", self.status("books"), "throttled")
        asked = self.zoho.times_asked()
        waiting = self.token_keeper("refresh", "books", "--force", fails=True)
        check("force does not break it", (self.zoho.times_asked(), "nothing but waiting helps" in waiting.stdout), (asked, True))
        check("the token of before is still there", self.zoho.knows(self.token_keeper("token", "books", secret=True).stdout.strip()))

    def friday(self) -> None:
        """Friday: looking after everything, and an end"""
        self.here.create_secret("connections/broken", {"data_center": "eu"})
        sick = self.token_keeper("doctor", fails=True)
        check("the doctor finds a broken grant", f"{PREFIX}/connections/broken" in sick.stdout)
        self.here.secrets.delete_secret(SecretId=f"{PREFIX}/connections/broken", ForceDeleteWithoutRecovery=True)
        well = self.token_keeper("doctor")
        check("and no longer, when it is gone", f"{PREFIX}/connections/broken" not in well.stdout)
        used = self.token_keeper("client", "remove", "acme", fails=True)
        check("a client in use is not removed", "client acme is used by crm-prod" in used.stderr)
        refresh_token = self.here.secret("connections/crm-prod")["refresh_token"]
        ended = self.token_keeper("revoke", "crm-prod", "--yes")
        check("a revocation says until when the secret can be restored", "aws secretsmanager restore-secret" in ended.stdout)
        check("the refresh token is dead", self.zoho.knows(refresh_token), False)
        check("and the parameter gone", self.here.parameter("tokens/crm-prod"), None)
        check("what is not there has no token", self.token_keeper("token", "crm-prod", fails=True).stdout, "")

    def no_secret_was_printed(self) -> None:
        """All along"""
        check("no secret was printed but tokens that were asked for", leaked(self.secrets, self.printed), [])

    # What an operator and an administrator do.

    def token_keeper(
        self, *arguments: str, typed: str = "", fails: Optional[bool] = False, secret: bool = False
    ) -> subprocess.CompletedProcess[str]:
        """Runs a command. `fails=None` takes either end; with `secret` it is meant to print one."""
        ran = subprocess.run(
            [compiled("token-keeper"), *arguments],
            cwd=ROOT,
            env=environment(**self.here.variables),
            input=typed,
            capture_output=True,
            text=True,
        )
        said = f"token-keeper {' '.join(arguments)} ended with {ran.returncode}:\n{ran.stdout}{ran.stderr}"
        assert ran.returncode in (0, 1) and (fails is None or fails == (ran.returncode == 1)), said
        if not secret:
            self.printed += ran.stdout + ran.stderr
        return ran

    def status(self, connection: str) -> str:
        lines = json.loads(self.token_keeper("list", "--json").stdout)
        return next(str(line["status"]) for line in lines if line["connection"] == connection)

    def header(self, connection: str) -> str:
        return self.token_keeper("token", connection, "--header", secret=True).stdout.strip()

    def connect(self, connection: str, *arguments: str) -> None:
        """`connect --local`, and an administrator who agrees."""
        command = [compiled("token-keeper"), "connect", connection, *arguments, "--local", "--callback-url", self.callback]
        with Program(command, environment(**self.here.variables)) as program:
            link = program.wait_for(
                "link", lambda: next((line.strip() for line in program.stdout().splitlines() if "ticket=" in line), None)
            )
            agent = urllib.request.build_opener(
                NoRedirect, urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar())
            )
            consent = self.redirect(agent, link)
            back = self.redirect(agent, consent.replace("/auth?", "/decide?"), b"decision=accept")
            with agent.open(back) as page:
                check(f"{connection}: the page says that it is connected", "<h1>Connected</h1>" in page.read().decode())
            check(f"{connection}: and the command ends well", program.ended(), 0)
            self.printed += program.stdout() + program.stderr()
        self.secrets.add(self.here.secret(f"connections/{connection}")["refresh_token"])

    @staticmethod
    def redirect(agent: urllib.request.OpenerDirector, url: str, form: Optional[bytes] = None) -> str:
        try:
            agent.open(url, form)
        except urllib.error.HTTPError as answer:
            location: Optional[str] = answer.headers["location"]
            assert location, f"{answer.code} without a redirect from {url.split('?')[0]}"
            return location
        raise AssertionError(f"no redirect from {url.split('?')[0]}")


if __name__ == "__main__":
    sys.exit(tell(lambda programs: Story(programs).steps()))
