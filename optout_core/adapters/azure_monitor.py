"""Sends our metrics and traces to Application Insights, in place of the worker; log lines stay with the worker.

The worker's set-up samples each span for itself, adds counters of Windows servers and traces what we trace already. Its
exporters of metrics and traces are switched off by the settings of OpenTelemetry (infra/modules/function.bicep), and
these take over. Imported only then: docs/metrics.md, "What it costs".
"""

import functools
from collections.abc import Sequence

from azure.monitor.opentelemetry.exporter import AzureMonitorMetricExporter, AzureMonitorTraceExporter
from opentelemetry import metrics, trace
from opentelemetry.context import Context
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.metrics.view import DropAggregation, View
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import Decision, Sampler, SamplingResult
from opentelemetry.trace import Link, SpanKind, TraceState
from opentelemetry.util.types import Attributes

#: What each invocation may add to what is sent, in spans of a kilobyte: of its own span with its links, and of its
#: calls. Together with its log line and what the host sends this is a seventh of what an instance of 2 GB costs in the
#: second that is billed at least (measured: docs/metrics.md, "What it costs").
_INVOCATION, _CALLS = 1.5, 0.5
#: What may be saved up: the first invocations of a process are traced in full, and so is what comes now and then.
_SAVED_INVOCATION, _SAVED_CALLS = 20.0, 200.0
#: Links that take as much as a span: each is written as 85 characters.
_LINKS_OF_SPAN = 10
#: The meter of the worker's counters; they come with its log lines and cannot be switched off
#: (azure-monitor-opentelemetry-exporter 1.0.0b58, `_performance_counters/_manager.py`).
_WINDOWS_COUNTERS = "azure.monitor.opentelemetry.performance_counters"
#: Says in the trace state of an invocation whether its calls are traced.
_KEY, _WITH_CALLS = "optout", "calls"


class WholeInvocations(Sampler):
    """Keeps an invocation's span while it can afford it, and then all spans of its calls or none.

    Each invocation adds a little to what may be spent, and each span that is kept spends it: so what is sent is bounded
    by the number of invocations, whatever they hold, and no clock is asked.
    """

    def __init__(self) -> None:
        """Begin with what may be saved up."""
        self._invocation, self._calls = _SAVED_INVOCATION, _SAVED_CALLS

    def should_sample(  # noqa: PLR0913, PLR0917 - OpenTelemetry's own signature
        self,
        parent_context: Context | None,
        trace_id: int,  # noqa: ARG002 - likewise, and below
        name: str,  # noqa: ARG002
        kind: SpanKind | None = None,  # noqa: ARG002
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,
        trace_state: TraceState | None = None,  # noqa: ARG002
    ) -> SamplingResult:
        """Decide on an invocation, or do for a call as was decided on its invocation."""
        parent = trace.get_current_span(parent_context).get_span_context()
        if parent.is_valid and not parent.is_remote:
            return self._of_call(parent.trace_state, attributes, is_kept=parent.trace_flags.sampled)
        return self._of_invocation(len(links or ()), attributes)

    def _of_invocation(self, links: int, attributes: Attributes) -> SamplingResult:
        self._invocation = min(_SAVED_INVOCATION, self._invocation + _INVOCATION)
        self._calls = min(_SAVED_CALLS, self._calls + _CALLS)
        if self._invocation <= 0:
            return SamplingResult(Decision.DROP)
        self._invocation -= 1 + links / _LINKS_OF_SPAN
        state = TraceState([(_KEY, _WITH_CALLS)]) if self._calls > 0 else None
        return SamplingResult(Decision.RECORD_AND_SAMPLE, attributes, state)

    def _of_call(self, state: TraceState, attributes: Attributes, *, is_kept: bool) -> SamplingResult:
        if not is_kept or state.get(_KEY) != _WITH_CALLS:
            return SamplingResult(Decision.DROP)
        self._calls -= 1
        return SamplingResult(Decision.RECORD_AND_SAMPLE, attributes, state)

    def get_description(self) -> str:
        """Name the sampler."""
        return "WholeInvocations"


@functools.cache
def send() -> None:
    """Send what is measured and traced from now on; a process does so once.

    The exporters read where to, and as whom, from the environment, as those of the worker do.
    """
    resource = Resource.create()
    reader = PeriodicExportingMetricReader(AzureMonitorMetricExporter())
    dropped = View(meter_name=_WINDOWS_COUNTERS, aggregation=DropAggregation())
    metrics.set_meter_provider(MeterProvider([reader], resource=resource, views=[dropped]))
    tracers = TracerProvider(sampler=WholeInvocations(), resource=resource)
    tracers.add_span_processor(BatchSpanProcessor(AzureMonitorTraceExporter()))
    trace.set_tracer_provider(tracers)
