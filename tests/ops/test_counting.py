"""Ramps, tallies, the audit trail, archives and words: small pure parts, and the odd corner of each."""

import json
import socket
import subprocess
import sys
from collections import Counter
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from msgspec.structs import replace

from optout_ops.audit import AuditTrail, RunRecorder, still_runs
from optout_ops.exits import Mistake
from optout_ops.letters import archive
from optout_ops.letters.letter import REPLAY_OF, read_letter
from optout_ops.queues.sequence_numbers import SequenceNumbers
from optout_ops.replay.history import SentRecipients, count_sent, last_session, read_replays, unfinished
from optout_ops.replay.ramp import Ramp
from optout_ops.replay.tally import Tally
from optout_ops.wording import count, duration, read_duration, read_time
from tests.build import dead_letter


def walk(ramp, total):
    looks, sent = [], 0
    while sent < total:
        sent += ramp.until_look(sent)
        looks.append((sent, ramp.waits(sent)))
    return looks


def test_a_ramp_looks_after_one_ten_and_a_hundred_and_then_every_thousand():
    assert walk(Ramp(0.1), 3000) == [(1, True), (11, True), (111, True), (1111, False), (2111, False), (3111, False)]


def test_without_a_ramp_one_looks_every_thousand_and_never_waits():
    assert walk(Ramp(0.1, ()), 2000) == [(1000, False), (2000, False)]


@pytest.mark.parametrize(
    ("tally", "objects"),
    [
        (Tally(replay_id="r", sent=10), False),
        (Tally(replay_id="r", sent=10, retrying=1), False),
        (Tally(replay_id="r", sent=10, retrying=3), True),
        (Tally(replay_id="r", sent=30, retrying=3), False),
        (Tally(replay_id="r", sent=0), False),
    ],
)
def test_where_some_went_well_a_ramp_objects_when_three_and_more_than_its_share_fail_again(tally, objects):
    assert (Ramp(0.1).objection(tally, waited=True) is not None) is objects


@pytest.mark.parametrize("sent", [1, 2])
def test_where_all_failed_one_is_enough_unless_nothing_is_left_to_stop(sent):
    tally = Tally(replay_id="r", sent=sent, retrying=sent - 1, returned=Counter(RecipientRejected=1))

    assert "recipients failed again (100%, more than 10%)" in str(Ramp(0.1).objection(tally, waited=True))
    assert Ramp(0.1).objection(tally, waited=True, last=True) is None
    assert Ramp(1).objection(tally, waited=True) is None


def test_a_ramp_objects_when_nobody_takes_what_was_sent_but_only_if_it_waited():
    tally = Tally(replay_id="r", sent=10, untried=1)

    assert "Is the function running?" in str(Ramp(0.1).objection(tally, waited=True))
    assert Ramp(0.1).objection(tally, waited=False) is None


def mine(number, reason="RetriesExhausted", **properties):
    return dead_letter(number, reason, **{"optout-replay-id": "r"} | properties)


def test_a_tally_tells_untried_retrying_back_and_gone_apart():
    tally = Tally(replay_id="r", sent=10)
    tally.add_waiting(mine(1, **{REPLAY_OF: "x", "optout-recipients": 3}))
    tally.add_waiting(mine(2, **{"optout-recipients": 2}))
    tally.add_waiting(mine(3, **{"optout-replay-id": "another"}))
    tally.add_dead_letter(read_letter(mine(4, "RecipientRejected")))

    assert (tally.untried, tally.retrying, tally.returned, tally.gone) == (3, 2, {"RecipientRejected": 1}, 4)


def test_a_message_that_falls_due_while_one_looks_is_counted_once():
    tally = Tally(replay_id="r", sent=1)
    tally.add_waiting(mine(1))
    tally.add_waiting(replace(mine(1), sequence_number=2))

    assert tally.retrying == 1


def test_a_replay_that_was_cut_off_is_known_by_what_it_was_asked(tmp_path):
    audit = AuditTrail(tmp_path / "deep" / "audit.jsonl")
    run = RunRecorder(audit, "replay", "r1")
    run.write("begin", namespace="here", selection={"filter": {}})
    run.write("sending", numbers=[1, 2], recipients=[1, 3])
    run.write("sent", numbers=[1, 2], earlier={})
    run.write("sending", numbers=[3], recipients=[1])
    with audit.path.open("a") as file:
        file.write('{"at": "2026-')

    runs, now = read_replays(audit.read(), "here"), datetime.now(UTC)

    assert count_sent(audit.read(), "r1") == SentRecipients(confirmed=4, unconfirmed=1, left_again=0)
    assert unfinished(runs, {"filter": {}}, now, still_runs=still_runs) == "r1"
    assert unfinished(runs, {"filter": {"event": "e"}}, now, still_runs=still_runs) is None
    assert unfinished(runs, {"filter": {}}, now + timedelta(hours=25), still_runs=still_runs) is None
    assert read_replays(audit.read(), "elsewhere") == {}


@pytest.mark.parametrize("outcome", ["failed", "interrupted"])
def test_a_replay_that_did_not_come_to_its_end_is_continued(tmp_path, outcome):
    audit = AuditTrail(tmp_path / "audit.jsonl")
    run = RunRecorder(audit, "replay", "r1")
    run.write("begin", namespace="here", selection={})
    run.write("end", outcome=outcome)

    assert unfinished(read_replays(audit.read(), "here"), {}, datetime.now(UTC), still_runs=still_runs) == "r1"


def test_a_replay_that_ended_is_not_continued(tmp_path):
    audit = AuditTrail(tmp_path / "audit.jsonl")
    run = RunRecorder(audit, "replay", "r1")
    run.write("begin", namespace="here", selection={})
    run.write("end", outcome="done")

    assert unfinished(read_replays(audit.read(), "here"), {}, datetime.now(UTC), still_runs=still_runs) is None
    assert (tmp_path / "audit.jsonl").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("end", "minutes", "found"),
    [(None, 2, True), ("failed", 2, True), ("interrupted", 2, False), ("done", 2, False), (None, 6, False)],
)
def test_only_a_run_that_was_cut_off_minutes_ago_may_still_hold_dead_letters(tmp_path, end, minutes, found):
    audit = AuditTrail(tmp_path / "audit.jsonl")
    run = RunRecorder(audit, "purge", "p1")
    run.write("begin", namespace="here")
    if end:
        run.write("end", outcome=end)

    session = last_session(audit.read(), "here", datetime.now(UTC) + timedelta(minutes=minutes))

    assert (session is not None and session.command == "purge") is found
    assert last_session(audit.read(), "elsewhere", datetime.now(UTC)) is None


@pytest.mark.parametrize("runs", [True, False])
def test_a_replay_that_still_runs_is_left_alone(tmp_path, runs):
    audit = AuditTrail(tmp_path / "audit.jsonl")
    RunRecorder(audit, "replay", "r1").write("begin", namespace="here", selection={})
    replays = read_replays(audit.read(), "here")

    continued = unfinished(replays, {}, datetime.now(UTC), still_runs=lambda *_: runs)

    assert continued == (None if runs else "r1")


def test_a_process_is_known_to_run_only_on_this_machine():
    here = f"somebody@{socket.gethostname()}"
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        assert still_runs(here, process.pid)
        assert not still_runs("somebody@elsewhere", process.pid)
        process.kill()

    assert not still_runs(here, process.pid)
    assert not still_runs(here, None)


def test_what_left_again_is_counted_for_the_replay_it_came_back_from(tmp_path):
    audit = AuditTrail(tmp_path / "audit.jsonl")
    RunRecorder(audit, "replay", "r2").write("sent", numbers=[7], earlier={"r1": 2})
    RunRecorder(audit, "purge", "p").write("removing", numbers=[8], earlier={"r1": 1, "unknown": 1})

    assert count_sent(audit.read(), "r1") == SentRecipients(confirmed=0, unconfirmed=0, left_again=3)


def test_an_archived_dead_letter_comes_back_as_it_was():
    odd = {"when": datetime(2026, 1, 1, tzinfo=UTC), "who": UUID(int=7), "yes": True, "share": 0.5}
    for body in (b"\xff\x00", b"{}", "ß".encode()):
        before = replace(dead_letter(body=body, **odd), subject="s")

        assert archive.read(archive.write(before, reveal=True), 1) == before


def test_a_masked_archive_shows_no_property_that_is_a_phone_number_and_every_count():
    letter = replace(dead_letter(number=12345678, phone=15555555551, tries=3), delivery_count=2)

    text = archive.write(letter, reveal=False)

    document = json.loads(text)
    assert "15555555551" not in text
    assert document["properties"]["phone"] == "1555•••5551"
    assert document["properties"]["tries"] == 3
    assert (document["sequenceNumber"], document["deliveryCount"]) == (12345678, 2)


def test_a_masked_archive_holds_no_number_and_is_not_taken_back():
    text = archive.write(dead_letter(note="call +15555555551"), reveal=False)

    assert "15555555551" not in text
    assert "+1555•••5551" in text
    with pytest.raises(Mistake, match="line 3 of the archive is masked"):
        archive.read(text, 3)


@pytest.mark.parametrize("line", ["", "{", "[]", '{"sequenceNumber": 1}'])
def test_a_broken_archive_is_refused_with_its_line(line):
    with pytest.raises(Mistake, match="line 2 of the archive cannot be read"):
        archive.read(line, 2)


def test_chosen_numbers_are_known_in_eight_bytes_each():
    chosen = SequenceNumbers(range(10, 20, 2))
    chosen.append(30)

    assert [number for number in range(40) if number in chosen] == [10, 12, 14, 16, 18, 30]
    assert (len(chosen), chosen.last) == (6, 30)
    assert (len(SequenceNumbers()), SequenceNumbers().last) == (0, 0)


@pytest.mark.parametrize(
    ("text", "span"),
    [
        ("2h", timedelta(hours=2)),
        ("45m", timedelta(minutes=45)),
        ("1.5d", timedelta(hours=36)),
        ("PT2H", timedelta(hours=2)),
    ],
)
def test_durations_are_read_in_short_and_in_iso(text, span):
    assert read_duration(text) == span


@pytest.mark.parametrize("text", ["", "h", "soon", "-2h", "0s"])
def test_what_is_no_duration_is_refused(text):
    with pytest.raises(ValueError, match="must be"):
        read_duration(text)


def test_a_time_without_an_offset_is_utc():
    assert read_time("2026-01-23") == datetime(2026, 1, 23, tzinfo=UTC)
    assert read_time("2026-01-23T10:00:00+02:00").astimezone(UTC) == datetime(2026, 1, 23, 8, tzinfo=UTC)
    with pytest.raises(ValueError, match="must be a time"):
        read_time("yesterday")


def test_people_read_two_units_and_counts_with_commas():
    assert [duration(timedelta(seconds=seconds)) for seconds in (0, 59, 3600, 3661, 273_600)] == [
        "0 s",
        "59 s",
        "1 h",
        "1 h 1 min",
        "3 d 4 h",
    ]
    assert (count(1, "dead letter"), count(1200, "dead letter")) == ("1 dead letter", "1,200 dead letters")


def test_the_lines_of_the_trail_are_whole_and_in_order(tmp_path):
    audit = AuditTrail(tmp_path / "audit.jsonl")
    for number in range(5):
        audit.write("purge", "removing", numbers=[number])

    assert [json.loads(line)["numbers"] for line in audit.path.read_text().splitlines()] == [[0], [1], [2], [3], [4]]
