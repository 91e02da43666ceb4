"""docs/operate.md: what it tells to type is typed here, in order, against the sandbox, and prints what it says.

Each situation stands on a broker of its own, with the real function working. `…` is anything; blanks count once.
"""

import json
import re
import shlex
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import pytest
import pytest_asyncio

from optout_core.reasons import Reason
from optout_ops.exits import Exit
from tests.ops.making import ROOT, SENDER, closed_loop, dead

PAGE = (ROOT / "docs" / "operate.md").read_text(encoding="utf-8")
PERSON = "+15555555551"


def situations():
    """Yield the number, and the commands with what they print, of each situation."""
    for number, text in re.findall(r"^## (\d)\. .*?\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL):
        blocks = "".join(re.findall(r"```console\n(.*?)```", text, re.DOTALL))
        calls = re.findall(r"^\$ optout (.*)\n((?:(?!\$ ).*\n)*)", blocks, re.MULTILINE)
        yield int(number), [(shlex.split(call), printed.splitlines()) for call, printed in calls]


SITUATIONS = dict(situations())


def fill(bus, number):
    """Bring about what a situation describes."""
    old = datetime.now(UTC) - timedelta(hours=80)
    match number:
        case 1:
            bus.bury(12)
            bus.fill([dead(13, "RecipientRejected", name="order-77", numbers=(PERSON, "+15555555552"))])
            bus.fill([dead(14, "StaleOptIn", time=old, name="order-12")])
        case 2:
            bus.bury(40)
        case 3:
            bus.fill(dead(n, "RequestRefused", numbers=(f"+1555{n:07}",) if n % 2 else ("+123",)) for n in range(1, 31))
        case 4:
            text = json.dumps({"from": "+18001234567", "recipient": [{"to": PERSON}]})
            bus.fill([dead(1, "MalformedEvent", body=text, name="crm-4711", **{"optout-attempt": 0, "optout-hop": 1})])
        case 5:
            bus.bury(3)
            bus.fill([dead(4, name="order-78", numbers=(PERSON,))])


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(tmp_path_factory):
    """Open a broker and an endpoint, with the function working, for one situation after the other."""

    @asynccontextmanager
    async def opening(number):
        place = tmp_path_factory.mktemp(f"situation-{number}")
        with pytest.MonkeyPatch.context() as environment:
            environment.chdir(place)
            environment.setenv("OPTOUT_AUDIT", str(place / "audit.jsonl"))
            async with closed_loop(environment) as bus:
                fill(bus, number)
                yield bus

    return opening


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("number", sorted(SITUATIONS))
async def test_what_the_page_tells_to_type_prints_what_it_says(stage, number):
    async with stage(number) as bus:
        for arguments, printed in SITUATIONS[number]:
            said = await bus(*arguments)

            lines = [" ".join(line.split()) for line in (said.err + said.out).splitlines()]
            for expected in printed:
                pattern = re.escape(" ".join(expected.split())).replace("…", ".*")
                assert any(re.fullmatch(pattern, line) for line in lines), (arguments, expected, lines)


RUNBOOK = (ROOT / "docs" / "runbook.md").read_text(encoding="utf-8")


def advice(name):
    """Yield the commands of the tool in a section, with what a person would put in."""
    section = re.split(r"^#{2,3} ", RUNBOOK.partition(f"### {name}\n")[2], maxsplit=1, flags=re.MULTILINE)[0]
    given = {"ID": f"event-{name}", "NUMBER": PERSON, "SENDER": SENDER, "plan.jsonl": f"{name}.jsonl"}
    answers = {"replay": ["--yes"], "purge": ["--confirm", "purge 1"]}
    for block in re.findall(r"```sh\n(.*?)```", section, re.DOTALL):
        for line in re.findall(r"^optout (.*)$", block, re.MULTILINE):
            words = [given.get(word, word) for word in shlex.split(line)]
            yield words + answers.get(words[:2][-1], [])


@pytest.mark.asyncio(loop_scope="module")
async def test_what_the_runbook_tells_to_type_about_an_alert_works(stage):
    commands = {
        tuple(words) for name in re.findall(r"^### ([a-z-]+)$", RUNBOOK, re.MULTILINE) for words in advice(name)
    }
    async with stage("alerts") as bus:
        bus.bury(1)

        said = await bus.together(*commands)

    assert len(commands) >= 5
    assert [each.err or each.out for each in said if each.code] == []


@pytest.mark.asyncio(loop_scope="module")
async def test_what_the_runbook_tells_to_type_about_a_reason_works_and_leaves_none_of_it(stage):
    async with stage("runbook") as bus:
        for number, reason in enumerate(Reason, 1):
            body = "{not JSON" if reason is Reason.MALFORMED_EVENT else None
            bus.fill([dead(number, reason.value, name=f"event-{reason}", body=body)])

        failed = {
            (reason.value, *words): said.err or said.out
            for reason in Reason
            for words in advice(reason)
            if (said := await bus(*words)).code
        }

        assert failed == {}
        assert bus.names() == ([], [])


def test_there_are_five_situations_with_commands():
    assert sorted(SITUATIONS) == [1, 2, 3, 4, 5]
    assert all(SITUATIONS.values())


def test_every_exit_code_is_documented_and_no_other():
    told = dict(re.findall(r"^\| (\d+) \| `(\w+)` \|", PAGE, re.MULTILINE))

    assert told == {str(int(code)): code.name for code in Exit}
