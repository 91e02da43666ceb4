"""Collects in memory what our telemetry measures, as an exporter would."""

from contextlib import contextmanager

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from optout_core.adapters.telemetry import Telemetry


class Measured:
    """Telemetry with providers of its own, and what reached them."""

    def __init__(self, meters, reader, tracers, exporter):
        self.telemetry = Telemetry(meters, tracers)
        self.tracers = tracers
        self._reader = reader
        self._exporter = exporter

    def metrics(self):
        """Give each metric that has points, by name."""
        collected = self._reader.get_metrics_data()
        scopes = [
            scope for resource in (collected.resource_metrics if collected else ()) for scope in resource.scope_metrics
        ]
        assert {scope.scope.name for scope in scopes} <= {"optout_core"}
        return {metric.name: metric for scope in scopes for metric in scope.metrics}

    def points(self, name):
        """Give the points of a metric: by their attributes' values, the value or the number of recordings."""
        metric = self.metrics().get(name)
        return {
            tuple(point.attributes.values()): point.value if hasattr(point, "value") else point.count
            for point in (metric.data.data_points if metric else ())
        }

    @property
    def spans(self):
        """Give the spans that ended, in that order."""
        return self._exporter.get_finished_spans()

    def everything(self):
        """Give all that was measured as one text."""
        collected = self._reader.get_metrics_data()
        return "\n".join([collected.to_json() if collected else "", *(span.to_json() for span in self.spans)])


@contextmanager
def open_telemetry():
    """Open telemetry that is collected here."""
    reader, exporter = InMemoryMetricReader(), InMemorySpanExporter()
    meters, tracers = MeterProvider([reader], shutdown_on_exit=False), TracerProvider(shutdown_on_exit=False)
    tracers.add_span_processor(SimpleSpanProcessor(exporter))
    yield Measured(meters, reader, tracers, exporter)
    meters.shutdown()
    tracers.shutdown()
