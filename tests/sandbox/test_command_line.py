"""What a user sees of `python -m sandbox`."""

import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from optout_core.masking import Untrusted
from sandbox.publishing import Publication
from sandbox.watch import SeenDeadLetter, Watch
from servicebus_sandbox import Broker, load_queues

ROOT = Path(__file__).parents[2]
NUMBER = re.compile(r"\+1\d{10}")

ONE = {"from": "+18001234567", "recipients": [{"to": "+14255550123"}]}


def canonical(event_id: str, *recipients: str, **attributes: object) -> dict[str, object]:
    return {
        "specversion": "1.0",
        "type": "sms.opt-in.v1",
        "source": "urn:test",
        "id": event_id,
        "data": {"from": "+18001234567", "recipients": [{"to": to} for to in recipients]},
        **attributes,
    }


def test_the_samples_end_as_their_readme_says_and_every_recipient_is_reported_once(sandbox):
    ran = sandbox("--json", "--reveal", "--events", "samples")

    assert ran.code == 0
    assert ran.outcomes() == {
        "+15555555551": ("removed", None),
        "+123": ("dead_lettered", "RecipientRejected"),
        "+15555555553": ("dead_lettered", "RetriesExhausted"),
        "+14255550111": ("removed", None),
        "+14255550112": ("removed", None),
        "+14255550113": ("removed", None),
        "+14255550114": ("removed", None),
        "+14255550115": ("removed", None),
        "+14255550117": ("removed", None),
        "+15550000000": ("dead_lettered", "RecipientRejected"),
        "+14255550118": ("removed", None),
        "+14255550119": ("dead_lettered", "StaleOptIn"),
        # of these the last word is shown
        "+14255550121": ("dead_lettered", "NewerOptOut"),
        "+14255550122": ("removed", None),
        "+14255550123": ("added", None),
    }
    assert len(ran.report["recipients"]) == 18
    assert Counter(event["result"] for event in ran.report["events"].values()) == {
        "decoded": 10,
        "recorded": 3,
        "ignored": 1,
        "dead_lettered": 2,
    }
    assert Counter(dead["reason"] for dead in ran.report["dead_letters"]) == {
        "RecipientRejected": 2,
        "RetriesExhausted": 1,
        "StaleOptIn": 1,
        "NewerOptOut": 1,
        "MalformedEvent": 1,
        "UnsupportedEvent": 1,
    }


def test_the_demonstration_shows_what_the_ledger_does(sandbox):
    ran = sandbox("--json", "--reveal", "--events", "samples")

    said = {(each["event"], each["to"][-4:]): (each["outcome"], each["consent"]) for each in ran.report["recipients"]}
    assert {name: what for (name, to), what in said.items() if to in {"0121", "0122", "0123", "0111"}} == {
        "preference-7f3a": ("removed", ["already_applied"]),
        "Incoming_2026012300-11": ("added", []),
        "preference-in-14": ("dead_lettered", ["blocked"]),
        "preference-out-12": ("added", []),
        "preference-in-15": ("removed", ["asserted_again"]),
        "preference-in-13": ("removed", []),
        "preference-out-16": ("added", ["asserted_again"]),
    }
    statuses = ran.report["metrics"]["optout.requests"]["points"]
    assert sum(each["value"] for each in statuses if each["attributes"]["operation"] == "add") == 3


def test_the_example_of_the_api_reference_is_tried_as_often_as_the_schedule_says(sandbox):
    ran = sandbox("--json", "--reveal", "--events", "samples/01-api-reference.json")

    assert {each["to"]: each["attempts"] for each in ran.report["recipients"]} == {
        "+15555555551": 1,
        "+123": 1,
        "+15555555553": 3,
    }
    assert ran.report["requests"] == {"count": 3, "statuses": {"200": 3}}
    points = ran.report["metrics"]["optout.recipients"]["points"]
    assert {"attributes": {"outcome": "removed", "reason": ""}, "value": 1} in points


def test_without_json_a_person_reads_what_happened_and_no_number(sandbox):
    ran = sandbox()

    assert ran.code == 0
    assert "+1555•••5551" in ran.out
    assert "Done. 16 events, 18 recipients: 10 removed, 3 added, 0 waiting, 5 dead-lettered" in ran.out.replace(
        "\n", " "
    )
    assert not NUMBER.search(ran.out + ran.err)
    words = " ".join(ran.out.split())
    assert "+1425•••0111 removed published twice under one id: sent once" in words
    assert re.search(r"optout\.waiting\.age mean of [0-9]+ values?: [0-9.e-]+ s", words)


def test_a_newer_word_that_stands_is_told_apart_from_an_event_published_twice(sandbox, tmp_path):
    (tmp_path / "then").mkdir()
    (tmp_path / "a.json").write_text(json.dumps(canonical("newer", "+14255550123", time="$NOW-4m")))
    (tmp_path / "then" / "b.json").write_text(json.dumps(canonical("older", "+14255550123", time="$NOW-5m")))

    ran = sandbox("--events", str(tmp_path))

    words = " ".join(ran.out.split())
    assert "older +1425•••0123 removed not sent: the list says so, or a newer word stands" in words
    assert "published twice" not in words


def test_reports_mask_numbers_unless_told_to_reveal_them(sandbox, write):
    ran = sandbox("--json", "--events", write("one.json", ONE))

    assert ran.report["recipients"][0]["to"] == "+1425•••0123"
    assert not NUMBER.search(ran.out + ran.err)


def test_settings_and_proxies_of_the_shell_do_not_lead_the_function_astray(sandbox, write):
    nowhere = "http://127.0.0.1:9"

    ran = sandbox(
        *("--json", "--reveal", "--events", write("one.json", ONE)),
        ServiceBusConnection__fullyQualifiedNamespace="elsewhere.example",
        HTTP_PROXY=nowhere,
        ALL_PROXY=nowhere,
    )

    assert ran.outcomes() == {"+14255550123": ("removed", None)}


async def test_a_second_run_against_the_same_namespace_is_no_duplicate_of_the_first(sandbox, write):
    file = write("one.json", ONE)
    async with Broker(load_queues(ROOT / "infra" / "queues.json")) as broker:
        arguments = ("--json", "--reveal", "--events", file, "--broker", broker.connection_string)
        first = await asyncio.to_thread(sandbox, *arguments)
        second = await asyncio.to_thread(sandbox, *arguments)

    assert first.outcomes() == second.outcomes() == {"+14255550123": ("removed", None)}


def test_an_empty_path_is_refused_and_not_taken_for_this_folder(sandbox):
    ran = sandbox("--events", "")

    assert ran.code == 2
    assert "--events is empty" in ran.err


def test_no_event_hides_another_of_the_same_name(sandbox, tmp_path):
    tmp_path.joinpath("e1.json").write_text("{garbled")
    tmp_path.joinpath("e2.jsonl").write_text(json.dumps(canonical("e1", "+14255550123")))
    tmp_path.joinpath("e3.jsonl").write_text(
        "\n".join(json.dumps(canonical(f"+1555{digit}995551", "+14255550124")) for digit in range(2))
    )

    ran = sandbox("--json", "--events", str(tmp_path))

    assert Counter(event["result"] for event in ran.report["events"].values()) == {"decoded": 3, "dead_lettered": 1}


def test_lines_on_standard_input_are_events(sandbox):
    lines = "\n".join(json.dumps(canonical(f"e{number}", f"+1425555{number:04}")) for number in range(3))

    ran = sandbox("--json", "--events", "-", stdin=lines)

    assert list(ran.report["events"]) == ["e0", "e1", "e2"]
    assert {each["outcome"] for each in ran.report["recipients"]} == {"removed"}


def test_ten_thousand_events_of_one_recipient_cost_about_a_hundred_calls(sandbox, write):
    events = [canonical(f"e{number}", f"+1425{number:07}") for number in range(10_000)]

    ran = sandbox("--json", "--reveal", "--events", write("many.jsonl", *events))

    assert len(ran.outcomes()) == len(ran.report["recipients"]) == 10_000
    assert set(ran.outcomes().values()) == {("removed", None)}
    assert 100 <= ran.report["requests"]["count"] <= 110


def test_a_wrong_key_ends_in_a_clear_line_and_every_recipient_in_the_dead_letter_queue(sandbox, write):
    ran = sandbox("--events", write("one.json", ONE), "--access-key", "d3Jvbmc=")

    assert ran.code == 0
    assert "ACS refuses us (HTTP 401: Denied" in ran.out
    assert "RequestRefused" in ran.out
    assert "d3Jvbmc=" not in ran.out + ran.err
    words = " ".join(ran.out.split())
    assert "Done, but ACS refused us." in words
    assert "1 recipient is a dead letter as RequestRefused, and the list was not changed for it" in words
    assert "check the endpoint and the key; nothing is lost" in words
    assert "what each person said last" not in words


def test_a_ledger_that_fails_is_what_one_is_told_to_check(sandbox, write, tmp_path):
    (tmp_path / "ledger.db").write_text("no database" * 99)

    ran = sandbox(
        *("--events", write("one.json", ONE), "--timeout", "2"), CONSENT_LEDGER=f"sqlite:///{tmp_path}/ledger.db"
    )

    words = " ".join(ran.out.split())
    assert ran.code == 1
    assert "Not done: the ledger gave no answer." in words
    assert "Check CONSENT_LEDGER, or give it longer with --timeout." in words
    assert "Check the endpoint" not in words


def test_a_dead_endpoint_leaves_every_recipient_waiting_and_says_so(sandbox, write, unused_tcp_port):
    ran = sandbox(
        *("--events", write("one.json", ONE), "--timeout", "2"),
        *("--endpoint", f"http://127.0.0.1:{unused_tcp_port}", "--access-key", "d3Jvbmc="),
    )

    assert ran.code == 1
    assert "Not done: ACS gave no answer." in ran.out
    assert "next try at" in ran.out
    assert "Nothing is lost" in ran.out


def test_a_garbled_event_is_dead_lettered_and_its_neighbour_is_not_held_up(sandbox, write, tmp_path):
    (tmp_path / "garbled.bin").write_bytes(b"\xff\xfe{")

    ran = sandbox("--json", "--reveal", "--events", str(tmp_path / "garbled.bin"), "--events", write("one.json", ONE))

    assert ran.code == 0
    assert ran.outcomes() == {"+14255550123": ("removed", None)}
    assert ran.report["events"]["garbled"] == {"form": "unknown", "result": "dead_lettered"}
    assert ran.report["dead_letters"][0]["description"].startswith("not UTF-8")


def test_a_fault_file_decides_what_goes_wrong(sandbox, write):
    faults = write("faults.json", [{"to": "+14255550123", "items": [{"httpStatusCode": 404, "errorMessage": "gone"}]}])

    ran = sandbox("--json", "--reveal", "--events", write("one.json", ONE), "--faults", faults)

    assert ran.outcomes() == {"+14255550123": ("dead_lettered", "RecipientRejected")}


def test_app_settings_of_the_environment_count(sandbox, write):
    ran = sandbox("--json", "--events", write("one.json", ONE), ALLOWED_SENDERS="+18009999999")

    assert [each["reason"] for each in ran.report["recipients"]] == ["SenderNotAllowed"]


def test_two_files_of_the_same_name_are_two_events(sandbox, write, tmp_path):
    (tmp_path / "again").mkdir()
    (tmp_path / "again" / "one.json").write_text(json.dumps(ONE))

    ran = sandbox("--json", "--events", write("one.json", ONE), "--events", str(tmp_path / "again"))

    assert list(ran.report["events"]) == ["one", "one~2"]
    assert len(ran.report["recipients"]) == 2


@pytest.mark.parametrize(
    ("arguments", "environment", "text"),
    [
        (("--events", "no-such-file"), {}, "Error: no-such-file cannot be read: No such file or directory\n"),
        (("--endpoint", "http://127.0.0.1:9"), {}, "--endpoint on loopback needs --access-key, or ACS_ACCESS_KEY"),
        (("--endpoint", "http://example.com"), {}, "ACS_ENDPOINT must start with https://"),
        (("--broker", "rubbish"), {}, "Connection string"),
        ((), {"OPT_IN_MAX_AGE": "soon"}, "OPT_IN_MAX_AGE must be a duration such as PT30S"),
        (("--faults", "README.md"), {}, "README.md"),
        (("--seed", "x"), {}, "--seed"),
    ],
)
def test_a_wrong_call_is_one_line_and_exit_code_2(sandbox, arguments, environment, text):
    ran = sandbox(*arguments, **environment)

    assert (ran.code, ran.out) == (2, "")
    assert text in ran.err
    assert "Traceback" not in ran.err


@pytest.mark.parametrize("arguments", [("up", "--broker-port"), ("up", "--endpoint-port"), ("broker", "--port")])
def test_a_port_that_is_in_use_is_named_in_one_line(sandbox, arguments):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        ran = sandbox(*arguments, port)

    assert (ran.code, ran.out) == (2, "")
    said = " ".join(ran.err.split())
    assert said == f"Error: port {port} is in use: end what listens there, or leave the option out for a free one"


def test_a_broker_out_of_reach_is_exit_code_4(sandbox, unused_tcp_port):
    nobody = f"Endpoint=sb://127.0.0.1:{unused_tcp_port};SharedAccessKeyName=a;SharedAccessKey=b"

    ran = sandbox("--broker", f"{nobody};UseDevelopmentEmulator=true")

    assert ran.code == 4
    assert "the broker cannot be reached" in ran.err
    assert "Traceback" not in ran.err


def test_a_mistyped_queue_is_named_and_not_taken_for_a_missing_right(sandbox):
    ran = sandbox(DEAD_LETTER_QUEUE="opt-ins-dead-leter")

    assert ran.code == 4
    assert "no such queue; check OPT_IN_QUEUE and DEAD_LETTER_QUEUE" in ran.err
    assert "Traceback" not in ran.err


@pytest.mark.parametrize(
    ("command", "first"),
    [
        ("up", "OPT_IN_QUEUE=opt-ins\n"),
        ("broker", "ServiceBusConnection=Endpoint=sb://127.0.0.1:"),
        ("endpoint", "ACS_ENDPOINT=http://127.0.0.1:"),
    ],
)
def test_a_part_that_stays_up_prints_what_a_shell_takes_and_ends_quietly_with_ctrl_c(command, first):
    with subprocess.Popen(
        [sys.executable, "-m", "sandbox", command], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        shell = subprocess.run(
            ["/bin/sh", "-c", f"{process.stdout.readline()}\nenv"], env={}, capture_output=True, text=True, check=True
        )
        assert f"\n{first}" in f"\n{shell.stdout}"
        assert command != "broker" or "UseDevelopmentEmulator=true;" in shell.stdout
        os.kill(process.pid, signal.SIGINT)
        _, err = process.communicate(timeout=30)

    assert process.returncode == 0
    assert "Traceback" not in err


def test_ctrl_c_ends_a_run_with_130_and_one_line(unused_tcp_port):
    nobody = ("--endpoint", f"http://127.0.0.1:{unused_tcp_port}", "--access-key", "AAAA")
    with subprocess.Popen(
        [sys.executable, "-u", "-m", "sandbox", *nobody, "--timeout", "60", "--json"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        # The first line about a dead letter: from here on the run is under way.
        assert "dead letters" in process.stderr.readline()
        os.kill(process.pid, signal.SIGINT)
        _, err = process.communicate(timeout=30)

    assert process.returncode == 130
    assert "Interrupted" in err
    assert "Traceback" not in err


def test_what_a_publisher_wrote_is_masked_and_does_not_steer_the_terminal(sandbox, write, tmp_path):
    event = canonical("call +14255550123 \u001b[31m", "+14255550124", time="2020-01-01T00:00:00Z")
    path = write("one.json", event)
    (tmp_path / "bad.json").write_text("{")
    (tmp_path / "bad.properties.json").write_text(json.dumps({"subject": "/phonenumber/+14255550125"}))

    shown = sandbox("--events", path)
    report = sandbox("--json", "--events", path, "--events", str(tmp_path / "bad.json"))

    assert not NUMBER.search(shown.out + shown.err + report.out + report.err)
    assert "\u001b" not in shown.out


def test_what_the_broker_dead_lettered_unread_is_no_longer_shown_as_waiting():
    watch = Watch([Publication("unread", b"{")])
    reason = "MaxDeliveryCountExceeded"

    watch.take_over(
        SeenDeadLetter(
            reason=Untrusted(reason),
            description=Untrusted(""),
            words=(),
            message_id=Untrusted("unread"),
            properties={},
        )
    )

    assert watch.events[Untrusted("unread")].result == "dead_lettered"


def test_a_message_that_fills_the_limit_does_not_take_its_neighbour_with_it(sandbox, write, tmp_path):
    (tmp_path / "brim.bin").write_bytes(b"x" * 262_050)

    ran = sandbox("--json", "--reveal", "--events", str(tmp_path / "brim.bin"), "--events", write("one.json", ONE))

    assert ran.outcomes() == {"+14255550123": ("removed", None)}
    assert [dead["properties"]["optout-part"] for dead in ran.report["dead_letters"]] == ["1 of 2", "2 of 2"]
    assert ran.report["requests"]["count"] == 1
