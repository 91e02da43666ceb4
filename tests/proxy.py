"""A TCP proxy on loopback that does to connections what a network does."""

import asyncio
import socket
import struct
from contextlib import suppress
from typing import Any

_LINGER_ZERO = struct.pack("ii", 1, 0)
UP, DOWN = "up", "down"


class Proxy:
    """Passes bytes to a port of this machine, as long as it is let.

    Attributes:
        port: Where it listens.
        target: The port that it leads to; may be changed.
        refuses: Whether new connections are reset at once.
    """

    def __init__(self, target):
        self.target = target
        self.port = 0
        self.refuses = False
        self._server: Any = None
        self._connections = set()
        self._dropping = frozenset()

    async def __aenter__(self):
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_):
        self._server.close()
        passing = [connection.task for connection in self._connections]
        self.cut()
        await asyncio.gather(*passing, return_exceptions=True)
        # A socket that is aborted is closed in the next turn of the loop.
        await asyncio.sleep(0)

    def drop(self, *ways):
        """Drop packets from now on, without a word: what clients send (UP), what they are sent (DOWN), or both."""
        self._dropping = frozenset(ways or (UP, DOWN))
        for connection in self._connections:
            connection.broken |= self._dropping

    def heal(self):
        """Let new connections through; those that lost something stay broken, as a stream with a hole in it is none."""
        self._dropping = frozenset()

    def cut(self):
        """Reset every connection at both ends."""
        for connection in tuple(self._connections):
            connection.reset()

    async def _accept(self, reader, writer):
        connection = _Connection(writer, asyncio.current_task(), self._dropping)
        self._connections.add(connection)
        try:
            if not self.refuses:
                await connection.run(reader, self.target)
        finally:
            self._connections.discard(connection)
            connection.reset()


class _Connection:
    def __init__(self, writer, task, broken):
        self.task = task
        self.broken = set(broken)
        self._writers = [writer]

    async def run(self, reader, target):
        with suppress(OSError):
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", target)
            self._writers.append(far_writer)
            async with asyncio.TaskGroup() as both:
                both.create_task(self._pass(reader, far_writer, UP))
                both.create_task(self._pass(far_reader, self._writers[0], DOWN))

    async def _pass(self, reader, writer, way):
        with suppress(OSError):
            while content := await reader.read(65536):
                if way not in self.broken:
                    writer.write(content)
                    await writer.drain()
        if way not in self.broken:
            writer.close()

    def reset(self):
        for writer in self._writers:
            with suppress(OSError, AttributeError):
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_ZERO)
            writer.transport.abort()
