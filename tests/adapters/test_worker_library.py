"""The same function through azure-functions-runtime, the worker library that Azure runs on Python 3.13 and newer."""

import importlib
import json
import sys
from types import SimpleNamespace

import pytest
import pytest_asyncio

from sandbox.endpoint import Endpoint
from servicebus_sandbox.amqp import DecimalBits
from tests.adapters.acs_client import SENDER, Naps
from tests.adapters.function import ROOT, amqp, data, encoded, fresh, handed_over, sequence, value
from tests.build import wire

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
            environment.setenv(
                "ServiceBusConnection", "Endpoint=sb://127.0.0.1:1;SharedAccessKeyName=n;SharedAccessKey=k"
            )
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


class Rpc:
    """A message of the protocol between host and worker: it says which of its fields is set."""

    def __init__(self, datum):
        self.kind = datum.type
        setattr(self, datum.type, datum.value)

    def WhichOneof(self, _):  # noqa: N802 - as protobuf names it
        return self.kind


class Input(SimpleNamespace):
    def WhichOneof(self, _):  # noqa: N802 - as protobuf names it
        return "data"


async def invoke(function, *contents):
    """Invoke a function as the host does through the worker; give the status and the error."""
    worker = importlib.import_module("azure_functions_runtime")
    batch, metadata = handed_over(*contents)
    request = SimpleNamespace(
        invocation_id="invocation-1",
        function_id=function.function_id,
        input_data=[Input(name="messages", data=Rpc(batch))],
        trigger_metadata={name: Rpc(datum) for name, datum in metadata.items()},
        trace_context=SimpleNamespace(trace_parent="", trace_state="", attributes={}),
        retry_context=SimpleNamespace(retry_count=0, max_retry_count=0, exception=None),
    )
    answer = await worker.invocation_request(
        SimpleNamespace(request=SimpleNamespace(invocation_request=request), properties={})
    )
    failure = getattr(answer.result, "exception", None)
    return answer.result.status == Protos.StatusResult.Success, failure


async def test_the_worker_indexes_the_one_function_with_its_trigger(indexed):
    [function] = indexed.functions

    assert indexed.result.status == Protos.StatusResult.Success
    assert function.name == "process_opt_ins"
    [binding] = [json.loads(raw) for raw in function.raw_bindings]
    assert binding["type"] == "serviceBusTrigger"
    assert (binding["cardinality"], binding["properties"]) == ("MANY", {"SupportsDeferredBinding": True})
    assert (binding["queueName"], binding["connection"]) == ("%OPT_IN_QUEUE%", "ServiceBusConnection")


async def test_an_invocation_that_raises_fails_with_one_clear_line(indexed, monkeypatch):
    [function] = indexed.functions
    monkeypatch.setattr(sys.modules["function_app"].service, "_sleep", Naps())

    succeeded, failure = await invoke(function, *encoded(b"a dead letter for which there is no broker"))

    assert not succeeded
    assert "SendFailed: the broker did not take 1 of 1 retries and dead letters, in neither queue" in failure.message
    # Whoever shares this app begins without the doubt whether anything can be sent.
    await sys.modules["function_app"].service.close()


async def test_an_invocation_succeeds_and_the_recipients_are_removed(indexed):
    [function] = indexed.functions
    people = ["+15555555551", "+15555555552", "+15555555553"]
    indexed.endpoint.opted_out = {(SENDER, person) for person in people}

    outcome = await invoke(function, *encoded(fresh(*people[:2]), fresh(*people[2:], id="2")))

    assert outcome == (True, None)
    assert indexed.endpoint.opted_out == set()
    assert len(indexed.endpoint.requests) == 1


async def test_value_and_sequence_bodies_are_events_beside_their_neighbours(indexed):
    [function] = indexed.functions
    people = ["+15555555551", "+15555555552", "+15555555553"]
    indexed.endpoint.opted_out = {(SENDER, person) for person in people}
    events = [wire(fresh(person, id=person)) for person in people]

    outcome = await invoke(
        function,
        amqp(data(events[0]), message_id="data", content_type="application/json"),
        amqp(value(events[1].decode())),
        amqp(
            sequence(events[2]),
            correlation_id="c",
            properties={"odd": DecimalBits(bytes.fromhex("3040" + 13 * "00" + "07"))},
        ),
    )

    assert outcome == (True, None)
    assert indexed.endpoint.opted_out == set()


@pytest.mark.usefixtures("indexed")
async def test_with_a_wrong_setting_there_is_no_function_and_so_messages_wait(monkeypatch):
    app = sys.modules["function_app"]
    monkeypatch.setenv("BREAKER_FAILURES", "many")
    result, functions = await start()
    sys.modules["function_app"] = app

    assert result.status == Protos.StatusResult.Failure or not functions
