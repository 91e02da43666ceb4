"""Stands in for the worker process: a thread with an event loop of its own, in which the app is loaded and called.

A killed worker is left as it stands: nothing of the app goes on, no `finally` runs, and the next worker loads the app
anew. What a thread cannot imitate: the modules below the app stay loaded, sockets stay open, and code that blocks is
not interrupted (docs/sandbox.md, "The host").
"""

import asyncio
import inspect
import json
import threading
import typing
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from types import GenericAlias
from typing import Any

import azure.functions as func
from azurefunctions.extensions.base import Datum, get_binding_registry

from sandbox.host_json import HostError

BINDING = "serviceBusTrigger"

#: What is honoured of a trigger's binding, or says nothing that a host could do.
_HONOURED = {"type", "direction", "name", "dataType", "queueName", "connection", "cardinality", "accessRights"}
_NO_SESSIONS = ("isSessionsEnabled", False)

#: Seconds that what still runs has to end when the sandbox ends.
_PATIENCE = 5.0


class WorkerDied(Exception):
    """The worker ended during an invocation."""


@dataclass(frozen=True, slots=True)
class Indexed:
    """The one function of an app, as the worker tells the host of it.

    Attributes:
        name: Of the function.
        argument: Of its parameter that takes the messages.
        queue: Its name, or the app setting that says it between two %.
        connection: The app setting that leads to the namespace.
        function: The function.
        annotation: Of that parameter.
    """

    name: str
    argument: str
    queue: str
    connection: str
    function: Callable[..., Any]
    annotation: object


def index(app: func.FunctionApp) -> Indexed:
    """Find the one batch trigger of an app that takes whole messages.

    Raises:
        HostError: The app has another kind of function, or more than one.
    """
    functions = app.get_functions()
    if len(functions) != 1:
        raise HostError(f"the sandbox runs an app with one function; this one has {len(functions)}")
    found = functions[0]
    name, function = str(found.get_function_name()), found.get_user_function()
    binding, *others = json.loads(str(found))["bindings"]
    if binding["type"] != BINDING or binding.get("cardinality") != "MANY":
        raise HostError(f"{name} must have a Service Bus trigger with cardinality MANY")
    odd = [key for key, value in binding.items() if key not in _HONOURED and (key, value) != _NO_SESSIONS]
    odd += [f"a binding {other['type']}" for other in others]
    if odd:
        raise HostError(f"{name}: {', '.join(odd)} is not imitated by the sandbox's host")
    argument = str(binding["name"])
    annotation = typing.get_type_hints(function).get(argument)
    if isinstance(annotation, GenericAlias):
        raise HostError(f"{name}: the worker cannot index {annotation}; write typing.List[...] in place of list[...]")
    registry = get_binding_registry()  # type: ignore[no-untyped-call]
    if not registry.check_supported_type(annotation) or registry.get(BINDING) is None:
        raise HostError(
            f"{name} binds its messages as {annotation}: there the host converts, one odd message takes its whole batch"
            " to the dead letters, and the sandbox does not imitate that; annotate typing.List[WholeMessage]"
        )
    return Indexed(name, argument, str(binding["queueName"]), str(binding["connection"]), function, annotation)


class Worker:
    """Loads an app and calls its function, on a loop and a thread of its own."""

    def __init__(self, load: Callable[[], func.FunctionApp]) -> None:
        """Take what loads the app: called once by each `start`."""
        self._load = load
        self._host = asyncio.get_running_loop()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._died: asyncio.Future[None] = self._host.create_future()
        self._indexed: Indexed | None = None

    async def start(self) -> Indexed:
        """Start a thread and load the app there.

        Raises:
            HostError: The app is not one that the sandbox can run.
        """
        self._died = self._host.create_future()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._work, args=(self._loop, self._died), daemon=True, name="worker")
        self._thread.start()

        async def load() -> Indexed:
            return index(self._load())

        self._indexed = await self.run(load)
        return self._indexed

    async def invoke(self, data: Datum, metadata: Mapping[str, Datum]) -> None:
        """Call the function with what the host hands over, through the converter that the app registered.

        Raises:
            WorkerDied: The function ended the worker.
            Exception: What the converter or the function raised.
        """
        indexed = self._indexed
        assert indexed is not None  # noqa: S101 - started before; for mypy

        async def call() -> None:
            converter = get_binding_registry().get(BINDING)  # type: ignore[no-untyped-call]
            messages = converter.decode(data, trigger_metadata=metadata, pytype=indexed.annotation)
            given = {indexed.argument: messages}
            if inspect.iscoroutinefunction(indexed.function):
                returned = await indexed.function(**given)
            else:
                returned = await asyncio.to_thread(indexed.function, **given)
            if returned is not None:
                raise RuntimeError(f"function {indexed.name} without a $return binding returned a non-None value")

        await self.run(call)

    async def run(self, work: Callable[[], Awaitable[Any]]) -> Any:  # noqa: ANN401 - what the work gives
        """Run a coroutine function on the worker's loop, and give what it returns.

        Raises:
            WorkerDied: The worker ended meanwhile.
        """
        assert self._loop is not None  # noqa: S101 - started before; for mypy

        async def working() -> Any:  # noqa: ANN401 - as above
            return await work()

        running = asyncio.wrap_future(asyncio.run_coroutine_threadsafe(working(), self._loop))
        await asyncio.wait((running, self._died), return_when=asyncio.FIRST_COMPLETED)
        if running.done():
            return running.result()
        running.cancel()
        raise WorkerDied("the worker process exited")

    def kill(self) -> None:
        """Stop the loop where it stands; whatever it was doing is never taken up again."""
        loop, self._loop, self._thread = self._loop, None, None

        def bury() -> None:
            for task in asyncio.all_tasks(loop):
                # It is dropped on purpose; asyncio would tell of it when the interpreter ends.
                task._log_destroy_pending = False  # type: ignore[attr-defined] # noqa: SLF001
                _GRAVES.append(task)
            _GRAVES.append(loop)
            # Ends the loop at once; `stop` would let what is ready have its turn.
            raise SystemExit

        if loop is not None:
            loop.call_soon_threadsafe(bury)

    async def close(self) -> None:
        """Stop the loop in good order: what still runs is cancelled, and its `finally` runs."""
        loop, thread = self._loop, self._thread
        self._loop = self._thread = None
        if loop is None or thread is None or not thread.is_alive():
            return

        async def finish() -> None:
            tasks = asyncio.all_tasks() - {asyncio.current_task()}
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await loop.shutdown_asyncgens()
            await loop.shutdown_default_executor()

        finishing = asyncio.wrap_future(asyncio.run_coroutine_threadsafe(finish(), loop))
        done, _ = await asyncio.wait((finishing,), timeout=_PATIENCE)
        if not done:
            # Code that blocks cannot be interrupted; its thread ends with the program.
            return
        loop.call_soon_threadsafe(loop.stop)
        await asyncio.to_thread(thread.join)
        loop.close()

    def _work(self, loop: asyncio.AbstractEventLoop, died: "asyncio.Future[None]") -> None:
        asyncio.set_event_loop(loop)
        try:
            loop.run_forever()
        except BaseException:  # noqa: BLE001 - SystemExit of a function ends the worker and nothing else
            self._host.call_soon_threadsafe(died.cancel)


#: What killed workers were doing. Let go of, the coroutines would be closed, and that runs their `finally`.
_GRAVES: list[object] = []
