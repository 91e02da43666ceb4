"""`optout dlq export`, `import`, `edit` and `purge`."""

import json
import sys
from types import SimpleNamespace

import pytest
import pytest_asyncio

from servicebus_sandbox.errors import QuotaExceeded
from tests.ops.making import ROOT, dead, event, open_bus, queues


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def archived(tmp_path_factory):
    """Export, purge and import of one queue, each looked at from outside."""
    place = tmp_path_factory.mktemp("archive")
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("OPTOUT_AUDIT", str(place / "audit.jsonl"))
        async with open_bus(queues(), environment.setenv) as bus:
            bus.bury(4, numbers=("+15555555551",))
            bus.fill([dead(5, body=b"\xff{", name="garbled")])
            before = [each.message for each in bus.dead_letters.messages()]
            one = ("dlq", "purge", "--event", "e2")
            masked, revealed, wrong, unasked = await bus.together(
                ("dlq", "export"),
                ("dlq", "export", "-o", str(place / "all.jsonl"), "--reveal", "--json"),
                (*one, "--archive", str(place / "no.jsonl"), "--confirm", "purge 3"),
                (*one, "--no-export"),
            )
            after_refusal = len(bus.dead_letters)
            archive = str(place / "purged.jsonl")
            purged = await bus("dlq", "purge", "--json", "--archive", archive, "--confirm", "purge 5")
            after_purge = len(bus.dead_letters)
            back = await bus("dlq", "import", archive, "--yes", "--json")
            again = await bus("dlq", "import", archive, "--yes")
            refused = await bus("dlq", "import", str(place / "missing.jsonl"), "--yes")
            (place / "masked.jsonl").write_text(masked.out)
            hidden = await bus("dlq", "import", str(place / "masked.jsonl"), "--yes")
            yield SimpleNamespace(
                place=place,
                before=before,
                masked=masked,
                revealed=revealed,
                wrong=wrong,
                unasked=unasked,
                after_refusal=after_refusal,
                purged=purged,
                after_purge=after_purge,
                back=back,
                again=again,
                refused=refused,
                hidden=hidden,
                after=[each.message for each in bus.dead_letters.messages()],
                trail=[json.loads(line) for line in (place / "audit.jsonl").read_text().splitlines()],
            )


def test_an_export_masks_numbers_unless_they_are_asked_for_and_that_is_written_down(archived):
    lines = (archived.place / "all.jsonl").read_text().splitlines()

    assert archived.masked.code == archived.revealed.code == 0
    assert len(archived.masked.out.splitlines()) == len(lines) == 5
    assert "15555555551" not in archived.masked.out
    assert "+15555555551" in lines[0]
    assert (archived.trail[0]["command"], archived.trail[0]["step"]) == ("export", "reveal")
    assert (archived.place / "all.jsonl").stat().st_mode & 0o777 == 0o600


def test_a_purge_needs_the_very_words(archived):
    assert archived.wrong.code == archived.unasked.code == 3
    assert "--confirm says 'purge 3', and 1 dead letter match" in archived.wrong.err
    assert "Nobody is there to ask" in archived.unasked.err
    assert archived.after_refusal == 5
    assert not (archived.place / "no.jsonl").exists()


def test_a_purge_exports_first_and_removes_all_it_said(archived):
    assert archived.purged.code == 0
    assert archived.purged.json["removed"] == 5
    assert archived.after_purge == 0
    assert len((archived.place / "purged.jsonl").read_text().splitlines()) == 5


def test_what_was_purged_can_be_put_back_as_it_was_under_new_ids(archived):
    assert archived.back.json == {"read": 5, "arrived": 5, "known": 0, "dropped": 0}
    assert [each.body for each in archived.after] == [each.body for each in archived.before]
    assert [each.application_properties["DeadLetterReason"] for each in archived.after] == ["RetriesExhausted"] * 5
    assert not {each.message_id for each in archived.after} & {each.message_id for each in archived.before}


def test_putting_it_back_twice_adds_nothing_and_says_so(archived):
    assert archived.again.code == 0
    assert "0 dead letters put back.\n5 are in the queue already and were left out." in archived.again.out


def test_what_cannot_be_put_back_is_refused(archived):
    assert archived.refused.code == 2
    assert archived.hidden.code == 2
    assert "line 1 of the archive is masked" in archived.hidden.err


def test_every_change_is_in_the_trail_without_a_number(archived):
    assert {line["command"] for line in archived.trail} == {"export", "purge", "import"}
    assert "5555551" not in json.dumps(archived.trail)


def editor(place, code):
    """An editor that runs a line of Python over the file's `text`."""
    script = place / "editor.py"
    script.write_text(
        "import sys, pathlib\nfile = pathlib.Path(sys.argv[1])\ntext = file.read_text()\n"
        f"{code}\nfile.write_text(text)\n"
    )
    return f"{sys.executable} {script}"


async def test_a_mended_dead_letter_is_shown_and_sent_under_a_new_id(bus, place, monkeypatch, trail):
    body = json.dumps(event("e1", ["+15555555551"])).replace('"id"', '"identity"')
    bus.fill([dead(1, "MalformedEvent", body=body), dead(2)])
    monkeypatch.setenv("EDITOR", editor(place, "text = text.replace('identity', 'id')"))

    said = await bus("dlq", "edit", "1", "--yes")

    [sent] = [each.message for each in bus.opt_ins.messages()]
    assert said.code == 0
    assert json.loads(sent.body)["id"] == "e1"
    assert "DeadLetterReason" not in sent.application_properties
    assert sent.application_properties["optout-replay-count"] == 1
    assert '-{"specversion": "1.0"' in said.err
    assert "5555551" not in said.err + said.out
    assert [each.sequence_number for each in bus.dead_letters.messages()] == [2]
    assert [line["step"] for line in trail()] == ["begin", "sending", "sent", "end"]


@pytest.mark.parametrize(
    ("code", "ending"),
    [
        ("pass", (0, "Nothing was changed, and nothing sent.")),
        ("text = '{'", (3, "what you wrote may not be sent: it would come back: not JSON")),
        ("sys.exit(1)", (2, "failed")),
    ],
)
async def test_an_edit_that_comes_to_nothing_changes_nothing(bus, place, monkeypatch, code, ending):
    bus.bury(1)
    monkeypatch.setenv("EDITOR", editor(place, code))

    said = await bus("dlq", "edit", "e1", "--yes")

    exit_code, told = ending
    assert said.code == exit_code
    assert told in said.out + said.err
    assert (len(bus.opt_ins), len(bus.dead_letters), await bus.released()) == (0, 1, 0)


async def test_what_was_exported_and_never_left_is_not_put_back_a_second_time(bus, place):
    bus.bury(2)
    await bus("dlq", "export", "--reveal", "-o", str(place / "all.jsonl"))

    said = await bus("dlq", "import", str(place / "all.jsonl"), "--yes", "--json")

    assert said.json == {"read": 2, "arrived": 0, "known": 2, "dropped": 0}
    assert len(bus.dead_letters) == 2


async def test_what_the_broker_takes_for_a_duplicate_is_not_called_put_back(bus, place):
    bus.bury(2)
    archive = str(place / "kept.jsonl")
    await bus("dlq", "purge", "--archive", archive, "--confirm", "purge 2")
    await bus("dlq", "import", archive, "--yes")
    await bus("dlq", "purge", "--no-export", "--confirm", "purge 2")

    said = await bus("dlq", "import", archive, "--yes")

    assert said.code == 1
    assert "2 were taken for duplicates by the broker and are not in the queue" in said.out


@pytest.mark.parametrize("options", [["--archive", "-"], ["--archive", "x.jsonl", "--no-export"]], ids=str)
async def test_an_archive_that_would_not_be_one_is_refused(bus, options):
    bus.bury(1)

    said = await bus("dlq", "purge", *options, "--confirm", "purge 1")

    assert said.code == 2
    assert len(bus.dead_letters) == 1


async def test_a_command_that_cannot_finish_leaves_no_part_of_a_file(bus, place, monkeypatch):
    monkeypatch.setenv("DEAD_LETTER_QUEUE", "nowhere")
    before = sorted(place.iterdir())

    said = await bus("dlq", "export", "-o", str(place / "all.jsonl"))

    assert said.code == 4
    assert sorted(place.iterdir()) == before


async def test_a_run_that_fails_ends_in_the_audit_trail_too(bus, trail):
    bus.bury(1)
    with bus.broker.fail_sends("opt-ins", QuotaExceeded("the queue opt-ins is full")):
        said = await bus("send", str(ROOT / "samples" / "02-cloud-event.json"))

    assert said.code == 4
    assert [(line["step"], line.get("outcome")) for line in trail()] == [("begin", None), ("end", "failed")]
    assert trail()[0]["namespace"].startswith("127.0.0.1")
