"""Makes the pictures in docs/pictures/ with the compiled programs.

- consent.png: the page at the end of a consent, as Chromium shows it.
- list.svg: what `token-keeper list` prints in a terminal.

moto plays AWS, the stand-ins program plays Zoho. Three documents get older times, because otherwise
every token in the list would be new.
"""

from __future__ import annotations

import fcntl
import io
import json
import os
import re
import struct
import subprocess
import sys
import termios
from contextlib import ExitStack
from datetime import timedelta
from typing import Callable

from playwright.sync_api import ViewportSize
from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text

from helpers.administrator import Administrator
from helpers.browser import Profile, start_chromium
from helpers.checks import check, instant, tell
from helpers.installation import PREFIX, Installation, compiled
from helpers.processes import ROOT, environment, free_port

PICTURES = ROOT / "docs" / "pictures"
MOST_BYTES = 60_000
PAGE: ViewportSize = {"width": 720, "height": 420}
COLUMNS = 100
DEAD = "desk"
OTHERS = {
    "books": ("eu", "ZohoBooks.invoices.READ", 32),
    DEAD: ("eu", "Desk.tickets.READ", 33),
    "inventory": ("us", "ZohoInventory.items.READ", 17),
}
"""Data centre, scope, and how many minutes ago the token was minted."""


class Story:
    """The steps in their order. Each needs those before."""

    def __init__(self, programs: ExitStack) -> None:
        callback = f"http://localhost:{free_port()}"
        self.here = Installation(programs, callback=callback)
        self.admin = Profile(start_chromium(programs), callback, PAGE)
        PICTURES.mkdir(parents=True, exist_ok=True)

    def steps(self) -> list[Callable[[], None]]:
        return [self.other_connections, self.a_consent, self.a_list]

    def other_connections(self) -> None:
        """Three connections, one of them dead"""
        zoho = self.here.zoho
        self.token_keeper("client", "add", "acme", "--client-id", zoho.client_id, typed=zoho.client_secret)
        for name, (data_center, scope, minutes) in OTHERS.items():
            new = ["--client", "acme", "--data-center", data_center, "--scope", scope]
            with self.here.connect_local(name, *new) as (_, link):
                administrator = Administrator()
                administrator.open(administrator.accept(administrator.redirect(link)))
            if name == DEAD:
                zoho.remove_app(data_center, self.here.secret(f"connections/{name}")["refresh_token"])
                self.token_keeper("refresh", name, "--force", ends=1)
            self.age(name, timedelta(minutes=minutes))

    def a_consent(self) -> None:
        """docs/pictures/consent.png"""
        new = ["--client", "acme", "--data-center", "eu", "--scope", "ZohoCRM.modules.ALL"]
        with self.here.connect_local("crm-prod", *new) as (_, link):
            self.admin.open(link)
            check("the page says Connected", self.admin.press("Accept").heading, "Connected")
            picture = self.admin.page.screenshot(path=PICTURES / "consent.png")
        check(f"it has at most {MOST_BYTES} bytes", len(picture) <= MOST_BYTES)

    def a_list(self) -> None:
        """docs/pictures/list.svg"""
        printed = self.in_a_terminal("list", ends=1)
        console = Console(record=True, width=COLUMNS, file=io.StringIO())
        console.print(Text.from_ansi(f"\x1b[2m$\x1b[0m token-keeper list\n{printed}"))
        svg = console.export_svg(title="", theme=MONOKAI, unique_id="list")
        # The fonts are on another server. Without them, the reader's own monospaced font is used.
        svg = re.sub(r"\s*@font-face \{.*?\}", "", svg, flags=re.DOTALL)
        check("it loads nothing", re.findall(r"(?:url\(|href=)[^#]*?//", svg), [])
        check("it has colours", "fill: #" in svg and "consent&#160;required" in svg)
        check(f"it has at most {MOST_BYTES} bytes", len(svg.encode()) <= MOST_BYTES)
        (PICTURES / "list.svg").write_text(svg)

    def token_keeper(self, *arguments: str, typed: str = "", ends: int = 0) -> None:
        command = [compiled("token-keeper"), *arguments]
        env = environment(**self.here.variables)
        ran = subprocess.run(command, cwd=ROOT, env=env, input=typed, capture_output=True, text=True)
        check(f"token-keeper {' '.join(arguments[:2])}", ran.returncode, ends)

    def age(self, connection: str, by: timedelta) -> None:
        """Publishes the document with older times."""
        document = self.here.lease(connection)
        for name in document.keys() & {"issued_at", "expires_at", "since"}:
            document[name] = (instant(document[name]) - by).strftime("%Y-%m-%dT%H:%M:%SZ")
        parameter = f"/{PREFIX}/tokens/{connection}"
        self.here.parameters.put_parameter(
            Name=parameter, Value=json.dumps(document), Type="SecureString", Overwrite=True
        )

    def in_a_terminal(self, *arguments: str, ends: int) -> str:
        """Runs a command with a terminal as its standard output. Returns what it prints."""
        ours, theirs = os.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, COLUMNS, 0, 0))
        env = environment(**self.here.variables, TERM="xterm-256color")
        ran = subprocess.run([compiled("token-keeper"), *arguments], cwd=ROOT, env=env, stdout=theirs)
        os.close(theirs)
        check(f"token-keeper {' '.join(arguments)}", ran.returncode, ends)
        with os.fdopen(ours, "rb") as terminal:
            return terminal.read1().decode().replace("\r\n", "\n")


if __name__ == "__main__":
    sys.exit(tell(lambda programs: Story(programs).steps()))
