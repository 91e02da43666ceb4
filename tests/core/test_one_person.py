"""One person, one number: however two sides write it, it is the same recipient, and a STOP is the same person's."""

import json

import pytest

from optout_core.api import read_answer
from optout_core.batches import Operation, plan
from optout_core.consent import OptInRule, OptOutScope
from optout_core.events import EventResult
from optout_core.keywords import Keywords
from optout_core.numbers import read_sender
from optout_core.outcomes import Outcome, Verdict
from optout_core.reasons import Reason
from tests.build import (
    MINUTE,
    NOW,
    OTHER,
    PERSON,
    RULE,
    SENDER,
    answer,
    arrival,
    bare,
    batch,
    canonical,
    decoded,
    number,
    pair,
    text_message,
    texts,
    wanted,
)
from tests.core.job import FAILED, Job, dead, people_in, waiting, where
from tests.core.test_numbers import SPELLINGS
from tests.fakes import delivered

#: One line in the two ways in which its country writes it.
TWO_WAYS = {
    "Mexico": ("+525512345678", "+5215512345678"),
    "Argentina": ("+541123456789", "+5491123456789"),
    "Brazil": ("+551187654321", "+5511987654321"),
}


def opt_in(to, said="11:50", **fields):
    return arrival(canonical(time=f"2026-01-23T{said}:00Z", data=bare(to, **fields)), message_id="opt-in")


def opt_out(to, said="11:55", **fields):
    event = canonical(type="sms.opt-out.v1", id="stop", time=f"2026-01-23T{said}:00Z", data=bare(to, **fields))
    return arrival(event, message_id="opt-out")


def texted_stop(person, number="18001234567"):
    return arrival(text_message("STOP", person=person, number=number), message_id="text")


# --- a STOP is the same person's -----------------------------------------------------------------------------------


@pytest.mark.parametrize("written", SPELLINGS.values(), ids=SPELLINGS)
@pytest.mark.parametrize("stop", [opt_out, texted_stop])
@pytest.mark.parametrize("first", ["STOP first", "opt-in first"])
async def test_a_stop_is_recognised_however_its_number_is_written(written, stop, first):
    job = Job()
    messages = [stop(written), opt_in(PERSON)]

    await job.process(messages if first == "STOP first" else messages[::-1])

    assert job.endpoint.removed == []
    assert dead(job) == [(PERSON, Reason.NEWER_OPT_OUT)]


@pytest.mark.parametrize("written", SPELLINGS.values(), ids=SPELLINGS)
async def test_a_stop_is_recognised_however_the_number_of_the_opt_in_is_written(written):
    job = Job()

    await job.process([opt_in(written), texted_stop("15555555551")])

    assert job.endpoint.removed == []
    assert dead(job) == [(PERSON, Reason.NEWER_OPT_OUT)]


@pytest.mark.parametrize("written", SPELLINGS.values(), ids=SPELLINGS)
async def test_a_stop_is_recognised_however_its_sender_is_written(written):
    job = Job()

    await job.process([opt_in(OTHER, sender=written), opt_out(OTHER, sender=PERSON)])

    assert dead(job) == [(OTHER, Reason.NEWER_OPT_OUT)]


@pytest.mark.parametrize("written", SPELLINGS.values(), ids=SPELLINGS)
async def test_an_opt_in_newer_than_the_stop_is_applied_however_it_is_written(written):
    job = Job()

    await job.process([opt_in(written, said="11:56"), opt_out(PERSON, said="11:55")])

    assert job.endpoint.removed == [PERSON]
    assert dead(job) == []


@pytest.mark.parametrize("acs", ["4520123456", "+4520123456", "45 20 12 34 56", "004520123456"])
async def test_a_country_whose_numbers_have_ten_digits_is_recognised_in_events_of_acs(acs):
    job = Job()

    await job.process([opt_in("+45 20 12 34 56"), texted_stop(acs)])

    assert dead(job) == [("+4520123456", Reason.NEWER_OPT_OUT)]


async def test_a_start_from_such_a_country_is_asked_for_with_its_plus():
    job = Job()

    await job.process([arrival(text_message("START", person="4520123456", number="4527001234"))])

    assert job.endpoint.batches == [batch("+4520123456", sender="+4527001234")]


@pytest.mark.parametrize(("one", "other"), TWO_WAYS.values(), ids=TWO_WAYS)
@pytest.mark.parametrize("turned", [False, True], ids=["", "turned"])
async def test_a_stop_counts_where_a_country_writes_one_line_in_two_ways(one, other, turned):
    said, stopped = (other, one) if turned else (one, other)
    job = Job()

    await job.process([opt_in(said), texted_stop(stopped[1:])])

    assert job.endpoint.removed == []
    # the dead letter holds the number as the publisher meant it
    assert dead(job) == [(said, Reason.NEWER_OPT_OUT)]


@pytest.mark.parametrize("number", [number for two in TWO_WAYS.values() for number in two])
async def test_what_is_sent_of_such_a_line_is_what_was_written(number):
    job = Job()

    await job.process([opt_in(number)])

    assert job.endpoint.removed == [number]


async def test_a_stop_to_one_sender_counts_for_all_where_that_is_set():
    rule = OptInRule(RULE.max_age, frozenset(map(read_sender, (SENDER, "55555"))), OptOutScope.ALL)
    alone, everywhere = Job(), Job(rule=rule)
    for job in (alone, everywhere):
        await job.process([opt_in(PERSON), opt_out(PERSON, sender="55555")])

    assert (alone.endpoint.removed, dead(alone)) == ([PERSON], [])
    assert (everywhere.endpoint.removed, dead(everywhere)) == ([], [(PERSON, Reason.NEWER_OPT_OUT)])


@pytest.mark.parametrize(
    "text", ["STOP STOP", "stop please", "ARR\u00caT", "ARRE\u0302T", "Stop\nAnn", "\u201cStop.\u201d"]
)
async def test_a_stop_in_words_holds_back_an_older_opt_in(text):
    job = Job()

    report = await job.process([opt_in(PERSON), arrival(text_message(text))])

    assert dead(job) == [(PERSON, Reason.NEWER_OPT_OUT)]
    assert [event.result for event in report.events] == [EventResult.DECODED, EventResult.RECORDED]


async def test_a_keyword_that_was_set_is_a_stop():
    job = Job(keywords=Keywords(opt_outs=frozenset({"FORA"})))

    await job.process([opt_in(PERSON), arrival(text_message("fora!"))])

    assert dead(job) == [(PERSON, Reason.NEWER_OPT_OUT)]


@pytest.mark.parametrize(
    "bad",
    [
        {"neither": 1},
        "text",
        None,
        canonical(type="of.nobody"),
        text_message("START", received="yesterday"),
        canonical(specversion="0.3"),
        bare(),
    ],
    ids=lambda bad: str(bad)[:30],
)
@pytest.mark.parametrize("place", ["before", "behind"])
async def test_a_stop_counts_though_its_neighbour_in_an_array_is_bad(bad, place):
    job = Job()
    stop = text_message("STOP")
    array = arrival([bad, stop] if place == "before" else [stop, bad], message_id="array")

    report = await job.process([opt_in(PERSON), array])

    assert job.endpoint.removed == []
    (newer,) = [letter for letter in job.outbox.dead_letters if letter.reason is Reason.NEWER_OPT_OUT]
    (whole,) = [letter for letter in job.outbox.dead_letters if letter is not newer]
    assert people_in(newer) == (PERSON,)
    assert whole.body == array.body
    assert [event.result for event in report.events] == [
        EventResult.DECODED,
        EventResult.RECORDED,
        EventResult.DEAD_LETTERED,
    ]


async def test_an_opt_in_in_an_array_that_is_refused_is_not_applied():
    job = Job()

    await job.process([arrival([text_message("START"), {"neither": 1}])])

    assert job.endpoint.removed == []
    assert [letter.reason for letter in job.outbox.dead_letters] == [Reason.MALFORMED_EVENT]


@pytest.mark.parametrize("body", [b"\xff", b"{]", b"[]", b'[{"from": "1", "from": "2"}]'])
async def test_a_message_in_which_nothing_can_be_read_holds_no_stop(body):
    job = Job()

    await job.process([opt_in(PERSON), arrival(body, message_id="bad")])

    assert job.endpoint.removed == [PERSON]


async def test_what_was_no_message_at_all_is_a_dead_letter_that_says_so_and_holds_no_stop():
    job = Job()
    broken = arrival(text_message("STOP"), message_id="broken", unreadable="the body is a map")

    await job.process([opt_in(PERSON), broken])

    (letter,) = job.outbox.dead_letters
    assert job.endpoint.removed == [PERSON]
    assert letter.body == broken.body
    assert str(letter.properties["DeadLetterErrorDescription"]).startswith("the body is a map; ")


async def test_attributes_that_contradict_each_other_name_no_stop_for_certain():
    job = Job()
    properties = {"ce-specversion": "1.0", "ce-type": "sms.opt-out.v1", "ce_type": "sms.opt-in.v1"}

    report = await job.process([arrival(bare(), properties=properties)])

    assert job.endpoint.removed == []
    assert report.dead_letters == (Reason.MALFORMED_EVENT,)


# --- two spellings are one recipient ------------------------------------------------------------------------------


async def test_two_spellings_in_one_event_are_one_recipient_of_one_request():
    job = Job({PERSON: [FAILED]})

    report = await job.process([arrival(bare(*SPELLINGS.values()))])

    assert job.endpoint.removed == [PERSON]
    assert where(report) == [("message-1", PERSON, "WAITING", None)]
    assert len(job.outbox.retries) == 1


@pytest.mark.parametrize("outcome", [Outcome(Verdict.CONFIRMED), FAILED, Outcome(Verdict.REJECTED, "no", 400)])
async def test_two_spellings_in_two_events_are_one_recipient_and_the_outcome_goes_to_both(outcome):
    job = Job({PERSON: [outcome]})

    report = await job.process(
        [arrival(bare("15555555551"), message_id="a"), arrival(bare("+1 (555) 555-5551"), message_id="b")]
    )

    assert job.endpoint.removed == [PERSON]
    (first, second) = where(report)
    assert first[1:] == second[1:]
    assert (first[0], second[0]) == ("a", "b")
    assert len(job.outbox.retries) + len(job.outbox.dead_letters) in (0, 2)


async def test_5_000_spellings_of_100_people_cost_one_request():
    job = Job()
    people = [f"1555{each % 100:07}" for each in range(5_000)]

    await job.process(
        [arrival(bare(to if index % 2 else f"+{to}"), message_id=str(index)) for index, to in enumerate(people)]
    )

    assert [len(each) for each in job.endpoint.batches] == [100]


def verdicts(asked, *items):
    """Give the verdict for everybody who was asked for, by number."""
    body = {"value": [{"to": to, "httpStatusCode": status} for to, status in items]}
    return {to.text: outcome.verdict for to, outcome in read_answer(asked, answer(body=body)).items()}


@pytest.mark.parametrize("written", SPELLINGS.values(), ids=SPELLINGS)
def test_an_answer_is_the_recipients_however_it_is_written(written):
    assert verdicts(batch(PERSON, OTHER), (written, 400), (OTHER, 200)) == {
        PERSON: Verdict.REJECTED,
        OTHER: Verdict.CONFIRMED,
    }


def test_an_answer_with_or_without_plus_is_the_recipients():
    assert verdicts(batch(PERSON), (PERSON, 200)) == {PERSON: Verdict.CONFIRMED}
    assert verdicts(batch(PERSON), (PERSON[1:], 200)) == {PERSON: Verdict.CONFIRMED}
    assert verdicts(batch("5551234"), ("+5551234", 200)) == {"5551234": Verdict.CONFIRMED}


def test_an_answer_that_names_both_a_short_number_and_its_twin_with_plus_is_matched_exactly():
    asked = batch("5551234", "+5551234")

    for items in ([("5551234", 200), ("+5551234", 400)], [("+5551234", 400), ("5551234", 200)]):
        assert verdicts(asked, *items) == {"5551234": Verdict.CONFIRMED, "+5551234": Verdict.REJECTED}


def test_an_answer_for_one_of_two_twins_is_not_the_others():
    assert verdicts(batch("5551234", "+5551234"), ("+5551234", 200)) == {
        "5551234": Verdict.FAILED,
        "+5551234": Verdict.CONFIRMED,
    }


async def test_a_publisher_who_leaves_out_the_plus_no_longer_sinks_the_number_of_another():
    """Asked for twice, with and without plus, ACS would accept one and refuse the other."""
    one, other = decoded(bare(PERSON), message_id="a"), decoded(bare(PERSON[1:]), message_id="b")

    (asked,) = plan(Operation.REMOVE, wanted(pair(to.text) for event in (one, other) for to in event.recipients))

    assert asked == batch(PERSON)
    assert verdicts(asked, (PERSON, 200)) == {PERSON: Verdict.CONFIRMED}


# --- what is no number --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "cell",
    ["", " ", None, "n/a", "null", "0", 0, 7, -1, 12345678901234567890, "x" * 5000, "+1555\ud83d", "\0"],
    ids=repr,
)
async def test_one_cell_that_is_no_number_costs_nobody_else_anything(cell):
    job = Job()
    request = bare(PERSON, OTHER)
    request["recipients"].insert(1, {"to": cell})

    report = await job.process([arrival(json.dumps(request).encode())])

    assert job.endpoint.removed == [PERSON, OTHER]
    assert [letter.reason for letter in job.outbox.dead_letters] == [Reason.RECIPIENT_REJECTED]
    assert [each.outcome.name for each in report.recipients] == ["DEAD_LETTERED", "REMOVED", "REMOVED"]


async def test_a_cell_without_its_field_costs_nobody_else_anything():
    job = Job()
    request = bare(PERSON)
    request["recipients"] += [{}, {"name": "Ann"}]

    await job.process([arrival(request)])

    assert job.endpoint.removed == [PERSON]
    assert dead(job) == [("", Reason.RECIPIENT_REJECTED)]


async def test_a_number_that_a_spreadsheet_wrote_as_a_number_is_one():
    job = Job()

    await job.process([arrival(bare(15555555551))])

    assert job.endpoint.removed == [PERSON]


async def test_a_list_of_thousands_with_one_empty_cell_is_one_dead_letter():
    job = Job()
    people = [f"+1555{each:07}" for each in range(5000)]

    await job.process([arrival(bare(*people[:2500], "", *people[2500:]))])

    assert job.endpoint.removed == people
    assert dead(job) == [("", Reason.RECIPIENT_REJECTED)]


async def test_what_is_no_number_is_no_attempt_and_has_no_answer_of_acs():
    job = Job()

    report = await job.process([arrival(bare("n/a"))])

    (letter,) = job.outbox.dead_letters
    assert job.endpoint.batches == []
    assert report.recipients[0].attempts == letter.properties["optout-attempt"] == 0
    assert letter.properties["DeadLetterErrorDescription"] == Reason.RECIPIENT_REJECTED.meaning


# --- a STOP that names nobody -------------------------------------------------------------------------------------


@pytest.mark.parametrize("written", ["", "n/a", "5555555551", "555-5551", "05555555551"])
async def test_an_opt_out_without_a_clear_number_is_never_silent(written):
    job = Job()

    report = await job.process([opt_out(written)])

    (letter,) = job.outbox.dead_letters
    assert letter.reason is Reason.UNCLEAR_OPT_OUT
    assert report.dead_letters == (Reason.UNCLEAR_OPT_OUT,)
    assert [(each.outcome.name, each.reason) for each in report.recipients] == [
        ("DEAD_LETTERED", Reason.UNCLEAR_OPT_OUT)
    ]
    assert [event.result for event in report.events] == [EventResult.RECORDED]


async def test_a_texted_stop_from_a_short_code_is_never_silent_either():
    job = Job()

    await job.process([arrival(text_message("STOP", person="55555"))])

    assert [letter.reason for letter in job.outbox.dead_letters] == [Reason.UNCLEAR_OPT_OUT]


async def test_only_the_unclear_ones_of_an_opt_out_wait_and_the_others_count():
    job = Job()
    stop = canonical(type="sms.opt-out.v1", id="stop", time="2026-01-23T11:55:00Z", data=bare("n/a", PERSON, "5551234"))

    await job.process([arrival(stop, message_id="opt-out"), opt_in(PERSON)])

    assert dead(job) == [
        ("n/a", Reason.UNCLEAR_OPT_OUT),
        ("5551234", Reason.UNCLEAR_OPT_OUT),
        (PERSON, Reason.NEWER_OPT_OUT),
    ]
    assert job.endpoint.operations == [("add", PERSON)]


async def test_an_unclear_opt_out_can_be_corrected_and_sent_again():
    job = Job()
    await job.process([opt_out("555-555-5551")])
    (letter,) = job.outbox.dead_letters
    corrected = letter.body.replace(b"5555555551", b"+1 555 555 5551")

    sent_again = arrival(corrected, message_id="again", properties=letter.properties, content_type=letter.content_type)
    await job.process([opt_in(PERSON), sent_again])

    assert json.loads(letter.body)["type"] == "sms.opt-out.v1"
    assert job.endpoint.removed == []
    assert dead(job)[1:] == [(PERSON, Reason.NEWER_OPT_OUT)]
    # it is as old as it was
    assert decoded(corrected, properties=letter.properties).time == NOW - 5 * MINUTE


async def test_an_unclear_opt_out_that_is_sent_back_unchanged_is_a_dead_letter_again():
    job = Job()
    await job.process([opt_out("n/a")])
    (letter,) = job.outbox.dead_letters

    await job.process([delivered(letter, NOW)])

    assert [each.reason for each in job.outbox.dead_letters] == [Reason.UNCLEAR_OPT_OUT] * 2
    assert len({each.message_id for each in job.outbox.dead_letters}) == 2


# --- sent back by hand ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "reason", [Reason.RETRIES_EXHAUSTED, Reason.RECIPIENT_REJECTED, Reason.MAX_DELIVERY_COUNT_EXCEEDED]
)
async def test_a_dead_letter_that_is_sent_back_by_hand_starts_its_schedule_anew(reason):
    job = Job({PERSON: [FAILED]})
    properties = {"DeadLetterReason": reason.value, "optout-attempt": 6, "optout-hop": 6}

    await job.process([arrival(canonical(), properties=properties)])

    assert waiting(job) == [(PERSON, MINUTE / 2)]
    assert job.outbox.retries[0].properties["optout-attempt"] == 1
    # its ids go on, or the broker would take them for those of its first round
    assert job.outbox.retries[0].properties["optout-hop"] == 7


@pytest.mark.parametrize("reason", [Reason.NEWER_OPT_OUT, Reason.STALE_OPT_IN])
async def test_a_dead_letter_that_was_final_for_consent_stays_dead_whatever_tool_sends_it_back(reason):
    job = Job()
    again = arrival(canonical(PERSON, OTHER), properties={"DeadLetterReason": reason.value})

    await job.process([again])

    assert job.endpoint.removed == []
    assert dead(job) == [(PERSON, reason), (OTHER, reason)]


async def test_an_opt_in_that_lost_to_a_stop_loses_again_when_its_dead_letter_is_sent_back():
    job = Job()
    await job.process([opt_in(PERSON), texted_stop("15555555551")])
    (letter,) = job.outbox.dead_letters

    await job.process([delivered(letter, NOW)])

    assert job.endpoint.removed == []
    assert [each.reason for each in job.outbox.dead_letters] == [Reason.NEWER_OPT_OUT] * 2


async def test_what_is_sent_back_after_ten_days_is_ten_days_old():
    job = Job()
    properties = {"optout-first-enqueued": "2026-01-13T12:00:00+00:00"}

    report = await job.process([arrival(bare(), properties=properties)])

    assert dead(job) == [(PERSON, Reason.STALE_OPT_IN)]
    assert report.recipients[0].age == 10 * 86_400


# --- text that is none ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("odd", ["\0", "\ud83d"], ids=["NUL", "half a surrogate pair"])
@pytest.mark.parametrize(
    "where_it_stands",
    [
        lambda odd: canonical(id=f"nu{odd}l"),
        lambda odd: canonical(source=f"/sh{odd}op"),
        lambda odd: canonical(type=f"sms.opt-in.v1{odd}"),
        lambda odd: canonical(data=bare(sender=f"Shop{odd}")),
        lambda odd: canonical(data=bare() | {"consent": {"reference": odd}}),
        lambda odd: canonical(data=bare() | {"consent": {"method": f"x{odd}"}}),
        lambda odd: text_message("START", id=odd),
        lambda odd: text_message("START", person=f"1555555{odd}5551"),
    ],
)
async def test_text_that_no_database_takes_is_malformed_at_the_door_and_its_neighbour_is_applied(odd, where_it_stands):
    job = Job()

    report = await job.process([arrival(bare(OTHER)), arrival(where_it_stands(odd), message_id="bad")])

    assert job.endpoint.removed == [OTHER]
    assert report.dead_letters == (Reason.MALFORMED_EVENT,)


async def test_one_date_that_cannot_be_read_is_that_messages_own_matter():
    job = Job()

    await job.process(
        [arrival(canonical(PERSON, time="2026-01-23T25:61:00Z")), arrival(canonical(OTHER, id="2"), message_id="2")]
    )

    assert job.endpoint.removed == [OTHER]
    assert [letter.reason for letter in job.outbox.dead_letters] == [Reason.MALFORMED_EVENT]


def test_a_retry_holds_the_number_as_it_is_sent():
    assert texts(decoded(bare("001 (555) 555-5551")).recipients) == texts([number(PERSON)])
