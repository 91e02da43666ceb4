"""`optout check`, `optout doctor`, and how every command ends when a service cannot be reached."""

import asyncio
import json
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import pytest
import pytest_asyncio
from msgspec.structs import replace

from optout_core.api import request_target
from optout_core.batches import Operation
from optout_core.errors import RequestRefused
from optout_core.numbers import read_sender
from optout_core.outgoing import Queue
from optout_core.settings import Settings
from optout_ops.audit import AuditTrail
from optout_ops.exits import ExitCode, OpsError, OutOfReach
from optout_ops.health.acs import try_out
from optout_ops.health.check import Standing, check
from optout_ops.health.deployed import Deployed
from optout_ops.health.doctor import Patient, examine, exit_code, read_wanted
from optout_ops.health.findings import Finding, Health, compare_queue, duplicate_detection, skew
from optout_ops.health.look import Viewpoint, look
from optout_ops.letters.verdicts import ReplayRule
from optout_ops.queues.messages import MessageState
from sandbox.endpoint import Endpoint, Fault
from servicebus_sandbox import LISTEN, AccessKey, Broker
from tests.build import NOW, OTHER, PERSON, SENDER, answer, dead_letter
from tests.build import numbers as numbers_of
from tests.ops.bus import ROOT, Bus, closed_loop, current, finish, queues
from tests.ops.command_line import run
from tests.ops.memory import MemoryQueues

SAMPLES = Path(__file__).parents[1] / "samples" / "acs"
QUEUES_FILE = ROOT / "infra" / "queues.json"
QUEUE = json.loads(QUEUES_FILE.read_text())["optIns"]["properties"]
KEY = "c2VjcmV0LWtleQ=="


def limit(settings):
    return ReplayRule(max_age=settings.opt_in_max_age, max_replays=3)


# --- check ---------------------------------------------------------------------------------------------------------


async def standings(document, *numbers):
    async def post(target, body):
        del target, body
        return answer(200, document)

    entries = await check(post, read_sender(SENDER), numbers_of(*numbers))
    return [entries[number].standing for number in numbers_of(*numbers)]


async def test_an_error_is_never_read_as_not_opted_out():
    document = (SAMPLES / "check-200-partial.json").read_bytes()

    said = await standings(document, PERSON, OTHER, "+123", "+15555555553")

    assert said == [Standing.OPTED_OUT, Standing.NOT_OPTED_OUT, Standing.UNKNOWN, Standing.UNKNOWN]


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
async def test_what_does_not_say_plainly_is_unknown(items):
    assert await standings({"value": items}, "+1") == [Standing.UNKNOWN]


class FakeAcs:
    """An ACS that has an opt-out list, and answers each POST with `status`."""

    def __init__(self, *listed, status=200):
        self.listed, self.status = listed, status
        self.asked = []

    async def __call__(self, target, body):
        assert target == request_target(Operation.CHECK)
        numbers = [each["to"] for each in json.loads(body)["recipients"]]
        self.asked.append(len(numbers))
        items = [{"to": to, "httpStatusCode": 200, "isOptedOut": to in self.listed} for to in numbers]
        return answer(self.status, {"value": items} if self.status == 200 else {"error": {"code": "No"}})


async def test_many_numbers_are_asked_about_a_hundred_at_a_time():
    acs, numbers = FakeAcs("+15550000007"), [f"+1555{number:07}" for number in range(150)]

    entries = await check(acs, read_sender(SENDER), numbers_of(*numbers))

    assert acs.asked == [100, 50]
    assert [to.text for to, each in entries.items() if each.standing is Standing.OPTED_OUT] == ["+15550000007"]
    assert len(entries) == 150


async def test_a_refusal_is_out_of_reach_and_any_other_error_is_not():
    with pytest.raises(OutOfReach, match="ACS refuses us"):
        await check(FakeAcs(status=401), read_sender(SENDER), numbers_of(PERSON))
    with pytest.raises(OpsError, match="nothing is known of them; ask again"):
        await check(FakeAcs(status=503), read_sender(SENDER), numbers_of(PERSON))


async def test_an_identity_without_a_token_is_out_of_reach():
    async def unsigned(_target, _body):
        raise RequestRefused("no token")

    with pytest.raises(OutOfReach, match="ACS refuses us"):
        await check(unsigned, read_sender(SENDER), numbers_of(PERSON))


@pytest.fixture
async def acs():
    async with Endpoint() as endpoint:
        yield {"ACS_ENDPOINT": endpoint.url, "ACS_ACCESS_KEY": endpoint.access_key}


async def ask(environ, *numbers):
    return await asyncio.to_thread(run, "check", *numbers, "--from", SENDER, environ=environ)


async def test_check_asks_acs_and_shows_masked_numbers(acs):
    said = await ask(acs, "+1 555 555 5559", "+123")

    assert said.code == 1
    assert "+1555•••5559  not opted out" in said.out
    assert "+123" in said.out
    assert "unknown" in said.out


async def test_check_with_a_wrong_key_says_that_acs_refuses_us(acs):
    said = await ask(acs | {"ACS_ACCESS_KEY": KEY}, PERSON)

    assert said.code == 4
    assert "ACS refuses us (HTTP 401" in said.err
    assert KEY not in said.err


async def test_check_of_an_endpoint_that_is_gone_says_that_it_does_not_answer():
    said = await ask({"ACS_ENDPOINT": "http://127.0.0.1:1", "ACS_ACCESS_KEY": KEY}, PERSON)

    assert said.code == 4
    assert "ACS does not answer" in said.err


def test_check_without_an_endpoint_is_a_wrong_call():
    said = run("check", PERSON, "--from", SENDER, environ={})

    assert said.code == 2
    assert "ACS_ENDPOINT is missing" in said.err


ITEM = {"httpStatusCode": 500, "errorMessage": "Internal Server Error"}


async def tried(environ):
    settings = Settings.from_environ({"ServiceBusConnection__fullyQualifiedNamespace": "n.invalid"} | environ)
    return await try_out(settings, read_sender(SENDER))


@pytest.mark.parametrize(
    ("fault", "health", "said"),
    [
        ([], Health.GOOD, "it answers, also a question about its list"),
        ([Fault(status=500)], Health.BAD, "it does not work: HTTP 500 to a question about its list"),
        ([Fault(status=429)], Health.BAD, "it does not work: HTTP 429"),
        ([Fault(status=401)], Health.BAD, "it refuses us (HTTP 401)"),
        (
            [Fault.model_validate({"items": [ITEM]})],
            Health.BAD,
            "it answers, and fails for a number that nobody has: HTTP 500",
        ),
        ([Fault(status=400)], Health.UNKNOWN, "HTTP 400 to a question about the list of +1800•••4567"),
    ],
)
async def test_acs_works_when_it_answers_a_question(fault, health, said):
    async with Endpoint(faults=fault) as endpoint:
        found = await tried({"ACS_ENDPOINT": endpoint.url, "ACS_ACCESS_KEY": endpoint.access_key})

    assert (found.about, found.health) == ("acs", health)
    assert found.text.startswith(said)


async def test_an_acs_that_fails_is_bad_in_the_look_also_where_it_answers(place):
    async with closed_loop(place, faults=[Fault(status=503)]) as bus:
        bus.bury(1)
        status = await bus("status", "--json", "--fail-if-any")
        doctor = await bus("doctor", "--json")

    assert ("acs", "bad") in [(each["about"], each["health"]) for each in status.json["findings"]]
    assert ("acs", "bad") in [(each["about"], each["health"]) for each in doctor.json]
    assert (status.code, doctor.code) == (1, 1)


# --- doctor --------------------------------------------------------------------------------------------------------


@pytest.fixture
def patient(tmp_path):
    """Somebody in good health, with some facts changed."""

    def being(**facts):
        two = facts.pop("queues", MemoryQueues())

        @asynccontextmanager
        async def open_queues():
            yield two

        async def in_time():
            return timedelta(0)

        async def answers(_):
            return Finding("acs", Health.GOOD, "it answers")

        settings = Settings.from_environ(
            {"ACS_ENDPOINT": "https://unset.invalid", "ServiceBusConnection__fullyQualifiedNamespace": "n.invalid"}
        )
        trail = AuditTrail(tmp_path / "audit.jsonl")
        deployed = facts.pop("deployed", Deployed(settings, Finding("settings", Health.GOOD, "deployed settings")))

        async def ask_ledger():
            return Finding("ledger", Health.GOOD, "it answers, and every STOP is settled"), deployed

        async def ask_deployed():
            return deployed

        viewpoint = Viewpoint(
            settings=settings,
            rule=limit,
            trail=trail,
            acs_problem=facts.get("acs_problem"),
            clock_skew=facts.pop("clock_skew", in_time),
            try_out=answers,
            ask_ledger=ask_ledger,
        )

        async def see(opened):
            return await look(opened, viewpoint, NOW)

        healthy = {
            "settings": settings,
            "acs_problem": None,
            "trail": trail,
            "open_queues": open_queues,
            "read_properties": lambda _, properties: properties,
            "ask_deployed": ask_deployed,
            "see": see,
        }
        return Patient(**healthy | facts)

    return being


async def examined(patient):
    return [each async for each in examine(patient, read_wanted(QUEUES_FILE, patient.settings))]


def about(findings, thing):
    return [(each.health, each.text) for each in findings if each.about == thing]


async def test_somebody_in_good_health_is_told_how_long_acs_may_be_down(patient):
    two = MemoryQueues()
    two.messages[Queue.OPT_INS] += [
        replace(dead_letter(1), enqueued_at=NOW),
        replace(dead_letter(2), enqueued_at=NOW, state=MessageState.SCHEDULED),
    ]

    findings = await examined(patient(queues=two))

    assert {each.health for each in findings} == {Health.GOOD}
    assert (Health.GOOD, "we may send to opt-ins") in about(findings, "rights")
    assert (Health.GOOD, "ACS may be down for 72 h before the first dead letter") in about(findings, "outage")
    assert exit_code(findings) is ExitCode.DONE


async def test_the_limits_are_those_of_the_function_where_it_says_them(patient):
    settings = Settings.from_environ(
        {
            "ACS_ENDPOINT": "https://unset.invalid",
            "ServiceBusConnection__fullyQualifiedNamespace": "n.invalid",
            "OPT_IN_MAX_AGE": "PT9H",
            "RETRY_SCHEDULE": "PT1M,PT9M",
        }
    )
    theirs = Deployed(settings, Finding("settings", Health.GOOD, "deployed settings, published by the function f"))

    findings = await examined(patient(deployed=theirs))

    assert (Health.GOOD, "ACS may be down for 9 h before the first dead letter") in about(findings, "outage")
    assert "gets 3 tries over 10 min" in about(findings, "retries")[0][1]
    assert (Health.GOOD, "deployed settings, published by the function f") in about(findings, "settings")


async def test_whose_settings_they_are_is_said_also_when_the_queues_are_out_of_reach(patient):
    class Gone(MemoryQueues):
        async def peek(self, *_):
            raise OutOfReach("the queue cannot be reached")
            yield

    findings = await examined(patient(queues=Gone()))

    assert [text for _, text in about(findings, "settings")] == ["opt-ins and opt-ins-dead-letter", "deployed settings"]


async def test_a_missing_right_is_out_of_reach(patient):
    two = MemoryQueues()
    two.refusals = {Queue.OPT_INS}

    findings = await examined(patient(queues=two))

    [(health, text)] = [each for each in about(findings, "rights") if each[0] is not Health.GOOD]
    assert health is Health.BAD
    assert text.startswith("we cannot send to opt-ins: we are not allowed")
    assert exit_code(findings) is ExitCode.OUT_OF_REACH


async def test_a_trail_that_cannot_be_written_is_bad(patient, tmp_path):
    (tmp_path / "file").touch()

    findings = await examined(patient(trail=AuditTrail(tmp_path / "file" / "audit.jsonl")))

    assert [health for health, _ in about(findings, "audit")] == [Health.BAD]
    assert exit_code(findings) is ExitCode.SOME_FAILED


async def test_what_may_not_be_seen_is_unknown_and_no_failure(patient):
    findings = await examined(patient(read_properties=lambda *_: None, acs_problem="ACS_ENDPOINT is missing"))

    assert [health for health, _ in about(findings, "duplicates")] == [Health.UNKNOWN]
    assert about(findings, "acs") == [(Health.UNKNOWN, "not asked: ACS_ENDPOINT is missing")]
    assert about(findings, "opt-ins") == [
        (Health.UNKNOWN, "its properties cannot be seen: that needs the right to manage")
    ]
    assert exit_code(findings) is ExitCode.DONE


async def test_an_acs_that_does_not_answer_is_bad(patient):
    async def silent():
        raise OutOfReach("ACS does not answer (ConnectError); check ACS_ENDPOINT and the network")

    findings = await examined(patient(clock_skew=silent))

    assert [health for health, _ in about(findings, "acs")] == [Health.BAD]


async def test_messages_that_live_shorter_than_the_opt_in_may_wait_are_bad(patient):
    findings = await examined(patient(read_properties=lambda _, wanted: wanted | {"defaultMessageTimeToLive": "P1D"}))

    assert (
        Health.BAD,
        "messages live for 1 d only, less than OPT_IN_MAX_AGE: they expire before that",
    ) in about(findings, "outage")


async def test_the_doctor_says_when_a_dead_letter_ends(patient):
    assert about(await examined(patient()), "last day") == [
        (Health.GOOD, "the broker deletes a dead letter after 90 d; an alert comes 14 d before")
    ]


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"opt-ins-dead-letter": {"deadLetteringOnMessageExpiration": False}}, "nobody is told in time"),
        ({"opt-ins-dead-letter": {"forwardDeadLetteredMessagesTo": None}}, "nobody is told in time"),
        ({"opt-ins-dead-letter-ending": {"deadLetteringOnMessageExpiration": True}}, "is kept without end"),
    ],
    ids=["dropped unseen", "not forwarded", "kept"],
)
async def test_dead_letters_that_never_end_or_end_unseen_are_bad(patient, changed, problem):
    read = lambda name, wanted: wanted | changed.get(name, {})  # noqa: E731 - one line of a fake

    [(health, text)] = about(await examined(patient(read_properties=read)), "last day")

    assert health is Health.BAD
    assert problem in text


async def test_the_doctor_looks_at_the_real_queues_and_locks_nothing(bus):
    said = await bus("doctor")

    assert said.code == 0
    assert "we may receive from opt-ins-dead-letter" in said.out
    assert "we may send to opt-ins" in said.out
    assert "a failing recipient gets 6 tries over 2 h 42 min" in said.out
    assert "its properties cannot be seen: that needs the right to manage" in said.out
    assert bus.opt_ins.locked == 0


# --- refusals of the namespace -------------------------------------------------------------------------------------


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def locked_out(tmp_path_factory):
    """A broker that lets us look and nothing else, with one dead letter."""
    keys = (AccessKey("reader", KEY, frozenset({LISTEN})),)
    async with Broker(queues(), keys=keys) as broker:
        bus = Bus(broker, tmp_path_factory.mktemp("refusals"))
        bus.fill(current(1))
        yield bus


in_the_module = pytest.mark.asyncio(loop_scope="module")


@in_the_module
async def test_who_may_only_look_is_told_so_by_the_doctor(locked_out):
    said = await finish(locked_out.start("doctor", "--json"))

    assert said.code == 4
    assert sum(each["about"] == "rights" and each["health"] == "bad" for each in said.json) == 2


@in_the_module
async def test_who_may_only_look_cannot_replay_and_changes_nothing(locked_out):
    said = await finish(locked_out.start("dlq", "replay", "--yes", "--no-ramp"))

    assert said.code == 4
    assert "we are not allowed at the queue 'opt-ins'" in said.err
    assert "nothing was changed" in said.err
    assert (len(locked_out.dead_letters), await locked_out.locked()) == (1, 0)


@in_the_module
@pytest.mark.parametrize(
    ("environment", "problem"),
    [
        ({"key": "x" + KEY}, "we are not allowed at the queue 'opt-ins-dead-letter'"),
        ({"DEAD_LETTER_QUEUE": "nowhere"}, "the queue 'nowhere' does not exist in this namespace"),
        ({"port": "1"}, "nothing is lost"),
    ],
    ids=["wrong key", "no such queue", "no broker"],
)
async def test_what_cannot_be_reached_is_one_line_that_shows_no_key(locked_out, environment, problem):
    connection = locked_out.environ["ServiceBusConnection"]
    connection = connection.replace(KEY, environment.pop("key", KEY))
    connection = connection.replace(f":{locked_out.broker.port}", f":{environment.pop('port', locked_out.broker.port)}")

    said = await finish(locked_out.start("dlq", "summary", ServiceBusConnection=connection, **environment))

    assert said.code == 4
    assert problem in said.err
    assert len(said.err.splitlines()) == 1
    assert KEY not in said.err


@in_the_module
async def test_half_a_plan_is_no_plan(locked_out, tmp_path):
    said = await finish(
        locked_out.start("dlq", "plan", "-o", str(tmp_path / "plan.jsonl"), DEAD_LETTER_QUEUE="nowhere")
    )

    assert said.code == 4
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("dlq", "summary"), "no namespace: give --namespace NAME, or set ServiceBusConnection"),
        (("dlq", "summary", "--namespace", "sb://"), "--namespace must be a name such as shop-prod"),
        (("dlq", "list", "--until", "soon", "--namespace", "n"), "--until must be a time"),
        (("dlq", "list", "--since", "soon", "--namespace", "n"), "--since must be a time"),
        (("dlq", "list", "--limit", "0"), "Invalid value for '--limit'"),
        (("dlq", "nonsense"), "No such command 'nonsense'"),
    ],
)
def test_a_wrong_call_is_one_line_and_exit_code_two(arguments, problem):
    said = run(*arguments, environ={})

    assert said.code == 2
    assert problem in said.err
    assert len(said.err.splitlines()) == 1


def test_a_broken_connection_string_is_refused_without_showing_it():
    said = run("dlq", "summary", environ={"ServiceBusConnection": "Endpoint=nonsense;SharedAccessKey=secret"})

    assert said.code == 2
    assert "secret" not in said.err
    assert len(said.err.splitlines()) == 1


# --- findings ------------------------------------------------------------------------------------------------------


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
    assert "drops messages that are sent twice within 1 d" in on.text


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
