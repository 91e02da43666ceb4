"""The same function through azure-functions-runtime, the worker library that Azure runs on Python 3.13 and newer."""

import importlib
import json
import sys
from types import SimpleNamespace

import pytest
import pytest_asyncio

from sandbox.endpoint import Endpoint
from tests.adapters.acs_client import SENDER, Naps
from tests.adapters.function import ROOT, fresh, trigger_input

pytestmark = [
    pytest.mark.skipif(sys.version_info < (3, 13), reason="azure-functions-runtime exists from Python 3.13 on"),
    pytest.mark.asyncio(loop_scope="module"),
]


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
    async with Endpoint() as endpoint:
        with pytest.MonkeyPatch.context() as environment:
            environment.setenv("ACS_ENDPOINT", endpoint.url)
            environment.setenv("ACS_ACCESS_KEY", endpoint.access_key)
            environment.setenv("ServiceBusConnection", "Endpoint=sb://without.a.key")
            result, functions = await start()
            yield SimpleNamespace(result=result, functions=functions, endpoint=endpoint)
            await sys.modules.pop("function_app").service.close()


async def start():
    """Start the worker; give how that went, and what it found."""
    worker = importlib.import_module("azure_functions_runtime")
    sys.modules.pop("function_app", None)
    request = SimpleNamespace(capabilities={}, function_app_directory=str(ROOT))
    answer = await worker.worker_init_request(
        SimpleNamespace(
            request=SimpleNamespace(worker_init_request=request),
            properties={"host": "127.0.0.1", "protos": Protos()},
        )
    )
    found = await worker.functions_metadata_request(SimpleNamespace())
    return answer.result, found.function_metadata_results


async def invoke(function, *documents):
    """Invoke a function as the worker does; give whether it succeeded, its error and where that came from."""
    native = importlib.import_module("azure_functions_runtime.native_invocation")
    data, metadata = trigger_input(*documents)
    succeeded, _, _, error, trace = await native.invocation_request_native(
        "invocation-1", function.function_id, [("messages", data)], metadata
    )
    return succeeded, error, trace


async def test_the_worker_indexes_the_one_function_with_its_trigger(indexed):
    [function] = indexed.functions

    assert indexed.result.status == Protos.StatusResult.Success
    assert function.name == "process_opt_ins"
    [binding] = [json.loads(raw) for raw in function.raw_bindings]
    assert binding["type"] == "serviceBusTrigger"
    assert (binding["cardinality"], binding["dataType"]) == ("MANY", "BINARY")
    assert (binding["queueName"], binding["connection"]) == ("%OPT_IN_QUEUE%", "ServiceBusConnection")


async def test_an_invocation_that_raises_fails_with_one_clear_line(indexed, monkeypatch):
    [function] = indexed.functions
    monkeypatch.setattr(sys.modules["function_app"].service, "_sleep", Naps())

    succeeded, error, trace = await invoke(function, b"a dead letter for which there is no broker")

    assert not succeeded
    assert error.startswith("SendFailed('the broker did not take 1 retries and dead letters")
    assert "SendFailed" in trace


async def test_an_invocation_succeeds_and_the_recipients_are_removed(indexed):
    [function] = indexed.functions
    people = ["+15555555551", "+15555555552", "+15555555553"]
    indexed.endpoint.opted_out = {(SENDER, person) for person in people}

    outcome = await invoke(function, fresh(*people[:2]), fresh(*people[2:], id="2"))

    assert outcome == (True, None, None)
    assert indexed.endpoint.opted_out == set()
    assert len(indexed.endpoint.requests) == 1


@pytest.mark.usefixtures("indexed")
async def test_with_a_wrong_setting_there_is_no_function_and_so_messages_wait(monkeypatch):
    app = sys.modules["function_app"]
    monkeypatch.setenv("HTTP_ATTEMPTS", "many")
    result, functions = await start()
    sys.modules["function_app"] = app

    assert result.status == Protos.StatusResult.Failure or not functions
