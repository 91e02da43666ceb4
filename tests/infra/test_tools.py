"""The scripts that the pipelines call: the linter's wrapper, the package, the smoke test."""

import asyncio
import os
import runpy
import zipfile
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from azure.servicebus import ServiceBusClient, ServiceBusMessage

from optout_core.arrivals import Arrival
from optout_core.events import OptIn, decode
from optout_core.numbers import read_number
from servicebus_sandbox import Broker, load_queues
from tests.infra.commands import run
from tests.infra.sources import INFRA

SMOKE = SimpleNamespace(**runpy.run_path(str(INFRA / "smoke.py")))
PACKAGE = SimpleNamespace(**runpy.run_path(str(INFRA / "package.py")))
SENDER, RECIPIENT = "+18001234567", "+15555555551"


class Deployment:
    """Queues and metrics of a deployment, with a memory and a clock of its own."""

    def __init__(
        self,
        *,
        dead_after: float | None = None,
        removed_after: float | None = None,
        lying: Iterable[tuple[str, str]] = (),
    ) -> None:
        self.now = 0.0
        self.published: list[tuple[str, bytes]] = []
        self._dead_after, self._removed_after = dead_after, removed_after
        self._letters = list(lying)

    def publish(self, event_id: str, body: bytes) -> None:
        self.published.append((event_id, body))

    def new_dead_letters(self) -> Iterator[tuple[str, str]]:
        if self.published and self._dead_after is not None and self.now >= self._dead_after:
            self._letters.append((self.published[-1][0], "SenderNotAllowed"))
            self._dead_after = None
        letters, self._letters = self._letters, []
        yield from letters

    def removed_since(self, moment: datetime) -> int:
        assert moment <= datetime.now(UTC)
        return int(self._removed_after is not None and self.now >= self._removed_after)

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def test(self, timeout: float = 600.0) -> Any:
        return SMOKE.SmokeTest(self, self, SENDER, RECIPIENT, timeout, 15.0, lambda: self.now, self.sleep).run()


def test_a_removal_ends_the_smoke_test_well():
    deployment = Deployment(removed_after=120)

    verdict = deployment.test()

    assert verdict.code == 0
    assert deployment.now == 120


def test_a_dead_letter_of_the_event_ends_it_badly_and_says_where_to_read():
    verdict = Deployment(dead_after=30, removed_after=300).test()

    assert verdict.code == 1
    assert "SenderNotAllowed" in verdict.says
    assert verdict.says.endswith("docs/runbook.md#sendernotallowed")


def test_dead_letters_of_others_are_not_ours():
    verdict = Deployment(lying=[("other", "StaleOptIn")], removed_after=15).test()

    assert verdict.code == 0


def test_silence_ends_it_in_time_and_says_that_nothing_is_lost():
    deployment = Deployment()

    verdict = deployment.test(timeout=60)

    assert verdict.code == 3
    assert deployment.now == 60
    assert "nothing is lost" in verdict.says


def test_the_event_it_publishes_is_one_the_function_reads():
    deployment = Deployment(removed_after=0)
    deployment.test()
    ((event_id, body),) = deployment.published

    (event,) = decode(Arrival(body=body, message_id=event_id, enqueued_at=datetime.now(UTC)))

    assert isinstance(event, OptIn)
    assert event.id.raw == event_id
    assert event.sender == read_number(SENDER)
    assert event.recipients == (read_number(RECIPIENT),)


def test_two_runs_publish_two_events():
    deployment = Deployment(removed_after=0)
    deployment.test()
    deployment.test()

    assert len({event_id for event_id, _ in deployment.published}) == 2


def test_no_number_is_shown():
    deployment = Deployment(removed_after=0)
    test = SMOKE.SmokeTest(deployment, deployment, SENDER, RECIPIENT, 1.0, 1.0)

    assert SENDER not in repr(test)
    assert RECIPIENT not in f"{test!r}{test.run()}"


def _use_queues(connection_string: str) -> tuple[list[list[tuple[str, str]]], Any]:
    """Publish through the smoke test's own queues, and look for dead letters thrice."""
    ours = ServiceBusMessage(
        b"{}", application_properties={"optout-event-id": "smoke-1", "DeadLetterReason": "StaleOptIn"}
    )
    of_the_broker = ServiceBusMessage(b"{}", message_id="smoke-2")
    with ServiceBusClient.from_connection_string(connection_string) as client:
        queues = SMOKE.ServiceBusQueues(client)
        with client.get_queue_sender(SMOKE.DEAD_LETTERS) as sender:
            looks = [list(queues.new_dead_letters())]
            sender.send_messages([ours, of_the_broker])
            looks += [list(queues.new_dead_letters()), list(queues.new_dead_letters())]
        queues.publish("smoke-3", b"{}")
        with client.get_queue_receiver(SMOKE.OPT_INS, max_wait_time=5) as receiver:
            (published,) = receiver.receive_messages(1)
            receiver.complete_message(published)
    return looks, published


async def test_a_dead_letter_is_seen_once_by_the_id_of_its_event_or_of_its_message():
    async with Broker(load_queues(INFRA / "queues.json")) as broker:
        looks, published = await asyncio.to_thread(_use_queues, broker.connection_string)

    assert looks == [[], [("smoke-1", "StaleOptIn"), ("smoke-2", "")], []]
    assert published.message_id == "smoke-3"
    assert published.content_type == "application/cloudevents+json"


@pytest.mark.parametrize(("rows", "removed"), [([[3.0]], 3), ([[None]], 0)])
def test_the_metric_is_asked_for_since_the_test_began(rows, removed):
    asked = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return httpx.Response(200, json={"tables": [{"columns": [{"name": "removed"}], "rows": rows}]})

    with httpx.Client(transport=httpx.MockTransport(answer)) as http:
        moment = datetime(2026, 1, 23, 10, tzinfo=UTC)
        found = SMOKE.ApplicationInsights(http, "app-id", lambda: "token").removed_since(moment)

    assert found == removed
    assert asked[0].url.path == "/v1/apps/app-id/query"
    assert asked[0].headers["Authorization"] == "Bearer token"
    assert b"datetime(2026-01-23T10:00:00+00:00)" in asked[0].content


def _options(*options: str) -> Any:
    return SMOKE._options(["--namespace", "n", "--application", "a", *options])


@pytest.mark.parametrize("allowed", ["", " , ", "+18005550000"])
@pytest.mark.parametrize("sender", [SENDER, "", " "])
def test_a_sender_that_the_deployment_does_not_name_is_refused(allowed, sender, monkeypatch, capsys):
    monkeypatch.setenv("ALLOWED_SENDERS", allowed)

    with pytest.raises(SystemExit) as stopped:
        _options("--sender", sender, "--recipient", RECIPIENT)

    assert stopped.value.code == 2
    assert "ALLOWED_SENDERS" in capsys.readouterr().err


def test_an_empty_recipient_is_refused(monkeypatch, capsys):
    monkeypatch.setenv("ALLOWED_SENDERS", SENDER)

    with pytest.raises(SystemExit):
        _options("--recipient", " ")

    assert "--recipient is empty" in capsys.readouterr().err


def test_the_sender_is_the_first_that_the_deployment_names(monkeypatch):
    monkeypatch.setenv("ALLOWED_SENDERS", f" , {SENDER} ,+18005550000")

    assert _options("--recipient", RECIPIENT).sender == SENDER


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Make a small repository with what a package needs, what it may not hold, and something untracked."""
    for name in ("host.json", "function_app.py", "requirements.txt", "optout_core/a.py", "tests/t.py", "README.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    (tmp_path / ".funcignore").write_text(".funcignore\ntests/\n*.md\n")
    for command in (["init", "--quiet"], ["add", "."]):
        assert run("git", *command, cwd=tmp_path).returncode == 0
    (tmp_path / "local.settings.json").write_text("a secret")
    return tmp_path


def test_the_package_holds_what_is_tracked_and_not_ignored(repository, tmp_path_factory):
    target = tmp_path_factory.mktemp("out") / "package.zip"

    names = PACKAGE.write(repository, target)

    assert names == ["function_app.py", "host.json", "optout_core/a.py", "requirements.txt"]
    assert zipfile.ZipFile(target).namelist() == names


def test_the_same_sources_give_the_same_bytes(repository, tmp_path_factory):
    folder = tmp_path_factory.mktemp("out")
    PACKAGE.write(repository, folder / "one.zip")
    later = (datetime.now(UTC) + timedelta(days=1)).timestamp()
    os.utime(repository / "host.json", (later, later))
    PACKAGE.write(repository, folder / "two.zip")

    assert (folder / "one.zip").read_bytes() == (folder / "two.zip").read_bytes()


def test_a_package_that_could_not_start_is_not_written(repository, tmp_path_factory):
    (repository / ".funcignore").write_text("*.json\n")
    target = tmp_path_factory.mktemp("out") / "package.zip"

    with pytest.raises(ValueError, match=r"host\.json"):
        PACKAGE.write(repository, target)

    assert not target.exists()


def _lint(tmp_path: Path, script: str):
    compiler, log = tmp_path / "bicep", tmp_path / "log"
    compiler.write_text(f'#!/bin/sh\necho "$@" >> {log}\n{script}\n')
    compiler.chmod(0o755)
    return run(str(INFRA / "lint"), cwd=tmp_path, environ={"BICEP": str(compiler)}), log.read_text()


def test_the_linter_passes_when_the_compiler_is_silent(tmp_path):
    ran, called = _lint(tmp_path, "echo '{}'")

    assert (ran.returncode, ran.stderr) == (0, "")
    assert called.splitlines() == [
        "build main.bicep --stdout",
        "lint main.bicep",
        *(f"build-params {path.name} --stdout" for path in sorted(INFRA.glob("*.bicepparam"))),
    ]


@pytest.mark.parametrize("script", ["echo 'main.bicep(1,1) : Warning no-unused-vars' >&2", "exit 1"])
def test_the_linter_fails_on_a_warning_as_on_an_error(script, tmp_path):
    ran, _ = _lint(tmp_path, script)

    assert ran.returncode == 1
    assert "bicep build main.bicep" in ran.stderr


def test_the_linter_says_how_to_get_a_compiler(tmp_path):
    ran = run(str(INFRA / "lint"), cwd=tmp_path, environ={"BICEP": str(tmp_path / "none")})

    assert ran.returncode == 2
    assert "az bicep install" in ran.stderr


def test_the_linter_gives_the_compiler_every_variable_the_parameter_files_read(tmp_path):
    ran, called = _lint(tmp_path, f"env > {tmp_path / 'env'}")
    given = (tmp_path / "env").read_text()

    assert ran.returncode == 0
    for path in INFRA.glob("*.bicepparam"):
        for name in {part.split("'")[1] for part in path.read_text().split("readEnvironmentVariable(")[1:]}:
            assert f"{name}=" in given or name == "AZURE_ENV_NAME", called
