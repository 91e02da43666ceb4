"""Waiting for a namespace that does not answer: a limit, a word about it, and findings as they come."""

import asyncio
import socket

import pytest

from optout_core.settings import Settings
from optout_ops.exits import OutOfReach
from optout_ops.queues.client import ServiceBusQueues
from optout_ops.queues.waiting import Waiter
from tests.ops.bus import finish
from tests.ops.command_line import run
from tests.proxy import Proxy


@pytest.fixture
def silent_host():
    """A host that takes connections and says nothing: a firewall, or a network that is gone."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"Endpoint=sb://127.0.0.1:{server.getsockname()[1]}/;SharedAccessKeyName=k;SharedAccessKey=c2VjcmV0;"


@pytest.fixture
def said():
    return []


async def test_an_answer_that_comes_is_given_and_nothing_is_said(said):
    async def answer():
        return 7

    assert await Waiter(said.append)(answer(), "an answer") == 7
    assert said == []


async def test_silence_is_explained_and_ends_at_the_limit(said):
    waiter = Waiter(said.append, silence=0.05)

    with pytest.raises(TimeoutError):
        await waiter(asyncio.Event().wait(), "the queue to be read", 0.12)

    assert said == [
        "Waiting for the queue to be read: 0 s so far, 0 s at most.",
        "Waiting for the queue to be read: 0 s so far, 0 s at most.",
    ]


async def test_a_call_that_swallows_one_cancellation_is_cancelled_again():
    ended = asyncio.Event()

    async def stubborn():
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            try:
                await asyncio.Event().wait()
            finally:
                ended.set()

    with pytest.raises(TimeoutError):
        await Waiter()(stubborn(), "an answer", 0.01)

    assert ended.is_set()


@pytest.mark.parametrize("call", ["may_send", "tail"])
async def test_no_call_to_a_namespace_that_is_silent_lasts_for_ever(silent_host, said, call):
    settings = Settings.from_environ({"ACS_ENDPOINT": "https://unset.invalid", "ServiceBusConnection": silent_host})
    waiter = Waiter(said.append, silence=0.2, at_most=0.5)

    async with asyncio.timeout(10):
        async with ServiceBusQueues(settings, waiter) as queues:
            with pytest.raises(OutOfReach, match=r"did not answer in time.*everything else is where it was"):
                await getattr(queues, call)(next(iter(queues.names)))

    assert said


@pytest.mark.filterwarnings("ignore::ResourceWarning")
async def test_the_doctor_says_at_once_what_it_finds_and_ends_when_the_network_is_gone(bus, silent_host):
    bus.environ["ServiceBusConnection"] = silent_host + "UseDevelopmentEmulator=true"
    process = bus.start("doctor")
    clock = asyncio.get_running_loop().time
    began = clock()
    async with asyncio.timeout(8):
        first = await asyncio.to_thread(process.stdout.readline)

    said = await finish(process)

    assert "settings" in first
    assert clock() - began < 40
    assert said.code == 4
    assert "no answer within 10 s" in said.out
    assert "Waiting for" in said.err


@pytest.mark.filterwarnings("ignore::ResourceWarning")
async def test_a_network_that_goes_silent_in_the_middle_of_a_replay_ends_it_in_words_and_loses_nothing(bus, said):
    bus.bury(*range(1, 201))
    async with Proxy(bus.broker.port) as proxy:
        direct = bus.environ["ServiceBusConnection"]
        through = direct.replace(f":{bus.broker.port}", f":{proxy.port}")
        assert through != direct

        replaying = asyncio.create_task(
            asyncio.to_thread(
                run,
                *("dlq", "replay", "--yes", "--no-ramp", "--rate", "20"),
                environ=bus.environ | {"ServiceBusConnection": through},
                open_queues=lambda settings: ServiceBusQueues(settings, Waiter(said.append, silence=0.5, at_most=2.0)),
            )
        )
        await bus.broker.wait_until(lambda: len(bus.opt_ins) >= 20, timeout=20)
        proxy.drop()
        async with asyncio.timeout(40):
            ended = await replaying

    assert ended.code == 4
    assert "did not answer in time" in ended.err
    assert "nothing is lost" in ended.err
    assert any(text.startswith("Waiting for ") for text in said)
    assert {*bus.names()[0], *bus.names()[1]} == {f"e{number}" for number in range(1, 201)}
