"""A person's history as a person reads it, and as an auditor's program does. Pure."""

from collections.abc import Iterator
from datetime import datetime

from optout_core.adapters.ledger.records import Statement
from optout_core.consent import Row, moment_of
from optout_core.masking import Untrusted, show

#: The columns of an export, in order.
COLUMNS = (
    "sender",
    "recipient",
    "word",
    "saidAt",
    "capturedAt",
    "arrivedAt",
    "method",
    "reference",
    "source",
    "event",
    "answeredAt",
    "status",
    "msCv",
)


def as_document(word: Statement, *, reveal: bool) -> dict[str, object]:
    """Give a word with its evidence as a JSON object, times in ISO 8601.

    Args:
        word: As the ledger keeps it.
        reveal: Whether numbers are shown in full.
    """
    shown = _in_full if reveal else _masked
    return {
        "sender": shown(word.from_sender),
        "recipient": shown(word.recipient),
        "word": "STOP" if word.stop else "opt-in",
        "saidAt": _iso(word.said_at),
        "capturedAt": None if word.captured_at is None else _iso(word.captured_at),
        "arrivedAt": _iso(word.arrived_at),
        "method": None if word.method is None else shown(word.method),
        "reference": None if word.reference is None else shown(word.reference),
        "source": shown(word.source),
        "event": shown(word.event),
        "answers": [
            {"answeredAt": _iso(answered_at), "status": status, "msCv": ms_cv}
            for answered_at, status, ms_cv in word.answers
        ],
    }


def as_rows(word: Statement, *, reveal: bool) -> Iterator[dict[str, object]]:
    """Give a word as rows of a table with `COLUMNS`: one for each answer of ACS, or one without."""
    document = as_document(word, reveal=reveal)
    answers = document.pop("answers")
    for answer in answers or ({},):  # type: ignore[attr-defined] # a list, as above
        yield {name: (document | answer).get(name) for name in COLUMNS}


def sentences(row: Row | None, words: list[Statement]) -> Iterator[str]:
    """Say in lines what is known of a person; nobody's number is in them.

    Args:
        row: The newest word; None where nothing is known.
        words: Every word, in the order in which they were said.
    """
    if row is None:
        yield "Nothing is known of this person and this sender."
        return
    said = f"Newest word: {_word(stop=row.stop)}, said {_time(row.said_at)}"
    state = "ACS's list is known to say so" if row.settled else "ACS's list is not known to say so yet"
    yield f"{said}; {state}."
    for name, at in (("add", row.add_at), ("remove", row.remove_at)):
        if at:
            yield f"A call of :{name} was last admitted {_time(at)}."
    if not words:
        yield "Its words and answers were erased; a STOP stays so that no older opt-in undoes it."
    for word in words:
        yield ""
        yield f"{_time(word.said_at)}  {_word(stop=word.stop)}"
        yield f"  event {Untrusted(word.event)} of {Untrusted(word.source)}, arrived {_time(word.arrived_at)}"
        if word.captured_at is not None:
            yield f"  captured {_time(word.captured_at)}"
        if word.method or word.reference:
            yield f"  evidence: {show(word.method or 'no method')}, {show(word.reference or 'no reference')}"
        for answered_at, status, ms_cv in word.answers:
            traced = f", MS-CV {show(ms_cv)}" if ms_cv else ""
            yield f"  ACS confirmed {_time(answered_at)}, HTTP {status}{traced}"
        if not word.answers:
            yield "  no call of ACS was confirmed for it"


def _word(*, stop: bool) -> str:
    return "STOP" if stop else "opt-in"


def _masked(text: str) -> str:
    return str(Untrusted(text))


def _in_full(text: str) -> str:
    return text


def _iso(microseconds: int) -> str:
    return moment_of(microseconds).isoformat().replace("+00:00", "Z")


def _time(microseconds: int) -> str:
    moment: datetime = moment_of(microseconds)
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"
