"""The scripts that the pipelines call: the linter's wrapper, the package, the smoke test."""

import asyncio
import hashlib
import json
import os
import re
import runpy
import zipfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from azure.monitor.opentelemetry.exporter.export.trace._exporter import _convert_span_to_envelope
from azure.servicebus import ServiceBusClient
from opentelemetry import trace
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from optout_core import __version__
from optout_core.arrivals import Arrival
from optout_core.events import OptIn, decode
from optout_core.masking import show
from optout_core.numbers import read_number
from optout_core.reports import RecipientOutcome
from servicebus_sandbox import Broker, load_queues
from tests.adapters.telemetry import open_telemetry
from tests.build import lineage
from tests.infra.commands import run
from tests.infra.sources import INFRA, ROOT

SMOKE = SimpleNamespace(**runpy.run_path(str(INFRA / "smoke.py")))
SBOM = SimpleNamespace(**runpy.run_path(str(INFRA / "sbom.py")))
PACKAGE = SimpleNamespace(**runpy.run_path(str(INFRA / "package.py")))
SENDER, RECIPIENT = "+18001234567", "+15555555551"


class Deployment:
    """Queue and log of a deployment, with a memory and a clock of its own."""

    def __init__(self, *lines: tuple[float, dict[str, Any]]) -> None:
        self.now = 0.0
        self.published: list[tuple[Any, bytes]] = []
        self._lines = lines

    def publish(self, marks: Any, body: bytes) -> None:
        self.published.append((marks, body))

    def lines(self, marks: Any, since: datetime) -> list[Any]:
        assert since <= datetime.now(UTC)
        assert marks == self.published[-1][0]
        return [SMOKE.Line(**line) for after, line in self._lines if self.now >= after]

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def test(self, timeout: float = 600.0, version: str = "") -> Any:
        options = (timeout, 15.0, version, lambda: self.now, self.sleep)
        return SMOKE.SmokeTest(self, self, SENDER, RECIPIENT, *options).run()


REMOVED = {"removed": 1, "version": "1.0.0"}


def test_a_removal_by_the_invocation_that_took_the_event_ends_the_smoke_test_well():
    deployment = Deployment((120, REMOVED))

    verdict = deployment.test(version="1.0.0")

    assert verdict.code == 0
    assert "version 1.0.0" in verdict.says
    assert deployment.now == 120


def test_a_dead_letter_of_the_event_ends_it_badly_and_says_where_to_read():
    verdict = Deployment((30, {"reasons": "SenderNotAllowed"}), (30, REMOVED)).test()

    assert verdict.code == 1
    assert "SenderNotAllowed" in verdict.says
    assert verdict.says.endswith("docs/runbook.md#sendernotallowed")


def test_code_of_another_version_proves_nothing_about_this_deployment():
    verdict = Deployment((0, REMOVED)).test(version="1.1.0")

    assert verdict.code == 1
    assert "by version 1.0.0 and not by 1.1.0" in verdict.says


def test_a_removal_in_a_batch_in_which_somebody_waits_may_be_anybodys():
    deployment = Deployment((0, {"removed": 5, "waiting": 1}), (60, REMOVED))

    assert deployment.test().code == 0
    assert deployment.now == 60


def test_an_event_that_waits_for_another_try_is_not_called_removed():
    verdict = Deployment((0, {"waiting": 1})).test(timeout=60)

    assert verdict.code == 3
    assert "waits for another try" in verdict.says


def test_silence_ends_it_in_time_and_says_that_nothing_is_lost():
    deployment = Deployment()

    verdict = deployment.test(timeout=60)

    assert verdict.code == 3
    assert deployment.now == 60
    assert "nothing is lost" in verdict.says


def test_the_event_it_publishes_is_one_the_function_reads():
    deployment = Deployment((0, REMOVED))
    deployment.test()
    ((marks, body),) = deployment.published

    (event,) = decode(Arrival(body=body, message_id=marks.event, enqueued_at=datetime.now(UTC)))

    assert isinstance(event, OptIn)
    assert event.id.raw == marks.event
    assert event.sender == read_number(SENDER)
    assert event.recipients == (read_number(RECIPIENT),)


def test_the_id_of_the_event_is_shown_unmasked_in_the_log():
    for _ in range(50):
        marks = SMOKE.Marks.new()

        assert show(marks.event) == marks.event


def test_two_runs_publish_two_events_of_two_traces():
    deployment = Deployment((0, REMOVED))
    deployment.test()
    deployment.test()

    (one, _), (other, _) = deployment.published
    assert one.event != other.event
    assert one.trace != other.trace


def test_no_number_is_shown():
    deployment = Deployment((0, REMOVED))
    test = SMOKE.SmokeTest(deployment, deployment, SENDER, RECIPIENT, 1.0, 1.0)

    assert SENDER not in repr(test)
    assert RECIPIENT not in f"{test!r}{test.run()}"


def _publish(connection_string: str, marks: Any) -> Any:
    with ServiceBusClient.from_connection_string(connection_string) as client:
        SMOKE.ServiceBusQueue(client).publish(marks, b"{}")
        with client.get_queue_receiver(SMOKE.OPT_INS, max_wait_time=5) as receiver:
            (published,) = receiver.receive_messages(1)
            receiver.complete_message(published)
    return published


async def test_the_event_arrives_with_a_trace_that_an_invocation_links_to():
    marks = SMOKE.Marks.new()
    async with Broker(load_queues(INFRA / "queues.json")) as broker:
        published = await asyncio.to_thread(_publish, broker.connection_string, marks)

    assert published.message_id == marks.event
    assert published.content_type == "application/cloudevents+json"
    parent = published.application_properties[b"traceparent"].decode()
    carried = TraceContextTextMapPropagator().extract({"traceparent": parent})
    assert f"{trace.get_current_span(carried).get_span_context().trace_id:032x}" == marks.trace


def test_it_looks_into_no_queue():
    """Others' dead letters hold their numbers, and the identity of the test may send only."""
    source = (INFRA / "smoke.py").read_text()

    assert "get_queue_receiver" not in source
    assert "peek" not in source


@pytest.mark.parametrize(
    ("rows", "lines"),
    [
        ([], []),
        ([[3, 0, "", "1.0.0"]], [{"removed": 3, "version": "1.0.0"}]),
        ([[None, None, "StaleOptIn", None]], [{"reasons": "StaleOptIn"}]),
    ],
)
def test_the_log_is_asked_for_the_event_and_its_trace_since_the_test_began(rows, lines):
    asked = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        columns = [{"name": name} for name in ("removed", "waiting", "reasons", "version")]
        return httpx.Response(200, json={"tables": [{"columns": columns, "rows": rows}]})

    marks = SMOKE.Marks.new()
    with httpx.Client(transport=httpx.MockTransport(answer)) as http:
        moment = datetime(2026, 1, 23, 10, tzinfo=UTC)
        found = SMOKE.ApplicationInsights(http, "app-id", lambda: "token").lines(marks, moment)

    assert found == [SMOKE.Line(**line) for line in lines]
    assert asked[0].url.path == "/v1/apps/app-id/query"
    assert asked[0].headers["Authorization"] == "Bearer token"
    query = json.loads(asked[0].content)["query"]
    assert "datetime(2026-01-23T10:00:00+00:00)" in query
    assert marks.event in query
    assert marks.trace in query


def test_the_exporter_writes_the_links_of_an_invocation_where_it_looks_for_them():
    marks = SMOKE.Marks.new()
    carried = {"traceparent": f"00-{marks.trace}-{marks.trace[:16]}-01"}
    with open_telemetry() as measured:
        with measured.telemetry.invocation([lineage(trace=carried)]):
            pass
        (span,) = measured.spans

    properties = _convert_span_to_envelope(span).data.base_data.properties

    assert marks.trace in properties["_MS.links"]


def test_it_asks_for_attributes_that_the_code_writes():
    source = (ROOT / "optout_core/adapters/telemetry.py").read_text()
    asked = set(re.findall(r"\['(optout\.\w+)'\]", SMOKE.QUERY))

    assert asked == {"optout.event_id", "optout.removed", "optout.waiting", "optout.reasons", "optout.version"}
    outcomes = {f"optout.{outcome.value}" for outcome in RecipientOutcome}
    assert all(f'"{name}"' in source or name in outcomes for name in asked)


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


def test_packages_go_where_the_worker_looks_for_them(repository, tmp_path_factory):
    folder = tmp_path_factory.mktemp("out")
    for name in ("packages/pydantic/__init__.py", "packages/pydantic/__pycache__/a.pyc"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)

    names = PACKAGE.write(repository, folder / "package.zip", folder / "packages")

    assert ".python_packages/lib/site-packages/pydantic/__init__.py" in names
    assert not any("__pycache__" in name for name in names)
    with pytest.raises(ValueError, match="holds no package"):
        PACKAGE.write(repository, folder / "package.zip", repository / "none")


def test_what_the_function_needs_is_all_of_requirements_txt_and_each_has_hashes():
    lines = PACKAGE.requirements(ROOT)
    pinned = re.findall(r"^([a-z][\w.-]*)==", (ROOT / "requirements.txt").read_text(), re.MULTILINE)

    assert [line.partition("==")[0] for line in lines] == sorted(set(pinned))
    assert all("--hash=sha256:" in line for line in lines)


def test_the_bill_of_materials_names_the_package_and_every_library():
    document = SBOM.bill(ROOT, b"the package")
    libraries = {each["purl"] for each in document["components"]}

    assert (document["bomFormat"], document["specVersion"]) == ("CycloneDX", "1.6")
    assert document["metadata"]["component"]["version"] == __version__
    assert document["metadata"]["component"]["hashes"][0]["content"] == hashlib.sha256(b"the package").hexdigest()
    assert len(libraries) == len(document["components"]) == len(PACKAGE.requirements(ROOT))
    assert any(purl.startswith("pkg:pypi/azure-servicebus@") for purl in libraries)
    assert all(each["properties"] for each in document["components"])
    assert SBOM.bill(ROOT, b"the package") == document


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
