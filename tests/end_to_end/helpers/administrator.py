"""An administrator's browser, played by a few requests. A real browser is in browser.py."""

from __future__ import annotations

import http.cookiejar
import ssl
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Optional


class NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: object) -> None:
        return None


class Administrator:
    """Keeps cookies and follows no redirect. Trusts the certificates in `bundle`."""

    def __init__(self, bundle: Optional[Path] = None) -> None:
        cookies = urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar())
        https = urllib.request.HTTPSHandler(context=ssl.create_default_context(cafile=bundle))
        self._agent = urllib.request.build_opener(NoRedirect, cookies, https)

    def open(self, url: str) -> tuple[int, str]:
        """Status and page."""
        try:
            with self._agent.open(url) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as answer:
            return answer.code, answer.read().decode()

    def redirect(self, url: str, form: Optional[bytes] = None) -> str:
        """Where the answer redirects to."""
        try:
            self._agent.open(url, form)
        except urllib.error.HTTPError as answer:
            location: Optional[str] = answer.headers["location"]
            assert location, f"{answer.code} without a redirect from {url.split('?')[0]}"
            return location
        raise AssertionError(f"no redirect from {url.split('?')[0]}")

    def follow(self, url: str, until: str) -> str:
        """Follows redirects to the first address that begins with `until`. Returns it."""
        while not url.startswith(until):
            url = urllib.parse.urljoin(url, self.redirect(url))
        return url

    def accept(self, question: str, user: str = "") -> str:
        """Agrees on Zoho's page, perhaps as another user. Returns where Zoho redirects to."""
        form = {"decision": "accept", **({"user": user} if user else {})}
        return self.redirect(question.replace("/auth?", "/decide?"), urllib.parse.urlencode(form).encode())
