#!/usr/bin/env python3
"""Smoke test of a deployment: publish one opt-in for a test number and wait for what becomes of it.

    infra/smoke.py --namespace NAME.servicebus.windows.net --application ID [--sender +1…] --recipient +1…

It signs in as the environment allows (workload identity, `az login`) and needs what an operator has on the queues,
and Reader on Application Insights. A dead letter is found by the event's id. A removal is found by the metric
optout.recipients since the test began: in a busy environment that may be somebody else's removal.

Exit codes: 0 removed, 1 dead-lettered, 2 usage, 3 neither in time, 4 cannot reach Azure or not allowed.
"""

import argparse
import json
import os
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

import httpx
from azure.core.exceptions import AzureError
from azure.identity import DefaultAzureCredential
from azure.servicebus import ServiceBusClient, ServiceBusMessage

_QUEUES = json.loads(Path(__file__).with_name("queues.json").read_text())
OPT_INS: str = _QUEUES["optIns"]["name"]
DEAD_LETTERS: str = _QUEUES["deadLetters"]["name"]

#: https://learn.microsoft.com/azure/azure-monitor/logs/api/access-api
_INSIGHTS = "https://api.applicationinsights.io"
_REMOVED = """
customMetrics
| where timestamp >= datetime({since}) and name == 'optout.recipients'
| where tostring(customDimensions.outcome) == 'removed'
| summarize removed = sum(valueSum)
"""

_PEEK_AT_ONCE = 250  # the most the service returns


class Queues(Protocol):
    """The two queues of a deployment."""

    def publish(self, event_id: str, body: bytes) -> None:
        """Send one event to the opt-in queue."""

    def new_dead_letters(self) -> Iterator[tuple[str, str]]:
        """Give event id and reason of each dead letter not given before."""


class Metrics(Protocol):
    """The metrics of a deployment."""

    def removed_since(self, moment: datetime) -> int:
        """Count the recipients removed since a moment."""


class ServiceBusQueues:
    """The queues, through the Service Bus client."""

    def __init__(self, client: ServiceBusClient) -> None:
        """Use a client that somebody else closes."""
        self._client = client
        self._next = 1

    def publish(self, event_id: str, body: bytes) -> None:
        """Send one event; its id is the message's, so that a resend is harmless."""
        message = ServiceBusMessage(body, message_id=event_id, content_type="application/cloudevents+json")
        with self._client.get_queue_sender(OPT_INS) as sender:
            sender.send_messages(message)

    def new_dead_letters(self) -> Iterator[tuple[str, str]]:
        """Peek, so that nothing is locked and no delivery is counted."""
        with self._client.get_queue_receiver(DEAD_LETTERS) as receiver:
            while peeked := receiver.peek_messages(_PEEK_AT_ONCE, sequence_number=self._next):
                for message in peeked:
                    self._next = (message.sequence_number or 0) + 1
                    properties = {
                        _text(name): _text(value) for name, value in (message.application_properties or {}).items()
                    }
                    event_id = properties.get("optout-event-id") or message.message_id or ""
                    yield event_id, properties.get("DeadLetterReason", "")


class ApplicationInsights:
    """The metrics, through the query API of Application Insights."""

    def __init__(self, http: httpx.Client, application: str, token: Callable[[], str]) -> None:
        """Ask about one application id; `token` gives a bearer token for the API."""
        self._http = http
        self._application = application
        self._token = token

    def removed_since(self, moment: datetime) -> int:
        """Count the recipients removed since a moment; 0 while nothing has arrived yet."""
        answer = self._http.post(
            f"{_INSIGHTS}/v1/apps/{self._application}/query",
            json={"query": _REMOVED.format(since=moment.isoformat())},
            headers={"Authorization": f"Bearer {self._token()}"},
        )
        answer.raise_for_status()
        return int(answer.json()["tables"][0]["rows"][0][0] or 0)


@dataclass(frozen=True)
class Verdict:
    """What became of the event, as exit code and sentence."""

    code: int
    says: str


@dataclass(frozen=True)
class SmokeTest:
    """One run: publish, then look at both places until one answers or time is up."""

    queues: Queues
    metrics: Metrics
    sender: str = field(repr=False)
    recipient: str = field(repr=False)
    timeout: float
    every: float
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep

    def run(self) -> Verdict:
        """Publish the event and wait."""
        event_id = f"smoke-{uuid.uuid4()}"
        began = datetime.now(UTC)
        for _ in self.queues.new_dead_letters():
            pass  # what already lay there is not ours
        self.queues.publish(event_id, event(event_id, began, self.sender, self.recipient))
        deadline = self.clock() + self.timeout
        while True:
            for found, reason in self.queues.new_dead_letters():
                if found == event_id:
                    return Verdict(1, f"{event_id} was dead-lettered: {reason}. See docs/runbook.md#{reason.lower()}")
            if self.metrics.removed_since(began):
                return Verdict(0, f"{event_id}: a recipient was removed since; no dead letter of it")
            if self.clock() >= deadline:
                return Verdict(
                    3,
                    f"{event_id}: neither removed nor dead-lettered within {self.timeout:.0f} s; "
                    f"it waits in {OPT_INS} and nothing is lost. See docs/runbook.md#nothing-processed",
                )
            self.sleep(self.every)


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


def _text(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0], allow_abbrev=False)
    parser.add_argument("--namespace", required=True, help="host name of the Service Bus namespace")
    parser.add_argument("--application", required=True, help="application id of Application Insights")
    parser.add_argument("--sender", help="our number; must be in ALLOWED_SENDERS, whose first it is by default")
    parser.add_argument("--recipient", required=True, help="the test number; opting it in must harm nobody")
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
                ServiceBusQueues(client),
                ApplicationInsights(
                    http, options.application, lambda: credential.get_token(f"{_INSIGHTS}/.default").token
                ),
                options.sender,
                options.recipient,
                options.timeout,
                options.every,
            ).run()
    except (AzureError, httpx.HTTPError) as error:
        sys.stderr.write(f"cannot reach Azure, or not allowed: {type(error).__name__}: {error}\n")
        return 4
    (sys.stderr if verdict.code else sys.stdout).write(f"{verdict.says}\n")
    return verdict.code


if __name__ == "__main__":
    sys.exit(main())
