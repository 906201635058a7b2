"""CloudWatch's alarms, evaluated by the rules that its user guide documents. Time is a number of seconds that the caller hands in.

Documented ("Alarm evaluation", "Configuring how CloudWatch alarms treat missing data", "Metric math syntax and functions"):

- An alarm whose period is a minute or longer is evaluated each minute, over windows of a period that end with that minute.
- CloudWatch retrieves more data points than Evaluation Periods: the evaluation range. If at least Evaluation Periods of them are real,
  the newest real ones are evaluated, wherever in the range they are, and the setting for missing data is ignored. If fewer are real, all
  of these are evaluated, and the rest is filled by that setting.
- With `missing` and `ignore`, breaching points that only missing ones follow ring once the oldest is as old as Datapoints to Alarm
  ("premature transitions"; the tables have `ignore` keep the state).
- `FILL` replaces missing points, the newest too, whose data may not have come yet. Arithmetic takes a missing point for 0.

Read into it, where the guide is silent:

- How long the evaluation range is. The guide says "higher" and has 5 for 3 in its examples. `extra` says how many more are retrieved.
- Whether `FILL` fills a range without any point. It does here unless `fills_nothing` says otherwise.
- When within its minute an alarm is evaluated: `offset` seconds after the last window has ended.
- The points of arithmetic: those that at least one of its metrics has.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from dataclasses import dataclass, field
from typing import Callable, Iterator, Optional, Sequence

ALARM, OK, INSUFFICIENT_DATA = "ALARM", "OK", "INSUFFICIENT_DATA"
MINUTE_S = 60

COMPARISONS: dict[str, Callable[[float, float], bool]] = {
    "GreaterThanOrEqualToThreshold": lambda value, threshold: value >= threshold,
    "GreaterThanThreshold": lambda value, threshold: value > threshold,
    "LessThanThreshold": lambda value, threshold: value < threshold,
}
STATISTICS: dict[str, Callable[[Optional[float], float], float]] = {
    "SampleCount": lambda so_far, _: (so_far or 0) + 1,
    "Sum": lambda so_far, value: (so_far or 0) + value,
    "Minimum": lambda so_far, value: value if so_far is None else min(so_far, value),
    "Maximum": lambda so_far, value: value if so_far is None else max(so_far, value),
}


@dataclass(frozen=True)
class Alarm:
    name: str
    metrics: dict[str, tuple[str, str]]
    """The metrics' identifiers in the expression, with each one's name and statistic."""
    expression: str
    period_s: int
    evaluation_periods: int
    datapoints_to_alarm: int
    threshold: float
    comparison: str
    missing: str


@dataclass
class Samples:
    """What was sent to one metric: minute of its time stamp, when CloudWatch knows of it, value. In order of the minutes."""

    minutes: list[int] = field(default_factory=list)
    known_at: list[float] = field(default_factory=list)
    values: list[float] = field(default_factory=list)

    def add(self, time_s: float, known_at: float, value: float) -> None:
        self.minutes.append(int(time_s // MINUTE_S))
        self.known_at.append(known_at)
        self.values.append(value)

    def sort(self) -> None:
        order = sorted(range(len(self.minutes)), key=self.minutes.__getitem__)
        for column in (self.minutes, self.known_at, self.values):
            column[:] = [column[index] for index in order]  # type: ignore[index]


def judge(points: Sequence[Optional[bool]], needed: int, to_alarm: int, missing: str) -> Optional[str]:
    """The state that follows from the evaluation range, newest point first: breaching, not breaching or missing (`None`).

    `None` is the state as it was.
    """
    real = [point for point in points if point is not None]
    if len(real) >= needed:
        return ALARM if sum(real[:needed]) >= to_alarm else OK
    breaching = sum(real)
    if missing in ("breaching", "notBreaching"):
        filled = needed - len(real) if missing == "breaching" else 0
        return ALARM if breaching + filled >= to_alarm else OK
    if real and breaching >= to_alarm:
        return ALARM
    if breaching < len(real):
        return OK
    if missing == "ignore":
        return None
    oldest = max((age for age, point in enumerate(points, 1) if point), default=0)
    return ALARM if real and oldest >= to_alarm else INSUFFICIENT_DATA


def evaluate(alarm: Alarm, windows: dict[str, list[Optional[float]]], fills_nothing: bool = False) -> Optional[str]:
    """The state that follows from each metric's statistic in each window of the evaluation range, newest first."""
    breaches = COMPARISONS[alarm.comparison]
    values = calculate(alarm.expression, windows, fills_nothing)
    points = [None if value is None else breaches(value, alarm.threshold) for value in values]
    return judge(points, alarm.evaluation_periods, alarm.datapoints_to_alarm, alarm.missing)


def calculate(expression: str, windows: dict[str, list[Optional[float]]], fills_nothing: bool) -> list[Optional[float]]:
    """An expression of those that the alarms have: a metric, `FILL(metric, number)`, `metric + metric`."""
    fill = re.fullmatch(r"FILL\((\w+), (\d+)\)", expression)
    if fill:
        values = windows[fill[1]]
        if fills_nothing and all(value is None for value in values):
            return values
        return [float(fill[2]) if value is None else value for value in values]
    columns = [windows[term] for term in expression.split(" + ")]
    if len(columns) == 1:
        return columns[0]
    return [None if set(row) == {None} else sum(value or 0 for value in row) for row in zip(*columns)]


def changes(
    alarm: Alarm,
    sent: dict[str, Samples],
    minutes: range,
    extra: int = 2,
    offset: float = 0,
    fills_nothing: bool = False,
) -> Iterator[tuple[float, str]]:
    """When the alarm changes to which state, evaluated at the end of each of these minutes. It begins with `OK`."""
    state = OK
    period = alarm.period_s // MINUTE_S
    length = alarm.evaluation_periods + extra
    columns = [(name, sent[metric], STATISTICS[statistic]) for name, (metric, statistic) in alarm.metrics.items()]
    followed: dict[tuple[tuple[Optional[float], ...], ...], Optional[str]] = {}
    due = turning_points([samples for _, samples, _ in columns], minutes, period, length, offset)
    for end, is_due in zip(minutes, due):
        if not is_due:
            continue
        now = end * MINUTE_S + offset
        windows = {}
        for name, samples, statistic in columns:
            found: list[Optional[float]] = [None] * length
            first = bisect_left(samples.minutes, end - length * period)
            for index in range(first, bisect_left(samples.minutes, end, first)):
                if samples.known_at[index] <= now:
                    age = (end - 1 - samples.minutes[index]) // period
                    found[age] = statistic(found[age], samples.values[index])
            windows[name] = found
        key = tuple(map(tuple, windows.values()))
        if key not in followed:
            followed[key] = evaluate(alarm, windows, fills_nothing)
        new = followed[key]
        if new is not None and new != state:
            state = new
            yield now, state


def turning_points(columns: list[Samples], minutes: range, period: int, length: int, offset: float) -> bytearray:
    """For each minute, whether anything can be other than a minute before: a sample has become known, or has gone on to an older window."""
    due = bytearray(len(minutes))
    due[0] = 1
    # An expression's metrics may be sent by themselves, but the alarms' come together: each list is cheap, so each is looked at.
    for samples in columns:
        for minute, known_at in zip(samples.minutes, samples.known_at):
            known = -int(-(known_at - offset) // MINUTE_S)
            for turn in (known, *range(minute + 1, minute + 2 + length * period, period)):
                if 0 <= turn - minutes.start < len(due):
                    due[turn - minutes.start] = 1
    return due
