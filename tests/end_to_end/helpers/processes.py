"""Programs in the background. A `with` block starts one and always stops it at its end."""

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

ROOT = Path(__file__).resolve().parents[3]
TOOLS = ROOT / ".tools" / "venv" / "bin"
SAM_TOOLS = ROOT / ".tools" / "sam" / "bin"
MINISTACK_TOOLS = ROOT / ".tools" / "ministack" / "bin"
CHECK_TOOLS = ROOT / ".tools" / "checks" / "bin"
"""Four environments, because the requirements of some tools exclude each other."""

READY_WITHIN_S = 60.0
"""How long a program may take to get ready. A slow machine needs a while to start Python."""
STOPPED_WITHIN_S = 5.0
"""How long a program may take to end after SIGTERM. Then it is killed."""
POLL_S = 0.02
LAST_WORDS = 1200
"""If the test fails, it shows this many characters from the end of what a program printed."""

KEPT = ("CARGO_HOME", "CARGO_TARGET_DIR", "HOME", "LANG", "LC_ALL", "RUSTUP_HOME", "RUSTUP_TOOLCHAIN", "TMPDIR")
"""What a program gets of the caller's environment: no AWS account, no setting and no proxy."""


def environment(**more: str) -> dict[str, str]:
    kept = {name: os.environ[name] for name in KEPT if name in os.environ}
    return {**kept, "PATH": f"{TOOLS}{os.pathsep}{os.environ['PATH']}", **more}


def build_directory() -> Path:
    """Where cargo puts its debug builds."""
    return ROOT / os.environ.get("CARGO_TARGET_DIR", "target") / "debug"


def end_on_sigterm() -> None:
    """Lets SIGTERM leave the `with` blocks in order, as Ctrl-C does."""

    def end(number: int, _frame: object) -> None:
        sys.exit(128 + number)

    signal.signal(signal.SIGTERM, end)


def free_port() -> int:
    """A free port. The port after it is free too."""
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
    """A running program and everything that it has printed so far."""

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
        """Waits until the program ends by itself. Returns the exit code."""
        return self._process.wait(READY_WITHIN_S)

    def stdout(self) -> str:
        return self._whole(self._out.fileno())

    def stderr(self) -> str:
        return self._whole(self._err.fileno())

    @staticmethod
    def _whole(file: int) -> str:
        # The program writes at the position that a plain read would move.
        return os.pread(file, os.fstat(file).st_size, 0).decode()

    def write_line(self, line: str = "") -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n".encode())
        self._process.stdin.flush()

    def wait_for(self, what: str, ready: Callable[[], Optional[T]]) -> T:
        """Calls `ready` until it returns something. Fails if the program ends or the time is up."""
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
        """Waits for a complete line on standard output. Counts from 0."""

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
    """Starts a moto server, changed where it differs from AWS, on a free port. Returns it and its URL."""
    mended = str(ROOT / "tests/end_to_end/helpers/mended_moto.py")
    moto = Program([sys.executable, mended, "-H", "127.0.0.1", "-p", "0"], environment())

    def url() -> Optional[str]:
        found = re.search(r"Running on (http://127\.0\.0\.1:\d+)", moto.stderr() + moto.stdout())
        return found and found.group(1)

    try:
        return moto, moto.wait_for("URL", url)
    except BaseException:
        moto.stop()
        raise
