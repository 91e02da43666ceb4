"""Where the time goes: each stage of an invocation on its own."""

import gc
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from time import monotonic
from typing import Any

from benchmarks.ours import BUDGET, Ours, taken_over
from benchmarks.workloads import Publisher
from optout_core.arrivals import read_lineage
from optout_core.asked import Answers, Asked
from optout_core.batches import Operation, plan
from optout_core.events import Ignored
from optout_core.incoming import Incoming
from optout_core.messages import dead_letters, retry_messages
from optout_core.outcomes import Outcome, Verdict
from optout_core.reports import Dispatched, Report, SettledEvent
from optout_core.settlement import settle

_RECIPIENTS = 2_000
_ROUNDS = 5


async def stages(ours: Ours, recipients: int) -> dict[str, float]:
    """Give the microseconds of processor time that each stage takes for a recipient, the median of some rounds.

    Args:
        ours: The function.
        recipients: Of each event.
    """
    processor, now = ours.processor, ours.processor.now()
    publisher, messages = Publisher(recipients), _RECIPIENTS // recipients
    arrivals, handed_over = publisher.arrivals(messages), publisher.handed_over(messages)
    lineage = read_lineage(arrivals[0])
    incoming = [Incoming.read(arrival, lineage, processor.keywords) for arrival in arrivals]
    said = [(event, message) for message in incoming for event in message.events if not isinstance(event, Ignored)]
    opt_ins = [event for event, _ in said]
    wanted = [((each.sender,), each.recipients) for each in opt_ins]
    batches = plan(Operation.REMOVE, wanted)
    # A first request opens the connections.
    await processor.endpoint.call(batches, monotonic() + BUDGET)

    facts: dict[str, Any] = {"operation": Operation.REMOVE, "lineage": lineage, "schedule": processor.schedule}
    facts |= {"now": now, "chance": 0.5}

    def settled(outcome: Outcome) -> list[SettledEvent]:
        return [
            SettledEvent(
                event=each,
                lineage=lineage,
                of_each={to: settle(outcome, **facts) for to in each.recipients},
                now=now + timedelta(seconds=1),
            )
            for each in opt_ins
        ]

    confirmed = Outcome(Verdict.CONFIRMED, status=200)
    asked = [Asked.of(*each, processor.rule, now) for each in said]
    outcomes = {opt_ins[0].sender: dict.fromkeys([to for each in opt_ins for to in each.recipients], confirmed)}
    answers = Answers(outcomes=outcomes, unasked=None, newer={}, now=now)
    removed = [each.settle(answers, processor.schedule, lambda: 0.5) for each in asked]
    failed = settled(Outcome(Verdict.FAILED, "Internal Server Error", 500))
    refused = settled(Outcome(Verdict.REJECTED, "Invalid recipient phone number format", 400))
    report = Report(
        messages=len(opt_ins),
        events=tuple(opt_ins),
        settled=tuple(removed),
        dispatched=Dispatched(),
    )
    work: dict[str, Callable[[], object]] = {
        "message of the host": lambda: taken_over(*handed_over, now),
        "lineage and decode": lambda: [
            Incoming.read(arrival, read_lineage(arrival), processor.keywords) for arrival in arrivals
        ],
        "whom it counts for": lambda: [Asked.of(*each, processor.rule, now) for each in said],
        "plan": lambda: plan(Operation.REMOVE, wanted),
        "request": lambda: processor.endpoint.call(batches, monotonic() + BUDGET),
        "settle": lambda: [each.settle(answers, processor.schedule, lambda: 0.5) for each in asked],
        "report": lambda: processor.telemetry.report(report),
        "retry message": lambda: [list(retry_messages(each.event, each.lineage, each.settlements)) for each in failed],
        "dead letter": lambda: [list(dead_letters(each.event, each.lineage, each.settlements)) for each in refused],
    }
    return {stage: await _median(call) / _RECIPIENTS * 1e6 for stage, call in work.items()}


async def _median(call: Callable[[], object]) -> float:
    seconds: Sequence[float] = [await _once(call) for _ in range(_ROUNDS)]
    return sorted(seconds)[_ROUNDS // 2]


async def _once(call: Callable[[], object]) -> float:
    gc.collect()
    started = time.process_time()
    done = call()
    if isinstance(done, Awaitable):
        await done
    return time.process_time() - started
