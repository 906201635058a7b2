"""One installation on loopback, with one compiled function and an operator.

moto plays AWS, the stand-ins program plays Zoho, cargo-lambda has the Runtime API.
"""

from __future__ import annotations

import json
import subprocess
import urllib.parse
import urllib.request
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Iterator, Optional

import boto3

from helpers import certificate, recorder
from helpers.processes import ROOT, Program, build_directory, environment, free_port, start_moto

PREFIX = "token-keeper"
REGION = "eu-central-1"
ANSWERED_WITHIN_S = 60.0


def compiled(program: str) -> str:
    return str(build_directory() / program)


@dataclass
class Invocation:
    """What `cargo lambda invoke` printed, and whether the function succeeded."""

    done: bool
    text: str

    def answer(self) -> Any:
        assert self.done, f"the function failed:\n{self.text}"
        return json.loads(self.text)


class Zoho:
    """The stand-ins program. Most stories use only its Zoho."""

    def __init__(
        self, programs: ExitStack, redirect_uri: str, connections: int = 12, latency_ms: int = 0, *options: str
    ) -> None:
        command = [compiled("stand-ins"), "--connections", str(connections), "--redirect-uri", redirect_uri]
        command += ["--zoho-latency-ms", str(latency_ms), *options]
        self._program = programs.enter_context(Program(command, environment()))
        self._lines_read = 0
        about = json.loads(self._next_line())
        self.aws: str = about["aws"]
        self.data_centers: str = about["data_centers"]
        self.accounts: dict[str, str] = dict(entry.split("=", 1) for entry in self.data_centers.split(","))
        self.client_id: str = about["client_id"]
        self.client_secret: str = about["client_secret"]
        self.self_client_id: str = about["self_client_id"]
        self.device_client_id: str = about["device_client_id"]
        self._grants: list[dict[str, str]] = about["connections"]
        self.refresh_tokens = [grant["refresh_token"] for grant in self._grants]

    def _next_line(self) -> str:
        line = self._program.wait_for_line(self._lines_read)
        self._lines_read += 1
        return line

    def consent(self, data_center: str) -> str:
        """A refresh token. Each call returns another one."""
        grant = next(grant for grant in self._grants if grant["data_center"] == data_center)
        self._grants.remove(grant)
        return grant["refresh_token"]

    def remove_app(self, data_center: str, refresh_token: str) -> None:
        """The owner of the account removes the app. This kills the refresh token."""
        form = urllib.parse.urlencode({"token": refresh_token}).encode()
        with urllib.request.urlopen(f"{self.accounts[data_center]}/oauth/v2/token/revoke", form) as answer:
            assert answer.status == 200

    def times_asked(self, operation: str = "refresh_token") -> int:
        """How many requests of this kind Zoho got so far; by default, for an access token."""
        return self.calls().get(f"zoho {operation}", 0)

    def calls(self) -> dict[str, int]:
        """How often each operation of Zoho and AWS was called: `{"zoho refresh_token": 3, …}`"""
        self._program.write_line()
        counts: dict[str, int] = json.loads(self._next_line())
        return counts

    def knows(self, token: str) -> bool:
        """Whether this refresh or access token is alive."""
        self._program.write_line(token)
        lives: bool = json.loads(self._next_line())
        return lives


class Function:
    """A compiled function, started as Lambda starts it."""

    def __init__(self, programs: ExitStack, name: str, port: int, tls: list[str], variables: dict[str, str]) -> None:
        self._name = name
        # With HTTPS on this port, cargo-lambda serves its own API on the next one.
        self._port = port + 1 if tls else port
        self.url = f"http://127.0.0.1:{self._port}"
        # `--only-lambda-apis`, because the function is compiled already.
        watch = ["cargo", "lambda", "watch", "--only-lambda-apis"]
        watch += ["--invoke-address", "127.0.0.1", "--invoke-port", str(port), *tls]
        api = programs.enter_context(Program(watch, environment()))
        api.wait_for_port(self._port)
        api.wait_for_port(port)
        self._programs = programs
        self._variables = {
            **variables,
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "128",
            "AWS_LAMBDA_FUNCTION_NAME": name,
            "AWS_LAMBDA_FUNCTION_VERSION": "1",
            "AWS_LAMBDA_RUNTIME_API": f"{self.url}/.rt/{name}",
        }
        self._instances: list[Program] = []
        self.answers = ""
        self.start()

    def start(self, instances: int = 1, **variables: str) -> None:
        """Stops the instances and starts new ones, with these settings added."""
        for instance in self._instances:
            instance.stop()
        for _ in range(instances):
            program = Program([compiled(self._name)], environment(**{**self._variables, **variables}))
            self._instances.append(self._programs.enter_context(program))

    def invoke_file(self, name: str) -> Invocation:
        return self._invoke("--data-file", f"events/{name}.json")

    def invoke_text(self, event: Any) -> Invocation:
        return self._invoke("--data-ascii", json.dumps(event))

    def _invoke(self, *data: str) -> Invocation:
        command = ["cargo", "lambda", "invoke", self._name, *data]
        command += ["--invoke-address", "127.0.0.1", "--invoke-port", str(self._port)]
        ran = subprocess.run(
            command, cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=ANSWERED_WITHIN_S
        )
        self.answers += ran.stdout + ran.stderr
        return Invocation(done=ran.returncode == 0, text=ran.stdout if ran.returncode == 0 else ran.stdout + ran.stderr)

    def stdout(self) -> str:
        return "".join(instance.stdout() for instance in self._instances)

    def stderr(self) -> str:
        return "".join(instance.stderr() for instance in self._instances)


class Installation:
    def __init__(
        self, programs: ExitStack, function: str = "refresher", callback: Optional[str] = None, **variables: str
    ) -> None:
        self._programs = programs
        moto, url = start_moto()
        programs.enter_context(moto)
        # The recorder sees the programs' calls. The test itself calls moto directly.
        self._account = account = {
            "AWS_CONFIG_FILE": "/dev/null",
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_ENDPOINT_URL": recorder.recorded(programs, url),
            "AWS_REGION": REGION,
            "AWS_SECRET_ACCESS_KEY": "not-a-secret",
            "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
        }
        session = boto3.Session(
            aws_access_key_id="AKIDEXAMPLE", aws_secret_access_key="not-a-secret", region_name=REGION
        )
        self.secrets = session.client("secretsmanager", endpoint_url=url)
        self.parameters = session.client("ssm", endpoint_url=url)
        self._sqs = session.client("sqs", endpoint_url=url)
        port = free_port()
        tls = certificate.cargo_lambda_options(programs) if function == "callback" else []
        # Zoho is at 127.0.0.1. To a browser these are two different sites, as in reality.
        self.url = f"https://localhost:{port}/lambda-url/{function}"
        self.callback = callback or self.url
        self.zoho = Zoho(programs, f"{self.callback}/callback")
        self._reader = {**account, "AWS_ACCESS_KEY_ID": recorder.CONSUMER}
        self.variables = {**account, "AWS_ACCESS_KEY_ID": recorder.OPERATOR, "TOKEN_KEEPER_DATA_CENTERS": self.zoho.data_centers, **variables}
        self.function = self.start(function, port, tls)

    def start(self, function: str, port: int, tls: list[str]) -> Function:
        key = {"refresher": recorder.REFRESHER, "callback": recorder.CALLBACK}[function]
        variables = {**self.variables, "AWS_ACCESS_KEY_ID": key, "TOKEN_KEEPER_CALLBACK_URL": self.callback}
        return Function(self._programs, function, port, tls, variables)

    def queue(self, name: str) -> str:
        """Makes a queue. Returns the URL that programs use."""
        url: str = self._sqs.create_queue(QueueName=name)["QueueUrl"]
        return f"{self._account['AWS_ENDPOINT_URL']}{urllib.parse.urlsplit(url).path}"

    def create_secret(self, name: str, value: dict[str, Any]) -> None:
        self.secrets.create_secret(Name=f"{PREFIX}/{name}", SecretString=json.dumps(value))

    def replace_secret(self, name: str, value: dict[str, Any]) -> None:
        self.secrets.put_secret_value(SecretId=f"{PREFIX}/{name}", SecretString=json.dumps(value))

    def secret(self, name: str) -> dict[str, Any]:
        value: dict[str, Any] = json.loads(self.secrets.get_secret_value(SecretId=f"{PREFIX}/{name}")["SecretString"])
        return value

    def secret_version(self, name: str) -> str:
        version: str = self.secrets.get_secret_value(SecretId=f"{PREFIX}/{name}")["VersionId"]
        return version

    def parameter(self, name: str) -> Optional[dict[str, Any]]:
        """The answer of SSM, decrypted. `None` if the parameter does not exist."""
        try:
            found: dict[str, Any] = self.parameters.get_parameter(Name=f"/{PREFIX}/{name}", WithDecryption=True)
        except self.parameters.exceptions.ParameterNotFound:
            return None
        return found["Parameter"]

    def lease(self, connection: str) -> dict[str, Any]:
        """The document that consumers of this connection read."""
        parameter = self.parameter(f"tokens/{connection}")
        assert parameter, f"there is no lease for {connection}"
        document: dict[str, Any] = json.loads(parameter["Value"])
        return document

    def versions(self) -> dict[str, int]:
        """The version of each parameter. It counts the writes."""
        found = self.parameters.get_paginator("get_parameters_by_path").paginate(Path=f"/{PREFIX}", Recursive=True)
        return {parameter["Name"]: parameter["Version"] for page in found for parameter in page["Parameters"]}

    def history(self) -> list[str]:
        """Every value that a parameter ever had, of all parameters."""
        pages = self.parameters.get_paginator("get_parameter_history")
        values = []
        for name in self.versions():
            for page in pages.paginate(Name=name, WithDecryption=True):
                values += [version["Value"] for version in page["Parameters"]]
        return values

    @contextmanager
    def connect_local(self, *arguments: str) -> Iterator[tuple[Program, str]]:
        """Runs `connect --local`, which must succeed. Yields the program and its link."""
        command = [compiled("token-keeper"), "connect", *arguments, "--local", "--callback-url", self.callback]
        with Program(command, environment(**self.variables)) as program:
            link = lambda: next((line.strip() for line in program.stdout().splitlines() if "ticket=" in line), None)
            yield program, program.wait_for("link", link)
            assert program.ended() == 0, f"token-keeper connect {arguments[0]} failed"

    def read_with_the_cli(self, name: str) -> str:
        """The value of a parameter, as the AWS command line prints it."""
        query = ["--with-decryption", "--query", "Parameter.Value", "--output", "text"]
        ran = subprocess.run(
            ["aws", "ssm", "get-parameter", "--name", f"/{PREFIX}/{name}", *query],
            cwd=ROOT,
            env=environment(AWS_DEFAULT_REGION=REGION, **self._reader),
            capture_output=True,
            text=True,
            timeout=ANSWERED_WITHIN_S,
        )
        assert ran.returncode == 0, ran.stderr
        return ran.stdout.removesuffix("\n")
