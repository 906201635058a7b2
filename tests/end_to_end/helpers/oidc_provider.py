"""The npm package oidc-provider as a running server."""

from __future__ import annotations

import http.client
import json
import shutil
import urllib.parse
from base64 import b64encode
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Iterator, Optional
from urllib.parse import urlencode, urlsplit

from helpers import node
from helpers.processes import ROOT, Program, environment

SOURCE = ROOT / "tests/end_to_end/oidc_provider"
NODE_HOME = ROOT / ".tools/oidc-provider"
"""The server runs here. A module looks for its dependencies where it is."""


@dataclass
class Answer:
    status: int
    text: str

    def json(self) -> Any:
        return json.loads(self.text)


class OidcProvider:
    """Every refresh rotates, and the second use of a refresh token ends the grant."""

    def __init__(self, programs: ExitStack, redirect_uri: str, refresh_token_life_s: int, **variables: str) -> None:
        node.install(SOURCE, NODE_HOME)
        shutil.copy(SOURCE / "server.mjs", NODE_HOME)
        command = ["node", str(NODE_HOME / "server.mjs"), redirect_uri, str(refresh_token_life_s)]
        self.program = programs.enter_context(Program(command, environment(**variables)))
        about = json.loads(self.program.wait_for_line(0))
        self.issuer: str = about["issuer"]
        self.client_id: str = about["client_id"]
        self.client_secret: str = about["client_secret"]

    def times_asked(self) -> int:
        """How many requests for tokens it got so far."""
        return self.program.stdout().count("asked\n")

    @contextmanager
    def tokens(self, what: str) -> Iterator[None]:
        """Meanwhile it lets requests for tokens `wait`, or it has redeemed them and will `lose` its answers."""
        self.post("/tokens", what)
        yield
        self.post("/tokens", "answer")

    def refresh(self, refresh_token: str) -> Answer:
        return self.of_the_client("/token", {"grant_type": "refresh_token", "refresh_token": refresh_token})

    def lives(self, token: str) -> bool:
        """Whether the server says that the token is good now. A refresh token that was used is not."""
        active: bool = self.of_the_client("/token/introspection", {"token": token}).json()["active"]
        return active

    def of_the_client(self, path: str, form: dict[str, str]) -> Answer:
        halves = [urllib.parse.quote_plus(half) for half in (self.client_id, self.client_secret)]
        basic = "Basic " + b64encode(":".join(halves).encode()).decode()
        headers = {"Authorization": basic, "Content-Type": "application/x-www-form-urlencoded"}
        return self.post(path, urlencode(form), headers)

    def post(self, path: str, body: str, headers: Optional[dict[str, str]] = None) -> Answer:
        connection = http.client.HTTPConnection(urlsplit(self.issuer).netloc, timeout=30)
        try:
            connection.request("POST", path, body, headers or {})
            response = connection.getresponse()
            return Answer(response.status, response.read().decode())
        finally:
            connection.close()
