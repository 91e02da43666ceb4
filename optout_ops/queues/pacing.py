"""How fast messages go out."""

from collections.abc import Awaitable, Callable

from aiolimiter import AsyncLimiter

#: No more than this at once, whatever the rate: a transfer holds about as many.
_MAX_BURST = 100


def pace(rate: float) -> tuple[int, Callable[[int], Awaitable[None]]]:
    """Make what waits until so many messages may go out.

    Args:
        rate: Messages a second, above 0.

    Returns:
        How many may be asked for at once, and the function that waits.
    """
    burst = max(1, min(_MAX_BURST, int(rate)))
    limiter = AsyncLimiter(burst, burst / rate)
    return burst, limiter.acquire
