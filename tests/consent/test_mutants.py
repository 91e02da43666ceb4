"""The histories are worth something: each wrong version of the protocol is caught by one of them, and by a seed."""

import pytest

from tests.consent import mutants, test_histories
from tests.consent.mutants import MUTANTS, living
from tests.consent.seeds import History
from tests.consent.walk import Walk

#: More than enough: the rarest mutant, `completes_first`, shows in one history of 300 or so.
SEEDS = 2_000


@pytest.mark.parametrize("store", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    ("name", "mutant"),
    [
        ("h1", mutants.no_come_back),
        ("h1", mutants.settles_anything),
        ("h1", mutants.noted_nowhere),
        ("h2", mutants.no_come_back),
        ("h3", mutants.answer_clears_all),
        ("h3", mutants.time_out_is_done),
        ("h4", mutants.never_settled),
        ("h5", mutants.completes_first),
        ("h7", mutants.tie_to_opt_in),
        ("h8", mutants.same_kind_keeps_settled),
        ("h8", mutants.stop_always_adds),
        ("h9", mutants.same_kind_keeps_settled),
        ("h10", mutants.proof_nowhere),
        ("h11", mutants.own_time),
    ],
)
async def test_a_history_by_hand_catches_it(world, name, mutant):
    (history,) = (test for each, test in vars(test_histories).items() if each.startswith(f"test_{name}_"))
    every: dict = {"h5": {"place": "send"}, "h7": {"turn": 1, "together": False}}

    with living(mutant), pytest.raises(AssertionError):
        await history(world, **every.get(name, {}))


@pytest.mark.parametrize(
    ("mutant", "said", "budget", "steps"),
    [
        (mutants.no_come_back, "web@1 out@2", (0, 0, 0), 10),
        (mutants.settles_anything, "web@1 out@2", (0, 0, 0), 12),
        (mutants.tie_to_opt_in, "out@1 web@1", (0, 0, 0), 3),
        (mutants.never_settled, "web@1", (1, 0, 0), 6),
        (mutants.never_settled, "web@1", (0, 0, 1), 7),
        (mutants.stop_always_adds, "out@1 web@2", (0, 0, 0), 10),
        (mutants.same_kind_keeps_settled, "web@1 STOP@2 web@3", (0, 0, 0), 9),
        (mutants.noted_nowhere, "web@1 out@2", (0, 0, 0), 10),
        (mutants.answer_clears_all, "web@1 out@2", (0, 1, 0), 14),
        (mutants.proof_nowhere, "web@1", (0, 0, 0), 3),
    ],
)
def test_the_walk_catches_it_by_the_shortest_way(mutant, said, budget, steps):
    with living(mutant):
        walk = Walk([(each[:-2], int(each[-1])) for each in said.split()], budget).explore()

    assert walk.wrong is not None
    assert len(walk.wrong[1]) == steps


@pytest.mark.parametrize("store", ["sqlite"], indirect=True)
@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.__name__)
async def test_a_seeded_history_catches_it(store, mutant):
    with living(mutant):
        for seed in range(SEEDS):
            if await History(seed, store).run():
                return
    pytest.fail(f"{SEEDS:,} histories, and none shows that {mutant.__doc__}")
