"""Writes docs/capacity.md: what the figures mean for instances, batch size and money.

What was measured is taken from the results; what was not is a constant here and named on the page.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil
from pathlib import Path

from benchmarks.page import number, paragraph, stamp, table
from benchmarks.results import LARGE_EVENT, Results, way_in
from benchmarks.rounds import cpu
from benchmarks.workloads import Publisher, encoded
from optout_core.adapters.ledger.postgres import CONNECTIONS
from optout_core.batches import MAX_RECIPIENTS
from optout_core.processor import SLICE
from optout_core.settings import Settings

ROOT = Path(__file__).parent.parent
#: Seconds of a call to ACS: the slowest recorded (docs/facts/acs-optouts.md, "The answer").
LATENCY = 0.35
#: Seconds of an invocation beside ours: 20 ms in which a receive waits for more, and round trips to receive and settle.
AROUND = 0.05
#: Seconds of the host for a message: 5,000 a second with an empty function (docs/facts/real-host.md).
HOST = 0.0002
#: How much slower than the machine of the figures an instance is: nobody measured it.
SLOWER = 2
#: Dollars for a GB-second and for an execution (docs/deploy.md, "Cost").
GB_SECOND, EXECUTION = 0.000026, 0.40 / 1_000_000
#: GB of an instance (infra/main.bicep), and seconds of a month.
MEMORY, MONTH = 2, 2_628_000
#: Credits a second of a namespace of the Standard tier, and what an event takes: one sent, one received.
CREDITS, CREDITS_OF_EVENT = 1_000, 2
#: Bytes that the broker is assumed to count for a message beside the encoded message itself.
BESIDE_MESSAGE = 500
#: Instances of a Flex Consumption app at most.
MOST_INSTANCES = 1_000
#: The worker's memory above its resting size in MB, and the milliseconds for which its loop is blocked, at most.
MOST_MEMORY, MOST_BLOCKED = 150, 100
#: Times that the bytes of a message are in memory at once: as the worker received them, and decoded.
COPIES = 2
#: MB of the largest message of the Standard tier.
LARGEST = 0.25
IN_FLIGHT: int = Settings.model_fields["max_concurrent_requests"].default
BATCHES = (100, 200, 300, 500, 1000)
RATES = (10, 1_000, 100_000)

_POSTGRES_LIMITS = "https://learn.microsoft.com/azure/postgresql/flexible-server/concepts-limits"
#: What is left of `max_connections` for others than the server itself (as above). **Read**, not tried.
USER_CONNECTIONS = {"B1ms": 35, "B2s": 414, "D2ds_v5": 844, "D4ds_v5": 1703}


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """How long an invocation takes.

    Attributes:
        message: Our seconds of processor time for a message of one recipient, in batches of 100.
        many: Likewise for a message of a hundred recipients.
    """

    message: float
    many: float

    @classmethod
    def of(cls, results: Results) -> "Model":
        """Take the costs from the figures."""
        at_100 = cpu(results.way_in, "whole of 100")
        many = way_in(results, 100) + MAX_RECIPIENTS * cpu(results.cpu, "hundred at 20 ms")
        return cls(message=at_100 / 1e6, many=many / 1e6)

    def cost(self, recipients: int) -> float:
        """Give the seconds that a message takes on an instance."""
        return HOST + SLOWER * (self.message if recipients == 1 else self.many)

    def seconds(self, batch: int, recipients: int = 1, senders: int = 1) -> float:
        """Give the seconds of an invocation with a full batch."""
        slices = ceil(batch * recipients / SLICE)
        waits = slices * ceil(calls(batch, recipients, senders) / slices / IN_FLIGHT)
        return waits * LATENCY + AROUND + batch * self.cost(recipients)

    def rate(self, batch: int, recipients: int = 1, senders: int = 1) -> float:
        """Give the events a second of one instance with a full queue."""
        return batch / self.seconds(batch, recipients, senders)

    def instances(self, events: float, batch: int, recipients: int = 1) -> int:
        """Give the instances that so many events a second take."""
        return ceil(events / self.rate(batch, recipients))

    def dollars(self, events: float, batch: int, recipients: int = 1) -> float:
        """Give the price of a month of that, every instance busy all the time: the most it can be."""
        instances = self.instances(events, batch, recipients)
        # With less to do than an instance can, it takes smaller batches and is as busy.
        most = instances / self.seconds(1, recipients)
        executions = min(events, max(events / batch, most)) * MONTH
        return instances * MEMORY * MONTH * GB_SECOND + executions * EXECUTION


def calls(batch: int, recipients: int, senders: int) -> int:
    """Count the requests of a full batch whose events are spread evenly over the senders."""
    return senders * ceil(batch * recipients / senders / MAX_RECIPIENTS)


def batch_size(conversion: float) -> int:
    """Give the largest batch that keeps the bounds.

    Args:
        conversion: Microseconds for which a message blocks the loop before the function is called.
    """
    kept = [
        batch
        for batch in BATCHES
        if batch * COPIES * LARGEST <= MOST_MEMORY and batch * conversion * SLOWER / 1e3 <= MOST_BLOCKED
    ]
    return max(kept, default=BATCHES[0])


def write(results: Results, page: Path) -> None:
    """Write the page."""
    page.write_text("\n".join(_lines(results)) + "\n")


def _lines(results: Results) -> Iterator[str]:
    model = Model.of(results)
    host = json.loads((ROOT / "host.json").read_text())["extensions"]["serviceBus"]["maxMessageBatchSize"]
    yield "# Capacity"
    yield ""
    yield from paragraph(
        "How many instances, which batch size and how much money so many opt-ins a second take. Written by"
        " `make bench` from the figures of [performance.md](performance.md): what stands there is measured,"
        " what is assumed is named here."
    )
    yield ""
    yield from paragraph(stamp())
    yield ""
    yield from paragraph(
        f"An invocation takes up to *B* messages (`maxMessageBatchSize`, {host}) and makes `ceil(recipients"
        f" ÷ {MAX_RECIPIENTS})` calls for each sender, {IN_FLIGHT} at a time; an instance runs one invocation"
        f" after the other. *Waits* are the rounds of {IN_FLIGHT} calls, which begin anew for every {SLICE:,}"
        " recipients: an invocation is worked off in slices."
    )
    yield ""
    yield from paragraph("- *T* = waits × *L* + *S* + *B* × *c*, and events/s = instances × *B* ÷ *T*")
    yield from paragraph(f"- *L* = {LATENCY} s a call, the slowest of Microsoft's recordings. **Assumed.**")
    yield from paragraph(f"- *S* = {AROUND} s to receive and to settle. **Assumed.**")
    yield from paragraph(
        f"- *c* = {model.cost(1) * 1e3:.2f} ms a message of one recipient,"
        f" {model.cost(MAX_RECIPIENTS) * 1e3:.1f} ms of a hundred: {HOST * 1e3:g} ms of the host, and"
        f" {SLOWER} × what we measured ({number(model.message * 1e6)} µs and {number(model.many * 1e6)} µs),"
        " since an instance may be slower. **The factor is assumed.**"
    )
    yield ""
    yield from paragraph(
        "Nothing of this was measured on Azure. Replace *L* and *T* by what the workbook shows (*Request"
        " latency*, *Invocations*)."
    )
    yield ""
    yield from _instances(model)
    yield from _rates(model, host)
    yield from _which_batch(results, model, host)
    yield from _ledger(results)
    yield from _limits(model, host)
    yield from _full_queue()


def _instances(model: Model) -> Iterator[str]:
    yield "## One instance, with a full queue"
    yield ""
    shapes = ((10, 1, 1), (100, 1, 1), (100, 1, 100), (100, 100, 1), (1000, 1, 1), (1000, 100, 1))
    yield from table(
        ("batch", "calls", "*T*", "events/s", "opt-ins/s"),
        (
            (
                f"{batch:,} events of {recipients}, {senders} sender{'s' * (senders > 1)}",
                calls(batch, recipients, senders),
                f"{model.seconds(batch, recipients, senders):.2f} s",
                f"{model.rate(batch, recipients, senders):,.0f}",
                f"{model.rate(batch, recipients, senders) * recipients:,.0f}",
            )
            for batch, recipients, senders in shapes
        ),
    )


def _rates(model: Model, host: int) -> Iterator[str]:
    yield "## 10, 1,000 and 100,000 opt-ins a second"
    yield ""
    yield from paragraph(
        f"Instances of {MEMORY} GB, one sender, and the most that a month of it costs: every instance busy"
        " all the time, at the price of [deploy.md](deploy.md#cost). The deployment allows 10 instances"
        f" (`maximumInstanceCount`), Flex {MOST_INSTANCES:,}."
    )
    yield ""
    rows = []
    for rate in RATES:
        for recipients, batch in ((1, host), (1, 1000), (MAX_RECIPIENTS, host)):
            events = rate / recipients
            needed = model.instances(events, batch, recipients)
            tier = "Standard" if events * CREDITS_OF_EVENT <= CREDITS else "Premium"
            rows.append(
                (
                    f"{rate:,}",
                    recipients,
                    f"{batch:,}",
                    f"{needed:,}{' (more than there can be)' * (needed > MOST_INSTANCES)}",
                    number(max(rate / MAX_RECIPIENTS, events / batch)),
                    tier,
                    f"${model.dollars(events, batch, recipients):,.0f}",
                )
            )
    yield from table(
        ("opt-ins/s", "in an event", "*B*", "instances", "calls/s at least", "Service Bus", "a month at most"), rows
    )
    yield from paragraph(
        "The dearest way to send many opt-ins is one at a time: publishers that put a hundred into an event"
        " need a hundredth of the messages, and a fraction of the instances."
    )
    yield ""


def _ledger(results: Results) -> Iterator[str]:
    cost = next(each for each in results.ledgers if each.database == "PostgreSQL")
    both = number(cost.admit + cost.record)
    yield "## The ledger"
    yield ""
    yield from paragraph(
        f"With a consent ledger every slice of an invocation costs two statements more: {both} ms for"
        f" {cost.recipients:,} new people on a server beside us (measured), and two round trips to it (not measured on"
        " Azure). *T* above is without them."
    )
    yield ""
    yield from paragraph(
        f"A process holds at most {CONNECTIONS} connections, so instances × {CONNECTIONS} has to stay below what the"
        f" server gives to users ([Microsoft's table]({_POSTGRES_LIMITS})):"
    )
    yield ""
    yield from table(
        ("server", "connections for users", "instances"),
        ((name, f"{given:,}", f"{given // CONNECTIONS:,}") for name, given in USER_CONNECTIONS.items()),
    )


def _which_batch(results: Results, model: Model, host: int) -> Iterator[str]:
    conversion = way_in(results, 1000)
    best = batch_size(conversion)
    yield "## Which batch size"
    yield ""
    yield from paragraph(
        "Each invocation of one-recipient events waits for ACS once, whatever its size up to 1,600 (16"
        " calls side by side): a larger batch brings more with each wait. What bounds it: the worker holds"
        f" the whole batch ({COPIES} × {LARGEST:g} MB for the largest messages), converts all of it before"
        f" anything else runs ({number(conversion)} µs a message measured, {SLOWER} × that assumed), and a"
        " receive that stalls takes the whole batch with it, for as long as the locks last."
    )
    yield ""
    yield from table(
        ("*B*", "events/s of an instance", "held if all are 256 KB", "loop blocked before the function"),
        (
            (
                f"{batch:,}",
                f"{model.rate(batch):,.0f}",
                f"{batch * COPIES * LARGEST:,.0f} MB",
                f"{batch * conversion * SLOWER / 1e3:,.0f} ms",
            )
            for batch in BATCHES
        ),
    )
    yield from paragraph(
        f"Within {MOST_MEMORY} MB and {MOST_BLOCKED} ms the largest is **{best:,}**; host.json has {host:,}."
        " Where every event is known to be small, and instances are not, 1,000 brings more."
    )
    if results.large.memory is not None:
        yield ""
        yield from paragraph(
            f"What the core makes of a batch does not grow with it: {results.large.recipients:,} recipients in"
            f" events of {LARGE_EVENT:,}, everybody failing, took {results.large.memory:.0f} MB beside the messages."
        )
    yield ""


def _limits(model: Model, host: int) -> Iterator[str]:
    yield "## What ends it earlier"
    yield ""
    yield from paragraph(
        "- **Service Bus Standard**: [1,000 credits a"
        " second](https://learn.microsoft.com/azure/service-bus-messaging/service-bus-throttling) for a"
        " namespace, one for each message sent and one for each received: at most"
        f" **{CREDITS // CREDITS_OF_EVENT} events/s**, whatever the instances. A retry is a message more:"
        " with everybody failing once, half of that. Beyond it, Premium, which has no such number: measure"
        " yours with [Microsoft's"
        " test](https://github.com/Azure-Samples/service-bus-dotnet-messaging-performance)."
    )
    yield from paragraph(
        "- **ACS**: no limit is documented for opt-outs. For orientation only, *sending* is limited to 200"
        " messages a minute for a toll-free number and 6,000 for a short code. A 429 is honoured: recipients"
        " wait, no attempt is used up, and `4xx` rises in the workbook. Then lower `maximumInstanceCount` or"
        f" `MAX_CONCURRENT_REQUESTS`. Ten instances have up to {10 * IN_FLIGHT} calls in flight,"
        f" {10 * IN_FLIGHT / LATENCY:,.0f} a second."
    )
    yield from paragraph(
        f"- **Scaling**: Flex adds instances by queue length ÷ *B*: {10 * host:,} waiting messages ask for"
        " 10 instances, and `maximumInstanceCount` ends it. A small queue keeps to one."
    )
    budget = Settings.model_fields["invocation_budget"].default.total_seconds()
    most = int(IN_FLIGHT * budget / LATENCY)
    yield from paragraph(
        f"- **The budget of an invocation** ({budget:g} s): above {IN_FLIGHT} × {budget:g} ÷ *L* = {most:,}"
        f" calls in one batch the rest is put off; {host} events of"
        f" {most * MAX_RECIPIENTS // host // 100 * 100:,} recipients stay below."
    )
    yield from paragraph(
        f"- **Processor**: at {host} messages a batch the wait for ACS is"
        f" {LATENCY / model.seconds(host):.0%} of *T*; at 1,000 it is {LATENCY / model.seconds(1000):.0%}."
    )
    yield ""


def _full_queue() -> Iterator[str]:
    queues = json.loads((ROOT / "infra" / "queues.json").read_text())
    megabytes = queues["optIns"]["properties"]["maxSizeInMegabytes"]
    size = len(encoded(Publisher().bodies(1)[0], 1)) + BESIDE_MESSAGE
    messages = megabytes * 2**20 // size
    yield "## When the queue is full"
    yield ""
    yield from paragraph(
        f"`opt-ins` holds {megabytes:,} MB. A one-recipient event takes {size:,} bytes"
        f" ({size - BESIDE_MESSAGE} as it is sent, {BESIDE_MESSAGE} assumed for what the broker adds):"
        f" {messages / 1e6:.1f} million messages. With ACS down and nothing removed:"
    )
    yield ""
    yield from table(
        ("one-recipient events/s", "full after"), ((f"{rate:,}", _duration(messages / rate)) for rate in RATES)
    )
    yield from paragraph(
        "- Publishers are refused (*QuotaExceeded*) and have to keep their events: nothing of theirs is"
        " lost that they keep."
    )
    yield from paragraph(
        "- Our retries are refused as well and become dead letters (`RetryRefused`), safe to replay; the"
        " log and the alert say so."
    )
    yield from paragraph(
        "- When the dead-letter queue is full, failed recipients wait in `opt-ins`. When both are, no"
        " message is completed, and ACS is not called before sending works again."
    )
    yield from paragraph(
        "- Larger queues (up to 80 GB) need Premium, or partitioning, which this deployment does not use."
    )
    yield ""


def _duration(seconds: float) -> str:
    for unit, length in (("days", 86_400), ("hours", 3_600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:,.0f} {unit}"
    return f"{seconds:,.0f} seconds"
