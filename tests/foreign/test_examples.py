"""Every example publishes what it says: run against the sandbox's broker, and decoded by us.

Not run here: the C# one, which is compiled on GitHub (.github/workflows/ci.yml), and the REST interface itself, which
the sandbox does not have; what curl would send is caught and decoded.
"""

import asyncio
import json
import os
import re
import shutil
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from uuid import uuid4

import pytest
from azure.servicebus import ServiceBusMessage
from azure.servicebus.aio import ServiceBusClient
from azure.servicebus.exceptions import MessageSizeExceededError

from optout_core import events
from optout_core.adapters import received
from optout_core.arrivals import Arrival
from optout_core.events import OptIn, OptOut
from servicebus_sandbox import Broker, load_queues
from tests.build import QUEUES_FILE

ROOT = Path(__file__).parents[2]
EVENTS_PAGE = ROOT / "docs" / "events.md"
EXAMPLES = ROOT / "examples"
NODE = EXAMPLES / "node"
PYTHON = EXAMPLES / "python"

#: More than one transfer holds, less than the broker takes a second.
MANY = 2500
IN_PYTHON = f"""
from datetime import UTC, datetime
import publish
events = [publish.opt_in(["+15555555551"], datetime.now(UTC), f"consents/{{n}}") for n in range({MANY})]
with publish.connect() as client, client.get_queue_sender("opt-ins") as sender:
    publish.send(sender, events + events[:1])
"""
IN_NODE = f"""
import {{ connect, optIn, send }} from "./publish.js";
const events = Array.from({{ length: {MANY} }}, (_, n) => optIn(["+15555555551"], new Date(), `consents/${{n}}`));
const client = connect();
await send(client.createSender("opt-ins"), [...events, events[0]]);
await client.close();
"""


async def ran(*command, cwd, path=os.environ["PATH"], **environment):
    """Run a program to its end, and give what it printed."""
    process = await asyncio.create_subprocess_exec(
        *map(str, command),
        cwd=cwd,
        # Nothing else: the namespace of whoever runs this must not be published to.
        env={"PATH": path, **environment},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        out, err = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    assert process.returncode == 0, err.decode()
    return out.decode()


async def published(*command, cwd):
    """Run a program that publishes; give what it printed, the messages in the queue, and how many were dropped."""
    async with Broker(load_queues(QUEUES_FILE)) as broker:
        printed = await ran(*command, cwd=cwd, ServiceBusConnection=broker.connection_string)
        queue, arrivals = broker.queue("opt-ins"), []
        async with (
            ServiceBusClient.from_connection_string(broker.connection_string) as client,
            client.get_queue_receiver("opt-ins") as receiver,
        ):
            while len(arrivals) < len(queue):
                arrivals += [
                    received.read(received.within(message), datetime.now(UTC))
                    for message in await receiver.peek_messages(250, sequence_number=len(arrivals) + 1)
                ]
        return printed, arrivals, queue.duplicates


def hold(printed, arrivals):
    """Hold what an example published against what its reader is promised."""
    decoded = [
        event for arrival in arrivals for event in events.decode(arrival) if not isinstance(event, events.Ignored)
    ]
    bodies = [json.loads(arrival.body) for arrival in arrivals]
    opt_in, opt_out = decoded[0], decoded[-1]
    assert isinstance(opt_in, OptIn)
    assert isinstance(opt_out, OptOut)
    # The times are of the run, with an offset, and the consent says when, too.
    assert all(timedelta(0) < datetime.now(UTC) - event.time < timedelta(minutes=5) for event in decoded)
    assert all(event.time == datetime.fromisoformat(body["time"]) for event, body in zip(decoded, bodies, strict=True))
    assert opt_in.consent is not None
    assert opt_in.consent.captured_at == opt_in.time
    # Ids are new, MessageIds are made of source and id, and whoever ran it sees the ids.
    assert len({event.id for event in decoded}) == len(decoded)
    for arrival, event in zip(arrivals, decoded, strict=True):
        assert arrival.message_id == sha256(f"{event.source.raw}\n{event.id.raw}".encode()).hexdigest()
    assert [line.split() for line in printed.splitlines()] == [[body["type"], body["id"]] for body in bodies]


@pytest.mark.parametrize("name", ["publish.py", "publish_cloudevents.py"])
async def test_the_example_in_python_publishes_an_opt_in_and_an_opt_out(name):
    printed, arrivals, _ = await published(sys.executable, name, cwd=PYTHON)

    hold(printed, arrivals)


@pytest.mark.timeout(600)
async def test_the_example_in_node_publishes_an_opt_in_and_an_opt_out(node, install):
    await asyncio.to_thread(install, NODE)

    printed, arrivals, _ = await published(node, "publish.js", cwd=NODE)

    hold(printed, arrivals)


async def test_the_example_in_python_fills_transfers_and_what_it_sends_twice_arrives_once():
    _, arrivals, dropped = await published(sys.executable, "-c", IN_PYTHON, cwd=PYTHON)

    assert (len(arrivals), dropped) == (MANY, 1)


@pytest.mark.timeout(600)
async def test_the_example_in_node_fills_transfers_and_what_it_sends_twice_arrives_once(node, install):
    await asyncio.to_thread(install, NODE)

    _, arrivals, dropped = await published(node, "--input-type=module", "--eval", IN_NODE, cwd=NODE)

    assert (len(arrivals), dropped) == (MANY, 1)


@pytest.mark.skipif(not all(map(shutil.which, ("bash", "jq", "openssl"))), reason="needs bash, jq and openssl")
async def test_the_example_for_rest_asks_for_what_the_service_documents(tmp_path):
    for name, does in {"az": 'echo "token for $4"', "curl": 'exec python3 caught.py "$@"'}.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{does}\n")
        (tmp_path / name).chmod(0o755)
    (tmp_path / "caught.py").write_text(CAUGHT)

    printed = await ran(
        EXAMPLES / "rest" / "publish.sh", "contoso", cwd=tmp_path, path=f"{tmp_path}:{os.environ['PATH']}"
    )

    one, several = [json.loads(path.read_text()) for path in sorted(tmp_path.glob("request-*"))]
    for request in (one, several):
        assert request["address"] == "https://contoso.servicebus.windows.net/opt-ins/messages"
        assert request["headers"]["Authorization"] == "Bearer token for https://servicebus.azure.net"
    assert one["headers"]["Content-Type"] == "application/cloudevents+json"
    assert several["headers"]["Content-Type"] == "application/vnd.microsoft.servicebus.json"
    sent = [{"Body": one["body"], "BrokerProperties": json.loads(one["headers"]["BrokerProperties"])}]
    sent += json.loads(several["body"])
    hold(
        printed,
        [
            Arrival(
                body=each["Body"].encode(),
                message_id=each["BrokerProperties"]["MessageId"],
                enqueued_at=datetime.now(UTC),
            )
            for each in sent
        ],
    )


#: What stands in for curl: it writes down what it would send.
CAUGHT = """
import json, pathlib, sys
given = sys.argv[1:]
headers = [value for option, value in zip(given, given[1:]) if option == "--header"]
headers = [pathlib.Path(each[1:]).read_text().rstrip("\\n") if each.startswith("@") else each for each in headers]
request = {
    "address": next(each for each in given if each.startswith("https:")),
    "headers": dict(each.split(": ", 1) for each in headers),
    "body": sys.stdin.read(),
}
number = len(list(pathlib.Path().glob("request-*")))
pathlib.Path(f"request-{number}").write_text(json.dumps(request))
"""


def compact(event):
    return json.dumps(event, separators=(",", ":"))


#: How each row of the contract page writes JSON.
WRITERS: dict[str, Callable[[object], str]] = {
    "JSON.stringify": compact,
    "json.dumps": json.dumps,
    "System.Text.Json": lambda event: compact(event).replace("+", "\\u002B"),
    "indents": lambda event: json.dumps(event, indent=2),
}
FITS = re.findall(r"^\| (.+?) \| ([\d,]+) \| .*\|$", EVENTS_PAGE.read_text(), re.MULTILINE)


async def test_as_many_recipients_fit_a_message_as_the_contract_page_says():
    assert len(FITS) == len(WRITERS)
    async with (
        Broker(load_queues(QUEUES_FILE)) as broker,
        ServiceBusClient.from_connection_string(broker.connection_string) as client,
        client.get_queue_sender("opt-ins") as sender,
    ):
        for row, number in FITS:
            [write] = [write for name, write in WRITERS.items() if name in row]
            fits = int(number.replace(",", ""))
            body = write(with_recipients(fits))

            await sender.send_messages(ServiceBusMessage(body, message_id="x" * 64, content_type="application/json"))

            [event] = events.decode(Arrival(body=body.encode(), enqueued_at=datetime.now(UTC)))
            assert isinstance(event, OptIn)
            assert len(event.recipients) == fits
            with pytest.raises(MessageSizeExceededError):
                await sender.send_messages(ServiceBusMessage(write(with_recipients(fits * 101 // 100))))


def with_recipients(number):
    """Make an event of an ordinary shop with so many recipients."""
    said_at = datetime.now(UTC).isoformat(timespec="milliseconds")
    recipients = [{"to": f"+1555{each:07}"} for each in range(number)]
    consent = {"capturedAt": said_at, "method": "web-form", "reference": "consents/7f3a"}
    data = {"from": "+18001234567", "recipients": recipients, "consent": consent}
    name = {"source": "https://shop.example/preferences", "id": str(uuid4())}
    return {"specversion": "1.0", "type": "sms.opt-in.v1", **name, "time": said_at, "data": data}


def test_what_the_example_in_node_needs_is_pinned_and_says_nowhere_where_it_comes_from():
    lock = json.loads((NODE / "package-lock.json").read_text())
    declared = json.loads((NODE / "package.json").read_text())["dependencies"]
    packages = {path: package for path, package in lock["packages"].items() if path}

    assert lock["packages"][""]["dependencies"] == declared
    assert [path for path, package in packages.items() if not package.get("integrity") or "resolved" in package] == []


def test_no_example_has_a_time_written_into_it():
    sources = [path for path in EXAMPLES.rglob("*") if path.suffix in {".py", ".js", ".cs", ".sh"}]
    sources = [path for path in sources if "node_modules" not in path.parts]

    assert len(sources) >= 5
    for path in sources:
        assert not re.search(r"\b20[0-9]{2}-[0-9]{2}", path.read_text()), path
