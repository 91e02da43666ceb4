"""`optout dlq export`, `import`, `edit` and `purge`."""

import json
import sys
from dataclasses import replace
from datetime import timedelta
from uuid import UUID

import pytest
from msgspec import structs

from optout_core.outgoing import Queue
from tests.build import OTHER, PERSON, canonical, dead_letter, dead_letters, wire
from tests.ops.bus import current, open_bus, queues

# --- export --------------------------------------------------------------------------------------------------------


def test_an_export_masks_numbers(desk):
    desk.put(*dead_letters(4, "RetriesExhausted", PERSON), dead_letter(5, body=b"\xff{"))

    said = desk.dlq("export")

    assert said.code == 0
    assert len(said.out.splitlines()) == 5
    assert "5555551" not in said.out
    assert "+1555•••5551" in said.out
    assert said.err == "5 dead letters written, numbers masked.\n"
    assert desk.trail == []


def test_an_export_shows_numbers_when_they_are_asked_for_and_that_is_written_down(desk, place):
    desk.put(dead_letter(1, "RetriesExhausted", PERSON))

    said = desk.dlq("export", "-o", place / "all.jsonl", "--reveal", "--json")

    assert said.json == {"written": 1, "file": str(place / "all.jsonl"), "masked": False}
    assert PERSON in (place / "all.jsonl").read_text()
    assert (place / "all.jsonl").stat().st_mode & 0o777 == 0o600
    assert [(line["command"], line["step"]) for line in desk.trail] == [("export", "reveal")]


def test_an_export_overwrites_no_file(desk, place):
    (place / "mine").write_text("mine")

    said = desk.dlq("export", "-o", place / "mine")

    assert said.code == 2
    assert "File exists; nothing was touched; name another file" in said.err
    assert (place / "mine").read_text() == "mine"


def test_lines_and_a_document_do_not_both_go_to_standard_output(desk):
    assert desk.dlq("export", "--json").code == 2


async def test_a_command_that_cannot_finish_leaves_no_part_of_a_file(bus, place):
    bus.environ["DEAD_LETTER_QUEUE"] = "nowhere"
    before = sorted(place.iterdir())

    said = await bus("dlq", "export", "-o", place / "all.jsonl")

    assert said.code == 4
    assert sorted(place.iterdir()) == before


# --- purge ---------------------------------------------------------------------------------------------------------


def test_a_purge_exports_first_and_removes_all_it_said(desk, place):
    desk.put(*dead_letters(5))

    said = desk.dlq("purge", "--json", "--archive", place / "purged.jsonl", "--confirm", "purge 5")

    assert said.code == 0
    assert (said.json["chosen"], said.json["removed"]) == (5, 5)
    assert said.json["archive"] == str(place / "purged.jsonl")
    assert desk.queues.dead_letters == []
    assert len((place / "purged.jsonl").read_text().splitlines()) == 5
    assert [line["step"] for line in desk.trail] == ["begin", "removing", "end"]


def test_a_purge_removes_only_what_matches(desk):
    desk.put(dead_letter(1), dead_letter(2, "StaleOptIn"), dead_letter(3))

    desk.dlq("purge", "--reason", "StaleOptIn", "--confirm", "purge 1")

    assert desk.queues.numbers == [1, 3]


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (["--confirm", "purge 3"], "--confirm says 'purge 3', and 1 dead letter match"),
        ([], "Nobody is there to ask"),
    ],
)
def test_a_purge_needs_the_very_words(desk, place, options, problem):
    desk.put(*dead_letters(5))

    said = desk.dlq("purge", "--event", "e2", "--archive", place / "no.jsonl", *options)

    assert said.code == 3
    assert problem in said.err
    assert len(desk.queues.dead_letters) == 5
    assert not (place / "no.jsonl").exists()
    assert desk.trail == []


def test_a_purge_of_nothing_says_so(desk):
    said = desk.dlq("purge", "--confirm", "purge 0")

    assert said.code == 1
    assert "there are no such dead letters: nothing was removed" in said.err


@pytest.mark.parametrize("options", [["--archive", "-"], ["--to", "+1555"]], ids=str)
def test_an_archive_that_would_not_be_one_and_a_number_that_is_in_any_text_are_refused(desk, options):
    desk.put(dead_letter(1, body=b"1555"))

    said = desk.dlq("purge", *options, "--confirm", "purge 1")

    assert said.code == 2
    assert len(desk.queues.dead_letters) == 1


def test_a_purge_leaves_what_another_session_holds_and_says_so_by_its_code(desk):
    desk.put(*dead_letters(3))
    desk.queues.locked = {2}

    said = desk.dlq("purge", "--confirm", "purge 3", "--json")

    assert said.code == 1
    assert said.json["removed"] == 2
    assert desk.queues.numbers == [2]


# --- import --------------------------------------------------------------------------------------------------------


@pytest.fixture
def purged(desk, place):
    """An archive of five dead letters that are gone, one of them no text, and what they were."""
    before = [*dead_letters(4), dead_letter(5, body=b"\xff{", name="garbled")]
    desk.put(*before)
    desk.dlq("purge", "--archive", place / "purged.jsonl", "--confirm", "purge 5")
    return before


def test_what_was_purged_can_be_put_back_as_it_was_under_new_ids(desk, place, purged):
    said = desk.dlq("import", place / "purged.jsonl", "--yes", "--json")

    after = desk.queues.dead_letters
    assert said.json == {"read": 5, "arrived": 5, "known": 0, "dropped": 0}
    assert [each.body for each in after] == [each.body for each in purged]
    assert [each.properties["DeadLetterReason"] for each in after] == ["RetriesExhausted"] * 5
    assert not {each.message_id for each in after} & {each.message_id for each in purged}


@pytest.mark.usefixtures("purged")
def test_an_archive_that_was_cut_off_says_in_which_line(desk, place):
    archive = place / "purged.jsonl"
    archive.write_bytes(archive.read_bytes()[:-20])

    said = desk.dlq("import", archive, "--yes")

    assert said.code == 2
    assert "cannot be read: Invalid JSON: EOF" in said.err
    assert desk.queues.dead_letters == []


def test_putting_it_back_twice_adds_nothing_and_says_so(desk, place, purged):
    desk.dlq("import", place / "purged.jsonl", "--yes")

    said = desk.dlq("import", place / "purged.jsonl", "--yes")

    assert said.code == 0
    assert "0 dead letters put back.\n5 are in the queue already and were left out." in said.out
    assert len(desk.queues.dead_letters) == len(purged)


def test_what_was_exported_and_never_left_is_not_put_back_a_second_time(desk, place):
    desk.put(*dead_letters(2))
    desk.dlq("export", "--reveal", "-o", place / "all.jsonl")

    said = desk.dlq("import", place / "all.jsonl", "--yes", "--json")

    assert said.json == {"read": 2, "arrived": 0, "known": 2, "dropped": 0}
    assert len(desk.queues.dead_letters) == 2


def test_what_the_broker_takes_for_a_duplicate_is_not_called_put_back(desk, place, purged):
    desk.dlq("import", place / "purged.jsonl", "--yes")
    desk.dlq("purge", "--confirm", "purge 5")

    said = desk.dlq("import", place / "purged.jsonl", "--yes")

    assert said.code == 1
    assert "5 were taken for duplicates by the broker and are not in the queue" in said.out
    assert desk.queues.duplicates[Queue.DEAD_LETTERS] == len(purged)


def test_an_import_asks_first(desk, place, purged):
    said = desk.dlq("import", place / "purged.jsonl")

    assert said.code == 3
    assert f"Put {len(purged)} dead letters back into opt-ins-dead-letter?" in said.err
    assert desk.queues.dead_letters == []


def test_an_archive_with_masked_numbers_is_refused(desk, place):
    desk.put(dead_letter(1))
    (place / "masked.jsonl").write_text(desk.dlq("export").out)

    said = desk.dlq("import", place / "masked.jsonl", "--yes")

    assert said.code == 2
    assert "line 1 of the archive is masked" in said.err


def test_an_archive_that_is_not_there_is_a_wrong_call(desk, place):
    assert desk.dlq("import", place / "missing.jsonl", "--yes").code == 2


@pytest.mark.usefixtures("purged")
def test_no_change_writes_a_number_into_the_trail(desk, place):
    desk.dlq("export", "--reveal", "-o", place / "more.jsonl", "--to", "+15550000001")
    desk.dlq("import", place / "purged.jsonl", "--yes")

    assert {line["command"] for line in desk.trail} == {"purge", "export", "import"}
    assert "+1555000" not in json.dumps(desk.trail)


async def test_on_the_broker_a_purge_and_an_import_come_out_even(bus, place):
    bus.fill(*(current(number) for number in range(1, 4)), current(4, body=b"\xff{"))
    before = [each.message.body for each in bus.dead_letters.messages()]

    purged = await bus("dlq", "purge", "--archive", place / "kept.jsonl", "--confirm", "purge 4")
    gone = len(bus.dead_letters)
    back = await bus("dlq", "import", place / "kept.jsonl", "--yes", "--json")

    assert (purged.code, gone) == (0, 0)
    assert back.json == {"read": 4, "arrived": 4, "known": 0, "dropped": 0}
    assert [each.message.body for each in bus.dead_letters.messages()] == before
    assert await bus.locked() == 0


# --- the last days -------------------------------------------------------------------------------------------------


def ageing(**seconds):
    """The queues of infra/queues.json, some with messages that live for so many seconds."""
    return {
        name: replace(each, default_message_time_to_live=timedelta(seconds=seconds[part]))
        if (part := name.rpartition("-")[2]) in seconds
        else each
        for name, each in queues().items()
    }


async def test_a_dead_letter_moves_on_to_its_last_days_and_there_the_tool_reaches_it(place):
    async with open_bus(place, ageing(letter=0.2)) as bus:
        ending = bus.broker.queue("opt-ins-dead-letter-ending")
        bus.fill(current(1, "RetriesExhausted", PERSON), current(2, "RetriesExhausted", OTHER))
        await bus.broker.wait_until(lambda: len(ending) == 2)

        summed = await bus("dlq", "summary", "--ending", "--json")
        listed = await bus("dlq", "list", "--ending", "--json")
        shown = await bus("dlq", "show", "1", "--ending")
        exported = await bus("dlq", "export", "--ending", "--to", PERSON, "--reveal", "-o", place / "kept.jsonl")
        purged = await bus("dlq", "purge", "--ending", "--to", PERSON, "--confirm", "purge 1", "--json")

        assert [each["count"] for each in summed.json] == [2]
        assert [each["reason"] for each in listed.json] == ["TTLExpiredException"] * 2
        assert "Replay       never" in shown.out
        assert (exported.code, purged.json["removed"]) == (0, 1)
        assert PERSON in (place / "kept.jsonl").read_text()
        assert (len(ending), len(bus.dead_letters)) == (1, 0)


async def test_after_its_last_day_a_dead_letter_is_nowhere(place):
    async with open_bus(place, ageing(letter=0.1, ending=0.1)) as bus:
        bus.bury(1, 2, 3)
        kept = [bus.opt_ins, bus.dead_letters, bus.broker.queue("opt-ins-dead-letter-ending")]
        await bus.broker.wait_until(lambda: not any(map(len, kept)))

        assert [queue.dead_lettered for queue in kept] == [0, 0, 0]


# --- edit ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def editor(desk, place):
    """Set $EDITOR to a program that runs a line of Python over the file's `text`."""

    def setting(code):
        script = place / "editor.py"
        script.write_text(
            "import sys, pathlib\nfile = pathlib.Path(sys.argv[1])\ntext = file.read_text()\n"
            f"{code}\nfile.write_text(text)\n"
        )
        desk.environ["EDITOR"] = f"{sys.executable} {script}"

    return setting


def misspelt(number):
    """A dead letter whose event has `identity` in place of `id`."""
    body = wire(canonical(PERSON, id=f"e{number}")).replace(b'"id"', b'"identity"')
    return dead_letter(number, "MalformedEvent", body=body)


def test_an_edited_dead_letter_is_sent_in_its_place_under_a_new_id(desk, editor):
    desk.put(misspelt(1), dead_letter(2))
    editor("text = text.replace('identity', 'id')")

    said = desk.dlq("edit", "1", "--yes")

    [sent] = desk.queues.opt_ins
    assert said.code == 0
    assert json.loads(sent.body)["id"] == "e1"
    assert "DeadLetterReason" not in sent.properties
    assert sent.properties["optout-replay-count"] == 1
    assert desk.queues.numbers == [2]
    assert [line["step"] for line in desk.trail] == ["begin", "sending", "sent", "end"]


def test_the_difference_is_shown_with_masked_numbers(desk, editor):
    desk.put(misspelt(1))
    editor("text = text.replace('identity', 'id')")

    said = desk.dlq("edit", "1", "--yes")

    assert '-{"specversion": "1.0"' in said.err
    assert '+{"specversion": "1.0"' in said.err
    assert "5555551" not in said.err + said.out


def test_a_difference_that_is_only_in_the_numbers_is_said_to_be(desk, editor):
    desk.put(dead_letter(1, "RecipientRejected", "+15555550051"))
    editor("text = text.replace('+15555550051', '+15555960051')")

    said = desk.dlq("edit", "1", "--yes", "--fixed")

    assert "The difference is in the numbers, which are masked here." in said.err
    assert len(desk.queues.opt_ins) == 1


@pytest.mark.parametrize(
    ("code", "exit_code", "told"),
    [
        ("pass", 0, "Nothing was changed, and nothing sent."),
        ("text += '\\n'", 0, "Nothing was changed, and nothing sent."),
        ("text = '{'", 3, "it cannot be read: not JSON"),
        ("sys.exit(1)", 2, "failed"),
    ],
)
def test_an_edit_that_comes_to_nothing_changes_nothing(desk, editor, code, exit_code, told):
    desk.put(dead_letter(1))
    editor(code)

    said = desk.dlq("edit", "e1", "--yes")

    assert said.code == exit_code
    assert told in said.out + said.err
    assert (desk.queues.opt_ins, desk.queues.numbers, desk.queues.locked) == ([], [1], set())


def test_a_dead_letter_that_another_session_holds_is_not_edited(desk, editor):
    desk.put(misspelt(1))
    desk.queues.locked = {1}
    editor("text = text.replace('identity', 'id')")

    said = desk.dlq("edit", "1", "--yes")

    assert said.code == 1
    assert "dead letter 1 is gone, or held by another session; nothing was sent" in said.err
    assert desk.queues.opt_ins == []


def test_an_edit_whose_lock_is_lost_after_sending_says_what_to_remove(desk, editor):
    desk.put(misspelt(1))
    desk.queues.lost_locks = {1}
    editor("text = text.replace('identity', 'id')")

    said = desk.dlq("edit", "1", "--yes")

    assert said.code == 1
    assert (
        "but dead letter 1 is still there: its lock was lost; remove it with `optout dlq purge --number 1`" in said.err
    )
    assert len(desk.queues.opt_ins) == 1


def test_an_edit_after_which_it_waits_for_a_fix_needs_the_word_that_it_is_fixed(desk, editor):
    desk.put(dead_letter(1, "RecipientRejected"))
    editor("text = text.replace('+15550000001', '+15550000002')")

    refused, sent = desk.dlq("edit", "1", "--yes"), desk.dlq("edit", "1", "--yes", "--fixed")

    assert refused.code == 3
    assert "it may not be sent (after a fix)" in refused.err
    assert "if it is mended now, say --fixed" in refused.err
    assert sent.code == 0


def test_properties_are_edited_as_json_and_keep_their_types(desk, editor):
    desk.put(dead_letter(1, shop="a", large=2**40, uuid=UUID(int=7)))
    editor('text = text.replace(\'"shop": "a"\', \'"shop": "b"\')')

    said = desk.dlq("edit", "1", "--yes", "--properties", "--json")

    [message] = desk.queues.opt_ins
    assert said.code == 0
    assert (message.properties["shop"], message.properties["large"], message.properties["uuid"]) == (
        "b",
        2**40,
        UUID(int=7),
    )
    assert message.properties["optout-replay-id"] == said.json["replay"]


def test_an_edit_of_the_properties_leaves_out_what_cannot_be_written(desk, editor):
    desk.put(structs.replace(dead_letter(1, shop="a"), unread={"amount": "decimal128"}))
    editor("text = text.replace('\"a\"', '\"b\"')")

    assert desk.dlq("edit", "1", "--yes", "--properties").code == 0


@pytest.mark.parametrize("text", ["[]", "{", '{"a": {}}'])
def test_properties_that_cannot_be_read_are_refused(desk, editor, text):
    desk.put(dead_letter(1))
    editor(f"text = {text!r}")

    said = desk.dlq("edit", "1", "--yes", "--properties")

    assert said.code == 2
    assert "the properties cannot be read" in said.err


def test_what_becomes_of_an_edited_dead_letter_can_be_followed(desk, editor):
    desk.put(dead_letter(1, "MalformedEvent", body=b"x"))
    editor(f"text = {dead_letter(1).body.decode()!r}")
    run = desk.dlq("edit", "1", "--yes", "--json").json["replay"]

    status = desk.dlq("status", run, "--json").json

    assert (status["sent"], status["untried"], status["known"]) == (1, 1, True)


def test_without_a_terminal_no_editor_waits_for_keys(desk):
    desk.put(dead_letter(1))

    said = desk.dlq("edit", "1")

    assert said.code == 2
    assert "there is no terminal for vi, and EDITOR names no other editor; nothing was changed" in said.err
