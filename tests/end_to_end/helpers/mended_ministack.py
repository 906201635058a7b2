"""ministack 1.5.33 as a program, changed where it differs from AWS.

It runs in the Python environment .tools/ministack.

- Parameter Store sends an event to EventBridge for every put.
- CloudWatch reads metrics in the embedded metric format from the logs of functions.
- CreateSecret uses the ClientRequestToken as the version's id.
- A resource of a nested stack keeps the attributes that an update does not name.
- A number that a template passes to a nested stack is a number there: a queue's concurrency, an
  alarm's period and threshold.
- An alarm on an expression looks at the first metric of the expression. alarms.py tests the
  expressions.
"""

from __future__ import annotations

import json
import time
from typing import Any

from ministack.app import main
from ministack.services import cloudwatch, cloudwatch_logs, eventbridge, lambda_svc, secretsmanager, ssm
from ministack.services.cloudformation import _stacks, provisioners

put_parameter = ssm._put_parameter
fan_out = cloudwatch_logs._fanout_to_subscription_filters
create_secret = secretsmanager._create_secret
update_resource = provisioners._update_resource
concurrency = lambda_svc._sqs_esm_concurrency
evaluate_alarm = cloudwatch._evaluate_alarm
alarm_record = provisioners._cw_metric_alarm_record


def put_parameter_and_tell(data: dict[str, Any]) -> Any:
    answer = put_parameter(data)
    if answer[0] == 200:
        record = ssm._parameters[data["Name"]]
        detail = {
            "operation": "Create" if record["Version"] == 1 else "Update",
            "name": record["Name"],
            "type": record["Type"],
            "description": record["Description"],
        }
        event = {
            "EventId": ssm.new_uuid(),
            "Source": "aws.ssm",
            "DetailType": "Parameter Store Change",
            "Detail": json.dumps(detail),
            "EventBusName": "default",
            "Time": int(time.time()),
            "Resources": [record["ARN"]],
            "Account": ssm.get_account_id(),
            "Region": ssm.get_region(),
        }
        eventbridge._dispatch_event(event)
    return answer


def fan_out_and_meter(group: str, stream: str, events: list[dict[str, Any]]) -> None:
    for event in events:
        if '"CloudWatchMetrics"' in event["message"]:
            document = json.loads(event["message"])
            for directive in document["_aws"]["CloudWatchMetrics"]:
                for names in directive["Dimensions"]:
                    dimensions = {name: document[name] for name in names}
                    for metric in directive["Metrics"]:
                        name, unit = metric["Name"], metric["Unit"]
                        cloudwatch.record_metric(directive["Namespace"], name, document[name], unit, dimensions)
            cloudwatch._evaluate_all_alarms()
    fan_out(group, stream, events)


def create_secret_of_that_version(data: dict[str, Any]) -> Any:
    answer = create_secret(data)
    token = data.get("ClientRequestToken")
    if answer[0] != 200 or token is None:
        return answer
    secret = secretsmanager._secrets[data["Name"]]
    [(_, version)] = secret["Versions"].items()
    secret["Versions"] = {token: version}
    return secretsmanager.json_response({"ARN": secret["ARN"], "Name": data["Name"], "VersionId": token})


def update_resource_and_keep_attributes(
    kind: str, physical_id: str, old: Any, new: Any, stack: str, logical_id: str
) -> tuple[str, dict[str, Any]]:
    before = _stacks[stack]["_resources"][logical_id]["Attributes"] or {}
    id_after, attributes = update_resource(kind, physical_id, old, new, stack, logical_id)
    return id_after, {**(before if id_after == physical_id else {}), **(attributes or {})}


def concurrency_as_a_number(mapping: dict[str, Any], *others: Any) -> int:
    scaling = {"MaximumConcurrency": int(mapping["ScalingConfig"]["MaximumConcurrency"])}
    number: int = concurrency({**mapping, "ScalingConfig": scaling}, *others)
    return number


def evaluate_alarm_with_numbers(alarm: dict[str, Any]) -> None:
    for field in ("Period", "EvaluationPeriods", "Threshold"):
        alarm[field] = float(alarm[field])
    evaluate_alarm(alarm)


def alarm_record_of_the_first_metric(name: str, properties: dict[str, Any]) -> dict[str, Any]:
    queries = properties.get("Metrics") or []
    for stat in [query["MetricStat"] for query in queries if "MetricStat" in query][:1]:
        statistic = {"Statistic": stat["Stat"], "Period": stat["Period"]}
        properties = {**properties, **stat["Metric"], **statistic, "Metrics": None}
    record: dict[str, Any] = alarm_record(name, properties)
    return record


ssm._put_parameter = put_parameter_and_tell
cloudwatch_logs._fanout_to_subscription_filters = fan_out_and_meter
secretsmanager._create_secret = create_secret_of_that_version
provisioners._update_resource = update_resource_and_keep_attributes
lambda_svc._sqs_esm_concurrency = concurrency_as_a_number
cloudwatch._evaluate_alarm = evaluate_alarm_with_numbers
provisioners._cw_metric_alarm_record = alarm_record_of_the_first_metric
main()
