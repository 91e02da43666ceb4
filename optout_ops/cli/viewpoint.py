"""From where the commands look that look at everything."""

import functools

from optout_ops.cli.options import Limits, Reach
from optout_ops.cli.outside import Outside
from optout_ops.exits import Mistake
from optout_ops.health.acs import clock_skew, try_out
from optout_ops.health.look import Viewpoint


def viewpoint_of(outside: Outside, reach: Reach, limits: Limits) -> Viewpoint:
    """Give the viewpoint of this machine, for the commands that look at everything."""
    settings = outside.settings(reach.namespace)
    acs_problem: str | None = None
    try:
        outside.settings(reach.namespace, needs_acs=True)
    except Mistake as error:
        acs_problem = str(error)
    return Viewpoint(
        settings=settings,
        rule=limits.rule,
        trail=outside.trail(),
        acs_problem=acs_problem,
        clock_skew=functools.partial(clock_skew, settings),
        try_out=functools.partial(try_out, settings),
        ask_ledger=functools.partial(outside.look_at_ledger, settings, names_acs=acs_problem is None),
    )
