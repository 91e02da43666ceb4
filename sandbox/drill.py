"""Fills the dead-letter queue with a realistic mess, on which operators can practise with nothing at stake.

The letters are those that the function would write, made by the same code; the broker's own two reasons come about by
ten deliveries and by an end of life. They lie there since up to a month, in bursts as incidents make them. The same
count gives the same mess, times apart. All numbers are fictitious.
"""

import asyncio
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import groupby, islice
from typing import Any, cast

from azure.servicebus.aio import ServiceBusClient

from optout_core.arrivals import Arrival, Lineage
from optout_core.errors import EventError
from optout_core.events import CONTENT_TYPE, OptIn, OptOut, decode
from optout_core.messages import dead_letters, undecodable
from optout_core.outcomes import Outcome, Verdict
from optout_core.reasons import Reason
from optout_core.settlement import DeadLetter
from sandbox.mess import Mess
from sandbox.publishing import Publication, publish
from servicebus_sandbox import Broker

#: The oldest and the youngest incident; the dead-letter queue keeps letters for 76 days.
_OLDEST, _YOUNGEST = timedelta(days=30), timedelta(minutes=2)
_MOST_INCIDENTS = 40
#: What the publisher of a message that nobody looked at in time gave it.
_TIME_TO_LIVE = timedelta(hours=1)
#: Letters that are made before others have their turn.
_AT_ONCE = 100

#: How often a reason comes up, where not once: what publishers and outages do makes most of a real queue.
_WEIGHTS = {
    Reason.RECIPIENT_REJECTED: 30,
    Reason.RETRIES_EXHAUSTED: 25,
    Reason.REQUEST_REFUSED: 12,
    Reason.MALFORMED_EVENT: 10,
    Reason.STALE_OPT_IN: 6,
    Reason.MAX_DELIVERY_COUNT_EXCEEDED: 4,
    Reason.NEWER_OPT_OUT: 3,
}
_ANSWERS = {
    Reason.RECIPIENT_REJECTED: Outcome(Verdict.REJECTED, "Invalid recipient phone number format", 400),
    Reason.STILL_OPTED_OUT: Outcome(Verdict.CONTRADICTED, "", 200),
    Reason.SENDER_REJECTED: Outcome(Verdict.SENDER_REJECTED, "Invalid phone number or short code", 400),
    Reason.REQUEST_REFUSED: Outcome(Verdict.REFUSED, "Denied by the resource provider.", 401, error_code="Denied"),
    Reason.RETRIES_EXHAUSTED: Outcome(Verdict.FAILED, "Internal Server Error", 500),
}
#: The same of `:add`.
_OF_STOPS = {
    Reason.OPT_OUT_REJECTED: Reason.RECIPIENT_REJECTED,
    Reason.NOT_OPTED_OUT: Reason.STILL_OPTED_OUT,
    Reason.OPT_OUT_SENDER_REJECTED: Reason.SENDER_REJECTED,
    Reason.OPT_OUT_REFUSED: Reason.REQUEST_REFUSED,
    Reason.OPT_OUT_RETRIES_EXHAUSTED: Reason.RETRIES_EXHAUSTED,
}
#: Tries that the ordinary schedule of five delays has, and how long it takes.
_TRIES, _WHOLE_SCHEDULE = 6, timedelta(hours=2, minutes=50)
_SCHEDULED = {
    Reason.REQUEST_REFUSED,
    Reason.RETRIES_EXHAUSTED,
    Reason.OPT_OUT_REFUSED,
    Reason.OPT_OUT_RETRIES_EXHAUSTED,
}
_UNREAD = {Reason.MAX_DELIVERY_COUNT_EXCEEDED, Reason.TTL_EXPIRED}


class Clock:
    """The time of the broker: now, or earlier while the queue is filled."""

    def __init__(self) -> None:
        """Begin with now."""
        self.behind = timedelta(0)

    def __call__(self) -> float:
        """Give seconds since 1970."""
        return time.time() - self.behind.total_seconds()


@dataclass(frozen=True, slots=True, kw_only=True)
class Letter:
    """A dead letter to be.

    Attributes:
        age: How long it has been one.
        reason: Why.
        publication: What is sent: to the dead-letter queue, or for the broker's own reasons to the opt-ins.
    """

    age: timedelta
    reason: Reason
    publication: Publication


def letters(count: int, now: datetime) -> Iterator[Letter]:
    """Make dead letters, the oldest first.

    Args:
        count: At least 1; with one for each reason or more, every reason comes up.
        now: The current time; aware.
    """
    mess = Mess(random.Random(count))  # noqa: S311 - no secret
    reasons = [*Reason, *mess.random.choices([*Reason], [_WEIGHTS.get(each, 1) for each in Reason], k=count)][:count]
    mess.random.shuffle(reasons)
    # What nobody looked at in time waited before anything else happened: the broker's clock only goes forward.
    reasons.sort(key=lambda reason: reason is not Reason.TTL_EXPIRED)
    ages = _ages(min(count, _MOST_INCIDENTS))
    for number, reason in enumerate(reasons):
        age = ages[0] if reason is Reason.TTL_EXPIRED else ages[number * len(ages) // count]
        yield Letter(age=age, reason=reason, publication=_publication(reason, mess, now - age, number))


async def fill(
    broker: Broker, clock: Clock, settings: Mapping[str, str], count: int, progress: Callable[[int], None]
) -> None:
    """Put dead letters into the dead-letter queue of a broker from which nobody receives yet.

    Args:
        broker: With both queues empty.
        clock: The broker's own; it says now when all is done.
        settings: The app settings that lead to the broker.
        count: At least 1.
        progress: Called with how many are there.

    Raises:
        ServiceBusError: The queue is full.
    """
    client = ServiceBusClient.from_connection_string(settings["ServiceBusConnection"], retry_total=0)
    opt_ins, dead = settings["OPT_IN_QUEUE"], settings["DEAD_LETTER_QUEUE"]
    async with client, client.get_queue_sender(opt_ins) as to_opt_ins, client.get_queue_sender(dead) as to_dead:
        done = 0
        for age, incident in groupby(letters(count, datetime.now(UTC)), key=lambda letter: letter.age):
            while part := tuple(islice(incident, _AT_ONCE)):
                if expiring := _of(part, {Reason.TTL_EXPIRED}):
                    _move(broker, clock, age + _TIME_TO_LIVE)
                    await publish(to_opt_ins, expiring)
                if undelivered := _of(part, {Reason.MAX_DELIVERY_COUNT_EXCEEDED}):
                    _move(broker, clock, age)
                    await publish(to_opt_ins, undelivered)
                    _deliver_in_vain(broker, opt_ins)
                if written := _of(part, {*Reason} - _UNREAD):
                    _move(broker, clock, age)
                    await publish(to_dead, written)
                done += len(part)
                progress(done)
                # Whoever wants to end it is heard.
                await asyncio.sleep(0)
    _move(broker, clock, timedelta(0))


def _of(some: Sequence[Letter], reasons: set[Reason]) -> list[Publication]:
    return [letter.publication for letter in some if letter.reason in reasons]


def _move(broker: Broker, clock: Clock, behind: timedelta) -> None:
    clock.behind = behind
    broker.clock_moved()


def _deliver_in_vain(broker: Broker, name: str) -> None:
    queue = broker.queue(name)
    while stored := queue.lock_next():
        assert stored.lock_token is not None  # noqa: S101 - it was just locked; for mypy
        queue.abandon(stored.lock_token)


def _ages(incidents: int) -> list[timedelta]:
    """Give the age of each incident, the oldest first: evenly spread by order of magnitude."""
    if incidents == 1:
        return [_YOUNGEST]
    step = (_YOUNGEST / _OLDEST) ** (1 / (incidents - 1))
    return [_OLDEST * step**number for number in range(incidents)]


def _publication(reason: Reason, mess: Mess, at: datetime, number: int) -> Publication:
    if reason in _UNREAD:
        told = mess.event(at - timedelta(minutes=1), number)
        life = _TIME_TO_LIVE if reason is Reason.TTL_EXPIRED else None
        return Publication(told.id, told.body, {}, content_type=CONTENT_TYPE, time_to_live=life)
    if reason in {Reason.MALFORMED_EVENT, Reason.UNSUPPORTED_EVENT}:
        return _undecodable(reason, mess, at, number)
    waited = mess.random.uniform(1.0, 1.2) * _WHOLE_SCHEDULE if reason in _SCHEDULED else timedelta(seconds=1)
    said = at - waited - (timedelta(days=4) if reason is Reason.STALE_OPT_IN else timedelta(minutes=1))
    told = mess.event(said, number, is_refused=reason is Reason.RECIPIENT_REJECTED)
    if reason is Reason.UNCLEAR_OPT_OUT:
        told = mess.unclear_stop(said, number)
    elif reason in _OF_STOPS:
        told = mess.stop(said, number)
    arrival = Arrival(body=told.body, enqueued_at=at - waited, message_id=told.id, content_type=CONTENT_TYPE)
    (event,) = decode(arrival)
    assert isinstance(event, OptIn | OptOut)  # noqa: S101 - we wrote it; for mypy
    answer = _ANSWERS.get(_OF_STOPS.get(reason, reason))
    attempt = _TRIES - 1 if reason in _SCHEDULED else 0
    lineage = Lineage(
        attempt=attempt,
        hop=attempt + mess.random.choice([0, 0, 0, 1, 7]),
        first_enqueued=at - waited,
        of=len(event.recipients) + mess.random.choice([0, 0, 0, 2, 40]),
        correlation_id=mess.random.choice([None, "preference-centre"]),
        trace=mess.trace(),
        **mess.replayed(at),
    )
    [letter] = dead_letters(event, lineage, {to: DeadLetter(reason, answer) for to in event.recipients})
    return _of_outgoing(letter)


def _undecodable(reason: Reason, mess: Mess, at: datetime, number: int) -> Publication:
    told = mess.garbled(at, number) if reason is Reason.MALFORMED_EVENT else mess.unknown(at, number)
    arrival = Arrival(body=told.body, enqueued_at=at, message_id=told.id, content_type=told.content_type)
    try:
        decode(arrival)
    except EventError as error:
        return _of_outgoing(
            undecodable(arrival, Lineage(attempt=0, hop=0, first_enqueued=at, trace=mess.trace()), error)
        )
    raise AssertionError("a message that was made to be no event is one")


def _of_outgoing(letter: Any) -> Publication:  # noqa: ANN401 - the message to be sent, whose module tells its type
    return Publication(
        letter.message_id,
        letter.body,
        cast("dict[str | bytes, Any]", dict(letter.properties)),
        content_type=letter.content_type,
    )
