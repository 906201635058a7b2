"""A proxy between programs and their AWS. It records who called what, in the words of IAM.

The access key shows who called, so each program gets a different one. Each story has a file with
its calls. policies.py checks these calls against the policies.
"""

from __future__ import annotations

import http.client
import json
import re
import sys
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock, Thread
from typing import Any, Iterator
from urllib.parse import urlsplit

from helpers.processes import build_directory

CALLS = build_directory().parent / "calls"
ACCOUNT = "123456789012"
REGION = "eu-central-1"
SECRET_SUFFIX = "-AbCdEf"
"""Secrets Manager appends six random characters to the name in an ARN."""

REFRESHER, CALLBACK, OPERATOR, CONSUMER = "AKIDREFRESHER", "AKIDCALLBACK", "AKIDOPERATOR", "AKIDCONSUMER"
ROTATING = "AKIDROTATING"
"""The access key of each caller. `ROTATING` is the refresher with RotatingProviders=true."""


def needed(service: str, operation: str, request: dict[str, Any], answer: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """The actions and resources that IAM checks, by the services' authorization references."""
    if service == "secretsmanager":
        if operation == "BatchGetSecretValue":
            # One for the call, one more with filters, and one for each secret in the answer.
            yield "secretsmanager:BatchGetSecretValue", "*"
            if "Filters" in request:
                yield "secretsmanager:ListSecrets", "*"
            for secret in answer.get("SecretValues", []):
                yield "secretsmanager:GetSecretValue", secret_arn(secret["Name"])
        elif operation == "ListSecrets":
            yield "secretsmanager:ListSecrets", "*"
        else:
            yield f"secretsmanager:{operation}", secret_arn(request.get("SecretId") or request["Name"])
    elif service == "AmazonSSM":
        for name in request.get("Names") or [request.get("Name") or request["Path"]]:
            # The ARN does not contain the version that follows the colon.
            plain = re.sub(r":\d+$", "", name).strip("/")
            yield f"ssm:{operation}", f"arn:aws:ssm:{REGION}:{ACCOUNT}:parameter/{plain}"
    elif service == "AmazonSQS":
        queue = request["QueueUrl"].rsplit("/", 1)[1]
        yield f"sqs:{operation.removesuffix('Batch')}", f"arn:aws:sqs:{REGION}:{ACCOUNT}:{queue}"
    else:
        raise ValueError(f"no IAM actions known for {service}.{operation}")


def secret_arn(secret: str) -> str:
    name = re.sub(r"-\w{6}$", "", secret.split(":secret:")[1]) if secret.startswith("arn:") else secret
    return f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:{name}{SECRET_SUFFIX}"


def recorded(programs: ExitStack, url: str, sqs: str = "") -> str:
    """Another URL for this AWS, or for one whose SQS is elsewhere. Calls to it are recorded."""
    CALLS.mkdir(parents=True, exist_ok=True)
    file = programs.enter_context(open(CALLS / f"{Path(sys.argv[0]).stem}.jsonl", "w"))
    lock = Lock()
    addresses = {"AmazonSQS": urlsplit(sqs or url).netloc}

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        # Else each answer's body waits for the acknowledgement of its head.
        disable_nagle_algorithm = True

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            service = self.headers["x-amz-target"].split(".")[0]
            connection = http.client.HTTPConnection(addresses.get(service, urlsplit(url).netloc))
            connection.request("POST", self.path, body, dict(self.headers))
            answer = connection.getresponse()
            content = answer.read()
            self.record(body, content)
            self.send_response(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in ("connection", "content-length", "date", "server", "transfer-encoding"):
                    self.send_header(name, value)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)
            connection.close()

        def record(self, body: bytes, content: bytes) -> None:
            service, operation = self.headers["x-amz-target"].split(".")
            [who] = re.findall(r"Credential=(\w+)/", self.headers["authorization"])
            with lock:
                for action, resource in needed(service, operation, json.loads(body), json.loads(content or b"{}")):
                    print(json.dumps([who, action, resource]), file=file, flush=True)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    programs.callback(server.shutdown)
    Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_port}"
