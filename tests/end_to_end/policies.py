"""Every policy allows what the programs call, and denies what they do not need.

Real: the policies of the files and the templates, and the calls. recorder.py has recorded them in
other stories, and records more here.
Played: IAM, by @cloud-copilot/iam-simulate. It knows actions, resources and condition keys of each
service.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from contextlib import ExitStack
from typing import Any, Callable, Iterator, Optional

from helpers import node
from helpers.checks import check, tell
from helpers.installation import PREFIX, Installation, compiled
from helpers.processes import ROOT, environment
from helpers.recorder import ACCOUNT, CALLBACK, CALLS, CONSUMER, OPERATOR, REFRESHER, REGION, ROTATING, SECRET_SUFFIX
from helpers.template import load, resolved

SOURCE = ROOT / "tests/end_to_end/policies"
NODE_HOME = ROOT / ".tools/policies"
STORIES = {"refresher", "week", "consumers", "oidc_provider", "consent", "policies"}
"""The stories that record calls."""
CONNECTION = "crm-prod"
"""The tag of the one-token policy's role names this connection. Consumers read no other."""
KEY = f"arn:aws:kms:{REGION}:{ACCOUNT}:key/1234abcd-12ab-34cd-56ef-1234567890ab"
SCHEDULER = "the scheduler"
COMPLAINER = "a consumer that complains"
"""A consumer's calls of SQS need a policy of their own."""

FILES = {
    REFRESHER: ["refresher-policy.json"],
    ROTATING: ["rotating-policy.json"],
    CALLBACK: ["callback-policy.json"],
    OPERATOR: ["operator-policy.json"],
    CONSUMER: ["read-tokens-policy.json", "read-one-token-policy.json"],
    SCHEDULER: ["scheduler-policy.json"],
    COMPLAINER: ["complain-policy.json"],
}
IN_THE_TEMPLATES = {
    "refresher-policy.json": ("infra/foundation.yaml", "RefresherRole"),
    "rotating-policy.json": ("infra/foundation.yaml", "RotatingPolicy"),
    "callback-policy.json": ("infra/foundation.yaml", "CallbackRole"),
    "read-tokens-policy.json": ("infra/foundation.yaml", "ReadTokensPolicy"),
    "read-one-token-policy.json": ("infra/foundation.yaml", "ReadOneTokenPolicy"),
    "complain-policy.json": ("infra/foundation.yaml", "ComplainPolicy"),
    "scheduler-policy.json": ("infra/operation.yaml", "SchedulerRole"),
}


def secret(name: str) -> str:
    return f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:{name}{SECRET_SUFFIX}"


def parameter(name: str) -> str:
    return f"arn:aws:ssm:{REGION}:{ACCOUNT}:parameter/{name}"


def queue(name: str) -> str:
    return f"arn:aws:sqs:{REGION}:{ACCOUNT}:{name}"


def function(name: str) -> str:
    return f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{name}"


def log_stream(name: str) -> str:
    return f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:/aws/lambda/{name}:log-stream:2026/11/21/1"


CLAIM = parameter(f"{PREFIX}/claims/{CONNECTION}/0a1b2c3d-0000-4000-8000-000000000001.2")
"""It may hold a refresh token."""
CLAIMS = parameter(f"{PREFIX}/claims/{CONNECTION}")
CHUNKS, FAILED_EVENTS = queue("token-keeper-chunks"), queue("token-keeper-failed-events")
COMPLAINTS = queue("token-keeper-complaints.fifo")
BY_AWS = [
    *[(REFRESHER, f"sqs:{action}", to) for to in (CHUNKS, COMPLAINTS) for action in ("ReceiveMessage", "DeleteMessage", "GetQueueAttributes")],
    (REFRESHER, "sqs:SendMessage", FAILED_EVENTS),
    *[(REFRESHER, action, log_stream("token-keeper-refresher")) for action in ("logs:CreateLogStream", "logs:PutLogEvents")],
    *[(CALLBACK, action, log_stream("token-keeper-callback")) for action in ("logs:CreateLogStream", "logs:PutLogEvents")],
    (SCHEDULER, "lambda:InvokeFunction", function("token-keeper-refresher")),
    (SCHEDULER, "sqs:SendMessage", FAILED_EVENTS),
]
"""What Lambda and EventBridge Scheduler do with these roles, by their guides."""
STORING = ["PutSecretValue", "UpdateSecretVersionStage"]
RARE = [
    # If AWS refuses a page because of one key, the programs read its parameters one by one.
    *[(who, "ssm:GetParameter", parameter(f"{PREFIX}/tokens/{CONNECTION}")) for who in (REFRESHER, CALLBACK, OPERATOR)],
    # A revocation restores what somebody stored between its last two calls.
    (OPERATOR, "secretsmanager:RestoreSecret", secret(f"{PREFIX}/connections/{CONNECTION}")),
    # Consumers of all connections may list them. The examples read one.
    (CONSUMER, "ssm:GetParameters", parameter(f"{PREFIX}/tokens/{CONNECTION}")),
    (CONSUMER, "ssm:GetParametersByPath", parameter(f"{PREFIX}/tokens")),
]
"""Calls in cases that no story has."""

NEVER = [
    *[
        (who, f"secretsmanager:{action}", secret(f"{PREFIX}/connections/{CONNECTION}"))
        for who, actions in {
            REFRESHER: ["PutSecretValue", "CreateSecret", "UpdateSecret", "DeleteSecret", "UpdateSecretVersionStage"],
            ROTATING: ["CreateSecret", "UpdateSecret", "DeleteSecret", "RestoreSecret", "TagResource"],
            CALLBACK: ["CreateSecret", "DeleteSecret"],
            CONSUMER: ["GetSecretValue", "PutSecretValue", "DescribeSecret"],
            SCHEDULER: ["GetSecretValue"],
        }.items()
        for action in actions
    ],
    (REFRESHER, "secretsmanager:GetSecretValue", secret(f"{PREFIX}/signing-key")),
    *[(who, "ssm:GetParameter", parameter(f"{PREFIX}/settings")) for who in (REFRESHER, CALLBACK, CONSUMER)],
    (OPERATOR, "ssm:PutParameter", parameter(f"{PREFIX}/settings")),
    *[
        (who, f"ssm:{action}", arn)
        for who in (REFRESHER, CALLBACK, CONSUMER, SCHEDULER, COMPLAINER)
        for action in ("GetParameter", "GetParameters", "GetParametersByPath", "GetParameterHistory", "PutParameter", "DeleteParameters")
        for arn in (CLAIM, CLAIMS)
    ],
    # A recursive read of what is above the claims would show them.
    *[(who, "ssm:GetParametersByPath", parameter(path)) for who in (REFRESHER, CONSUMER) for path in (PREFIX, f"{PREFIX}/claims")],
    *[(who, f"ssm:{action}", CLAIM) for who in (ROTATING, OPERATOR) for action in ("GetParameterHistory", "DeleteParameter")],
    *[
        (ROTATING, f"secretsmanager:{action}", secret(f"{PREFIX}/{other}"))
        for action in STORING
        for other in ("clients/acme-app", "signing-key")
    ],
    *[(ROTATING, f"ssm:{action}", parameter(f"{PREFIX}/tokens/{CONNECTION}")) for action in ("PutParameter", "DeleteParameters")],
    (CALLBACK, "secretsmanager:PutSecretValue", secret(f"{PREFIX}/clients/acme-app")),
    (CALLBACK, "secretsmanager:PutSecretValue", secret(f"{PREFIX}/signing-key")),
    (OPERATOR, "secretsmanager:PutSecretValue", secret(f"{PREFIX}/signing-key")),
    (OPERATOR, "secretsmanager:DeleteSecret", secret(f"{PREFIX}/signing-key")),
    (CONSUMER, "secretsmanager:ListSecrets", "*"),
    (CONSUMER, "secretsmanager:BatchGetSecretValue", "*"),
    *[
        (who, f"ssm:{action}", parameter(f"{PREFIX}/tokens/{CONNECTION}"))
        for who, actions in {
            REFRESHER: ["DeleteParameter", "DeleteParameters", "LabelParameterVersion"],
            CALLBACK: ["DeleteParameter", "DeleteParameters"],
            CONSUMER: ["PutParameter", "DeleteParameter", "GetParameterHistory"],
            SCHEDULER: ["GetParameter"],
        }.items()
        for action in actions
    ],
    (CALLBACK, "ssm:GetParametersByPath", parameter(f"{PREFIX}/tokens")),
    (REFRESHER, "sqs:SendMessage", queue("token-keeper-failed-chunks")),
    (REFRESHER, "sqs:PurgeQueue", CHUNKS),
    (REFRESHER, "lambda:InvokeFunction", function("token-keeper-refresher")),
    (SCHEDULER, "lambda:InvokeFunction", function("token-keeper-callback")),
    (SCHEDULER, "sqs:SendMessage", CHUNKS),
    *[(who, "sqs:SendMessage", COMPLAINTS) for who in (REFRESHER, CALLBACK, CONSUMER, SCHEDULER)],
    *[(COMPLAINER, "sqs:SendMessage", to) for to in (CHUNKS, FAILED_EVENTS, queue("token-keeper-failed-chunks"))],
    *[(COMPLAINER, f"sqs:{action}", COMPLAINTS) for action in ("ReceiveMessage", "DeleteMessage", "PurgeQueue", "GetQueueAttributes")],
    (COMPLAINER, "ssm:GetParameter", parameter(f"{PREFIX}/tokens/{CONNECTION}")),
    (COMPLAINER, "lambda:InvokeFunction", function("token-keeper-refresher")),
    (CALLBACK, "logs:PutLogEvents", log_stream("token-keeper-refresher")),
]
"""Calls that no program needs."""


class Story:
    """The steps in their order. Each needs those before."""

    def __init__(self, programs: ExitStack) -> None:
        self.programs = programs
        templates = {template: load(template) for template in {template for template, _ in IN_THE_TEMPLATES.values()}}
        self.policies: dict[str, list[Any]] = {}
        self.with_a_key: dict[str, Any] = {}
        for file in [file for files in FILES.values() for file in files]:
            self.policies[file] = [json.loads((ROOT / "infra" / file).read_text())]
            if file in IN_THE_TEMPLATES:
                template, resource = IN_THE_TEMPLATES[file]
                # The parameter adds RotatingPolicy and changes nothing else (templates.py).
                resources = resolved(templates[template], RotatingProviders="true")
                self.policies[file].append(document(resources[resource]))
                if "KmsKeyArn" in templates[template]["Parameters"]:
                    self.with_a_key[file] = document(resolved(templates[template], RotatingProviders="true", KmsKeyArn=KEY)[resource])
        self.made: list[tuple[str, str, str]] = []

    def steps(self) -> list[Callable[[], None]]:
        return [
            self.the_evaluator_is_installed,
            self.a_run_through_the_queue,
            self.every_command_is_typed,
            self.what_was_called_is_allowed,
            self.the_same_elsewhere_is_denied,
            self.what_aws_does_with_the_roles_is_allowed,
            self.what_no_program_needs_is_denied,
            self.nothing_is_allowed_that_is_not_called,
            self.one_token_is_one,
            self.a_kms_key,
        ]

    def the_evaluator_is_installed(self) -> None:
        """The evaluator"""
        node.install(SOURCE, NODE_HOME)
        shutil.copy(SOURCE / "evaluate.mjs", NODE_HOME)
        [unknown] = self.evaluate([(self.policies["operator-policy.json"][0], "ssm:GetParametr", "*", None)])
        check("it reports an unknown action", unknown.startswith("error"))

    def a_run_through_the_queue(self) -> None:
        """A run that sends chunks, and one of them"""
        self.here = Installation(self.programs)
        for name in ("books", "desk"):
            grant = {"client_id": self.here.zoho.client_id, "client_secret": self.here.zoho.client_secret, "data_center": "eu"}
            self.here.create_secret(f"connections/{name}", {**grant, "refresh_token": self.here.zoho.consent("eu")})
        url = self.here.queue("token-keeper-chunks")
        self.here.function.start(TOKEN_KEEPER_QUEUE_URL=url, TOKEN_KEEPER_QUEUE_ABOVE="1")
        check("the queue has both", self.here.function.invoke_text({}).answer()["queued"], 2)
        check("the same function mints", self.here.function.invoke_text({"connections": ["books", "desk"]}).answer()["refreshed"], 2)

    def every_command_is_typed(self) -> None:
        """The command line"""
        client = ["client", "add", "acme", "--client-id", self.here.zoho.client_id]
        new = ["--client", "acme", "--data-center", "eu", "--scope", "ZohoCRM.modules.ALL"]
        self.here.secrets.create_secret(Name=f"{PREFIX}/signing-key", SecretString="x" * 64)
        settings = json.dumps({"schema": 1, "callback_url": "https://consent.example"})
        self.here.parameters.put_parameter(Name=f"/{PREFIX}/settings", Value=settings, Type="String")
        typed = [
            (client, 0, self.here.zoho.client_secret),
            ([*client, "--data-center", "eu"], 0, self.here.zoho.client_secret),
            (["client", "list"], 0, ""),
            (["connect", "campaigns", *new], 0, ""),
            (["reconnect"], 1, ""),
            (["grant", "shop", *new], 1, "1000.no-such-code"),
            (["import", "--format", "env", "--connection", "taken"], 0, self.taken_over()),
            (["list"], 1, ""),
            (["token", "books"], 0, ""),
            (["doctor"], None, ""),
            (["refresh", "books", "--force"], 0, ""),
            (["revoke", "books", "--yes"], 0, ""),
            (["client", "remove", "acme"], None, ""),
            (["scopes", "crm"], 0, ""),
            (["providers", "xero"], 0, ""),
            (["completions", "bash"], 0, ""),
        ]
        for arguments, ends, text in typed:
            command = [compiled("token-keeper"), *arguments]
            env = environment(**self.here.variables)
            ran = subprocess.run(command, cwd=ROOT, env=env, input=text, capture_output=True, text=True)
            check(f"token-keeper {' '.join(arguments[:2])}", ran.returncode in ((0, 1) if ends is None else (ends,)))
        helps = subprocess.run([compiled("token-keeper"), "--help"], capture_output=True, text=True, check=True).stdout
        commands = set(re.findall(r"^  ([a-z]+)  ", helps.split("Commands:")[1].split("Options:")[0], re.MULTILINE)) - {"help"}
        check("these are all commands", {arguments[0] for arguments, _, _ in typed}, commands)

    def what_was_called_is_allowed(self) -> None:
        """The calls of all stories"""
        recorded = {story: CALLS / f"{story}.jsonl" for story in sorted(STORIES)}
        check("every story has recorded its calls (make end-to-end browser)", [story for story, file in recorded.items() if not file.exists()], [])
        calls = {tuple(json.loads(line)) for file in recorded.values() for line in file.read_text().splitlines()}
        complains = lambda who, action: who == CONSUMER and action.startswith("sqs:")
        calls = {(COMPLAINER if complains(who, action) else who, action, arn) for who, action, arn in calls}
        calls = self.shared_out(calls)
        # One step has a consumer with another prefix. IAM denies that.
        self.made = sorted(call for call in calls if f"{PREFIX}/" in call[2] or ":token-keeper-" in call[2] or call[2] == "*")
        astray = sorted(calls - set(self.made))
        check("only consumers call under another prefix", {who for who, _, _ in astray}, {CONSUMER, COMPLAINER})
        for who in (REFRESHER, ROTATING, CALLBACK, OPERATOR, CONSUMER):
            actions = {action for by, action, _ in self.made if by == who}
            print(f"  --  {who[4:].lower()}: {', '.join(sorted(actions))}", flush=True)
        self.all_are("Allowed", f"{len(self.made)} different calls are allowed", self.made)
        self.all_are("ImplicitlyDenied", f"{len(astray)} calls under another prefix are denied", astray)

    def the_same_elsewhere_is_denied(self) -> None:
        """The same calls, on resources of others"""
        here = [call for call in [*self.made, *RARE] if call[2] != "*"]
        for what, change in {
            "under another prefix": lambda arn: arn.replace("token-keeper", "other"),
            "under a prefix that starts the same": lambda arn: arn.replace("token-keeper", "token-keeper2"),
            "under a prefix that ends the same": lambda arn: re.sub("(:secret:|:parameter/)", r"\1other/", arn).replace(":token-", ":other-token-"),
        }.items():
            self.all_are("ImplicitlyDenied", f"{len(here)} calls {what} are denied", [(who, action, change(arn)) for who, action, arn in here])
        abroad = [(who, action, arn.replace(ACCOUNT, "999999999999")) for who, action, arn in here if who != OPERATOR]
        denied = self.evaluate([(self.policies[file][-1], action, arn, None) for who, action, arn in abroad for file in FILES[who]])
        check("calls in another account are denied by the templates' policies", set(denied), {"ImplicitlyDenied"})

    def what_aws_does_with_the_roles_is_allowed(self) -> None:
        """What Lambda and the scheduler do with the roles, and rare calls"""
        self.all_are("Allowed", f"{len(BY_AWS)} calls by AWS are allowed", BY_AWS)
        rare = [call for call in RARE if call[0] != CONSUMER]
        self.all_are("Allowed", f"{len(rare)} rare calls are allowed", rare)

    def what_no_program_needs_is_denied(self) -> None:
        """What no program needs"""
        self.all_are("ImplicitlyDenied", f"{len(NEVER)} calls are denied", NEVER)

    def nothing_is_allowed_that_is_not_called(self) -> None:
        """Least privilege"""
        called = {(who, action) for who, action, _ in [*self.made, *BY_AWS, *RARE]}
        for who, files in FILES.items():
            for file in files:
                statements = self.policies[file][0]["Statement"]
                allowed = {action for statement in statements for action in words(statement["Action"])}
                check(f"{file}: something calls every action", {action for action in allowed if (who, action) not in called}, set())
                made = [call for call in [*self.made, *BY_AWS, *RARE] if call[0] == who]
                cases = [(without(self.policies[file][0], one), action, arn, None) for one in statements for _, action, arn in made]
                denied = [result != "Allowed" for result in self.evaluate(cases)]
                needed = [any(denied[first : first + len(made)]) for first in range(0, len(denied), len(made))]
                check("  and every statement is needed", needed, [True] * len(statements))

    def one_token_is_one(self) -> None:
        """The policy of one connection's consumers"""
        for name in ("tokens", "access-tokens"):
            for other in ("books", "crm-prod2", "crm"):
                self.is_denied("ssm:GetParameter", parameter(f"{PREFIX}/{name}/{other}"), CONNECTION)
            self.is_denied("ssm:GetParameter", parameter(f"{PREFIX}/{name}/{CONNECTION}"), None)
        self.is_denied("ssm:GetParametersByPath", parameter(f"{PREFIX}/tokens"), CONNECTION)
        # Whoever may tag the role chooses the connection. The tag must not lead to anything else.
        for tag in ("../connections/crm-prod", "books/crm-prod"):
            self.is_denied("ssm:GetParameter", parameter(f"{PREFIX}/tokens/{CONNECTION}"), tag)

    def a_kms_key(self) -> None:
        """KmsKeyArn"""
        by_ssm, by_secrets = ({"kms:ViaService": f"{service}.{REGION}.amazonaws.com"} for service in ("ssm", "secretsmanager"))
        for file, allowed, denied in [
            (
                "refresher-policy.json",
                [("Decrypt", by_ssm), ("Encrypt", by_ssm), ("GenerateDataKey", by_ssm), ("Decrypt", by_secrets), ("GenerateDataKey", by_secrets)],
                [("Decrypt", {}), ("ScheduleKeyDeletion", by_ssm)],
            ),
            ("callback-policy.json", [("Decrypt", by_secrets), ("GenerateDataKey", by_secrets), ("Encrypt", by_ssm)], [("Decrypt", {})]),
            ("read-tokens-policy.json", [("Decrypt", by_ssm)], [("Decrypt", by_secrets), ("Encrypt", by_ssm), ("Decrypt", {})]),
            ("read-one-token-policy.json", [("Decrypt", by_ssm)], [("Decrypt", by_secrets), ("Encrypt", by_ssm)]),
        ]:
            policy = self.with_a_key[file]
            results = self.evaluate([(policy, f"kms:{action}", KEY, context) for action, context in [*allowed, *denied]])
            wanted = ["Allowed"] * len(allowed) + ["ImplicitlyDenied"] * len(denied)
            check(f"{file}: the key, only by the right service", results, wanted)
            others = self.evaluate([(policy, "kms:Decrypt", KEY.replace("1234abcd", "abcd1234"), by_ssm)])
            check("  and no other key", others, ["ImplicitlyDenied"])

    def taken_over(self) -> str:
        zoho = self.here.zoho
        lines = {"CLIENT_ID": zoho.client_id, "CLIENT_SECRET": zoho.client_secret, "REFRESH_TOKEN": zoho.consent("eu"), "DC": "eu"}
        return "\n".join(f"ZOHO_{name}={value}" for name, value in lines.items())

    def shared_out(self, calls: set[tuple[str, str, str]]) -> set[tuple[str, str, str]]:
        """With RotatingProviders=true the refresher has two policies. The calls that its usual policy
        denies are those that need the other one."""
        rotating = [call for call in sorted(calls) if call[0] == ROTATING]
        usual = self.policies["refresher-policy.json"][0]
        results = self.evaluate([(usual, action, arn, None) for _, action, arn in rotating])
        allowed = {call for call, result in zip(rotating, results) if result == "Allowed"}
        return calls - allowed | {(REFRESHER, action, arn) for _, action, arn in allowed}

    def all_are(self, wanted: str, promise: str, calls: list[tuple[str, str, str]]) -> None:
        """Checks each call against every policy of its caller: the file's and the template's."""
        cases = [(call, file, policy) for call in calls for file in FILES[call[0]] for policy in self.policies[file]]
        results = self.evaluate([(policy, action, arn, None) for (_, action, arn), _, policy in cases])
        wrong = [(file, action, arn, result) for ((_, action, arn), file, _), result in zip(cases, results) if result != wanted]
        check(promise, wrong, [])

    def is_denied(self, action: str, arn: str, tag: Optional[str]) -> None:
        context = {} if tag is None else {"aws:PrincipalTag/token-keeper-connection": tag}
        results = self.evaluate([(policy, action, arn, context) for policy in self.policies["read-one-token-policy.json"]])
        tagged = "without a tag" if tag is None else f"tagged {tag}"
        check(f"{tagged}: {action.split(':')[1]} {arn.split('parameter/')[1]} is denied", set(results), {"ImplicitlyDenied"})

    @staticmethod
    def evaluate(cases: list[tuple[Any, str, str, Optional[dict[str, str]]]]) -> list[str]:
        """What IAM says to each policy, action, resource and context.

        The default context is that of a role with the connection's tag.
        """
        tagged = {"aws:PrincipalTag/token-keeper-connection": CONNECTION}
        asked = [
            {"policy": policy, "action": action, "resource": resource, "context": tagged if context is None else context}
            for policy, action, resource, context in cases
        ]
        command = ["node", "evaluate.mjs"]
        ran = subprocess.run(command, cwd=NODE_HOME, env=environment(), input=json.dumps(asked), capture_output=True, text=True)
        assert ran.returncode == 0, ran.stderr
        results: list[str] = json.loads(ran.stdout)
        return results


def document(resource: dict[str, Any]) -> Any:
    """The policy of a role or a managed policy."""
    properties = resource["Properties"]
    [policy] = properties.get("Policies", [properties])
    return policy["PolicyDocument"]


def without(policy: dict[str, Any], statement: Any) -> dict[str, Any]:
    return {**policy, "Statement": [other for other in policy["Statement"] if other != statement]}


def words(text: Any) -> Iterator[str]:
    yield from [text] if isinstance(text, str) else text


if __name__ == "__main__":
    sys.exit(tell(lambda programs: Story(programs).steps()))
