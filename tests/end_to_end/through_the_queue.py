"""Many connections go through a queue, within AWS's quotas for puts.

The quotas are those of the higher-throughput setting.

Real: two instances of the refresher, cargo-lambda's Runtime API, SQS's wire protocol.
Played: Zoho and AWS by the stand-ins program, Lambda's work between queue and function by this
file. It receives messages, invokes the function with them, and deletes those that the answer does
not name.

    through_the_queue.py [CONNECTIONS]

Ten thousand connections take seventeen minutes, at ten puts a second.
"""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from math import ceil
from threading import Lock
from typing import Any, Callable

import boto3
from botocore.config import Config

from helpers.checks import check, instant, tell
from helpers.installation import PREFIX, REGION, Function, Zoho
from helpers.processes import ROOT, free_port

CONNECTIONS = int(sys.argv[1]) if len(sys.argv) > 1 else 600
CHUNK = 100
INSTANCES = 2
POLLERS = 3
"""More than instances. Lambda's pollers too can outnumber the instances, while one starts."""
MOST_MESSAGES = 4
"""Events have from one to this many messages."""
DOUBLED = 5
"""Every fifth event is delivered twice."""
ZOHO_LATENCY_MS = 20
VISIBILITY_TIMEOUT_S = 300
FEW_REFUSED = 1.25
"""The most puts for each connection: one succeeds, and some come too early and are refused."""
QUOTAS = "higher"
"""AWS's quotas for an account with the higher throughput: ten puts a second."""
PUTS_A_SECOND = 10


class Story:
    """The steps in their order. Each needs those before."""

    def __init__(self, programs: ExitStack) -> None:
        port = free_port()
        self.zoho = Zoho(programs, f"http://localhost:{port}/callback", CONNECTIONS, ZOHO_LATENCY_MS, "--quotas", QUOTAS)
        self.names = [f"conn-{number:05}" for number in range(1, CONNECTIONS + 1)]
        keys = {"aws_access_key_id": "AKIDEXAMPLE", "aws_secret_access_key": "not-a-secret", "region_name": REGION}
        session = boto3.Session(**keys)
        patient = Config(read_timeout=VISIBILITY_TIMEOUT_S, retries={"max_attempts": 0}, max_pool_connections=POLLERS)
        self.sqs = session.client("sqs", endpoint_url=self.zoho.aws, config=patient)
        self.parameters = session.client("ssm", endpoint_url=self.zoho.aws)
        self.queue: str = self.sqs.create_queue(QueueName=PREFIX)["QueueUrl"]
        variables = {
            "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
            "AWS_ENDPOINT_URL": self.zoho.aws,
            "AWS_LAMBDA_LOG_LEVEL": "DEBUG",
            "AWS_REGION": REGION,
            "AWS_SECRET_ACCESS_KEY": "not-a-secret",
            "TOKEN_KEEPER_DATA_CENTERS": self.zoho.data_centers,
            "TOKEN_KEEPER_QUEUE_URL": self.queue,
        }
        self.function = Function(programs, "refresher", port, [], variables)
        self.function.start(INSTANCES)
        self.lambda_ = session.client("lambda", endpoint_url=self.function.url, config=patient)
        self.lock = Lock()
        self.events = 0
        self.doubled: list[str] = []
        self.deleted: list[str] = []
        self.seconds: dict[str, float] = {}

    def steps(self) -> list[Callable[[], None]]:
        return [
            self.a_scheduled_run_queues_every_name,
            self.the_queue_is_worked,
            self.nothing_was_forgotten_and_nothing_minted_twice,
            self.what_it_took,
        ]

    def a_scheduled_run_queues_every_name(self) -> None:
        """events/schedule.json: all names go to the queue"""
        setting_up = self.zoho.calls()
        started = time.monotonic()
        report = self.invoke(json.loads((ROOT / "events" / "schedule.json").read_text()))
        self.seconds["dispatch"] = time.monotonic() - started
        found = (report["queued"], report["connections"], report["outcomes"], report["min_remaining_s"])
        check("the run queues all connections and looks at none", found, (CONNECTIONS, 0, [], None))
        calls = Counter(self.zoho.calls())
        calls.subtract(setting_up)
        chunks = ceil(CONNECTIONS / CHUNK)
        wanted = {"secretsmanager ListSecrets": ceil(CONNECTIONS / 100), "sqs SendMessageBatch": ceil(chunks / 10)}
        check("it lists names, sends messages, and does nothing else", dict(+calls), wanted)

    def the_queue_is_worked(self) -> None:
        """The queue delivers the messages, some of them twice"""
        started = time.monotonic()
        with ThreadPoolExecutor(POLLERS) as pollers:
            for poller in [pollers.submit(self.poll) for _ in range(POLLERS)]:
                poller.result()
        self.seconds["work"] = time.monotonic() - started
        check("every message is done once", (len(self.deleted), len(set(self.deleted))), (ceil(CONNECTIONS / CHUNK),) * 2)
        left = self.sqs.receive_message(QueueUrl=self.queue, VisibilityTimeout=0)
        check("the queue is empty", left.get("Messages", []), [])
        check("some messages came twice", len(self.doubled) > 0)

    def nothing_was_forgotten_and_nothing_minted_twice(self) -> None:
        """No connection is forgotten, and no token minted twice"""
        puts = self.zoho.calls()["ssm PutParameter"]
        check("AWS refused few puts until the pace was right", puts < FEW_REFUSED * CONNECTIONS)
        check("Zoho minted once for each connection, so no token was lost", self.zoho.times_asked(), CONNECTIONS)
        started = time.monotonic()
        pages = self.parameters.get_paginator("get_parameters_by_path")
        pages = pages.paginate(Path=f"/{PREFIX}/tokens", WithDecryption=True)
        leases = {parameter["Name"].split("/")[-1]: parameter for page in pages for parameter in page["Parameters"]}
        self.seconds["reading all"] = time.monotonic() - started
        check("each connection has a lease", sorted(leases), self.names)
        check("each was written once", {lease["Version"] for lease in leases.values()}, {1})
        documents = [json.loads(lease["Value"]) for lease in leases.values()]
        check("each is active", {document["status"] for document in documents}, {"active"})
        lives = [instant(document["expires_at"]) - instant(document["issued_at"]) for document in documents]
        check("each token lives for an hour", {life.total_seconds() for life in lives}, {3600.0})
        check("all are different", len({document["access_token"] for document in documents}), CONNECTIONS)
        lines = [json.loads(line) for line in self.function.stdout().splitlines()]
        done = [line["connection"] for line in lines if line.get("message") == "connection done"]
        check("the log has each connection once, as refreshed", sorted(done), self.names)
        metrics = [line for line in lines if "_aws" in line]
        check("the metrics say the same", sum(line["Refreshed"] for line in metrics), CONNECTIONS)
        check("one run reports what it queued", [line["Queued"] for line in metrics if "Queued" in line], [CONNECTIONS])
        twice = sum(line["Connections"] for line in metrics) - CONNECTIONS
        check("connections that came twice were fresh", twice, CHUNK * len(self.doubled))
        trouble = [line for line in lines if line.get("level") in ("WARN", "ERROR")]
        check("the log has no warning and no error", trouble, [])

    def what_it_took(self) -> None:
        """What it took"""
        for operation, times in sorted(self.zoho.calls().items()):
            print(f"  {times:6}  {operation}")
        print(f"  {self.events:6}  events, {POLLERS} at a time; {len(self.doubled)} messages came twice")
        print(f"  {CONNECTIONS / PUTS_A_SECOND:6.1f}  seconds: what the puts take by the quota alone")
        for what, seconds in self.seconds.items():
            print(f"  {seconds:6.1f}  seconds: {what}")

    def poll(self) -> None:
        """Receives, invokes and deletes, until the queue is empty."""
        while True:
            with self.lock:
                number, self.events = self.events, self.events + 1
            received = self.sqs.receive_message(
                QueueUrl=self.queue,
                MaxNumberOfMessages=1 + number % MOST_MESSAGES,
                VisibilityTimeout=VISIBILITY_TIMEOUT_S,
            )
            messages = received.get("Messages", [])
            if not messages:
                with self.lock:
                    self.events -= 1
                return
            again = self.work(messages)
            if number % DOUBLED == 0:
                again |= self.work(messages)
                with self.lock:
                    self.doubled += [message["MessageId"] for message in messages]
            done = [message for message in messages if message["MessageId"] not in again]
            entries = [{"Id": str(number), "ReceiptHandle": message["ReceiptHandle"]} for number, message in enumerate(done)]
            answer = self.sqs.delete_message_batch(QueueUrl=self.queue, Entries=entries)
            assert not answer.get("Failed"), answer
            with self.lock:
                self.deleted += [message["MessageId"] for message in done]

    def work(self, messages: list[dict[str, Any]]) -> set[str]:
        """Invokes with the messages. Returns the ids of those that come again."""
        records = [
            {
                "messageId": message["MessageId"],
                "receiptHandle": message["ReceiptHandle"],
                "body": message["Body"],
                "attributes": {},
                "messageAttributes": {},
                "eventSource": "aws:sqs",
                "eventSourceARN": f"arn:aws:sqs:{REGION}:123456789012:{PREFIX}",
                "awsRegion": REGION,
            }
            for message in messages
        ]
        failures = self.invoke({"Records": records})["batchItemFailures"]
        return {failure["itemIdentifier"] for failure in failures}

    def invoke(self, event: dict[str, Any]) -> dict[str, Any]:
        answer = self.lambda_.invoke(FunctionName="refresher", Payload=json.dumps(event))
        payload = answer["Payload"].read().decode()
        assert "FunctionError" not in answer and answer["StatusCode"] == 200, payload
        report: dict[str, Any] = json.loads(payload)
        return report


if __name__ == "__main__":
    sys.exit(tell(lambda programs: Story(programs).steps()))
