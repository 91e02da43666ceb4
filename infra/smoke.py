#!/usr/bin/env python3
"""Smoke test of a deployment: publish one opt-in for a test number and read in the log what became of it.

    infra/smoke.py --namespace NAME.servicebus.windows.net --application ID [--sender +1…] --recipient +1…

It signs in as the environment allows (workload identity, `az login`) and needs two rights: to send to the opt-in queue,
and to read Application Insights. It looks into no queue. The event carries a trace of its own; the invocation that took
it links to that trace, and its log line says how many recipients were removed. In a batch with other events that line
counts theirs too: it is a removal of ours when nobody of the batch waits for another try and no dead letter names our
event. Log lines arrive some minutes late.

Exit codes: 0 removed, 1 dead-lettered, or by another version, 2 usage, 3 neither in time, 4 cannot reach Azure or not
allowed.
"""

import argparse
import json
import os
import sys
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

import httpx
from azure.core.exceptions import AzureError
from azure.identity import DefaultAzureCredential
from azure.servicebus import ServiceBusClient, ServiceBusMessage

OPT_INS: str = json.loads(Path(__file__).with_name("queues.json").read_text())["optIns"]["name"]

#: https://learn.microsoft.com/azure/azure-monitor/logs/api/access-api
_INSIGHTS = "https://api.applicationinsights.io"
#: The exporter writes the links of a span into the property _MS.links.
QUERY = """
let ours = union requests, dependencies
| where timestamp >= datetime({since})
| where tostring(customDimensions['_MS.links']) has '{trace}'
| distinct operation_Id;
traces
| where timestamp >= datetime({since})
| extend event = tostring(customDimensions['optout.event_id'])
| where (operation_Id in (ours) and isempty(event)) or event == '{event}'
| extend removed = toint(customDimensions['optout.removed']), waiting = toint(customDimensions['optout.waiting'])
| where isnotempty(event) or isnotnull(removed)
| project removed, waiting, reasons = tostring(customDimensions['optout.reasons']),
    version = tostring(customDimensions['optout.version'])
"""


@dataclass(frozen=True)
class Line:
    """A log line: of an invocation that took our event, or of a dead letter of it."""

    removed: int = 0
    waiting: int = 0
    reasons: str = ""
    version: str = ""


@dataclass(frozen=True)
class Marks:
    """What our event is found by. No digit is in the id: a log masks what could be a number."""

    event: str
    trace: str

    @classmethod
    def new(cls) -> "Marks":
        """Make marks that nobody used before."""
        letters = str.maketrans("0123456789", "ghijklmnop")
        return cls(f"smoke-{uuid.uuid4().hex.translate(letters)}", uuid.uuid4().hex)


class Queue(Protocol):
    """The opt-in queue of a deployment."""

    def publish(self, marks: Marks, body: bytes) -> None:
        """Send one event."""


class Log(Protocol):
    """The log of a deployment."""

    def lines(self, marks: Marks, since: datetime) -> list[Line]:
        """Give the lines about an event."""


class ServiceBusQueue:
    """The queue, through the Service Bus client."""

    def __init__(self, client: ServiceBusClient) -> None:
        """Use a client that somebody else closes."""
        self._client = client

    def publish(self, marks: Marks, body: bytes) -> None:
        """Send one event; its id is the message's, so that a resend is harmless."""
        message = ServiceBusMessage(
            body,
            message_id=marks.event,
            content_type="application/cloudevents+json",
            application_properties={"traceparent": f"00-{marks.trace}-{marks.trace[:16]}-01"},
        )
        with self._client.get_queue_sender(OPT_INS) as sender:
            sender.send_messages(message)


class ApplicationInsights:
    """The log, through the query API of Application Insights."""

    def __init__(self, http: httpx.Client, application: str, token: Callable[[], str]) -> None:
        """Ask about one application id; `token` gives a bearer token for the API."""
        self._http = http
        self._application = application
        self._token = token

    def lines(self, marks: Marks, since: datetime) -> list[Line]:
        """Give the lines about an event; none while nothing has arrived yet."""
        answer = self._http.post(
            f"{_INSIGHTS}/v1/apps/{self._application}/query",
            json={"query": QUERY.format(since=since.isoformat(), trace=marks.trace, event=marks.event)},
            headers={"Authorization": f"Bearer {self._token()}"},
        )
        answer.raise_for_status()
        table: dict[str, Any] = answer.json()["tables"][0]
        names = [column["name"] for column in table["columns"]]
        rows = [dict(zip(names, row, strict=True)) for row in table["rows"]]
        return [
            Line(row["removed"] or 0, row["waiting"] or 0, row["reasons"] or "", row["version"] or "") for row in rows
        ]


@dataclass(frozen=True)
class Verdict:
    """What became of the event, as exit code and sentence."""

    code: int
    says: str


@dataclass(frozen=True)
class SmokeTest:
    """One run: publish, then read the log until it says what became of it or time is up."""

    queue: Queue
    log: Log
    sender: str = field(repr=False)
    recipient: str = field(repr=False)
    timeout: float
    every: float
    version: str = ""
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep

    def run(self) -> Verdict:
        """Publish the event and wait."""
        marks, began = Marks.new(), datetime.now(UTC)
        self.queue.publish(marks, event(marks.event, began, self.sender, self.recipient))
        deadline = self.clock() + self.timeout
        while True:
            lines = self.log.lines(marks, began)
            verdict = self._judge(marks, lines)
            if verdict:
                return verdict
            if self.clock() >= deadline:
                return self._late(marks, lines)
            self.sleep(self.every)

    def _judge(self, marks: Marks, lines: list[Line]) -> Verdict | None:
        for reason in (line.reasons for line in lines if line.reasons):
            page = f"docs/runbook.md#{reason.partition(',')[0].lower()}"
            return Verdict(1, f"{marks.event} was dead-lettered: {reason}. See {page}")
        done = [line for line in lines if line.removed and not line.waiting]
        for other in (line.version for line in done if self.version and line.version != self.version):
            return Verdict(1, f"{marks.event} was processed by version {other} and not by {self.version}")
        if done:
            return Verdict(0, f"{marks.event}: removed by the invocation that took it, of version {done[0].version}")
        return None

    def _late(self, marks: Marks, lines: list[Line]) -> Verdict:
        took = f"{marks.event}: not removed within {self.timeout:.0f} s and no dead letter"
        if any(line.waiting for line in lines):
            why, section = "it, or who shared its batch, waits for another try", "breaker-open"
        else:
            why, section = f"it waits in {OPT_INS} and nothing is lost", "nothing-processed"
        return Verdict(3, f"{took}; {why}. See docs/runbook.md#{section}")


def event(event_id: str, moment: datetime, sender: str, recipient: str) -> bytes:
    """Write the canonical event, docs/opt-in-event.schema.json."""
    return json.dumps(
        {
            "specversion": "1.0",
            "id": event_id,
            "source": "/smoke-test",
            "type": "sms.opt-in.v1",
            "time": moment.isoformat(),
            "datacontenttype": "application/json",
            "data": {
                "from": sender,
                "recipients": [{"to": recipient}],
                "consent": {"capturedAt": moment.isoformat(), "method": "smoke-test"},
            },
        }
    ).encode()


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0], allow_abbrev=False)
    parser.add_argument("--namespace", required=True, help="host name of the Service Bus namespace")
    parser.add_argument("--application", required=True, help="application id of Application Insights")
    parser.add_argument("--sender", help="our number; must be in ALLOWED_SENDERS, whose first it is by default")
    parser.add_argument("--recipient", required=True, help="the test number; opting it in must harm nobody")
    parser.add_argument("--version", default="", help="the version of the code that has to process it; any by default")
    parser.add_argument("--timeout", type=float, default=600, help="seconds to wait, default %(default)s")
    parser.add_argument("--every", type=float, default=15, help="seconds between looks, default %(default)s")
    options = parser.parse_args(arguments)
    allowed = [sender.strip() for sender in os.environ.get("ALLOWED_SENDERS", "").split(",") if sender.strip()]
    if not allowed:
        parser.error("ALLOWED_SENDERS is empty or not set: the test acts for a sender that the deployment names")
    options.sender = allowed[0] if options.sender is None else options.sender.strip()
    options.recipient = options.recipient.strip()
    if options.sender not in allowed:
        parser.error(
            "--sender is not in ALLOWED_SENDERS: the test acts for a sender that the deployment names, or not at all"
        )
    if not options.recipient:
        parser.error("--recipient is empty: it takes the test number")
    return options


def main(arguments: list[str] | None = None) -> int:
    """Run the smoke test against Azure."""
    options = _options(arguments)
    credential = DefaultAzureCredential()
    try:
        with ServiceBusClient(options.namespace, credential) as client, httpx.Client(timeout=30) as http:
            verdict = SmokeTest(
                ServiceBusQueue(client),
                ApplicationInsights(
                    http, options.application, lambda: credential.get_token(f"{_INSIGHTS}/.default").token
                ),
                options.sender,
                options.recipient,
                options.timeout,
                options.every,
                options.version,
            ).run()
    except (AzureError, httpx.HTTPError) as error:
        sys.stderr.write(f"cannot reach Azure, or not allowed: {type(error).__name__}: {error}\n")
        return 4
    (sys.stderr if verdict.code else sys.stdout).write(f"{verdict.says}\n")
    return verdict.code


if __name__ == "__main__":
    sys.exit(main())
