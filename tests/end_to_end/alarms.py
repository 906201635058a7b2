"""The alarms of infra/operation.yaml: each rings in time for its fault, and only then.

Real: the template, for every allowed interval.
Played: CloudWatch, by the rules of its guide (helpers/cloudwatch.py); the refresher, by the metrics
of its runs, one by one or in chunks. The random numbers are seeded, so each execution has the same
faults.
"""

from __future__ import annotations

import re
import sys
from contextlib import ExitStack
from dataclasses import replace
from random import Random
from typing import Any, Callable, Iterator

from helpers.checks import check, tell
from helpers.cloudwatch import ALARM, INSUFFICIENT_DATA, MINUTE_S, OK, Alarm, Samples, changes, judge
from helpers.processes import ROOT
from helpers.template import load, resolved

INTERVALS = ["5", "10", "15", "20", "30", "60"]
DEFAULT = "15"
DAY_S = 86_400
INJECTIONS = 40
"""Each fault is injected at this many moments, for each interval and kind of run."""
MARGIN_S = 2100
"""With the default margin, a token has at least this left after a run."""
SHORT_S = 900
"""MinRemainingSeconds of the template."""
FORTNIGHT_S = 14 * DAY_S
"""A refresh token with less than this left rings."""

# Assumptions. The schedule may be late by the flexible window of the template.
LATE_S = 60.0
TAKES_S = (0.5, 15.0)
LONG_S = (0.5, 295.0)
"""How long a run may take. At three puts a second some take long; the function has 300 seconds."""
KNOWN_AFTER_S = (5.0, 100.0)
"""How late CloudWatch knows a metric. AWS promises no time; usually it takes a minute or two."""
SPREAD_S = 120.0
"""The chunks of a scheduled run report within this time."""
EVALUATED_WITHIN_S = 30.0
RANGES = (2, 5)
"""CloudWatch retrieves this many more points than it evaluates. The guide's examples have 2."""

PROMISED_S = {
    "short-life": 4 * MINUTE_S,
    "refresh-token-ends": 4 * MINUTE_S,
    "not-refreshed": 8 * MINUTE_S,
    "misconfigured": 8 * MINUTE_S,
    "rejected": 4 * MINUTE_S,
    "refresher-errors": 5 * MINUTE_S,
    "failed-events": 20 * MINUTE_S,
    "failed-chunks": 20 * MINUTE_S,
    "waiting-chunks": 5 * MINUTE_S,
    "callback-errors": 5 * MINUTE_S,
}
"""The longest time from the report of the fault to the ring. Where two runs count, from the second.

no-run has its own step.
"""

# The two tables of the guide. Points go from the oldest to the newest. The states are those with
# missing, ignore, breaching and notBreaching; `None` keeps the state. The last row of each table is
# from an older edition of the guide; the newer one agrees with it.
THREE_OF_THREE = {
    "0 - X - X": (OK, OK, OK, OK),
    "0 - - - -": (OK, OK, OK, OK),
    "- - - - -": (INSUFFICIENT_DATA, None, ALARM, OK),
    "0 X X - X": (ALARM, ALARM, ALARM, ALARM),
    "- - X - -": (ALARM, None, ALARM, OK),
    "- - - - X": (INSUFFICIENT_DATA, None, ALARM, OK),
}
TWO_OF_THREE = {
    "0 - X - X": (ALARM, ALARM, ALARM, ALARM),
    "0 0 X 0 X": (ALARM, ALARM, ALARM, ALARM),
    "0 - X - -": (OK, OK, ALARM, OK),
    "- - - - 0": (OK, OK, ALARM, OK),
    "- - - X -": (ALARM, None, ALARM, OK),
    "- - - - X": (INSUFFICIENT_DATA, None, ALARM, OK),
}

Fault = Callable[[int], dict[str, float]]
"""What is wrong in a run, by its number: `lost`, `late`, `error`, a token's `end`, the seconds that a
`refresh token` has left, or a metric."""


def no_fault(_: int) -> dict[str, float]:
    return {}


class Runs:
    """The reports of a series of runs."""

    def __init__(
        self, seed: int, interval_s: int, number: int, chunks: int, fault: Fault = no_fault, takes_s: tuple[float, float] = TAKES_S
    ) -> None:
        random = Random(seed)
        names = ("DurationMs", "Failed", "Deferred", "Misconfigured", "MinRemainingSeconds", "MinRefreshTokenRemaining", "Errors")
        self.sent = {name: Samples() for name in names}
        self.reports: list[list[float]] = []
        """When each run reported the fault, and when it reported last."""
        second = random.uniform(0, MINUTE_S)
        for index in range(number):
            wrong = fault(index)
            started = index * interval_s + second + random.uniform(0, LATE_S) + wrong.get("late", 0)
            if "lost" in wrong:
                self.reports.append([])
                continue
            self.sent["Errors"].add(started, started + random.uniform(*KNOWN_AFTER_S), wrong.get("error", 0))
            if "error" in wrong:
                self.reports.append([started])
                continue
            # A run that sends chunks reports no life of tokens. The sick connection is in a random
            # chunk.
            times = [started + random.uniform(*takes_s)]
            times += sorted(times[0] + random.uniform(*TAKES_S) + random.uniform(0, SPREAD_S) for _ in range(chunks))
            sick = random.randrange(1, chunks + 1) if chunks else 0
            self.reports.append([times[sick], times[-1]])
            for position, time in enumerate(times):
                known_at = time + random.uniform(*KNOWN_AFTER_S)
                self.sent["DurationMs"].add(time, known_at, 1000)
                for name in ("Failed", "Deferred", "Misconfigured"):
                    self.sent[name].add(time, known_at, wrong.get(name, 0) if position == sick else 0)
                if not chunks or position:
                    least = random.uniform(MARGIN_S, 3600)
                    if position == sick and "end" in wrong:
                        least = min(least, max(0, wrong["end"] - time))
                    self.sent["MinRemainingSeconds"].add(time, known_at, int(least))
                # Of one connection the refresh token's end is known.
                if position == sick:
                    self.sent["MinRefreshTokenRemaining"].add(time, known_at, wrong.get("refresh token", 60 * DAY_S))
        for samples in self.sent.values():
            samples.sort()


class Story:
    """The steps in their order."""

    def __init__(self, _: ExitStack) -> None:
        template = load("infra/operation.yaml")
        self.alarms: dict[str, dict[str, Alarm]] = {}
        self.silence = {interval: values["Silence"] for interval, values in template["Mappings"]["Intervals"].items()}
        self.settings = {"rests": resolved(template, ScheduleState="DISABLED")["NoRunAlarm"]["Properties"]}
        for interval in INTERVALS:
            resources = resolved(template, IntervalMinutes=interval, RotatingProviders="true")
            properties = [each["Properties"] for each in resources.values() if each["Type"] == "AWS::CloudWatch::Alarm"]
            found = [alarm(each) for each in properties]
            self.alarms[interval] = {alarm.name: alarm for alarm in found}
        self.by_default = resolved(template)
        self.worst: dict[str, float] = {}

    def steps(self) -> list[Callable[[], None]]:
        return [
            self.the_guides_tables,
            self.no_run_rings_before_the_first_token_ends,
            self.a_lost_or_late_run_rings_nothing,
            self.short_life_rings,
            self.a_refresh_token_ends,
            self.what_two_runs_report_rings,
            self.a_run_that_fails_rings_once,
            self.queues_and_callback_ring,
            self.complaints_about_fresh_tokens_ring_once,
            self.no_all_clear_when_runs_stop,
            self.a_disabled_schedule_rings_nothing,
            self.a_year_without_a_fault,
            self.wrong_settings_are_noticed,
            self.what_was_measured,
        ]

    def the_guides_tables(self) -> None:
        """The evaluator against the tables of CloudWatch's user guide"""
        for to_alarm, table in ((3, THREE_OF_THREE), (2, TWO_OF_THREE)):
            for row, states in table.items():
                points = [{"0": False, "X": True, "-": None}[point] for point in reversed(row.split())]
                found = tuple(judge(points, 3, to_alarm, missing) for missing in ("missing", "ignore", "breaching", "notBreaching"))
                check(f"{to_alarm} of 3: {row}", found, states)

    def no_run_rings_before_the_first_token_ends(self) -> None:
        """The schedule stops"""
        guide = (ROOT / "infra/README.md").read_text()
        found = re.findall(r"^\| (missed runs|minutes without a report) \|(.*)$", guide, re.MULTILINE)
        rows = {name: dict(zip(INTERVALS, map(int, re.findall(r"\d+", row)))) for name, row in found}
        for interval in INTERVALS:
            silence_s = self.silence[interval] * MINUTE_S
            check(f"{interval} minutes: infra/README.md has the minutes without a report", rows["minutes without a report"][interval], self.silence[interval])
            missed = rows["missed runs"][interval]
            spare_s = silence_s - missed * int(interval) * MINUTE_S
            check(f"  that is longer than {missed} missed runs and a late report", spare_s >= LATE_S + KNOWN_AFTER_S[1])
            latest = silence_s + MINUTE_S + EVALUATED_WITHIN_S
            late = self.latest_ring("no-run", interval, stopping, last_report)
            check(f"  it rings within {latest / MINUTE_S} minutes of the last report", late <= latest)
            check(f"  when {'the first token may have ended' if interval in ('30', '60') else 'every token is still alive'}", latest < MARGIN_S, interval not in ("30", "60"))
        # If CloudWatch does not fill an empty range, the alarm rings once the range is empty.
        later = self.latest_of(self.alarms[DEFAULT]["no-run"], DEFAULT, stopping, last_report, fills_nothing=True)
        silence_s = self.silence[DEFAULT] * MINUTE_S
        latest = silence_s + (1 + max(RANGES)) * MINUTE_S + EVALUATED_WITHIN_S
        check(f"{DEFAULT} minutes: if FILL does not fill an empty range, it rings soon after", later <= latest)

    def a_lost_or_late_run_rings_nothing(self) -> None:
        """A run is lost or late"""
        for interval in INTERVALS:
            if self.silence[interval] > 2 * int(interval):
                self.never_rings(interval, "a run is lost", lambda at, _: lambda run: {"lost": 1} if run == at else {}, "no-run")
                late = int(interval) * MINUTE_S * 0.9
            else:
                late = 5 * MINUTE_S
            once = lambda at, _: lambda run: {"late": late} if run == at else {}
            self.never_rings(interval, f"a run is {late:.0f} s late", once, "no-run")

    def short_life_rings(self) -> None:
        """The token of one connection ends"""
        for interval in INTERVALS:
            self.latest_ring("short-life", interval, ending, first_short)
            once = lambda at, interval_s: lambda run: {"end": at * interval_s + MARGIN_S - LATE_S} if run == at else {}
            self.never_rings(interval, "a token is renewed one run late", once, "short-life")

    def a_refresh_token_ends(self) -> None:
        """A refresh token has less than 14 days left, then an administrator consents again"""
        check("without RotatingProviders there is no such alarm", "RefreshTokenEndsAlarm" in self.by_default, False)
        for interval in INTERVALS:
            near = lambda at, _: lambda run: {"refresh token": FORTNIGHT_S - 1} if at <= run < at + 10 else {}
            self.latest_ring("refresh-token-ends", interval, near, lambda runs, at: runs.reports[at][0])
            fortnight = lambda at, _: lambda run: {"refresh token": FORTNIGHT_S} if at <= run < at + 10 else {}
            self.never_rings(interval, "a refresh token has 14 days left", fortnight, "refresh-token-ends")

    def what_two_runs_report_rings(self) -> None:
        """Two runs in a row report the same trouble, or only one run does"""
        for name, metric in (("not-refreshed", "Failed"), ("not-refreshed", "Deferred"), ("misconfigured", "Misconfigured")):
            for interval in INTERVALS:
                lasting = lambda at, _: lambda run: {metric: 1} if at <= run < at + 10 else {}
                self.latest_ring(name, interval, lasting, lambda runs, at: runs.reports[at + 1][0], metric)
                once = lambda at, _: lambda run: {metric: 1} if run == at else {}
                self.never_rings(interval, f"{metric} in one run", once, name)

    def a_run_that_fails_rings_once(self) -> None:
        """Ten runs in a row fail"""
        for interval in INTERVALS:
            failing = lambda at, _: lambda run: {"error": 1} if at <= run < at + 10 else {}
            self.latest_ring("refresher-errors", interval, failing, lambda runs, at: runs.reports[at][0])

    def queues_and_callback_ring(self) -> None:
        """A message is left in a queue, a chunk waits, a consent fails"""
        for interval in INTERVALS:
            alarms = self.alarms[interval]
            for seed in range(INJECTIONS):
                random = Random(seed)
                at = random.uniform(DAY_S, 2 * DAY_S)
                # An active queue reports each minute, an inactive one within a quarter of an hour.
                left, asleep = Samples(), random.uniform(0, 15 * MINUTE_S)
                for minute in range(3 * 60):
                    time = at + minute * MINUTE_S
                    left.add(time, max(time + random.uniform(*KNOWN_AFTER_S), at + asleep), float(minute < 60))
                for name in ("failed-events", "failed-chunks"):
                    self.rings_once(alarms[name], {"ApproximateNumberOfMessagesVisible": left}, at, (at, at + DAY_S), random)
                late = alarms["waiting-chunks"].threshold
                waits = Samples()
                for minute in range(60):
                    time = at + minute * MINUTE_S
                    waits.add(time, time + random.uniform(*KNOWN_AFTER_S), minute * MINUTE_S)
                sent = {"ApproximateAgeOfOldestMessage": waits}
                self.rings_once(alarms["waiting-chunks"], sent, at + late, (at, at + DAY_S), random)
                refused = Samples()
                refused.add(at, at + random.uniform(*KNOWN_AFTER_S), 1)
                self.rings_once(alarms["callback-errors"], {"5xx": refused}, at, (at, at + DAY_S), random)
            tries_s = 2 * 330.0  # foundation.yaml: VisibilityTimeout and maxReceiveCount
            check(f"{interval} minutes: a chunk in its second try rings nothing", alarms["waiting-chunks"].threshold >= tries_s)

    def complaints_about_fresh_tokens_ring_once(self) -> None:
        """Readers complain about each new token, for half a day"""
        rejected, states = self.alarms[DEFAULT]["rejected"], []
        for seed in range(INJECTIONS):
            random = Random(seed)
            at = random.uniform(DAY_S, 2 * DAY_S)
            # A reader comes every few minutes or once in an hour. Each time there is a report of a
            # mark, apart from those when the token was old enough for another one.
            every_s = random.choice([300, 600, 3600])
            reports = Samples()
            for number in range(DAY_S // 2 // every_s):
                if number == 0 or every_s == 3600 or random.random() < 0.7:
                    time = at + number * every_s
                    reports.add(time, time + random.uniform(*KNOWN_AFTER_S), 1)
            self.rings_once(rejected, {"Rejected": reports}, at, (at - DAY_S, at + 2 * DAY_S), random)
            minutes = range(int(at // MINUTE_S), int(at + 2 * DAY_S) // MINUTE_S)
            states.append([state for _, state in changes(rejected, {"Rejected": reports}, minutes, random.choice(RANGES))])
        check("rejected rings once, and is quiet again when nobody complains any more", states, [[ALARM, OK]] * INJECTIONS)

    def no_all_clear_when_runs_stop(self) -> None:
        """An alarm rings, then the schedule stops"""
        for name, wrong in (
            ("short-life", {"end": 0.0}),
            ("refresh-token-ends", {"refresh token": 0.0}),
            ("not-refreshed", {"Failed": 1}),
            ("misconfigured", {"Misconfigured": 1}),
        ):
            check(f"{name} keeps its state", self.after_the_runs_have_stopped(self.alarms[DEFAULT][name], wrong), [ALARM])

    def a_disabled_schedule_rings_nothing(self) -> None:
        """ScheduleState=DISABLED"""
        rests = alarm(self.settings["rests"])
        never = {"DurationMs": Samples()}
        check("no-run stays OK", [list(changes(rests, never, range(600), fills_nothing=fills)) for fills in (False, True)], [[], []])
        check("and its actions are off", self.settings["rests"]["ActionsEnabled"], False)

    def a_year_without_a_fault(self) -> None:
        """A year of runs with the default interval, a month with each other one"""
        for interval in INTERVALS:
            days = 365 if interval == DEFAULT else 30
            interval_s = int(interval) * MINUTE_S
            for chunks in (0, 3):
                # A run that sends chunks writes no parameter, so it is short.
                runs = Runs(chunks, interval_s, days * DAY_S // interval_s, chunks, takes_s=TAKES_S if chunks else LONG_S)
                minutes = range(2 * self.silence[interval], days * DAY_S // MINUTE_S)
                offset = Random(chunks).uniform(0, EVALUATED_WITHIN_S)
                names = ("no-run", "short-life", "refresh-token-ends", "not-refreshed", "misconfigured", "refresher-errors")
                rung = {name: len(list(changes(self.alarms[interval][name], runs.sent, minutes, offset=offset))) for name in names}
                kind = "in chunks" if chunks else "one by one"
                check(f"{len(runs.reports)} runs, one every {interval} minutes, {kind}: no alarm rings", rung, dict.fromkeys(rung, 0))

    def wrong_settings_are_noticed(self) -> None:
        """This story notices wrong settings"""
        right = self.alarms[DEFAULT]
        before = replace(right["no-run"], expression="runs", period_s=900, evaluation_periods=2, datapoints_to_alarm=2)
        late = self.latest_of(before, DEFAULT, stopping, last_report)
        check("two missing intervals, without FILL, ring about an hour after the last report", 3300 < late < 7200)
        check("  by then tokens have ended", late > MARGIN_S)
        stops = self.after_the_runs_have_stopped(replace(right["short-life"], missing="notBreaching"), {"end": 0.0})
        check("short-life with notBreaching says OK when runs stop", stops, [ALARM, OK])
        lasting = lambda at, _: lambda run: {"Failed": 1} if at <= run < at + 10 else {}
        for what, wrong in {
            "not-refreshed by the minimum never rings with chunks": replace(
                right["not-refreshed"], metrics={key: (metric, "Minimum") for key, (metric, _) in right["not-refreshed"].metrics.items()}
            ),
            "not-refreshed over exactly one interval rings more than once": replace(
                right["not-refreshed"], period_s=900
            ),
        }.items():
            rings = [len(rung) for _, _, rung in self.injected(wrong, DEFAULT, lasting, [3])]
            check(what, set(rings) != {1} and (max(rings) > 1 or max(rings) == 0))

    def what_was_measured(self) -> None:
        """The longest time from the fault to the ring"""
        for name, seconds in self.worst.items():
            print(f"  {seconds / MINUTE_S:6.1f}  minutes: {name}", flush=True)

    def injected(
        self, alarm: Alarm, interval: str, fault: Callable[[int, int], Fault], kinds: list[int], fills_nothing: bool = False
    ) -> Iterator[tuple[Runs, int, list[float]]]:
        """Injects the fault at many moments, with runs of these kinds.

        Yields the runs, the number of the first wrong one, and when the alarm rang.
        """
        interval_s = int(interval) * MINUTE_S
        for seed in range(INJECTIONS):
            for chunks in kinds:
                at = 8
                runs = Runs(seed * 1000 + chunks, interval_s, 28, chunks, fault(at, interval_s))
                minutes = range(4 * interval_s // MINUTE_S, 28 * interval_s // MINUTE_S)
                random = Random(seed)
                extra, offset = random.choice(RANGES), random.uniform(0, EVALUATED_WITHIN_S)
                turned = changes(alarm, runs.sent, minutes, extra, offset, fills_nothing)
                yield runs, at, [time for time, state in turned if state == ALARM]

    def latest_of(
        self,
        alarm: Alarm,
        interval: str,
        fault: Callable[[int, int], Fault],
        since: Callable[[Runs, int], float],
        fills_nothing: bool = False,
    ) -> float:
        """The longest time from `since` to the ring. Infinite unless the alarm rings once."""
        latest = 0.0
        for runs, at, rings in self.injected(alarm, interval, fault, [0, 3], fills_nothing):
            if len(rings) != 1:
                return float("inf")
            latest = max(latest, rings[0] - since(runs, at))
        return latest

    def latest_ring(
        self, name: str, interval: str, fault: Callable[[int, int], Fault], since: Callable[[Runs, int], float], what: str = ""
    ) -> float:
        late = self.latest_of(self.alarms[interval][name], interval, fault, since)
        self.note(name if name != "no-run" else f"{name}, each {interval} minutes", late)
        if name in PROMISED_S:
            promise = f"{interval} minutes: {name} rings once, within {PROMISED_S[name] // MINUTE_S} minutes"
            check(f"{promise} ({what})" if what else promise, late <= PROMISED_S[name])
        return late

    def note(self, what: str, late: float) -> None:
        self.worst[what] = max(self.worst.get(what, 0.0), late)

    def rings_once(self, alarm: Alarm, sent: dict[str, Samples], since: float, between: tuple[float, float], random: Random) -> None:
        minutes = range(int(between[0] // MINUTE_S), int(between[1] // MINUTE_S))
        turned = changes(alarm, sent, minutes, random.choice(RANGES), random.uniform(0, EVALUATED_WITHIN_S))
        rings = [time - since for time, state in turned if state == ALARM]
        if len(rings) != 1 or rings[0] > PROMISED_S[alarm.name]:
            check(f"{alarm.name} rings once, within {PROMISED_S[alarm.name]} s", rings)
        self.note(alarm.name, rings[0])

    def never_rings(self, interval: str, what: str, fault: Callable[[int, int], Fault], name: str) -> None:
        rung = [len(rings) for _, _, rings in self.injected(self.alarms[interval][name], interval, fault, [0, 3])]
        check(f"{interval} minutes: {what}, and {name} does not ring", sum(rung), 0)

    def after_the_runs_have_stopped(self, alarm: Alarm, wrong: dict[str, float]) -> list[str]:
        """The states of the alarm during runs with this trouble, and in the hours after them.

        Without chunks: the last visible chunk may be a healthy one.
        """
        turned = set()
        for seed in range(INJECTIONS):
            for extra in RANGES:
                runs = Runs(seed, 900, 12, 0, lambda _: wrong)
                turned.add(tuple(state for _, state in changes(alarm, runs.sent, range(60, 12 * 60), extra)))
        [states] = turned
        return list(states)


def stopping(at: int, _: int) -> Fault:
    """This run is the last."""
    return lambda run: {"lost": 1} if run > at else {}


def last_report(runs: Runs, at: int) -> float:
    return runs.reports[at][-1]


def ending(at: int, interval_s: int) -> Fault:
    """From this run on, nothing renews a connection. Its token has at most the margin left."""
    return lambda run: {"end": at * interval_s + 1800} if at <= run < at + 10 else {}


def first_short(runs: Runs, _: int) -> float:
    """The minute of the first report with a life shorter than the alarm's threshold."""
    samples = runs.sent["MinRemainingSeconds"]
    return next(minute for minute, value in zip(samples.minutes, samples.values) if value < SHORT_S) * float(MINUTE_S)


def alarm(properties: dict[str, Any]) -> Alarm:
    """Reads an alarm of the resolved template."""
    queries = properties.get("Metrics")
    if queries:
        stats = {query["Id"]: query["MetricStat"] for query in queries if "MetricStat" in query}
        [expression] = [query["Expression"] for query in queries if query.get("ReturnData")]
        metrics = {key: (stat["Metric"]["MetricName"], stat["Stat"]) for key, stat in stats.items()}
        [period] = {stat["Period"] for stat in stats.values()}
    else:
        metrics, expression = {"metric": (properties["MetricName"], properties["Statistic"])}, "metric"
        period = properties["Period"]
    return Alarm(
        name=properties["AlarmName"].removeprefix("token-keeper-"),
        metrics=metrics,
        expression=expression,
        period_s=int(period),
        evaluation_periods=int(properties["EvaluationPeriods"]),
        datapoints_to_alarm=int(properties.get("DatapointsToAlarm", properties["EvaluationPeriods"])),
        threshold=float(properties["Threshold"]),
        comparison=properties["ComparisonOperator"],
        missing=properties["TreatMissingData"],
    )


if __name__ == "__main__":
    sys.exit(tell(lambda programs: Story(programs).steps()))
