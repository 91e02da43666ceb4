"""Each instrument with its unit and its small, closed sets of attribute values: docs/metrics.md."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from optout_core.batches import Operation
from optout_core.envelopes import Form
from optout_core.errors import BatchRejected, EndpointUnavailable, LedgerUnavailable, RequestRefused
from optout_core.events import EventResult
from optout_core.masking import Untrusted
from optout_core.outgoing import Outgoing, Queue
from optout_core.reasons import Reason
from optout_core.reports import Dispatched, EventReport, Report, SettledEvent
from optout_core.settlement import DeadLetter, Done, RetryLater
from sandbox.endpoint import Fault
from tests.adapters.acs_client import open_client, people, removing_one_by_one
from tests.adapters.telemetry import open_telemetry
from tests.build import NOW, lineage, numbers, opt_in, opt_out

UNITS = {
    "optout.events": "{event}",
    "optout.recipients": "{recipient}",
    "optout.requests": "{request}",
    "optout.request.duration": "s",
    "optout.request.recipients": "{recipient}",
    "optout.event.age": "s",
    "optout.waiting.age": "s",
    "optout.retries.scheduled": "{message}",
    "optout.dead_letters": "{message}",
    "optout.detours": "{message}",
    "optout.consent.blocked": "{recipient}",
    "optout.consent.already_applied": "{recipient}",
    "optout.consent.asserted_again": "{recipient}",
    "optout.consent.unsettled_stops": "{person}",
    "optout.ledger.duration": "s",
    "optout.invocation.duration": "s",
    "optout.breaker.open": "1",
}


@pytest.fixture
def measured():
    with open_telemetry() as everything:
        yield everything


WAITS = RetryLater(NOW + timedelta(minutes=1), 1)


def settled(*settlements, age=90.0, event="ev-1"):
    """An event of so many seconds ago, with a recipient for each settlement."""
    people = numbers(*(f"+1555000{number:04}" for number in range(len(settlements))))
    said = opt_in(*(each.text for each in people), id=event, time=NOW - timedelta(seconds=age))
    return SettledEvent(event=said, lineage=lineage(), of_each=dict(zip(people, settlements, strict=True)), now=NOW)


def message(number, reason=None):
    queue = Queue.DEAD_LETTERS if reason else Queue.OPT_INS
    return Outgoing(queue=queue, message_id=f"m-{number}", body=b"", content_type=None, properties={}, reason=reason)


def event(source, name, form, result, reason=None):
    return EventReport(source=Untrusted(source), id=Untrusted(name), form=form, result=result, reason=reason)


def report(**facts):
    return replace(Report(messages=1), **facts)


CONSENT = (
    Done(is_called=False),
    Done(is_called=False),
    DeadLetter(Reason.NEWER_OPT_OUT),
    RetryLater(NOW, 0, is_overlap=True),
)
EVERYTHING = report(
    messages=4,
    events=(
        event("shop", "ev-1", Form.CLOUD_EVENT, EventResult.DECODED),
        event("shop", "ev-2", Form.CLOUD_EVENT, EventResult.DECODED),
        event("acs", "ev-3", Form.EVENT_GRID, EventResult.IGNORED),
        event("", "message-4", "unknown", EventResult.DEAD_LETTERED, Reason.MALFORMED_EVENT),
    ),
    settled=(settled(Done(), Done()), settled(WAITS, DeadLetter(Reason.STALE_OPT_IN), event="ev-2")),
    dispatched=Dispatched(
        retries=[message(1)],
        dead_letters=[
            message(2, Reason.MALFORMED_EVENT),
            message(3, Reason.STALE_OPT_IN),
            message(4, Reason.STALE_OPT_IN),
        ],
        parked=[message(5)],
        refused=[message(6, Reason.RETRY_REFUSED), message(7, Reason.RETRY_REFUSED)],
    ),
)


def measure_everything(measured):
    measured.telemetry.watch_breaker(lambda: False)
    measured.telemetry.watch_stops(lambda: 0)
    with measured.telemetry.invocation([]), measured.telemetry.request(Operation.ADD, 1) as answered:
        answered(200)
    with measured.telemetry.ledger("admit"):
        pass
    measured.telemetry.report(EVERYTHING)
    measured.telemetry.report(report(settled=(settled(*CONSENT),)))


def test_every_instrument_has_its_unit_and_a_description_and_there_is_no_other(measured):
    measure_everything(measured)

    metrics = measured.metrics()
    assert {name: metric.unit for name, metric in metrics.items()} == UNITS
    assert all(metric.description for metric in metrics.values())


def test_durations_and_ages_have_buckets_that_tell_them_apart(measured):
    measure_everything(measured)

    metrics = measured.metrics()
    bounds = {
        name: metrics[name].data.data_points[0].explicit_bounds
        for name, unit in UNITS.items()
        if unit == "s" and name != "optout.breaker.open"
    }
    assert bounds["optout.request.duration"][0] < 0.05
    assert bounds["optout.invocation.duration"][-1] >= 60
    assert bounds["optout.event.age"][-1] >= timedelta(hours=72).total_seconds()
    assert bounds["optout.waiting.age"][-1] >= timedelta(hours=72).total_seconds()


def test_a_report_is_counted_by_form_result_outcome_and_reason(measured):
    measured.telemetry.report(EVERYTHING)

    assert measured.points("optout.events") == {
        ("cloud-event", "decoded"): 2,
        ("event-grid", "ignored"): 1,
        ("unknown", "dead_lettered"): 1,
    }
    assert measured.points("optout.recipients") == {
        ("removed", ""): 2,
        ("waiting", ""): 1,
        ("dead_lettered", "StaleOptIn"): 1,
    }
    assert measured.points("optout.dead_letters") == {("MalformedEvent",): 1, ("StaleOptIn",): 2, ("RetryRefused",): 2}
    assert measured.points("optout.retries.scheduled") == {(): 1}
    assert measured.points("optout.detours") == {("dead_letters",): 1, ("opt_ins",): 2}
    assert measured.points("optout.event.age") == {(): 1}
    assert measured.points("optout.waiting.age") == {(): 1}


def test_the_attributes_are_named_as_the_document_says(measured):
    measure_everything(measured)

    names = {
        name: {key for point in metric.data.data_points for key in point.attributes}
        for name, metric in measured.metrics().items()
    }
    assert {name: keys for name, keys in names.items() if keys} == {
        "optout.events": {"form", "result"},
        "optout.recipients": {"outcome", "reason"},
        "optout.requests": {"status_class", "operation"},
        "optout.ledger.duration": {"statement", "result"},
        "optout.request.duration": {"status_class"},
        "optout.dead_letters": {"reason"},
        "optout.detours": {"queue"},
    }


def test_an_invocation_without_messages_counts_nothing_but_itself(measured):
    with measured.telemetry.invocation([]):
        measured.telemetry.report(report(messages=0))

    assert measured.metrics().keys() == {"optout.invocation.duration"}


def test_an_event_from_the_future_is_no_time_old(measured):
    measured.telemetry.report(report(settled=(settled(Done(), age=-5.0),)))

    [point] = measured.metrics()["optout.event.age"].data.data_points
    assert (point.count, point.sum) == (1, 0.0)


def test_an_invocation_that_fails_is_timed_too(measured):
    with pytest.raises(RuntimeError), measured.telemetry.invocation([]):
        raise RuntimeError("the broker is gone")

    assert measured.points("optout.invocation.duration") == {(): 1}


@pytest.mark.parametrize(
    ("status", "error", "status_class"),
    [
        (200, None, "2xx"),
        (400, BatchRejected("InvalidInput", 400), "4xx"),
        (429, EndpointUnavailable("", 429), "4xx"),
        (503, EndpointUnavailable("", 503), "5xx"),
        (401, RequestRefused("Denied", 401), "refused"),
        (307, RequestRefused("", 307), "refused"),
        (None, RequestRefused("no token", error_code="NoToken"), "refused"),
        (None, EndpointUnavailable("no answer within 10 s"), "none"),
        (None, asyncio.CancelledError(), "none"),
    ],
    ids=str,
)
def test_a_request_is_counted_timed_and_sized_by_the_class_of_its_status(measured, status, error, status_class):
    def ask():
        with measured.telemetry.request(Operation.REMOVE, 100) as answered:
            if status is not None:
                answered(status)
            if error is not None:
                raise error

    if error is None:
        ask()
    else:
        with pytest.raises(type(error)):
            ask()

    assert measured.points("optout.requests") == {(status_class, "remove"): 1}
    assert measured.points("optout.request.duration") == {(status_class,): 1}
    [size] = measured.metrics()["optout.request.recipients"].data.data_points
    assert (size.count, size.sum) == (1, 100)


async def test_the_requests_of_a_client_are_those_that_were_made(measured, endpoint):
    endpoint.faults = [Fault(status=503, times=2), Fault(drop="reset", times=1), Fault(status=401, times=1)]

    async with open_client(endpoint, telemetry=measured.telemetry) as caller:
        await removing_one_by_one(caller, people(3))

    assert sum(measured.points("optout.requests").values()) == len(endpoint.requests)
    assert measured.points("optout.requests") == {
        (status, "remove"): count for status, count in {"5xx": 2, "none": 1, "refused": 1, "2xx": 2}.items()
    }


def test_the_breaker_is_looked_at_when_metrics_are_collected(measured):
    state = {"open": False}
    measured.telemetry.watch_breaker(lambda: state["open"])

    closed = measured.points("optout.breaker.open")
    state["open"] = True
    opened = measured.points("optout.breaker.open")

    assert (closed, opened) == ({(): 0}, {(): 1})


@pytest.mark.parametrize("age", [0.0, 6e10])
def test_odd_ages_do_no_harm(measured, age):
    measured.telemetry.report(report(settled=(settled(Done(), WAITS, age=age),)))

    assert measured.points("optout.event.age") == {(): 1}


def test_what_other_words_of_a_person_did_is_counted(measured):
    measured.telemetry.report(report(settled=(settled(*CONSENT),)))

    assert measured.points("optout.consent.already_applied") == {(): 2}
    assert measured.points("optout.consent.blocked") == {(): 1}
    assert measured.points("optout.consent.asserted_again") == {(): 1}
    assert measured.points("optout.recipients") == {
        ("removed", ""): 2,
        ("dead_lettered", "NewerOptOut"): 1,
        ("waiting", ""): 1,
    }


def test_a_stop_that_acs_took_is_added(measured):
    stop = opt_out(time=NOW - timedelta(seconds=9))
    told = SettledEvent(event=stop, lineage=lineage(), of_each={stop.recipients[0]: Done()}, now=NOW)

    measured.telemetry.report(report(settled=(told,)))

    assert measured.points("optout.recipients") == {("added", ""): 1}
    assert "optout.event.age" not in measured.metrics()


def test_unsettled_stops_are_reported_while_they_are_known(measured):
    stops = [None, 3]
    measured.telemetry.watch_stops(lambda: stops.pop(0))

    assert "optout.consent.unsettled_stops" not in measured.metrics()
    assert measured.points("optout.consent.unsettled_stops") == {(): 3}


def test_a_statement_to_the_ledger_that_fails_is_timed_too_and_says_so(measured, caplog):
    with measured.telemetry.ledger("admit"):
        pass
    with pytest.raises(LedgerUnavailable), measured.telemetry.ledger("record"):
        raise LedgerUnavailable("the consent ledger gives no answer (disk full): nothing is called")

    assert measured.points("optout.ledger.duration") == {("admit", "done"): 1, ("record", "failed"): 1}
    assert "disk full" in caplog.text
