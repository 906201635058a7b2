"""Reads the templates and fills in parameters, mappings and conditions."""

from __future__ import annotations

import json
import re
import subprocess
from typing import Any

from helpers.processes import ROOT, SAM_TOOLS, environment

AWS_VALUES = {
    "AWS::AccountId": "123456789012",
    "AWS::NoValue": None,
    "AWS::Partition": "aws",
    "AWS::Region": "eu-central-1",
    "AWS::URLSuffix": "amazonaws.com",
}
LOAD = "import json,sys; from cfnlint.decode import decode; json.dump(decode(sys.argv[1])[0], sys.stdout)"
"""Prints a template as JSON, with `!Ref` and the like in their long form."""


def load(template: str) -> dict[str, Any]:
    command = [SAM_TOOLS / "python", "-c", LOAD, template]
    ran = subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True, check=True)
    content: dict[str, Any] = json.loads(ran.stdout)
    return content


def resolved(template: dict[str, Any], **parameters: str) -> dict[str, Any]:
    """The resources with these parameters.

    Values that only AWS knows, such as the ARN of another resource, stay as written.
    """
    given = {name: parameter.get("Default") for name, parameter in template["Parameters"].items()}
    values = {**AWS_VALUES, **given, **parameters}

    def put_in(value: Any) -> Any:
        if isinstance(value, list):
            return [item for item in map(put_in, value) if item is not None]
        if not isinstance(value, dict):
            return value
        if len(value) == 1:
            [(function, argument)] = value.items()
            if function == "Ref":
                return values.get(argument, value)
            if function == "Condition" and argument in template["Conditions"]:
                return put_in(template["Conditions"][argument])
            if function == "Fn::Sub" and isinstance(argument, str):
                text = re.sub(r"\$\{([\w:]+)\}", lambda found: str(values.get(found[1], found[0])), argument)
                return text.replace("${!", "${")
            if function == "Fn::FindInMap":
                first, *keys = [put_in(key) for key in argument]
                return template["Mappings"][first][str(keys[0])][keys[1]]
            if function == "Fn::If":
                condition, then, otherwise = argument
                return put_in(then if put_in(template["Conditions"][condition]) else otherwise)
            if function == "Fn::Equals":
                one, other = map(put_in, argument)
                return str(one) == str(other)
            if function == "Fn::Not":
                return not put_in(argument[0])
        return {key: item for key, item in ((key, put_in(item)) for key, item in value.items()) if item is not None}

    def is_made(resource: dict[str, Any]) -> bool:
        return "Condition" not in resource or put_in(template["Conditions"][resource["Condition"]])

    return {name: put_in(resource) for name, resource in template["Resources"].items() if is_made(resource)}
