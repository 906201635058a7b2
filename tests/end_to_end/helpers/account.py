"""An AWS account on loopback. ministack plays AWS, as mended_ministack.py changes it.

Functions run as processes of this machine.
"""

from __future__ import annotations

import subprocess
import time
from contextlib import ExitStack
from typing import Any, Callable, Optional, TypeVar

import boto3

from helpers.processes import (
    MINISTACK_TOOLS,
    ROOT,
    SAM_TOOLS,
    TOOLS,
    Program,
    build_directory,
    environment,
    free_port,
)

T = TypeVar("T")

REGION = "eu-central-1"
HAPPENS_WITHIN_S = 120.0
"""How long the account may take to do something. The schedule fires each minute."""
POLL_S = 0.5


class Account:
    def __init__(self, programs: ExitStack) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        settings = {
            "AWS_ENDPOINT_URL": self.url,  # The functions get it too.
            "BIND_HOST": "127.0.0.1",
            "GATEWAY_PORT": str(self.port),
            "IOT_MTLS_ENABLED": "0",
            "MINISTACK_REGION": REGION,
        }
        command = [str(MINISTACK_TOOLS / "python"), "tests/end_to_end/helpers/mended_ministack.py"]
        self._program = programs.enter_context(Program(command, environment(**settings)))
        self._program.wait_for_port(self.port)
        self.variables = {
            "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
            "AWS_CONFIG_FILE": "/dev/null",
            "AWS_DEFAULT_REGION": REGION,
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_ENDPOINT_URL": self.url,
            "AWS_PAGER": "",
            "AWS_REGION": REGION,
            "AWS_SECRET_ACCESS_KEY": "not-a-secret",
            "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
            "SAM_CLI_TELEMETRY": "0",
        }
        self._session = boto3.Session(
            aws_access_key_id="AKIDEXAMPLE", aws_secret_access_key="not-a-secret", region_name=REGION
        )

    def client(self, service: str, region: str = REGION) -> Any:
        return self._session.client(service, region, endpoint_url=self.url)

    def type_in(self, commands: str, **variables: str) -> str:
        """Runs commands in bash, with this account in the environment and all tools on the path."""
        env = environment(**self.variables, **variables)
        env["PATH"] = f"{TOOLS}:{SAM_TOOLS}:{build_directory()}:{env['PATH']}"
        shell = ["bash", "-euo", "pipefail", "-c", commands]
        ran = subprocess.run(shell, cwd=ROOT, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        assert ran.returncode == 0, f"ended with {ran.returncode}: {commands}\n{ran.stdout}{ran.stderr}"
        return ran.stdout

    def wait_until(self, what: str, so: Callable[[], Optional[T]]) -> T:
        """Calls `so` until it returns something."""
        deadline = time.monotonic() + HAPPENS_WITHIN_S
        while True:
            answer = so()
            if answer is not None:
                return answer
            assert time.monotonic() < deadline, f"{what}: not within {HAPPENS_WITHIN_S:.0f} s"
            time.sleep(POLL_S)

    def log(self, function: str) -> list[str]:
        group = f"/aws/lambda/{function}"
        return [event["message"] for event in everything(self.client("logs"), "filter_log_events", "events", logGroupName=group)]


def everything(client: Any, operation: str, field: str, **arguments: Any) -> list[Any]:
    """The items of all pages."""
    pages = client.get_paginator(operation).paginate(**arguments)
    return [item for page in pages for item in page[field]]
