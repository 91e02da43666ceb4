"""What a stranger gets: the command line, the thread, the pytest plugin."""

import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from azure.servicebus import ServiceBusClient, ServiceBusMessage

from servicebus_sandbox import BrokerThread, EntityNotFound, QueueProperties

#: Where the package can be imported from without being installed.
ROOT = Path(__file__).parents[2]


def start(*arguments, **streams):
    command = [sys.executable, "-m", "servicebus_sandbox", *arguments]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | streams
    return subprocess.Popen(command, cwd=ROOT, text=True, **pipes)


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_the_command_line_runs_a_broker_until_it_is_told_to_stop(tmp_path, ending):
    file = tmp_path / "queues.json"
    file.write_text('{"orders": {"properties": {"lockDuration": "PT5S"}}}')
    with start("--queues", str(file), "--queue", "failed") as process:
        assert process.stdout is not None
        connection_string = process.stdout.readline().strip()
        with (
            ServiceBusClient.from_connection_string(connection_string) as client,
            client.get_queue_sender("orders") as sender,
        ):
            sender.send_messages(ServiceBusMessage("order"))
        process.send_signal(ending)
        out, err = process.communicate(timeout=10)

    assert (process.returncode, out) == (0, "")
    assert err == "Up, with the queues failed, orders. Ctrl-C ends it; what is in the queues is gone then.\n"


def test_a_wrong_call_is_answered_in_one_line(tmp_path):
    file = tmp_path / "queues.json"
    file.write_text('{"orders": {"properties": {"colour": "red"}}}')
    for arguments, text in [
        (["--queues", str(file)], "no property colour"),
        (["--queues", str(tmp_path / "none.json")], "No such file"),
        (["--queue", "q", "--tls-certificate", str(file)], "cannot be used"),
        (["--queue", "q", "--tls-certificate", str(tmp_path / "none.pem")], "No such file"),
        (["--queue", "q", "--tls-key", str(file)], "--tls-key needs --tls-certificate"),
    ]:
        with start(*arguments) as process:
            out, err = process.communicate(timeout=10)

        assert (process.returncode, out, err.count("\n")) == (2, "", 1)
        assert text in err
    for arguments in ([], ["--queue", "q", "--port", "99999"]):
        with start(*arguments) as process:
            assert process.wait(timeout=10) == 2


def test_a_second_copy_on_the_same_port_says_so():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        with start("--queue", "q", "--port", port) as process:
            out, err = process.communicate(timeout=10)

    assert (process.returncode, out) == (1, "")
    assert re.fullmatch(
        rf"Error: cannot listen on 127.0.0.1:{port}: .*in use.*; nothing runs; use another --port\n", err
    )


def test_a_closed_pipe_ends_the_command_without_a_traceback():
    reader, writer = os.pipe()
    os.close(reader)
    with start("--queue", "q", stdout=writer) as process:
        os.close(writer)
        _, err = process.communicate(timeout=10)

    assert (process.returncode, err) == (0, "")


def test_a_broker_in_a_thread_is_looked_at_and_waited_for_from_outside():
    with BrokerThread({"q": QueueProperties()}) as broker:
        with (
            ServiceBusClient.from_connection_string(broker.connection_string) as client,
            client.get_queue_sender("q") as sender,
        ):
            sender.send_messages(ServiceBusMessage("x"))
        broker.wait_until(lambda it: it.queue("q").active == 1)

        assert broker.call(lambda it: it.queue("q").active) == 1
        with pytest.raises(EntityNotFound):
            broker.call(lambda it: it.queue("other"))
        with pytest.raises(TimeoutError):
            broker.wait_until(lambda it: it.queue("q").active == 2, timeout=0.01)


def test_a_thread_whose_broker_cannot_start_says_why():
    with BrokerThread({"q": QueueProperties()}) as broker:
        port = broker.call(lambda it: it.port)
        with pytest.raises(OSError, match="in use"):
            BrokerThread({"q": QueueProperties()}, port=port).__enter__()


@pytest.mark.parametrize(("ini", "queue"), [("", "queue"), ("servicebus_queues = queues.json", "orders")])
def test_the_plugin_gives_a_test_a_broker_of_its_own(tmp_path, ini, queue):
    (tmp_path / "pytest.ini").write_text(f"[pytest]\n{ini}\n")
    (tmp_path / "queues.json").write_text('{"orders": {}}')
    (tmp_path / "test_it.py").write_text(
        "def test_it(servicebus_broker):\n"
        f"    assert servicebus_broker.call(lambda it: it.queue({queue!r}).active) == 0\n"
        "    assert 'UseDevelopmentEmulator=true' in servicebus_broker.connection_string\n"
    )
    command = [sys.executable, "-m", "pytest", "-p", "servicebus_sandbox.pytest_plugin", "-q", str(tmp_path)]
    ran = subprocess.run(
        command, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False
    )

    assert ran.returncode == 0, ran.stdout
    assert "1 passed" in ran.stdout
