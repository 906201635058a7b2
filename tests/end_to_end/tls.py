"""TLS: the compiled functions and the command line reach Zoho and AWS by HTTPS, as in reality.

Real: the programs, cargo-lambda's Runtime API, and TLS with certificates made for the test.
Played: Zoho and AWS by the stand-ins program, the browser by a few requests.
"""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Callable, Optional

import boto3

from helpers.administrator import Administrator
from helpers.checks import check, leaked, tell
from helpers.installation import PREFIX, REGION, Function, Zoho, compiled
from helpers.processes import ROOT, environment, free_port

CONNECTION = "conn-00001"
SCOPE = "ZohoCRM.modules.ALL"
SIGNING_KEY = "a-signing-key-of-more-than-32-characters"
UNKNOWN = "is not from a known authority"
WORDS = {"expired": "has expired", "other-host": "is for another host"}
"""What the programs say about each kind of certificate."""
REMEDIES = {"expired": "this machine's clock", "other-host": "subject alternative name"}
"""A part of the remedy."""
NOBODY = {"SSL_CERT_DIR": "/dev/null", "SSL_CERT_FILE": "/dev/null"}
"""A machine without certificate authorities."""


class Outside:
    """Zoho and AWS with these kinds of certificates. `None` means without TLS.

    It also has the variables that a program needs to reach them.
    """

    def __init__(self, programs: ExitStack, callback: str, aws: Optional[str], zoho: Optional[str]) -> None:
        self.bundle = Path(programs.enter_context(TemporaryDirectory())) / "ca.pem"
        options = ["--ca-bundle", str(self.bundle)]
        options += ["--aws-tls", aws] if aws else []
        options += ["--zoho-tls", zoho] if zoho else []
        self.zoho = Zoho(programs, f"{callback}/callback", 1, 0, *options)
        self.variables = {
            "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
            "AWS_CONFIG_FILE": "/dev/null",
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_ENDPOINT_URL": self.zoho.aws,
            "AWS_REGION": REGION,
            "AWS_SECRET_ACCESS_KEY": "not-a-secret",
            "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
            "TOKEN_KEEPER_CALLBACK_URL": callback,
            "TOKEN_KEEPER_DATA_CENTERS": self.zoho.data_centers,
        }
        self.trusting = {**self.variables, "AWS_CA_BUNDLE": str(self.bundle)}
        self.without_bundle = {**self.variables, "AWS_CA_BUNDLE": ""}

    def client(self, service: str) -> Any:
        keys = {"aws_access_key_id": "AKIDEXAMPLE", "aws_secret_access_key": "not-a-secret", "region_name": REGION}
        return boto3.client(service, endpoint_url=self.zoho.aws, verify=str(self.bundle), **keys)


class Story:
    """The steps in their order. Each needs those before."""

    def __init__(self, programs: ExitStack) -> None:
        self.programs = programs
        self.passed = {SIGNING_KEY}
        """The secrets that the story has seen."""
        port = free_port()
        self.callback_url = f"http://localhost:{port}/lambda-url/callback"
        self.outside = self.reach("good", "good")
        self.zoho = self.outside.zoho
        self.refresher = Function(programs, "refresher", free_port(), [], self.outside.trusting)
        self.callback = Function(programs, "callback", port, [], self.outside.trusting)
        self.secrets = self.outside.client("secretsmanager")
        self.parameters = self.outside.client("ssm")
        self.printed = ""

    def steps(self) -> list[Callable[[], None]]:
        return [
            self.a_token_is_minted_and_published,
            self.a_consent_is_given,
            self.the_command_line_trusts_the_same_authority,
            self.an_unknown_authority_is_named,
            self.an_expired_certificate_and_another_host_are_named,
            self.a_bundle_that_is_missing_stops_the_start,
            self.no_secret_was_printed,
        ]

    def a_token_is_minted_and_published(self) -> None:
        """The refresher, with AWS_CA_BUNDLE"""
        urls = [self.zoho.aws, *self.zoho.accounts.values()]
        check("the programs reach AWS and Zoho only by TLS", [url for url in urls if not url.startswith("https://localhost:")], [])
        report = self.refresher.invoke_file("schedule").answer()
        check("the refresher mints a token", (report["connections"], report["refreshed"]), (1, 1))
        lease = self.lease(CONNECTION)
        self.passed.add(lease["access_token"])
        check("and publishes it", (lease["status"], self.zoho.knows(lease["access_token"])), ("active", True))

    def a_consent_is_given(self) -> None:
        """The callback, with AWS_CA_BUNDLE and without"""
        link, status, page = self.consent(self.outside)
        check("the page says Connected", (status, "<h1>Connected</h1>" in page), (200, True))
        grant = json.loads(self.secrets.get_secret_value(SecretId=f"{PREFIX}/connections/crm-prod")["SecretString"])
        self.passed |= {grant["refresh_token"], self.lease("crm-prod")["access_token"]}
        check("Zoho has exchanged the code", self.zoho.knows(grant["refresh_token"]))
        check("and the first token is published", self.zoho.knows(self.lease("crm-prod")["access_token"]))
        self.callback.start(**self.outside.without_bundle)
        check("without the bundle, the page says that it does not work now", Administrator().open(link)[0], 502)
        says("and its log says why", self.callback.stdout(), f"failed: the server's certificate {UNKNOWN}", "AWS_CA_BUNDLE")
        outside = self.reach(None, "good")
        self.callback.start(**outside.without_bundle)
        _, status, page = self.consent(outside)
        check("the same if only Zoho's certificate is not trusted", (status, "<h1>Connected</h1>" in page), (502, False))
        says("and its log says so", self.callback.stdout(), f"the server's certificate {UNKNOWN}", '"remedy":"if the server or a proxy')

    def the_command_line_trusts_the_same_authority(self) -> None:
        """The command line, which also trusts the authorities of its machine"""
        without = self.token_keeper("list", variables=self.outside.variables, ends=1)
        says("without the bundle, it says so", without.stderr, f"the server's certificate {UNKNOWN}", "AWS_CA_BUNDLE")
        nobody = self.token_keeper("list", variables={**self.outside.variables, **NOBODY}, ends=2)
        says("on a machine without authorities, it says so", nobody.stderr, "no certificate authority of this machine", "AWS_CA_BUNDLE")
        self.token_keeper("list", variables={**self.outside.trusting, **NOBODY})

    def an_unknown_authority_is_named(self) -> None:
        """Without AWS_CA_BUNDLE"""
        outside = self.reach(None, "good")
        self.aws_is_not_trusted(self.outside.without_bundle, UNKNOWN, "AWS_CA_BUNDLE")
        self.zoho_is_not_trusted(outside, outside.without_bundle, UNKNOWN, "AWS_CA_BUNDLE")

    def an_expired_certificate_and_another_host_are_named(self) -> None:
        """Expired certificates, and certificates for another host"""
        for kind, words in WORDS.items():
            self.aws_is_not_trusted(self.reach(kind, "good").trusting, words, REMEDIES[kind])
            outside = self.reach("good", kind)
            self.zoho_is_not_trusted(outside, outside.trusting, words, REMEDIES[kind])

    def a_bundle_that_is_missing_stops_the_start(self) -> None:
        """AWS_CA_BUNDLE names a file that does not exist"""
        wanted = (
            'AWS_CA_BUNDLE: "/nowhere/ca.pem" cannot be read (No such file or directory (os error 2)). '
            "Name a PEM file with the certificates of your authorities, or unset it."
        )
        variables = {**self.outside.variables, "AWS_CA_BUNDLE": "/nowhere/ca.pem"}
        for function in ("refresher", "callback"):
            ran = subprocess.run(
                [compiled(function)], env=environment(**variables), capture_output=True, text=True, timeout=60
            )
            lines = [json.loads(line)["message"] for line in ran.stdout.splitlines()]
            check(f"the {function} says so and ends", (ran.returncode, lines, ran.stderr), (1, [wanted], ""))
        ran = self.token_keeper("list", variables=variables, ends=2)
        check("the command line says so too", ran.stderr.strip(), wanted)

    def no_secret_was_printed(self) -> None:
        """Secrets"""
        printed = self.printed + "".join(function.stdout() + function.answers for function in (self.refresher, self.callback))
        check(f"no program printed one of {len(self.passed)} secrets", leaked(self.passed, printed), [])

    def reach(self, aws: Optional[str], zoho: Optional[str]) -> Outside:
        outside = Outside(self.programs, self.callback_url, aws, zoho)
        self.passed |= {outside.zoho.client_secret, *outside.zoho.refresh_tokens}
        return outside

    def consent(self, outside: Outside) -> tuple[str, int, str]:
        """An operator makes a link, an administrator agrees. Returns link, last status and page."""
        outside.client("secretsmanager").create_secret(Name=f"{PREFIX}/signing-key", SecretString=SIGNING_KEY)
        client = ["client", "add", "acme", "--client-id", outside.zoho.client_id]
        self.token_keeper(*client, typed=outside.zoho.client_secret, variables=outside.trusting)
        connect = ["connect", "crm-prod", "--client", "acme", "--data-center", "eu", "--scope", SCOPE, "--json"]
        link = json.loads(self.token_keeper(*connect, variables=outside.trusting).stdout)["url"]
        administrator = Administrator(outside.bundle)
        question = administrator.redirect(link)
        check("the link leads to Zoho, by TLS", question.startswith(f"{outside.zoho.accounts['eu']}/"))
        return link, *administrator.open(administrator.accept(question))

    def aws_is_not_trusted(self, variables: dict[str, str], words: str, remedy: str) -> None:
        self.refresher.start(**variables)
        refused = self.refresher.invoke_file("schedule")
        check(f"AWS's certificate {words}: the run fails", refused.done, False)
        # The run lists grants and leases at the same time. Either may fail first.
        says("and says so, with a remedy", refused.text, "sUnavailable", f"failed: the server's certificate {words};", remedy)

    def zoho_is_not_trusted(self, outside: Outside, variables: dict[str, str], words: str, remedy: str) -> None:
        self.refresher.start(**variables)
        report = self.refresher.invoke_file("schedule").answer()
        check(f"Zoho's certificate {words}: the connection fails", (report["connections"], report["failed"]), (1, [CONNECTION]))
        [outcome] = report["outcomes"]
        check("and says so", outcome["error"], f"the server's certificate {words}")
        says("with a remedy", outcome["remedy"], remedy)
        check("Zoho got no request", outside.zoho.times_asked(), 0)

    def lease(self, connection: str) -> dict[str, Any]:
        found = self.parameters.get_parameter(Name=f"/{PREFIX}/tokens/{connection}", WithDecryption=True)
        document: dict[str, Any] = json.loads(found["Parameter"]["Value"])
        return document

    def token_keeper(
        self, *arguments: str, typed: str = "", variables: Optional[dict[str, str]] = None, ends: int = 0
    ) -> subprocess.CompletedProcess[str]:
        ran = subprocess.run(
            [compiled("token-keeper"), *arguments],
            cwd=ROOT,
            env=environment(**(variables or self.outside.trusting)),
            input=typed,
            capture_output=True,
            text=True,
        )
        assert ran.returncode == ends, f"token-keeper {arguments[0]} ended with {ran.returncode}:\n{ran.stdout}{ran.stderr}"
        self.printed += ran.stdout + ran.stderr
        return ran


def says(promise: str, text: str, *parts: str) -> None:
    """Checks that the text has all parts. cargo-lambda wraps it and draws a line beside it."""
    said = " ".join(text.replace("│", " ").split())
    check(promise, [part for part in parts if part not in said], [])


if __name__ == "__main__":
    sys.exit(tell(lambda programs: Story(programs).steps()))
