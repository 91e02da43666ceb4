"""`optout dlq` asks the ledger: never against a newer STOP, nothing to do where the word is settled."""

import asyncio

from tests.build import OTHER, PERSON, dead_letter
from tests.consent.said import START, stop, web
from tests.ops.written import admit, keep


def letter(number, *people, at, name):
    """An opt-in that was said so many seconds after the start, as the ledger knows it."""
    time = START.replace(second=at)
    return dead_letter(number, "RetriesExhausted", *people, name=name, time=time)


def verdicts(desk):
    return {each["event"]: each["verdict"] for each in desk("dlq", "list", "--json").json}


def test_an_opt_in_older_than_a_stop_of_the_ledger_is_never_replayed(desk, ledger):
    keep(ledger, *stop(5))
    desk.put(letter(1, PERSON, at=3, name="older"), letter(2, PERSON, at=9, name="newer"))

    planned = desk("dlq", "replay", "--yes", "--dry-run", "--json")

    assert verdicts(desk) == {"older": "never", "newer": "safe"}
    assert planned.json["chosen"] == 1
    assert "the ledger holds a STOP at or after the opt-in" in desk("dlq", "show", "1").out


def test_a_letter_whose_word_is_settled_or_older_than_an_opt_in_is_done(desk, ledger):
    keep(ledger, *web(5))
    desk.put(letter(1, PERSON, at=5, name="settled"), letter(2, PERSON, at=3, name="older"))

    assert verdicts(desk) == {"settled": "done", "older": "done"}
    assert "nothing is left to do" in desk("dlq", "show", "1").out
    assert "Left where they are, done: 2 RetriesExhausted" in desk("dlq", "replay", "--dry-run").err


def test_a_letter_in_which_somebody_is_still_to_be_removed_may_be_replayed(desk, ledger):
    keep(ledger, *stop(5))
    desk.put(letter(1, PERSON, OTHER, at=3, name="both"))

    assert verdicts(desk) == {"both": "safe"}


def test_a_word_that_is_admitted_and_not_settled_may_be_replayed(desk, ledger):
    asyncio.run(admit(ledger, *web(5)))
    desk.put(letter(1, PERSON, at=5, name="open"))

    assert verdicts(desk) == {"open": "safe"}


def test_without_a_ledger_safe_says_so(desk, ledger):
    desk.put(letter(1, PERSON, at=5, name="old"))
    asked = desk("dlq", "show", "1").out
    del desk.environ["CONSENT_LEDGER"]

    assert "no ledger was asked: make sure that no STOP came since" in desk("dlq", "show", "1").out
    assert "no ledger" not in asked
    assert not ledger.exists() or "safe" in asked


def test_a_ledger_that_does_not_answer_hides_no_dead_letter(desk, ledger):
    ledger.write_bytes(b"no database" * 99)
    desk.put(letter(1, PERSON, at=5, name="old"))

    said = desk("dlq", "list")

    assert said.code == 0
    assert "The ledger was not asked: the consent ledger gives no answer" in said.err
    assert "RetriesExhausted" in said.out


def test_many_letters_are_judged_with_few_questions(desk, ledger):
    keep(ledger, *stop(5, *(f"+1555{number:07}" for number in range(1, 501))))
    desk.put(*(letter(number, f"+1555{number:07}", at=3, name=f"e{number}") for number in range(1, 1001)))

    said = list(verdicts(desk).values())

    assert (said.count("never"), said.count("safe")) == (500, 500)
