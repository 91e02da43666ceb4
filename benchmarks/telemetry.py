"""What telemetry costs: what the function sends to Application Insights, counted by an endpoint on loopback.

A process of its own is set up as the worker does it, with the app settings that are deployed, and works off
invocations; the real exporters send to the endpoint, which keeps all. Writes the last section of docs/metrics.md.
"""

import asyncio
import gzip
import json
import logging
import os
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Annotated, Any

import typer
from msgspec import structs

from benchmarks.capacity import EXECUTION, GB_SECOND, MEMORY, Model
from benchmarks.endpoint import serving
from benchmarks.ours import BUDGET, MemoryOutbox, app_settings
from benchmarks.page import number, paragraph, stamp, table
from benchmarks.workloads import SENDER, Publisher
from optout_core.adapters.service import Service
from optout_core.arrivals import Arrival

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "metrics.md"
HEADING = "## What it costs"

#: As infra/modules/function.bicep sets them; a test holds the one against the other.
SETTINGS = {
    "APPLICATIONINSIGHTS_OPENTELEMETRY_RESOURCE_METRIC_DISABLED": "true",
    "APPLICATIONINSIGHTS_SDKSTATS_DISABLED": "true",
    "OTEL_BLRP_SCHEDULE_DELAY": "1000",
    "OTEL_METRICS_EXPORTER": "none",
    "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": "azure_sdk,django,fastapi,flask,httpx,httpx2,psycopg2,requests,urllib,"
    "urllib3",
    "OTEL_RESOURCE_ATTRIBUTES": "service.name=acs-opt-in,service.version=1.0.0",
    "OTEL_TRACES_EXPORTER": "none",
}
#: What these libraries would tell Microsoft of themselves: nothing here may leave the machine.
_QUIET = {
    "APPLICATIONINSIGHTS_CONTROLPLANE_DISABLED": "true",
    "APPLICATIONINSIGHTS_STATSBEAT_DISABLED_ALL": "true",
}
#: Dollars for a GB that a workspace takes in: an assumption of infra's review, not looked up (docs/deploy.md, "Cost").
GIGABYTE = 2.30
#: Bytes of the item that the host sends for an invocation. **Assumed**: there is no host here that could be asked.
OF_THE_HOST = 1_100
#: Seconds that an execution is billed at least (docs/deploy.md, "Cost").
LEAST_BILLED = 1.0
#: Seconds between two exports of metrics (the default of OpenTelemetry), and of a day.
INTERVAL, DAY = 60.0, 86_400
#: Lines of one kind that a process writes at once, and in a minute after that (optout_core/adapters/telemetry.py).
BURST, LINES_A_MINUTE = 20, 10
#: The most that telemetry may cost of what the function costs.
GOAL = 0.20
_PATIENCE = 120


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """What one invocation gets.

    Attributes:
        events: Of one recipient each.
        senders: Over which they are spread evenly: a call each.
        dead: Messages beside these that are no event.
        traced: Whether each message carries a trace of its own.
    """

    events: int
    senders: int = 1
    dead: int = 0
    traced: bool = False


@dataclass(frozen=True, slots=True)
class Sent:
    """What arrived at the ingestion endpoint.

    Attributes:
        items: Each with what it says, as JSON.
        sizes: Bytes of each, as it was written.
        collection: Milliseconds in which metrics were collected and exported once, all of it on loopback.
    """

    items: Sequence[dict[str, Any]]
    sizes: Sequence[int]
    collection: float = 0.0

    def of(self, *kinds: str) -> list[dict[str, Any]]:
        """Give the items of some kinds, such as `Message`."""
        return [item for item in self.items if _kind(item) in kinds]

    def bytes(self) -> Counter[str]:
        """Count the bytes by what they are about: a line, a dead event, an invocation, a call, a metric."""
        found: Counter[str] = Counter()
        for item, size in zip(self.items, self.sizes, strict=True):
            found[_about(item)] += size
        return found

    @property
    def collections(self) -> int:
        """Count how often metrics were collected: a long run does so by itself as well."""
        return sum(
            item["data"]["baseData"]["metrics"][0]["name"] == "optout.breaker.open" for item in self.of("Metric")
        )


def _kind(item: dict[str, Any]) -> str:
    return str(item["data"]["baseType"]).removesuffix("Data")


def _about(item: dict[str, Any]) -> str:
    kind, said = _kind(item), item["data"]["baseData"]
    if kind == "Message":
        named = {"settled ": "line", "event ": "dead event"}
        return next((about for start, about in named.items() if said["message"].startswith(start)), "another line")
    if kind in {"RemoteDependency", "Request"}:
        return "invocation" if said["name"] == "process opt-ins" else "call"
    return "metrics" if kind == "Metric" else kind


class _Ingestion(ThreadingHTTPServer):
    """Takes what `azure-monitor-opentelemetry-exporter` sends: JSON lines, or a list, packed or not."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.lines: list[bytes] = []

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/"


class _Handler(BaseHTTPRequestHandler):
    server: _Ingestion

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        taken = 0
        if self.path.endswith("/track"):
            items = json.loads(body) if body.lstrip().startswith(b"[") else list(map(json.loads, body.splitlines()))
            self.server.lines += [json.dumps(item, separators=(",", ":")).encode() for item in items]
            taken = len(items)
        answer = json.dumps({"itemsReceived": taken, "itemsAccepted": taken, "errors": []}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - of the base class
        pass


@contextmanager
def _ingestion() -> Iterator[_Ingestion]:
    with _Ingestion() as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def sent(shape: Shape, invocations: int) -> Sent:
    """Let a process work off invocations, one collection of metrics at their end, and give what it sent."""
    with _ingestion() as server, serving() as addresses:
        environ = {
            "PATH": os.environ["PATH"],
            "APPLICATIONINSIGHTS_CONNECTION_STRING": "InstrumentationKey=00000000-0000-0000-0000-000000000000;"
            f"IngestionEndpoint={server.address};LiveEndpoint={server.address}",
            **SETTINGS,
            **_QUIET,
            **app_settings(addresses["0 ms"]),
        }
        command = [sys.executable, "-m", __name__, json.dumps(asdict(shape)), str(invocations)]
        ran = subprocess.run(  # noqa: S603 - ours
            command, cwd=ROOT, env=environ, stdout=subprocess.PIPE, text=True, check=True, timeout=_PATIENCE
        )
        lines = list(server.lines)
    return Sent([json.loads(line) for line in lines], [len(line) for line in lines], float(ran.stdout))


def _arrivals(publisher: Publisher, shape: Shape) -> list[Arrival]:
    good = publisher.arrivals(shape.events)
    for place, each in enumerate(good):
        sender = f"{int(SENDER) + place % shape.senders}"
        properties = dict(each.properties)
        if shape.traced:
            properties["traceparent"] = f"00-{os.urandom(16).hex()}-{os.urandom(8).hex()}-01"
        good[place] = structs.replace(
            each, body=each.body.replace(SENDER[1:].encode(), sender.encode()), properties=properties
        )
    now = datetime.now(UTC)
    dead = [Arrival(body=b"nonsense", enqueued_at=now, message_id=os.urandom(8).hex()) for _ in range(shape.dead)]
    return good + dead


async def _work(shape: Shape, invocations: int) -> None:
    service = Service(os.environ)
    processor = replace(await service._started(), outbox=MemoryOutbox())  # noqa: SLF001 - wired as on Azure
    publisher = Publisher()
    try:
        for _ in range(invocations):
            await processor.process(_arrivals(publisher, shape), time.monotonic() + BUDGET)
    finally:
        await service.close()


def _flush(provider: Any) -> None:  # noqa: ANN401 - the API does not know what the SDK can
    provider.force_flush()


def _main(shape: str, invocations: str) -> None:
    from azure.monitor.opentelemetry import configure_azure_monitor  # noqa: PLC0415 - in the process that is measured
    from opentelemetry import _logs, metrics, trace  # noqa: PLC0415

    # As azure_functions_runtime.otel does it, before the app is loaded; the worker's loggers tell at INFO.
    os.environ.setdefault("OTEL_EXPERIMENTAL_RESOURCE_DETECTORS", "azure_functions")
    configure_azure_monitor(connection_string=os.environ["APPLICATIONINSIGHTS_CONNECTION_STRING"], logger_name="")
    logging.getLogger("optout_core").setLevel(logging.INFO)
    asyncio.run(_work(Shape(**json.loads(shape)), int(invocations)))
    began = time.perf_counter()
    _flush(metrics.get_meter_provider())
    print(f"{(time.perf_counter() - began) * 1e3:.3f}")
    for provider in (trace.get_tracer_provider(), _logs.get_logger_provider()):
        _flush(provider)
    # The exporters would collect once more at their end.
    sys.stdout.flush()
    os._exit(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What was sent, in bytes.

    Attributes:
        line: Of the line of an invocation.
        dead: Of the line of an event with a dead letter.
        spans: Of the spans of an invocation, on average over many, by shape.
        metrics: Of one collection of metrics.
        collection: Milliseconds of one, on loopback.
    """

    line: float
    dead: float
    spans: dict[str, float] = field(default_factory=dict)
    metrics: float = 0.0
    collection: float = 0.0


#: Enough that what was saved up at the start of a process is spent in the first half.
_MANY = 800
SHAPES = {
    "one event": Shape(events=1),
    "ten events": Shape(events=10),
    "a hundred events": Shape(events=100),
    "a hundred events with traces": Shape(events=100, traced=True),
    "a hundred senders": Shape(events=100, senders=100),
}


def measure(invocations: int = _MANY) -> Cost:
    """Measure it."""
    spans, lines, metrics, collections = {}, [], [], []
    for name, shape in SHAPES.items():
        typer.echo(f"measuring: {name}")
        warm, whole = sent(shape, invocations // 2), sent(shape, invocations)
        of_spans = [each.bytes()["invocation"] + each.bytes()["call"] for each in (warm, whole)]
        spans[name] = (of_spans[1] - of_spans[0]) / (invocations - invocations // 2)
        lines.append(whole.bytes()["line"] / invocations)
        metrics.append(whole.bytes()["metrics"] / whole.collections)
        collections.append(whole.collection)
    typer.echo("measuring: dead events")
    dead = sent(Shape(events=1, dead=15), 1)
    return Cost(
        line=round(max(lines)),
        dead=round(dead.bytes()["dead event"] / 15),
        spans={name: round(size) for name, size in spans.items()},
        metrics=round(max(metrics)),
        collection=round(statistics.median(collections), 2),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """A rate of docs/capacity.md.

    Attributes:
        name: What it is.
        shape: One of SHAPES, whose spans are nearest.
        rate: Opt-ins a second.
        batch: Messages of an invocation.
        recipients: Of an event.
        senders: Of a batch.
    """

    name: str
    shape: str
    rate: float
    batch: int
    recipients: int = 1
    senders: int = 1


TRAFFIC = (
    Traffic(name="10 opt-ins/s, in batches of 4", shape="ten events", rate=10, batch=4),
    Traffic(name="10 opt-ins/s, one at a time", shape="one event", rate=10, batch=1),
    Traffic(name="1,000 opt-ins/s, one sender", shape="a hundred events", rate=1_000, batch=100),
    Traffic(name="1,000 opt-ins/s, traced", shape="a hundred events with traces", rate=1_000, batch=100),
    Traffic(name="1,000 opt-ins/s, a hundred senders", shape="a hundred senders", rate=1_000, batch=100, senders=100),
    Traffic(name="1,000 opt-ins/s, every event dead", shape="a hundred events", rate=1_000, batch=100),
    Traffic(name="100,000 opt-ins/s, one sender", shape="a hundred events", rate=100_000, batch=100),
    Traffic(
        name="100,000 opt-ins/s, 100 in an event", shape="a hundred events", rate=100_000, batch=100, recipients=100
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Day:
    """What a day of some traffic costs.

    Attributes:
        compute: Dollars of the function.
        gigabytes: Of telemetry.
    """

    compute: float
    gigabytes: float

    @property
    def telemetry(self) -> float:
        """Give its dollars."""
        return self.gigabytes * GIGABYTE

    @property
    def share(self) -> float:
        """Give what telemetry costs of what the function costs."""
        return self.telemetry / self.compute


def day(traffic: Traffic, cost: Cost, model: Model) -> Day:
    """Reckon a day: what the model says of invocations, times what was measured of one."""
    invocations = traffic.rate / traffic.recipients / traffic.batch
    seconds = model.seconds(traffic.batch, traffic.recipients, traffic.senders)
    busy = max(1.0, invocations * seconds)  # instances; the least is one that is awake and sends its metrics
    lines = LINES_A_MINUTE * busy / 60 if "dead" in traffic.name else 0.0
    a_second = invocations * (cost.line + cost.spans[traffic.shape] + OF_THE_HOST)
    a_second += busy * cost.metrics / INTERVAL + lines * cost.dead
    dollars = invocations * (max(seconds, LEAST_BILLED) * MEMORY * GB_SECOND + EXECUTION)
    return Day(compute=dollars * DAY, gigabytes=a_second * DAY / 1e9)


def _model() -> Model:
    # Of docs/capacity.md, as `make bench` measured it: microseconds of a message of one recipient, and of a hundred.
    text = " ".join((ROOT / "docs" / "capacity.md").read_text().split())
    _, _, rest = text.partition("what we measured (")
    one, _, rest = rest.partition(" µs and ")
    many, _, _ = rest.partition(" µs)")
    return Model(message=float(one.replace(",", "")) / 1e6, many=float(many.replace(",", "")) / 1e6)


def lines_of(cost: Cost, model: Model) -> Iterator[str]:
    """Write the section."""
    days = {traffic.name: day(traffic, cost, model) for traffic in TRAFFIC}
    dearest = max(days.values(), key=lambda each: each.share)
    yield HEADING
    yield ""
    yield from paragraph(stamp().replace("`make bench`", "`python -m benchmarks telemetry`"))
    yield ""
    yield from paragraph(
        "What the function sends to Application Insights, with the real exporters and the app settings that are"
        " deployed, counted in bytes of JSON by an ingestion endpoint on loopback. What Azure bills is not the same,"
        " and of that order."
    )
    yield ""
    yield from table(
        ("what", "bytes"),
        (
            ("the line of an invocation", f"{cost.line:,.0f}"),
            ("the line of an event with a dead letter", f"{cost.dead:,.0f}"),
            *((f"spans of an invocation, on average: {name}", f"{size:,.0f}") for name, size in cost.spans.items()),
            ("all metrics of a process, once a minute", f"{cost.metrics:,.0f}"),
            ("the host's item for an invocation (**assumed**)", f"{OF_THE_HOST:,}"),
        ),
    )
    yield from paragraph(
        f"So a day costs this, with *T* as [capacity.md](capacity.md) has it (of {number(model.message * 1e6)} µs and"
        f" {number(model.many * 1e6)} µs a message), instances of {MEMORY} GB, at least {LEAST_BILLED:g} s billed for"
        f" an execution, and ${GIGABYTE:.2f} a GB (**assumed**, as are the other prices: [deploy.md](deploy.md#cost)):"
    )
    yield ""
    yield from table(
        ("traffic", "function", "telemetry", "share"),
        (
            (name, f"${each.compute:,.2f}", f"{each.gigabytes:,.2f} GB, ${each.telemetry:,.2f}", f"{each.share:.0%}")
            for name, each in days.items()
        ),
    )
    yield from paragraph(
        f"The dearest is {dearest.share:.0%}; the goal is {GOAL:.0%} at most:"
        f" **{'met' if dearest.share <= GOAL else 'not met'}**. An instance of 512 MB costs a quarter and says as much:"
        " there the share is four times that. Below one invocation a minute the metrics weigh most, and a day costs"
        " cents."
    )
    yield ""
    yield from paragraph(
        "- **Whole invocations.** Each invocation may add one and a half spans of its own and half a span of a call;"
        " what is left over is saved up, twenty and two hundred at most. The span of an invocation is kept while it can"
        " be afforded (a link costs a tenth of one); then its calls are kept all or none. Count with the metrics:"
        " traces are examples."
    )
    yield from paragraph(
        "- **Lines.** Of each kind (events with dead letters, refusals, the ledger, detours) a process writes"
        f" {BURST} at once and then {LINES_A_MINUTE} a minute. How many were left out stands in the next line of an"
        " invocation, as `optout.lines_left_out`; that line counts everything, by reason, and is never left out."
    )
    yield from paragraph(
        f"- **The last minute.** To collect and export metrics once takes {number(cost.collection)} ms on loopback, and"
        " more on the way to Azure: too much for the end of each invocation. So what a process measured since its last"
        " export is gone when it is taken away, and no alert that wakes somebody rests on a metric of ours that tells"
        " of one event: they rest on the lines, which leave within a second."
    )
    yield from paragraph(
        "- **Nothing else.** Each call is one dependency, and no counter of the worker's is sent: the exporters of"
        " `optout_core/adapters/azure_monitor.py` take the place of the worker's, which `OTEL_METRICS_EXPORTER` and"
        " `OTEL_TRACES_EXPORTER` switch off. `logDailyCapGB` is the most of a day."
    )


def main(
    *,
    invocations: Annotated[int, typer.Option(min=_MANY, help="Of each shape.")] = _MANY,
    page: Annotated[Path, typer.Option(help="Whose last section is written anew.", exists=True)] = PAGE,
) -> None:
    """Count what the function sends to Application Insights; write the last section of docs/metrics.md."""
    section = lines_of(measure(invocations), _model())
    above, _, _ = page.read_text().partition(HEADING)
    page.write_text(above.rstrip("\n") + "\n\n" + "\n".join(section) + "\n")


if __name__ == "__main__":
    _main(*sys.argv[1:])
