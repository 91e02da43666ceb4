"""The whole job with parts that remember, and what a test asks of it afterwards."""

from typing import Any

from optout_core.api import Outcome, Verdict
from optout_core.keywords import Keywords
from optout_core.processor import Processor
from tests.build import NOW, RULE, SCHEDULE, decoded, texts
from tests.fakes import FakeClock, FakeEndpoint, FakeOutbox, FakeTelemetry

REJECTED = Outcome(Verdict.REJECTED, "Invalid number", 400)
FAILED = Outcome(Verdict.FAILED, "Internal Server Error", 500)
UNAVAILABLE = Outcome(Verdict.UNAVAILABLE, "no answer", retry_after=600)


class Job:
    """A processor and everything around it."""

    def __init__(self, script=None, accepts=(), chance=0.0, endpoint=None, **parts):
        outcomes = {to: list(outcomes) for to, outcomes in (script or {}).items()}
        self.endpoint = endpoint or FakeEndpoint(outcomes)
        self.outbox = FakeOutbox(list(accepts))
        self.clock = FakeClock(NOW)
        self.telemetry: Any = parts.get("telemetry") or FakeTelemetry()
        ordinary: dict[str, Any] = {"rule": RULE, "schedule": SCHEDULE, "keywords": Keywords()}
        processor = Processor(
            endpoint=self.endpoint,
            outbox=self.outbox,
            now=self.clock,
            chance=lambda: chance,
            **(ordinary | parts | {"telemetry": self.telemetry}),
        )
        self.process = processor.process


def where(report):
    """Say where each recipient of each event is now, and why."""
    return [(each.event.raw, each.recipient.text, each.outcome.name, each.reason) for each in report.recipients]


def waiting(job):
    return [(to, message.scheduled_at - NOW) for message in job.outbox.retries for to in people_in(message)]


def dead(job):
    return [(to, message.reason) for message in job.outbox.dead_letters for to in people_in(message)]


def people_in(message):
    return texts(decoded(message.body).recipients)
