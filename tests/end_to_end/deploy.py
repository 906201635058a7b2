"""How infra/deploy.sh calls the AWS CLI and cargo-lambda.

Real: the script. Played: both commands, by a program that records its arguments. stack.py runs the
script with the real commands against an emulator of AWS. This story has what the emulator cannot
show.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Callable

from helpers.checks import check, tell
from helpers.processes import ROOT, environment

STAND_IN = f"""#!{sys.executable}
import json, os, sys
from pathlib import Path

name, arguments = Path(sys.argv[0]).name, sys.argv[1:]
here = Path(sys.argv[0]).parent
call = {{"call": [name, *arguments]}}
option = lambda key: arguments[arguments.index(key) + 1] if key in arguments else ""
if "--env-file" in arguments:
    call["settings"] = Path(option("--env-file")).read_text().splitlines()
with open(here / "calls", "a") as calls:
    print(json.dumps(call), file=calls)
if name == "cargo" and arguments[:2] == ["lambda", "build"]:
    for function in ("refresher", "callback"):
        built = Path(os.environ["CARGO_TARGET_DIR"], "lambda", function, "bootstrap")
        built.parent.mkdir(parents=True, exist_ok=True)
        built.write_bytes(b"\\x7fELF".ljust(18, b"\\0") + (b"\\xb7" if "--arm64" in arguments else b"\\x3e") + b"\\0")
elif arguments[:2] == ["lambda", "get-function-configuration"]:
    installed = json.loads((here / "installed").read_text())
    if not installed:
        sys.exit("An error occurred (ResourceNotFoundException) when calling the GetFunctionConfiguration operation")
    if installed == "unknown":
        sys.exit("An error occurred (AccessDeniedException) when calling the GetFunctionConfiguration operation")
    print(installed["Role" if option("--query") == "Role" else "Architectures"])
elif arguments[:2] == ["cloudformation", "describe-stacks"]:
    print("the-" + option("--query").split("'")[1] if "'" in option("--query") else "CREATE_COMPLETE")
"""
"""Plays `aws` and `cargo`. The value of a stack's output is "the-" and its name."""
VARIABLES = {
    "Name": "NAME",
    "Prefix": "TOKEN_KEEPER_PREFIX",
    "KmsKeyArn": "TOKEN_KEEPER_KMS_KEY_ID",
    "CallbackUrl": "TOKEN_KEEPER_CALLBACK_URL",
    "MarginSeconds": "TOKEN_KEEPER_MARGIN_S",
    "DataCenters": "TOKEN_KEEPER_DATA_CENTERS",
    "RotatingProviders": "TOKEN_KEEPER_ROTATING_PROVIDERS",
    "Publish": "TOKEN_KEEPER_PUBLISH",
    "Tier": "TOKEN_KEEPER_TIER",
    "SsmRate": "TOKEN_KEEPER_SSM_RATE",
}
"""Parameters that the functions need too."""


class Story:
    def __init__(self, programs: ExitStack) -> None:
        self.here = Path(programs.enter_context(tempfile.TemporaryDirectory()))
        for name in ("aws", "cargo"):
            (self.here / name).write_text(STAND_IN)
            (self.here / name).chmod(0o755)

    def steps(self) -> list[Callable[[], None]]:
        return [
            self.some_parameters_are_variables,
            self.both_functions_get_what_the_environment_has,
            self.no_other_processor,
            self.the_present_role,
            self.reserved_concurrency,
        ]

    def some_parameters_are_variables(self) -> None:
        """Parameters that would not reach the functions"""
        for parameter, variable in VARIABLES.items():
            ended, said, calls = self.deploy(f"{parameter}=anything")
            named = (f"Set {parameter} by" in said, f"{variable}=" in said)
            check(f"{parameter}= is refused, and the message names {variable}", (ended, *named), (2, True, True))
            check("  before anything is done", calls, [])
        for unknown in ("Concurrency=5", "Notice.*=x", "=x"):
            ended, said, calls = self.deploy(unknown)
            check(f"{unknown} is refused", (ended, f"Unknown parameter {unknown.split('=')[0]}." in said, calls), (2, True, []))

    def both_functions_get_what_the_environment_has(self) -> None:
        """Settings"""
        queue = 'TOKEN_KEEPER_QUEUE_URL="the-ChunksUrl"'
        nothing = ['TOKEN_KEEPER_PREFIX="token-keeper"']
        check("the first time, without settings", self.settings(), {"refresher": [*nothing, queue], "callback": nothing})
        centers = "a=https://a.example,b=https://b.example"
        both = [f'TOKEN_KEEPER_DATA_CENTERS="{centers}"', 'TOKEN_KEEPER_PREFIX="team/zoho"']
        more = self.settings(TOKEN_KEEPER_PREFIX="team/zoho", TOKEN_KEEPER_DATA_CENTERS=centers, TOKEN_KEEPER_QUEUE_URL="x")
        check("then with a prefix and more", more, {"refresher": [*both, queue], "callback": both})
        check("then without, and both are gone", self.settings(), {"refresher": [*nothing, queue], "callback": nothing})
        more = self.settings(OTHER="x\nTOKEN_KEEPER_MARGIN_S=60")
        check("a line in another variable is not a setting", more, {"refresher": [*nothing, queue], "callback": nothing})
        for wrong in ('a"b', "a\nb", "a$(b)", "a\\b"):
            ended, said, calls = self.deploy(TOKEN_KEEPER_TIER=wrong)
            check(f"{wrong!r} in a setting is refused, and the message names the setting", (ended, "TOKEN_KEEPER_TIER has" in said, calls), (2, True, []))
        _, _, calls = self.deploy("NoticeEmail=ops@example.com", TOKEN_KEEPER_PREFIX="team/zoho", NAME="keeper", TOKEN_KEEPER_DATA_CENTERS=centers)
        stacks = [call["call"] for call in calls if call["call"][1:3] == ["cloudformation", "deploy"]]
        check("the stacks get the same prefix", ["Prefix=team/zoho" in stack and "Name=keeper" in stack for stack in stacks], [True, True])
        check("and the same data centres", [f"DataCenters={centers}" in stack for stack in stacks], [True, True])
        check("what the environment does not have goes back to its default", ["MarginSeconds=2100" in stack for stack in stacks], [True, True])

    def no_other_processor(self) -> None:
        """Functions installed for another processor"""
        for here, flags, remedy in [("x86_64", "--release --arm64", "--x86-64"), ("arm64", "--release --x86-64", "--arm64")]:
            ended, said, calls = self.deploy(installed={"Architectures": here, "Role": "the-RefresherRoleArn"}, BUILD_FLAGS=flags)
            check(f"{here}: refused, with a remedy", (ended, f"installed for {here}" in said, f"--release {remedy}'" in said), (1, True, True))
            done = [call["call"] for call in calls if call["call"][:3] != ["aws", "lambda", "get-function-configuration"]]
            check("  and nothing was done except a build", [call[:3] for call in done], [["cargo", "lambda", "build"]])
        ended, said, calls = self.deploy(installed="unknown")
        check("a function that cannot be read counts as installed: the script stops", (ended != 0, "AccessDeniedException" in said), (True, True))
        check("  and nothing is deployed", [call for call in calls if "deploy" in call["call"]], [])
        ended, _, _ = self.deploy(installed={"Architectures": "x86_64", "Role": "any"}, BUILD_FLAGS="--x86-64")
        check("a build for the same processor is deployed", ended, 0)

    def the_present_role(self) -> None:
        """Functions installed with another role"""
        _, _, calls = self.deploy(installed={"Architectures": "arm64", "Role": "the-RefresherRoleArn"})
        wanted = [
            ["update-function-configuration", "--function-name", "token-keeper-callback", "--role", "the-CallbackRoleArn"],
            ["wait", "function-updated", "--function-name", "token-keeper-callback"],
        ]
        changed = [call["call"][2:] for call in calls if call["call"][2] in ("update-function-configuration", "wait")]
        check("the function with another role gets the stack's role, the other one keeps it", changed, wanted)
        names = [call["call"][2:4] for call in calls]
        check("before its deployment", names.index(wanted[0][:2]) < names.index(["deploy", "token-keeper-callback"]))

    def reserved_concurrency(self) -> None:
        """The callback's reserved concurrency"""
        for reserved, wanted in {"2": ["put-function-concurrency", "2"], "": ["delete-function-concurrency", "token-keeper-callback"]}.items():
            _, _, calls = self.deploy(CALLBACK_CONCURRENCY=reserved)
            asked = [[call["call"][2], call["call"][-1]] for call in calls if "concurrency" in call["call"][2]]
            check(reserved or "none", asked, [wanted])

    def deploy(self, *parameters: str, installed: object = None, **variables: str) -> tuple[int, str, list[dict[str, Any]]]:
        """Runs the script. Returns its exit code, its output and its calls."""
        (self.here / "calls").write_text("")
        (self.here / "installed").write_text(json.dumps(installed))
        env = environment(CARGO_TARGET_DIR=str(self.here), **variables)
        env["PATH"] = f"{self.here}{os.pathsep}{env['PATH']}"
        ran = subprocess.run([ROOT / "infra/deploy.sh", *parameters], env=env, capture_output=True, text=True)
        calls = [json.loads(line) for line in (self.here / "calls").read_text().splitlines()]
        return ran.returncode, ran.stdout + ran.stderr, calls

    def settings(self, **variables: str) -> dict[str, list[str]]:
        """The environment of each function after a deployment."""
        ended, said, calls = self.deploy(**variables)
        assert ended == 0, said
        deployed = [call for call in calls if call["call"][:3] == ["cargo", "lambda", "deploy"]]
        return {call["call"][call["call"].index("--binary-name") + 1]: call["settings"] for call in deployed}


if __name__ == "__main__":
    sys.exit(tell(lambda programs: Story(programs).steps()))
