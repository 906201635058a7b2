"""Chromium, as a person uses it. Each profile has its own cookies and history."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from typing import Optional
from urllib.parse import parse_qs, urlsplit

from playwright.sync_api import Browser, ConsoleMessage, Cookie, Response, Route, ViewportSize, sync_playwright

from helpers import chromium
from helpers.processes import environment

ANSWERED_WITHIN_MS = 20_000
NOWHERE_ELSE = "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE localhost , EXCLUDE 127.0.0.1"
ONE_COOKIE_HEADER = "--disable-http2"
"""HTTP/2 sends each cookie in a separate header. AWS passes on all, cargo-lambda only the first."""
STATUS_IS_NO_SUCCESS = "Failed to load resource: the server responded with a status of"
"""Chromium writes this to the console for every page with a 4xx status."""


def start_chromium(programs: ExitStack) -> Browser:
    """The system's Chromium. It runs without its sandbox, which root cannot have.

    It sees only pages of this test.
    """
    program = chromium.find()
    if program is None:
        raise RuntimeError(chromium.HOW)
    playwright = programs.enter_context(sync_playwright())
    browser = playwright.chromium.launch(
        executable_path=program, args=[NOWHERE_ELSE, ONE_COOKIE_HEADER], env=dict(environment())
    )
    programs.callback(browser.close)
    return browser


@dataclass
class Seen:
    """A page as a person sees it."""

    url: str
    status: Optional[int]
    heading: str
    text: str


@dataclass
class Answer:
    """What the browser got for one request."""

    url: str
    status: int
    headers: dict[str, str]


class Profile:
    """Keeps answers, pages and console messages of addresses that start with `ours`."""

    def __init__(self, browser: Browser, ours: str, size: Optional[ViewportSize] = None) -> None:
        self._ours = ours
        self._context = browser.new_context(ignore_https_errors=True, viewport=size)
        self._context.set_default_timeout(ANSWERED_WITHIN_MS)
        self.page = self._context.new_page()
        self.answers: list[Answer] = []
        self.complaints: list[str] = []
        """Errors and warnings of Chromium about our pages."""
        self.html = ""
        """All of our pages so far."""
        self.page.on("response", self._keep_answer)
        self.page.on("console", self._keep_complaint)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def open(self, url: str) -> Seen:
        return self._see(self.page.goto(url))

    def press(self, button: str) -> Seen:
        with self.page.expect_navigation() as navigation:
            self.page.get_by_role("button", name=button, exact=True).click()
        return self._see(navigation.value)

    def press_and_stay(self, button: str) -> str:
        """Presses a button. Returns where the answer redirects to; shows an empty page instead."""
        led_to: list[str] = []

        def hold(route: Route) -> None:
            led_to.append(route.fetch(max_redirects=0).headers["location"])
            route.fulfill(content_type="text/html", body="")

        self.page.route("**", hold, times=1)
        with self.page.expect_navigation():
            self.page.get_by_role("button", name=button, exact=True).click()
        return led_to[0]

    def back(self) -> Seen:
        return self._see(self.page.go_back())

    def forward(self) -> Seen:
        return self._see(self.page.go_forward())

    def reload(self) -> Seen:
        return self._see(self.page.reload())

    def cookies(self) -> list[Cookie]:
        """The cookies that the browser would send to us."""
        return self._context.cookies(self._ours)

    def codes(self) -> set[str]:
        """The authorization codes in the addresses so far."""
        return {code for answer in self.answers for code in parse_qs(urlsplit(answer.url).query).get("code", [])}

    def _see(self, response: Optional[Response]) -> Seen:
        if self.page.url.startswith(self._ours):
            self.html += self.page.content()
        heading, text = (self.page.locator(part).inner_text() for part in ("h1", "main"))
        return Seen(self.page.url, response.status if response else None, heading, text)

    def _keep_answer(self, response: Response) -> None:
        if response.url.startswith(self._ours):
            self.answers.append(Answer(response.url, response.status, response.headers))

    def _keep_complaint(self, message: ConsoleMessage) -> None:
        of_ours = message.location["url"].startswith(self._ours) or self.page.url.startswith(self._ours)
        if of_ours and not message.text.startswith(STATUS_IS_NO_SUCCESS):
            self.complaints.append(f"{message.type}: {message.text}")
