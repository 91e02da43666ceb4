"""The command line of the sandbox: `python -m sandbox`.

Exit codes: 0 everything is settled; 1 something still waits; 2 the call, an event file, a setting or the output is
wrong; 4 the broker cannot be reached; 130 interrupted, 143 and 129 by SIGTERM and SIGHUP.
"""

import sys
from typing import Annotated

from sandbox.starting import ending_at_once

# The libraries take a second to import.
with ending_at_once():
    import asyncio
    import json
    import logging
    import shlex
    from collections import Counter
    from collections.abc import Callable, Mapping
    from contextlib import AsyncExitStack
    from datetime import UTC, datetime
    from pathlib import Path

    import typer
    from rich.markup import escape

    from optout_core.masking import show as masked
    from optout_core.reports import Report
    from sandbox.drill import Clock, fill
    from sandbox.ending import Exit
    from sandbox.ending import run as run_to_its_end
    from sandbox.endpoint import REFERENCE_FAULTS, Endpoint, load_faults
    from sandbox.live import of_report, of_request, watch_dead_letters
    from sandbox.output import LineWriter, lines, page, status, tell, write_line
    from sandbox.run import ROOT, Options, Result, Services, function, services
    from sandbox.run import run as run_events
    from sandbox.show import as_document, show
    from sandbox.watch import Watch
    from servicebus_sandbox import Broker, load_queues

app = typer.Typer(
    help="Azure on one machine: a Service Bus broker, the ACS opt-out endpoint and a host for the function.",
    epilog="Exit codes: 0 all settled, 1 something still waits, 2 wrong call, event file, setting or output,"
    " 4 broker out of reach, 130 interrupted.",
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

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
Fill = Annotated[
    int | None,
    typer.Option("--fill", min=1, max=100_000, help="Put so many dead letters of all kinds there first, for a drill."),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Do not say what happens.")]
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
            write_line(json.dumps(as_document(result, reveal=reveal), indent=2))
            return
        with page() as console:
            show(console, result, said, reveal=reveal)

    settled = run_to_its_end(_watched(options, finish))
    raise typer.Exit(Exit.SETTLED if settled else Exit.WAITING)


@app.command()
def up(
    broker_port: BrokerPort = 0,
    endpoint_port: EndpointPort = 0,
    faults: Faults = None,
    work: Annotated[bool, typer.Option("--function/--no-function", help="Let the function work as well.")] = True,
    letters: Fill = None,
    quiet: Quiet = False,
) -> None:
    """Stay up: print what to paste into another terminal, for `optout` or `func start`, and then what happens."""
    _listen(live=True)

    async def stay() -> None:
        clock = Clock()
        async with services(Options((), faults=faults), broker_port, endpoint_port, clock) as given:
            if letters:
                await _filled(given, clock, letters)
            _show_settings(given.settings)
            await _stay(given, work=work, quiet=quiet)

    run_to_its_end(stay(), stays=True)


@app.command()
def broker(port: BrokerPort = 0) -> None:
    """Run the broker alone, and print its connection string."""

    async def stay() -> None:
        async with Broker(load_queues(ROOT / "infra" / "queues.json"), port) as running:
            _show_settings({"ServiceBusConnection": running.connection_string})
            async with lines() as out:
                await _until_unread(out)

    run_to_its_end(stay(), stays=True)


@app.command()
def endpoint(port: EndpointPort = 0, faults: Faults = None) -> None:
    """Run the ACS endpoint alone, and print its address and key."""

    async def stay() -> None:
        wrong = load_faults(faults) if faults else REFERENCE_FAULTS
        async with Endpoint(faults=wrong, port=port) as running:
            _show_settings({"ACS_ENDPOINT": running.url, "ACS_ACCESS_KEY": running.access_key})
            async with lines() as out:
                await _until_unread(out)

    run_to_its_end(stay(), stays=True)


async def _watched(options: Options, finish: Callable[[Result], None]) -> bool:
    with status("Starting the broker, the endpoint and the function …") as shown:

        def progress(watch: Watch) -> None:
            settled = len(watch.recipients) - watch.count_waiting()
            shown.update(f"{settled:,} of {len(watch.recipients):,} recipients settled …")

        async with run_events(options, progress) as result:
            shown.stop()
            finish(result)
        return result.settled


async def _filled(given: Services, clock: Clock, letters: int) -> None:
    assert given.broker is not None  # noqa: S101 - `up` starts its own; for mypy
    with status(f"Making {letters:,} dead letters …") as shown:

        def progress(done: int) -> None:
            shown.update(f"{done:,} of {letters:,} dead letters are there …")

        await fill(given.broker, clock, given.settings, letters, progress)
    tell(f"{letters:,} dead letters lie in {given.settings['DEAD_LETTER_QUEUE']}; `optout dlq summary` shows them.")


async def _stay(given: Services, *, work: bool, quiet: bool) -> None:
    loop = asyncio.get_running_loop()
    async with lines() as out, AsyncExitStack() as stack:

        def observe(report: Report) -> None:
            for line in of_report(report, datetime.now(UTC)):
                out.write(line)

        watching = loop.create_future()
        if not quiet:
            assert given.broker is not None  # noqa: S101 - `up` starts its own; for mypy
            assert given.endpoint is not None  # noqa: S101 - as above
            given.endpoint.observers.append(lambda request: out.write(of_request(request)))
            name = given.settings["DEAD_LETTER_QUEUE"]
            watching = asyncio.ensure_future(watch_dead_letters(given.broker, name, out.write, of_all=not work))
        stack.callback(watching.cancel)
        if work:
            await stack.enter_async_context(function(given.settings, None if quiet else observe))
        await _until_unread(out, watching)


async def _until_unread(out: LineWriter, *others: "asyncio.Future[None]") -> None:
    tell("Up. Paste the lines above into another terminal. Ctrl-C ends it.")
    done, _ = await asyncio.wait((out.failed, *others), return_when=asyncio.FIRST_COMPLETED)
    for each in done:
        each.result()


def _show_settings(settings: Mapping[str, str]) -> None:
    for name, value in settings.items():
        # Quoted, since a connection string is full of semicolons.
        write_line(f"export {name}={shlex.quote(value)}")


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
            tell(escape(line))


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


def main(arguments: list[str]) -> None:
    """Run the command line; without a command, `run`."""
    if not arguments or (arguments[0].startswith("-") and arguments[0] not in {"-h", "--help"}):
        arguments = ["run", *arguments]
    app(arguments, prog_name="python -m sandbox")


if __name__ == "__main__":
    main(sys.argv[1:])
