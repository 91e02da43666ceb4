"""The namespace that holds the queues.

As in `queues`, nothing here does I/O or has a clock of its own.
"""

from collections.abc import Callable, Iterator, Mapping

from servicebus_sandbox.errors import EntityNotFound
from servicebus_sandbox.properties import QueueProperties
from servicebus_sandbox.queues import Queue


class Namespace:
    """The queues by their paths: `name`, `name/$DeadLetterQueue` and `name/$Transfer/$DeadLetterQueue`, in any case.

    The last one holds what could not be transferred on to another entity. Nothing is transferred here, so it is empty.

    Raises:
        ValueError: A queue forwards its dead letters to one that does not exist, or to itself, or two have one name.
    """

    def __init__(
        self,
        queues: Mapping[str, QueueProperties],
        *,
        clock: Callable[[], float],
        on_change: Callable[[], None] = lambda: None,
        drop_forwarded_duplicates: bool = True,
    ) -> None:
        self._paths: dict[str, Queue] = {}
        self._transfers: dict[str, Queue] = {}
        for name, properties in queues.items():
            if name.lower() in self._paths:
                raise ValueError(f"there are two queues {name!r}; names are compared without case")
            queue = Queue(name, properties, clock=clock, on_change=on_change)
            queue.life.drops_forwarded_duplicates = drop_forwarded_duplicates
            self._paths |= {path.name.lower(): path for path in (queue, queue.dead_letters)}
            transfer = Queue(f"{name}/$Transfer/$DeadLetterQueue", properties, clock=clock, parent=queue)
            self._transfers[transfer.name.lower()] = transfer
        for name, properties in queues.items():
            if (target := properties.forward_dead_lettered_messages_to) is not None:
                if target not in queues or target == name:
                    raise ValueError(
                        f"{name} cannot forward its dead letters to {target!r}; other queues: {list(queues)}"
                    )
                self.queue(name).forward_dead_letters_to(self.queue(target))

    def __iter__(self) -> Iterator[Queue]:
        """Yield every queue and subqueue."""
        return iter(self._paths.values())

    def queue(self, path: str) -> Queue:
        """Return the queue or subqueue at a path.

        Raises:
            EntityNotFound: There is none.
        """
        key = path.lower()
        found = self._paths.get(key, self._transfers.get(key))
        if found is None:
            names = ", ".join(sorted(queue.name for queue in self))
            raise EntityNotFound(f"the messaging entity {path!r} could not be found; there are: {names}")
        return found

    def due(self) -> float | None:
        """Say when `tick` next has something to do, in seconds since 1970."""
        return min((due for queue in self if (due := queue.due()) is not None), default=None)

    def tick(self) -> None:
        """Do what has fallen due by now."""
        for queue in self:
            queue.tick()
