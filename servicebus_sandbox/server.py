"""The broker: queues behind a socket on loopback, and the means to watch and to disturb them."""

import asyncio
import ssl
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Self

from servicebus_sandbox.access import AccessKey
from servicebus_sandbox.connection import Connection
from servicebus_sandbox.errors import EntityDisabled, LinkDetached, Refused, ServerBusy
from servicebus_sandbox.exchange import Exchange, Refusal
from servicebus_sandbox.limits import Limits
from servicebus_sandbox.properties import QueueProperties
from servicebus_sandbox.queue_links import ConsumerLink, PublisherLink
from servicebus_sandbox.queues import Queue

HOST = "127.0.0.1"

#: Not a secret: nobody but this machine reaches the broker.
DEFAULT_KEY = AccessKey("RootManageSharedAccessKey", "sandbox")
#: Turns of the loop after which a connection that was accepted is one of ours: a task makes it, a callback says so
#: (`asyncio.selector_events`). Python complains about one that nobody closes when the process ends.
_UNTIL_KNOWN = 3


class Broker:
    """A Service Bus namespace for azure-servicebus and its like, on loopback, in memory.

    Use it as an async context manager; everything in it is gone afterwards. It works on the event loop it was entered
    on; a synchronous client must run in another thread or process.

    Args:
        queues: Each queue's properties by name; `load_queues` reads them from a file.
        port: The port to listen on; 0 is a free one.
        clock: Seconds since 1970. Only what happens in queues follows it; call `clock_moved` after setting it.
        keys: The shared access keys; a token of another key is refused as Service Bus refuses it (401).
        limits: What is allowed on the wire.
        tls: Serve TLS with the certificate of this context; without one, plain TCP.

    Raises:
        ValueError: The queues do not fit together.
        OSError: The port is in use (on entering).
    """

    def __init__(  # noqa: PLR0913 - one parameter for each thing that a test may choose
        self,
        queues: Mapping[str, QueueProperties],
        port: int = 0,
        *,
        clock: Callable[[], float] = time.time,
        keys: Sequence[AccessKey] = (DEFAULT_KEY,),
        limits: Limits | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._exchange = Exchange(queues, keys, limits or Limits(), clock)
        self._tls = tls
        self._keys = {key.name: key for key in keys}
        self._port = port
        self._server: asyncio.Server | None = None
        self._connections: set[Connection] = set()
        self._idle_timer: asyncio.TimerHandle | None = None

    async def __aenter__(self) -> Self:
        self._server = await asyncio.get_running_loop().create_server(
            lambda: Connection(self._exchange, self._connections), HOST, self._port, ssl=self._tls
        )
        self._port = self._server.sockets[0].getsockname()[1]
        self._watch_idle_links()
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._server is not None:
            self._server.close()
            for _turn in range(_UNTIL_KNOWN):
                await asyncio.sleep(0)
            # Not `wait_closed`: from Python 3.12 it waits for clients that do not go on with the handshake of TLS.
            await self.drop_connections()
        if self._idle_timer is not None:
            self._idle_timer.cancel()
        self._exchange.close()

    @property
    def port(self) -> int:
        """The port it listens on."""
        return self._port

    @property
    def connection_string(self) -> str:
        """The connection string of the first key."""
        return self.connection_string_of(next(iter(self._keys)))

    def connection_string_of(self, key_name: str) -> str:
        """Return the connection string of a key.

        `UseDevelopmentEmulator` makes clients speak plain AMQP, on the port given. With TLS it is left out.
        """
        key = self._keys[key_name]
        plain = "" if self._tls else "UseDevelopmentEmulator=true;"
        return f"Endpoint=sb://{HOST}:{self._port};SharedAccessKeyName={key.name};SharedAccessKey={key.key};{plain}"

    def queue(self, path: str) -> Queue:
        """Return a queue to look at: its counts and messages.

        Raises:
            EntityNotFound: There is no queue of that name.
        """
        return self._exchange.queue(path)

    def queue_links(self) -> list[PublisherLink | ConsumerLink]:
        """List the links to queues that clients hold open now."""
        links = [link for connection in self._connections for link in connection.links]
        return [link for link in links if isinstance(link, PublisherLink | ConsumerLink)]

    async def wait_until(self, condition: Callable[[], bool], timeout: float = 10.0) -> None:  # noqa: ASYNC109
        """Return as soon as a condition holds; it is looked at after every change of queues and links.

        Raises:
            TimeoutError: It does not hold within `timeout` seconds.
        """
        async with asyncio.timeout(timeout):
            await self._exchange.wait_until(condition)

    def clock_moved(self) -> None:
        """Do what has fallen due by the clock's new time, for clocks that are set by hand."""
        self._exchange.changed()

    async def drop_connections(self) -> None:
        """Drop all connections without a word, as a broken network does."""
        for connection in tuple(self._connections):
            connection.abort()
            await connection.lost.wait()

    @contextmanager
    def fail_sends(self, queue: str | None = None, answer: Refused | None = None) -> Iterator[Refusal]:
        """Refuse every send to a queue, or to all queues, while the context is open.

        Args:
            queue: The queue's name.
            answer: What the client is told; the default is the `ServerBusy` of an overloaded namespace.

        Yields:
            A counter: `met` is how many sends were refused.
        """
        with self._refusing(queue, answer, of_receives=False) as refusal:
            yield refusal

    @contextmanager
    def fail_receives(self, queue: str | None = None, answer: Refused | None = None) -> Iterator[Refusal]:
        """Refuse whatever needs the claim Listen on a queue, or on all, while the context is open.

        A link that asks for messages is detached, and what is asked of `$management` is refused. A link that asked
        before goes on waiting, is given nothing, and settles what it has.

        Args:
            queue: The queue's name.
            answer: What the client is told; the default is the `ServerBusy` of an overloaded namespace.

        Yields:
            A counter: `met` is how often something was refused.
        """
        with self._refusing(queue, answer, of_receives=True) as refusal:
            yield refusal

    def _refusing(
        self, queue: str | None, answer: Refused | None, *, of_receives: bool
    ) -> AbstractContextManager[Refusal]:
        busy = ServerBusy("the request was terminated because the entity is being throttled; wait and try again")
        where = None if queue is None else self.queue(queue)
        return self._exchange.refusing(where, answer or busy, of_receives=of_receives)

    def set_status(self, queue: str, status: str) -> None:
        """Enable or disable a queue, as an operator does: `Active`, `Disabled`, `SendDisabled`, `ReceiveDisabled`.

        Links that it no longer allows are detached. What a client has locked it can still settle. Dead letters that
        would be forwarded to a queue that takes no messages stay in their own queue's `$DeadLetterQueue`.

        Raises:
            EntityNotFound: There is no such queue.
            ValueError: There is no such status.
        """
        self.queue(queue).status = status
        for link in self.queue_links():
            try:
                link.check_status()
            except EntityDisabled as disabled:
                link.detach(disabled)

    def lose_answers(self, count: int = 1) -> None:
        """Let the next sends in, but drop the connection instead of answering: the client cannot know."""
        self._exchange.answers_to_lose = count

    def detach_idle_links(self, idle_for: float = 0.0) -> int:
        """Detach the links that nobody has used for so many seconds, as Service Bus does after ten minutes.

        A link that waits for messages is in use. Returns how many were detached.
        """
        latest = asyncio.get_running_loop().time() - idle_for
        idle = [link for link in self.queue_links() if link.idle_since is not None and link.idle_since <= latest]
        for link in idle:
            link.detach(
                LinkDetached(
                    f"the link {link.name!r} is force detached by the broker: IdleTimerExpired: it has not been used"
                    f" for {idle_for:g} s; open it again"
                )
            )
        return len(idle)

    def _watch_idle_links(self) -> None:
        """Look for idle links whenever the first of them can be idle for long enough."""
        loop, patience = asyncio.get_running_loop(), self._exchange.limits.link_idle_timeout
        self.detach_idle_links(patience)
        oldest = min(
            (link.idle_since for link in self.queue_links() if link.idle_since is not None), default=loop.time()
        )
        self._idle_timer = loop.call_at(oldest + patience, self._watch_idle_links)
