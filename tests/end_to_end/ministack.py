"""An AWS account on loopback, by ministack: what the stack needs of it, and the three things that it lacks.

Parameter Store's events, CloudWatch's reading of metrics from logs, and numbers as numbers in a nested stack are made good here, by the
facts that ministack does keep. Functions run as processes of this machine's kind.
"""

from __future__ import annotations

import json
import subprocess
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Callable, Optional, TypeVar

import boto3
from processes import MINISTACK_TOOLS, ROOT, SAM_TOOLS, TOOLS, Program, environment, free_port

T = TypeVar("T")

REGION = "eu-central-1"
HAPPENS_WITHIN_S = 120.0
"""How long the account may take until something is so: the schedule's minute, and as much again."""
POLL_S = 0.5


class Account:
    def __init__(self, programs: ExitStack) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        settings = {
            "AWS_ENDPOINT_URL": self.url,  # which the functions get as well
            "BIND_HOST": "127.0.0.1",
            "GATEWAY_PORT": str(self.port),
            "IOT_MTLS_ENABLED": "0",
            "MINISTACK_REGION": REGION,
        }
        self._program = programs.enter_context(Program([str(MINISTACK_TOOLS / "ministack")], environment(**settings)))
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
        self._forwarded: set[tuple[str, int]] = set()
        self._metered: set[str] = set()

    def client(self, service: str) -> Any:
        return self._session.client(service, endpoint_url=self.url)

    def run(self, *command: Any, **variables: str) -> str:
        """What a tool prints that finds this account in its environment."""
        env = environment(**self.variables, **variables)
        env["PATH"] = f"{TOOLS}:{SAM_TOOLS}:{env['PATH']}"
        words = [str(word) for word in command]
        ran = subprocess.run(words, cwd=ROOT, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        assert ran.returncode == 0, f"{' '.join(words[:3])} ended with {ran.returncode}:\n{ran.stdout}{ran.stderr}"
        return ran.stdout

    def wait_until(self, what: str, so: Callable[[], Optional[T]]) -> T:
        """Asks again and again until the answer is something."""
        deadline = time.monotonic() + HAPPENS_WITHIN_S
        while True:
            answer = so()
            if answer is not None:
                return answer
            assert time.monotonic() < deadline, f"{what}: not within {HAPPENS_WITHIN_S:.0f} s"
            time.sleep(POLL_S)

    def number_the_concurrency(self, function: str) -> None:
        """ministack hands a nested stack's number on as text, over which its own poller of the queue stumbles."""
        mappings = self.client("lambda").list_event_source_mappings(FunctionName=function)["EventSourceMappings"]
        for mapping in mappings:
            concurrency = int(mapping["ScalingConfig"]["MaximumConcurrency"])
            self.client("lambda").update_event_source_mapping(
                UUID=mapping["UUID"], ScalingConfig={"MaximumConcurrency": concurrency}
            )

    def forward_parameter_events(self) -> None:
        """What Parameter Store tells EventBridge about each writing, which ministack does not."""
        ssm, events = self.client("ssm"), self.client("events")
        for parameter in everything(ssm, "describe_parameters", "Parameters"):
            for version in everything(ssm, "get_parameter_history", "Parameters", Name=parameter["Name"]):
                written = (version["Name"], version["Version"])
                if written in self._forwarded:
                    continue
                self._forwarded.add(written)
                detail = {
                    "operation": "Create" if version["Version"] == 1 else "Update",
                    "name": version["Name"],
                    "type": version["Type"],
                    "description": version.get("Description", ""),
                }
                entry = {"Source": "aws.ssm", "DetailType": "Parameter Store Change", "Detail": json.dumps(detail)}
                events.put_events(Entries=[entry])

    def log(self, function: str) -> list[str]:
        group = f"/aws/lambda/{function}"
        return [event["message"] for event in everything(self.client("logs"), "filter_log_events", "events", logGroupName=group)]

    def meter_the_log(self, function: str) -> int:
        """What CloudWatch does with lines in the embedded metric format, which ministack does not; how many it were."""
        metrics = 0
        for line in self.log(function):
            if '"CloudWatchMetrics"' not in line or line in self._metered:
                continue
            self._metered.add(line)
            document = json.loads(line)
            for directive in document["_aws"]["CloudWatchMetrics"]:
                for names in directive["Dimensions"]:
                    dimensions = [{"Name": name, "Value": document[name]} for name in names]
                    data = [
                        {"MetricName": metric["Name"], "Dimensions": dimensions, "Value": document[metric["Name"]], "Unit": metric["Unit"]}
                        for metric in directive["Metrics"]
                    ]
                    self.client("cloudwatch").put_metric_data(Namespace=directive["Namespace"], MetricData=data)
                    metrics += len(data)
        return metrics


def everything(client: Any, operation: str, field: str, **arguments: Any) -> list[Any]:
    """All pages' items."""
    pages = client.get_paginator(operation).paginate(**arguments)
    return [item for page in pages for item in page[field]]


def build_directory() -> Path:
    """Where `sam build` puts what it builds for the test."""
    return ROOT / "target" / "sam"
