"""Programs in the background: each starts with a `with` block and is stopped at its end, whatever happens in between."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Callable, Optional, TypeVar

T = TypeVar("T")

ROOT = Path(__file__).resolve().parents[2]
TOOLS = ROOT / ".tools" / "venv" / "bin"
SAM_TOOLS = ROOT / ".tools" / "sam" / "bin"
MINISTACK_TOOLS = ROOT / ".tools" / "ministack" / "bin"
CHECK_TOOLS = ROOT / ".tools" / "checks" / "bin"
"""Tools whose requirements exclude each other's stand in environments of their own."""

READY_WITHIN_S = 60.0
"""How long a program may take until it is ready: a slow machine's first start of Python, with room."""
STOPPED_WITHIN_S = 5.0
"""How long a program may take to end when it is asked to; then it is killed."""
POLL_S = 0.02
LAST_WORDS = 1200
"""How many characters of what a program printed are shown if the test fails."""

KEPT = ("CARGO_HOME", "CARGO_TARGET_DIR", "HOME", "LANG", "LC_ALL", "RUSTUP_HOME", "RUSTUP_TOOLCHAIN", "TMPDIR")
"""Of the caller's environment, what a program gets. No AWS account, setting or proxy of the caller's gets into a test."""


def environment(**more: str) -> dict[str, str]:
    kept = {name: os.environ[name] for name in KEPT if name in os.environ}
    return {**kept, "PATH": f"{TOOLS}{os.pathsep}{os.environ['PATH']}", **more}


def build_directory() -> Path:
    """Where cargo puts what it builds for development."""
    return ROOT / os.environ.get("CARGO_TARGET_DIR", "target") / "debug"


def end_on_sigterm() -> None:
    """Makes a termination unwind the `with` blocks, as Ctrl-C does."""

    def end(number: int, _frame: object) -> None:
        sys.exit(128 + number)

    signal.signal(signal.SIGTERM, end)


def free_port() -> int:
    """A port that nobody listens on, nor on the one after it."""
    while True:
        with socket.socket() as probe, socket.socket() as successor:
            probe.bind(("127.0.0.1", 0))
            port: int = probe.getsockname()[1]
            try:
                successor.bind(("127.0.0.1", port + 1))
            except (OSError, OverflowError):
                continue
            return port


class Program:
    """A running program, with all that it has printed so far."""

    def __init__(self, command: list[str], env: dict[str, str]) -> None:
        self.name = Path(command[0]).name
        self._out = tempfile.TemporaryFile()
        self._err = tempfile.TemporaryFile()
        self._process = subprocess.Popen(
            command, cwd=ROOT, env=env, stdin=subprocess.PIPE, stdout=self._out, stderr=self._err
        )

    def __enter__(self) -> Program:
        return self

    def __exit__(
        self, kind: Optional[type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        self.stop()
        if kind is not None and issubclass(kind, Exception):
            printed = (self.stdout() + self.stderr())[-LAST_WORDS:]
            print(f"\n-- the last that {self.name} printed:\n{printed}", file=sys.stderr)

    def stop(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.terminate()
        try:
            self._process.wait(STOPPED_WITHIN_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def ended(self) -> int:
        """Waits for its own end; the exit code."""
        return self._process.wait(READY_WITHIN_S)

    def stdout(self) -> str:
        return self._whole(self._out.fileno())

    def stderr(self) -> str:
        return self._whole(self._err.fileno())

    @staticmethod
    def _whole(file: int) -> str:
        # `pread`, because the program writes at the position that a plain read would move.
        return os.pread(file, os.fstat(file).st_size, 0).decode()

    def write_line(self, line: str = "") -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n".encode())
        self._process.stdin.flush()

    def wait_for(self, what: str, ready: Callable[[], Optional[T]]) -> T:
        """Asks again and again until the answer is something; fails if the program ends or the time is up."""
        deadline = time.monotonic() + READY_WITHIN_S
        while True:
            ended = self._process.poll() is not None
            answer = ready()
            if answer is not None:
                return answer
            if ended:
                raise RuntimeError(f"{self.name} ended early, while waiting for {what}")
            if time.monotonic() > deadline:
                raise RuntimeError(f"{self.name}: no {what} within {READY_WITHIN_S:.0f} s")
            time.sleep(POLL_S)

    def wait_for_line(self, number: int) -> str:
        """The complete line of this number, counted from 0, on standard output."""

        def line() -> Optional[str]:
            lines = self.stdout().splitlines(keepends=True)
            return lines[number] if len(lines) > number and lines[number].endswith("\n") else None

        return self.wait_for(f"line {number + 1}", line)

    def wait_for_port(self, port: int) -> None:
        def accepts() -> Optional[bool]:
            with socket.socket() as probe:
                return True if probe.connect_ex(("127.0.0.1", port)) == 0 else None

        self.wait_for(f"listener on port {port}", accepts)


def start_moto() -> tuple[Program, str]:
    """A moto server on a port of its own choice, and its URL."""
    moto = Program(["moto_server", "-H", "127.0.0.1", "-p", "0"], environment())

    def url() -> Optional[str]:
        found = re.search(r"Running on (http://127\.0\.0\.1:\d+)", moto.stderr() + moto.stdout())
        return found and found.group(1)

    try:
        return moto, moto.wait_for("URL", url)
    except BaseException:
        moto.stop()
        raise
