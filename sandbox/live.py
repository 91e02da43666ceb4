"""What happens, in a line each: recipients as they are settled, requests to ACS, letters that the broker gave up."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

from optout_core.amqp import NotAmqp, decode
from optout_core.events import EventResult
from optout_core.masking import Untrusted
from optout_core.reasons import Reason
from optout_core.reports import Report
from sandbox.endpoint import Request
from sandbox.watch import SeenDeadLetter, read_dead_letter
from servicebus_sandbox import Broker
from servicebus_sandbox.messages import encode_message

_MOST_NUMBERS = 3
#: Messages that are looked at in one turn of the loop.
_AT_ONCE = 100
#: Dead letters that no report of the function tells of.
_OF_BROKER = (Reason.MAX_DELIVERY_COUNT_EXCEEDED, Reason.TTL_EXPIRED)


def of_report(report: Report, now: datetime) -> Iterator[str]:
    """Say what the function did: a line for each recipient, and for each event that has none.

    Args:
        report: What it reported, after the broker had taken all that it sent.
        now: When; aware.
    """
    for event in report.events:
        if event.result is not EventResult.DECODED:
            yield _line(now, _words(event.result), event.form, f"{event.reason or ''}  {event.id}".strip())
    for each in report.recipients:
        tries = "1 try" if each.attempts == 1 else f"{each.attempts} tries"
        why = each.reason.value if each.reason else tries
        if each.next_try:
            why = f"next try at {each.next_try:%H:%M:%S}Z, {tries} used up"
        yield _line(now, _words(each.outcome), str(each.recipient), f"from {each.sender}  {why}  {each.event}")


def of_request(request: Request) -> str:
    """Say what was asked of the endpoint, and what it answered."""
    shown = ", ".join(str(Untrusted(to)) for to in request.recipients[:_MOST_NUMBERS])
    more = len(request.recipients) - _MOST_NUMBERS
    people = f"{shown} and {more} more" if more > 0 else shown
    answer = "no answer" if request.status is None else f"HTTP {request.status}"
    asked = f":{request.operation}" if request.operation else "no operation"
    sender = f"from {Untrusted(request.sender)}  " if request.sender else ""
    facts = f"{sender}{people}  in {request.seconds * 1000:.0f} ms"
    return _line(request.at + timedelta(seconds=request.seconds), f"request {asked}", answer, facts)


def of_dead_letter(dead: SeenDeadLetter, enqueued_at: datetime) -> str:
    """Say what lies in the dead-letter queue."""
    shown = ", ".join(map(str, dead.recipients[:_MOST_NUMBERS]))
    more = len(dead.recipients) - _MOST_NUMBERS
    people = f"{shown} and {more} more" if more > 0 else shown
    return _line(enqueued_at, "dead letter", str(dead.reason), f"{people}  {dead.event}".strip())


async def watch_dead_letters(broker: Broker, name: str, write: Callable[[str], None], *, of_all: bool) -> None:
    """Say what comes into the dead-letter queue from now on, until cancelled.

    Args:
        broker: The sandbox's own.
        name: Of the queue.
        write: Takes a line.
        of_all: Also of the letters of the function, and not only of those that the broker made.
    """
    queue = broker.queue(name)
    known = max((stored.sequence_number for stored in queue.messages()), default=0)

    def has_more() -> bool:
        return bool(queue.peek(known + 1, 1))

    while True:
        await broker.wait_until(has_more, timeout=_FOR_EVER)
        for stored in queue.peek(known + 1, _AT_ONCE):
            known = stored.sequence_number
            try:
                message = decode(encode_message(stored.message, stored.stamps()))
            except NotAmqp:
                continue
            dead = read_dead_letter(message)
            if of_all or dead.reason.raw in _OF_BROKER:
                write(of_dead_letter(dead, datetime.fromtimestamp(stored.enqueued_at, UTC)))


#: Seconds; the longest that a timer of the loop takes for certain.
_FOR_EVER = 365 * 24 * 3600.0


def _line(moment: datetime, what: str, whom: str, facts: str) -> str:
    return f"{moment:%H:%M:%S}.{moment.microsecond // 1000:03}Z  {what:<16}  {whom:<14}  {facts}"


def _words(code: str) -> str:
    return code.replace("_", "-")
