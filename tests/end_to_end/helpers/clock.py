"""A clock that is ahead of real time, for compiled programs."""

from __future__ import annotations

import subprocess
import time
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

from helpers.processes import ROOT


class Clock:
    """Programs that are started with its `variables` go by it. clock.c does that."""

    def __init__(self, programs: ExitStack) -> None:
        folder = Path(programs.enter_context(TemporaryDirectory()))
        library, self._file, self._next = folder / "clock.so", folder / "ahead", folder / "next"
        source = ROOT / "tests/end_to_end/helpers/clock.c"
        # Rust needs a C compiler too: it links with it.
        subprocess.run(["cc", "-shared", "-fPIC", "-Wall", "-Wextra", "-Werror", "-o", str(library), str(source)], check=True)
        self.variables = {"LD_PRELOAD": str(library), "CLOCK_AHEAD": str(self._file)}
        self._ahead_s = 0
        self.go_on(0)

    def go_on(self, seconds: int) -> None:
        self._ahead_s += seconds
        self._next.write_text(str(self._ahead_s))
        # At once: a program may look at any moment.
        self._next.replace(self._file)

    def now(self) -> float:
        return time.time() + self._ahead_s
