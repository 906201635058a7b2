"""Another provider than Zoho: a server that nobody here wrote, with refresh tokens that rotate.

Real: the npm package oidc-provider, the command line, the callback, the refresher.
Played: AWS by moto, the administrator's browser by a few requests. One clock, which is moved, is
that of the server and of the programs.

The server itself checks that each refresh token is used once: a second use ends the grant.
"""

from __future__ import annotations

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any, Callable
from urllib.parse import parse_qs, urlsplit

from helpers.administrator import Administrator
from helpers.checks import check, instant, leaked, tell
from helpers.clock import Clock
from helpers.installation import PREFIX, Installation, compiled
from helpers.oidc_provider import OidcProvider
from helpers.processes import ROOT, environment, free_port
from helpers.recorder import ROTATING

SCOPES = ["accounts.read", "offline_access"]
MINUTE_S = 60
RUN_S = 15 * MINUTE_S
"""The time between two runs."""
DAY_S = 24 * 60 * MINUTE_S
REFRESH_TOKEN_LIFE_S = 14 * DAY_S
SIGNING_KEY = "a-signing-key-of-more-than-32-characters"


class Story:
    """The steps in their order. Each needs those before."""

    def __init__(self, programs: ExitStack) -> None:
        self.clock = Clock(programs)
        callback = free_port()
        url = f"http://localhost:{callback}/lambda-url/callback"
        self.here = Installation(programs, callback=url, **self.clock.variables)
        self.callback = self.here.start("callback", callback, [])
        self.server = OidcProvider(programs, f"{url}/callback", REFRESH_TOKEN_LIFE_S, **self.clock.variables)
        self.may_rotate = {"TOKEN_KEEPER_ROTATING_PROVIDERS": "true"}
        self.printed = ""
        self.secrets = {self.server.client_secret, SIGNING_KEY}

    def steps(self) -> list[Callable[[], None]]:
        return [
            self.an_operator_adds_the_server,
            self.a_consent_connects,
            self.the_refresher_has_to_be_allowed_to_store,
            self.a_day_of_refreshes_rotates_each_time,
            self.of_two_runs_at_once_one_redeems,
            self.somebody_else_uses_an_old_refresh_token,
            self.a_new_consent_mends_it,
            self.an_answer_is_lost,
            self.a_revocation_ends_it,
            self.no_secret_was_printed,
        ]

    def an_operator_adds_the_server(self) -> None:
        """The README's commands: an operator adds a client, and the server describes itself"""
        add, self.connect = self.shown("token-keeper client add corp"), self.shown("token-keeper connect books")
        put = {"YOUR-CLIENT": self.server.client_id, "https://login.example.com": self.server.issuer}
        add = [put.get(word, word) for word in add]
        check("they name the client and the server", set(put.values()) <= set(add))
        # Without this parameter, this server gives no refresh token.
        more = ["--revokes-one-token", "--authorization-parameter", "prompt=consent"]
        said = self.token_keeper(*add, *more, typed=self.server.client_secret)
        check("the command shows what it found", f"token endpoint          {self.server.issuer}/token" in said)
        client = self.here.secret("clients/corp")
        endpoints = {name: client[f"{name}_endpoint"] for name in ("authorization", "token", "revocation")}
        paths = {"authorization": "/auth", "token": "/token", "revocation": "/token/revocation"}
        check("its endpoints are stored", endpoints, {name: self.server.issuer + path for name, path in paths.items()})
        check("and its name", client["issuer"], self.server.issuer)
        check("and the parameter", client["authorization_parameters"], {"prompt": "consent"})

    def a_consent_connects(self) -> None:
        """A consent"""
        self.here.secrets.create_secret(Name=f"{PREFIX}/signing-key", SecretString=SIGNING_KEY)
        self.consent(*self.connect)
        grant, lease = self.here.secret("connections/books"), self.here.lease("books")
        check("the grant has no data centre", "data_center" in grant, False)
        check("the document has the usual header's token", (lease["provider"], lease["token_type"], "header" in lease), ("custom", "Bearer", False))
        check("and the scopes", sorted(lease["scope"].split()), sorted(SCOPES))
        life = instant(lease["expires_at"]) - instant(lease["issued_at"])
        check("it lives for an hour", life.total_seconds(), 60 * MINUTE_S)

    def the_refresher_has_to_be_allowed_to_store(self) -> None:
        """Without RotatingProviders=true"""
        report = self.run(RUN_S)
        [outcome] = report["outcomes"]
        check("the connection is misconfigured", report["misconfigured"], ["books"])
        check("the remedy names the setting", "RotatingProviders=true" in outcome["remedy"])
        check("the server was not asked", self.server.times_asked(), 1)
        self.here.function.start(AWS_ACCESS_KEY_ID=ROTATING, **self.may_rotate)

    def a_day_of_refreshes_rotates_each_time(self) -> None:
        """A day of runs"""
        seen, refreshed, most_claims = {self.refresh_token()}, 0, 0
        for run in range(DAY_S // RUN_S):
            report = self.run(RUN_S)
            refreshed += report["refreshed"]
            done = report["refreshed"] + report["fresh"]
            lives = self.server.lives(self.refresh_token()), self.server.lives(self.here.lease("books")["access_token"])
            assert (done, *lives) == (1, True, True), f"run {run}: {report}, and of both tokens live: {lives}"
            seen.add(self.refresh_token())
            most_claims = max(most_claims, len(self.claims()))
        check("after each of 96 runs, the server took both tokens", refreshed, 48)
        check("each refresh stored another refresh token", len(seen), refreshed + 1)
        check("the server got one request for each", self.server.times_asked(), refreshed + 1)
        check("claims are cleared after an hour", most_claims <= 3)
        listed = json.loads(self.token_keeper("list", "--json"))["connections"]
        check("list says fresh", [(line["connection"], line["status"]) for line in listed], [("books", "fresh")])
        header = self.token_keeper("token", "books", "--header", secret=True).strip()
        check("token prints the header", header, f"Authorization: Bearer {self.here.lease('books')['access_token']}")
        self.token_keeper("doctor", fails=None)

    def of_two_runs_at_once_one_redeems(self) -> None:
        """Two runs at once"""
        self.until_due()
        asked, before = self.server.times_asked(), self.refresh_token()
        self.here.function.start(2, AWS_ACCESS_KEY_ID=ROTATING, **self.may_rotate)
        with ThreadPoolExecutor() as pool:
            with self.server.tokens("wait"):
                first = pool.submit(self.run, 0)
                self.server.program.wait_for("a request", lambda: self.server.times_asked() > asked or None)
                second = self.run(0)
                by_hand = self.token_keeper("refresh", "books", "--force", fails=True)
            check("while the first waits for the server, the second leaves it alone", second["deferred"], ["books"])
            check("so does the command line", "another run is refreshing it" in by_hand)
            check("the first refreshes", first.result()["refreshed"], 1)
        check("the server got one request", self.server.times_asked() - asked, 1)
        after = self.refresh_token()
        check("its answer is stored, and lives", (after != before, self.server.lives(after)), (True, True))
        self.token_keeper("refresh", "books", "--force")
        check("then the command line refreshes too", self.refresh_token() != after and self.server.lives(self.refresh_token()))

    def somebody_else_uses_an_old_refresh_token(self) -> None:
        """Reuse: somebody else sends a refresh token that was used"""
        used = self.refresh_token()
        self.until_due()
        check("a run refreshes", self.run(0)["refreshed"], 1)
        check("the server refuses the stranger", self.server.refresh(used).json()["error"], "invalid_grant")
        check("and has ended the grant", self.server.lives(self.refresh_token()), False)
        self.until_due()
        check("the next run finds out", self.run(0)["consent_required"], ["books"])
        check("the document says so", self.state(), ("consent_required", "invalid_grant"))
        check("and a notice", "token-keeper connect books" in self.notice())

    def a_new_consent_mends_it(self) -> None:
        """A new consent"""
        self.consent("connect", "books")
        check("it is fresh again", self.state(), ("active", None))
        self.until_due()
        check("a run refreshes", self.run(0)["refreshed"], 1)
        check("both tokens live", (self.server.lives(self.refresh_token()), self.server.lives(self.here.lease("books")["access_token"])), (True, True))

    def an_answer_is_lost(self) -> None:
        """The server redeems, and its answer is lost"""
        self.until_due()
        before, asked = self.here.lease("books"), self.server.times_asked()
        with self.server.tokens("lose"):
            check("the run fails", self.run(0)["failed"], ["books"])
        check("it has asked once", self.server.times_asked() - asked, 1)
        asked = self.server.times_asked()
        check("the next run may be too early to know", self.run(5 * MINUTE_S)["deferred"], ["books"])
        report = self.run(6 * MINUTE_S)
        check("the one after says what happened", (report["failed"], "was lost" in report["outcomes"][0]["error"]), (["books"], True))
        check("neither asks", self.server.times_asked(), asked)
        check("programs keep their token, which works", (self.here.lease("books"), self.server.lives(before["access_token"])), (before, True))
        report = self.run(7 * MINUTE_S)
        check("near the token's end, a run asks once", (report["consent_required"], self.server.times_asked() - asked), (["books"], 1))
        check("the document says why", self.state(), ("consent_required", "rotation_lost"))
        check("and a notice says what to do", "token-keeper connect books" in self.notice())
        self.run(RUN_S)
        check("no run asks again", self.server.times_asked() - asked, 1)
        self.consent("connect", "books")
        self.until_due()
        check("after a consent, it is refreshed as before", self.run(0)["refreshed"], 1)

    def a_revocation_ends_it(self) -> None:
        """The end"""
        refresh_token, access_token = self.refresh_token(), self.here.lease("books")["access_token"]
        said = self.token_keeper("revoke", "books", "--yes")
        check("the command says that it was revoked", "has revoked the refresh token" in said)
        check("the server takes neither token", (self.server.lives(refresh_token), self.server.lives(access_token)), (False, False))
        check("and the document is gone", self.here.parameter("tokens/books"), None)
        check("nobody asked Zoho anything", self.here.zoho.times_asked(), 0)

    def no_secret_was_printed(self) -> None:
        """Secrets"""
        documents = [json.loads(value) for value in self.here.history() if value.startswith("{")]
        self.secrets |= {document["access_token"] for document in documents if "access_token" in document}
        functions = self.here.function, self.callback
        printed = self.printed + "".join(function.stdout() + function.stderr() + function.answers for function in functions)
        check(f"no program printed one of {len(self.secrets)} secrets", leaked(self.secrets, printed), [])

    @staticmethod
    def shown(start: str) -> list[str]:
        """The arguments of the README's command that starts like this."""
        [line] = [line for line in (ROOT / "README.md").read_text().splitlines() if line.startswith(start)]
        return line.split()[1:]

    def run(self, after_s: int) -> Any:
        """A scheduled run, after this time. Returns its report."""
        self.clock.go_on(after_s)
        report = self.here.function.invoke_file("schedule").answer()
        if self.here.parameter("tokens/books"):
            self.secrets |= {self.refresh_token(), self.here.lease("books")["access_token"]}
        return report

    def until_due(self) -> None:
        """The published token gets half an hour old."""
        issued_at = instant(self.here.lease("books")["issued_at"])
        self.clock.go_on(30 * MINUTE_S - int(self.clock.now() - issued_at.timestamp()))

    def consent(self, *arguments: str) -> None:
        """An operator makes a link, and an administrator agrees."""
        link = json.loads(self.token_keeper(*arguments, "--callback-url", self.here.callback, "--json"))["url"]
        administrator = Administrator()
        question = administrator.redirect(link)
        asked = {name: values[0] for name, values in parse_qs(urlsplit(question).query).items()}
        check("the link leads to the server, with PKCE", (question.startswith(f"{self.server.issuer}/auth?"), asked["code_challenge_method"]), (True, "S256"))
        answer = administrator.follow(question, f"{self.here.callback}/callback?")
        issuer = parse_qs(urlsplit(answer).query)["iss"]
        check("the server names itself in its answer", issuer, [self.server.issuer])
        status, page = administrator.open(answer.replace("iss=http", "iss=https"))
        check("if that is another name, the callback refuses it", (status, "Not the right provider" in page), (400, True))
        _, page = administrator.open(answer)
        check("the page says Connected", "<h1>Connected</h1>" in page)
        tokens = self.refresh_token(), self.here.lease("books")["access_token"]
        check("the server knows both tokens", [self.server.lives(token) for token in tokens], [True, True])
        self.secrets |= {*tokens, *parse_qs(urlsplit(answer).query)["code"]}

    def refresh_token(self) -> str:
        refresh_token: str = self.here.secret("connections/books")["refresh_token"]
        return refresh_token

    def state(self) -> tuple[str, Any]:
        lease = self.here.lease("books")
        return lease["status"], lease.get("error")

    def notice(self) -> str:
        [described] = self.here.parameters.describe_parameters(
            ParameterFilters=[{"Key": "Name", "Values": [f"/{PREFIX}/tokens/books"]}]
        )["Parameters"]
        description: str = described["Description"]
        return description if description.startswith("Token Keeper: ") else ""

    def claims(self) -> list[str]:
        return [name for name in self.here.versions() if "/claims/" in name]

    def token_keeper(self, *arguments: str, typed: str = "", fails: Any = False, secret: bool = False) -> str:
        """What a command prints. `fails=None` accepts both ends; with `secret` it prints a secret."""
        variables = environment(**self.here.variables, **self.may_rotate)
        command = [compiled("token-keeper"), *arguments]
        ran = subprocess.run(command, cwd=ROOT, env=variables, input=typed, capture_output=True, text=True)
        said = f"token-keeper {' '.join(arguments)} ended with {ran.returncode}:\n{ran.stdout}{ran.stderr}"
        assert ran.returncode in (0, 1) and (fails is None or fails == (ran.returncode == 1)), said
        if not secret:
            self.printed += ran.stdout + ran.stderr
        # Programs read the standard output, people both.
        return ran.stdout if "--json" in arguments or secret else ran.stdout + ran.stderr


if __name__ == "__main__":
    sys.exit(tell(lambda programs: Story(programs).steps()))
