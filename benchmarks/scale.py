"""How much is measured."""

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """The sizes of one run.

    Attributes:
        rounds: Of each comparison, beside one that warms up.
        recipients: For which processor time is taken, a multiple of 100.
        events: One-recipient events whose wall time is taken.
        shared: Of them as many over one shared client; its time is scaled up.
        sample: Of them as many by the sample pattern; its time is scaled up.
        small: Of them as many in batches of 4 messages; their time is scaled up.
        growth: Recipients of one invocation, from few to many.
        large: Recipients of one invocation in events that are as large as Service Bus takes.
        processes: Fresh processes that import the function.
        hosted: Events that the sandbox's host and broker bring.
        ledger: Recipients of one slice that the ledger takes in.
    """

    rounds: int = 9
    recipients: int = 2_000
    events: int = 10_000
    shared: int = 300
    sample: int = 32
    small: int = 80
    growth: tuple[int, ...] = (1_000, 10_000, 100_000)
    large: int = 90_000
    processes: int = 5
    hosted: int = 4_000
    ledger: tuple[int, ...] = (1_000, 10_000)


ORDINARY = Scale()
LONG = replace(ORDINARY, growth=(*ORDINARY.growth, 1_000_000))
#: For the test that compares ratios, and for looking whether the program works.
TINY = Scale(
    rounds=3,
    recipients=500,
    events=500,
    shared=50,
    sample=8,
    small=16,
    growth=(1_000, 5_000),
    large=9_000,
    processes=1,
    hosted=500,
    ledger=(100, 1_000),
)
