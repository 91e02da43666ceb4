"""What the processor may expect of a ledger: both databases, and the fake, keep the same promises."""

import asyncio
import time

import pytest

from optout_core.consent import Judgement, Row, judge, microseconds
from tests.build import OTHER
from tests.consent.said import SECOND, START, confirmed, key, people, stop, web


async def row_of(ledger, words):
    """Take words in; give the row of the last one's person, and the ledger's now."""
    admission = await ledger.admit(words)
    return admission.row_of(words[-1]), admission.now


def at(seconds):
    return microseconds(START + seconds * SECOND)


async def test_nothing_is_asked_about_nobody(ledger):
    admission = await ledger.admit([])

    assert dict(admission.rows) == dict(admission.said_at) == {}
    assert await ledger.record([]) == {}


async def test_the_first_word_of_a_person_may_call(ledger):
    before = time.time_ns() // 1000
    row, now = await row_of(ledger, web(1))

    assert row == Row(at(1), False, False, 0, now)
    assert before - 1_000_000 <= now <= time.time_ns() // 1000 + 1_000_000


@pytest.mark.parametrize(
    ("first", "then", "newest"),
    [
        (web(1), stop(2), (2, True)),
        (stop(2), web(1), (2, True)),
        (stop(1), web(2), (2, False)),
        (web(2), stop(1), (2, False)),
        (web(1), stop(1), (1, True)),
        (stop(1), web(1), (1, True)),
        (web(1), web(2), (2, False)),
        (web(2), web(1), (2, False)),
    ],
)
async def test_the_newest_word_stands_in_whatever_order_they_come(ledger, first, then, newest):
    await ledger.admit(first)
    row, _ = await row_of(ledger, then)

    assert (row.said_at, row.stop) == (at(newest[0]), newest[1])


@pytest.mark.parametrize("turn", [1, -1])
async def test_of_words_that_come_together_only_the_newest_is_admitted_to_a_call(ledger, turn):
    row, now = await row_of(ledger, [*web(1), *stop(2)][::turn])

    assert row == Row(at(2), True, False, now, 0)


async def test_an_older_word_leaves_no_mark(ledger):
    before, _ = await row_of(ledger, stop(2))
    after, _ = await row_of(ledger, web(1))

    assert after == before


async def test_a_call_of_the_other_kind_is_seen(ledger):
    _, first = await row_of(ledger, web(1))
    row, second = await row_of(ledger, stop(2))

    assert (row.add_at, row.remove_at) == (second, first)
    assert second >= first


async def test_a_word_that_is_admitted_again_calls_later(ledger):
    _, first = await row_of(ledger, web(1))
    await asyncio.sleep(0.002)
    row, second = await row_of(ledger, web(1))

    assert row.remove_at == second > first


async def test_what_settles_is_settled_and_calls_no_more(ledger):
    (word,) = web(1)
    await ledger.admit([word])
    assert await ledger.record(confirmed([word])) == {}
    row, _ = await row_of(ledger, [word])

    assert row.settled
    assert judge(word.said_at, word.stop, row) is Judgement.STANDS


async def test_what_does_not_settle_calls_again(ledger):
    (word,) = web(1)
    await ledger.admit([word])
    await ledger.record(confirmed([word], settles=False))
    row, _ = await row_of(ledger, [word])

    assert judge(word.said_at, word.stop, row) is Judgement.CALL


async def test_a_newer_word_makes_the_list_unknown_again(ledger):
    await ledger.admit(web(1))
    await ledger.record(confirmed(web(1)))
    row, _ = await row_of(ledger, web(2))

    assert not row.settled


async def test_an_answer_to_an_older_word_settles_nothing_and_shows_the_newer_one(ledger):
    await ledger.admit(web(1))
    await ledger.admit(stop(2))
    known = await ledger.record(confirmed(web(1)))

    assert (known[key()].said_at, known[key()].stop, known[key()].settled) == (at(2), True, False)
    row, _ = await row_of(ledger, stop(2))
    assert not row.settled


async def test_recording_twice_changes_nothing(ledger):
    await ledger.admit(web(1))

    assert await ledger.record(confirmed(web(1))) == await ledger.record(confirmed(web(1))) == {}
    row, _ = await row_of(ledger, web(1))
    assert row.settled


async def test_an_event_keeps_the_time_with_which_it_was_first_admitted(ledger):
    await ledger.admit(web(1, id="untimed"))
    await ledger.admit(stop(2))
    admission = await ledger.admit(web(3, id="untimed"))
    (word,) = web(3, id="untimed")

    assert admission.said_at[word.id] == at(1)
    assert judge(at(1), False, admission.rows[key()]) is Judgement.BLOCKED


async def test_a_stop_under_the_id_of_an_opt_in_is_a_word_of_its_own(ledger):
    await ledger.admit(web(1, id="42", source="shop"))
    row, _ = await row_of(ledger, stop(2, id="42", source="shop"))

    assert (row.said_at, row.stop) == (at(2), True)


async def test_the_same_word_twice_in_a_slice_is_one(ledger):
    row, now = await row_of(ledger, [*web(1), *web(1)])

    assert row == Row(at(1), False, False, 0, now)


async def test_people_and_senders_do_not_know_of_each_other(ledger):
    await ledger.admit([*stop(9, OTHER), *stop(9, sender="+18009999999")])
    row, _ = await row_of(ledger, web(1))

    assert (row.said_at, row.stop) == (at(1), False)


async def test_every_word_of_a_crowd_has_its_answer(ledger):
    crowd = [*web(1, *people(700)), *stop(2, *people(300))]
    admission = await ledger.admit(crowd)

    assert admission.said_at.keys() <= {word.id for word in crowd}
    assert len(admission.rows) == 700
    assert sum(row.stop for row in admission.rows.values()) == 300
    assert await ledger.record(confirmed(web(1, *people(700)[300:]))) == {}
    again = await ledger.admit(crowd)
    assert sum(row.settled for row in again.rows.values()) == 400


@pytest.mark.parametrize("name", ["", "'; DROP TABLE consent; --", "名前", "a" * 256, 'quote"d', "\\", "{}", "%s"])
async def test_any_text_is_kept(ledger, name):
    (word,) = web(1, id=name, source=name, sender="Contoso")
    await ledger.admit([word])
    await ledger.record(confirmed([word], ms_cv=name))
    again = await ledger.admit([word])

    assert again.row_of(word).settled
    assert again.said_at.get(word.id, word.said_at) == word.said_at


async def test_two_who_bring_words_of_the_same_people_in_other_orders_do_not_wait_for_each_other(ledger):
    crowd = people(200)
    words = [web(1, *crowd), stop(2, *crowd[::-1]), web(3, *crowd[50:], *crowd[:50]), stop(4, *crowd[::-1])]

    await asyncio.gather(*(ledger.admit(each) for each in words * 5))

    admission = await ledger.admit(web(0, *crowd))
    assert {(row.said_at, row.stop) for row in admission.rows.values()} == {(at(4), True)}
