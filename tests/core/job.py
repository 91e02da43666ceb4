"""The whole job with parts that remember, and what a test asks of it afterwards."""

import asyncio
from time import monotonic
from typing import Any

from optout_core.keywords import Keywords
from optout_core.outcomes import Outcome, Verdict
from optout_core.processor import Processor
from tests.build import MINUTE, NOW, RULE, SCHEDULE, decoded, texts
from tests.fakes import FakeClock, FakeEndpoint, FakeOutbox, FakeTelemetry

REJECTED = Outcome(Verdict.REJECTED, "Invalid number", 400)
FAILED = Outcome(Verdict.FAILED, "Internal Server Error", 500)
UNAVAILABLE = Outcome(Verdict.UNAVAILABLE, "no answer", retry_after=600)


class Job:
    """A processor and everything around it."""

    def __init__(self, script=None, accepts=(), chance=lambda: 0.0, endpoint=None, **parts):
        outcomes = {to: list(outcomes) for to, outcomes in (script or {}).items()}
        self.endpoint = endpoint or FakeEndpoint(outcomes)
        self.clock = FakeClock(NOW)
        self.outbox = parts.pop("outbox", None) or FakeOutbox(list(accepts))
        parts = {"now": self.clock} | parts
        self.telemetry: Any = parts.get("telemetry") or FakeTelemetry()
        self._recorder = _Recorder(self.telemetry)
        ordinary: dict[str, Any] = {"rule": RULE, "schedule": SCHEDULE, "keywords": Keywords(), "give_way": _give_way}
        ordinary |= {"ledger": None, "horizon": 5 * MINUTE}
        self.processor = Processor(
            endpoint=self.endpoint,
            outbox=self.outbox,
            chance=chance,
            **(ordinary | parts | {"telemetry": self._recorder}),
        )

    async def process(self, arrivals):
        """Process one invocation; give its slices' reports as one."""
        before = len(self._recorder.reports)
        await self.processor.process(arrivals, deadline=monotonic() + 20)
        return Whole(self._recorder.reports[before:])


class _Recorder:
    """Remembers every report, and hands it on."""

    def __init__(self, telemetry):
        self.reports = []
        self.invocation = telemetry.invocation
        self._report = telemetry.report

    def report(self, report):
        self.reports.append(report)
        self._report(report)


class Whole:
    """What was done in all slices of an invocation."""

    def __init__(self, reports):
        self.slices = reports
        self.messages = sum(each.messages for each in reports)
        self.events = tuple(event for each in reports for event in each.events)
        self.recipients = tuple(recipient for each in reports for recipient in each.recipients)
        self.retries = sum(len(each.dispatched.retries) for each in reports)
        self.dead_letters = tuple(message.reason for each in reports for message in each.dispatched.dead_letters)


async def _give_way():
    await asyncio.sleep(0)


def where(report):
    """Say where each recipient of each event is now, and why."""
    return [(each.event.raw, each.recipient.text, each.outcome.name, each.reason) for each in report.recipients]


def waiting(job):
    return [(to, message.scheduled_at - NOW) for message in job.outbox.retries for to in people_in(message)]


def dead(job):
    return [(to, message.reason) for message in job.outbox.dead_letters for to in people_in(message)]


def people_in(message):
    return texts(decoded(message.body).recipients)
