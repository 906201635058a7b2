"""Dependencies of Node programs, exactly as locked."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from helpers.checks import check
from helpers.processes import environment


def install(source: Path, home: Path) -> None:
    """Installs what the lock file in `source` names into `home`, unless it is there."""
    lock = (source / "package-lock.json").read_text()
    check("the lock file names no registry", '"resolved"' in lock, False)
    installed = home / "installed"
    if installed.exists() and installed.read_text() == lock:
        return
    home.mkdir(parents=True, exist_ok=True)
    for name in ("package.json", "package-lock.json"):
        shutil.copy(source / name, home)
    # npm uses the caller's registry and certificates, as pip does.
    npm = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel", "error"]
    subprocess.run(npm, cwd=home, env={**os.environ, "PATH": environment()["PATH"]}, check=True)
    installed.write_text(lock)
