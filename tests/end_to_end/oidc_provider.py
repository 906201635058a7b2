"""A server that nobody here wrote: the npm package oidc-provider, with rotation, PKCE and revocation.

Real: the server. Its clock is moved.
Played: nothing yet. These steps show that the server does what the story needs of it.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
import sys
from contextlib import ExitStack
from typing import Any, Callable, Optional
from urllib.parse import parse_qs, urlencode, urlsplit

from helpers.checks import check, tell
from helpers.oidc_provider import OidcProvider, Person

REDIRECT_URI = "https://consent.example/callback"
SCOPE = "accounts.read offline_access"
DAY_S = 24 * 3600
REFRESH_TOKEN_LIFE_S = 14 * DAY_S
RUN_S = 900
"""The time between two refreshes in the story."""


class Story:
    """The steps in their order. Each needs those before."""

    def __init__(self, programs: ExitStack) -> None:
        self.server = OidcProvider(programs, REDIRECT_URI, REFRESH_TOKEN_LIFE_S)
        self.person = Person()
        self.ahead_s = 0
        self.newest = ""

    def steps(self) -> list[Callable[[], None]]:
        return [
            self.it_says_what_it_is,
            self.a_consent_needs_pkce,
            self.a_day_of_refreshes_rotates_each_time,
            self.a_second_use_ends_the_grant,
            self.a_revocation_ends_the_grant_of_the_token_alone,
            self.a_refresh_token_ends_with_time,
        ]

    def it_says_what_it_is(self) -> None:
        """Discovery"""
        found = self.server.metadata()
        check("the issuer is its own address", found["issuer"], self.server.issuer)
        endpoints = ["authorization_endpoint", "token_endpoint", "revocation_endpoint"]
        check("its endpoints are its own", [found[name].startswith(self.server.issuer) for name in endpoints], [True] * 3)
        check("it takes PKCE by S256", found["code_challenge_methods_supported"], ["S256"])
        check("it names itself in redirects", found["authorization_response_iss_parameter_supported"])

    def a_consent_needs_pkce(self) -> None:
        """A consent"""
        refused = self.consent(None)
        check("without a challenge it is refused", refused["error"], ["invalid_request"])
        verifier = secrets.token_urlsafe(48)
        answered = self.consent(verifier)
        check("the redirect has the state and the issuer", (answered["state"], answered["iss"]), (["a state"], [self.server.issuer]))
        code = {"grant_type": "authorization_code", "code": answered["code"][0], "redirect_uri": REDIRECT_URI}
        minted = self.server.token(**code, code_verifier=verifier).json()
        check("the code brings an hour's access token", (minted["token_type"], minted["expires_in"]), ("Bearer", 3600))
        check("with the scopes that were asked for", minted["scope"], SCOPE)
        check("both tokens live", (self.server.lives(minted["access_token"]), self.server.lives(minted["refresh_token"])), (True, True))
        check("the code is spent", self.server.token(**code, code_verifier=verifier).json()["error"], "invalid_grant")
        check("and its second use has ended the tokens", self.server.lives(minted["access_token"]), False)

    def a_day_of_refreshes_rotates_each_time(self) -> None:
        """A day of refreshes, with the clock moved"""
        minted = self.connect()
        first, seen = minted["access_token"], {minted["refresh_token"]}
        for _ in range(DAY_S // RUN_S):
            self.pass_time(RUN_S)
            minted = self.server.refresh(self.newest).json()
            self.newest = minted["refresh_token"]
            seen.add(self.newest)
        check("each refresh gave a new refresh token", len(seen), DAY_S // RUN_S + 1)
        check("the first access token has ended, the last one lives", (self.server.lives(first), self.server.lives(minted["access_token"])), (False, True))
        self.pass_time(3600)
        check("it ends after an hour", self.server.lives(minted["access_token"]), False)

    def a_second_use_ends_the_grant(self) -> None:
        """Reuse"""
        bystander, used = self.connect()["refresh_token"], self.connect()["refresh_token"]
        winner = self.server.refresh(used).json()
        again = self.server.refresh(used)
        check("the second use is refused", (again.status, again.json()["error"]), (400, "invalid_grant"))
        check("the winner's tokens have ended", (self.server.lives(winner["access_token"]), self.server.lives(winner["refresh_token"])), (False, False))
        check("and cannot be refreshed", self.server.refresh(winner["refresh_token"]).json()["error"], "invalid_grant")
        check("another grant of the same person lives", self.server.lives(bystander))

    def a_revocation_ends_the_grant_of_the_token_alone(self) -> None:
        """Revocation"""
        bystander, revoked = self.connect()["refresh_token"], self.connect()
        check("it is accepted", self.server.revoke(revoked["refresh_token"]).status, 200)
        check("the grant's tokens have ended", (self.server.lives(revoked["access_token"]), self.server.lives(revoked["refresh_token"])), (False, False))
        check("another grant of the same person lives", self.server.lives(bystander))
        check("an unknown token is fine", self.server.revoke("unknown").status, 200)

    def a_refresh_token_ends_with_time(self) -> None:
        """The end of a refresh token"""
        self.connect()
        self.pass_time(REFRESH_TOKEN_LIFE_S - 60)
        self.newest = self.server.refresh(self.newest).json()["refresh_token"]
        check("a minute before its end it is good, and the new one begins afresh", self.server.lives(self.newest))
        self.pass_time(REFRESH_TOKEN_LIFE_S)
        check("after its time it is refused", self.server.refresh(self.newest).json()["error"], "invalid_grant")

    def connect(self) -> Any:
        """The tokens of a new grant. Its refresh token is the newest."""
        verifier = secrets.token_urlsafe(48)
        code = self.consent(verifier)["code"][0]
        form = {"code": code, "redirect_uri": REDIRECT_URI, "code_verifier": verifier}
        minted = self.server.token(grant_type="authorization_code", **form).json()
        self.newest = minted["refresh_token"]
        return minted

    def consent(self, verifier: Optional[str]) -> dict[str, list[str]]:
        """What the redirect says after a person's consent."""
        question = {
            "response_type": "code",
            "client_id": self.server.client_id,
            "redirect_uri": REDIRECT_URI,
            "scope": SCOPE,
            "state": "a state",
            # Without it, the server gives no refresh token.
            "prompt": "consent",
        }
        if verifier is not None:
            digest = hashlib.sha256(verifier.encode()).digest()
            challenge = base64.urlsafe_b64encode(digest).decode().rstrip("=")
            question |= {"code_challenge": challenge, "code_challenge_method": "S256"}
        url = f"{self.server.metadata()['authorization_endpoint']}?{urlencode(question)}"
        return parse_qs(urlsplit(self.person.visit(url, REDIRECT_URI)).query)

    def pass_time(self, seconds: int) -> None:
        self.ahead_s += seconds
        self.server.set_ahead(self.ahead_s)


if __name__ == "__main__":
    sys.exit(tell(lambda programs: Story(programs).steps()))
