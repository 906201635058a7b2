"""What every story uses: it checks its promises one by one, in their order."""

from __future__ import annotations

import sys
import time
from contextlib import ExitStack
from datetime import datetime, timezone
from typing import Any, Callable

from helpers.processes import end_on_sigterm

RECENT_S = 300
"""A time that is closer to now than this is from this test."""


class Mismatch(Exception):
    """The program does not do what it promises."""


def check(promise: str, found: Any, wanted: Any = True) -> None:
    if found != wanted:
        raise Mismatch(f"{promise}\n  found:  {found!r}\n  wanted: {wanted!r}")
    print(f"  ok  {promise}", flush=True)


def instant(text: str) -> datetime:
    """Reads a time of the contract: RFC 3339, UTC, whole seconds."""
    try:
        return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=timezone.utc)
    except ValueError:
        raise Mismatch(f"times are UTC in whole seconds\n  found:  {text}") from None


def recent(text: str) -> bool:
    return abs((datetime.now(timezone.utc) - instant(text)).total_seconds()) < RECENT_S


def leaked(secrets: set[str], text: str) -> list[str]:
    """The secrets that the text contains, whole or by their last part."""
    return [secret for secret in secrets if secret in text or secret.split(".")[-1] in text]


def tell(steps: Callable[[ExitStack], list[Callable[[], None]]]) -> int:
    """Takes the steps in their order, prints the first failure, and ends what they started."""
    end_on_sigterm()
    started = time.monotonic()
    try:
        with ExitStack() as programs:
            for step in steps(programs):
                print(f"\n{step.__doc__}", flush=True)
                step()
    except (AssertionError, Mismatch, RuntimeError) as failure:
        print(f"\nFAILED  {failure}", file=sys.stderr)
        return 1
    print(f"\nall as promised, in {time.monotonic() - started:.0f} s")
    return 0
