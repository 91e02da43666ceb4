"""`optout consent`: a person's history, export, erasure, retention, and the comparison with ACS's list."""

import asyncio
import csv
import io
import json
import threading
from datetime import UTC, datetime, timedelta

import pytest

from optout_core.adapters.ledger.sqlite import SqliteLedger
from optout_core.consent import microseconds
from optout_core.contract import Consent
from sandbox.endpoint import Endpoint, Fault
from tests.build import NOW, OTHER, PERSON, SENDER, decoded
from tests.consent.said import stop, web
from tests.ops.memory import MemoryQueues
from tests.ops.written import keep

EVIDENCE = Consent(captured_at=NOW - timedelta(days=1), method="web-form", reference="form-1")


def test_the_history_of_a_person_is_read_by_a_person(desk, ledger):
    keep(ledger, *web(1, consent=EVIDENCE), *stop(2))

    said = desk("consent", "show", PERSON, "--from", SENDER)

    assert said.code == 0
    assert said.out.splitlines()[0] == (
        "Newest word: STOP, said 2026-01-23 11:00:02 UTC; ACS's list is known to say so."
    )
    assert "2026-01-23 11:00:01 UTC  opt-in" in said.out
    assert "event web-1 of https://shop.example/preferences, arrived 2026-01-23 12:00:00 UTC" in said.out
    assert "evidence: web-form, form-1" in said.out
    assert "ACS confirmed 2026-01-23 12:00:00 UTC, HTTP 200, MS-CV cv-1" in said.out
    assert PERSON not in said.out


def test_the_number_can_come_from_standard_input_and_however_it_is_written(desk, ledger, monkeypatch):
    keep(ledger, *web(1))
    monkeypatch.setattr("sys.stdin", io.StringIO("tel:1 (555) 555-5551\n"))

    said = desk("consent", "show", "--from", "18001234567")

    assert "Newest word: opt-in" in said.out


def test_of_a_stranger_it_says_that_nothing_is_known(desk, ledger):
    keep(ledger, *web(1))

    said = desk("consent", "show", OTHER, "--from", SENDER)

    assert said.out == "Nothing is known of this person and this sender.\n"


def test_a_history_as_json_is_masked_unless_revealed_and_that_is_written_down(desk, ledger):
    keep(ledger, *web(1, consent=EVIDENCE))

    masked = desk("consent", "show", PERSON, "--from", SENDER, "--json")
    revealed = desk("consent", "show", PERSON, "--from", SENDER, "--json", "--reveal")

    assert masked.json["newest"] == {"word": "opt-in", "settled": True}
    assert masked.json["words"][0]["recipient"] == "+1555•••5551"
    assert revealed.json["words"][0]["recipient"] == PERSON
    assert "reveal" in (desk.place / "audit.jsonl").read_text()


@pytest.mark.usefixtures("ledger")
def test_what_is_no_number_is_refused_before_anything_is_read(desk):
    for wrong in ("555-5551", "", "n/a"):
        said = desk("consent", "show", wrong, "--from", SENDER)
        assert said.code == 2
        assert "a person is a number with + and country" in said.err


def test_without_a_ledger_the_command_says_what_to_set(desk):
    said = desk("consent", "show", PERSON, "--from", SENDER)

    assert said.code == 2
    assert said.err == ("Error: CONSENT_LEDGER is empty: set it as the function has it; nothing was read or changed\n")


def test_a_ledger_that_cannot_be_opened_is_out_of_reach(desk, ledger):
    ledger.write_bytes(b"this is no database" * 100)

    said = desk("consent", "show", PERSON, "--from", SENDER)

    assert said.code == 4
    assert "the consent ledger gives no answer (file is not a database)" in said.err
    assert "nothing more was read or changed" in said.err


def test_an_auditor_gets_every_word_with_its_evidence(desk, ledger):
    keep(ledger, *web(1, consent=EVIDENCE), *stop(2, OTHER))
    file = desk.place / "audit-of-january.jsonl"

    said = desk("consent", "export", "-o", file)

    first, second = map(json.loads, file.read_text().splitlines())
    assert said.out == f"2 words in {file}.\n"
    assert first == {
        "sender": SENDER,
        "recipient": PERSON,
        "word": "opt-in",
        "saidAt": "2026-01-23T11:00:01Z",
        "capturedAt": "2026-01-22T12:00:00Z",
        "arrivedAt": "2026-01-23T12:00:00Z",
        "method": "web-form",
        "reference": "form-1",
        "source": "https://shop.example/preferences",
        "event": "web-1",
        "answers": [{"answeredAt": "2026-01-23T12:00:00Z", "status": 200, "msCv": "cv-1"}],
    }
    assert (second["word"], second["recipient"]) == ("STOP", OTHER)
    assert file.stat().st_mode & 0o077 == 0
    assert "reveal" in (desk.place / "audit.jsonl").read_text()


def test_a_spreadsheet_has_a_row_for_each_answer_and_runs_no_formula(desk, ledger):
    (word,) = web(1, id="=HYPERLINK(1)", consent=EVIDENCE)
    keep(ledger, word, word)
    file = desk.place / "words.csv"

    desk("consent", "export", "-o", file, "--masked")

    rows = list(csv.DictReader(file.read_text().splitlines()))
    assert [row["msCv"] for row in rows] == ["cv-1", "cv-1"]
    assert {row["event"] for row in rows} == {"'=HYPERLINK(1)"}
    assert {row["recipient"] for row in rows} == {"+1555•••5551"}


def test_an_export_never_writes_over_a_file(desk, ledger):
    keep(ledger, *web(1))
    file = desk.place / "words.jsonl"
    file.write_text("mine")

    assert desk("consent", "export", "-o", file).code == 2
    assert desk("consent", "export", "-o", desk.place / "words.xlsx").code == 2
    assert desk("consent", "export", "-o", desk.place / "x.csv", "--since", "soon").code == 2
    assert file.read_text() == "mine"


def test_erasing_a_person_leaves_the_stop_as_the_suppression_entry(desk, ledger):
    keep(ledger, *web(1), *stop(2), *web(1, OTHER))

    stopped = desk("consent", "erase", PERSON, "--from", SENDER, "--yes")
    gone = desk("consent", "erase", OTHER, "--from", SENDER, "--yes")

    assert stopped.out == "2 words were erased; the STOP stays as the suppression entry.\n"
    assert gone.out == "1 words were erased; nothing stays.\n"
    said = desk("consent", "show", PERSON, "--from", SENDER)
    assert "Newest word: STOP" in said.out
    assert "were erased" in said.out
    assert PERSON[1:] not in (desk.place / "audit.jsonl").read_text()


def test_nothing_is_erased_or_deleted_unasked(desk, ledger):
    keep(ledger, *web(1))

    assert desk("consent", "erase", PERSON, "--from", SENDER).code == 3
    assert desk("consent", "prune").code == 3
    assert "Newest word" in desk("consent", "show", PERSON, "--from", SENDER).out


def test_pruning_keeps_what_an_opt_in_under_way_could_still_undo(desk, ledger):
    keep(ledger, *stop(1))

    said = desk("consent", "prune", "--keep", "72h", "--yes")

    assert said.code == 3
    assert "an opt-in that still counts could undo a forgotten STOP; nothing was deleted" in said.err


def test_pruning_deletes_who_said_nothing_for_years(desk, ledger):
    long_ago = microseconds(NOW - timedelta(days=1500))
    keep(ledger, *(word._replace(said_at=long_ago) for word in stop(1)), *web(1, OTHER))

    async def make_old():
        async with SqliteLedger(ledger) as opened:
            await opened.run("UPDATE consent SET add_at = :one WHERE add_at > 0", {"one": 1})

    asyncio.run(make_old())

    said = desk("consent", "prune", "--yes")

    assert said.out == "1 deleted.\n"
    assert "Nothing is known" in desk("consent", "show", PERSON, "--from", SENDER).out
    assert "Newest word: opt-in" in desk("consent", "show", OTHER, "--from", SENDER).out


@pytest.mark.usefixtures("ledger")
def test_the_tables_are_made_by_command_and_again_without_harm(desk):
    assert desk("consent", "migrate").out == "The tables of the consent ledger are up to date.\n"
    assert desk("consent", "migrate", "--json").json == {"done": True}


@pytest.fixture
def acs(desk):
    """An ACS beside the desk, in a thread of its own."""
    loop, started, done = asyncio.new_event_loop(), threading.Event(), asyncio.Event()
    endpoint = Endpoint()

    async def serve():
        async with endpoint:
            started.set()
            await done.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    assert started.wait(10)
    desk.environ |= {"ACS_ENDPOINT": endpoint.url, "ACS_ACCESS_KEY": endpoint.access_key}
    yield endpoint
    loop.call_soon_threadsafe(done.set)
    thread.join(10)
    loop.close()


def verify(desk, *arguments):
    return desk("consent", "verify", "--since", "9999d", *arguments)


def test_where_the_list_says_what_was_said_last_nothing_happens(desk, ledger, acs):
    keep(ledger, *stop(1), *web(1, OTHER))
    acs.opted_out.add((SENDER, PERSON))

    said = verify(desk)

    assert said.code == 0
    assert said.out == "       2  the list says the newest word\n2 compared.\n"
    assert desk.queues.opt_ins == []


@pytest.mark.usefixtures("acs")
def test_a_stop_that_the_list_does_not_show_is_sent_again_and_calls_again(desk, ledger):
    keep(ledger, *web(1), *stop(2))

    said = verify(desk)

    (sent,) = desk.queues.opt_ins
    event = decoded(sent.body)
    assert said.code == 1
    assert "1  a STOP that the list does not show: its word is sent again" in said.out
    assert (event.id.raw, event.recipients[0].text, event.time.isoformat()) == (
        "stop-2",
        PERSON,
        "2026-01-23T11:00:02+00:00",
    )
    assert "is not known to say so yet" in desk("consent", "show", PERSON, "--from", SENDER).out


def test_whoever_acs_opted_out_against_the_newest_word_is_counted_and_left_alone(desk, ledger, acs):
    keep(ledger, *web(1))
    acs.opted_out.add((SENDER, PERSON))

    said = verify(desk, "--json")

    assert said.code == 1
    assert said.json == {"agrees": 0, "lost_stop": 0, "foreign_stop": 1, "open": 0, "unknown": 0}
    assert desk.queues.opt_ins == []


@pytest.mark.usefixtures("acs")
def test_the_stop_of_an_erased_person_is_sent_again_too(desk, ledger):
    keep(ledger, *stop(2))
    desk("consent", "erase", PERSON, "--from", SENDER, "--yes")

    verify(desk)

    (sent,) = desk.queues.opt_ins
    event = decoded(sent.body)
    assert event.recipients[0].text == PERSON


def test_while_acs_does_not_answer_nothing_is_concluded(desk, ledger, acs):
    keep(ledger, *stop(1))
    acs.faults = [Fault(status=503)]

    said = verify(desk)

    assert said.code in {1, 4}
    assert desk.queues.opt_ins == []


@pytest.mark.usefixtures("acs")
def test_a_second_verification_sends_the_word_under_another_id(desk, ledger):
    keep(ledger, *stop(2))
    verify(desk)
    first = desk.queues.opt_ins[0].message_id
    desk.queues = MemoryQueues()
    keep(ledger, *stop(2))
    desk.now = NOW + timedelta(days=1)

    verify(desk)

    assert desk.queues.opt_ins[0].message_id != first


@pytest.mark.usefixtures("acs")
def test_of_nobody_there_is_nothing_to_compare(desk, ledger):
    keep(ledger, *web(1))
    # the ledger has a clock of its own
    desk.now = datetime.now(UTC) + timedelta(hours=1)

    said = desk("consent", "verify", "--since", "1s")

    assert (said.code, said.out) == (0, "Nobody was called for since then: nothing to compare.\n")


@pytest.fixture
def misplaced(desk):
    """A ledger in a folder that is not there."""
    desk.environ["CONSENT_LEDGER"] = f"sqlite:///{desk.place}/nowhere/ledger.db"


@pytest.mark.usefixtures("misplaced")
@pytest.mark.parametrize(
    "command",
    [
        ("consent", "show", PERSON, "--from", SENDER),
        ("consent", "migrate"),
        ("find", PERSON),
    ],
    ids=lambda command: " ".join(command[:2]),
)
def test_a_ledger_in_a_folder_that_is_not_there_is_a_mistake_of_one_line(desk, command):
    said = desk(*command)

    assert said.code == 2
    [error] = [line for line in said.err.splitlines() if line.startswith("Error: ")]
    assert "CONSENT_LEDGER must name a file in a folder that is there" in error
    assert "nothing was read or changed" in error


@pytest.mark.usefixtures("misplaced")
@pytest.mark.parametrize("command", ["status", "doctor"])
def test_what_looks_at_everything_says_it_in_the_row_of_the_ledger_and_goes_on(desk, command):
    said = desk(command, "--json")

    findings = said.json["findings"] if command == "status" else said.json
    [ledger] = [each for each in findings if "must name a file in a folder that is there" in each["text"]]
    assert ledger["health"] == "bad"


@pytest.mark.usefixtures("misplaced")
def test_the_queues_are_looked_at_without_a_ledger_that_is_misplaced(desk):
    said = desk("dlq", "list")

    assert said.code == 0
    assert "The ledger was not asked: CONSENT_LEDGER must name a file" in said.err


@pytest.mark.usefixtures("misplaced")
def test_a_report_is_written_without_a_ledger_that_is_misplaced(desk):
    said = desk("report", "-o", str(desk.place / "report.html"))

    assert said.code == 0
    assert "must name a file in a folder that is there" in (desk.place / "report.html").read_text()
