"""What happens to messages in a queue, with a clock that is set by hand and no I/O."""

import re
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from servicebus_sandbox import EntityNotFound, QueueProperties, State
from servicebus_sandbox.errors import LockLost, MessageNotFound, NotAllowed, QuotaExceeded
from servicebus_sandbox.messages import Message, decode_message, encode_message
from servicebus_sandbox.namespace import Namespace

START = 1_700_000_000.0
LOCK, WINDOW, LIFE = 30.0, 600.0, 3600.0
WORK = QueueProperties(
    lock_duration=timedelta(seconds=LOCK),
    max_delivery_count=3,
    requires_duplicate_detection=True,
    duplicate_detection_history_time_window=timedelta(seconds=WINDOW),
    default_message_time_to_live=timedelta(seconds=LIFE),
    dead_lettering_on_message_expiration=True,
)


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.time = START

    def __call__(self) -> float:
        return self.time

    def advance(self, seconds: float) -> None:
        self.time += seconds


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def namespace(clock):
    forwarding = replace(WORK, forward_dead_lettered_messages_to="failed")
    return Namespace({"work": WORK, "forwarding": forwarding, "failed": WORK}, clock=clock)


@pytest.fixture
def queue(namespace):
    return namespace.queue("work")


def message(message_id=None, **facts):
    return Message(message_id=message_id, size=100, **facts)


def ids(stored_messages):
    return [stored.message.message_id for stored in stored_messages]


def reasons(queue):
    return [stored.message.application_properties.get("DeadLetterReason") for stored in queue.messages()]


def test_messages_are_received_in_the_order_they_were_sent(queue):
    queue.send([message("a"), message("b"), message("c")])

    assert ids([queue.lock_next(), queue.lock_next(), queue.lock_next()]) == ["a", "b", "c"]
    assert queue.lock_next() is None


def test_a_locked_message_is_given_to_nobody_else(queue):
    queue.send([message("a")])
    queue.lock_next()

    assert queue.lock_next() is None
    assert (queue.active, queue.locked) == (1, 1)


def test_a_completed_message_is_gone(queue):
    queue.send([message("a")])
    queue.complete(queue.lock_next().lock_token)

    assert len(queue) == 0
    assert queue.lock_next() is None


def test_a_locked_message_comes_back_when_its_lock_expires(queue, clock):
    queue.send([message("a")])
    first = queue.lock_next().lock_token
    clock.advance(LOCK)

    again = queue.lock_next()

    assert (again.message.message_id, again.delivery_count) == ("a", 1)
    assert again.lock_token != first


def test_a_lock_holds_until_the_last_moment(queue, clock):
    queue.send([message("a")])
    token = queue.lock_next().lock_token
    clock.advance(LOCK - 0.001)
    queue.complete(token)

    assert len(queue) == 0


def test_a_message_comes_back_to_the_place_it_had(queue):
    queue.send([message("a"), message("b"), message("c")])
    queue.abandon(queue.lock_next().lock_token)

    assert ids([queue.lock_next(), queue.lock_next()]) == ["a", "b"]


def test_a_renewed_lock_lasts_longer(queue, clock):
    queue.send([message("a")])
    token = queue.lock_next().lock_token
    clock.advance(LOCK - 1)

    assert queue.renew([token]) == [START + LOCK - 1 + LOCK]

    clock.advance(LOCK - 1)
    assert queue.lock_next() is None
    clock.advance(1)
    assert queue.lock_next().delivery_count == 1


def test_settling_after_the_lock_is_lost_is_refused_and_the_message_stays(queue, clock):
    queue.send([message("a")])
    token = queue.lock_next().lock_token
    clock.advance(LOCK)

    for settle in (queue.complete, queue.abandon, queue.defer, queue.dead_letter, queue.release):
        with pytest.raises(LockLost):
            settle(token)
    with pytest.raises(LockLost):
        queue.renew([token])
    assert queue.active == 1


def test_settling_twice_is_refused(queue):
    queue.send([message("a")])
    token = queue.lock_next().lock_token
    queue.complete(token)

    with pytest.raises(LockLost):
        queue.complete(token)


def test_renewing_one_lost_lock_among_others_renews_none(queue, clock):
    queue.send([message("a")])
    stored = queue.lock_next()
    clock.advance(1)

    with pytest.raises(LockLost):
        queue.renew([stored.lock_token, uuid4()])
    assert stored.locked_until == START + LOCK


def test_a_taken_message_is_gone_at_once(queue):
    queue.send([message("a")])

    assert queue.take_next().message.message_id == "a"
    assert len(queue) == 0
    assert queue.take_next() is None


def test_an_abandoned_message_counts_its_delivery_and_a_released_one_does_not(queue):
    queue.send([message("a")])
    queue.release(queue.lock_next().lock_token)
    queue.abandon(queue.lock_next().lock_token)

    assert queue.lock_next().delivery_count == 1


def test_a_message_delivered_too_often_is_dead_lettered(queue, clock):
    queue.send([message("a")])
    queue.abandon(queue.lock_next().lock_token)
    queue.abandon(queue.lock_next().lock_token)
    queue.lock_next()
    clock.advance(LOCK)
    queue.tick()

    [dead] = queue.dead_letters.messages()
    assert dead.message.application_properties == {
        "DeadLetterReason": "MaxDeliveryCountExceeded",
        "DeadLetterErrorDescription": "Message could not be consumed after 3 delivery attempts.",
    }
    assert (dead.sequence_number, dead.delivery_count, len(queue), queue.dead_lettered) == (1, 3, 0, 1)


def test_a_dead_letter_says_why_and_keeps_what_it_had(queue):
    before = Message("a", size=9).with_application_properties({"mine": 1, "DeadLetterReason": "an older one"})
    queue.send([before])
    queue.dead_letter(queue.lock_next().lock_token, "TooOld", "too old by far", {"extra": True})

    [dead] = queue.dead_letters.messages()
    assert dead.message.application_properties == {
        "mine": 1,
        "extra": True,
        "DeadLetterReason": "TooOld",
        "DeadLetterErrorDescription": "too old by far",
    }


def test_a_dead_letter_is_forwarded_as_a_new_message_that_knows_where_it_was(namespace):
    source, failed = namespace.queue("forwarding"), namespace.queue("failed")
    failed.send([message("other")])
    source.send([message("gone"), message("a")])
    source.complete(source.lock_next().lock_token)
    source.dead_letter(source.lock_next().lock_token, "Why")

    _, dead = failed.messages()
    assert (dead.sequence_number, dead.first_sequence_number, dead.dead_letter_source) == (2, 2, "forwarding")
    assert (dead.delivery_count, source.dead_lettered, len(source)) == (0, 0, 0)
    assert failed.lock_next().message.message_id == "other"


def test_a_forwarded_dead_letter_with_a_known_id_is_dropped_as_a_duplicate(namespace):
    source, failed = namespace.queue("forwarding"), namespace.queue("failed")
    failed.send([message("a")])
    source.send([message("a")])
    source.dead_letter(source.lock_next().lock_token)

    assert (len(failed), failed.duplicates) == (1, 1)


def test_a_forwarded_dead_letter_with_a_known_id_is_kept_where_the_switch_says_so(clock):
    forwarding = replace(WORK, forward_dead_lettered_messages_to="failed")
    queues = {"forwarding": forwarding, "failed": WORK}
    namespace: Any = Namespace(queues, clock=clock, drop_forwarded_duplicates=False)
    source, failed = namespace.queue("forwarding"), namespace.queue("failed")
    failed.send([message("a")])
    source.send([message("a")])
    source.dead_letter(source.lock_next().lock_token)

    assert (len(failed), failed.duplicates) == (2, 0)


def test_a_dead_letter_stays_in_the_subqueue_when_the_queue_it_is_forwarded_to_is_full(clock):
    small = QueueProperties(max_size_in_megabytes=1)
    queues = {"source": QueueProperties(forward_dead_lettered_messages_to="failed"), "failed": small}
    namespace: Any = Namespace(queues, clock=clock)
    source, failed = namespace.queue("source"), namespace.queue("failed")
    failed.send([Message(size=2**20 - 50)])
    source.send([message("a"), message("b")])
    source.dead_letter(source.lock_next().lock_token, "Why")

    [dead] = source.dead_letters.messages()
    assert (len(failed), dead.message.application_properties) == (1, {"DeadLetterReason": "Why"})
    assert source.dead_letters.lock_next() is dead

    failed.take_next()
    source.dead_letter(source.lock_next().lock_token)
    assert (len(failed), source.dead_lettered) == (1, 1)


def test_a_forwarded_expired_message_does_not_expire_at_once_again(namespace, clock):
    source, failed = namespace.queue("forwarding"), namespace.queue("failed")
    source.send([message("a", ttl_ms=1000)])
    clock.advance(1)
    namespace.tick()
    clock.advance(LIFE - 1)
    namespace.tick()

    assert reasons(failed) == ["TTLExpiredException"]
    clock.advance(1)
    namespace.tick()
    assert (len(failed), failed.dead_lettered) == (0, 1)


def test_in_a_dead_letter_subqueue_nothing_expires_and_deliveries_are_not_limited(queue, clock):
    queue.send([message("a")])
    queue.dead_letter(queue.lock_next().lock_token)
    for _ in range(5):
        queue.dead_letters.abandon(queue.dead_letters.lock_next().lock_token)
    clock.advance(100 * LIFE)

    assert queue.dead_letters.lock_next().delivery_count == 5


def test_dead_letters_are_in_the_order_in_which_they_were_sent(queue):
    queue.send([message("a"), message("b"), message("c")])
    tokens = [queue.lock_next().lock_token for _ in range(3)]
    for token in reversed(tokens):
        queue.dead_letter(token)

    assert ids(queue.dead_letters.peek(0, 9)) == ["a", "b", "c"]
    assert queue.dead_letters.lock_next().message.message_id == "a"


def test_nobody_sends_to_a_dead_letter_subqueue_or_dead_letters_twice(queue):
    queue.send([message("a")])
    queue.dead_letter(queue.lock_next().lock_token)
    token = queue.dead_letters.lock_next().lock_token

    with pytest.raises(NotAllowed, match="send to work"):
        queue.dead_letters.send([message("b")])
    with pytest.raises(NotAllowed, match="dead-lettered again"):
        queue.dead_letters.dead_letter(token)
    queue.dead_letters.complete(token)


def test_an_expired_message_is_dead_lettered(queue, clock):
    queue.send([message("a", ttl_ms=5000), message("b")])
    clock.advance(5)

    assert ids(queue.peek(1, 9)) == ["b"]
    assert reasons(queue.dead_letters) == ["TTLExpiredException"]


def test_an_expired_message_is_dropped_where_the_queue_says_so(clock):
    keeping_none = replace(WORK, dead_lettering_on_message_expiration=False)
    queue = Namespace({"q": keeping_none}, clock=clock).queue("q")
    queue.send([message("a")])
    clock.advance(LIFE)
    queue.tick()

    assert (len(queue), queue.dead_lettered) == (0, 0)


def test_a_message_cannot_ask_for_more_time_than_the_queue_gives(queue, clock):
    queue.send([message("a", ttl_ms=10 * LIFE * 1000)])
    clock.advance(LIFE)

    assert queue.lock_next() is None


def test_a_locked_message_does_not_expire_before_its_lock(queue, clock):
    queue.send([message("a", ttl_ms=1000), message("b", ttl_ms=1000)])
    queue.lock_next()
    token = queue.lock_next().lock_token
    clock.advance(2)
    queue.complete(token)
    clock.advance(LOCK)
    queue.tick()

    assert reasons(queue.dead_letters) == ["TTLExpiredException"]
    assert len(queue) == 0


def test_a_scheduled_message_waits_for_its_time_and_is_then_the_newest(queue, clock):
    queue.send([message("later", scheduled_ms=int((START + 10) * 1000)), message("now")])

    assert (queue.scheduled, queue.active) == (1, 1)
    assert ids([queue.lock_next()]) == ["now"]
    assert queue.lock_next() is None
    assert queue.due() == START + 10

    clock.advance(10)
    later = queue.lock_next()
    assert (later.message.message_id, later.sequence_number, later.enqueued_at) == ("later", 3, START + 10)
    assert queue.scheduled == 0


def test_a_schedule_in_the_past_is_now(queue):
    queue.send([message("a", scheduled_ms=1000)])

    assert ids([queue.lock_next()]) == ["a"]


def test_a_scheduled_message_lives_from_its_time_on(queue, clock):
    queue.send([message("a", ttl_ms=5000, scheduled_ms=int((START + 100) * 1000))])
    clock.advance(104)

    assert ids(queue.peek(0, 9)) == ["a"]

    clock.advance(1)
    assert ids(queue.peek(0, 9)) == []


def test_a_cancelled_message_never_arrives(queue, clock):
    [number] = queue.send([message("a", scheduled_ms=int((START + 10) * 1000))])
    queue.cancel([number])
    clock.advance(20)

    assert queue.lock_next() is None


def test_cancelling_one_message_that_is_not_scheduled_cancels_none(queue):
    numbers = queue.send([message("a", scheduled_ms=int((START + 10) * 1000)), message("b")])

    with pytest.raises(MessageNotFound, match=r"scheduled messages in work: \[1, 2\]"):
        queue.cancel(numbers)
    assert queue.scheduled == 1


def test_a_known_id_is_accepted_and_dropped_until_the_window_ends(queue, clock):
    queue.send([message("a"), message("a")])
    clock.advance(WINDOW - 1)
    queue.send([message("a")])

    assert (len(queue), queue.duplicates) == (1, 2)

    clock.advance(1)
    queue.send([message("a")])
    assert (len(queue), queue.duplicates) == (2, 2)


def test_a_completed_a_scheduled_and_a_cancelled_message_stay_known(queue):
    queue.send([message("done")])
    queue.complete(queue.lock_next().lock_token)
    [number] = queue.send([message("later", scheduled_ms=int((START + 10) * 1000))])
    queue.cancel([number])
    queue.send([message("done"), message("later")])

    assert (len(queue), queue.duplicates) == (0, 2)


def test_a_message_without_an_id_gets_one_of_its_own_and_is_never_a_duplicate(queue):
    queue.send([message(), message()])

    assert len({*ids(queue.messages())}) == 2
    assert all(re.fullmatch("[0-9a-f]{32}", one) for one in ids(queue.messages()))


def test_without_duplicate_detection_every_message_is_kept(clock):
    queue = Namespace({"q": QueueProperties()}, clock=clock).queue("q")
    queue.send([message("a"), message("a")])

    assert len(queue) == 2


def test_a_deferred_message_is_received_by_its_number_only(queue):
    queue.send([message("a")])
    stored = queue.lock_next()
    queue.defer(stored.lock_token, {"because": "later"})

    assert (queue.deferred, queue.active, queue.lock_next()) == (1, 0, None)

    [again] = queue.receive_deferred([stored.sequence_number], lock=True)
    assert again.message.application_properties == {"because": "later"}
    with pytest.raises(MessageNotFound):
        queue.receive_deferred([stored.sequence_number], lock=True)
    queue.complete(again.lock_token)
    assert len(queue) == 0


def test_a_deferred_message_stays_deferred_when_it_is_abandoned_or_its_lock_expires(queue, clock):
    queue.send([message("a")])
    queue.defer(queue.lock_next().lock_token)
    queue.abandon(queue.receive_deferred([1], lock=True)[0].lock_token)

    assert (queue.deferred, queue.lock_next()) == (1, None)

    queue.receive_deferred([1], lock=True)
    clock.advance(LOCK)
    queue.tick()
    assert (queue.deferred, queue.dead_lettered) == (0, 1)


def test_a_deferred_message_expires_when_somebody_asks_for_it(queue, clock):
    queue.send([message("a"), message("b")])
    queue.defer(queue.lock_next().lock_token)
    queue.defer(queue.lock_next().lock_token)
    clock.advance(LIFE)
    queue.tick()

    assert queue.deferred == 2
    with pytest.raises(MessageNotFound, match="expired"):
        queue.receive_deferred([1], lock=True)
    assert (queue.deferred, queue.dead_lettered) == (1, 1)


def test_a_deferred_message_can_be_received_and_deleted(queue):
    queue.send([message("a")])
    queue.defer(queue.lock_next().lock_token)

    assert ids(queue.receive_deferred([1], lock=False)) == ["a"]
    assert len(queue) == 0


def test_peeking_shows_every_state_from_a_number_on_and_changes_nothing(queue):
    queue.send([message("a"), message("b"), message("c"), message("d", scheduled_ms=int((START + 9) * 1000))])
    queue.lock_next()
    queue.defer(queue.lock_next().lock_token)

    assert ids(queue.peek(0, 9)) == ["a", "b", "c", "d"]
    assert ids(queue.peek(2, 2)) == ["b", "c"]
    assert [stored.state for stored in queue.peek(0, 9)] == [
        State.ACTIVE,
        State.DEFERRED,
        State.ACTIVE,
        State.SCHEDULED,
    ]
    assert ids(queue.messages(State.DEFERRED)) == ["b"]


def test_a_peek_returns_at_most_250_messages(queue):
    queue.send([message(number) for number in range(300)])

    assert len(queue.peek(0, 1000)) == 250


def test_a_full_queue_refuses_all_of_a_batch_until_there_is_room(clock):
    queue: Any = Namespace({"q": QueueProperties(max_size_in_megabytes=1)}, clock=clock).queue("q")
    half = Message(size=2**19)
    queue.send([half])

    with pytest.raises(QuotaExceeded, match="full"):
        queue.send([half, half])
    assert len(queue) == 1

    queue.dead_letter(queue.lock_next().lock_token)
    queue.send([half])
    with pytest.raises(QuotaExceeded):
        queue.send([half])


def test_paths_are_found_in_any_case(namespace):
    assert namespace.queue("WORK") is namespace.queue("work")
    assert namespace.queue("Work/$deadletterqueue") is namespace.queue("work").dead_letters
    with pytest.raises(EntityNotFound, match="'none' could not be found; there are: failed"):
        namespace.queue("none")


def test_every_queue_has_an_empty_queue_for_what_could_not_be_transferred(namespace):
    transfers = namespace.queue("Work/$Transfer/$deadLetterQueue")

    assert (len(transfers), transfers.lock_next()) == (0, None)
    with pytest.raises(NotAllowed):
        transfers.send([message("a")])
    with pytest.raises(EntityNotFound):
        namespace.queue("work/$Transfer")


def test_two_names_that_differ_in_case_only_are_refused(clock):
    with pytest.raises(ValueError, match="two queues 'Q'"):
        Namespace({"q": QueueProperties(), "Q": QueueProperties()}, clock=clock)


@pytest.mark.parametrize("target", ["nowhere", "q"])
def test_forwarding_to_nowhere_or_to_oneself_is_refused(clock, target):
    with pytest.raises(ValueError, match="cannot forward"):
        Namespace({"q": QueueProperties(forward_dead_lettered_messages_to=target)}, clock=clock)


def test_what_has_been_completed_leaves_nothing_behind(queue):
    for number in range(2000):
        queue.send([message()])
        token = queue.lock_next().lock_token
        queue.renew([token])
        queue.abandon(token)
        queue.complete(queue.lock_next().lock_token)
        assert queue.peek(number, 1) == []

    assert len(queue.life._timers) < 100
    assert len(queue.life.shelf._order) < 100
    assert len(queue.life.shelf._ready) == 0


class QueueModel(RuleBasedStateMachine):
    """Random lives of messages: whatever is done, each is in exactly one place or has been completed."""

    @initialize()
    def start(self):
        self.clock = Clock()
        forwarding = replace(WORK, forward_dead_lettered_messages_to="failed", requires_duplicate_detection=False)
        self.namespace = Namespace({"work": forwarding, "failed": WORK}, clock=self.clock)
        self.queue = self.namespace.queue("work")
        self.sent = 0
        self.finished = 0
        self.tokens = []

    @rule(count=st.integers(1, 4), delay=st.sampled_from([0, 0, 20, 50]), life=st.sampled_from([None, 10_000]))
    def send(self, count, delay, life):
        at = int((self.clock.time + delay) * 1000) if delay else None
        self.queue.send([message(self.sent + n, scheduled_ms=at, ttl_ms=life) for n in range(count)])
        self.sent += count

    @rule()
    def lock(self):
        if stored := self.queue.lock_next():
            self.tokens.append(stored.lock_token)

    @rule(data=st.data())
    def settle(self, data):
        if self.tokens:
            token = self.tokens.pop(data.draw(st.integers(0, len(self.tokens) - 1)))
            what = data.draw(st.sampled_from(["complete", "abandon", "release", "defer", "dead_letter"]))
            try:
                getattr(self.queue, what)(token)
            except LockLost:
                return
            self.finished += what == "complete"

    @rule()
    def fetch_deferred(self):
        if deferred := [one for one in self.queue.messages(State.DEFERRED) if not one.lock_token]:
            try:
                [stored] = self.queue.receive_deferred([deferred[0].sequence_number], lock=True)
            except MessageNotFound:
                return
            self.tokens.append(stored.lock_token)

    @rule(seconds=st.sampled_from([0.5, 9, 31, 4000]))
    def wait(self, seconds):
        self.clock.advance(seconds)

    @invariant()
    def nothing_is_lost(self):
        self.namespace.tick()
        queue, failed = self.queue, self.namespace.queue("failed")
        assert self.sent == self.finished + len(queue) + len(failed) + failed.dead_lettered
        assert len(queue) == queue.active + queue.scheduled + queue.deferred
        assert queue.locked == sum(stored.lock_token is not None for stored in queue.messages())
        numbers = [stored.sequence_number for stored in queue.messages()]
        assert numbers == sorted(set(numbers))
        assert (due := queue.due()) is None or due > self.clock.time


TestQueueModel = QueueModel.TestCase
TestQueueModel.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


def test_a_received_message_sent_on_does_not_carry_its_old_stamps(queue):
    queue.send([message("a")])
    delivered = encode_message(queue.lock_next().message, queue.messages()[0].stamps())

    resent = decode_message(delivered)

    assert resent.annotations.pairs == 0
    assert resent.ttl_ms is None
