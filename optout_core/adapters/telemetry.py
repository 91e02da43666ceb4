"""Metrics, traces and log lines of what the core reports, through the OpenTelemetry API.

Who collects them is decided elsewhere: on Azure the worker (docs/deploy.md), in the sandbox and in tests an in-memory
reader. No attribute, span or line holds a phone number, and every set of attribute values is small and closed.
"""

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from operator import attrgetter
from time import monotonic

from opentelemetry import metrics, trace
from opentelemetry.metrics import CallbackOptions, MeterProvider, Observation
from opentelemetry.trace import Link, SpanContext, SpanKind, StatusCode, TracerProvider
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from optout_core import __version__
from optout_core.arrivals import Lineage
from optout_core.batches import Operation
from optout_core.errors import LedgerUnavailable, RequestRefused
from optout_core.events import OptIn
from optout_core.masking import Untrusted
from optout_core.properties import DIAGNOSTIC_ID, TRACEPARENT
from optout_core.reasons import Reason
from optout_core.reports import ConsentEffect, Dispatched, EventReport, RecipientOutcome, Report, SettledEvent
from optout_core.settlement import DeadLetter

NAME = "optout_core"

#: Seconds. The default buckets are made for milliseconds: every request would fall into the first. Up to 10 s these are
#: those of the HTTP semantic conventions of OpenTelemetry; beyond, up to the longest invocation and the oldest opt-in.
_DURATIONS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 30, 60, 120, 240)
_AGES = (1, 10, 60, 600, 1800, 3600, 7200, 21_600, 43_200, 86_400, 172_800, 259_200)

_DETOURS = {
    "dead_letters": "the dead-letter queue did not take %d messages; they wait in the queue of the opt-ins with their"
    " verdict and come back by themselves; check that the queue is not full or disabled and that we may send to it",
    "opt_ins": "the queue of the opt-ins did not take %d retries; they are dead letters (RetryRefused) and safe to"
    " replay; check that the queue is not full or disabled and that we may send to it",
}
_EFFECTS = {
    ConsentEffect.BLOCKED: "Opt-ins not applied, since the person said STOP at or after them",
    ConsentEffect.ALREADY_APPLIED: "Words for which nothing was called: the list says so, or a newer word stands",
    ConsentEffect.ASSERTED_AGAIN: "Words that call again, since a call of the opposite kind may still have acted",
}
_Recipients = Counter[tuple[RecipientOutcome, Reason | None]]

_FORM_AND_RESULT = attrgetter("form", "result")
_log = logging.getLogger(NAME)

#: Lines of one kind that are written at once, and seconds for each more: what is refused may be refused a hundred times
#: a second, and each line costs as much as that of an invocation.
_LINES, _LINE_SECONDS = 20, 6.0


class _Lines:
    """How many lines of one kind may be written, and how many were left out."""

    def __init__(self) -> None:
        self._left, self._since = float(_LINES), monotonic()
        self.left_out = 0

    def may(self) -> bool:
        """Tell whether one more may be written; otherwise it counts as left out."""
        now = monotonic()
        self._left = min(_LINES, self._left + (now - self._since) / _LINE_SECONDS)
        self._since = now
        if self._left < 1:
            self.left_out += 1
            return False
        self._left -= 1
        return True

    def take(self) -> int:
        """Give how many were left out since this was asked."""
        count, self.left_out = self.left_out, 0
        return count


class Telemetry:
    """Count, time and trace; attribute sets are in docs/metrics.md."""

    def __init__(
        self,
        meters: MeterProvider | None = None,
        tracers: TracerProvider | None = None,
        observers: Iterable[Callable[[Report], None]] = (),
    ) -> None:
        """Make the instruments; the providers are the process's own unless given.

        `observers` are called with each report.
        """
        self._observers = observers
        self._lines = tuple(_Lines() for _ in range(4))
        self._dead_lines, self._detour_lines, self._refusals, self._failures = self._lines
        meter = metrics.get_meter(NAME, __version__, meter_provider=meters)
        self._meter = meter
        self._tracer = trace.get_tracer(NAME, __version__, tracer_provider=tracers)
        self._events = meter.create_counter("optout.events", "{event}", "Events that came in")
        self._recipients = meter.create_counter("optout.recipients", "{recipient}", "Recipients settled")
        self._retries = meter.create_counter("optout.retries.scheduled", "{message}", "Retry messages sent")
        self._dead_letters = meter.create_counter("optout.dead_letters", "{message}", "Dead letters sent")
        self._detours = meter.create_counter(
            "optout.detours", "{message}", "Messages that their queue did not take and the other one did"
        )
        self._age = meter.create_histogram(
            "optout.event.age", "s", "From the opt-in to the removal", explicit_bucket_boundaries_advisory=_AGES
        )
        self._waiting = meter.create_histogram(
            "optout.waiting.age",
            "s",
            "From the opt-in to now, while it waits",
            explicit_bucket_boundaries_advisory=_AGES,
        )
        self._invocations = meter.create_histogram(
            "optout.invocation.duration", "s", "Time of one invocation", explicit_bucket_boundaries_advisory=_DURATIONS
        )
        self._effects = {
            effect: meter.create_counter(f"optout.consent.{effect}", "{recipient}", description)
            for effect, description in _EFFECTS.items()
        }
        self._ledger_time = meter.create_histogram(
            "optout.ledger.duration",
            "s",
            "Time of one statement to the consent ledger",
            explicit_bucket_boundaries_advisory=_DURATIONS,
        )
        self._requests = meter.create_counter("optout.requests", "{request}", "Requests to ACS")
        self._request_time = meter.create_histogram(
            "optout.request.duration", "s", "Time of one request to ACS", explicit_bucket_boundaries_advisory=_DURATIONS
        )
        self._request_size = meter.create_histogram(
            "optout.request.recipients", "{recipient}", "Recipients of one request to ACS"
        )

    def watch_stops(self, count: Callable[[], int | None]) -> None:
        """Report at every collection how many STOPs the opt-out list is not known to say; nothing while unknown."""

        def observe(_: CallbackOptions) -> Iterable[Observation]:
            if (stops := count()) is not None:
                yield Observation(stops)

        self._meter.create_observable_gauge(
            "optout.consent.unsettled_stops", [observe], "{person}", "STOPs that ACS is not known to have on its list"
        )

    def watch_breaker(self, is_open: Callable[[], bool]) -> None:
        """Report at every collection whether we have stopped calling ACS."""

        def observe(_: CallbackOptions) -> Iterable[Observation]:
            yield Observation(int(is_open()))

        self._meter.create_observable_gauge(
            "optout.breaker.open", [observe], "1", "1 while ACS is not called and has not answered since"
        )

    @contextmanager
    def invocation(self, lineages: Sequence[Lineage]) -> Iterator[None]:
        """Time an invocation in a span that links to the traces of its events."""
        contexts = (_span_context(lineage.trace) for lineage in lineages if lineage.trace)
        links = {context.span_id: Link(context) for context in contexts if context.is_valid}
        started = monotonic()
        with self._tracer.start_as_current_span(
            "process opt-ins",
            kind=SpanKind.CONSUMER,
            links=list(links.values()),
            attributes={"messaging.system": "servicebus", "messaging.batch.message_count": len(lineages)},
        ):
            try:
                yield
            finally:
                self._invocations.record(monotonic() - started)

    @contextmanager
    def request(self, operation: Operation, recipients: int) -> Iterator[Callable[[int], None]]:
        """Time one request to ACS in a span; the block calls what it is given with the status of the answer."""
        status: int | None = None
        refused = False
        started = monotonic()

        def answered(answer: int) -> None:
            nonlocal status
            status = answer
            span.set_attribute("http.response.status_code", answer)

        # Nothing is measured within, so it need not be the current span.
        span = self._tracer.start_span(
            f"optouts:{operation}", kind=SpanKind.CLIENT, attributes={"optout.request.recipients": recipients}
        )
        try:
            yield answered
        except Exception as error:
            span.set_status(StatusCode.ERROR, f"{type(error).__name__}: {error}")
            if isinstance(error, RequestRefused):
                refused = True
                if self._refusals.may():
                    _log.error(
                        "ACS refuses us (%s); the recipients wait for their next try; check endpoint, key or role,"
                        " sender",
                        error,
                        extra={"optout.status": error.status, "optout.ms_cv": error.ms_cv},
                    )
            raise
        finally:
            span.end()
            status_class = "refused" if refused else f"{status // 100}xx" if status else "none"
            self._requests.add(1, {"status_class": status_class, "operation": operation.value})
            self._request_time.record(monotonic() - started, {"status_class": status_class})
            self._request_size.record(recipients)

    @contextmanager
    def ledger(self, statement: str) -> Iterator[None]:
        """Time a statement to the consent ledger, and say so when it fails."""
        result, started = "failed", monotonic()
        try:
            yield
            result = "done"
        except LedgerUnavailable as error:
            if self._failures.may():
                _log.error("%s", error, extra={"optout.statement": statement})
            raise
        finally:
            self._ledger_time.record(monotonic() - started, {"statement": statement, "result": result})

    def report(self, report: Report) -> None:
        """Count what was done, say it in one line, and hand it to the observers."""
        for (form, result), count in Counter(map(_FORM_AND_RESULT, report.events)).items():
            self._events.add(count, {"form": form, "result": result.value})
        recipients, effects = self._count_recipients(report.settled)
        for (outcome, reason), count in recipients.items():
            self._recipients.add(count, {"outcome": outcome.value, "reason": reason.value if reason else ""})
        for effect, count in effects.items():
            self._effects[effect].add(count)
        self._say(report, recipients, effects, self._count_messages(report.dispatched))
        for observe in self._observers:
            observe(report)

    def _count_recipients(self, settled: Sequence[SettledEvent]) -> tuple[_Recipients, Counter[ConsentEffect]]:
        """Count them by where they are and by what other words did, and record how long each event took."""
        recipients: _Recipients = Counter()
        effects: Counter[ConsentEffect] = Counter()
        removed = 0
        for each in settled:
            if each.of_each is None and isinstance(each.event, OptIn):
                # Almost always.
                removed += len(each.event.recipients)
                age = (each.now - each.event.time).total_seconds()
                self._age.record(age if age > 0 else 0.0)
                continue
            outcomes = set()
            for outcome, reason, effect, count in each.tally():
                outcomes.add(outcome)
                recipients[outcome, reason] += count
                if effect:
                    effects[effect] += count
            if RecipientOutcome.REMOVED in outcomes:
                self._age.record(max(0.0, each.age))
            if RecipientOutcome.WAITING in outcomes:
                self._waiting.record(max(0.0, each.age))
        if removed:
            recipients[RecipientOutcome.REMOVED, None] += removed
        return recipients, effects

    def _count_messages(self, dispatched: Dispatched) -> Counter[Reason]:
        if dispatched.retries:
            self._retries.add(len(dispatched.retries))
        for queue, detoured in (("dead_letters", dispatched.parked), ("opt_ins", dispatched.refused)):
            if detoured:
                self._detours.add(len(detoured), {"queue": queue})
                if self._detour_lines.may():
                    facts = {"optout.detours": len(detoured), "optout.queue": queue}
                    _log.error(_DETOURS[queue], len(detoured), extra=facts)
        reasons = Counter(each.reason for each in (*dispatched.dead_letters, *dispatched.refused) if each.reason)
        for reason, count in reasons.items():
            self._dead_letters.add(count, {"reason": reason.value})
        return reasons

    def _say(
        self, report: Report, recipients: _Recipients, effects: Counter[ConsentEffect], reasons: Counter[Reason]
    ) -> None:
        counts = {outcome.value: 0 for outcome in RecipientOutcome}
        for (outcome, _), count in recipients.items():
            counts[outcome.value] += count
        dead = {reason.value: count for reason, count in reasons.items()}
        said = {f"consent.{effect}": count for effect, count in effects.items()}
        named = [
            (str(Untrusted(event_id)), _reasons(dead_of_event))
            for event_id, dead_of_event in _dead_events(report).items()
            if self._dead_lines.may()
        ]
        left_out = {"lines_left_out": count} if (count := sum(lines.take() for lines in self._lines)) else {}
        _log.info(
            "settled %d messages: %s%s (version %s)",
            report.messages,
            ", ".join(f"{count} {name}" for name, count in counts.items()),
            "".join(f" {counted}" for counted in (dead, said, left_out) if counted),
            __version__,
            extra={
                f"optout.{name}": count
                for name, count in (counts | dead | said | left_out | {"messages": report.messages}).items()
            }
            | {"optout.version": __version__},
        )
        for event_id, reasons_of_event in named:
            _log.warning(
                "event %r: dead letters %s",
                event_id,
                dict(reasons_of_event),
                extra={"optout.event_id": event_id, "optout.reasons": ",".join(sorted(reasons_of_event))},
            )


def is_ours_to_send(environ: Mapping[str, str]) -> bool:
    """Tell whether the worker leaves it to us to send metrics and traces.

    https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/#exporter-selection
    """
    left_out = (environ.get(f"OTEL_{signal}_EXPORTER", "").strip().lower() for signal in ("METRICS", "TRACES"))
    return bool(environ.get("APPLICATIONINSIGHTS_CONNECTION_STRING")) and all(each == "none" for each in left_out)


def _span_context(carried: Mapping[str, str]) -> SpanContext:
    # Older clients of Service Bus write the traceparent under its second name alone. The propagator is not given the
    # `tracestate`: it logs the text of one that it cannot read, and a link needs none.
    carrier = {TRACEPARENT: carried.get(TRACEPARENT) or carried.get(DIAGNOSTIC_ID, "")}
    return trace.get_current_span(TraceContextTextMapPropagator().extract(carrier)).get_span_context()


def _dead_events(report: Report) -> dict[str, list[EventReport | SettledEvent]]:
    """Give what died of each event, by its id."""
    dead: dict[str, list[EventReport | SettledEvent]] = {}
    for event in report.events:
        if isinstance(event, EventReport) and event.reason:
            dead.setdefault(event.id.raw, []).append(event)
    for each in report.settled:
        if each.of_each and DeadLetter in map(type, each.of_each.values()):
            dead.setdefault(each.event.id.raw, []).append(each)
    return dead


def _reasons(dead: Sequence[EventReport | SettledEvent]) -> Counter[str]:
    reasons: Counter[str] = Counter()
    for each in dead:
        tally = [(each.reason, 1)] if isinstance(each, EventReport) else [(why, n) for _, why, _, n in each.tally()]
        for reason, count in tally:
            if reason:
                reasons[reason.value] += count
    return reasons
