"""What operators ask a ledger, over both databases: history, export, erasure, retention, rows to verify."""

from datetime import timedelta

import pytest

from optout_core.adapters.ledger.records import Answer, Records
from optout_core.consent import Judgement, judge, microseconds
from optout_core.contract import Consent
from tests.build import NOW, OTHER, PERSON, SENDER
from tests.consent.said import START, confirmed, key, people, stop, web

EVER = 2**62


@pytest.fixture
def records(database):
    return Records(database)


async def applied(database, *words):
    """Let words be admitted, called and recorded, one after the other."""
    for word in words:
        await database.admit([word])
        await database.record(confirmed([word], ms_cv="cv"))


async def everything(records, since=0, until=EVER):
    return [word async for word in records.words(since, until)]


async def test_of_a_stranger_nothing_is_known(records):
    assert await records.history(key()) == (None, [])


async def test_the_senders_are_each_named_once(database, records):
    assert await records.senders() == []

    await database.admit(
        [*web(1, *people(20)), *web(2, *people(20), sender="+18005550100"), *stop(3, sender="Contoso")]
    )

    assert sorted(await records.senders()) == ["+18001234567", "+18005550100", "contoso"]


async def test_a_history_holds_every_word_with_its_evidence_and_answers_in_order(database, records):
    evidence = Consent(captured_at=NOW - timedelta(days=1), method="web-form", reference="form-1")
    opt_in, stopped = web(1, consent=evidence), stop(2)
    await applied(database, *stopped, *opt_in, *web(9, OTHER))

    row, words = await records.history(key())

    assert (row.stop, row.settled) == (True, True)
    first, second = words
    assert (first.stop, first.event, first.source) == (False, "web-1", "https://shop.example/preferences")
    assert (first.method, first.reference) == ("web-form", "form-1")
    assert first.captured_at == microseconds(NOW - timedelta(days=1))
    assert first.arrived_at == microseconds(NOW)
    assert (first.from_sender, first.recipient) == (SENDER, PERSON)
    assert second.stop
    assert first.answers == second.answers == (Answer(microseconds(NOW), 200, "cv"),)


async def test_a_word_that_was_not_called_has_no_answer(database, records):
    await database.admit(web(1))

    _, (word,) = await records.history(key())

    assert word.answers == ()


async def test_an_export_gives_every_word_once_page_by_page(database, records):
    await database.admit(web(1, *people(1700)))
    await database.admit(stop(2, *people(900)))

    words = await everything(records)

    assert len(words) == len({word[:5] for word in words}) == 2600
    assert [word[:5] for word in words] == sorted(word[:5] for word in words)


async def test_an_export_begins_and_ends_at_an_arrival(database, records):
    arrived = microseconds(NOW)
    await database.admit(web(1))

    assert await everything(records, since=arrived + 1) == []
    assert await everything(records, until=arrived) == []
    assert len(await everything(records, since=arrived, until=arrived + 1)) == 1


async def test_rows_of_many_people_are_found_and_nobody_elses(database, records):
    await database.admit(stop(1, *people(900)))
    asked = [key(to) for to in people(1000)]

    rows = await records.rows(asked)

    assert list(rows) == asked[:900]
    assert all(row.stop for row in rows.values())
    assert await records.rows([]) == {}


async def test_whoever_was_to_be_called_since_is_compared_once(database, records):
    await database.admit(web(1, *people(1200)))
    await database.admit(stop(2, *people(600)))

    entries = [entry async for page in records.changed(0) for entry in page]

    assert len(entries) == len({entry.key for entry in entries}) == 1200
    assert sum(entry.row.stop for entry in entries) == 600
    assert all(entry.word.stop == entry.row.stop for entry in entries)
    assert [page async for page in records.changed(EVER)] == []


async def test_a_word_that_the_list_does_not_say_after_all_calls_again(database, records):
    await applied(database, *stop(1))
    ((entry,),) = [page async for page in records.changed(0)]

    await records.unsettle(entry)

    admission = await database.admit(stop(1))
    assert judge(entry.row.said_at, True, admission.rows[key()]) is Judgement.CALL


async def test_a_newer_word_is_not_taken_for_the_one_that_was_compared(database, records):
    await applied(database, *stop(1))
    ((entry,),) = [page async for page in records.changed(0)]
    await applied(database, *web(2))

    await records.unsettle(entry)

    assert (await records.history(key()))[0].settled


async def test_erasing_leaves_nothing_of_a_person_whose_newest_word_is_an_opt_in(database, records):
    await applied(database, *stop(1), *web(2), *web(2, OTHER))

    assert await records.erase(key()) is False

    assert await records.history(key()) == (None, [])
    assert len(await everything(records)) == 1


async def test_an_answer_that_comes_after_the_erasure_brings_nobody_back(database, records):
    await database.admit(web(1))
    await records.erase(key())

    assert await database.record(confirmed(web(1))) == {}

    assert await records.history(key()) == (None, [])
    assert await database.run("SELECT 1 FROM consent_answer", {}) == []


async def test_two_words_of_a_person_that_are_answered_together_both_keep_their_answer(database):
    both = [*web(1, id="first"), *web(1, id="second")]
    await database.admit(both)

    assert await database.record(confirmed(both)) == {}

    answered = await database.run("SELECT event FROM consent_answer ORDER BY event", {})
    assert [event for (event,) in answered] == ["first", "second"]
    assert (await database.admit(both)).rows[key()].settled


async def test_erasing_a_person_who_said_stop_leaves_the_stop_and_it_goes_on_counting(database, records):
    await applied(database, *web(1), *stop(3))

    assert await records.erase(key()) is True

    row, words = await records.history(key())
    assert (row.stop, words) == (True, [])
    admission = await database.admit(web(2))
    assert judge(web(2)[0].said_at, False, admission.rows[key()]) is Judgement.BLOCKED


async def test_pruning_deletes_people_whose_newest_word_is_old_and_keeps_the_others_whole(database, records):
    years = timedelta(days=4 * 366)
    old = [replace_time(word, START - years) for word in web(1, *people(1100))]
    await database.admit([*old, *stop(1, people(1)[0])])
    await make_old(database)

    done = [count async for count in records.prune(microseconds(START))]

    assert done == [1000, 1099]
    row, words = await records.history(key(people(1)[0]))
    assert row.stop
    assert len(words) == 2
    assert len(await everything(records)) == 2


async def test_pruning_does_not_forget_a_call_that_may_still_act(database, records):
    await database.admit([replace_time(word, START - timedelta(days=9999)) for word in stop(1)])

    assert [count async for count in records.prune(microseconds(START))] == []


def replace_time(word, time):
    return word._replace(said_at=microseconds(time))


async def make_old(database):
    """Make every admission one of long ago."""
    await database.run("UPDATE consent SET add_at = :one, remove_at = :one", {"one": 1})


async def test_no_number_is_shown_by_what_is_found(database, records):
    await applied(database, *web(1))
    row, (word,) = await records.history(key())
    ((entry,),) = [page async for page in records.changed(0)]

    shown = f"{row!r}{word!r}{entry!r}"
    assert PERSON[1:] not in shown
    assert SENDER[1:] not in shown
