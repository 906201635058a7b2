"""The npm package oidc-provider as a running server, and a person with a browser in front of it."""

from __future__ import annotations

import http.client
import json
import shutil
import urllib.parse
import urllib.request
from base64 import b64encode
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, Optional
from urllib.parse import urlencode, urljoin, urlsplit

from helpers import node
from helpers.processes import ROOT, Program, environment

SOURCE = ROOT / "tests/end_to_end/oidc_provider"
NODE_HOME = ROOT / ".tools/oidc-provider"
"""The server runs here. A module looks for its dependencies where it is."""
MOST_REDIRECTS = 10


@dataclass
class Answer:
    status: int
    headers: http.client.HTTPMessage
    text: str

    def json(self) -> Any:
        return json.loads(self.text)


class OidcProvider:
    """Every refresh rotates, and the second use of a refresh token ends the grant."""

    def __init__(self, programs: ExitStack, redirect_uri: str, refresh_token_life_s: int) -> None:
        node.install(SOURCE, NODE_HOME)
        shutil.copy(SOURCE / "server.mjs", NODE_HOME)
        command = ["node", str(NODE_HOME / "server.mjs"), redirect_uri, str(refresh_token_life_s)]
        self.program = programs.enter_context(Program(command, environment()))
        about = json.loads(self.program.wait_for_line(0))
        self.issuer: str = about["issuer"]
        self.client_id: str = about["client_id"]
        self.client_secret: str = about["client_secret"]
        self.redirect_uri = redirect_uri

    def set_ahead(self, seconds: int) -> None:
        """From now on, the server's clock is that much ahead of real time."""
        assert self.post("/ahead", str(seconds)).status == 200

    def metadata(self) -> Any:
        with urllib.request.urlopen(f"{self.issuer}/.well-known/openid-configuration") as answer:
            return json.load(answer)

    def token(self, **form: str) -> Answer:
        return self.of_the_client("token_endpoint", form)

    def refresh(self, refresh_token: str) -> Answer:
        return self.token(grant_type="refresh_token", refresh_token=refresh_token)

    def revoke(self, token: str) -> Answer:
        return self.of_the_client("revocation_endpoint", {"token": token})

    def lives(self, token: str) -> bool:
        """Whether the server says that the token is good now. A refresh token that was used is not."""
        active: bool = self.of_the_client("introspection_endpoint", {"token": token}).json()["active"]
        return active

    def of_the_client(self, endpoint: str, form: dict[str, str]) -> Answer:
        halves = [urllib.parse.quote_plus(half) for half in (self.client_id, self.client_secret)]
        basic = "Basic " + b64encode(":".join(halves).encode()).decode()
        headers = {"Authorization": basic, "Content-Type": "application/x-www-form-urlencoded"}
        return self.post(urlsplit(self.metadata()[endpoint]).path, urlencode(form), headers)

    def post(self, path: str, body: str, headers: Optional[dict[str, str]] = None) -> Answer:
        return ask(self.issuer, "POST", path, body, headers or {})


@dataclass
class Person:
    """Has a browser with cookies. The server lets this person agree at once."""

    cookies: dict[str, str] = field(default_factory=dict)

    def visit(self, url: str, until: str) -> str:
        """Follows redirects from `url` to the first address that begins with `until`. Returns it."""
        for _ in range(MOST_REDIRECTS):
            if url.startswith(until):
                return url
            parts = urlsplit(url)
            path = parts.path + (f"?{parts.query}" if parts.query else "")
            headers = {"Cookie": "; ".join(f"{name}={value}" for name, value in self.cookies.items())}
            answer = ask(f"{parts.scheme}://{parts.netloc}", "GET", path, None, headers)
            for cookie in answer.headers.get_all("Set-Cookie", []):
                name, _, value = cookie.partition(";")[0].partition("=")
                self.cookies[name] = value
            assert answer.headers["Location"], f"{url} answered {answer.status} and does not redirect:\n{answer.text}"
            url = urljoin(url, answer.headers["Location"])
        raise AssertionError(f"more than {MOST_REDIRECTS} redirects")


def ask(server: str, method: str, path: str, body: Optional[str], headers: dict[str, str]) -> Answer:
    connection = http.client.HTTPConnection(urlsplit(server).netloc, timeout=30)
    try:
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        return Answer(response.status, response.headers, response.read().decode())
    finally:
        connection.close()
