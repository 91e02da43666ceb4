"""Spans that link to the events' own traces, and log lines that name ids, counts and reasons and never a number."""

import logging

import pytest
from opentelemetry.trace import SpanKind, StatusCode

from optout_core import __version__
from optout_core.batches import Operation
from optout_core.errors import EndpointUnavailable, RequestRefused
from optout_core.events import EventResult
from optout_core.masking import Untrusted
from optout_core.reasons import Reason
from optout_core.reports import EventReport, Report
from sandbox.endpoint import REFERENCE_FAULTS, Fault
from tests.adapters.acs_client import PERSON, open_client
from tests.adapters.telemetry import open_telemetry
from tests.build import arrival, canonical, lineage
from tests.core.job import Job

TRACE_ID, SPAN_ID = 0x0AF7651916CD43DD8448EB211C80319C, 0xB7AD6B7169203331
TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def measured():
    with open_telemetry() as everything:
        yield everything


@pytest.fixture
def log(caplog):
    caplog.set_level(logging.DEBUG)
    caplog.set_level(logging.DEBUG, "optout_core")  # benchmarks silence it in their process
    return caplog


def processor(endpoint, measured, outbox=None):
    """The whole job, with our own telemetry."""
    return Job(endpoint=endpoint, outbox=outbox, telemetry=measured.telemetry)


def links_of(measured):
    [span] = [span for span in measured.spans if span.name == "process opt-ins"]
    return [(link.context.trace_id, link.context.span_id) for link in span.links]


def test_an_invocation_is_a_consumer_span_that_links_to_the_traces_of_its_events(measured):
    other = TRACEPARENT.replace("b7ad6b", "c7ad6b")

    with measured.telemetry.invocation(
        [
            lineage(trace={"traceparent": TRACEPARENT, "tracestate": "a=1"}),
            lineage(trace={"traceparent": other}),
            lineage(),
        ]
    ):
        pass

    [span] = measured.spans
    assert (span.name, span.kind) == ("process opt-ins", SpanKind.CONSUMER)
    assert dict(span.attributes) == {"messaging.system": "servicebus", "messaging.batch.message_count": 3}
    assert links_of(measured) == [(TRACE_ID, SPAN_ID), (TRACE_ID, 0xC7AD6B7169203331)]


def test_a_message_of_an_older_client_is_found_by_its_diagnostic_id(measured):
    with measured.telemetry.invocation([lineage(trace={"Diagnostic-Id": TRACEPARENT})]):
        pass

    assert links_of(measured) == [(TRACE_ID, SPAN_ID)]


def test_traceparent_goes_before_the_diagnostic_id(measured):
    other = TRACEPARENT.replace("b7ad6b", "c7ad6b")

    with measured.telemetry.invocation([lineage(trace={"traceparent": TRACEPARENT, "Diagnostic-Id": other})]):
        pass

    assert links_of(measured) == [(TRACE_ID, SPAN_ID)]


def test_messages_of_one_trace_are_one_link_and_a_thousand_traces_do_no_harm(measured):
    many = [lineage(trace={"traceparent": f"00-{number:032x}-{number:016x}-01"}) for number in range(1, 1001)]

    with measured.telemetry.invocation(many + many):
        pass

    # The SDK keeps no more of them (OpenTelemetry specification, "Span limits").
    assert len(set(links_of(measured))) == len(links_of(measured)) == 128


@pytest.mark.parametrize(
    "trace",
    [
        {"traceparent": ""},
        {"traceparent": "nonsense"},
        {"traceparent": "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"},
        {"traceparent": "00-00000000000000000000000000000000-0000000000000000-00"},
        {"traceparent": "00-0AF7651916CD43DD8448EB211C80319C-B7AD6B7169203331-01"},
        {"traceparent": "\x00\ud800"},
        {"traceparent": TRACEPARENT * 1000},
        {"Diagnostic-Id": "|4bf92f3577b34da6.1."},
        {"tracestate": "a=1"},
    ],
    ids=lambda trace: str(trace)[:50],
)
def test_a_malformed_trace_context_leads_nowhere_and_does_no_harm(measured, trace):
    with measured.telemetry.invocation([lineage(trace=trace)]):
        pass

    assert links_of(measured) == []


@pytest.mark.parametrize(
    "tracestate", ["", "=", "a=1,,b", "a=1,a=2", "x" * 10_000, "é=ü", ",".join(f"k{n}=1" for n in range(99))]
)
def test_a_malformed_tracestate_does_not_cost_the_link(measured, tracestate):
    with measured.telemetry.invocation([lineage(trace={"traceparent": TRACEPARENT, "tracestate": tracestate})]):
        pass

    assert links_of(measured) == [(TRACE_ID, SPAN_ID)]


async def test_each_request_is_a_client_span_within_the_invocation(measured, endpoint):
    endpoint.faults = [Fault(status=503, times=1), Fault(drop="reset", times=1)]

    async with open_client(endpoint, telemetry=measured.telemetry) as caller:
        with measured.telemetry.invocation([lineage()]):
            await caller.remove(PERSON)

    *requests, invocation = measured.spans
    assert [(span.name, span.kind) for span in requests] == [("optouts:remove", SpanKind.CLIENT)] * 3
    assert {span.parent.span_id for span in requests} == {invocation.context.span_id}
    assert [dict(span.attributes) for span in requests] == [
        {"optout.request.recipients": 1, "http.response.status_code": 503},
        {"optout.request.recipients": 1},
        {"optout.request.recipients": 1, "http.response.status_code": 200},
    ]
    assert [span.status.status_code for span in requests] == [StatusCode.ERROR, StatusCode.ERROR, StatusCode.UNSET]
    assert [span.events for span in requests] == [()] * 3, "our errors say all there is in the status"


def test_an_invocation_that_fails_says_so_in_its_span(measured):
    with pytest.raises(EndpointUnavailable), measured.telemetry.invocation([]):
        raise EndpointUnavailable("gone")

    assert measured.spans[0].status.status_code is StatusCode.ERROR


async def test_an_invocation_is_one_line_of_counts_and_one_for_each_event_with_a_dead_letter(measured, endpoint, log):
    endpoint.faults = REFERENCE_FAULTS
    reference = canonical("+15555555551", "+123", "+15555555553", id="ev-1")

    async with open_client(endpoint, telemetry=measured.telemetry) as caller:
        await processor(caller.client, measured).process([arrival(reference), arrival(b"nonsense", message_id="m-2")])

    ours = [record for record in log.records if record.name == "optout_core"]
    reasons = {"RecipientRejected": 1, "MalformedEvent": 1}
    assert [(record.levelname, record.getMessage()) for record in ours] == [
        (
            "INFO",
            f"settled 2 messages: 1 removed, 0 added, 1 waiting, 1 dead_lettered {reasons} (version {__version__})",
        ),
        ("WARNING", "event 'm-2': dead letters {'MalformedEvent': 1}"),
        ("WARNING", "event 'ev-1': dead letters {'RecipientRejected': 1}"),
    ]
    assert {key: value for key, value in vars(ours[0]).items() if key.startswith("optout.")} == {
        "optout.version": __version__,
        "optout.messages": 2,
        "optout.removed": 1,
        "optout.added": 0,
        "optout.waiting": 1,
        "optout.dead_lettered": 1,
        "optout.MalformedEvent": 1,
        "optout.RecipientRejected": 1,
    }
    assert vars(ours[2])["optout.event_id"] == "ev-1"
    assert vars(ours[2])["optout.reasons"] == "RecipientRejected"


def dead(number):
    return EventReport(
        source=Untrusted(""),
        id=Untrusted(f"m-{number}"),
        form="unknown",
        result=EventResult.DEAD_LETTERED,
        reason=Reason.MALFORMED_EVENT,
    )


def test_a_publisher_that_sends_nothing_but_nonsense_fills_no_log_and_what_is_left_out_is_counted(measured, log):
    for _ in range(10):
        measured.telemetry.report(Report(messages=100, events=tuple(map(dead, range(100)))))

    warnings = [record for record in log.records if record.levelname == "WARNING"]
    settled = [record for record in log.records if record.levelname == "INFO"]
    left_out = [vars(record).get("optout.lines_left_out", 0) for record in settled]
    assert len(settled) == 10
    assert len(warnings) == 20
    assert "{'lines_left_out': 80}" in settled[0].getMessage()
    assert len(warnings) + sum(left_out) == 1000


def test_a_flood_of_refusals_does_not_hide_the_events_that_were_dead_lettered(measured, log):
    for _ in range(50):
        with pytest.raises(RequestRefused), measured.telemetry.request(Operation.REMOVE, 1):
            raise RequestRefused("Denied", 401)
    measured.telemetry.report(Report(messages=1, events=(dead(1),)))

    assert [record.levelname for record in log.records] == ["ERROR"] * 20 + ["INFO", "WARNING"]
    assert vars(log.records[20])["optout.lines_left_out"] == 30


async def test_no_line_no_span_and_no_metric_holds_a_number_or_a_key(measured, endpoint, log):
    """Whatever happens to it: removed, refused, failing, malformed; and whatever its publisher calls its event."""
    numbers = [f"+1555555{number:04}" for number in range(5550, 5556)]
    endpoint.faults = [
        Fault(to=numbers[0], status=401, code="Denied", message=f"not for {numbers[0]}"),
        Fault(to=numbers[1], status=400, code="InvalidInput", message=f"bad {numbers[1]}"),
        Fault(to=numbers[2], status=503, message=f"busy with {numbers[2]}"),
        Fault(to=numbers[3], drop="reset"),
    ]
    arrivals = [arrival(canonical(number, id=number, source=number), message_id=number) for number in numbers]
    arrivals.append(arrival(f"nonsense about {numbers[4]}".encode(), message_id=numbers[4]))

    async with open_client(endpoint, telemetry=measured.telemetry) as caller:
        work = processor(caller.client, measured)
        for each in arrivals:
            await work.process([each])

    shown = "\n".join([measured.everything(), *(f"{record.getMessage()} {vars(record)}" for record in log.records)])
    assert "•••" in shown
    assert [number for number in numbers if number in shown or number.lstrip("+") in shown] == []
    assert endpoint.access_key not in shown
    assert "HMAC-SHA256" not in shown


async def test_a_refusal_of_us_is_an_error_that_names_what_to_check_and_what_support_asks_for(measured, log):
    with pytest.raises(RequestRefused), measured.telemetry.request(Operation.REMOVE, 3):
        raise RequestRefused("Denied: wrong key", 401, error_code="Denied", ms_cv="abc.0")

    [record] = log.records
    assert record.levelname == "ERROR"
    assert record.getMessage() == (
        "ACS refuses us (HTTP 401: Denied: wrong key); the recipients wait for their next try;"
        " check endpoint, key or role, sender"
    )
    assert (vars(record)["optout.status"], vars(record)["optout.ms_cv"]) == (401, "abc.0")


async def test_an_event_cannot_forge_a_line_of_the_log(measured, endpoint, log):
    forged = "x\n2026-01-23 INFO optout_core settled 9 messages"

    async with open_client(endpoint, telemetry=measured.telemetry) as caller:
        await processor(caller.client, measured).process([arrival(canonical("+123", id=forged))])

    assert all("\n" not in record.getMessage() for record in log.records)
