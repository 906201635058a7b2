"""The deployed stack: build, deploy, use, update, delete. With SAM, then with infra/deploy.sh.

Real: the templates, SAM, the AWS CLI, cargo-lambda, the compiled functions and the command line.
The commands come from README.md and infra/README.md, word for word.
Played: AWS by ministack (mended_ministack.py says how it differs), Zoho by the stand-ins program, a
browser by a few requests.
Not tested here: policies and e-mail, which ministack does not have. The functions are debug builds
for this machine.
"""

from __future__ import annotations

import http.client
import json
import platform
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import datetime, timedelta, timezone
from functools import partial
from typing import Any, Callable, Optional
from urllib.parse import urlsplit

from helpers.account import Account, everything
from helpers.checks import check, leaked, recent, tell
from helpers.installation import PREFIX, Zoho, compiled
from helpers.processes import ROOT, environment

ARCHITECTURE = {"aarch64": "arm64", "x86_64": "x86_64"}[platform.machine()]
STACK = "token-keeper"
CALLBACK_URL = "https://consent.example"
"""The operator's own domain. `Browser` decides where it leads."""
SCOPE = "ZohoCRM.modules.ALL"
MARKER = "Token Keeper: "
READERS = 50


class Browser:
    """An administrator's browser. For it, the domain leads to the deployed front."""

    def __init__(self, account: Account) -> None:
        self._account = account
        self.host = ""
        self._cookies: dict[str, str] = {}

    def get(self, url: str) -> tuple[int, str, str]:
        """Status, page, and where the answer redirects to."""
        address = urlsplit(url)
        connection = http.client.HTTPConnection("127.0.0.1", self._account.port)
        cookies = "; ".join(f"{name}={value}" for name, value in self._cookies.items())
        connection.request("GET", f"{address.path}?{address.query}", headers={"Host": self.host, "Cookie": cookies})
        answer = connection.getresponse()
        for cookie in answer.headers.get_all("set-cookie") or []:
            name, value = cookie.split(";")[0].split("=", 1)
            self._cookies[name] = value
        return answer.status, answer.read().decode(), answer.headers.get("location") or ""

    def accept(self, question: str) -> str:
        """Agrees at Zoho. Returns where Zoho redirects to."""
        address = urlsplit(question)
        connection = http.client.HTTPConnection(address.netloc)
        form = {"Content-Type": "application/x-www-form-urlencoded"}
        connection.request("POST", f"{address.path.replace('/auth', '/decide')}?{address.query}", "decision=accept", form)
        return connection.getresponse().headers["location"]


class Story:
    """The steps in their order. Each needs those before."""

    def __init__(self, programs: ExitStack) -> None:
        self.aws = Account(programs)
        self.zoho = Zoho(programs, f"{CALLBACK_URL}/callback")
        self.browser = Browser(self.aws)
        self.parameters = self.aws.client("ssm")
        self.secrets = self.aws.client("secretsmanager")
        self.queues = self.aws.client("sqs")
        self.passed: set[str] = {self.zoho.client_secret}
        self.printed = ""
        self.alarms: list[dict[str, Any]] = []

    def steps(self) -> list[Callable[[], None]]:
        return [
            self.sam_builds_both_functions,
            self.one_command_deploys_everything,
            self.the_schedule_fires_by_itself,
            self.a_consent_through_the_http_api,
            self.a_dead_grant_sends_one_notice,
            self.a_consent_sends_one_more,
            self.keys_are_changed,
            self.the_stack_is_updated_in_place,
            self.a_consent_through_the_function_url,
            self.fifty_readers_complain_at_once,
            self.many_connections_go_through_the_queue,
            self.an_event_that_fails_is_kept,
            self.alarms_see_the_metrics,
            self.consumers_get_a_policy,
            self.secrets_move_to_another_region,
            self.no_secret_is_in_a_log_or_on_a_screen,
            self.deletion_leaves_what_the_readme_says,
            self.the_same_without_sam,
        ]

    def sam_builds_both_functions(self) -> None:
        """sam build: a debug build for this machine"""
        command = shown_line("README.md", "sam build")
        self.aws.type_in(f"{command} --parameter-overrides Architecture={ARCHITECTURE}", SAM_BUILD_MODE="debug")
        for function in ("Refresher", "Callback"):
            check(f"{function} is built", (ROOT / ".aws-sam/build" / function / "bootstrap").exists())

    def one_command_deploys_everything(self) -> None:
        """sam deploy"""
        self.deploy(
            f"Architecture={ARCHITECTURE}",
            f"CallbackUrl={CALLBACK_URL}",
            f"DataCenters={self.zoho.data_centers}",
            "ScheduleExpression=rate(1 minute)",
        )
        outputs = self.outputs(STACK)
        check("the outputs say what to type next", "token-keeper connect crm-prod --client acme-app" in outputs["NextCommands"])
        check("and what to register at Zoho", outputs["RedirectUri"], f"{CALLBACK_URL}/callback")
        kinds = sorted({resource["ResourceType"] for resource in self.resources(STACK)})
        print(f"  --  {len(self.resources(STACK))} resources of {len(kinds)} types", flush=True)
        check("the stack has made a signing key", len(self.signing_key()), 64)
        wanted = {
            "schema": 1,
            "callback_url": CALLBACK_URL,
            "kms_key_id": "",
            "tier": "Standard",
            "publish": "document",
            "data_centers": self.zoho.data_centers,
            "rotating_providers": "false",
            "margin_s": "2100",
            "schedule": "rate(1 minute)",
            "ssm_rate": "40",
        }
        check("and says how it is set", self.settings(), wanted)
        self.watch_the_topic()

    def the_schedule_fires_by_itself(self) -> None:
        """A connection made by hand: the schedule does the rest"""
        self.token_keeper("client", "add", "acme", "--client-id", self.zoho.client_id, typed=self.zoho.client_secret)
        self.connect_by_hand("books")
        lease = self.aws.wait_until("a token", lambda: self.lease("books"))
        check("the parameter appears", (lease["status"], recent(lease["issued_at"])), ("active", True))
        check("with a token that Zoho knows", self.zoho.knows(lease["access_token"]))
        self.aws.wait_until("its log", lambda: True if "run finished" in "".join(self.log()) else None)
        check("there is no notice", self.notices(), [])

    def a_consent_through_the_http_api(self) -> None:
        """A consent through the HTTP API"""
        [api] = self.aws.client("apigatewayv2").get_apis()["Items"]
        self.browser.host = urlsplit(api["ApiEndpoint"]).netloc
        check("the API refuses an unknown route", self.browser.get(f"{CALLBACK_URL}/nothing")[0], 404)
        check("the health check reaches the function", self.browser.get(f"{CALLBACK_URL}/healthz")[0], 204)
        self.connect("crm-prod", "--client", "acme", "--data-center", "eu", "--scope", SCOPE)
        wanted = f"{MARKER}crm-prod has a new consent, with an account in the data centre eu; whose it is could not be told."
        check("the topic has a notice of it", self.notices(), [wanted])

    def a_dead_grant_sends_one_notice(self) -> None:
        """A connection whose refresh token is dead"""
        self.zoho.remove_app("eu", self.connect_by_hand("desk"))
        self.aws.wait_until("its document", lambda: self.lease("desk"))
        check("a scheduled run has marked it", self.lease("desk")["status"], "consent_required")
        wanted = f"{MARKER}desk needs a new consent, Zoho no longer takes its refresh token (invalid_code). Type: token-keeper connect desk"
        check("the topic has one notice, with the command to type", self.notices(), [wanted])
        self.invoke({}), self.invoke({})
        check("two more runs send no other", self.notices(), [])

    def a_consent_sends_one_more(self) -> None:
        """A new consent, as the notice says"""
        self.connect("desk")
        [notice] = self.notices()
        wanted = f"{MARKER}desk has a new consent, with an account in the data centre eu; whose it is could not be told. It replaces a grant that no longer worked."
        check("one notice says who has consented, and what that replaced", notice, wanted)
        self.invoke({"connections": ["desk"], "force": True})
        check("the next renewal sends no notice", self.notices(), [])

    def keys_are_changed(self) -> None:
        """Another signing key, and a KMS key"""
        before = self.signing_key()
        self.aws.type_in(shown_block("infra/README.md", "openssl rand"))
        check("the signing key has changed", (self.signing_key() != before, len(self.signing_key()) >= 64), (True, True))
        key = self.aws.client("kms").create_key()["KeyMetadata"]["Arn"]
        hosts = {"TOKEN_KEEPER_DATA_CENTERS": self.zoho.data_centers}
        self.printed += self.aws.type_in(shown_block("infra/README.md", "KEY_ARN"), KEY_ARN=key, **hosts)
        check("every document is under the KMS key", self.keys(), {key})
        self.invoke({"connections": ["books"], "force": True})
        check("and stays there after a renewal", self.keys(), {key})
        self.token_keeper("refresh", "books", "--force")
        check("and after one from the command line, which knows the stack's key", (self.settings()["kms_key_id"], self.keys()), (key, {key}))
        self.token_keeper("client", "add", "other", "--client-id", self.zoho.client_id, typed=self.zoho.client_secret)
        made = self.secrets.describe_secret(SecretId=f"{PREFIX}/clients/other")
        check("a new secret is under it too", made["KmsKeyId"], key)

    def the_stack_is_updated_in_place(self) -> None:
        """The same command: function URL, chunks above two connections, no schedule, rotating providers"""
        before = self.lease("crm-prod")
        check("the refresher's role has one policy", self.policies_of_the_refresher(), ["refresher"])
        self.deploy("Front=function-url", "QueueAbove=2", "ScheduleState=DISABLED", "RotatingProviders=true")
        check("with RotatingProviders it has one more", self.policies_of_the_refresher(), ["refresher", "rotating"])
        check("and the command line knows it", self.settings()["rotating_providers"], "true")
        check("the schedule is disabled", self.schedule()["State"], "DISABLED")
        check("the HTTP API is gone", self.aws.client("apigatewayv2").get_apis()["Items"], [])
        check("the tokens are the same", self.lease("crm-prod"), before)

    def a_consent_through_the_function_url(self) -> None:
        """A consent through the function URL"""
        url = self.aws.client("lambda").get_function_url_config(FunctionName=f"{STACK}-callback")["FunctionUrl"]
        self.browser.host = urlsplit(url).netloc
        self.connect("crm-prod")
        [notice] = self.notices()
        check("its notice says that it replaced a living grant", "a grant that may still have worked" in notice)

    def fifty_readers_complain_at_once(self) -> None:
        """A token that died early: fifty readers complain at once"""
        # So many seconds after its minting, Zoho has ended the token.
        issued_at = (datetime.now(timezone.utc) - timedelta(seconds=300)).strftime("%Y-%m-%dT%H:%M:%SZ")
        dead = {**self.lease("crm-prod"), "access_token": "1000.ended.early", "issued_at": issued_at}
        self.parameters.put_parameter(
            Name=f"/{PREFIX}/tokens/crm-prod", Value=json.dumps(dead), Type="SecureString", Overwrite=True
        )
        asked = self.zoho.times_asked()
        with ThreadPoolExecutor(READERS) as readers:
            tokens = set(readers.map(self.complain_and_read, [dead] * READERS))
        [token] = tokens
        check("all of them read the same new token, which Zoho knows", (self.zoho.knows(token), token != dead["access_token"]), (True, True))
        self.aws.wait_until("an empty queue", lambda: True if self.waiting("complaints.fifo") == (0, 0) else None)
        check("Zoho was asked once", self.zoho.times_asked() - asked, 1)
        self.complain(self.lease("crm-prod"))
        marked = self.aws.wait_until("a mark in the document", lambda: self.lease("crm-prod").get("rejected_at"))
        check("a complaint about the new token only marks it", (recent(marked), self.lease("crm-prod")["access_token"]), (True, token))
        check("  and asks Zoho nothing", self.zoho.times_asked() - asked, 1)
        # Only what the queue is for: it can name nobody else, and force nothing.
        self.queues.send_message(
            QueueUrl=self.queue("complaints.fifo"), MessageGroupId="x", MessageBody=json.dumps({"connections": ["books"], "force": True})
        )
        dropped = "connections: is not a field of a complaint"
        self.aws.wait_until("another request in the log, dropped", lambda: True if dropped in "".join(self.log()) else None)
        self.aws.wait_until("an empty queue once more", lambda: True if self.waiting("complaints.fifo") == (0, 0) else None)
        check("it asks Zoho nothing either", self.zoho.times_asked() - asked, 1)
        self.aws.wait_until("the alarm of the mark", lambda: self.notices() == [] and "rejected" in self.rung() or None)

    def complain(self, document: dict[str, Any]) -> None:
        """What a reader sends if Zoho refuses the token of this document."""
        complaint = {"connection": "crm-prod", "issued_at": document["issued_at"]}
        self.queues.send_message(
            QueueUrl=self.queue("complaints.fifo"), MessageGroupId="crm-prod", MessageBody=json.dumps(complaint)
        )

    def complain_and_read(self, document: dict[str, Any]) -> str:
        """The token that a reader finds some seconds after its complaint."""
        self.complain(document)
        differs = lambda: next((token for token in [self.lease("crm-prod")["access_token"]] if token != document["access_token"]), None)
        token: str = self.aws.wait_until("another token", differs)
        return token

    def many_connections_go_through_the_queue(self) -> None:
        """More connections than one run takes: three new ones, one of them dead"""
        names = ["campaigns", "inventory", "invoices"]
        tokens = {name: self.connect_by_hand(name) for name in names}
        self.zoho.remove_app("eu", tokens["invoices"])
        report = self.invoke({})
        check("the run has sent all of them to the queue", (report["queued"], report["refreshed"]), (6, 0))
        leases = {name: self.aws.wait_until(f"{name}'s document", partial(self.lease, name)) for name in names}
        statuses = [leases[name]["status"] for name in names]
        check("the same function has done them", statuses, ["active", "active", "consent_required"])
        self.aws.wait_until("an empty queue", lambda: True if self.waiting("chunks") == (0, 0) else None)
        [notice] = self.notices()
        check("there is a notice about the dead one", notice.startswith(f"{MARKER}invoices needs a new consent"))
        asked = self.zoho.times_asked()
        chunk = json.dumps({"connections": names})
        for _ in range(2):
            self.queues.send_message(QueueUrl=self.queue("chunks"), MessageBody=chunk)
        self.aws.wait_until("an empty queue once more", lambda: True if self.waiting("chunks") == (0, 0) else None)
        check("a chunk that comes again mints nothing", self.zoho.times_asked(), asked)
        check("no chunk has failed", self.waiting("failed-chunks"), (0, 0))

    def an_event_that_fails_is_kept(self) -> None:
        """An event with a mistake"""
        self.aws.client("lambda").invoke(
            FunctionName=f"{STACK}-refresher", InvocationType="Event", Payload=json.dumps({"connectoins": ["books"]})
        )
        kept = self.aws.wait_until("the event in the queue of failed events", lambda: self.receive("failed-events"))
        check("the queue says which event failed", kept["requestPayload"], {"connectoins": ["books"]})
        check("and why", "connectoins" in json.dumps(kept["responsePayload"]))

    def alarms_see_the_metrics(self) -> None:
        """Alarms"""
        grant = {"client": "nobody", "data_center": "eu", "refresh_token": self.zoho.consent("eu")}
        orphan = self.secrets.create_secret(Name=f"{PREFIX}/connections/orphan", SecretString=json.dumps(grant))["ARN"]
        self.invoke({"connections": ["orphan"]})
        self.secrets.delete_secret(SecretId=orphan, ForceDeleteWithoutRecovery=True)
        self.aws.wait_until("the alarm of it", lambda: self.notices() == [] and "misconfigured" in self.rung() or None)
        alarms = everything(self.aws.client("cloudwatch"), "describe_alarms", "MetricAlarms")
        states = {alarm["AlarmName"].removeprefix(f"{STACK}-"): alarm["StateValue"] for alarm in alarms}
        check("there are eleven alarms", len(states), 11)
        check("no-run and not-refreshed are OK", (states["no-run"], states["not-refreshed"]), ("OK", "OK"))
        check("misconfigured rings: a connection names an unknown client", states["misconfigured"], "ALARM")
        check("short-life rings: it has no token", states["short-life"], "ALARM")
        check("the topic has both messages", {"misconfigured", "short-life"} <= self.rung())
        topics = {action for alarm in alarms for action in alarm["AlarmActions"]}
        check("every alarm sends to this topic", topics, {self.topic()})

    def consumers_get_a_policy(self) -> None:
        """A role that reads one connection's token"""
        trust = {"Version": "2012-10-17", "Statement": []}
        self.aws.client("iam").create_role(RoleName="billing", AssumeRolePolicyDocument=json.dumps(trust))
        self.aws.type_in(shown_block("infra/README.md", "attach-role-policy"))
        [policy] = self.aws.client("iam").list_attached_role_policies(RoleName="billing")["AttachedPolicies"]
        check("the role has the policy", "ReadOneToken" in policy["PolicyName"])
        tags = self.aws.client("iam").list_role_tags(RoleName="billing")["Tags"]
        check("and the tag that names the connection", tags, [{"Key": "token-keeper-connection", "Value": "crm-prod"}])
        self.aws.client("iam").detach_role_policy(RoleName="billing", PolicyArn=policy["PolicyArn"])
        self.aws.client("iam").delete_role(RoleName="billing")

    def secrets_move_to_another_region(self) -> None:
        """Copying the secrets to another Region"""
        self.aws.type_in(shown_block("infra/README.md", "NEW_REGION"), NEW_REGION="eu-west-1")
        here, there = (
            {
                secret["Name"]: json.loads(client.get_secret_value(SecretId=secret["Name"])["SecretString"])
                for secret in everything(client, "list_secrets", "SecretList")
                if secret["Name"] != f"{PREFIX}/signing-key"
            }
            for client in (self.secrets, self.aws.client("secretsmanager", "eu-west-1"))
        )
        check(f"all {len(here)} clients and connections are the same there", there, here)

    def no_secret_is_in_a_log_or_on_a_screen(self) -> None:
        """Secrets"""
        grants = [
            json.loads(self.secrets.get_secret_value(SecretId=secret["Name"])["SecretString"])
            for secret in everything(self.secrets, "list_secrets", "SecretList")
            if secret["Name"].startswith(f"{PREFIX}/connections/")
        ]
        self.passed |= {grant["refresh_token"] for grant in grants}
        for parameter in self.leases():
            history = everything(self.parameters, "get_parameter_history", "Parameters", Name=parameter["Name"], WithDecryption=True)
            documents = [json.loads(version["Value"]) for version in history]
            self.passed |= {document["access_token"] for document in documents if "access_token" in document}
        logs = "".join(self.log() + self.aws.log(f"{STACK}-callback"))
        check("the log has every consent", logs.count('"connected"'), 3)
        check(f"no log contains one of {len(self.passed)} secrets", leaked(self.passed, logs), [])
        check("nor does the operator's screen", leaked(self.passed, self.printed), [])

    def deletion_leaves_what_the_readme_says(self) -> None:
        """aws cloudformation delete-stack"""
        self.aws.type_in(shown_block("infra/README.md", "delete-stack"))
        self.only_what_is_the_operators_is_left()

    def the_same_without_sam(self) -> None:
        """infra/deploy.sh, then infra/undeploy.sh"""
        for parameter in everything(self.parameters, "describe_parameters", "Parameters"):
            self.parameters.delete_parameter(Name=parameter["Name"])
        settings = {
            "BUILD_FLAGS": "--arm64" if ARCHITECTURE == "arm64" else "--x86-64",
            "NAME": "keeper",
            "TOKEN_KEEPER_CALLBACK_URL": CALLBACK_URL,
            "TOKEN_KEEPER_DATA_CENTERS": self.zoho.data_centers,
        }
        refused = self.aws.type_in("! infra/deploy.sh NoticeMail=ops@example.com 2>&1")
        check("the script refuses an unknown parameter before it does anything", "Unknown parameter NoticeMail" in refused)
        command = shown_line("infra/README.md", "infra/deploy.sh")
        said = self.aws.type_in(f"{command} 'ScheduleExpression=rate(1 minute)'", **settings)
        check("the script says what to type next", "token-keeper connect crm-prod --client acme-app" in said)
        check("the settings are those of the environment", (self.settings()["callback_url"], self.settings()["data_centers"]), (CALLBACK_URL, self.zoho.data_centers))
        lease = self.aws.wait_until("a token", lambda: self.lease("books"))
        check("the schedule fires, and the parameter appears", lease["status"], "active")
        [api] = self.aws.client("apigatewayv2").get_apis()["Items"]
        self.browser.host = urlsplit(api["ApiEndpoint"]).netloc
        self.connect("crm-prod")
        self.aws.type_in("infra/deploy.sh 'ScheduleExpression=rate(2 minutes)'", **settings)
        check("typed again, it changes the named parameter", self.schedule()["ScheduleExpression"], "rate(2 minutes)")
        self.aws.type_in("infra/undeploy.sh && infra/undeploy.sh", NAME="keeper")
        self.only_what_is_the_operators_is_left()

    def deploy(self, *parameters: str) -> None:
        command = shown_line("README.md", "sam deploy")
        overrides = (each.split("=", 1) for each in parameters)
        self.aws.type_in(" ".join([command, *(f"""'{key}="{value}"'""" for key, value in overrides)]))
        print(f"  ok  {command} {' '.join(parameters)}", flush=True)

    def signing_key(self) -> str:
        key: str = self.secrets.get_secret_value(SecretId=f"{PREFIX}/signing-key")["SecretString"]
        self.passed.add(key)
        return key

    def outputs(self, stack: str) -> dict[str, str]:
        [found] = self.aws.client("cloudformation").describe_stacks(StackName=stack)["Stacks"]
        return {output["OutputKey"]: output["OutputValue"] for output in found["Outputs"]}

    def resources(self, stack: str) -> list[dict[str, Any]]:
        """The resources of the stack and of its nested stacks."""
        found = everything(self.aws.client("cloudformation"), "list_stack_resources", "StackResourceSummaries", StackName=stack)
        inner = [resource["PhysicalResourceId"] for resource in found if resource["ResourceType"] == "AWS::CloudFormation::Stack"]
        return found + [resource for name in inner for resource in self.resources(name)]

    def only_what_is_the_operators_is_left(self) -> None:
        names = [secret["Name"].removeprefix(f"{PREFIX}/") for secret in everything(self.secrets, "list_secrets", "SecretList")]
        check("connections and clients are left", {name.split("/")[0] for name in names}, {"connections", "clients"})
        check("and the last tokens", self.lease("books")["status"], "active")
        left = {
            "functions": self.aws.client("lambda").list_functions()["Functions"],
            "schedules": self.aws.client("scheduler").list_schedules()["Schedules"],
            "APIs": self.aws.client("apigatewayv2").get_apis()["Items"],
            "queues": [url for url in self.queues.list_queues()["QueueUrls"] if not url.endswith("/mailbox")],
            "topics": self.aws.client("sns").list_topics()["Topics"],
            "alarms": self.aws.client("cloudwatch").describe_alarms()["MetricAlarms"],
            "dashboards": self.aws.client("cloudwatch").list_dashboards()["DashboardEntries"],
            "rules": self.aws.client("events").list_rules()["Rules"],
            "log groups": self.aws.client("logs").describe_log_groups()["logGroups"],
            "roles": self.aws.client("iam").list_roles()["Roles"],
            "policies": self.aws.client("iam").list_policies(Scope="Local")["Policies"],
            "settings": self.parameters.get_parameters(Names=[f"/{PREFIX}/settings"])["Parameters"],
        }
        check("and nothing else", {kind: found for kind, found in left.items() if found}, {})

    def settings(self) -> dict[str, Any]:
        """What the stack says of itself, in a parameter that is not encrypted."""
        found = self.parameters.get_parameter(Name=f"/{PREFIX}/settings")["Parameter"]
        assert found["Type"] == "String", found
        content: dict[str, Any] = json.loads(found["Value"])
        return content

    def leases(self) -> list[dict[str, Any]]:
        found = everything(self.parameters, "describe_parameters", "Parameters")
        return [parameter for parameter in found if parameter["Name"].startswith(f"/{PREFIX}/tokens/")]

    def keys(self) -> set[str]:
        """The keys of all leases."""
        return {parameter["KeyId"] for parameter in self.leases()}

    def lease(self, connection: str) -> Any:
        """The document that consumers of this connection read. `None` if it does not exist."""
        try:
            found = self.parameters.get_parameter(Name=f"/{PREFIX}/tokens/{connection}", WithDecryption=True)
        except self.parameters.exceptions.ParameterNotFound:
            return None
        return json.loads(found["Parameter"]["Value"])

    def living_lease(self, connection: str) -> Optional[dict[str, Any]]:
        """The document, if Zoho knows its token."""
        lease = self.lease(connection)
        return lease if lease and self.zoho.knows(lease["access_token"]) else None

    def connect_by_hand(self, connection: str) -> str:
        """Makes a secret with a grant. Returns its refresh token."""
        refresh_token = self.zoho.consent("eu")
        grant = {"client": "acme", "data_center": "eu", "scopes": [SCOPE], "refresh_token": refresh_token}
        self.secrets.create_secret(Name=f"{PREFIX}/connections/{connection}", SecretString=json.dumps(grant))
        return refresh_token

    def connect(self, connection: str, *arguments: str) -> None:
        """Makes a link. An administrator opens it and agrees."""
        out = self.token_keeper("connect", connection, *arguments, "--json")
        status, page, question = self.browser.get(json.loads(out)["url"])
        assert status == 303, f"the link does not lead to Zoho: {status} {page}"
        check(f"{connection}: the link leads to Zoho", question.split("/oauth")[0], self.zoho.accounts["eu"])
        back = self.browser.accept(question)
        self.passed.add(back.split("code=")[1].split("&")[0])
        status, page, _ = self.browser.get(back)
        check(f"{connection}: the page says Connected", (status, "<h1>Connected</h1>" in page), (200, True))
        # A run at the same moment may have minted with the old grant; it puts the new token back.
        self.aws.wait_until(f"a living token of {connection}", lambda: self.living_lease(connection))
        check(f"{connection}: the parameter has a token that Zoho knows", self.lease(connection)["status"], "active")

    def token_keeper(self, *arguments: str, typed: str = "") -> str:
        ran = subprocess.run(
            [compiled("token-keeper"), *arguments],
            cwd=ROOT,
            env=environment(**self.aws.variables, TOKEN_KEEPER_DATA_CENTERS=self.zoho.data_centers),
            input=typed,
            capture_output=True,
            text=True,
        )
        assert ran.returncode == 0, f"token-keeper {arguments[0]} ended with {ran.returncode}:\n{ran.stdout}{ran.stderr}"
        self.printed += ran.stdout + ran.stderr
        return ran.stdout

    def invoke(self, event: dict[str, Any]) -> dict[str, Any]:
        """The refresher's report."""
        answer = self.aws.client("lambda").invoke(FunctionName=f"{STACK}-refresher", Payload=json.dumps(event))
        report: dict[str, Any] = json.loads(answer["Payload"].read())
        assert "FunctionError" not in answer, report
        return report

    def policies_of_the_refresher(self) -> list[str]:
        configuration = self.aws.client("lambda").get_function_configuration(FunctionName=f"{STACK}-refresher")
        role = configuration["Role"].rsplit("/", 1)[1]
        return sorted(self.aws.client("iam").list_role_policies(RoleName=role)["PolicyNames"])

    def schedule(self) -> dict[str, Any]:
        [schedule] = self.aws.client("scheduler").list_schedules()["Schedules"]
        found: dict[str, Any] = self.aws.client("scheduler").get_schedule(Name=schedule["Name"])
        return found

    def log(self) -> list[str]:
        return self.aws.log(f"{STACK}-refresher")

    def topic(self) -> str:
        [topic] = self.aws.client("sns").list_topics()["Topics"]
        arn: str = topic["TopicArn"]
        return arn

    def watch_the_topic(self) -> None:
        """Subscribes a queue to the topic. It is the operator's mailbox."""
        mailbox = self.queues.create_queue(QueueName="mailbox")["QueueUrl"]
        arn = self.queues.get_queue_attributes(QueueUrl=mailbox, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        self.aws.client("sns").subscribe(
            TopicArn=self.topic(), Protocol="sqs", Endpoint=arn, Attributes={"RawMessageDelivery": "true"}
        )

    def notices(self) -> list[str]:
        """The notices since the last call. Messages of alarms go to `self.alarms`."""
        texts: list[str] = []
        while True:
            messages = self.queues.receive_message(QueueUrl=self.queue("mailbox"), MaxNumberOfMessages=10, WaitTimeSeconds=2)
            for message in messages.get("Messages", []):
                self.queues.delete_message(QueueUrl=self.queue("mailbox"), ReceiptHandle=message["ReceiptHandle"])
                content = json.loads(message["Body"])
                if isinstance(content, str):
                    texts.append(content)
                else:
                    self.alarms.append(content)
            if not messages.get("Messages"):
                return texts

    def rung(self) -> set[str]:
        """The alarms that have sent a message so far."""
        return {message["AlarmName"].removeprefix(f"{STACK}-") for message in self.alarms}

    def queue(self, name: str) -> str:
        full = name if name == "mailbox" else f"{STACK}-{name}"
        url: str = self.queues.get_queue_url(QueueName=full)["QueueUrl"]
        return url

    def waiting(self, queue: str) -> tuple[int, int]:
        """How many messages wait, and how many are in work."""
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        found = self.queues.get_queue_attributes(QueueUrl=self.queue(queue), AttributeNames=names)["Attributes"]
        return int(found[names[0]]), int(found[names[1]])

    def receive(self, queue: str) -> Optional[Any]:
        messages = self.queues.receive_message(QueueUrl=self.queue(queue)).get("Messages", [])
        return json.loads(messages[0]["Body"]) if messages else None


def shown_blocks(file: str) -> list[str]:
    """The blocks of commands in a page."""
    return re.findall(r"^```sh\n(.*?)^```$", (ROOT / file).read_text(), re.DOTALL | re.MULTILINE)


def shown_block(file: str, word: str) -> str:
    """The block of commands with this word."""
    [block] = [block for block in shown_blocks(file) if word in block]
    return block


def shown_line(file: str, start: str) -> str:
    """The command that starts like this."""
    [line] = [line for block in shown_blocks(file) for line in block.splitlines() if line.startswith(start)]
    return line


if __name__ == "__main__":
    sys.exit(tell(lambda programs: Story(programs).steps()))
