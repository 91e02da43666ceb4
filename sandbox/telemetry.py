"""Collects the function's own metrics and spans in memory, as an exporter would on Azure."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import HistogramDataPoint, InMemoryMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from optout_core import __version__


@dataclass(frozen=True, slots=True)
class Collected:
    """What was measured.

    Attributes:
        statuses: Requests to ACS by HTTP status; "none" where no answer came.
        metrics: By name: unit, and points with their attributes and `value`, or `count`, `sum`, `min` and `max`.
    """

    statuses: Mapping[str, int]
    metrics: Mapping[str, Mapping[str, object]]


class Collector:
    """The telemetry provider of the whole process; there can be one."""

    def __init__(self) -> None:
        """Start to collect."""
        self._reader = InMemoryMetricReader()
        self._spans = InMemorySpanExporter()
        resource = Resource.create({"service.name": "acs-opt-in", "service.version": __version__})
        tracers = TracerProvider(resource=resource)
        tracers.add_span_processor(SimpleSpanProcessor(self._spans))
        metrics.set_meter_provider(MeterProvider([self._reader], resource))
        trace.set_tracer_provider(tracers)

    def collect(self) -> Collected:
        """Give all that was measured until now."""
        statuses = Counter(
            str((span.attributes or {}).get("http.response.status_code", "none"))
            for span in self._spans.get_finished_spans()
            if span.name == "optouts:remove"
        )
        collected = self._reader.get_metrics_data()
        found = (
            metric
            for resource in (collected.resource_metrics if collected else ())
            for scope in resource.scope_metrics
            for metric in scope.metrics
        )
        return Collected(
            dict(sorted(statuses.items())),
            {
                metric.name: {"unit": metric.unit, "points": [_point(point) for point in metric.data.data_points]}
                for metric in sorted(found, key=lambda metric: metric.name)
            },
        )


def _point(point: object) -> dict[str, object]:
    attributes = dict(getattr(point, "attributes", None) or {})
    if isinstance(point, HistogramDataPoint):
        return {
            "attributes": attributes,
            "count": point.count,
            "sum": round(point.sum, 6),
            "min": round(point.min, 6),
            "max": round(point.max, 6),
        }
    return {"attributes": attributes, "value": getattr(point, "value", 0)}
