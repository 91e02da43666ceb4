"""`python -m sandbox up`: what it says line by line, and how it ends."""

import re
import shlex
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
from azure.servicebus import ServiceBusClient, ServiceBusMessage

from tests.build import bare, wire
from tests.disguises import DIGITS, DISGUISES, digits
from tests.sandbox.conftest import ROOT

NUMBER = re.compile(r"\+1\d{10}")
STAYING = ["up", "broker", "endpoint"]


class Up:
    """A command that stays up, as whoever started it sees it."""

    def __init__(self, process):
        self.process = process
        self.said = []
        self._reading = threading.Thread(target=self._read)
        self._reading.start()

    def _read(self):
        self.said.extend(iter(self.process.stdout.readline, ""))

    def until(self, text, patience=20):
        """Wait until a line holds a text."""
        latest = time.monotonic() + patience
        while not any(text in line for line in tuple(self.said)):
            assert time.monotonic() < latest, f"nobody said {text!r}: {self.said}"
            time.sleep(0.02)

    @property
    def settings(self):
        """What the export lines say."""
        words = [shlex.split(line) for line in self.said if line.startswith("export ")]
        return dict(setting.partition("=")[::2] for _, setting in words)

    @property
    def lines(self):
        """What was said of what happened."""
        return [line for line in self.said if re.match(r"\d\d:\d\d:\d\d\.\d{3}Z  ", line)]

    def publish(self, body, message_id="m0", queue="opt-ins"):
        client = ServiceBusClient.from_connection_string(self.settings["ServiceBusConnection"])
        with client, client.get_queue_sender(queue) as sender:
            sender.send_messages(ServiceBusMessage(body, message_id=message_id))

    def end(self, number=signal.SIGTERM, patience=30):
        """Send a signal, and give exit code and standard error."""
        self.process.send_signal(number)
        return self.ended(patience)

    def ended(self, patience=30):
        code = self.process.wait(patience)
        self._reading.join()
        return code, self.process.stderr.read()


def started(command, **popen):
    """Start a program of which everything is read."""
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **popen)


@contextmanager
def staying(*arguments, until="export ServiceBusConnection", **environ):
    command = [sys.executable, "-W", "error", "-m", "sandbox", *arguments]
    environment = {"PATH": "", "COLUMNS": "120"} | environ
    with started(command, env=environment) as process:
        try:
            up = Up(process)
            up.until(until)
            yield up
        finally:
            process.kill()


def test_each_recipient_and_each_request_has_a_line_as_it_happens():
    with staying("up") as up:
        up.publish(wire(bare("+15555555551", "+123", "+15555555553")), message_id="again")
        up.publish(b"{", message_id="call +15555550199")
        up.until("RetriesExhausted  again")
        code, _ = up.end()

    said = [" ".join(line.split()[1:]) for line in up.lines]
    assert code == 0
    assert "removed +1555•••5551 from +1800•••4567 1 try again" in said
    assert "dead-lettered +123 from +1800•••4567 RecipientRejected again" in said
    assert "dead-lettered +1555•••5553 from +1800•••4567 RetriesExhausted again" in said
    assert any(re.match(r"waiting \+1555•••5553 .* next try at \S+Z, 1 try used up again", line) for line in said)
    assert any(
        re.match(r"request :remove HTTP 200 from \+1800•••4567 \+1555•••5551, .* in \d+ ms", line) for line in said
    )
    assert "dead-lettered unknown MalformedEvent call +1555•••0199" in said
    assert not NUMBER.search("".join(up.lines))


def test_a_request_of_anybody_has_a_line_that_shows_no_number_and_steers_no_terminal():
    with staying("up", "--no-function") as up:
        address = up.settings["ACS_ENDPOINT"]
        for disguise in DISGUISES.values():
            subprocess.run(
                [sys.executable, "-c", POST, f"{address}/sms/optouts:remove?api-version=2026-01-23"],
                input=wire(bare(disguise, sender=f"{disguise}\u001b[31m")),
                check=True,
            )
        up.until("HTTP 401")
        time.sleep(0.2)
        up.end()

    assert len(up.lines) == len(DISGUISES)
    assert [line for line in up.lines if DIGITS in digits(line) or "\u001b" in line] == []


POST = """
import sys, urllib.request, urllib.error
request = urllib.request.Request(sys.argv[1], sys.stdin.buffer.read(), {"Content-Type": "application/json"})
try:
    urllib.request.urlopen(request)
except urllib.error.HTTPError as error:
    assert error.code == 401
"""


def test_without_the_function_each_dead_letter_that_comes_in_has_a_line():
    with staying("up", "--no-function") as up:
        up.publish(wire(bare("+15555555551")), queue="opt-ins-dead-letter")
        up.until("+1555•••5551")
        up.end()

    assert [" ".join(line.split()[1:]) for line in up.lines] == ["dead letter +1555•••5551 m0"]


def test_quiet_says_the_settings_and_nothing_of_what_happens():
    with staying("up", "--quiet") as up:
        up.publish(wire(bare("+15555555551")))
        time.sleep(1)
        code, err = up.end()

    assert code == 0
    assert all(line.startswith("export ") for line in up.said)
    assert err.splitlines()[0].startswith("Up. ")


def test_a_drill_is_there_before_the_settings_are_said():
    with staying("up", "--fill", "30", "--no-function") as up:
        settings = up.settings
        client = ServiceBusClient.from_connection_string(settings["ServiceBusConnection"])
        with client, client.get_queue_receiver(settings["DEAD_LETTER_QUEUE"]) as receiver:
            found = receiver.peek_messages(250, sequence_number=1)
        _, err = up.end()

    assert len(found) == 30
    assert "30 dead letters lie in opt-ins-dead-letter" in err
    assert up.lines == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
@pytest.mark.parametrize("command", STAYING)
def test_what_stays_up_ends_well_at_every_signal_that_asks_for_it(command, number):
    with staying(command, until="export ") as up:
        time.sleep(0.3)
        code, err = up.end(number)

    assert code == 0
    assert err.splitlines()[-1] == "Ended; the sandbox and all that was in it are gone.", err
    assert "Traceback" not in err


def test_a_signal_lets_the_invocation_under_way_come_to_its_end(write):
    patience = {"INVOCATION_BUDGET": "PT20S", "HTTP_TIMEOUT": "PT10S", "CALL_HORIZON": "PT30S"}
    with staying("up", "--faults", write("slow.json", [{"delay": 2.5}]), **patience) as up:
        up.publish(wire(bare("+15555555551")))
        time.sleep(0.7)
        before = list(up.lines)
        code, err = up.end(signal.SIGTERM)

    assert before == []
    assert code == 0
    assert [line.split()[1] for line in up.lines] == ["request", "removed"]
    assert "Waiting for what is under way" in err


def test_a_second_signal_ends_it_at_once(write):
    with staying("up", "--faults", write("slow.json", [{"delay": 30}])) as up:
        up.publish(wire(bare("+15555555551")))
        time.sleep(0.7)
        up.process.send_signal(signal.SIGTERM)
        time.sleep(0.2)
        started = time.monotonic()
        code, err = up.end(signal.SIGTERM)

    assert code == 128 + signal.SIGTERM
    assert time.monotonic() - started < 5
    assert "Ended at once" in err


def test_what_its_starter_wants_ignored_is_ignored():
    ignore = "import os, signal, sys; signal.signal(signal.SIGHUP, signal.SIG_IGN); os.execv(sys.argv[1], sys.argv[1:])"
    command = [sys.executable, "-c", ignore, sys.executable, "-m", "sandbox", "broker"]
    with started(command) as process:
        assert process.stdout.readline().startswith("export ")
        process.send_signal(signal.SIGHUP)
        time.sleep(0.5)
        assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=20)


@pytest.mark.parametrize("arguments", [("up",), ("up", "--no-function"), ("up", "--fill", "5")], ids=" ".join)
def test_a_mistyped_queue_is_one_line(sandbox, arguments):
    ran = sandbox(*arguments, DEAD_LETTER_QUEUE="opt-ins-dead-leter")

    assert ran.code == 4
    assert ran.err.splitlines()[-1].endswith("no such queue; check OPT_IN_QUEUE and DEAD_LETTER_QUEUE")


def listens(pid):
    """Say whether a process has more sockets than the two of its event loop (Linux; elsewhere it is taken to have)."""
    try:
        opened = [link.readlink() for link in Path(f"/proc/{pid}/fd").iterdir()]
    except OSError:
        return not Path("/proc").exists()
    return sum(str(each).startswith("socket:") for each in opened) > 2


def test_a_signal_ends_the_filling_of_the_queue():
    with started([sys.executable, "-m", "sandbox", "up", "--fill", "100000"]) as process:
        deadline = time.monotonic() + 60
        while not listens(process.pid) and time.monotonic() < deadline:
            time.sleep(0.05)
        process.terminate()
        out, err = process.communicate(timeout=30)

    assert process.returncode == 0
    assert out == ""
    assert err.splitlines()[-1] == "Ended; the sandbox and all that was in it are gone.", err


@pytest.mark.parametrize("command", STAYING)
@pytest.mark.parametrize("quiet", [False, True])
def test_a_reader_that_goes_ends_it_well(command, quiet):
    arguments = [command, *(["--quiet"] if quiet and command == "up" else [])]
    with started([sys.executable, "-m", "sandbox", *arguments]) as process:
        assert process.stdout.readline().startswith("export ")
        process.stdout.close()
        code, err = process.wait(20), process.stderr.read()

    assert code == 0
    assert "nobody reads standard output any more" in err
    assert "Traceback" not in err


@pytest.mark.parametrize("arguments", [("up",), ("broker",), ("endpoint",), ("run",), ("run", "--json")], ids=" ".join)
def test_a_full_disk_is_one_line_and_exit_code_2(arguments):
    with Path("/dev/full").open("w") as full:
        ran = subprocess.run(
            [sys.executable, "-m", "sandbox", *arguments],
            cwd=ROOT,
            stdout=full,
            stderr=-1,
            text=True,
            timeout=60,
            check=False,
        )

    assert ran.returncode == 2
    assert ran.stderr.splitlines()[-1].startswith("Error: standard output cannot be written ([Errno 28] No space left")
    assert "Traceback" not in ran.stderr


def test_nobody_has_to_read_standard_error():
    with Path("/dev/full").open("w") as full:
        ran = subprocess.run(
            [sys.executable, "-m", "sandbox"],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=full,
            text=True,
            timeout=60,
            check=False,
        )

    assert ran.returncode == 0
    assert "nothing is lost" in ran.stdout


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGINT, 130)])
def test_a_run_that_is_interrupted_says_so(number, code, unused_tcp_port):
    nowhere = ("--endpoint", f"http://127.0.0.1:{unused_tcp_port}", "--access-key", "AAAA", "--timeout", "60")
    with started([sys.executable, "-m", "sandbox", "run", "--json", *nowhere]) as process:
        assert "dead letters" in process.stderr.readline()
        process.send_signal(number)
        _, err = process.communicate(timeout=30)

    assert process.returncode == code
    assert err.splitlines()[-1] == "Interrupted; the sandbox and all that was in it are gone."


def test_a_reader_that_stands_still_holds_nothing_up():
    """Half a megabyte of lines is more than a pipe holds."""
    with started([sys.executable, "-m", "sandbox", "up"]) as process:
        settings = [process.stdout.readline() for _ in range(13)]
        [connection] = [shlex.split(line)[1] for line in settings if "ServiceBusConnection" in line]
        people = [f"+1555{number:07}" for number in range(1, 6001)]
        client = ServiceBusClient.from_connection_string(connection.partition("=")[2])
        with client, client.get_queue_sender("opt-ins") as sender, client.get_queue_receiver("opt-ins") as receiver:
            sender.send_messages(ServiceBusMessage(wire(bare(*people)), message_id="m0"))
            latest = time.monotonic() + 20
            while receiver.peek_messages(1, sequence_number=1):
                assert time.monotonic() < latest
                time.sleep(0.1)
        process.terminate()
        out, _ = process.communicate(timeout=30)

    assert len(re.findall("removed .* m0\n", out)) == len(people)
