"""What is sent to Application Insights: whole invocations, each call once, our own metrics and nothing of the worker's.

The worker's set-up is what `azure_functions_runtime.otel` does; the exporters are the real ones, and send to loopback.
"""

import json

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags

from benchmarks import telemetry
from benchmarks.telemetry import SETTINGS, Shape
from optout_core.adapters.azure_monitor import WholeInvocations
from optout_core.adapters.telemetry import Telemetry, is_ours_to_send
from optout_core.batches import Operation
from tests.build import lineage
from tests.infra.snapshots import deployment


@pytest.fixture
def traced():
    """Our telemetry under the sampler, and the spans it kept, by trace."""
    exporter = InMemorySpanExporter()
    tracers = TracerProvider(sampler=WholeInvocations(), shutdown_on_exit=False)
    tracers.add_span_processor(SimpleSpanProcessor(exporter))
    ours = Telemetry(tracers=tracers)

    def invocation(calls=1, links=0):
        exporter.clear()
        traces = [{"traceparent": f"00-{number:032x}-{number:016x}-01"} for number in range(1, links + 1)]
        with ours.invocation([lineage(trace=each) for each in traces]):
            for _ in range(calls):
                with ours.request(Operation.REMOVE, 1):
                    pass
        return [span.name for span in exporter.get_finished_spans()]

    yield invocation
    tracers.shutdown()


def test_the_first_invocations_of_a_process_are_traced_whole(traced):
    assert traced(calls=3) == ["optouts:remove"] * 3 + ["process opt-ins"]


def test_calls_are_traced_all_or_none(traced):
    kept = [traced(calls=100).count("optouts:remove") for _ in range(1000)]

    assert set(kept) == {0, 100}
    # Half a span an invocation, and 200 that were saved up.
    assert 0.5 * 1000 <= sum(kept) <= 0.5 * 1000 + 200 + 100


def test_an_invocation_without_links_is_always_traced(traced):
    assert all("process opt-ins" in traced() for _ in range(1000))


def test_links_cost_what_they_take(traced):
    kept = sum("process opt-ins" in traced(links=100) for _ in range(1000))

    assert 1000 * 1.5 / 11 <= kept <= 1000 * 1.5 / 11 + 5


def test_an_invocation_that_is_not_traced_has_no_traced_calls(traced):
    for _ in range(100):
        spans = traced(calls=2, links=100)
        assert "optouts:remove" not in spans or "process opt-ins" in spans


@pytest.mark.parametrize("flags", [TraceFlags.DEFAULT, TraceFlags.SAMPLED])
def test_what_the_host_decided_for_its_own_span_decides_nothing(traced, flags):
    of_the_host = SpanContext(trace_id=1, span_id=2, is_remote=True, trace_flags=TraceFlags(flags))

    with trace.use_span(NonRecordingSpan(of_the_host)):
        assert traced() == ["optouts:remove", "process opt-ins"]


SWITCHED_OFF = {
    "APPLICATIONINSIGHTS_CONNECTION_STRING": "InstrumentationKey=0",
    "OTEL_METRICS_EXPORTER": "none",
    "OTEL_TRACES_EXPORTER": "None ",
}


@pytest.mark.parametrize("missing", [None, *SWITCHED_OFF])
def test_we_send_only_what_the_worker_was_told_not_to_send(missing):
    environ = {name: value for name, value in SWITCHED_OFF.items() if name != missing}

    assert is_ours_to_send(environ) is (missing is None)


def test_what_is_measured_is_what_is_deployed():
    settings = deployment("required").only("Microsoft.Web/sites/config")["properties"]

    assert settings.items() >= SETTINGS.items()
    assert {name for name in settings if name.startswith("OTEL_")} <= SETTINGS.keys()


@pytest.fixture(scope="module")
def sent():
    """What one process sends of 3 invocations with 2 messages of 2 senders each, one of them dead."""
    return telemetry.sent(Shape(events=2, senders=2, dead=1), invocations=3)


@pytest.mark.timeout(120)
def test_each_call_is_one_dependency_and_each_invocation_one_line(sent):
    spans = sorted(item["data"]["baseData"]["name"] for item in sent.of("RemoteDependency", "Request"))
    lines = [item["data"]["baseData"]["message"] for item in sent.of("Message")]

    assert spans == ["optouts:remove"] * 6 + ["process opt-ins"] * 3
    assert sum(line.startswith("settled 3 messages") for line in lines) == 3
    assert sum("dead letters" in line for line in lines) == 3


@pytest.mark.timeout(120)
def test_no_metric_is_sent_but_ours(sent):
    names = {item["data"]["baseData"]["metrics"][0]["name"] for item in sent.of("Metric")}

    assert names
    assert all(name.startswith("optout.") for name in names), names


@pytest.mark.timeout(120)
def test_no_number_is_sent(sent):
    assert "+1555" not in json.dumps(sent.items)
