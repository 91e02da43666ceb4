"""The histories are worth something: each wrong version of the protocol is caught by one of them, and by a seed."""

from typing import Any

import pytest

from tests.consent import mutants, test_histories
from tests.consent.mutants import MUTANTS, living
from tests.consent.seeds import History

#: More than enough: the rarest mutant, `completes_first`, shows in one history of 300 or so.
SEEDS = 2_000

pytestmark = pytest.mark.parametrize("store", ["sqlite"], indirect=True)


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
    given: dict[str, Any] = {"h5": {"place": "send"}, "h7": {"turn": 1, "together": False}}.get(name, {})

    with living(mutant), pytest.raises(AssertionError):
        await history(world, **given)


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.__name__)
async def test_a_seeded_history_catches_it(store, mutant):
    with living(mutant):
        for seed in range(SEEDS):
            if await History(seed, store).run():
                return
    pytest.fail(f"{SEEDS:,} histories, and none shows that {mutant.__doc__}")
