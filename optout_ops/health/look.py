"""One look at everything: what waits, what is dead, is it still happening, does the function work, does ACS answer."""

from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from optout_core.events import OptOut
from optout_core.numbers import Number
from optout_core.outgoing import Queue
from optout_core.reasons import Reason
from optout_core.settings import Settings
from optout_ops.audit import AuditTrail
from optout_ops.exits import OutOfReach
from optout_ops.health.backlog import Backlog
from optout_ops.health.deployed import Deployed
from optout_ops.health.findings import Finding, Health, skew
from optout_ops.health.heat import HeatMap
from optout_ops.letters.bursts import Bursts
from optout_ops.letters.letter import Letter, read_letter
from optout_ops.letters.summary import Summary
from optout_ops.letters.verdicts import ReplayRule
from optout_ops.queues.protocols import QueuePair
from optout_ops.replay.history import list_replays

#: Bytes that the queue of the opt-ins holds (infra/queues.json, maxSizeInMegabytes).
ROOM = 5 * 1024**3


@dataclass(slots=True, kw_only=True)
class Look:
    """What one look saw.

    Attributes:
        now: When; aware.
        backlog: What waits in the queue of the opt-ins.
        heat: The dead letters by reason, publisher and hour.
        bursts: Dead letters that died together.
        summary: The dead letters by reason and verdict.
        stops: Dead letters that hold a STOP, which holds back no opt-in.
        hours_left: Hours until the first waiting message becomes a dead letter; None when none will.
        acs: Whether ACS answers.
        clock: What this machine's clock is beside ACS's; None where ACS did not answer.
        ledger: What the function's ledger says of itself.
        settings: Whose settings all this goes by.
        replays: The last replays, the newest first.
    """

    now: datetime
    backlog: Backlog
    heat: HeatMap
    bursts: Bursts
    summary: Summary
    stops: int
    hours_left: float | None
    acs: Finding
    clock: Finding | None
    ledger: Finding
    settings: Finding
    replays: list[dict[str, object]]

    @property
    def function(self) -> Finding:
        """Say whether the function works."""
        health, text = self.backlog.function()
        return Finding("function", health, text)

    @property
    def needs_somebody(self) -> bool:
        """Say whether there is something that somebody should look at."""
        return bool(self.heat.total) or any(each.health is Health.BAD for each in self.findings())

    def findings(self) -> list[Finding]:
        """Give what there is to say of the function, ACS, the clock, the ledger and the settings."""
        found = (self.function, self.acs, self.clock, self.ledger, self.settings)
        return [each for each in found if each is not None]

    def as_document(self) -> dict[str, object]:
        """Give everything for programs."""
        return {
            "at": self.now.isoformat(),
            "needsSomebody": self.needs_somebody,
            "optIns": self.backlog.as_document(),
            "hoursLeft": None if self.hours_left is None else round(self.hours_left, 1),
            "deadLetters": self.heat.as_document(),
            "unsettledStops": self.stops + self.backlog.stops,
            "findings": [
                {"about": each.about, "health": str(each.health), "text": each.text} for each in self.findings()
            ],
            "replays": self.replays,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Viewpoint:
    """From where one looks.

    Attributes:
        settings: The settings of this shell.
        rule: Gives the rule that says whether a dead letter may be replayed, of the settings that it is given.
        trail: The audit trail.
        acs_problem: Why ACS cannot be asked, such as a missing setting, or None.
        clock_skew: Gives how far this machine's clock is ahead of ACS's; asks ACS, whoever we are.
        try_out: Asks ACS a harmless question about the list of a sender.
        ask_ledger: Gives what the ledger says of itself, and the settings that the function published there.
    """

    settings: Settings
    rule: Callable[[Settings], ReplayRule]
    trail: AuditTrail
    acs_problem: str | None
    clock_skew: Callable[[], Awaitable[timedelta | None]]
    try_out: Callable[[Number], Awaitable[Finding]]
    ask_ledger: Callable[[], Awaitable[tuple[Finding, Deployed]]]


async def look(queues: QueuePair, viewpoint: Viewpoint, now: datetime) -> Look:
    """Look once; locks and changes nothing.

    Raises:
        Mistake: The audit trail cannot be read.
        OutOfReach: A queue cannot be read.
    """
    backlog, heat, bursts, stops = Backlog(now), HeatMap(now), Bursts(), 0
    ledger, deployed = await viewpoint.ask_ledger()
    rule = viewpoint.rule(deployed.settings)
    summary = Summary(rule, now)
    async for message in queues.peek(Queue.OPT_INS):
        backlog.add(message)
    senders = backlog.senders.copy()
    async for message in queues.peek(Queue.DEAD_LETTERS):
        letter = read_letter(message)
        heat.add(letter)
        senders.update(letter.senders)
        summary.add(letter)
        bursts.add(letter, rule.judge(letter, now).advice)
        stops += _holds_a_stop(letter)
        backlog.note_life(message)
    acs, clock = await _ask_acs(viewpoint, senders)
    return Look(
        now=now,
        backlog=backlog,
        heat=heat,
        bursts=bursts,
        summary=summary,
        stops=stops,
        hours_left=backlog.hours_left(deployed.settings.opt_in_max_age, ROOM),
        acs=acs,
        clock=clock,
        ledger=ledger,
        settings=deployed.finding,
        replays=list_replays(viewpoint.trail.read(), queues.namespace),
    )


async def _ask_acs(viewpoint: Viewpoint, senders: Counter[Number]) -> tuple[Finding, Finding | None]:
    if viewpoint.acs_problem is not None:
        return Finding("acs", Health.UNKNOWN, f"not asked: {viewpoint.acs_problem}"), None
    try:
        clock = skew(await viewpoint.clock_skew())
        # Ours, or the one that most messages are about: there is no other way to know a sender of the resource.
        ours = sorted(viewpoint.settings.allowed_senders, key=str) or [each for each, _ in senders.most_common(1)]
        if not ours:
            return Finding("acs", Health.GOOD, "it answers; no sender is known that could be asked about"), clock
        return await viewpoint.try_out(ours[0]), clock
    except OutOfReach as error:
        return Finding("acs", Health.BAD, str(error)), None


def _holds_a_stop(letter: Letter) -> bool:
    return letter.reason is Reason.UNCLEAR_OPT_OUT or any(isinstance(event, OptOut) for event in letter.events)
