"""Stands between programs and their AWS, hands everything on, and writes down who called what, in IAM's words.

Who called is told by the access key, so each program is given one of its own. A story's calls are in a file with the story's name; what
IAM makes of them is in policies.py.
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

from processes import build_directory

CALLS = build_directory().parent / "calls"
ACCOUNT = "123456789012"
REGION = "eu-central-1"
SECRET_SUFFIX = "-AbCdEf"
"""Six random characters that Secrets Manager appends to a name in the ARN."""

REFRESHER, CALLBACK, OPERATOR, CONSUMER = "AKIDREFRESHER", "AKIDCALLBACK", "AKIDOPERATOR", "AKIDCONSUMER"
"""Access keys: who calls."""


def needed(service: str, operation: str, request: dict[str, Any], answer: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """The actions and resources that IAM asks for at this call, by the services' authorization references."""
    if service == "secretsmanager":
        if operation == "BatchGetSecretValue":
            # One for the call, one more to search, and one for each secret that is handed out.
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
            # A version's selector is no part of the parameter's ARN.
            plain = re.sub(r":\d+$", "", name).strip("/")
            yield f"ssm:{operation}", f"arn:aws:ssm:{REGION}:{ACCOUNT}:parameter/{plain}"
    elif service == "AmazonSQS":
        queue = request["QueueUrl"].rsplit("/", 1)[1]
        yield f"sqs:{operation.removesuffix('Batch')}", f"arn:aws:sqs:{REGION}:{ACCOUNT}:{queue}"
    else:
        raise ValueError(f"nothing is known of {service}.{operation}")


def secret_arn(secret: str) -> str:
    name = re.sub(r"-\w{6}$", "", secret.split(":secret:")[1]) if secret.startswith("arn:") else secret
    return f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:{name}{SECRET_SUFFIX}"


def recorded(programs: ExitStack, url: str) -> str:
    """Another URL for this AWS, by which calls are written down."""
    CALLS.mkdir(parents=True, exist_ok=True)
    file = programs.enter_context(open(CALLS / f"{Path(sys.argv[0]).stem}.jsonl", "w"))
    lock = Lock()
    address = urlsplit(url)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            connection = http.client.HTTPConnection(address.netloc)
            connection.request("POST", self.path, body, dict(self.headers))
            answer = connection.getresponse()
            content = answer.read()
            self.write_down(body, content)
            self.send_response(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in ("connection", "content-length", "date", "server", "transfer-encoding"):
                    self.send_header(name, value)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)
            connection.close()

        def write_down(self, body: bytes, content: bytes) -> None:
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
