"""`optout status` and `optout find`: one look says it all, one sentence says where a person's word is."""

import asyncio
import contextlib
import os
import pty
import resource
import sqlite3
from datetime import timedelta

import pytest
from msgspec.structs import replace

from optout_core.adapters.ledger.sqlite import SqliteLedger
from optout_core.outgoing import Queue
from optout_ops.health.findings import Health
from optout_ops.queues.messages import MessageState
from tests.build import NOW, OTHER, PERSON, SENDER, canonical, dead_letter, dead_letters, wire
from tests.consent import said as words
from tests.ops.bus import current, read_all
from tests.ops.command_line import QUICK
from tests.ops.written import admit, keep, ledger_time, publish_settings


def waiting(desk, *messages):
    desk.queues.messages[Queue.OPT_INS] += messages


def opt_in(number, **fields):
    return replace(dead_letter(number, **fields.pop("facts", {})), enqueued_at=NOW, **fields)


def findings(desk, command):
    document = desk(command, "--json").json
    return document["findings"] if command == "status" else document


def stop(number):
    body = wire(canonical(PERSON, type="sms.opt-out.v1"))
    return replace(dead_letter(number, "UnclearOptOut", body=body), enqueued_at=NOW)


# --- status --------------------------------------------------------------------------------------------------------


def test_when_all_is_well_it_says_so(desk):
    said = desk("status", "--fail-if-any")

    assert said.code == 0
    assert "0 ready, 0 scheduled" in said.out
    assert "There are no dead letters." in said.out


def test_it_counts_what_waits_and_says_how_long_there_is_time(desk):
    later = opt_in(2, state=MessageState.SCHEDULED, scheduled_at=NOW + timedelta(minutes=3))
    waiting(desk, opt_in(1), later, stop(3))

    document = desk("status", "--json").json

    assert (document["optIns"]["ready"], document["optIns"]["scheduled"], document["unsettledStops"]) == (2, 1, 1)
    assert document["optIns"]["nextDue"] == "2026-01-23T12:03:00+00:00"
    # The opt-in is ten minutes old, and may become 72 hours old.
    assert document["hoursLeft"] == pytest.approx(71.8, abs=0.05)


def test_the_map_shows_whether_it_is_still_happening(desk):
    desk.put(
        replace(dead_letter(1), enqueued_at=NOW - timedelta(hours=30)),
        replace(dead_letter(2), enqueued_at=NOW - timedelta(hours=2)),
        dead_letter(3, "RecipientRejected"),
        dead_letter(4, "RecipientRejected"),
    )

    dead, said = desk("status", "--json").json["deadLetters"], desk("status").out

    exhausted, rejected = dead["reasons"]["RetriesExhausted"], dead["reasons"]["RecipientRejected"]
    assert (dead["total"], dead["last15Minutes"]) == (4, 2)
    assert (exhausted["older"], exhausted["perHour"][-3], exhausted["last15Minutes"]) == (1, 1, 0)
    assert (rejected["perHour"][-1], rejected["last15Minutes"]) == (2, 2)
    assert "RecipientRejected" in said
    assert "█" in said
    assert "▄" in said


@pytest.mark.parametrize(
    ("minutes", "health"),
    [(1, Health.UNKNOWN), (6, Health.BAD), (None, Health.UNKNOWN)],
    ids=["fresh", "stuck", "none"],
)
def test_whether_the_function_works_is_told_from_what_waits_for_it(desk, minutes, health):
    if minutes is not None:
        waiting(desk, replace(opt_in(1), enqueued_at=NOW - timedelta(minutes=minutes)))

    findings = {each["about"]: each for each in desk("status", "--json").json["findings"]}

    assert findings["function"]["health"] == health


def test_a_function_that_is_behind_and_puts_things_off_works(desk):
    retry = opt_in(2, state=MessageState.SCHEDULED, scheduled_at=NOW + timedelta(minutes=3))
    waiting(desk, replace(opt_in(1), enqueued_at=NOW - timedelta(hours=1)), retry)

    findings = {each["about"]: each for each in desk("status", "--json").json["findings"]}

    assert findings["function"]["health"] == Health.GOOD
    assert "it works: it last put something off" in findings["function"]["text"]


@pytest.mark.parametrize("dead", [0, 1])
def test_a_monitor_is_told_by_the_exit_code(desk, dead):
    desk.put(*dead_letters(dead))

    assert desk("status", "--fail-if-any").code == dead
    assert desk("status").code == 0


def test_through_a_pipe_it_is_whole_and_separated_by_tabs(desk):
    desk.put(dead_letter(1, "R" * 60))

    lines = desk("status").out.splitlines()

    assert all(line == line.rstrip() and "\t" in line for line in lines)
    assert lines[0].split("\t") == ["opt-ins", "0 ready, 0 scheduled"]
    assert lines[-1].split("\t")[0] == "R" * 60


def test_the_last_replay_is_told(desk):
    desk.put(*dead_letters(2))
    replay = desk.dlq("replay", *QUICK, "--json").json["replay"]

    assert f"{replay}: 2 recipients sent; done" in desk("status").out


def test_what_the_ledger_says_is_joined_to_the_rest(desk, ledger):
    keep(ledger, *words.web(1))
    good = desk("status").out
    asyncio.run(admit(ledger, *words.stop(2, OTHER)))
    ledger_time(desk)
    bad = desk("status", "--fail-if-any")
    ledger.write_bytes(b"no database" * 99)
    unread = desk("status")

    assert "good: it can be read and written, and every STOP that it holds is settled" in good
    assert "bad: it can be read and written, and 1 STOP not settled: docs/runbook.md" in bad.out
    assert bad.code == 1
    assert "bad: the consent ledger gives no answer" in unread.out


@pytest.fixture
def no_room():
    """Lets no file of this process grow beyond a size, while a block runs."""

    @contextlib.contextmanager
    def beyond(size):
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    return beyond


@pytest.mark.parametrize("command", ["status", "doctor"])
def test_a_ledger_that_can_be_read_and_has_no_room_is_bad(desk, ledger, no_room, command):
    with contextlib.closing(sqlite3.connect(ledger)) as function:
        keep(ledger, *words.web(1))
        # The log of the file stays as long as somebody has it open, and is as long as it can become.
        function.execute("SELECT * FROM consent").fetchall()
        asyncio.run(admit(ledger, *words.web(2, OTHER)))
        with no_room((desk.place / "ledger.db-wal").stat().st_size):
            [finding] = [each for each in findings(desk, command) if each["about"] == "ledger"]

    assert finding["health"] == "bad"
    assert finding["text"].startswith("it can be read and not written; every STOP that it holds is settled; ")
    assert "disk" in finding["text"]


def test_a_ledger_whose_file_can_only_be_read_is_bad(desk, ledger):
    keep(ledger, *words.web(1))
    # What SQLite may only read, also for root: a file that says so (https://www.sqlite.org/fileformat.html, 1.3.3).
    with ledger.open("r+b") as file:
        file.seek(18)
        file.write(b"\x03")

    [finding] = [each for each in findings(desk, "status") if each["about"] == "ledger"]

    assert finding["health"] == "bad"
    assert "readonly database" in finding["text"]


def test_looking_leaves_nothing_in_the_ledger(desk, ledger):
    keep(ledger, *words.web(1))
    with contextlib.closing(sqlite3.connect(ledger)) as function:
        before = list(function.iterdump())
        assert desk("status").code == 0
        assert list(function.iterdump()) == before


def test_without_a_ledger_nothing_is_known_of_stops(desk):
    assert "unknown: CONSENT_LEDGER is empty here: nothing is known of STOPs" in desk("status").out


# --- whose settings? ------------------------------------------------------------------------------------------------


def whose(desk, *arguments):
    [finding] = [each for each in desk("status", "--json", *arguments).json["findings"] if each["about"] == "settings"]
    return finding["health"], finding["text"]


def test_without_a_ledger_the_settings_are_those_of_this_shell(desk):
    assert whose(desk) == ("unknown", "settings of this shell: the function publishes none without a ledger")


@pytest.mark.usefixtures("ledger")
def test_a_function_that_took_nothing_yet_has_published_nothing(desk):
    assert whose(desk)[0] == "unknown"
    assert "the function has published none yet" in whose(desk)[1]


def test_a_ledger_that_does_not_answer_publishes_nothing(desk, ledger):
    ledger.write_bytes(b"no database" * 99)

    assert whose(desk) == (
        "unknown",
        "settings of this shell: the ledger was not read, in which the function publishes its own",
    )


def test_hours_are_left_by_the_age_that_the_function_goes_by(desk, ledger):
    waiting(desk, opt_in(1, facts={"time": NOW - timedelta(hours=2)}))
    ours = desk("status", "--json").json["hoursLeft"]
    publish_settings(ledger, started_at=NOW, OPT_IN_MAX_AGE="PT24H")
    theirs = desk("status", "--json").json["hoursLeft"]

    assert ours - theirs == 48


def test_who_published_them_when_and_what_differs_here_is_said(desk, ledger):
    publish_settings(ledger, started_at=NOW, OPT_IN_MAX_AGE="PT24H", ALLOWED_SENDERS=SENDER)

    health, text = whose(desk)
    assert health == "good"
    assert text == (
        "deployed settings, published by the function optin-prod 1.0.0 at 2026-01-23 12:00:00 UTC;"
        " OPT_IN_MAX_AGE is P1D there and P3D here; ALLOWED_SENDERS is +1800•••4567 there and empty here;"
        " `optout dlq` goes by the one here"
    )


def test_a_shell_that_looks_at_another_queue_than_the_function_is_told_so(desk, ledger):
    publish_settings(ledger, started_at=NOW, OPT_IN_QUEUE="opt-ins-eu")
    health, text = whose(desk)

    assert health == "bad"
    assert "OPT_IN_QUEUE is opt-ins-eu there and opt-ins here; this shell looks at something else" in text
    assert desk("status", "--fail-if-any").code == 1


def test_a_function_of_another_namespace_counts_only_where_there_is_none_of_ours(desk, ledger):
    other = "Endpoint=sb://other.example/;SharedAccessKeyName=k;SharedAccessKey=c2VjcmV0"
    publish_settings(ledger, started_at=NOW + timedelta(hours=1), function="optin-test", ServiceBusConnection=other)
    health, text = whose(desk)
    publish_settings(ledger, started_at=NOW)

    assert health == "bad"
    assert "ServiceBusConnection__fullyQualifiedNamespace is other.example there and memory.example here" in text
    assert whose(desk)[1].startswith("deployed settings, published by the function optin-prod")


@pytest.mark.parametrize("spoilt", ['{"OPT_IN_MAX_AGE": "soon"}', "[1]", "{", ""])
def test_settings_that_cannot_be_read_are_those_of_this_shell(desk, ledger, spoilt):
    waiting(desk, opt_in(1, facts={"time": NOW - timedelta(hours=2)}))
    ours = desk("status", "--json").json["hoursLeft"]
    publish_settings(ledger, started_at=NOW, function="by \x1b[31mhand +15555555551")
    asyncio.run(spoil(ledger, spoilt))

    assert desk("status", "--json").json["hoursLeft"] == ours
    assert "\x1b" not in desk("status").out
    assert "5555551" not in desk("status").out


async def spoil(ledger, spoilt):
    async with SqliteLedger(ledger) as opened:
        await opened.run("UPDATE consent_function SET settings = :none", {"none": spoilt})


async def test_it_is_watched_until_ctrl_c(bus):
    ours, theirs = pty.openpty()
    process = bus.start("status", "--watch", terminal=theirs, TERM="xterm", COLUMNS="80", LINES="40")
    os.close(theirs)
    shown = b""
    while b"Ctrl-C ends it" not in shown:
        shown += await asyncio.to_thread(os.read, ours, 4096)
    process.send_signal(2)
    shown += (await asyncio.to_thread(read_all, ours)).encode()

    assert await asyncio.to_thread(process.wait) == 0
    assert b"There are no dead letters." in shown


async def test_at_eighty_columns_no_line_is_folded(bus):
    bus.bury(*range(1, 30))
    bus.fill(current(99, "MaxDeliveryCountExceeded"))
    ours, theirs = pty.openpty()
    process = bus.start("status", terminal=theirs, TERM="dumb", NO_COLOR="1", COLUMNS="80", LINES="40")
    os.close(theirs)
    shown = await asyncio.to_thread(read_all, ours)

    assert await asyncio.to_thread(process.wait) == 0
    [line] = [each for each in shown.splitlines() if each.startswith("MaxDeliveryCountExceeded")]
    assert line.split()[-1] == "1"
    assert max(map(len, shown.splitlines())) <= 80


# --- find ----------------------------------------------------------------------------------------------------------


def test_a_person_is_found_wherever_the_word_waits_and_not_shown(desk):
    later = opt_in(5, state=MessageState.SCHEDULED, scheduled_at=NOW + timedelta(minutes=3))
    desk.put(dead_letter(7, "RecipientRejected", OTHER, name="order-7"), dead_letter(8))
    waiting(desk, replace(later, body=wire(canonical(OTHER, id="order-5"))), opt_in(6))

    said = desk("find", "+1 (555) 555-5552")

    scheduled, dead, acs = said.out.splitlines()
    assert said.code == 0
    assert scheduled.endswith("(order-5) is scheduled until 2026-01-23 12:03:00 UTC, in 3 min, after 5 tries.")
    assert "(order-7) is dead letter 7 since 0 s: RecipientRejected; replay: after a fix." in dead
    assert acs.startswith("ACS says nothing: ")
    assert "5555552" not in said.out + said.err


def test_an_event_is_found_too(desk):
    desk.put(dead_letter(7, name="order-7"))

    said = desk("find", "order-7", "--json")

    assert [place["number"] for place in said.json["places"]] == [7]


def test_who_is_nowhere_is_said_to_be_in_neither_queue(desk):
    said = desk("find", PERSON)

    assert said.code == 1
    assert "+1555•••5551 is in neither queue: what there was is applied, was removed, or never came." in said.out


def test_what_the_ledger_knows_of_a_person_is_told_with_the_rest(desk, ledger):
    keep(ledger, *words.web(1), *words.stop(2))
    asyncio.run(admit(ledger, *words.stop(9, OTHER)))

    applied = desk("find", PERSON, "--from", SENDER)
    unsettled = desk("find", OTHER, "--from", SENDER)
    stranger = desk("find", "+15550009999", "--from", SENDER)

    assert applied.code == 0
    assert (
        "The ledger: the newest word to +1800•••4567 is a STOP, event stop-2, said 2026-01-23 11:00:02 UTC; applied,"
        " ACS confirmed 2026-01-23 12:00:00 UTC."
    ) in applied.out
    assert "event stop-9, said 2026-01-23 11:00:09 UTC; ACS's list is not known to say so yet." in unsettled.out
    assert "The ledger" not in stranger.out


def test_the_ledger_is_asked_of_every_sender_that_it_knows(desk, ledger):
    keep(ledger, *words.web(1), *words.web(2, sender="Contoso"))

    said = desk("find", PERSON)

    assert "The ledger: the newest word to +1800•••4567 is an opt-in, event web-1" in said.out
    assert "The ledger: the newest word to contoso is an opt-in, event web-2" in said.out
    assert "is in neither queue" not in said.out
    assert said.code == 0


@pytest.mark.usefixtures("ledger")
def test_who_names_an_event_is_told_how_the_ledger_is_searched(desk):
    assert "was removed, or never came. The ledger is searched by the person's number." in desk("find", "e77").out


async def test_a_number_comes_from_standard_input_or_is_asked_for_and_not_shown(bus):
    bus.bury(1)
    ours, theirs = pty.openpty()
    process = bus.start("find", terminal=theirs, TERM="dumb")
    os.close(theirs)
    shown = b""
    while b"not shown" not in shown:
        shown += await asyncio.to_thread(os.read, ours, 4096)
    await asyncio.sleep(0.2)
    os.write(ours, b"+15550000001\n")
    shown += (await asyncio.to_thread(read_all, ours)).encode()

    assert await asyncio.to_thread(process.wait) == 0
    assert b"is dead letter 1" in shown
    assert b"5550000001" not in shown
