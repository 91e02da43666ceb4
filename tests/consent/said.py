"""Small builders of words."""

from datetime import timedelta

from optout_core.consent import words
from optout_core.ledger import Confirmed
from optout_core.numbers import read_sender
from optout_core.outcomes import Outcome, Verdict
from tests.build import NOW, PERSON, SENDER, numbers, opt_in, opt_out

SECOND = timedelta(seconds=1)
START = NOW - timedelta(hours=1)


def web(at, *people, **fields):
    """Make the words of an opt-in that was said so many seconds after the start; each event has an id of its own."""
    return _said(opt_in, at, people, {"id": f"web-{at}"} | fields)


def stop(at, *people, **fields):
    """Make the words of a STOP."""
    return _said(opt_out, at, people, {"id": f"stop-{at}"} | fields)


def _said(kind, at, people, fields):
    event = kind(*people or (PERSON,), time=START + at * SECOND, **fields)
    return list(words(event, event.sender, event.recipients, NOW))


def confirmed(words, settles=True, **facts):  # noqa: FBT002 - as the ledger takes it
    """Say that ACS confirmed the calls for some words."""
    outcome = Outcome(Verdict.CONFIRMED, "", 200, answered_at=NOW, **facts)
    return [Confirmed(word, settles, outcome) for word in words]


def people(count):
    """Give so many different numbers."""
    return tuple(f"+1555{number:07}" for number in range(1, count + 1))


def key(person=PERSON, sender=SENDER):
    """Give the consent key of a person."""
    (word,) = words(opt_in(person), read_sender(sender), numbers(person), NOW)
    return word.key
