"""`optout dlq export`, `import`, `edit` and `purge`."""

import json
import sys
from types import SimpleNamespace

import pytest
import pytest_asyncio

from tests.ops.making import dead, event, open_bus, queues


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
    assert archived.back.json == {"read": 5, "arrived": 5, "known": 0}
    assert [each.body for each in archived.after] == [each.body for each in archived.before]
    assert [each.application_properties["DeadLetterReason"] for each in archived.after] == ["RetriesExhausted"] * 5
    assert not {each.message_id for each in archived.after} & {each.message_id for each in archived.before}


def test_putting_it_back_twice_adds_nothing_and_says_so(archived):
    assert archived.again.code == 0
    assert "0 dead letters put back; 5 had been put back before and were not again." in archived.again.out


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
    assert [line["step"] for line in trail()] == ["sending", "sent"]


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
