"""Who may attach to what: tokens, claims, and links that are refused."""

import asyncio
import time

import pytest

from servicebus_sandbox import LISTEN, AccessKey, Broker, QueueProperties
from servicebus_sandbox.amqp import Array, Described, Symbol, Timestamp, Uint, Ulong
from servicebus_sandbox.frames import (
    RECEIVER,
    SENDER,
    Attach,
    Detach,
)
from servicebus_sandbox.tests.peer import Q, connected, message, ready


@pytest.fixture
async def broker():
    async with Broker({Q: QueueProperties()}) as broker:
        yield broker


@pytest.mark.parametrize(
    ("address", "fields", "condition"),
    [
        ("nowhere", {}, "amqp:unauthorized-access"),
        (None, {}, "com.microsoft:argument-error"),
        (Q, {"source": Described(Ulong(0x30), [])}, "amqp:not-implemented"),
        (Q, {"source": None}, "amqp:not-implemented"),
        (
            Q,
            {"source": Described(Ulong(0x28), [Q, *[None] * 6, {Symbol("com.microsoft:session-filter"): None}])},
            "amqp:not-allowed",
        ),
    ],
)
async def test_a_link_that_cannot_be_is_attached_and_detached_with_a_reason(broker, address, fields, condition):
    async with ready(broker) as peer:
        answer = await peer.attach(address, RECEIVER, **fields)
        detach = await peer.read_until(Detach)
        peer.credit(1)
        peer.send(Detach(Uint(0), closed=True))
        await peer.attach(Q, RECEIVER)

    assert (detach.closed, detach.error.value[0]) == (True, condition)
    assert (answer.source, len(detach.error.value)) == (None, 3)
    assert answer.target is not None


@pytest.mark.parametrize(
    ("target", "condition"),
    [
        (Described(Ulong(0x29), ["nowhere"]), "amqp:unauthorized-access"),
        (Described(Ulong(0x30), []), "amqp:not-implemented"),  # a transaction coordinator
    ],
)
async def test_a_link_to_send_on_that_cannot_be_lacks_the_brokers_end_too_and_says_why_in_the_same_write(
    broker, target, condition
):
    async with ready(broker) as peer:
        answer = await peer.attach(Q, SENDER, target=target)
        detach, _ = await peer.read()

    assert (answer.target, answer.source is None) == (None, False)
    assert detach.error.value[0] == condition


async def test_without_a_token_there_is_no_access(broker):
    async with connected(broker) as peer:
        await peer.open()
        await peer.begin()
        for handle, address in enumerate([Q, f"{Q}/$management"]):
            await peer.attach(address, RECEIVER, handle)
            assert (await peer.read_until(Detach)).error.value[0] == "amqp:unauthorized-access"


async def test_early_transfers_on_a_refused_link_are_ignored(broker):
    async with ready(broker) as peer:
        source, target = Described(Ulong(0x28), ["x"]), Described(Ulong(0x29), ["x"])
        peer.send(Attach("early", Uint(0), SENDER, source=source, target=target))
        peer.transfer(message())
        assert await peer.read_until(Detach)
        await peer.attach(Q, SENDER, 1)


@pytest.mark.parametrize(
    ("token", "text"),
    [
        ("SharedAccessSignature sr=x", "MalformedToken"),
        ("SharedAccessSignature sr=x&sig=y&se=1&skn=nobody", "InvalidSignature"),
        (7, "must be a string"),
    ],
)
async def test_a_bad_token_is_refused_with_a_reason(broker, token, text):
    async with ready(broker) as peer:
        status, _ = await peer.ask("$cbs", {"operation": "put-token", "name": f"sb://host/{Q}"}, token)

    assert status["status-code"] in (400, 401)
    assert text in status["status-description"]


async def test_a_token_for_one_path_opens_no_other(broker):
    async with connected(broker) as peer:
        await peer.open()
        await peer.begin()
        await peer.authorize(path=f"{Q}/$DeadLetterQueue")
        await peer.attach(Q, RECEIVER, 0)
        assert (await peer.read_until(Detach)).error.value[0] == "amqp:unauthorized-access"
        await peer.attach(f"{Q}/$DeadLetterQueue", RECEIVER, 1)
        await peer.nothing_of(Detach)


@pytest.mark.parametrize("path", ["nowhere", "nowhere/$management", "topic/Subscriptions/mine"])
async def test_a_token_for_what_does_not_exist_is_refused_as_the_service_does(broker, path):
    async with connected(broker) as peer:
        await peer.open()
        await peer.begin()
        status, _ = await peer.authorize(path=path)

    assert status["status-code"] == 404
    assert "could not be found" in status["status-description"]


async def test_a_token_for_the_namespace_covers_its_queues_and_those_that_do_not_exist_are_not_found(broker):
    async with connected(broker) as peer:
        await peer.open()
        await peer.begin()
        status, _ = await peer.authorize(path="")
        await peer.attach(Q, RECEIVER, 0)
        await peer.attach("nowhere", RECEIVER, 1)
        detach = await peer.read_until(Detach)

    assert status["status-code"] == 202
    assert (detach.handle, detach.error.value[0]) == (1, "amqp:not-found")


async def test_a_token_for_a_queues_management_node_is_enough_to_use_it_and_for_nothing_else(broker):
    async with connected(broker) as peer:
        await peer.open()
        await peer.begin()
        await peer.authorize(path=f"{Q}/$management")
        peeked, _ = await peer.manage("peek-message", {"from-sequence-number": 0, "message-count": 1})
        cancelled, _ = await peer.manage("cancel-scheduled-message", {"sequence-numbers": Array([5])})
        await peer.attach(Q, RECEIVER, 0)
        detach = await peer.read_until(Detach)

    assert (peeked["statusCode"], cancelled["statusCode"]) == (204, 404)
    assert detach.error.value[0] == "amqp:unauthorized-access"


async def test_when_a_token_expires_the_links_to_what_it_was_for_are_dropped_and_no_others(broker):
    async with connected(broker) as peer:
        await peer.open()
        await peer.begin()
        await peer.authorize(path=Q, seconds=2)
        await peer.authorize(path=f"{Q}/$DeadLetterQueue")
        await peer.attach(Q, RECEIVER, 0)
        await peer.attach(f"{Q}/$management", RECEIVER, 1)
        await peer.attach(f"{Q}/$DeadLetterQueue", RECEIVER, 2)
        dropped = [await peer.read_until(Detach), await peer.read_until(Detach)]
        await peer.attach(Q, RECEIVER, 3)
        refused = await peer.read_until(Detach)

    assert [detach.handle for detach in dropped] == [0, 1]
    assert {detach.error.value[0] for detach in (*dropped, refused)} == {"amqp:unauthorized-access"}
    assert dropped[0].error.value[1].startswith("ExpiredToken")


async def test_a_token_that_is_shown_in_time_keeps_the_links(broker):
    async with connected(broker) as peer:
        await peer.open()
        await peer.begin()
        await peer.authorize(seconds=2)
        await peer.attach(Q, RECEIVER, 5)
        for _ in range(3):
            await asyncio.sleep(0.8)
            status, _ = await peer.authorize(seconds=2)
            assert status["status-code"] == 202
        await peer.nothing_of(Detach)


async def test_of_a_token_that_cannot_be_read_counts_what_its_client_says_of_its_end(broker):
    ends = Timestamp(int((time.time() + 1) * 1000))
    async with connected(broker) as peer:
        await peer.open()
        await peer.begin()
        asked = {"operation": "put-token", "type": "jwt", "name": f"sb://127.0.0.1/{Q}", "expiration": ends}
        await peer.ask("$cbs", asked, "a token of Entra ID")
        await peer.attach(Q, RECEIVER, 5)
        detach = await peer.read_until(Detach)

    assert detach.error.value[1].startswith("ExpiredToken")


async def test_cbs_takes_tokens_and_nothing_else(broker):
    async with ready(broker) as peer:
        status, _ = await peer.ask("$cbs", {"operation": "delete-token", "name": f"sb://host/{Q}"}, "token")

    assert status["status-code"] == 501


async def test_a_key_without_the_claim_may_attach_to_management_but_not_use_it():
    keys = [AccessKey("listener", "key", frozenset({LISTEN}))]
    async with Broker({Q: QueueProperties()}, keys=keys) as broker, connected(broker) as peer:
        await peer.open()
        await peer.begin()
        await peer.authorize("listener", "key")
        allowed, _ = await peer.manage("peek-message", {"from-sequence-number": 0, "message-count": 1})
        refused, _ = await peer.manage("schedule-message", {"messages": []})

    assert (allowed["statusCode"], refused["statusCode"]) == (204, 401)
    assert "'Send' claim" in refused["statusDescription"]
