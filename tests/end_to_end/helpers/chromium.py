"""Finds the Chromium that the browser tests use.

As a program it also installs one where it can, or says how to get one.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Optional

NAMES = ("chromium", "chromium-browser", "google-chrome")
HOW = (
    "The browser tests need Chromium or Chrome. Install one of them (on Debian: apt-get install chromium), "
    "or name its program: make CHROMIUM=/path/to/chrome test"
)


def find() -> Optional[str]:
    """The program that `CHROMIUM` names. Without that, the first of `NAMES` that the system has."""
    named = os.environ.get("CHROMIUM")
    return next(filter(None, map(shutil.which, [named] if named else NAMES)), None)


def can_install() -> bool:
    system = Path("/etc/os-release")
    return os.geteuid() == 0 and system.exists() and "ID=debian" in system.read_text().splitlines()


def install() -> None:
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for arguments in (["update"], ["install", "-y", "--no-install-recommends", "chromium"]):
        subprocess.run(["apt-get", "-qq", *arguments], env=quiet, stdout=subprocess.DEVNULL, check=False)


def main() -> int:
    if find() is None and not os.environ.get("CHROMIUM") and can_install():
        print("installing Chromium with apt-get", flush=True)
        install()
    if find() is None:
        print(HOW, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
