"""Broker, ACS and function as processes that are killed and cut off from each other: every recipient ends somewhere.

A seed says what is published and what breaks. `make chaos SEEDS=17` runs one again, `make chaos SEEDS=14-200` many.
"""

import pytest

from tests.chaos.oracle import judge
from tests.chaos.plan import plan
from tests.chaos.world import World


# One at a time, and on one worker: what runs beside it takes the time that locks and time-outs count on.
@pytest.mark.xdist_group("chaos")
@pytest.mark.timeout(240)
# azure-servicebus, with which we publish, forgets the sockets of lost connections.
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
async def test_every_recipient_of_every_event_ends_in_exactly_one_place(chaos_seed, tmp_path):
    planned = plan(chaos_seed)

    seen = await World(planned, tmp_path).run()

    wrong = judge(planned, seen)
    assert not wrong, f"make chaos SEEDS={chaos_seed} ({', '.join(planned.kinds)}; logs in {tmp_path}):\n" + "\n".join(
        wrong
    )
