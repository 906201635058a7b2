"""Evaluates CloudWatch's alarms by the rules of its user guide.

The caller passes the time, in seconds.

The guide documents ("Alarm evaluation", "Configuring how CloudWatch alarms treat missing data",
"Metric math syntax and functions"):

- CloudWatch evaluates an alarm each minute if its period is a minute or longer. It looks at windows
  of one period; the newest window ends with that minute.
- CloudWatch retrieves more data points than Evaluation Periods. These are the evaluation range. If
  it has at least Evaluation Periods real points, CloudWatch evaluates the newest of them, wherever
  in the range they are, and ignores the setting for missing data. If it has fewer, CloudWatch
  evaluates all real points and fills the rest by that setting.
- With `missing` and `ignore`, breaching points also ring if only missing points follow them, once
  the oldest is as old as Datapoints to Alarm ("premature transitions"). In the guide's tables,
  `ignore` keeps the state in this case.
- `FILL` replaces missing points. It also replaces the newest, whose data may still be on its way.
  Arithmetic takes a missing point for 0.

The guide does not say the following. This file assumes it, or takes it as an argument:

- The length of the evaluation range. The guide says "higher"; in its examples it is 5 for 3.
  `extra` is how many more points CloudWatch retrieves.
- Whether `FILL` fills a range without a single point. Here it does, unless `fills_nothing` is set.
- When in its minute CloudWatch evaluates an alarm: `offset` seconds after the last window has
  ended.
- Which points an expression has: those that at least one of its metrics has.
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
    """By its identifier in the expression, the name and the statistic of each metric."""
    expression: str
    period_s: int
    evaluation_periods: int
    datapoints_to_alarm: int
    threshold: float
    comparison: str
    missing: str


@dataclass
class Samples:
    """What was sent to one metric, in order of time.

    Each sample has the minute of its time stamp, the time when CloudWatch knows it, and a value.
    """

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
    """The state that follows from the evaluation range. `None`: the state stays as it is.

    The newest point comes first. A point is breaching or not; a missing point is `None`.
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
    """The state that follows from the statistic of each metric in each window, newest first."""
    breaches = COMPARISONS[alarm.comparison]
    values = calculate(alarm.expression, windows, fills_nothing)
    points = [None if value is None else breaches(value, alarm.threshold) for value in values]
    return judge(points, alarm.evaluation_periods, alarm.datapoints_to_alarm, alarm.missing)


def calculate(expression: str, windows: dict[str, list[Optional[float]]], fills_nothing: bool) -> list[Optional[float]]:
    """Calculates what the alarms use: a metric, `FILL(metric, number)` or `metric + metric`."""
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
    """Evaluates the alarm at the end of each minute. Yields when it changes, and to which state.

    It starts as `OK`.
    """
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
    """For each minute, whether the state can change.

    It can if CloudWatch gets to know a sample, or if a sample moves to an older window.
    """
    due = bytearray(len(minutes))
    due[0] = 1
    for samples in columns:
        for minute, known_at in zip(samples.minutes, samples.known_at):
            known = -int(-(known_at - offset) // MINUTE_S)
            for turn in (known, *range(minute + 1, minute + 2 + length * period, period)):
                if 0 <= turn - minutes.start < len(due):
                    due[turn - minutes.start] = 1
    return due
