"""`optout check`, `optout doctor`, and how every command ends when a service cannot be reached."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
import pytest_asyncio

from optout_core.api import Answer
from optout_core.batches import Batch
from optout_ops.health.checks import Listed, read_standings
from optout_ops.health.findings import Health, compare_queue, duplicate_detection, skew
from sandbox.endpoint import Endpoint
from servicebus_sandbox import LISTEN, AccessKey, Broker
from tests.ops.making import Bus, queues, run

SAMPLES = Path(__file__).parents[1] / "samples" / "acs"
QUEUE = json.loads((Path(__file__).parents[2] / "infra" / "queues.json").read_text())["optIns"]["properties"]
KEY = "c2VjcmV0LWtleQ=="


def standings(document, *numbers):
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    read = read_standings(Batch("+18001234567", numbers), Answer(200, {}, body, datetime.now(UTC)))
    return [read[number].listed for number in numbers]


def test_an_error_is_never_read_as_not_opted_out():
    said = standings(
        (SAMPLES / "check-200-partial.json").read_bytes(), "+15555555551", "+15555555552", "+123", "+15555555553"
    )

    assert said == [Listed.OPTED_OUT, Listed.NOT_OPTED_OUT, Listed.UNKNOWN, Listed.UNKNOWN]


@pytest.mark.parametrize(
    "items",
    [
        [],
        [{"to": "+1", "httpStatusCode": 200}],
        [{"to": "+1", "httpStatusCode": 200, "isOptedOut": None}],
        [{"to": "+1", "httpStatusCode": 200, "isOptedOut": "false"}],
        [{"to": "+1", "httpStatusCode": 500, "isOptedOut": False}],
        [{"to": "+1", "httpStatusCode": 200, "isOptedOut": False, "errorMessage": "no"}],
        [
            {"to": "+1", "httpStatusCode": 200, "isOptedOut": False},
            {"to": "+1", "httpStatusCode": 200, "isOptedOut": True},
        ],
    ],
)
def test_what_does_not_say_plainly_is_unknown(items):
    assert standings({"value": items}, "+1") == [Listed.UNKNOWN]


async def test_check_asks_acs_and_shows_masked_numbers(place, monkeypatch):
    async with Endpoint() as endpoint:
        monkeypatch.setenv("ACS_ENDPOINT", endpoint.url)
        monkeypatch.setenv("ACS_ACCESS_KEY", endpoint.access_key)
        numbers = ("+1 555 555 5559", "+123")
        known = await asyncio.to_thread(run, "check", *numbers, "--from", "+18001234567")
        monkeypatch.setenv("ACS_ACCESS_KEY", KEY)
        refused = await asyncio.to_thread(run, "check", *numbers, "--from", "+18001234567")
    gone = await asyncio.to_thread(run, "check", *numbers, "--from", "+18001234567")

    assert known.code == 1
    assert "+1555•••5559  not opted out" in known.out
    assert "+123" in known.out
    assert "unknown" in known.out
    assert (refused.code, gone.code) == (4, 4)
    assert "ACS refuses us (HTTP 401" in refused.err
    assert "ACS does not answer" in gone.err
    assert KEY not in refused.err
    assert place


def test_check_without_an_endpoint_is_a_wrong_call(place):
    said = run("check", "+15555555551", "--from", "+18001234567")

    assert said.code == 2
    assert "ACS_ENDPOINT is missing" in said.err
    assert place


async def test_the_doctor_tells_what_is_well_and_how_long_acs_may_be_down(bus):
    said = await bus("doctor")

    assert said.code == 0
    assert "we may receive from opt-ins-dead-letter" in said.out
    assert "we may send to opt-ins" in said.out
    assert "ACS may be down for 72 h before the first dead letter" in said.out
    assert "a recipient whom ACS fails gets 6 tries over 2 h 42 min" in said.out
    assert "its properties cannot be seen: that needs the right to manage" in said.out
    assert bus.opt_ins.locked == 0


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def refusals(tmp_path_factory):
    """Every way not to get in, each in a process of its own: most of the time the SDK tries again."""
    keys = (AccessKey("reader", KEY, frozenset({LISTEN})),)
    trail = {"OPTOUT_AUDIT": str(tmp_path_factory.mktemp("refusals") / "audit.jsonl")}
    plan = tmp_path_factory.mktemp("plans") / "plan.jsonl"
    async with Broker(queues(), keys=keys) as broker:
        bus = Bus(broker)
        bus.bury(1)
        reader = {"ServiceBusConnection": broker.connection_string, **trail}
        look = ("dlq", "summary")
        calls = {
            "doctor": (reader, "doctor", "--json"),
            "replay": (reader, "dlq", "replay", "--yes", "--no-ramp"),
            "wrong_key": (reader | {"ServiceBusConnection": broker.connection_string.replace(KEY, "x" + KEY)}, *look),
            "no_queue": (reader | {"DEAD_LETTER_QUEUE": "nowhere"}, *look),
            "no_broker": (
                reader | {"ServiceBusConnection": broker.connection_string.replace(str(broker.port), "1")},
                *look,
            ),
            "no_plan": (reader | {"DEAD_LETTER_QUEUE": "nowhere"}, "dlq", "plan", "-o", str(plan)),
        }
        processes = [bus.start(*arguments) for arguments in calls.values()]
        said = await asyncio.gather(*map(bus.finish, processes))
        left = (len(bus.dead_letters), await bus.released())
        return SimpleNamespace(left=left, plan=plan, **dict(zip(calls, said, strict=True)))


def test_who_may_only_look_is_told_so(refusals):
    assert refusals.doctor.code == refusals.replay.code == 4
    assert sum(each["health"] == "bad" for each in refusals.doctor.json) == 2
    assert "we are not allowed at the queue 'opt-ins'" in refusals.replay.err
    assert "nothing was changed" in refusals.replay.err
    assert refusals.left == (1, 0)


def test_a_wrong_key_is_told_and_not_shown(refusals):
    assert refusals.wrong_key.code == 4
    assert "we are not allowed at the queue 'opt-ins-dead-letter'" in refusals.wrong_key.err
    assert KEY not in refusals.wrong_key.err


def test_a_queue_that_does_not_exist_is_told(refusals):
    assert refusals.no_queue.code == 4
    assert "the queue 'nowhere' cannot be reached" in refusals.no_queue.err
    assert "check that it exists" in refusals.no_queue.err


def test_a_broker_that_is_not_there_is_told(refusals):
    assert refusals.no_broker.code == 4
    assert "cannot be reached" in refusals.no_broker.err
    assert "nothing is lost" in refusals.no_broker.err


def test_half_a_plan_is_no_plan(refusals):
    assert refusals.no_plan.code == 4
    assert not refusals.plan.exists()


def test_each_refusal_is_one_line(refusals):
    for said in (refusals.wrong_key, refusals.no_queue, refusals.no_broker):
        assert len(said.err.splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("dlq", "summary"), "no namespace: give --namespace NAME, or set ServiceBusConnection"),
        (("dlq", "summary", "--namespace", "n", "--reason", "Nonsense"), "--reason Nonsense: there is no such reason"),
        (("dlq", "list", "--older-than", "soon", "--namespace", "n"), "--older-than must be a duration"),
        (("dlq", "list", "--since", "soon", "--namespace", "n"), "--since must be a time"),
        (("dlq", "list", "--limit", "0"), "Invalid value for '--limit'"),
        (("dlq", "nonsense"), "No such command 'nonsense'"),
    ],
)
def test_a_wrong_call_is_one_line_and_exit_code_two(place, arguments, problem):
    said = run(*arguments)

    assert said.code == 2
    assert problem in said.err
    assert len(said.err.splitlines()) == 1
    assert place


def test_a_broken_connection_string_is_refused_without_showing_it(place, monkeypatch):
    monkeypatch.setenv("ServiceBusConnection", "Endpoint=nonsense;SharedAccessKey=secret")

    said = run("dlq", "summary")

    assert said.code == 2
    assert "secret" not in said.err
    assert len(said.err.splitlines()) == 1
    assert place


def test_queues_are_held_against_the_shared_file():
    found = QUEUE | {
        "lockDuration": timedelta(minutes=5),
        "forwardDeadLetteredMessagesTo": "sb://n/opt-ins-dead-letter",
    }
    [good] = compare_queue("opt-ins", QUEUE, found)
    bad = compare_queue("opt-ins", QUEUE, found | {"maxDeliveryCount": 3, "lockDuration": "PT1M"})

    assert good.health is Health.GOOD
    assert [finding.health for finding in bad] == [Health.BAD, Health.BAD]
    assert "maxDeliveryCount is 3, and should be 10" in bad[1].text


def test_missing_duplicate_detection_is_told_with_what_follows():
    off = duplicate_detection("opt-ins", QUEUE | {"requiresDuplicateDetection": False}, seen=True)
    on = duplicate_detection("opt-ins", QUEUE, seen=True)

    assert off.health is Health.BAD
    assert "up to 100 messages twice" in off.text
    assert "drops what is sent twice within 1 d" in on.text


@pytest.mark.parametrize(
    ("ahead", "health"),
    [
        (None, Health.UNKNOWN),
        (timedelta(seconds=3), Health.GOOD),
        (timedelta(minutes=3), Health.BAD),
        (-timedelta(minutes=3), Health.BAD),
    ],
)
def test_a_clock_that_is_wrong_is_noticed(ahead, health):
    assert skew(ahead).health is health
