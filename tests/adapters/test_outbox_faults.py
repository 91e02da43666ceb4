"""The outbox when the broker is gone, slow, busy, or does not let us in."""

import asyncio
import gc
import socket
import traceback
from contextlib import closing
from dataclasses import replace

import pytest
import pytest_asyncio
from azure.servicebus.exceptions import ServiceBusQuotaExceededError, ServiceBusServerBusyError

from optout_core.outgoing import Queue
from servicebus_sandbox import LISTEN, AccessKey, Broker, load_queues
from tests.adapters.outbox import DEAD_LETTERS, LATER, OPT_INS, QUEUES, ids, open_outbox, outgoing
from tests.build import QUEUES_FILE

# Opening and closing a link takes half a second each, so these tests share one outbox.
# azure-servicebus closes no socket that it lost, or was cancelled at: we let Python do it, in the test it belongs to.
pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.filterwarnings("ignore::ResourceWarning")]

BODY = b'{"from": "+18001234567", "recipients": [{"to": "+15555555551"}]}'
KEY = "c2VjcmV0LWtleQ=="


@pytest.fixture(autouse=True)
def _collect_what_the_sdk_leaves_open():
    yield
    gc.collect()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def broker():
    keys = (AccessKey("owner", KEY), AccessKey("reader", KEY, frozenset({LISTEN})))
    async with Broker(load_queues(QUEUES_FILE), keys=keys) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def opened(broker):
    async with open_outbox(broker.connection_string) as (outbox, connections):
        await outbox.send([outgoing("first"), outgoing("first", Queue.OPT_INS)])
        yield outbox, connections


@pytest.fixture
def outbox(opened):
    return opened[0]


@pytest.fixture
def connections(opened):
    """Count from here."""
    connections = opened[1]
    connections.made = 0
    return connections


async def refused(outbox):
    """Send in vain; give the error and all that a log would show of it."""
    message = outgoing("one", body=BODY)
    not_taken = await outbox.send([message])
    assert [each.message for each in not_taken] == [message]
    return not_taken[0].why, "".join(traceback.format_exception(not_taken[0].why)) + repr(not_taken)


async def test_dead_connections_are_replaced_once_and_nobody_notices(broker, outbox, connections):
    await broker.drop_connections()
    await outbox.send([outgoing("after the drop"), outgoing("after the drop", Queue.OPT_INS)])

    assert ids(broker)[-1] == ids(broker, OPT_INS)[-1] == "after the drop"
    assert connections.made == 2


async def test_a_sender_that_was_idle_too_long_is_replaced(broker, outbox):
    assert broker.detach_idle_links() > 0
    await outbox.send([outgoing("after a rest")])

    assert ids(broker)[-1] == "after a rest"


async def test_an_answer_that_gets_lost_makes_no_second_message(broker, outbox, connections):
    duplicates = broker.queue(DEAD_LETTERS).duplicates

    broker.lose_answers(1)
    await outbox.send([outgoing("once"), outgoing("twice")])

    assert ids(broker)[-2:] == ["once", "twice"]
    assert broker.queue(DEAD_LETTERS).duplicates == duplicates + 2
    assert connections.made == 1


async def test_a_queue_that_refuses_twice_gives_its_messages_back_and_the_other_has_taken_its_own(broker, outbox):
    retry = outgoing("retry", Queue.OPT_INS, body=BODY, scheduled_at=LATER)
    dead = outgoing("dead", body=BODY)

    with broker.fail_sends(DEAD_LETTERS) as fault:
        [not_taken] = await outbox.send([retry, dead])

    assert not_taken.message == dead
    assert type(not_taken.why) is ServiceBusServerBusyError
    assert "5555555551" not in "".join(traceback.format_exception(not_taken.why))
    assert fault.met == 2
    assert ids(broker, OPT_INS)[-1] == "retry"
    assert "dead" not in ids(broker)


async def test_what_was_accepted_is_not_sent_again_when_the_queue_fails_in_the_middle():
    """A queue that is full after six messages, one to a transfer."""
    queues = load_queues(QUEUES_FILE)
    small = queues | {DEAD_LETTERS: replace(queues[DEAD_LETTERS], max_size_in_megabytes=1)}
    large = [outgoing(f"part-{number}", body=b"x" * 150_000) for number in range(9)]

    async with Broker(small) as broker, open_outbox(broker.connection_string) as (outbox, _):
        not_taken = await outbox.send(large)
        kept, duplicates = ids(broker), broker.queue(DEAD_LETTERS).duplicates

    assert [*kept, *(each.message.message_id for each in not_taken)] == [each.message_id for each in large]
    assert len(kept) == 6
    assert {type(each.why) for each in not_taken} == {ServiceBusQuotaExceededError}
    assert duplicates == 0


async def test_one_message_that_the_broker_refuses_is_given_back_and_three_hundred_beside_it_are_taken(broker, outbox):
    """A map is a type that no property may have; such a message cannot be slimmed to one that is taken."""
    before = len(ids(broker))
    messages = [outgoing(f"beside-{number}") for number in range(300)]
    odd = outgoing("odd", properties={"DeadLetterReason": {"no": "simple type"}})

    not_taken = await outbox.send([*messages[:170], odd, *messages[170:]])

    assert [each.message.message_id for each in not_taken] == ["odd"]
    assert ids(broker)[before:] == [message.message_id for message in messages]


async def test_a_message_with_a_property_that_the_broker_refuses_arrives_without_it(broker, outbox):
    await outbox.send([outgoing("slim", properties={"of-the-publisher": {"no": "simple type"}}), outgoing("beside it")])

    assert set(ids(broker)[-2:]) == {"slim", "beside it"}


async def test_a_broker_that_does_not_let_us_send_is_a_failure_without_the_key(broker):
    async def attempt(connection_string, queues=QUEUES):
        async with open_outbox(connection_string, queues) as (outbox, connections):
            _, shown = await refused(outbox)
        return shown, connections.made

    good = broker.connection_string
    before = ids(broker)
    attempts = await asyncio.gather(
        attempt(good.replace(KEY, "d3JvbmcgbXVjaA==")),
        attempt(good.replace("=owner", "=nobody")),
        attempt(broker.connection_string_of("reader")),
        attempt(good, QUEUES | {Queue.DEAD_LETTERS: "no-such-queue"}),
        attempt("nonsense"),
        attempt(f"{good}EntityPath=another;"),
    )

    for shown, made in attempts:
        assert KEY not in shown
        assert "d3JvbmcgbXVjaA==" not in shown
        assert "5555555551" not in shown
        assert made == 2
    assert ids(broker) == before


def nowhere(port):
    return f"Endpoint=sb://127.0.0.1:{port};SharedAccessKeyName=n;SharedAccessKey={KEY};UseDevelopmentEmulator=true;"


async def test_no_broker_at_all_is_a_failure_in_bounded_time():
    with closing(socket.socket()) as unused:
        unused.bind(("127.0.0.1", 0))
        async with asyncio.timeout(10), open_outbox(nowhere(unused.getsockname()[1])) as (outbox, _):
            _, shown = await refused(outbox)

    assert KEY not in shown


async def test_a_broker_that_never_answers_is_a_failure_in_bounded_time():
    over = asyncio.Event()

    async def listen(_, writer):
        with closing(writer):
            await over.wait()

    server = await asyncio.start_server(listen, "127.0.0.1", 0)
    silent = nowhere(server.sockets[0].getsockname()[1])
    async with server, asyncio.timeout(10), open_outbox(silent, timeout=0.3) as (outbox, _):
        error, _ = await refused(outbox)
        over.set()

    assert isinstance(error, TimeoutError)


async def test_a_send_cut_off_in_the_middle_leaves_an_outbox_that_works(broker, outbox):
    await outbox.close()
    cut_off = asyncio.create_task(outbox.send([outgoing("cut off")]))
    # In the middle of opening its link, which takes half a second.
    await asyncio.sleep(0.1)
    cut_off.cancel()
    with pytest.raises(asyncio.CancelledError):
        await cut_off
    await outbox.send([outgoing("the one after")])

    assert ids(broker)[-1] == "the one after"
