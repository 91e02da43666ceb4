"""The same function through azure-functions-runtime, the worker library that Azure runs on Python 3.13 and newer."""

import importlib
import json
import sys
from types import SimpleNamespace

import pytest
import pytest_asyncio

from sandbox.endpoint import Endpoint
from tests.shell.calling import SENDER
from tests.shell.hosting import ROOT, fresh, trigger_input

pytestmark = [
    pytest.mark.skipif(sys.version_info < (3, 13), reason="azure-functions-runtime exists from Python 3.13 on"),
    pytest.mark.asyncio(loop_scope="module"),
]

NO_BROKER = "Endpoint=sb://127.0.0.1:1;SharedAccessKeyName=n;SharedAccessKey=key;UseDevelopmentEmulator=true;"


class Protos:
    """Stands in for the generated protobuf module: each class keeps the fields it was made with."""

    class StatusResult(SimpleNamespace):
        Success, Failure = 1, 0

    class BindingInfo(SimpleNamespace):
        out, inout = 1, 2

    def __getattr__(self, name):
        return SimpleNamespace


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def indexed():
    """Index the app as the worker does when it starts, and give what it answers and what it found."""
    worker = importlib.import_module("azure_functions_runtime")
    sys.modules.pop("function_app", None)
    start = SimpleNamespace(capabilities={}, function_app_directory=str(ROOT))
    answer = await worker.worker_init_request(
        SimpleNamespace(
            request=SimpleNamespace(worker_init_request=start),
            properties={"host": "127.0.0.1", "protos": Protos()},
        )
    )
    found = await worker.functions_metadata_request(SimpleNamespace())
    yield answer.result, found.function_metadata_results
    await sys.modules.pop("function_app").service.close()


async def invoke(function, *documents):
    """Invoke a function as the worker does; give whether it succeeded, its error and where that came from."""
    native = importlib.import_module("azure_functions_runtime.native_invocation")
    data, metadata = trigger_input(*documents)
    succeeded, _, _, error, trace = await native.invocation_request_native(
        "invocation-1", function.function_id, [("messages", data)], metadata
    )
    return succeeded, error, trace


async def test_the_worker_indexes_the_one_function_with_its_trigger(indexed):
    result, [function] = indexed

    assert result.status == Protos.StatusResult.Success
    assert function.name == "process_opt_ins"
    [binding] = [json.loads(raw) for raw in function.raw_bindings]
    assert binding["type"] == "serviceBusTrigger"
    assert (binding["cardinality"], binding["dataType"]) == ("MANY", "BINARY")
    assert (binding["queueName"], binding["connection"]) == ("%OPT_IN_QUEUE%", "ServiceBusConnection")


async def test_an_invocation_that_raises_fails_with_one_clear_line(indexed, monkeypatch):
    _, [function] = indexed
    for name in ("ACS_ENDPOINT", "ServiceBusConnection"):
        monkeypatch.delenv(name, raising=False)

    succeeded, error, trace = await invoke(function, fresh())

    assert not succeeded
    assert error.startswith("SettingsError('ACS_ENDPOINT is missing")
    assert "SettingsError" in trace


async def test_an_invocation_succeeds_and_the_recipients_are_removed(indexed, monkeypatch):
    _, [function] = indexed
    people = ["+15555555551", "+15555555552", "+15555555553"]
    async with Endpoint() as endpoint:
        endpoint.opted_out = {(SENDER, person) for person in people}
        monkeypatch.setenv("ACS_ENDPOINT", endpoint.url)
        monkeypatch.setenv("ACS_ACCESS_KEY", endpoint.access_key)
        monkeypatch.setenv("ServiceBusConnection", NO_BROKER)

        outcome = await invoke(function, fresh(*people[:2]), fresh(*people[2:], id="2"))

    assert outcome == (True, None, None)
    assert endpoint.opted_out == set()
    assert len(endpoint.requests) == 1
