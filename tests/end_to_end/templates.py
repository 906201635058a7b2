"""Checks the templates, their transform and every policy before a deployment.

It uses SAM's validation and transform, cfn-lint with its serverless rules, checkov and parliament.
AWS itself has no part in it. policies.py checks what the policies allow.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Callable, Iterator

from helpers.checks import Mismatch, check, tell
from helpers.processes import CHECK_TOOLS, ROOT, SAM_TOOLS, build_directory, environment
from helpers.template import load, resolved

TEMPLATES = ["template.yaml", "infra/foundation.yaml", "infra/operation.yaml"]
POLICIES = {
    "RefresherRole": "refresher-policy.json",
    "RotatingPolicy": "rotating-policy.json",
    "CallbackRole": "callback-policy.json",
    "SchedulerRole": "scheduler-policy.json",
    "ReadTokensPolicy": "read-tokens-policy.json",
    "ReadOneTokenPolicy": "read-one-token-policy.json",
    "ComplainPolicy": "complain-policy.json",
}
"""The file with the policy of each resource, for people who make the roles themselves."""
OPERATOR_POLICY = "operator-policy.json"
"""The command line's policy. The stack makes no role for it."""
PREFIXES = [
    "token-keeper", "team/token-keeper", "T.1_x", "a", "my-aws", "team/aws", "team/ssm/x", "aw", "ss.m", "x" * 64,
    "", "/", "/a", "a/", "a//b", "a b", "a*", "a:b", "caf\u00e9", "aws", "aws-tokens", "AWS/x", "aWs", "ssm", "SSM/x", "sSm1", "x" * 65, "a\n",
]  # fmt: skip
"""Valid and invalid prefixes."""
ON_EVERYTHING = {"secretsmanager:BatchGetSecretValue", "secretsmanager:ListSecrets"}
"""Actions that AWS cannot limit to single resources."""
AS_IN_THE_FILES = {
    "${AWS::Partition}": "aws",
    "${AWS::Region}": "*",
    "${AWS::AccountId}": "*",
    "${Prefix}": "token-keeper",
    "${Name}": "token-keeper",
    "${!": "${",
}
REGION = "eu-central-1"


class Story:
    def __init__(self, programs: ExitStack) -> None:
        self.directory = Path(programs.enter_context(tempfile.TemporaryDirectory()))
        self.templates = {template: load(template) for template in TEMPLATES}

    def steps(self) -> list[Callable[[], None]]:
        return [
            self.sam_and_cfn_lint_accept_the_templates,
            self.checkov_accepts_the_templates_and_their_transform,
            self.parameters_mean_the_same_everywhere,
            self.the_settings_are_json,
            self.prefixes_are_refused_here_as_by_the_program,
            self.policies_are_least_and_the_same_in_both_places,
            self.the_costs_are_those_of_the_script,
        ]

    def sam_and_cfn_lint_accept_the_templates(self) -> None:
        """SAM and cfn-lint"""
        run(SAM_TOOLS / "sam", "validate", "--lint", "--template", "template.yaml", "--region", REGION)
        print("  ok  sam validate --lint", flush=True)
        run(SAM_TOOLS / "cfn-lint", "--append-rules", "cfn_lint_serverless.rules", "--template", *TEMPLATES)
        print(f"  ok  cfn-lint, with the serverless rules: {', '.join(TEMPLATES)}", flush=True)

    def checkov_accepts_the_templates_and_their_transform(self) -> None:
        """checkov, with the skip list of infra/checkov.yaml"""
        transformed = self.directory / "transformed.json"
        transformed.write_text(run(SAM_TOOLS / "python", "-c", TRANSFORM, "template.yaml"))
        for template in [*TEMPLATES, str(transformed)]:
            report = run(CHECK_TOOLS / "checkov", "--config-file", "infra/checkov.yaml", "--output", "json", "--file", template)
            passed = json.loads(report)["summary"]["passed"]
            check(f"{Path(template).name}: {passed} checks passed, none failed", passed > 0)

    def parameters_mean_the_same_everywhere(self) -> None:
        """Parameters"""
        found: dict[str, dict[str, Any]] = {}
        for template, content in self.templates.items():
            for name, parameter in content["Parameters"].items():
                described = parameter.pop("Description", None)
                check(f"{template}: {name} has a description, and is the same in every template", (bool(described), found.setdefault(name, parameter)), (True, parameter))
        guide = (ROOT / "infra/README.md").read_text()
        listed = {name for row in re.findall(r"^\| (`.*?`) \|", guide, re.MULTILINE) for name in re.findall(r"`(\w+)`", row)}
        check("the guide lists each parameter of template.yaml", set(self.templates["template.yaml"]["Parameters"]) - listed, set())

    def the_settings_are_json(self) -> None:
        """The settings parameter"""
        template = self.templates["infra/operation.yaml"]
        [text, more] = template["Resources"]["Settings"]["Properties"]["Value"]["Fn::Sub"]
        named = set(re.findall(r"\$\{(\w+)\}", text)) - set(more)
        check("every value comes from a parameter, apart from the URL", (set(more), named <= set(template["Parameters"])), ({"Url"}, True))
        defaults = {name: str(template["Parameters"][name]["Default"]) for name in named}
        written = json.loads(filled(text, Url="https://abc.example", **defaults))
        check("with the defaults they are JSON", (written["schema"], written["tier"], written["data_centers"]), (1, "Standard", ""))
        # A text with one of these would have to be escaped in JSON.
        harmful = ['"', "\\", "\n", "\t", "\0", "\x1f"]
        for name in [*sorted(named), "CallbackUrl"]:
            parameter = template["Parameters"][name]
            if parameter["Type"] == "Number" or "AllowedValues" in parameter:
                continue
            starts = {"CallbackUrl": "https://a.example/", "ScheduleExpression": "rate(", "KmsKeyArn": "arn:aws:kms:eu:123456789012:key/"}
            start, end = starts.get(name, "a=https://"), ")" if name == "ScheduleExpression" else ""
            accepted = [each for each in ["x", *harmful] if re.fullmatch(parameter["AllowedPattern"], f"{start}{each}{end}")]
            check(f"{name} has no text that JSON would have to escape", accepted, ["x"])

    def prefixes_are_refused_here_as_by_the_program(self) -> None:
        """Prefixes"""
        rules = [content["Parameters"]["Prefix"] for content in self.templates.values()]
        [(pattern, longest)] = {(rule["AllowedPattern"], rule["MaxLength"]) for rule in rules}
        # CloudFormation's patterns are those of Java and match the whole value. These mean the same
        # in Python.
        by_template = {prefix: re.fullmatch(pattern, prefix) is not None and len(prefix) <= longest for prefix in PREFIXES}
        by_program = {prefix: "TOKEN_KEEPER_PREFIX:" not in self.complaints(prefix) for prefix in PREFIXES}
        # The program treats an empty variable as unset, and strips white space around a value.
        lenient = ("", "a\n")
        check("the program accepts an empty prefix, and one with an end of line", [by_program.pop(prefix) for prefix in lenient], [True, True])
        check("the template refuses both", [by_template.pop(prefix) for prefix in lenient], [False, False])
        taken = sum(by_program.values())
        check(f"of the others, both accept {taken} and refuse {len(by_program) - taken}", by_template, by_program)

    @staticmethod
    def complaints(prefix: str) -> str:
        """What the refresher says about this prefix. A wrong margin always stops its start."""
        variables = environment(TOKEN_KEEPER_PREFIX=prefix, TOKEN_KEEPER_MARGIN_S="none")
        ran = subprocess.run([build_directory() / "refresher"], env=variables, capture_output=True, text=True)
        check(f"{prefix[:20]!r}: the program checks its environment", "TOKEN_KEEPER_MARGIN_S:" in ran.stdout)
        return ran.stdout

    def policies_are_least_and_the_same_in_both_places(self) -> None:
        """Policies"""
        resources: dict[str, Any] = {}
        for content in self.templates.values():
            resources |= content["Resources"]
        kinds = ("AWS::IAM::Role", "AWS::IAM::Policy", "AWS::IAM::ManagedPolicy")
        with_policy = {name for name, resource in resources.items() if resource["Type"] in kinds}
        check("every role and policy of the templates has a file", set(POLICIES), with_policy)
        for name, file in POLICIES.items():
            properties = resources[name]["Properties"]
            [policy] = properties.get("Policies", [properties])
            document = policy["PolicyDocument"]
            check(f"{file} is the policy of {name}", json.loads((ROOT / "infra" / file).read_text()), as_in_the_files(document))
        for file in [*POLICIES.values(), OPERATOR_POLICY]:
            text = (ROOT / "infra" / file).read_text()
            # Parliament does not know variables in an ARN.
            complaints = run(CHECK_TOOLS / "parliament", "--string", re.sub(r"\$\{aws:[^}]*\}", "crm-prod", text))
            check(f"{file}: parliament has no complaint", complaints.strip(), "")
            wide = {action for action, resource in allowed(json.loads(text)) if resource == "*"}
            check("  it names all resources at once only where AWS requires it", wide <= ON_EVERYTHING)
        refresher = {action for action, _ in allowed(json.loads((ROOT / "infra/refresher-policy.json").read_text()))}
        writes = {action for action in refresher if action.startswith("secretsmanager:")}
        check("the refresher cannot write a secret", writes, ON_EVERYTHING | {"secretsmanager:GetSecretValue"})
        foundation = self.templates["infra/foundation.yaml"]
        without, rotating = (resolved(foundation, RotatingProviders=each) for each in ("false", "true"))
        more = {"RotatingPolicy": rotating["RotatingPolicy"]}
        check("RotatingProviders=true adds a policy and changes nothing else", rotating, {**without, **more})
        check("  only the refresher has it", more["RotatingPolicy"]["Properties"]["Roles"], [{"Ref": "RefresherRole"}])
        check("without the parameter it is not there", resolved(foundation), without)

    def the_costs_are_those_of_the_script(self) -> None:
        """Costs"""
        printed = run(sys.executable, "infra/costs.py")
        shown = (ROOT / "infra/COSTS.md").read_text()
        check("infra/COSTS.md shows what infra/costs.py prints", f"$ python3 infra/costs.py\n{printed}```" in shown)


TRANSFORM = """
import json, sys
from samtranslator.translator.transform import transform
from samtranslator.yaml_helper import yaml_parse

class NoManagedPolicies:
    def load(self):
        return {}

packaged = open(sys.argv[1]).read().replace("CodeUri: .", "CodeUri: s3://bucket/function.zip")
json.dump(transform(yaml_parse(packaged), {}, NoManagedPolicies()), sys.stdout)
"""
"""Prints what CloudFormation makes of a SAM template."""


def filled(text: str, **values: str) -> str:
    """What `!Sub` makes of a text."""
    return re.sub(r"\$\{(\w+)\}", lambda found: values[found[1]], text)


def as_in_the_files(document: Any) -> Any:
    """A policy of the template as its file has it.

    With the default names, any Region and account, and without a KMS key.
    """
    if isinstance(document, list):
        kept = [item for item in document if not (isinstance(item, dict) and "Fn::If" in item)]
        return [as_in_the_files(item) for item in kept]
    if isinstance(document, dict):
        if set(document) == {"Fn::Sub"}:
            text: str = document["Fn::Sub"]
            for variable, value in AS_IN_THE_FILES.items():
                text = text.replace(variable, value)
            return text
        return {key: as_in_the_files(value) for key, value in document.items()}
    return document


def allowed(policy: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Each action with each resource."""
    for statement in policy["Statement"]:
        actions, resources = statement["Action"], statement["Resource"]
        for action in [actions] if isinstance(actions, str) else actions:
            for resource in [resources] if isinstance(resources, str) else resources:
                yield action, resource


def run(*command: Any) -> str:
    """Runs a tool that must not complain. Returns what it prints."""
    env = environment(SAM_CLI_TELEMETRY="0", AWS_DEFAULT_REGION=REGION, AWS_EC2_METADATA_DISABLED="true")
    done = subprocess.run([str(word) for word in command], cwd=ROOT, env=env, capture_output=True, text=True)
    if done.returncode != 0:
        raise Mismatch(f"{Path(command[0]).name} {command[1]} complains:\n{done.stdout}{done.stderr}")
    return done.stdout


if __name__ == "__main__":
    sys.exit(tell(lambda programs: Story(programs).steps()))
