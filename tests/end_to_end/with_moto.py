"""Starts a moto server and runs a command with its URL in MOTO_URL: with_moto.py cargo test …"""

from __future__ import annotations

import os
import subprocess
import sys

from helpers.processes import end_on_sigterm, start_moto


def main() -> int:
    if len(sys.argv) < 2:
        print("usage: with_moto.py COMMAND [ARGUMENT…]", file=sys.stderr)
        return 2
    end_on_sigterm()
    moto, url = start_moto()
    with moto:
        print(f"moto listens on {url}", flush=True)
        return subprocess.run(sys.argv[1:], env={**os.environ, "MOTO_URL": url}).returncode


if __name__ == "__main__":
    sys.exit(main())
