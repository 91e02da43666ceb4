"""What publishers send on a bad day: events of many shops, and what is no event at all. All of it is made up."""

import json
import random
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from optout_core.contract import OPT_IN_TYPE, OPT_OUT_TYPE
from optout_core.events import CONTENT_TYPE

_SENDERS = ("+18001234567", "+18005550100", "+18885550199", "55555", "Contoso")
_SOURCES = (
    "https://shop.example/preferences",
    "https://app.example/account",
    "urn:contoso:call-centre",
    "urn:northwind:crm",
    "//legacy.example/export",
)
#: The second holds a number, as ids of some publishers do.
_IDS = ("{uuid}", "call {person} {number}", "preference-{number}", "ORD-{number}", "{number}", "{uuid}/1")
_METHODS = ("web-form", "call-centre", "double-opt-in", "paper form")
#: What is no event, beside what is made of one.
_GARBLED: tuple[str, ...] = (
    "",
    "{",
    "{'from': '+18001234567', 'recipients': [{'to': '{person}'}]}",
    "null",
    "[]",
    "<optIn><from>+18001234567</from><to>{person}</to></optIn>",
    "from=%2B18001234567&to={person}",
    "to;from\n{person};+18001234567\n",
    "<html><body>502 Bad Gateway</body></html>",
    '{"from": "+18001234567", "recipients": []}',
    '{"from": "+18001234567", "recipients": ["{person}"]}',
    '{"from": null, "recipients": [{"to": "{person}"}]}',
    '{"recipients": [{"to": "{person}"}]}',
    '{"from": "+18001234567", "recipients": [{"to": {"phone": "{person}"}}]}',
)
_TYPES = ("sms.opt-in.v2", "com.shop.order.created", "sms.optin", "Northwind.Preference.Changed")


@dataclass(frozen=True, slots=True)
class Told:
    """A message as a publisher sends it.

    Attributes:
        id: The MessageId.
        body: Of the message.
        content_type: Of the body, or None.
    """

    id: str
    body: bytes = field(repr=False)
    content_type: str | None = CONTENT_TYPE


class Mess:
    """Makes it up; the same dice make the same.

    Attributes:
        random: The dice.
    """

    def __init__(self, dice: random.Random) -> None:
        """Take the dice."""
        self.random = dice

    def event(self, time: datetime, number: int, *, is_refused: bool = False) -> Told:
        """Make an opt-in; with `is_refused` of numbers that the endpoint refuses, so that a replay fails again."""
        people = [self.person() for _ in range(self.random.choice([1, 1, 1, 1, 2, 5, 12]))]
        if is_refused:
            people = [f"+1555{self.random.randrange(100):02}" for _ in people]
        return self._told(OPT_IN_TYPE, time, number, people)

    def unclear_stop(self, time: datetime, number: int) -> Told:
        """Make a STOP of a number that may be several people's."""
        return self._told(OPT_OUT_TYPE, time, number, [f"555 {self.random.randrange(10_000):04}"])

    def stop(self, time: datetime, number: int) -> Told:
        """Make a STOP."""
        return self._told(OPT_OUT_TYPE, time, number, [self.person()])

    def unknown(self, time: datetime, number: int) -> Told:
        """Make an event of a type that we do not know."""
        return self._told(self.random.choice(_TYPES), time, number, [self.person()])

    def garbled(self, time: datetime, number: int) -> Told:
        """Make what is no event."""
        told = self._told(OPT_IN_TYPE, time, number, [self.person()])
        event = told.body.decode()
        bodies = [text.replace("{person}", self.person()).encode() for text in _GARBLED]
        bodies += [b"\xff\xfe{\x00", b"[" * 3000 + b"]" * 3000]
        bodies += [event[: len(event) // 2].encode(), json.dumps(event).encode()]
        return Told(told.id, self.random.choice(bodies), self.random.choice([None, "application/json"]))

    def person(self) -> str:
        """Make a fictitious number."""
        return f"+1555{self.random.randrange(1, 10_000_000):07}"

    def trace(self) -> dict[str, str]:
        """Make the trace context that some publishers send."""
        trace, span = self.random.getrandbits(128), self.random.getrandbits(64)
        return {"traceparent": f"00-{trace | 1:032x}-{span | 1:016x}-01"} if self.random.random() < 0.5 else {}  # noqa: PLR2004 - half

    def replayed(self, at: datetime) -> dict[str, Any]:
        """Say that operators have replayed it before, of some."""
        if self.random.random() < 0.9:  # noqa: PLR2004 - one in ten
            return {}
        replay = f"{at - timedelta(days=1):%Y%m%dT%H%M%SZ}-{self.random.getrandbits(24):06x}"
        return {"replay_id": replay, "replay_count": self.random.choice([1, 1, 2])}

    def _told(self, kind: str, time: datetime, number: int, people: list[str]) -> Told:
        uuid = UUID(int=self.random.getrandbits(128), version=4)
        name = self.random.choice(_IDS).format(uuid=uuid, person=self.person(), number=number)
        content: dict[str, object] = {
            "from": self.random.choice(_SENDERS),
            "recipients": [{"to": to} for to in dict.fromkeys(people)],
        }
        if kind == OPT_IN_TYPE and self.random.random() < 0.7:  # noqa: PLR2004 - most bring evidence
            content["consent"] = {
                "capturedAt": time.isoformat(),
                "method": self.random.choice(_METHODS),
                "reference": f"form-{number}",
            }
        document = {
            "specversion": "1.0",
            "type": kind,
            "source": self.random.choice(_SOURCES),
            "id": name,
            "time": time.isoformat(),
            "data": content,
        }
        # The MessageId of a publisher is its own affair; here it is unique, or the broker would drop its letter.
        return Told(f"m-{number}", json.dumps(document).encode())
