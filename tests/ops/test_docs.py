"""docs/operate.md: what it tells to type is typed here, in order, against the sandbox, and prints what it says.

Each situation stands on a broker of its own, with the real function working. `…` is anything; blanks count once. What
docs/runbook.md tells to type works on queues in memory.
"""

import json
import re
import shlex
from datetime import UTC, datetime, timedelta

import pytest

from optout_core.reasons import Reason
from optout_ops.exits import ExitCode
from tests.build import OTHER, PERSON, SENDER, dead_letter
from tests.ops.bus import ROOT, closed_loop, current

PAGE = (ROOT / "docs" / "operate.md").read_text(encoding="utf-8")


def situations():
    """Yield the number, and the commands with what they print, of each situation."""
    for number, text in re.findall(r"^## (\d)\. .*?\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL):
        blocks = "".join(re.findall(r"```console\n(.*?)```", text, re.DOTALL))
        calls = re.findall(r"^\$ optout (.*)\n((?:(?!\$ ).*\n)*)", blocks, re.MULTILINE)
        yield int(number), [(shlex.split(call), printed.splitlines()) for call, printed in calls]


SITUATIONS = dict(situations())


def fill(bus, number):
    """Bring about what a situation describes."""
    match number:
        case 1:
            bus.bury(*range(1, 13))
            bus.fill(current(13, "RecipientRejected", PERSON, OTHER, name="order-77"))
            bus.fill(current(14, "StaleOptIn", name="order-12", time=datetime.now(UTC) - timedelta(hours=80)))
        case 2:
            bus.bury(*range(1, 41))
        case 3:
            bus.fill(*(current(n, "RequestRefused", *[] if n % 2 else [f"+15{n:02}"]) for n in range(1, 31)))
        case 4:
            body = json.dumps({"from": SENDER, "recipient": [{"to": PERSON}]}).encode()
            facts = {"optout-attempt": 0, "optout-hop": 1}
            bus.fill(current(1, "MalformedEvent", body=body, name="crm-4711", **facts))
        case 5:
            bus.bury(1, 2, 3)
            bus.fill(current(4, "RetriesExhausted", PERSON, name="order-78"))


@pytest.mark.parametrize("number", sorted(SITUATIONS))
async def test_what_the_page_tells_to_type_prints_what_it_says(place, monkeypatch, number):
    monkeypatch.chdir(place)
    # The first situation is told with a ledger, the others without one.
    settings = {"CONSENT_LEDGER": f"sqlite:///{place}/ledger.db"} if number == 1 else {}
    async with closed_loop(place, settings) as bus:
        fill(bus, number)
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
    answers = {"replay": ["--yes"], "edit": ["--yes"], "purge": ["--confirm", "purge 1"]}
    for block in re.findall(r"```sh\n(.*?)```", section, re.DOTALL):
        for line in re.findall(r"^optout (.*)$", block, re.MULTILINE):
            words = [given.get(word, word) for word in shlex.split(line)]
            yield words + answers.get(words[:2][-1], [])


ALERTS = re.findall(r"^### ([a-z-]+)$", RUNBOOK, re.MULTILINE)


@pytest.fixture
def room(desk, monkeypatch):
    """A desk at which the function works, an editor corrects numbers, and ACS answers no question."""
    monkeypatch.chdir(desk.place)
    desk.environ["EDITOR"] = "sed -i s/1555/1556/"
    return desk


def typed(desk, words):
    """Type a command; the questions to ACS and to the ledger are tried in test_health.py and test_consent.py."""
    return None if words[0] in {"check", "doctor", "consent"} else desk(*words)


def test_the_runbook_tells_to_type_something_about_alerts():
    assert len({tuple(words) for name in ALERTS for words in advice(name)}) >= 5


@pytest.mark.parametrize("name", ALERTS)
def test_what_the_runbook_tells_to_type_about_an_alert_works(room, name):
    room.put(dead_letter(1), function=lambda _: True)

    said = {tuple(words): typed(room, words) for words in advice(name)}

    assert {words: each.err for words, each in said.items() if each is not None and each.code} == {}


@pytest.mark.parametrize("reason", Reason)
def test_what_the_runbook_tells_to_type_about_a_reason_works_and_leaves_none_of_it(room, reason):
    body = b"{not JSON" if reason is Reason.MALFORMED_EVENT else None
    room.put(dead_letter(1, reason.value, name=f"event-{reason}", body=body), function=lambda _: True)

    said = {tuple(words): typed(room, words) for words in advice(reason)}

    assert {words: each.err for words, each in said.items() if each is not None and each.code} == {}
    assert (room.queues.opt_ins, room.queues.dead_letters) == ([], [])


def test_there_are_five_situations_with_commands():
    assert sorted(SITUATIONS) == [1, 2, 3, 4, 5]
    assert all(SITUATIONS.values())


def test_every_exit_code_is_documented_and_no_other():
    told = dict(re.findall(r"^\| (\d+) \| `(\w+)` \|", PAGE, re.MULTILINE))

    assert told == {str(int(code)): code.name for code in ExitCode}
