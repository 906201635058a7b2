"""The compiled refresher, as an operator and a reader see it from outside.

Real: the refresher, cargo-lambda's Runtime API, the AWS command line, the event files.
Played: AWS by moto, Zoho by the stand-ins program.
"""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import timedelta
from typing import Any, Callable

from helpers.checks import RECENT_S, check, instant, leaked, recent, tell
from helpers.installation import Installation, compiled
from helpers.processes import ROOT, environment

REPORT_FIELDS = {
    "schema", "connections", "fresh", "refreshed", "awaiting_consent", "consent_required", "misconfigured", "throttled",
    "failed", "deferred", "recovered", "min_remaining_s", "duration_ms", "outcomes",
}  # fmt: skip
METRICS = {
    "Connections", "Refreshed", "Failed", "Throttled", "ConsentRequired", "Misconfigured", "Deferred", "MinRemainingSeconds",
    "DurationMs",
}  # fmt: skip
SCOPE = "ZohoCRM.modules.ALL"
COMMON_SECRET = "the-common-secret-that-eu-does-not-take"
WRONG_SECRET = "a-mistyped-client-secret"
TOKEN_LIFE_S = 3600


class Story:
    """The steps in their order. Each needs those before."""

    def __init__(self, installation: Installation) -> None:
        self.here = installation
        self.function = installation.function
        self.zoho = installation.zoho
        self.grants: dict[str, str] = {}
        self.runs = 0
        self.files_sent: set[str] = set()

    def steps(self) -> list[Callable[[], None]]:
        return [
            self.an_operator_stores_grants,
            self.the_first_scheduled_run_mints_what_is_due,
            self.a_reader_finds_the_whole_document,
            self.trouble_is_marked_in_the_documents,
            self.later_scheduled_runs_send_no_request,
            self.named_connections_are_left_alone_while_fresh,
            self.force_mints_again,
            self.a_queue_is_worked_message_by_message,
            self.complaints_come_from_their_own_queue,
            self.an_event_that_is_not_understood_is_refused,
            self.a_removed_app_is_noticed_and_a_new_grant_taken_up,
            self.the_bare_token_is_published_where_asked_for,
            self.a_wrong_environment_stops_the_start,
            self.every_event_file_was_sent,
            self.the_logs_are_json_with_one_line_of_metrics_for_each_run,
            self.no_secret_is_in_logs_or_answers,
        ]

    def an_operator_stores_grants(self) -> None:
        """An operator stores one client and six grants"""
        client = {"client_id": self.zoho.client_id}
        secret = {"client_secret": self.zoho.client_secret}
        for name, data_center in [("crm-prod", "eu"), ("books", "eu"), ("shop", "us"), ("desk", "us"), ("inventory", "us")]:
            self.grants[name] = self.zoho.consent(data_center)
        in_eu = {"client": "acme-app", "data_center": "eu", "scopes": [SCOPE]}
        secrets: dict[str, dict[str, Any]] = {
            "clients/acme-app": {
                **client, "client_secret": COMMON_SECRET, "client_secrets": {"eu": self.zoho.client_secret},
            },
            "connections/crm-prod": {**in_eu, "refresh_token": self.grants["crm-prod"]},
            "connections/books": {**in_eu, "refresh_token": self.grants["books"]},
            "connections/campaigns": in_eu,
            "connections/shop": {**client, **secret, "data_center": "us", "refresh_token": self.grants["shop"]},
            "connections/desk": {**client, **secret, "data_center": "us", "refresh_token": self.grants["desk"]},
            "connections/inventory": {
                **client, "client_secret": WRONG_SECRET, "data_center": "us", "refresh_token": self.grants["inventory"],
            },
        }  # fmt: skip
        for name, value in secrets.items():
            self.here.create_secret(name, value)
        self.zoho.remove_app("us", self.grants["desk"])
        check("nothing is published yet", self.here.versions(), {})

    def the_first_scheduled_run_mints_what_is_due(self) -> None:
        """events/schedule.json: the first run mints what is due"""
        asked = self.zoho.times_asked()
        report = self.run("schedule", refreshed=3, min_remaining_s=0, **self.standing_trouble())
        outcomes = {line["connection"]: line["outcome"] for line in report["outcomes"]}
        check(
            "each connection's outcome is listed",
            outcomes,
            {
                "books": "refreshed",
                "campaigns": "awaiting_consent",
                "crm-prod": "refreshed",
                "desk": "consent_required",
                "inventory": "misconfigured",
                "shop": "refreshed",
            },
        )
        trouble = [line for line in report["outcomes"] if line["outcome"] in ("consent_required", "misconfigured")]
        errors = {line["connection"]: line["error"] for line in trouble}
        check("a connection in trouble has Zoho's code", errors, {"desk": "invalid_code", "inventory": "invalid_client"})
        check("and a remedy", all(line["remedy"] for line in trouble))
        check("Zoho got one request for each of the five", self.zoho.times_asked() - asked, 5)

    def a_reader_finds_the_whole_document(self) -> None:
        """A reader finds the whole document, with boto3 and with the AWS command line"""
        document = self.here.lease("crm-prod")
        check("there is an access token", document["access_token"].startswith("1000."))
        check("it was issued just now, in whole seconds", recent(document["issued_at"]))
        life = instant(document["expires_at"]) - instant(document["issued_at"])
        check("and lives for an hour", life, timedelta(seconds=TOKEN_LIFE_S))
        check(
            "all other fields are right, and there are no more",
            {name: value for name, value in document.items() if name not in ("access_token", "issued_at", "expires_at")},
            {
                "schema": 1,
                "status": "active",
                "provider": "zoho",
                "token_type": "Zoho-oauthtoken",
                "api_domain": "https://www.zohoapis.eu",
                "data_center": "eu",
                "accounts_server": self.zoho.accounts["eu"],
                "scope": SCOPE,
                "grant_version": self.here.secret_version("connections/crm-prod"),
            },
        )
        check("it is a SecureString", self.here.parameter("tokens/crm-prod")["Type"], "SecureString")
        check("the command line reads the same", json.loads(self.here.read_with_the_cli("tokens/crm-prod")), document)
        shop = self.here.lease("shop")
        check("the hand-made grant works too", (shop["status"], shop["data_center"]), ("active", "us"))

    def trouble_is_marked_in_the_documents(self) -> None:
        """The documents show trouble to readers"""
        desk, inventory = self.here.lease("desk"), self.here.lease("inventory")
        check("the dead grant", (desk["status"], desk["error"]), ("consent_required", "invalid_code"))
        check("the wrong client secret", (inventory["status"], inventory["error"]), ("misconfigured", "invalid_client"))
        for document in (desk, inventory):
            check(f"{document['status']}: `since` is just now, in whole seconds", recent(document["since"]))
            check("and there is no token, because there was no token before", {"access_token", "expires_at"} & set(document), set())
        pause = instant(inventory["retry_after"]) - instant(inventory["since"])
        check("the next try with the wrong secret is in an hour", pause, timedelta(hours=1))
        check("a connection that awaits consent has no document", self.here.parameter("tokens/campaigns"), None)

    def later_scheduled_runs_send_no_request(self) -> None:
        """events/schedule.json again, schedule-rule.json, empty.json: nothing is due"""
        for file in ("schedule", "schedule-rule", "empty"):
            self.unchanged(lambda: self.run(file, fresh=3, min_remaining_s=0, **self.standing_trouble()))

    def named_connections_are_left_alone_while_fresh(self) -> None:
        """events/named.json: two connections, both fresh"""
        report = self.unchanged(lambda: self.run("named", connections=2, fresh=2))
        check("their tokens have much life left", TOKEN_LIFE_S - RECENT_S < report["min_remaining_s"] <= TOKEN_LIFE_S)
        check("the report lists no fresh connection", report["outcomes"], [])

    def force_mints_again(self) -> None:
        """events/force.json: a fresh token is replaced"""
        before = self.here.lease("crm-prod")
        asked = self.zoho.times_asked()
        report = self.run("force", connections=1, refreshed=1)
        after = self.here.lease("crm-prod")
        check("there is another token", after["access_token"] != before["access_token"])
        check("the report has its expiry", report["outcomes"][0]["expires_at"], after["expires_at"])
        check("Zoho got one request", self.zoho.times_asked() - asked, 1)

    def a_queue_is_worked_message_by_message(self) -> None:
        """events/queue.json: one message names a fresh connection, the other one forces"""
        crm, books = self.here.lease("crm-prod"), self.here.lease("books")
        asked = self.zoho.times_asked()
        self.runs += 2
        check("no message comes again", self.send("queue"), {"batchItemFailures": []})
        check("the fresh connection has the same token", self.here.lease("crm-prod"), crm)
        check("the forced connection has another token", self.here.lease("books")["access_token"] != books["access_token"])
        check("Zoho got one request", self.zoho.times_asked() - asked, 1)
        batch = json.loads((ROOT / "events" / "queue.json").read_text())
        batch["Records"][0]["body"] = '{"conections": ["crm-prod"]}'
        batch["Records"][1]["body"] = '{"connections": ["books"]}'
        self.runs += 1
        check(
            "a message with a wrong field comes again, the other does not",
            self.function.invoke_text(batch).answer(),
            {"batchItemFailures": [{"itemIdentifier": batch["Records"][0]["messageId"]}]},
        )

    def complaints_come_from_their_own_queue(self) -> None:
        """events/complaint.json: about a token that was replaced long ago, then about the fresh one"""
        done = {"batchItemFailures": []}
        self.runs += 2
        check("a complaint about an old token does nothing", self.unchanged(lambda: self.send("complaint")), done)
        before, asked = self.here.lease("crm-prod"), self.zoho.times_asked()
        batch = json.loads((ROOT / "events" / "complaint.json").read_text())
        [message] = batch["Records"]
        message["body"] = json.dumps({"connection": "crm-prod", "issued_at": before["issued_at"]})
        check("one about a fresh token is answered", self.function.invoke_text(batch).answer(), done)
        marked = self.here.lease("crm-prod")
        check("it only marks the document", (recent(marked.pop("rejected_at")), marked), (True, before))
        check("and Zoho got no request", self.zoho.times_asked() - asked, 0)
        message["body"] = json.dumps({"connections": ["books"], "force": True})
        check("any other request from this queue is dropped", self.unchanged(lambda: self.function.invoke_text(batch).answer()), done)
        message["eventSourceARN"] = message["eventSourceARN"].replace("complaints.fifo", "chunks")
        message["body"] = json.dumps({"connection": "crm-prod", "issued_at": before["issued_at"]})
        again = {"batchItemFailures": [{"itemIdentifier": message["messageId"]}]}
        check("a complaint from another queue is refused", self.unchanged(lambda: self.function.invoke_text(batch).answer()), again)

    def an_event_that_is_not_understood_is_refused(self) -> None:
        """Events with a mistake"""
        for event, field in [
            ({"conections": ["crm-prod"]}, "conections"),
            ({"connections": "crm-prod"}, "connections"),
            ({"connections": ["crm-prod", "No Such"]}, "connections[1]"),
            ({"force": True}, "force"),
            ({"detail-type": "Scheduled Event", "source": "elsewhere"}, "source"),
        ]:
            refused = self.unchanged(lambda: self.function.invoke_text(event))
            said = " ".join(refused.text.split())
            check(f"the error names the field: {field}", f"not understood: {field}:" in said, True)
            check("and the type InvalidEvent", not refused.done and "InvalidEvent" in said)

    def a_removed_app_is_noticed_and_a_new_grant_taken_up(self) -> None:
        """The owner of an account removes the app, and consents again later"""
        before = self.here.lease("shop")
        self.zoho.remove_app("us", self.grants["shop"])
        event = {"connections": ["shop"], "force": True}
        report = self.reported(self.function.invoke_text(event).answer(), connections=1, consent_required=["shop"])
        marked = self.here.lease("shop")
        check("the run finds a dead grant", (marked["status"], marked["error"]), ("consent_required", "invalid_code"))
        kept = ("access_token", "issued_at", "expires_at")
        check("readers keep the last token", [marked[name] for name in kept], [before[name] for name in kept])
        check("the report says what to do", report["outcomes"][0]["remedy"] != "")
        dead = {**self.standing_trouble(), "consent_required": ["desk", "shop"]}
        self.unchanged(lambda: self.run("schedule", fresh=2, min_remaining_s=0, **dead))
        self.grants["shop"] = self.zoho.consent("us")
        self.here.replace_secret(
            "connections/shop",
            {
                "client_id": self.zoho.client_id,
                "client_secret": self.zoho.client_secret,
                "data_center": "us",
                "refresh_token": self.grants["shop"],
            },
        )
        self.run("schedule", fresh=2, refreshed=1, recovered=["shop"], min_remaining_s=0, **self.standing_trouble())
        after = self.here.lease("shop")
        check("the new grant works", after["status"], "active")
        check("with a new token", after["access_token"] != before["access_token"])
        check("from the new version of the grant", after["grant_version"], self.here.secret_version("connections/shop"))
        check("and the trouble is gone from the document", {"error", "since"} & set(after), set())

    def the_bare_token_is_published_where_asked_for(self) -> None:
        """TOKEN_KEEPER_PUBLISH=document,plain, at log level TRACE"""
        check("so far there is no bare token", [name for name in self.here.versions() if "/access-tokens/" in name], [])
        self.function.start(TOKEN_KEEPER_PUBLISH="document,plain", AWS_LAMBDA_LOG_LEVEL="TRACE")
        self.run("force", connections=1, refreshed=1)
        token = self.here.lease("crm-prod")["access_token"]
        check("the bare token is the one in the document", self.here.parameter("access-tokens/crm-prod")["Value"], token)
        check("it is a SecureString", self.here.parameter("access-tokens/crm-prod")["Type"], "SecureString")
        check("the command line reads the same", self.here.read_with_the_cli("access-tokens/crm-prod"), token)

    def a_wrong_environment_stops_the_start(self) -> None:
        """A wrong environment"""
        wrong = {
            "TOKEN_KEEPER_CONCURRENCY": "many",
            "TOKEN_KEEPER_DATA_CENTERS": "eu=http://accounts.example",
            "TOKEN_KEEPER_MARGIN_S": "1h",
            "TOKEN_KEEPER_MARGINS": "2100",
            "TOKEN_KEEPER_PREFIX": "/x",
            "TOKEN_KEEPER_PUBLISH": "plain",
            "TOKEN_KEEPER_SSM_RATE": "0",
            "TOKEN_KEEPER_TIER": "Cheap",
        }
        variables = environment(**{**self.here.variables, **wrong})
        ran = subprocess.run([compiled("refresher")], env=variables, capture_output=True, text=True, timeout=RECENT_S)
        check("the program fails", ran.returncode, 1)
        lines = ran.stdout.splitlines()
        check("it prints one line", len(lines), 1)
        message = json.loads(lines[0])["message"]
        missing = [name for name in wrong if f"{name}: " not in message]
        check(f"which names all {len(wrong)} problems", missing, [])
        check("nothing is on standard error", ran.stderr, "")

    def every_event_file_was_sent(self) -> None:
        """events/"""
        files = {path.stem for path in (ROOT / "events").glob("*.json") if not path.stem.startswith("callback-")}
        check("the story has sent every event file of the refresher", self.files_sent, files)

    def the_logs_are_json_with_one_line_of_metrics_for_each_run(self) -> None:
        """What the function printed"""
        check("nothing on standard error", self.function.stderr(), "")
        lines = [json.loads(line) for line in self.function.stdout().splitlines()]
        check("every line is JSON", all(isinstance(line, dict) for line in lines))
        metrics = [line for line in lines if "_aws" in line]
        logs = [line for line in lines if "_aws" not in line]
        check("each log line has time, level and message", [line for line in logs if not is_log(line)], [])
        check(f"one line of metrics for each of the {self.runs} runs", len(metrics), self.runs)
        check("and one line that says that the run finished", sum(line["message"] == "run finished" for line in logs), self.runs)
        directives = [directive for line in metrics for directive in line["_aws"]["CloudWatchMetrics"]]
        check("one namespace", {directive["Namespace"] for directive in directives}, {"TokenKeeper"})
        check("the prefix is the only dimension", {json.dumps(directive["Dimensions"]) for directive in directives}, {'[["Prefix"]]'})
        check("all metrics are there, each a number", [line for line in metrics if not has_all_metrics(line)], [])
        check("the first run's figures", {name: metrics[0][name] for name in METRICS - {"DurationMs"}}, {
            "Connections": 6, "Refreshed": 3, "Failed": 0, "Throttled": 0, "ConsentRequired": 1, "Misconfigured": 1,
            "Deferred": 0, "MinRemainingSeconds": 0,
        })  # fmt: skip

    def no_secret_is_in_logs_or_answers(self) -> None:
        """Secrets"""
        documents = [json.loads(value) for value in self.here.history() if value.startswith("{")]
        access_tokens = {document["access_token"] for document in documents if "access_token" in document}
        # The first three; by force, two for crm-prod and one for books; one for shop's new grant.
        check("the refresher has published seven access tokens", len(access_tokens), 7)
        secrets = access_tokens | set(self.zoho.refresh_tokens)
        secrets |= {self.zoho.client_secret, COMMON_SECRET, WRONG_SECRET}
        for where, text in [("log", self.function.stdout()), ("answer", self.function.answers)]:
            check(f"no {where} contains one of {len(secrets)} secrets", leaked(secrets, text), [])

    def send(self, file: str) -> Any:
        self.files_sent.add(file)
        return self.function.invoke_file(file).answer()

    def run(self, file: str, **wanted: Any) -> dict[str, Any]:
        """Sends an event file and compares the report with `wanted`."""
        return self.reported(self.send(file), **wanted)

    def reported(self, report: dict[str, Any], **wanted: Any) -> dict[str, Any]:
        """Compares a report with `wanted`. By default it has six connections and nothing else."""
        self.runs += 1
        numbers = {"schema": 1, "connections": 6, "fresh": 0, "refreshed": 0, "awaiting_consent": 0}
        names: dict[str, Any] = {
            name: [] for name in ("consent_required", "misconfigured", "throttled", "failed", "deferred", "recovered")
        }
        expected = {**numbers, **names, **wanted}
        found = {name: report.get(name) for name in expected}
        said = ", ".join(f"{name} {value}" for name, value in wanted.items())
        check(f"report: {said}", (found, set(report)), (expected, REPORT_FIELDS))
        return report

    @staticmethod
    def standing_trouble() -> dict[str, Any]:
        """The trouble that every run reports."""
        return {"awaiting_consent": 1, "consent_required": ["desk"], "misconfigured": ["inventory"]}

    def unchanged(self, act: Callable[[], Any]) -> Any:
        before, asked = self.here.versions(), self.zoho.times_asked()
        done = act()
        found = (self.here.versions(), self.zoho.times_asked() - asked)
        check("nothing was written, and Zoho got no request", found, (before, 0))
        return done


def is_log(line: dict[str, Any]) -> bool:
    return all(isinstance(line.get(name), str) for name in ("timestamp", "level", "message"))


def has_all_metrics(line: dict[str, Any]) -> bool:
    named = {metric["Name"] for metric in line["_aws"]["CloudWatchMetrics"][0]["Metrics"]}
    if "Complaints" in line:
        return named - {"Rejected"} == {"Complaints", "Replaced"}
    # If every grant is dead, there is no life to report.
    metrics = METRICS - {"MinRemainingSeconds"} if line["Connections"] == line["ConsentRequired"] else METRICS
    return named == metrics and all(isinstance(line[name], (int, float)) for name in metrics)


if __name__ == "__main__":
    sys.exit(tell(lambda programs: Story(Installation(programs)).steps()))
