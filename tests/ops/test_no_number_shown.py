"""No phone number in anything that `optout` shows or hands on, whatever it was disguised as; a test feeds every verb.

What is written in full on purpose is not among it: an archive that was asked for with --reveal, and the bodies sent.
"""

import json

import pytest
from msgspec.structs import replace

from tests.build import bare, canonical, dead_letter, wire
from tests.disguises import DIGITS, DISGUISES, digits
from tests.ops.command_line import QUICK


def letters(number, disguise):
    """Dead letters with a disguise wherever text from outside can stand: three that hold it in different bodies."""
    facts = {
        "DeadLetterErrorDescription": f"cannot write to {disguise}",
        "optout-event-id": disguise,
        "optout-replay-id": disguise,
        "of-the-publisher": disguise,
        f"named {disguise}": 1,
        "tracestate": f"vendor={disguise}",
    }
    event = canonical(
        disguise,
        id=disguise,
        source=f"urn:{disguise}",
        data=bare(disguise) | {"consent": {"reference": disguise, "method": disguise}},
    )
    bodies = [wire(event), f'{{"to": "{disguise}", broken'.encode(errors="replace"), json.dumps(event).encode("utf-16")]
    reasons = ["RetriesExhausted", f"Because{disguise}", "MalformedEvent"]
    for offset, (body, reason) in enumerate(zip(bodies, reasons, strict=True)):
        letter = dead_letter(number + offset, reason, body=body, **facts)
        yield replace(letter, message_id=f"{disguise}-{offset}", correlation_id=disguise, subject=disguise)


@pytest.fixture(params=sorted(DISGUISES))
def disguise(request):
    return DISGUISES[request.param]


def test_no_verb_shows_or_writes_a_number(desk, disguise):
    desk.put(*letters(1, disguise))
    plan, export = desk.place / "plan.jsonl", desk.place / "export.jsonl"
    verbs = [
        ["summary"],
        ["summary", "--json"],
        ["list"],
        ["list", "--json"],
        ["list", "--event", disguise],
        *(["show", str(number), *extra] for number in (1, 2, 3) for extra in ([], ["--json"])),
        ["show", disguise],
        ["plan", "-o", str(plan)],
        ["export", "-o", str(export)],
        ["replay", *QUICK, "--fixed", "--json"],
        ["status"],
        ["status", "--json"],
    ]

    said = [desk.dlq(*words) for words in verbs]

    shown = [line for each in said for line in f"{each.out}\n{each.err}".splitlines()]
    written = [path.read_text() for path in (plan, export, desk.place / "audit.jsonl")]
    assert plan.read_text().count("\n") > 1
    assert [text for text in (*shown, *written) if DIGITS in digits(text)] == []


def test_no_message_that_is_sent_again_shows_a_number_beside_its_body(desk, disguise):
    desk.put(*letters(1, disguise))

    desk.dlq("replay", *QUICK, "--fixed")

    assert desk.queues.opt_ins
    for message in desk.queues.opt_ins:
        ours = {name: value for name, value in message.properties.items() if name.startswith("optout-")}
        assert DIGITS not in digits(f"{message.message_id} {ours}")
