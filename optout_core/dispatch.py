"""Gets retries and dead letters to the broker, over the other queue where one of the two takes none. Pure.

A dead letter that its queue does not take waits in the queue of the opt-ins and comes back with its verdict; a retry
that cannot wait there becomes a dead letter. Only where neither queue takes a message everything has to come again.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from msgspec.structs import replace

from optout_core.errors import SendFailed
from optout_core.messages import dead_letters, retry_messages
from optout_core.outgoing import NotTaken, Outgoing, Queue
from optout_core.reasons import Reason
from optout_core.reports import Dispatched, SettledEvent
from optout_core.settlement import DeadLetter, RetryLater, Schedule, Settlement


class Outbox(Protocol):
    """Hands messages to the broker.

    Attributes:
        is_in_doubt: Whether nothing was taken when something was last to be sent.
    """

    is_in_doubt: bool

    async def send(self, outgoing: Sequence[Outgoing]) -> Sequence[NotTaken]:
        """Send messages; give back those that the broker did not take, whatever happens."""


async def dispatch(outbox: Outbox, outgoing: Sequence[Outgoing], schedule: Schedule, now: datetime) -> Dispatched:
    """Return when the broker has every message, in one queue or the other.

    Args:
        outbox: The broker.
        outgoing: Retries and dead letters.
        schedule: It says how long a dead letter waits that its queue did not take.
        now: The current time; aware.

    Raises:
        SendFailed: A message was taken by neither queue.
    """
    not_taken = await outbox.send(outgoing)
    detours = [_detour(each.message, schedule, now) for each in not_taken]
    if detours and (failures := await outbox.send(detours)):
        raise SendFailed(
            f"the broker did not take {len(failures)} of {len(outgoing)} retries and dead letters, in neither queue"
            f" ({type(not_taken[0].why).__name__}, {type(failures[0].why).__name__}); nothing is lost: no message"
            " is completed and the broker delivers them all again; check that the namespace is up and that we may"
            " send to both queues"
        ) from failures[0].why
    elsewhere = {(each.message.queue, each.message.message_id) for each in not_taken}
    # Almost always all are taken.
    taken = [each for each in outgoing if (each.queue, each.message_id) not in elsewhere] if elsewhere else outgoing
    return Dispatched(
        retries=[each for each in taken if each.queue is Queue.OPT_INS],
        dead_letters=[each for each in taken if each.queue is Queue.DEAD_LETTERS],
        parked=[each for each in detours if each.queue is Queue.OPT_INS],
        refused=[each for each in detours if each.queue is Queue.DEAD_LETTERS],
    )


def as_dispatched(settled: SettledEvent, dispatched: Dispatched) -> SettledEvent:
    """Say where recipients are whose message had to go the other way."""
    facts = (settled.event, settled.lineage, settled.settlements)
    at = {each.message_id: each.scheduled_at for each in dispatched.parked}
    parked = {each.reason: at.get(each.parked(settled.now).message_id) for each in dead_letters(*facts)}
    refused = {each.message_id for each in dispatched.refused} & {each.message_id for each in retry_messages(*facts)}

    def where(settlement: Settlement) -> Settlement:
        if isinstance(settlement, DeadLetter) and (until := parked.get(settlement.reason)):
            return RetryLater(until, settled.lineage.attempt)
        if isinstance(settlement, RetryLater) and refused:
            return DeadLetter(Reason.RETRY_REFUSED)
        return settlement

    return replace(settled, of_each={to: where(settlement) for to, settlement in settled.settlements.items()})


def _detour(message: Outgoing, schedule: Schedule, now: datetime) -> Outgoing:
    if message.queue is Queue.OPT_INS:
        return message.refused()
    return message.parked(now + schedule.outage(message.rounds))
