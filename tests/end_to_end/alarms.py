"""The alarms of infra/operation.yaml before any AWS: each rings in time for its fault, and none in a year without one.

Real: the template, for every allowed interval. Stood in for: CloudWatch, by the rules that its guide documents (cloudwatch.py), and the
refresher, by what it would report, alone or in chunks. Everything is seeded: the same faults come at the same moments in every run.
"""

from __future__ import annotations

import re
import sys
from contextlib import ExitStack
from dataclasses import replace
from random import Random
from typing import Any, Callable, Iterator

from checks import check, tell
from cloudwatch import ALARM, INSUFFICIENT_DATA, MINUTE_S, OK, Alarm, Samples, changes, judge
from processes import ROOT
from template import load, resolved

INTERVALS = ["5", "10", "15", "20", "30", "60"]
DEFAULT = "15"
DAY_S = 86_400
INJECTIONS = 40
"""How often each fault is injected, at as many moments, for each interval and kind of run."""
MARGIN_S = 2100
"""What a token has left after a run at the least, with the default margin."""
SHORT_S = 900
"""MinRemainingSeconds of the template."""

# What is assumed of the world. The schedule's window is the template's.
LATE_S = 60.0
TAKES_S = (0.5, 15.0)
LONG_S = (0.5, 295.0)
"""What a run may take: some have much to write at three puts a second, and the function is given 300 seconds."""
KNOWN_AFTER_S = (5.0, 100.0)
"""How long a metric is on its way: AWS promises nothing, and has it within a minute or two."""
SPREAD_S = 120.0
"""Within this after the scheduled run its chunks have reported."""
EVALUATED_WITHIN_S = 30.0
RANGES = (2, 5)
"""How many more points than it evaluates CloudWatch retrieves: the guide's own examples have 2."""

PROMISED_S = {
    "short-life": 4 * MINUTE_S,
    "not-refreshed": 8 * MINUTE_S,
    "misconfigured": 8 * MINUTE_S,
    "refresher-errors": 5 * MINUTE_S,
    "failed-events": 20 * MINUTE_S,
    "failed-chunks": 20 * MINUTE_S,
    "waiting-chunks": 5 * MINUTE_S,
    "callback-errors": 5 * MINUTE_S,
}
"""From the report that has the fault (of two runs, the second's) to the ring. For no-run, see its own promise."""

# The guide's two tables: points from the oldest to the newest; what follows with missing, ignore, breaching, notBreaching.
# "" is the state as it was. The last row of each comes from an older edition, and is not contradicted by the newer.
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
"""For the number of a run, what is other than usual: `lost`, `late`, `error`, `end` of a token's life, or a metric's value."""


def no_fault(_: int) -> dict[str, float]:
    return {}


class Runs:
    """What runs of the refresher report, from its start to some days later."""

    def __init__(
        self, seed: int, interval_s: int, number: int, chunks: int, fault: Fault = no_fault, takes_s: tuple[float, float] = TAKES_S
    ) -> None:
        random = Random(seed)
        self.sent = {name: Samples() for name in ("DurationMs", "Failed", "Deferred", "Misconfigured", "MinRemainingSeconds", "Errors")}
        self.reports: list[list[float]] = []
        """When each run reported that which it has to report of the fault, and when it reported last."""
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
            # A run that sends chunks reports that it did so, and no life of tokens; which chunk has the sick connection is up to chance.
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
            resources = resolved(template, IntervalMinutes=interval)
            properties = [each["Properties"] for each in resources.values() if each["Type"] == "AWS::CloudWatch::Alarm"]
            found = [alarm(each) for each in properties]
            self.alarms[interval] = {alarm.name: alarm for alarm in found}
        self.worst: dict[str, float] = {}

    def steps(self) -> list[Callable[[], None]]:
        return [
            self.the_guides_tables,
            self.no_run_rings_before_the_first_token_ends,
            self.a_lost_or_late_run_is_no_alarm,
            self.short_life_rings,
            self.what_two_runs_report_rings,
            self.a_run_that_fails_rings_once,
            self.queues_and_callback_ring,
            self.no_all_clear_when_runs_stop,
            self.a_rest_is_no_alarm,
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
        told = re.findall(r"^\| (missed runs|minutes without a report) \|(.*)$", guide, re.MULTILINE)
        rows = {name: dict(zip(INTERVALS, map(int, re.findall(r"\d+", row)))) for name, row in told}
        for interval in INTERVALS:
            silence_s = self.silence[interval] * MINUTE_S
            check(f"{interval} minutes: the guide says after how many", rows["minutes without a report"][interval], self.silence[interval])
            missed = rows["missed runs"][interval]
            spare_s = silence_s - missed * int(interval) * MINUTE_S
            check(f"  which is after {missed} missed, the last of them a minute late", spare_s >= LATE_S + KNOWN_AFTER_S[1])
            latest = silence_s + MINUTE_S + EVALUATED_WITHIN_S
            late = self.latest_ring("no-run", interval, stopping, last_report)
            check(f"  and rings within {latest / MINUTE_S} minutes of the last report", late <= latest)
            check("  when every token still lives", latest < MARGIN_S, interval not in ("30", "60"))
        # Should CloudWatch not fill where it has nothing at all, the missing minutes ring, once the range has no report.
        later = self.latest_of(self.alarms[DEFAULT]["no-run"], DEFAULT, stopping, last_report, fills_nothing=True)
        silence_s = self.silence[DEFAULT] * MINUTE_S
        latest = silence_s + (1 + max(RANGES)) * MINUTE_S + EVALUATED_WITHIN_S
        check(f"{DEFAULT} minutes: without FILL's help it rings soon after", later <= latest)

    def a_lost_or_late_run_is_no_alarm(self) -> None:
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
        """One connection's token ends"""
        for interval in INTERVALS:
            self.latest_ring("short-life", interval, ending, first_short)
            once = lambda at, interval_s: lambda run: {"end": at * interval_s + MARGIN_S - LATE_S} if run == at else {}
            self.never_rings(interval, "a token is renewed one run late", once, "short-life")

    def what_two_runs_report_rings(self) -> None:
        """Two runs in a row report the same trouble; one alone does"""
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
        """A message is left over; a chunk waits; a consent fails"""
        for interval in INTERVALS:
            alarms = self.alarms[interval]
            for seed in range(INJECTIONS):
                random = Random(seed)
                at = random.uniform(DAY_S, 2 * DAY_S)
                # A queue that was asleep tells within a quarter of an hour; while it is awake, each minute.
                lies, asleep = Samples(), random.uniform(0, 15 * MINUTE_S)
                for minute in range(3 * 60):
                    time = at + minute * MINUTE_S
                    lies.add(time, max(time + random.uniform(*KNOWN_AFTER_S), at + asleep), float(minute < 60))
                for name in ("failed-events", "failed-chunks"):
                    self.rings_once(alarms[name], {"ApproximateNumberOfMessagesVisible": lies}, at, (at, at + DAY_S), random)
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
            tries_s = 2 * 330.0  # as foundation.yaml has it: VisibilityTimeout, and how often a chunk is received
            check(f"{interval} minutes: a chunk in its second try is no alarm", alarms["waiting-chunks"].threshold >= tries_s)

    def no_all_clear_when_runs_stop(self) -> None:
        """An alarm rings, and then the schedule stops"""
        for name, wrong in (("short-life", {"end": 0.0}), ("not-refreshed", {"Failed": 1}), ("misconfigured", {"Misconfigured": 1})):
            check(f"{name} keeps its state", self.after_the_runs_have_stopped(self.alarms[DEFAULT][name], wrong), [ALARM])

    def a_rest_is_no_alarm(self) -> None:
        """ScheduleState=DISABLED"""
        rests = alarm(self.settings["rests"])
        never = {"DurationMs": Samples()}
        check("no-run stays well", [list(changes(rests, never, range(600), fills_nothing=fills)) for fills in (False, True)], [[], []])
        check("and would tell nobody", self.settings["rests"]["ActionsEnabled"], False)

    def a_year_without_a_fault(self) -> None:
        """A year of runs for the default interval, a month for each of the others, one by one and in chunks"""
        for interval in INTERVALS:
            days = 365 if interval == DEFAULT else 30
            interval_s = int(interval) * MINUTE_S
            for chunks in (0, 3):
                # A run that sends chunks has nothing to write.
                runs = Runs(chunks, interval_s, days * DAY_S // interval_s, chunks, takes_s=TAKES_S if chunks else LONG_S)
                minutes = range(2 * self.silence[interval], days * DAY_S // MINUTE_S)
                offset = Random(chunks).uniform(0, EVALUATED_WITHIN_S)
                names = ("no-run", "short-life", "not-refreshed", "misconfigured", "refresher-errors")
                rung = {name: len(list(changes(self.alarms[interval][name], runs.sent, minutes, offset=offset))) for name in names}
                kind = "in chunks" if chunks else "one by one"
                check(f"{len(runs.reports)} runs, each {interval} minutes, {kind}: no alarm rings", rung, dict.fromkeys(rung, 0))

    def wrong_settings_are_noticed(self) -> None:
        """What would be wrong is seen to be wrong"""
        right = self.alarms[DEFAULT]
        before = replace(right["no-run"], expression="runs", period_s=900, evaluation_periods=2, datapoints_to_alarm=2)
        late = self.latest_of(before, DEFAULT, stopping, last_report)
        check("two missing intervals, without FILL, ring about an hour after the last report", 3300 < late < 7200)
        check("  which is when tokens have ended", late > MARGIN_S)
        stops = self.after_the_runs_have_stopped(replace(right["short-life"], missing="notBreaching"), {"end": 0.0})
        check("short-life with notBreaching gives an all-clear when runs stop", stops, [ALARM, OK])
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
        """From the fault to the ring, at worst"""
        for name, seconds in self.worst.items():
            print(f"  {seconds / MINUTE_S:6.1f}  minutes: {name}", flush=True)

    # What the steps share.

    def injected(
        self, alarm: Alarm, interval: str, fault: Callable[[int, int], Fault], kinds: list[int], fills_nothing: bool = False
    ) -> Iterator[tuple[Runs, int, list[float]]]:
        """The fault at many moments, with runs of these kinds; the runs, the first wrong one, and when the alarm rang."""
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
        """The longest time from the moment that counts to the ring, which comes once."""
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
        """Each state that the alarm took, in runs that all have this trouble, and in the hours after the last. Not in chunks: there the
        last that is in sight may be one that is well.
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
    """From this run on a connection is not renewed. Its token had no more than the margin left then."""
    return lambda run: {"end": at * interval_s + 1800} if at <= run < at + 10 else {}


def first_short(runs: Runs, _: int) -> float:
    """The minute of the first report of a life shorter than the alarm's threshold."""
    samples = runs.sent["MinRemainingSeconds"]
    return next(minute for minute, value in zip(samples.minutes, samples.values) if value < SHORT_S) * float(MINUTE_S)


def alarm(properties: dict[str, Any]) -> Alarm:
    """As the template has it, with everything put in."""
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
