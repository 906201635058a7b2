"""Calls a Zoho API with a token from Token Keeper.

    python consumer.py crm-prod /crm/v8/org [/PATH...]

It needs boto3, which installs urllib3 too.
"""

import json
import os
import re
import sys
import threading
import time
from datetime import datetime

import boto3
import urllib3
from botocore.exceptions import BotoCoreError, ClientError


class Zoho:
    """One connection. Make one object for the whole program; all threads can share it."""

    def __init__(self, connection, prefix="token-keeper", complaints=None):
        """`complaints` is the URL of Token Keeper's queue of complaints."""
        self._connection, self._parameter = connection, f"/{prefix}/tokens/{connection}"
        self._ssm, self._complaints = boto3.client("ssm"), complaints
        self._http = urllib3.PoolManager(timeout=30, retries=False)
        self._lock, self._document, self._keep_until = threading.Lock(), {}, 0

    def get(self, path):
        """The text of the answer. Without its slash, a path could lead to another host."""
        if not path.startswith("/"):
            raise ValueError(f"a path starts with a slash: {path}")
        document = self._live_document()
        answer = self._call(document, path)
        if answer.status == 401:
            # Perhaps there is a newer token by now. Read it and try once more.
            document = self._live_document(refused=document["access_token"])
            answer = self._call(document, path)
        text = answer.data.decode()
        if 200 <= answer.status < 300:
            return text
        found = re.search(r'"code":\s*"?(\w+)', text)
        code = found[1] if found else "no code"
        failure = f"HTTP {answer.status} ({code}) for {path}"
        if answer.status != 401:
            raise RuntimeError(failure)
        remedy = f"See `token-keeper list`, then type: token-keeper refresh {self._connection} --force"
        if "SCOPE" in code:
            remedy = f"The consent lacks a scope: token-keeper connect {self._connection} --scope ..."
        elif self._complaints:
            # Token Keeper replaces a token that died early.
            remedy = self._complain(document["issued_at"]) or remedy
        raise RuntimeError(f"{failure}, also after reading the parameter again. {remedy}")

    def _call(self, document, path):
        # Some providers have a header of their own, which takes the bare token.
        before = "" if "header" in document else f"{document['token_type']} "
        header = {document.get("header", "Authorization"): before + document["access_token"]}
        return self._http.request("GET", document.get("api_domain", "") + path, headers=header, redirect=False)

    def _complain(self, issued_at):
        complaint = json.dumps({"connection": self._connection, "issued_at": issued_at})
        try:
            to = {"QueueUrl": self._complaints, "MessageGroupId": self._connection}
            boto3.client("sqs").send_message(**to, MessageBody=complaint)
        except (BotoCoreError, ClientError) as error:
            return print(f"consumer.py: Token Keeper could not be told ({error})", file=sys.stderr)
        return "Token Keeper has been told, so try again in a minute. If that does not help, see `token-keeper list`"

    def _live_document(self, refused=None):
        with self._lock:
            if time.time() >= self._keep_until or self._document["access_token"] == refused:
                self._document, expires_at = self._read()
                self._keep_until = min(time.time() + 300, expires_at - 60)
            return self._document

    def _read(self):
        try:
            answer = self._ssm.get_parameter(Name=self._parameter, WithDecryption=True)
            document = json.loads(answer["Parameter"]["Value"])
        except (BotoCoreError, ClientError, ValueError) as error:
            check = f"does `token-keeper list` show {self._connection}, and may this program ssm:GetParameter it?"
            raise RuntimeError(f"cannot read {self._parameter} ({error}): {check}") from error
        # `expires_at` decides, not `status`: a connection in trouble may still have a live token.
        end = document.get("expires_at", "1970-01-01T00:00:00Z")
        expires_at = datetime.strptime(end, "%Y-%m-%dT%H:%M:%S%z").timestamp()
        if expires_at <= time.time():
            state = ", ".join(f"{field} {document.get(field)}" for field in ("expires_at", "status", "error"))
            raise RuntimeError(f"{self._parameter} has no live token ({state}): `token-keeper list` says what to do")
        return document, expires_at


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit("usage: consumer.py CONNECTION /PATH...")
    try:
        prefix = os.environ.get("TOKEN_KEEPER_PREFIX", "token-keeper")
        zoho = Zoho(sys.argv[1], prefix, os.environ.get("COMPLAINTS_QUEUE_URL"))
        for path in sys.argv[2:]:
            print(zoho.get(path))
    except Exception as error:
        sys.exit(f"consumer.py: {error}")
