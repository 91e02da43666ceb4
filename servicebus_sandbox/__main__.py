"""The command line: `python -m servicebus_sandbox --queues queues.json` runs a broker until it is told to stop.

Exit codes: 0 stopped by SIGINT or SIGTERM; 1 the port cannot be had; 2 the call or the file of queues is wrong.
"""

import argparse
import asyncio
import os
import signal
import ssl
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from servicebus_sandbox.properties import QueueProperties, load_queues
from servicebus_sandbox.server import HOST, Broker

_NO_PORT, _WRONG_CALL = 1, 2
_HIGHEST_PORT = 65535


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    parser = _parser()
    given = parser.parse_args(arguments)
    try:
        queues = load_queues(given.queues) if given.queues else {}
        queues |= {name: QueueProperties() for name in given.queue}
        if not queues:
            parser.error("name the queues: --queues FILE, --queue NAME, or both")
        broker = Broker(queues, given.port, tls=_tls(given.tls_certificate, given.tls_key))
    except (OSError, ValueError) as error:
        return _fail(_WRONG_CALL, f"{error}; nothing runs")
    try:
        asyncio.run(_serve(broker, sorted(queues)))
    except BrokenPipeError:
        # Nobody reads the connection string. Python would complain once more when it closes standard output.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        return _fail(
            _NO_PORT, f"cannot listen on {HOST}:{given.port}: {error.strerror}; nothing runs; use another --port"
        )
    except KeyboardInterrupt:
        # Where the event loop takes no signal handlers: Windows.
        pass
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m servicebus_sandbox",
        description="Run a Service Bus compatible broker on loopback, in memory, until Ctrl-C or SIGTERM. The"
        " connection string is the one line on standard output.",
    )
    parser.add_argument("--queues", type=Path, metavar="FILE", help="JSON file of queues and their properties")
    parser.add_argument(
        "--queue", action="append", default=[], metavar="NAME", help="a queue with Azure's defaults; may be repeated"
    )
    parser.add_argument("--tls-certificate", type=Path, metavar="FILE", help="serve TLS with this certificate (PEM)")
    parser.add_argument("--tls-key", type=Path, metavar="FILE", help="its private key, if it is in another file")
    parser.add_argument("--port", type=_port, default=0, help="port to listen on; 0, the default, takes a free one")
    return parser


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > _HIGHEST_PORT:
        raise argparse.ArgumentTypeError(f"{text!r} is no port: 0 to {_HIGHEST_PORT}")
    return int(text)


def _tls(certificate: Path | None, key: Path | None) -> ssl.SSLContext | None:
    if certificate is None:
        if key is not None:
            raise ValueError("--tls-key needs --tls-certificate")
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(certificate, key)
    except ssl.SSLError as error:
        raise ValueError(f"{certificate} and its key cannot be used: {error.reason or error}") from None
    return context


async def _serve(broker: Broker, names: Sequence[str]) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        with suppress(NotImplementedError):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with broker:
        print(broker.connection_string, flush=True)  # noqa: T201 - to be pasted, or piped
        _tell(f"Up, with the queues {', '.join(names)}. Ctrl-C ends it; what is in the queues is gone then.")
        await stop.wait()


def _tell(text: str) -> None:
    # Whoever does not read standard error does not want to know.
    with suppress(OSError):
        print(text, file=sys.stderr, flush=True)  # noqa: T201 - standard output is for the connection string


def _fail(code: int, text: str) -> int:
    _tell(f"Error: {text}")
    return code


if __name__ == "__main__":
    raise SystemExit(main())
