"""The command line of the sandbox: `python -m sandbox`.

Exit codes: 0 everything is settled; 1 something still waits; 2 the call, an event file or a setting is wrong;
4 the broker cannot be reached; 130 interrupted.
"""

import asyncio
import json
import logging
import os
import shlex
import sys
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping
from enum import IntEnum
from http import HTTPStatus
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from azure.servicebus.exceptions import MessagingEntityNotFoundError, ServiceBusError
from rich.console import Console
from rich.markup import escape

from optout_core.errors import SettingsError
from optout_core.masking import show as masked
from sandbox.endpoint import REFERENCE_FAULTS, Endpoint, load_faults
from sandbox.host import HostEnded
from sandbox.host_json import HostError
from sandbox.run import ROOT, Options, Result, function, services
from sandbox.run import run as run_events
from sandbox.show import as_document, show
from sandbox.watch import Watch
from servicebus_sandbox import Broker, load_queues


class Exit(IntEnum):
    """What an exit code means."""

    SETTLED = 0
    WAITING = 1
    USAGE = 2
    UNREACHABLE = 4
    INTERRUPTED = 130


app = typer.Typer(
    help="Azure on one machine: a Service Bus broker, the ACS opt-out endpoint and a host for the function.",
    epilog="Exit codes: 0 all settled, 1 something still waits, 2 wrong call, event file or setting,"
    " 4 broker out of reach, 130 interrupted.",
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

_out = Console()
_err = Console(stderr=True)

Events = Annotated[
    list[str] | None,
    typer.Option("--events", help="File, folder or - (JSON Lines on standard input); may be repeated.", metavar="PATH"),
]
EndpointUrl = Annotated[str | None, typer.Option("--endpoint", help="Use this ACS endpoint instead.", metavar="URL")]
AccessKey = Annotated[str | None, typer.Option(help="Access key of the endpoint; without one, Entra ID.")]
BrokerString = Annotated[
    str | None, typer.Option("--broker", help="Use this namespace instead.", metavar="CONNECTION_STRING")
]
Faults = Annotated[
    Path | None,
    typer.Option(help="JSON file of what goes wrong at the sandbox's endpoint; see docs/sandbox.md."),
]
Seed = Annotated[int | None, typer.Option(help="Make the jitter the same at every run.")]
Timeout = Annotated[float, typer.Option(min=0.1, help="Seconds without progress after which to stop.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON report on standard output and nothing else.")]
Reveal = Annotated[bool, typer.Option("--reveal", help="Show numbers in full.")]
BrokerPort = Annotated[int, typer.Option(min=0, max=65535, help="Port of the broker; 0 takes a free one.")]
EndpointPort = Annotated[int, typer.Option(min=0, max=65535, help="Port of the endpoint; 0 takes a free one.")]


@app.command()
def run(
    events: Events = None,
    endpoint: EndpointUrl = None,
    access_key: AccessKey = None,
    broker: BrokerString = None,
    faults: Faults = None,
    seed: Seed = None,
    timeout: Timeout = 15.0,
    as_json: Json = False,
    reveal: Reveal = False,
) -> None:
    """Publish events and show what the function makes of them."""
    said = _listen(live=as_json)
    options = Options(
        events=tuple(events or [str(ROOT / "samples")]),
        endpoint=endpoint,
        access_key=access_key,
        broker=broker,
        faults=faults,
        seed=seed,
        patience=timeout,
    )

    def finish(result: Result) -> None:
        if as_json:
            json.dump(as_document(result, reveal=reveal), sys.stdout, indent=2)
            sys.stdout.write("\n")
        else:
            show(_out, result, said, reveal=reveal)

    settled = _run(_watched(options, finish))
    raise typer.Exit(Exit.SETTLED if settled else Exit.WAITING)


@app.command()
def up(
    broker_port: BrokerPort = 0,
    endpoint_port: EndpointPort = 0,
    faults: Faults = None,
    work: Annotated[bool, typer.Option("--function/--no-function", help="Let the function work as well.")] = True,
) -> None:
    """Stay up, and print what to paste into another terminal: for `optout`, or with --no-function for `func start`."""
    _listen(live=True)

    async def stay() -> None:
        options = Options((), faults=faults)
        async with services(options, broker_port, endpoint_port) as settings:
            _show_settings(settings)
            if work:
                async with function(settings):
                    await _forever()
            await _forever()

    _run(stay(), interrupted=Exit.SETTLED)


@app.command()
def broker(port: BrokerPort = 0) -> None:
    """Run the broker alone, and print its connection string."""

    async def stay() -> None:
        async with Broker(load_queues(ROOT / "infra" / "queues.json"), port) as running:
            _show_settings({"ServiceBusConnection": running.connection_string})
            await _forever()

    _run(stay(), interrupted=Exit.SETTLED)


@app.command()
def endpoint(port: EndpointPort = 0, faults: Faults = None) -> None:
    """Run the ACS endpoint alone, and print its address and key."""

    async def stay() -> None:
        wrong = load_faults(faults) if faults else REFERENCE_FAULTS
        async with Endpoint(faults=wrong, port=port) as running:
            _show_settings({"ACS_ENDPOINT": running.url, "ACS_ACCESS_KEY": running.access_key})
            await _forever()

    _run(stay(), interrupted=Exit.SETTLED)


async def _watched(options: Options, finish: Callable[[Result], None]) -> bool:
    with _err.status("Starting the broker, the endpoint and the function …") as status:

        def progress(watch: Watch) -> None:
            settled = len(watch.recipients) - watch.count_waiting()
            status.update(f"{settled:,} of {len(watch.recipients):,} recipients settled …")

        async with run_events(options, progress) as result:
            status.stop()
            finish(result)
        return result.settled


def _show_settings(settings: Mapping[str, str]) -> None:
    for name, value in settings.items():
        # Quoted, since a connection string is full of semicolons.
        print(f"export {name}={shlex.quote(value)}", flush=True)  # noqa: T201 - to be pasted, or piped


async def _forever() -> None:
    _err.print("Up. Paste the lines above into another terminal. Ctrl-C ends it.")
    await asyncio.Event().wait()


class _Said(logging.Handler):
    def __init__(self, *, live: bool) -> None:
        # What is dead-lettered is shown anyway; a program that reads the report wants to be told on standard error.
        super().__init__(logging.WARNING if live else logging.ERROR)
        self.said: Counter[str] = Counter()
        self._live = live

    def emit(self, record: logging.LogRecord) -> None:
        line = masked(record.getMessage())
        self.said[line] += 1
        if self._live:
            print(line, file=sys.stderr)  # noqa: T201 - standard output is for results


def _listen(*, live: bool) -> Counter[str]:
    handler = _Said(live=live)
    for name in ("optout_core", "sandbox"):
        logging.getLogger(name).addHandler(handler)
        logging.getLogger(name).propagate = False
    # The SDK tells of each lost connection at length; the host and the outbox say it in a line.
    logging.getLogger("azure").setLevel(logging.CRITICAL)
    # `get_functions` warns that a queue trigger needs no HTTP key.
    logging.getLogger().addHandler(logging.NullHandler())
    return handler.said


def _run(work: Coroutine[Any, Any, Any], interrupted: Exit = Exit.INTERRUPTED) -> Any:
    try:
        return asyncio.run(work)
    except BrokenPipeError:
        # Whoever read the report had seen enough.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(Exit.SETTLED) from None
    except (SettingsError, HostError, OSError, ValueError) as error:
        _fail(Exit.USAGE, str(error))
    except HostEnded as error:
        _fail(Exit.WAITING, str(error))
    except ServiceBusError as error:
        # The service says so when a token for the queue is shown, and the SDK reports every refused token alike.
        status = getattr(error.inner_exception, "status_code", None)
        if isinstance(error, MessagingEntityNotFoundError) or status == HTTPStatus.NOT_FOUND:
            _fail(Exit.UNREACHABLE, "the namespace has no such queue; check OPT_IN_QUEUE and DEAD_LETTER_QUEUE")
        _fail(
            Exit.UNREACHABLE, f"the broker cannot be reached ({type(error).__name__}); nothing was lost; check --broker"
        )
    except KeyboardInterrupt:
        if interrupted is Exit.INTERRUPTED:
            _err.print("Interrupted; the sandbox and all that was in it are gone.")
        raise typer.Exit(interrupted) from None


def _fail(code: Exit, text: str) -> NoReturn:
    _err.print(f"[red]Error:[/] {escape(masked(text))}", soft_wrap=True, emoji=False)
    raise typer.Exit(code)


def main(arguments: list[str]) -> None:
    """Run the command line; without a command, `run`."""
    if not arguments or (arguments[0].startswith("-") and arguments[0] not in {"-h", "--help"}):
        arguments = ["run", *arguments]
    app(arguments, prog_name="python -m sandbox")


if __name__ == "__main__":
    main(sys.argv[1:])
