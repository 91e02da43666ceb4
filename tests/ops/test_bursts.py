"""Dead letters that died together: who was the culprit, and who was beside it."""

from datetime import timedelta

import pytest
from msgspec.structs import replace

from optout_ops.letters.hazards import hazard
from servicebus_sandbox.amqp import Char, DecimalBits, Symbol, Timestamp, Uint
from servicebus_sandbox.encode import encode
from tests.build import NOW, dead_letter
from tests.ops.command_line import QUICK

PROPERTIES, APPLICATION_PROPERTIES, DATA = b"\x00\x53\x73", b"\x00\x53\x74", b"\x00\x53\x75"


def dead(number, seconds=0, *, head=None, **facts):
    """A dead letter of the broker with its AMQP encoding, which died some seconds after noon."""
    letter = dead_letter(number, "MaxDeliveryCountExceeded")
    sections = [(PROPERTIES, head or ["id"]), (APPLICATION_PROPERTIES, facts), (DATA, letter.body)]
    encoded = b"".join(code + encode(value) for code, value in sections)
    return replace(letter, encoded=encoded, enqueued_at=NOW + timedelta(seconds=seconds))


@pytest.mark.parametrize(
    ("letter", "why"),
    [
        (dead(1, size={"width": 7}), "its property 'size' is a map"),
        (dead(1, price=DecimalBits(b"1234")), "its property 'price' is a decimal32"),
        (dead(1, price=DecimalBits(b"12345678")), "its property 'price' is a decimal64"),
        (dead(1, mood=Char("\U0001f600")), "its property 'mood' is a char beyond U+FFFF"),
        (dead(1, head=["id", None, None, Symbol("subject")]), "its subject is a symbol"),
        (dead(1, head=["id", None, None, None, None, None, "text/plain"]), "its content-type is a string"),
        (dead(1, mood=Char("m"), price=DecimalBits(b"1" * 16), at=Timestamp(5), many=Uint(5)), None),
        (dead(1, head=["id", b"u", "to", "s", "r", "c", Symbol("t"), Symbol("e"), Timestamp(1)]), None),
        (dead_letter(1), None),
    ],
)
def test_what_the_host_cannot_read_is_known(letter, why):
    assert hazard(letter) == why


def test_of_letters_that_died_together_the_culprit_is_named_and_the_others_are_safe(desk, place):
    desk.put(dead(1), dead(2, 1, size={"a": 1}), dead(3, 2), dead(4, 3600))

    listed, planned = desk.dlq("list"), desk.dlq("plan", "-o", place / "plan.jsonl")

    for text in (listed.err, planned.out):
        assert "Died together at 2026-01-23 12:00:00 UTC: 3 dead letters." in text
        assert "2 is the culprit: the host cannot read it (its property 'size' is a map)" in text
        assert "2 others are innocent: safe." in text


def test_the_culprit_stays_and_the_innocent_go(desk):
    desk.put(dead(1), dead(2, size={"a": 1}), dead(3))

    said = desk.dlq("replay", *QUICK, "--json")

    assert (said.json["sent"], said.json["culprits"]) == (2, {"2": "its property 'size' is a map"})
    assert desk.queues.numbers == [2]


def test_a_burst_without_a_culprit_is_not_explained(desk):
    desk.put(dead(1), dead(2))

    assert "Died together" not in desk.dlq("list").err
