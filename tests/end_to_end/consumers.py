"""The programs of examples/consumers/, each as a process.

The stand-ins program plays AWS, moto its SQS, and this file a Zoho API. `token-keeper refresh` publishes the
document. Where a step needs another token, expiry or status, it replaces these fields.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
import uuid
from contextlib import ExitStack
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Callable, Optional

import boto3
import botocore.validate

from helpers import chromium, node, recorder
from helpers.checks import Mismatch, check, instant, leaked, tell
from helpers.installation import PREFIX, compiled
from helpers.processes import ROOT, Program, build_directory, environment, start_moto

EXAMPLES = ROOT / "examples" / "consumers"
NODE_HOME = ROOT / ".tools" / "consumers"
"""The Node example runs here. A module looks for its dependencies where it is."""
REGION = "eu-central-2"
"""For older Regions, version 1 of the AWS CLI has SQS's address built in and uses no other."""
CONNECTION = "crm-prod"
PARAMETER = f"/{PREFIX}/tokens/{CONNECTION}"
PATH = "/crm/v8/org"
PATHS = [PATH, "/crm/v8/users?type=CurrentUser"]
REDIRECTED, UNKNOWN = "/redirected", "/unknown"
OWN_HEADER = "x-amz-access-token"
"""A header of another provider, which takes the bare token."""
BODY = '{"org":[{"company_name":"Zylker"}]}'
ENDED_WITHIN_S = 60.0
KEPT_S = 300
"""How long a consumer may keep a document."""

PYTHON_LIBRARY = f"""
import sys, time
from concurrent.futures import ThreadPoolExecutor
sys.path.insert(0, {str(EXAMPLES)!r})
from consumer import Zoho
zoho, now = Zoho({CONNECTION!r}), time.time
for later in 0, int(sys.argv[1]):
    time.time = lambda: now() + later
    with ThreadPoolExecutor() as threads:
        list(threads.map(zoho.get, [{PATH!r}] * 4))
"""
NODE_LIBRARY = f"""
import {{ Zoho }} from "./consumer.mjs";
const zoho = new Zoho({CONNECTION!r}), now = Date.now;
for (const later of [0, Number(process.argv[1])]) {{
  Date.now = () => now() + 1000 * later;
  await Promise.all([1, 2, 3, 4].map(() => zoho.get({PATH!r})));
}}
"""


@dataclass
class Consumer:
    name: str
    command: list[str]
    keeps: bool = True
    """Whether it takes several paths and reads the document once for all of them."""
    library: Optional[list[str]] = None
    """A program that makes four calls at once, sets the clock forward, and makes four more.

    Its argument is by how many seconds.
    """


CONSUMERS = [
    Consumer("bash", ["bash", str(EXAMPLES / "consumer.sh")], keeps=False),
    Consumer("Python", [sys.executable, str(EXAMPLES / "consumer.py")], library=[sys.executable, "-c", PYTHON_LIBRARY]),
    Consumer("Node", ["node", "consumer.mjs"], library=["node", "--input-type=module", "--eval", NODE_LIBRARY]),
    Consumer("Rust", [compiled("examples/consumer")]),
]


@dataclass
class ZohoApi:
    """Plays a Zoho API: it accepts a token or refuses it. It keeps all calls."""

    accepts: set[str] = field(default_factory=set)
    code: str = "INVALID_TOKEN"
    """Zoho's code for a token that it refuses."""
    calls: list[tuple[str, Optional[str]]] = field(default_factory=list)
    meanwhile: Optional[Callable[[], None]] = None
    """Called once, while the next caller waits for the answer."""
    secrets: set[str] = field(default_factory=set)
    listed: int = 0
    """How many calls came while the list of processes showed a token."""

    def serve(self, programs: ExitStack) -> str:
        api = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                own = self.headers[OWN_HEADER]
                sent = f"{OWN_HEADER} {own}" if own else self.headers["Authorization"]
                status, body, headers = api.answer(self.path, sent)
                self.send_response(status)
                for name, value in {**headers, "Content-Length": str(len(body))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body.encode())

            def log_message(self, *_: object) -> None:
                pass

        server = programs.enter_context(ThreadingHTTPServer(("127.0.0.1", 0), Handler))
        programs.callback(server.shutdown)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{server.server_port}"
        return self.url

    def answer(self, path: str, authorization: Optional[str]) -> tuple[int, str, dict[str, str]]:
        self.calls.append((path, authorization))
        self.listed += bool(leaked(self.secrets, processes()))
        if self.meanwhile:
            now, self.meanwhile = self.meanwhile, None
            now()
        if path == REDIRECTED:
            return 302, "", {"Location": self.url.replace("127.0.0.1", "localhost") + PATH}
        if authorization not in {f"{word} {token}" for token in self.accepts for word in ("Zoho-oauthtoken", OWN_HEADER)}:
            # Zoho never repeats the token. Even if a server does, no log may get it.
            return 401, json.dumps({"code": self.code, "message": f"invalid: {authorization}"}), {}
        if path == UNKNOWN:
            return 404, json.dumps({"code": "INVALID_URL_PATTERN", "message": f"unknown: {authorization}"}), {}
        return 200, BODY, {}


def processes() -> str:
    """The arguments of all processes, as every user of the machine can see them.

    Only Linux has them as files.
    """
    listed = []
    for arguments in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            listed.append(arguments.read_text(errors="replace"))
        except OSError:
            pass  # It has ended.
    return "\n".join(listed)


def when(seconds_from_now: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + seconds_from_now))


class Story:
    def __init__(self, programs: ExitStack) -> None:
        self.api = ZohoApi()
        self.api.serve(programs)
        self.secrets = self.api.secrets
        self.stand_ins = programs.enter_context(Program([compiled("stand-ins"), "--connections", "2"], environment()))
        self.lines_read = 0
        self.about = self.ask()
        moto, sqs = start_moto()
        programs.enter_context(moto)
        aws = recorder.recorded(programs, self.about["aws"], sqs)
        account = {
            "AWS_ACCESS_KEY_ID": recorder.CONSUMER,
            "AWS_CONFIG_FILE": "/dev/null",
            "AWS_DEFAULT_REGION": REGION,  # for boto3 and the AWS CLI
            "AWS_REGION": REGION,  # for the other SDKs
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_ENDPOINT_URL": aws,
            "AWS_SECRET_ACCESS_KEY": "not-a-secret",
            "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
        }
        self.variables = environment(**account, PYTHONDONTWRITEBYTECODE="1")
        session = boto3.Session(
            aws_access_key_id="AKIDEXAMPLE", aws_secret_access_key="not-a-secret", region_name=REGION
        )
        self.aws = {name: session.client(name, endpoint_url=self.about["aws"]) for name in ("secretsmanager", "ssm")}
        self.sqs = session.client("sqs", endpoint_url=sqs)
        as_in_the_template = {"FifoQueue": "true", "ContentBasedDeduplication": "true"}
        queue = self.sqs.create_queue(QueueName=f"{PREFIX}-complaints.fifo", Attributes=as_in_the_template)["QueueUrl"]
        # Some SDKs send to this URL, others to the endpoint.
        self.complaints = {"COMPLAINTS_QUEUE_URL": f"{aws}/123456789012/{PREFIX}-complaints.fifo"}
        self.queue: str = queue
        self.document: dict[str, Any] = {}
        self.printed = ""

    def steps(self) -> list[Callable[[], None]]:
        return [self.tools, self.published, self.readme, *map(self.consumer, CONSUMERS), self.ecs, self.no_token_was_shown]

    def tools(self) -> None:
        """What the examples need"""
        missing = [program for program in ("jq", "curl") if not shutil.which(program)]
        if missing and chromium.can_install():
            print(f"installing {' and '.join(missing)} with apt-get", flush=True)
            for arguments in (["update"], ["install", "-y", "--no-install-recommends", *missing]):
                subprocess.run(["apt-get", "-qq", *arguments], stdout=subprocess.DEVNULL, check=False)
        missing = [name for name in ("jq", "curl", "aws", "node", "npm") if not shutil.which(name, path=self.variables["PATH"])]
        check("jq, curl, the AWS CLI, Node and npm are here (`make tools` installs the last three)", missing, [])
        node.install(EXAMPLES, NODE_HOME)
        shutil.copy(EXAMPLES / "consumer.mjs", NODE_HOME)
        check("Node's dependencies are installed as locked", (NODE_HOME / "node_modules" / "@aws-sdk").is_dir())

    def published(self) -> None:
        """A document and a bare token, from the compiled command"""
        grant = next(grant for grant in self.about["connections"] if grant["data_center"] == "eu")
        secret = {name: self.about[name] for name in ("client_id", "client_secret")}
        secret |= {name: grant[name] for name in ("refresh_token", "data_center")}
        self.aws["secretsmanager"].create_secret(
            Name=f"{PREFIX}/connections/{CONNECTION}", SecretString=json.dumps(secret)
        )
        settings = {"TOKEN_KEEPER_DATA_CENTERS": self.about["data_centers"], "TOKEN_KEEPER_PUBLISH": "document,plain"}
        ran = subprocess.run(
            [compiled("token-keeper"), "refresh", CONNECTION],
            env={**self.variables, **settings, "AWS_ACCESS_KEY_ID": recorder.OPERATOR},
            capture_output=True,
            text=True,
        )
        check("the refresh succeeds", (ran.returncode, ran.stderr), (0, ""))
        self.document = json.loads(self.parameter(PARAMETER))
        self.secrets.update([self.document["access_token"], secret["refresh_token"], secret["client_secret"]])
        check("the document is active", self.document["status"], "active")
        check("and has much life left", (instant(self.document["expires_at"]).timestamp() - time.time()) > 3000)
        self.document["api_domain"] = self.api.url

    def consumer(self, consumer: Consumer) -> Callable[[], None]:
        def step() -> None:
            self.calls(consumer)
            self.refusals(consumer)
            self.complains(consumer)
            self.dead_documents(consumer)
            self.mistakes(consumer)
            if consumer.keeps:
                self.keeping(consumer)
            if consumer.library:
                self.long_running(consumer.library)

        step.__doc__ = consumer.name
        return step

    # Each consumer does all of these.

    def calls(self, consumer: Consumer) -> None:
        token = self.publish()
        reads = self.reads()
        check("prints the answer of the API", self.run(consumer, PATH), BODY)
        check("it has sent the header from the document", self.called(), [(PATH, f"Zoho-oauthtoken {token}")])
        check("and has read the parameter once", self.reads() - reads, 1)
        token = self.publish(header=OWN_HEADER, token_type="Bearer")
        sent = [(PATH, f"{OWN_HEADER} {token}")]
        check("sends the bare token in a header that the document names", (self.run(consumer, PATH), self.called()), (BODY, sent))
        since = {"status": "consent_required", "error": "invalid_code", "since": when(-60)}
        token = self.publish(**since)
        check("uses a live token of a connection that needs a new consent", (self.run(consumer, PATH), self.sent()), (BODY, [token]))

    def refusals(self, consumer: Consumer) -> None:
        old = self.publish_refused()
        renewed: list[str] = []
        self.api.meanwhile = lambda: renewed.append(self.publish())
        check("after a 401, it uses the token that is there now", self.run(consumer, PATH), BODY)
        check("in one more call", self.sent(), [old, *renewed])
        token = self.publish_refused()
        reads = self.reads()
        remedy = ("token-keeper list", f"token-keeper refresh {CONNECTION} --force")
        self.fails(consumer, PATH, "HTTP 401 (INVALID_TOKEN)", PATH, *remedy)
        check("after two calls; before the second it has read the parameter again", (self.sent(), self.reads() - reads), ([token] * 2, 2))
        self.publish()
        self.fails(consumer, UNKNOWN, "HTTP 404 (INVALID_URL_PATTERN)", UNKNOWN)
        check("does not repeat a call after another refusal", len(self.called()), 1)
        self.fails(consumer, REDIRECTED, "HTTP 302")
        check("does not take its token to another host", len(self.called()), 1)

    def complains(self, consumer: Consumer) -> None:
        told = "Token Keeper has been told"
        for age_s in (200, 300):
            issued_at = when(-age_s)
            token = self.publish_refused(issued_at=issued_at)
            self.fails(consumer, PATH, "HTTP 401 (INVALID_TOKEN)", told, "token-keeper list", **self.complaints)
            check("  after two calls, as without a queue", self.sent(), [token] * 2)
            self.fails(consumer, PATH, told, **self.complaints)
            self.called()
            wanted = [(CONNECTION, {"connection": CONNECTION, "issued_at": issued_at})]
            check("  a second complaint is the same message; it names the document that was used", self.said(), wanted)
        self.api.code = "OAUTH_SCOPE_MISMATCH"
        self.fails(consumer, PATH, "HTTP 401 (OAUTH_SCOPE_MISMATCH)", f"token-keeper connect {CONNECTION} --scope", **self.complaints)
        self.api.code = "INVALID_TOKEN"
        self.api.meanwhile = lambda: self.publish() and None
        check("it does not complain if the second call works", self.run(consumer, PATH, **self.complaints), BODY)
        self.publish_refused()
        elsewhere = self.complaints["COMPLAINTS_QUEUE_URL"].replace(PREFIX, "elsewhere")
        self.fails(consumer, PATH, "HTTP 401", "token-keeper list", COMPLAINTS_QUEUE_URL=elsewhere)
        check("  nor for a scope; without the right to complain it says what Zoho said", self.said(), [])
        self.called()

    def said(self) -> list[tuple[str, Any]]:
        """The complaints since the last question, each with its group."""
        received = self.sqs.receive_message(QueueUrl=self.queue, MaxNumberOfMessages=10, AttributeNames=["MessageGroupId"])
        messages = received.get("Messages", [])
        for message in messages:
            self.sqs.delete_message(QueueUrl=self.queue, ReceiptHandle=message["ReceiptHandle"])
        return [(message["Attributes"]["MessageGroupId"], json.loads(message["Body"])) for message in messages]

    def dead_documents(self, consumer: Consumer) -> None:
        end = when(-5)
        self.publish(expires_at=end, status="consent_required", error="invalid_code", since=when(-60))
        self.fails(consumer, PATH, PARAMETER, end, "status consent_required", "error invalid_code", "token-keeper list")
        never = {"access_token": None, "issued_at": None, "expires_at": None}
        self.publish(**never, status="misconfigured", error="invalid_client", since=when(-60))
        self.fails(consumer, PATH, PARAMETER, "status misconfigured", "error invalid_client", "token-keeper list")
        self.put(self.publish())  # Not a document.
        self.fails(consumer, PATH, PARAMETER)
        check("sends the API no request without a live token", self.called(), [])

    def mistakes(self, consumer: Consumer) -> None:
        self.publish()
        elsewhere = f"/team/elsewhere/tokens/{CONNECTION}"
        wanted = (elsewhere, "ParameterNotFound", "token-keeper list", "ssm:GetParameter")
        self.fails(consumer, PATH, *wanted, TOKEN_KEEPER_PREFIX="team/elsewhere")
        self.fails(consumer, f"@{self.api.url.removeprefix('http://')}{PATH}")
        check("refuses a path that leads to another host", self.called(), [])

    def keeping(self, consumer: Consumer) -> None:
        token, reads = self.publish(), self.reads()
        check("prints two answers for two paths", self.run(consumer, *PATHS), f"{BODY}\n{BODY}")
        check("and reads the parameter once", (self.sent(), self.reads() - reads), ([token, token], 1))
        old, reads = self.publish_refused(), self.reads()
        renewed: list[str] = []
        self.api.meanwhile = lambda: renewed.append(self.publish())
        self.run(consumer, *PATHS)
        check("keeps the document that it has read after a 401", (self.sent(), self.reads() - reads), ([old, *renewed * 2], 2))
        last, reads = self.publish(expires_at=when(50)), self.reads()
        renewed = []
        self.api.meanwhile = lambda: renewed.append(self.publish())
        self.run(consumer, *PATHS)
        check("does not keep a token that ends within a minute", (self.sent(), self.reads() - reads), ([last, *renewed], 2))

    def long_running(self, program: list[str]) -> None:
        for later, readings in ((KEPT_S - 10, 1), (KEPT_S + 10, 2)):
            self.publish()
            reads = self.reads()
            ran = self.process([*program, str(later)])
            if ran.returncode != 0:
                print(ran.stderr, file=sys.stderr)
            check("as a library, it makes four calls at once, twice", (ran.returncode, len(self.called())), (0, 8))
            check(f"with {later} s between, it reads the parameter {readings} time{'s' * (readings > 1)}", self.reads() - reads, readings)

    def readme(self) -> None:
        """The README's commands"""
        shown = re.findall(r"^```sh\n(.*?)^```$", (ROOT / "README.md").read_text(), re.DOTALL | re.MULTILINE)
        [commands] = [block for block in shown if "ssm get-parameter" in block]
        token = self.publish()
        ran = self.process(["bash", "-euo", "pipefail", "-c", commands])
        check("they print what the API answers", (ran.returncode, ran.stdout), (0, BODY))
        check("having sent the header of the document", self.called(), [(PATH, f"Zoho-oauthtoken {token}")])
        [piped] = [block for block in shown if "curl -H @-" in block]
        command = piped.replace("https://www.zohoapis.eu", self.api.url)
        path = os.pathsep.join([str(build_directory()), self.variables["PATH"]])
        ran = self.process(["bash", "-euo", "pipefail", "-c", command], PATH=path, AWS_ACCESS_KEY_ID=recorder.OPERATOR)
        check("token-keeper's header prints the same", (ran.returncode, ran.stdout), (0, BODY))
        check("having sent the same header", self.called(), [(PATH, f"Zoho-oauthtoken {token}")])

    def ecs(self) -> None:
        """ECS"""
        self.put(json.dumps(self.document))
        definition = json.loads((EXAMPLES / "task-definition.json").read_text())
        shape = boto3.client("ecs", region_name=REGION).meta.service_model.operation_model("RegisterTaskDefinition")
        problems = botocore.validate.ParamValidator().validate(definition, shape.input_shape)
        check("the task definition fits ECS's own model", problems.generate_report(), "")
        self.api.accepts = {self.document["access_token"]}
        for container in definition["containerDefinitions"]:
            given = {one["name"]: one["value"] for one in container["environment"]}
            for secret in container["secrets"]:
                plain = f"/{PREFIX}/access-tokens/"
                check(f"{secret['name']} is a bare token", secret["valueFrom"].startswith(plain))
                document = json.loads(self.parameter(secret["valueFrom"].replace(plain, f"/{PREFIX}/tokens/")))
                given[secret["name"]] = self.parameter(secret["valueFrom"])
                check("the same as in the document", given[secret["name"]], document["access_token"])
            given["ZOHO_API_DOMAIN"] = self.api.url
            command = container["entryPoint"] + container["command"]
            ran = self.process(command, **given)
            check("the container's command prints the answer of the API", (ran.returncode, ran.stdout), (0, BODY))
            check("and has sent the header", self.sent(), [self.document["access_token"]])
            self.api.accepts = set()
            check("and fails if Zoho refuses", self.process(command, **given).returncode != 0)

    def no_token_was_shown(self) -> None:
        """Secrets"""
        check("no token was printed", leaked(self.secrets, self.printed), [])
        check("the list of processes showed no token", self.api.listed, 0)

    def ask(self) -> Any:
        line = self.stand_ins.wait_for_line(self.lines_read)
        self.lines_read += 1
        return json.loads(line)

    def reads(self) -> int:
        """How often programs have read a single parameter so far."""
        self.stand_ins.write_line()
        return int(self.ask().get("ssm GetParameter", 0))

    def parameter(self, name: str) -> str:
        value: str = self.aws["ssm"].get_parameter(Name=name, WithDecryption=True)["Parameter"]["Value"]
        return value

    def put(self, value: str) -> None:
        self.aws["ssm"].put_parameter(Name=PARAMETER, Value=value, Type="SecureString", Overwrite=True)

    def publish(self, **fields: Optional[str]) -> str:
        """Publishes a document with a new token, which the API accepts. Returns the token.

    Replaces these fields, and removes those that are `None`.
    """
        token = f"1000.{uuid.uuid4().hex}.{uuid.uuid4().hex}"
        self.secrets.add(token)
        self.api.accepts.add(token)
        document = {**self.document, "access_token": token, **fields}
        self.put(json.dumps({name: value for name, value in document.items() if value is not None}))
        return token

    def publish_refused(self, **fields: Optional[str]) -> str:
        """Publishes a document whose token the API refuses."""
        token = self.publish(**fields)
        self.api.accepts.remove(token)
        return token

    def called(self) -> list[tuple[str, Optional[str]]]:
        """The calls that the API got since the last question."""
        calls, self.api.calls = self.api.calls, []
        return calls

    def sent(self) -> list[str]:
        """The tokens of these calls."""
        return [str(authorization).removeprefix("Zoho-oauthtoken ") for _, authorization in self.called()]

    def process(self, command: list[str], **more: str) -> subprocess.CompletedProcess[str]:
        ran = subprocess.run(
            command,
            cwd=NODE_HOME,
            env={**self.variables, **more},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=ENDED_WITHIN_S,
        )
        self.printed += ran.stdout + ran.stderr
        return ran

    def run(self, consumer: Consumer, *paths: str, **more: str) -> str:
        """Runs a consumer that succeeds. Returns what it prints."""
        ran = self.process([*consumer.command, CONNECTION, *paths], **more)
        if ran.returncode != 0:
            raise Mismatch(f"the program ends with {ran.returncode}:\n{ran.stdout}{ran.stderr}")
        return ran.stdout.removesuffix("\n")

    def fails(self, consumer: Consumer, path: str, *wanted: str, **more: str) -> None:
        """Checks that a consumer fails, prints no answer, and says all of this."""
        ran = self.process([*consumer.command, CONNECTION, path], **more)
        said = [text for text in wanted if text in ran.stderr]
        how = (ran.returncode, ran.stdout, said)
        if how != (1, "", list(wanted)):
            print(ran.stderr, file=sys.stderr)
        check(" | ".join(["fails and says why", *wanted]), how, (1, "", list(wanted)))


if __name__ == "__main__":
    sys.exit(tell(lambda programs: Story(programs).steps()))
