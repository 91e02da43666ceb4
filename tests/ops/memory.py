"""Both queues in memory: a fake that keeps the promises of the real ones (test_queues_contract.py)."""

from collections import Counter
from contextlib import asynccontextmanager

from azure.servicebus import ServiceBusReceivedMessage
from msgspec.structs import replace

from optout_core.outgoing import Outgoing, Queue
from optout_ops.exits import OutOfReach
from optout_ops.letters.letter import REPLAY_OF
from optout_ops.queues.messages import MessageState, QueueMessage
from optout_ops.queues.reading import read_message
from tests.build import NOW


class MemoryQueues:
    """Two queues as Service Bus keeps them: in order, with locks, dropping an id that they have seen.

    Attributes:
        messages: What lies in each queue, in order.
        scheduled: When the broker delivers a message, by MessageId.
        duplicates: How many messages each queue accepted and dropped.
        locked: Sequence numbers of dead letters that are locked, by us or by others.
        lost_locks: Sequence numbers of dead letters whose lock is lost the next time that they are completed.
        vanishing: Sequence numbers of dead letters that somebody else takes when a pass begins.
        refusals: The queues that refuse what is sent.
        function: Is given each message that is sent to `opt-ins`, as the function would be; when it returns True the
            message is completed.
    """

    namespace = "memory.example"

    def __init__(self, *dead_letters, function=lambda _: False):
        self.names = {Queue.OPT_INS: "opt-ins", Queue.DEAD_LETTERS: "opt-ins-dead-letter"}
        self.messages = {Queue.OPT_INS: [], Queue.DEAD_LETTERS: list(dead_letters)}
        self.scheduled = {}
        self.duplicates: Counter[Queue] = Counter()
        self.locked, self.lost_locks, self.refusals, self.vanishing = set(), set(), set(), set()
        self.function = function
        self._last = {
            Queue.OPT_INS: 0,
            Queue.DEAD_LETTERS: max((each.sequence_number for each in dead_letters), default=0),
        }
        self._ids = {Queue.OPT_INS: set(), Queue.DEAD_LETTERS: {each.message_id for each in dead_letters}}

    async def __aenter__(self):
        return self

    async def __aexit__(self, *_):
        pass

    @property
    def opt_ins(self):
        return self.messages[Queue.OPT_INS]

    @property
    def dead_letters(self):
        return self.messages[Queue.DEAD_LETTERS]

    @property
    def numbers(self):
        """The sequence numbers of the dead letters."""
        return [each.sequence_number for each in self.dead_letters]

    async def peek(self, queue, start=1):
        for message in list(self.messages[queue]):
            if message.sequence_number >= start:
                yield message

    async def tail(self, queue):
        return max((each.sequence_number for each in self.messages[queue]), default=0)

    async def send(self, outgoing):
        for message in outgoing:
            if message.queue in self.refusals:
                raise OutOfReach(f"the queue {self.names[message.queue]!r} cannot be reached; nothing is lost")
            self.accept(message)

    async def send_encoded(self, queue, messages):
        for each in messages:
            found = read_message(ServiceBusReceivedMessage.from_bytes(each.content))
            self.accept(
                Outgoing(
                    queue=queue,
                    message_id=each.message_id,
                    body=found.body,
                    content_type=found.content_type,
                    properties=found.properties,
                    correlation_id=found.correlation_id,
                )
            )

    def accept(self, outgoing):
        """Keep a message, unless its id was seen."""
        queue = outgoing.queue
        if outgoing.message_id in self._ids[queue]:
            self.duplicates[queue] += 1
            return
        self._ids[queue].add(outgoing.message_id)
        self._last[queue] += 1
        if outgoing.scheduled_at is not None:
            self.scheduled[outgoing.message_id] = outgoing.scheduled_at
        message = QueueMessage(
            sequence_number=self._last[queue],
            enqueued_at=NOW,
            delivery_count=0,
            body=outgoing.body,
            message_id=outgoing.message_id,
            content_type=outgoing.content_type,
            correlation_id=outgoing.correlation_id,
            properties=outgoing.properties,
        )
        self.messages[queue].append(message)
        if queue is Queue.OPT_INS and self.function(message):
            self.messages[queue].remove(message)

    async def may_send(self, queue):
        if queue in self.refusals:
            raise OutOfReach(f"we are not allowed at the queue {self.names[queue]!r}")

    def take_away(self, number):
        """Let a dead letter vanish, as if another tool had taken it."""
        self.dead_letters.remove(self._dead_letter(number))

    def count_delivery(self, number):
        """Count a delivery that ended without a settlement."""
        message = self._dead_letter(number)
        position = self.dead_letters.index(message)
        self.dead_letters[position] = replace(message, delivery_count=message.delivery_count + 1)

    def _dead_letter(self, number):
        [message] = [each for each in self.dead_letters if each.sequence_number == number]
        return message

    @asynccontextmanager
    async def locking(self, chosen):
        opened = MemoryPass(self, chosen)
        try:
            yield opened
        finally:
            self.locked -= opened.held


def returned(message, reason="RecipientRejected"):
    """The dead letter that the function makes of a replayed message whose recipients ACS refuses."""
    facts = {name: value for name, value in message.properties.items() if name != REPLAY_OF}
    return Outgoing(
        queue=Queue.DEAD_LETTERS,
        message_id=f"{message.message_id.rsplit(':', 2)[0]}:d9:{message.message_id[-16:]}",
        body=message.body,
        content_type=message.content_type,
        properties=facts | {"DeadLetterReason": reason, "optout-hop": message.properties["optout-hop"] + 1},
    )


class MemoryPass:
    """One pass over the dead letters in memory."""

    def __init__(self, queues, chosen):
        self.completed = self.overflow = 0
        self.held = set()
        self._queues, self._chosen = queues, chosen
        for number in queues.vanishing:
            queues.take_away(number)
        self._waiting = [
            each.sequence_number
            for each in queues.dead_letters
            if each.sequence_number in chosen
            and each.sequence_number not in queues.locked
            and each.state is MessageState.ACTIVE
        ]

    async def lock(self, at_most):
        batch, self._waiting = self._waiting[:at_most], self._waiting[at_most:]
        self.held.update(batch)
        self._queues.locked.update(batch)
        return [self._queues._dead_letter(number) for number in batch]

    async def complete(self, number):
        self.held.remove(number)
        self._queues.locked.discard(number)
        if number in self._queues.lost_locks:
            self._queues.lost_locks.discard(number)
            self._queues.count_delivery(number)
            self._waiting.append(number)
            return False
        self._queues.take_away(number)
        self.completed += 1
        return True

    def leave(self, number):
        assert number in self.held
