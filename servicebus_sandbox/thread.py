"""A broker in a thread of its own: for synchronous clients, and for tests that have no event loop."""

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from threading import Thread
from types import TracebackType
from typing import Any, Self, TypeVar

from servicebus_sandbox.properties import QueueProperties
from servicebus_sandbox.server import Broker

T = TypeVar("T")


class BrokerThread:
    """A broker that works beside the test, in a thread of its own. Use it as a context manager.

    Args:
        queues: Each queue's properties by name.
        options: What else `Broker` takes: `port`, `keys`, `limits` ...

    Raises:
        ValueError: The queues do not fit together.
        OSError: The port is in use (on entering).
    """

    def __init__(self, queues: Mapping[str, QueueProperties], **options: Any) -> None:
        self._make: Callable[[], Broker] = lambda: Broker(queues, **options)
        self._started: Future[tuple[asyncio.AbstractEventLoop, Broker]] = Future()
        self._stop = asyncio.Event()
        self._thread = Thread(target=lambda: asyncio.run(self._run()), name="servicebus-sandbox", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._loop, self._broker = self._started.result()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    @property
    def connection_string(self) -> str:
        """The connection string of the first key."""
        return self._broker.connection_string

    def call(self, function: Callable[[Broker], T]) -> T:
        """Return what a function says of the broker; it is called in the broker's thread, and may change things.

        Raises:
            Exception: Whatever the function raises.
        """

        async def called() -> T:
            return function(self._broker)

        return asyncio.run_coroutine_threadsafe(called(), self._loop).result()

    def wait_until(self, condition: Callable[[Broker], bool], timeout: float = 10.0) -> None:
        """Return as soon as a condition holds; it is looked at in the broker's thread, after every change.

        Raises:
            TimeoutError: It does not hold within `timeout` seconds.
        """
        waiting = self._broker.wait_until(lambda: condition(self._broker), timeout)
        asyncio.run_coroutine_threadsafe(waiting, self._loop).result()

    async def _run(self) -> None:
        try:
            async with self._make() as broker:
                self._started.set_result((asyncio.get_running_loop(), broker))
                await self._stop.wait()
        except Exception as error:
            # What goes wrong after the start has nobody to tell but the thread's own hook.
            if self._started.done():
                raise
            self._started.set_exception(error)
