"""One operator's week with the compiled command line.

moto plays AWS, the stand-ins program plays Zoho. consent.py has the same consent in a real browser.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import urllib.parse
import urllib.request
from contextlib import ExitStack
from typing import Callable, Optional
from urllib.parse import parse_qs, urlencode, urlsplit

from helpers.administrator import Administrator
from helpers.checks import check, leaked, tell
from helpers.installation import PREFIX, Installation, compiled
from helpers.processes import ROOT, Program, environment, free_port

SCOPE = "ZohoCRM.modules.ALL"
REQUESTS_IN_TEN_MINUTES = 10


class Story:
    """The days in their order. Each needs those before."""

    def __init__(self, programs: ExitStack) -> None:
        self.programs = programs
        self.here = Installation(programs, callback=f"http://localhost:{free_port()}")
        self.zoho = self.here.zoho
        self.printed = ""
        self.secrets = {self.zoho.client_secret}

    def steps(self) -> list[Callable[[], None]]:
        return [
            self.monday,
            self.tv_waits,
            self.tuesday,
            self.wednesday,
            self.thursday,
            self.tv_is_connected,
            self.friday,
            self.saturday,
            self.sunday,
            self.no_secret_was_printed,
        ]

    def monday(self) -> None:
        """Monday: from nothing to a first token"""
        nothing = self.token_keeper("list")
        check("an empty installation says how to begin", "Next: token-keeper connect --help" in nothing.stdout)
        well = self.token_keeper("doctor")
        check("the doctor says the same", "connect an account: token-keeper connect --help" in well.stdout)
        self.token_keeper("client", "add", "acme", "--client-id", self.zoho.client_id, typed=self.zoho.client_secret)
        wrong = self.token_keeper("grant", "crm-prod", "--client", "acme", "--data-center", "eu", "--scope", "ZohoCRM.modules", fails=True)
        check("a scope without its operation is refused", "the scope ZohoCRM.modules ends with modules" in wrong.stderr)
        check("the list of scopes has it", f"{SCOPE.removesuffix('.ALL')} " in self.token_keeper("scopes", "crm").stdout)
        self.connect("crm-prod", "--client", "acme", "--data-center", "eu", "--scope", SCOPE)
        token = self.token_keeper("token", "crm-prod", secret=True).stdout.strip()
        check("Zoho knows the token", self.zoho.knows(token))
        check("and the header contains it", self.header("crm-prod"), f"Authorization: Zoho-oauthtoken {token}")
        check("list says fresh", self.status("crm-prod"), "fresh")

    def tv_waits(self) -> None:
        """Monday evening: a machine without a browser shows a code, and an administrator types it"""
        secret = self.zoho.client_secret
        self.token_keeper("client", "add", "tv", "--client-id", self.zoho.device_client_id, typed=secret)
        command = [compiled("token-keeper"), "connect", "crm-tv", "--client", "tv", "--data-center", "eu"]
        command += ["--scope", SCOPE, "--device"]
        self.tv = self.programs.enter_context(Program(command, environment(**self.here.variables)))
        code = self.tv.wait_for("code", lambda: re.search(r"\n +([A-Z]{4}-[A-Z]{4})\n", self.tv.stdout()))[1]
        # Zoho is asked again after 30 seconds. The week goes on meanwhile.
        page = re.search(r"\n +(http://\S+/oauth/v3/device)\n", self.tv.stdout())
        form = urllib.parse.urlencode({"user_code": code, "decision": "accept"}).encode()
        with urllib.request.urlopen(page[1] if page else "no page", form) as answer:
            check("Zoho takes the code and the consent", "<h1>Done</h1>" in answer.read().decode())
        check("the tokens come with the next question", self.here.parameter("tokens/crm-tv"), None)

    def tv_is_connected(self) -> None:
        """Thursday evening: the machine without a browser has its token"""
        check("the command has ended well", self.tv.ended(), 0)
        said = self.tv.stdout() + self.tv.stderr()
        check("it says that it is connected", said.endswith("Connected. The access token is in the parameter /token-keeper/tokens/crm-tv.\n"))
        check("Zoho was asked twice", self.zoho.times_asked("device_token"), 2)
        token = self.token_keeper("token", "crm-tv", secret=True).stdout.strip()
        check("Zoho knows the token", self.zoho.knows(token))
        refresh_token = self.here.secret("connections/crm-tv")["refresh_token"]
        self.token_keeper("refresh", "crm-tv", "--force")
        check("a run mints with the grant", self.status("crm-tv"), "fresh")
        self.secrets |= {token, refresh_token}
        self.printed += said

    def tuesday(self) -> None:
        """Tuesday: the owner of the account has removed the app"""
        dead = self.here.secret("connections/crm-prod")["refresh_token"]
        self.zoho.remove_app("eu", dead)
        refused = self.token_keeper("refresh", "crm-prod", "--force", fails=True)
        check("the run says what to do", "token-keeper connect crm-prod" in refused.stdout)
        check("list says so too", self.status("crm-prod"), "consent_required")
        self.connect("crm-prod")
        living = self.here.secret("connections/crm-prod")["refresh_token"]
        check("another refresh token is stored and alive", (living != dead, self.zoho.knows(living)), (True, True))
        check("list says fresh again", self.status("crm-prod"), "fresh")

    def wednesday(self) -> None:
        """Wednesday: import of existing refresh tokens"""
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
        planned = json.loads(self.token_keeper("refresh", "books", "--dry-run", "--json").stdout)["plan"]
        check("a dry run says that it would mint", planned[0]["would"], "mint")
        check("and sends Zoho no request", self.zoho.times_asked(), asked)
        self.token_keeper("refresh", "books")
        check("a run mints", self.status("books"), "fresh")

        answer = self.exchange_with_curl("eu")
        command = ["import", "--connection", "desk", "--client", "acme"]
        self.token_keeper(*command, typed=answer)
        stored = self.here.secret("connections/desk")
        check("what curl got from Zoho is a connection, with its scopes", stored["scopes"], [SCOPE])
        check("without the access token", "access_token" in stored, False)
        again = json.loads(self.token_keeper(*command, "--json", typed=answer).stdout)
        check("the same again changes nothing", (again["stored"], again["connections"][0]["plan"]), (0, "unchanged"))
        self.token_keeper("refresh", "desk")
        check("a run mints for it too", self.status("desk"), "fresh")

    def thursday(self) -> None:
        """Thursday: somebody mints too often"""
        for _ in range(REQUESTS_IN_TEN_MINUTES):
            if self.token_keeper("refresh", "books", "--force", fails=None).returncode != 0:
                break
        check("Zoho demands a pause", self.status("books"), "throttled")
        asked = self.zoho.times_asked()
        waiting = self.token_keeper("refresh", "books", "--force", fails=True)
        check("--force respects the pause", (self.zoho.times_asked(), "only waiting helps" in waiting.stdout), (asked, True))
        check("the token from before is still there", self.zoho.knows(self.token_keeper("token", "books", secret=True).stdout.strip()))

    def friday(self) -> None:
        """Friday: whose account it is"""
        options = ["--client", "acme", "--data-center", "eu", "--scope", SCOPE, "--identify"]
        with self.here.connect_local("desk", *options) as (program, link):
            administrator = Administrator()
            _, page = administrator.open(administrator.accept(administrator.redirect(link), "ann@example.com"))
            check("the page says whose account is connected", "ann@example.com" in page)
        self.printed += program.stdout() + program.stderr()
        known = self.here.secret("connections/desk")
        check("the secret has the account", known["account"]["email"], "ann@example.com")
        listed = self.token_keeper("list", "--long", fails=None).stdout
        check("list --long shows it", "ann@example.com" in listed)
        with self.here.connect_local("desk") as (program, link):
            administrator = Administrator()
            status, page = administrator.open(administrator.accept(administrator.redirect(link), "bob@example.com"))
            check("somebody else is refused", (status, "Another account than before" in page), (409, True))
            check("and nothing has changed", self.here.secret("connections/desk"), known)
            _, page = administrator.open(administrator.accept(administrator.redirect(link), "ann@example.com"))
            check("with the same link, the same account is taken", "<h1>Connected</h1>" in page)
        self.printed += program.stdout() + program.stderr()
        self.secrets |= {known["refresh_token"], self.here.secret("connections/desk")["refresh_token"]}

    def saturday(self) -> None:
        """Saturday: a self client, in two commands"""
        self.token_keeper("client", "add", "my-client", "--client-id", self.zoho.self_client_id, typed=self.zoho.client_secret)
        grant = ["grant", "own", "--client", "my-client", "--data-center", "eu", "--scope", SCOPE, "--client-credentials"]
        refused = self.token_keeper(*grant, fails=True)
        check("without an organisation, the remedy names it", "add --soid ZohoCRM.ID" in refused.stderr)
        self.token_keeper(*grant, "--soid", "ZohoCRM.600000434")
        check("Zoho knows the token", self.zoho.knows(self.token_keeper("token", "own", secret=True).stdout.strip()))
        check("there is no refresh token", "refresh_token" not in self.here.secret("connections/own"))
        self.token_keeper("refresh", "own", "--force")
        check("a run mints another", self.zoho.times_asked("client_credentials"), 3)
        check("list says fresh", self.status("own"), "fresh")

    def sunday(self) -> None:
        """Sunday: doctor, and the end of a connection"""
        self.here.create_secret("connections/broken", {"data_center": "eu"})
        sick = self.token_keeper("doctor", fails=True)
        check("the doctor finds a broken grant", f"{PREFIX}/connections/broken" in sick.stdout)
        self.here.secrets.delete_secret(SecretId=f"{PREFIX}/connections/broken", ForceDeleteWithoutRecovery=True)
        well = self.token_keeper("doctor")
        check("and no longer after it is deleted", f"{PREFIX}/connections/broken" not in well.stdout)
        used = self.token_keeper("client", "remove", "acme", fails=True)
        check("a client in use cannot be removed", "client acme is used by crm-prod, desk" in used.stderr)
        refresh_token = self.here.secret("connections/crm-prod")["refresh_token"]
        ended = self.token_keeper("revoke", "crm-prod", "--yes")
        check("a revocation says until when you can restore the secret", "aws secretsmanager restore-secret" in ended.stdout)
        check("the refresh token is dead", self.zoho.knows(refresh_token), False)
        check("and the parameter is gone", self.here.parameter("tokens/crm-prod"), None)
        check("a connection that is gone has no token", self.token_keeper("token", "crm-prod", fails=True).stdout, "")

    def no_secret_was_printed(self) -> None:
        """Secrets"""
        check("the commands printed no secret, except the tokens that `token` prints", leaked(self.secrets, self.printed), [])

    def token_keeper(
        self, *arguments: str, typed: str = "", fails: Optional[bool] = False, secret: bool = False
    ) -> subprocess.CompletedProcess[str]:
        """Runs a command. `fails=None` accepts both ends; with `secret` it prints a secret."""
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

    def exchange_with_curl(self, data_center: str) -> str:
        """What an operator gets who consents and exchanges the code by hand. Zoho's answer."""
        accounts, redirect_uri = self.zoho.accounts[data_center], f"{self.here.callback}/callback"
        asked = {"response_type": "code", "client_id": self.zoho.client_id, "redirect_uri": redirect_uri, "scope": SCOPE}
        question = f"{accounts}/oauth/v2/auth?{urlencode({**asked, 'access_type': 'offline', 'prompt': 'consent'})}"
        code = parse_qs(urlsplit(Administrator().accept(question)).query)["code"][0]
        client = {"client_id": self.zoho.client_id, "client_secret": self.zoho.client_secret, "redirect_uri": redirect_uri}
        form = urlencode({**client, "grant_type": "authorization_code", "code": code})
        curl = ["curl", "--silent", "--data", "@-", f"{accounts}/oauth/v2/token"]
        answer = subprocess.run(curl, input=form, env=environment(), capture_output=True, text=True, check=True).stdout
        self.secrets |= {json.loads(answer)[field] for field in ("access_token", "refresh_token")}
        return answer

    def status(self, connection: str) -> str:
        lines = json.loads(self.token_keeper("list", "--json", fails=None).stdout)["connections"]
        return next(str(line["status"]) for line in lines if line["connection"] == connection)

    def header(self, connection: str) -> str:
        return self.token_keeper("token", connection, "--header", secret=True).stdout.strip()

    def connect(self, connection: str, *arguments: str) -> None:
        """`connect --local`, and an administrator who agrees."""
        with self.here.connect_local(connection, *arguments) as (program, link):
            administrator = Administrator()
            _, page = administrator.open(administrator.accept(administrator.redirect(link)))
            check(f"{connection}: the page says Connected", "<h1>Connected</h1>" in page)
        self.printed += program.stdout() + program.stderr()
        self.secrets.add(self.here.secret(f"connections/{connection}")["refresh_token"])


if __name__ == "__main__":
    sys.exit(tell(lambda programs: Story(programs).steps()))
