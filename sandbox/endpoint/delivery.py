"""Put an answer on the wire, whole or spoiled as a fault wants it."""

import asyncio
import contextlib
import gzip
import secrets
import socket
import struct
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

from aiohttp import web

from sandbox.endpoint.answers import (
    FROM_PROBLEM,
    HTML,
    JSON,
    Answer,
    edge_page,
    error,
    invalid_input,
    phrase,
    problem,
)
from sandbox.endpoint.faults import Body, Drop, Fault

OVERSIZED_BYTES = 32 * 2**20
"""Blanks before an `oversized` answer: more than any client should take for an answer about 100 numbers."""

GARBAGE = bytes(range(128, 256)) * 4
"""Not UTF-8, hence not JSON."""

SUPPORTED_VERSIONS = ("2024-12-10-preview", "2025-05-29-preview", "2025-08-01-preview", "2025-09-17", "2026-01-23")
"""The folders of the API specification that have opt-outs."""

BYTE_ORDER_MARK = b"\xef\xbb\xbf"

_CHUNK = b" " * 2**20
#: Seconds between two looks at whether a client that gets no answer is still there.
_LOOK_AGAIN = 0.05
_LINGER_ZERO = struct.pack("ii", 1, 0)


def spoil(answer: Answer, fault: Fault) -> Answer:
    """Return what a fault's `status` and `body` make of the true answer; `send` adds the blanks of `oversized`."""
    if fault.status is None and fault.body is None:
        return answer
    status = fault.status or 200
    if fault.status is not None or fault.body == "error":
        words = phrase(status)
        code = words.replace(" ", "") if fault.code is None else fault.code
        answer = error(status, code, words if fault.message is None else fault.message)
    if fault.body in _BODIES:
        answer = _BODIES[fault.body](status, fault)
    elif fault.body in _CHANGES:
        answer = _CHANGES[fault.body](answer)
    return replace(answer, headers={**answer.headers, **_fault_headers(fault)})


def _compressed(answer: Answer) -> Answer:
    return replace(answer, body=gzip.compress(answer.body), headers={"Content-Encoding": "gzip"})


#: The bodies that take the place of the answer, and those that are made from it.
_BODIES: Mapping[Body | None, Callable[[int, Fault], Answer]] = {
    "problem": lambda status, fault: problem(fault.errors or {}, status),
    "problem-from": lambda status, _: problem(FROM_PROBLEM, status),
    "invalid-input": lambda status, _: replace(invalid_input(), status=status),
    "html": lambda status, _: edge_page(status),
    "empty": lambda status, _: Answer(status),
    "garbage": lambda status, _: Answer(status, GARBAGE, JSON),
}
_CHANGES: Mapping[Body | None, Callable[[Answer], Answer]] = {
    "truncated": lambda answer: replace(answer, body=answer.body[: len(answer.body) // 2]),
    "gzip": _compressed,
    "byte-order-mark": lambda answer: replace(answer, body=BYTE_ORDER_MARK + answer.body),
}


async def send(request: web.Request, answer: Answer, fault: Fault | None, elapsed: float) -> web.StreamResponse:
    """Send an answer with the headers ACS and its edge add, in the way `fault` asks for.

    Args:
        request: what is answered.
        answer: the body and status, already spoiled if they are to be.
        fault: the fault on the request, if any.
        elapsed: seconds since the request came in, for `X-Processing-Time`.
    """
    headers = {**_platform_headers(answer, elapsed), **answer.headers}
    if fault is not None and fault.drop == "silence":
        await _wait_until_gone(request)
        return web.Response()
    if fault is not None and fault.drop in {"reset", "close"}:
        _drop(request, fault.drop)
        return web.Response()
    if fault is not None and (fault.drop or fault.body == "oversized"):
        response = web.StreamResponse(status=answer.status, headers=headers)
        # The client may well have had enough and be gone, which is what these faults are for.
        with contextlib.suppress(ConnectionError):
            if fault.drop:
                await _send_half(request, response, answer.body)
                _drop(request, fault.drop)
            else:
                await _send_oversized(request, response, answer.body)
        return response
    return web.Response(status=answer.status, body=answer.body, headers=headers)


async def _wait_until_gone(request: web.Request) -> None:
    while request.transport is not None and not request.transport.is_closing():  # noqa: ASYNC110 - aiohttp has no event for it
        await asyncio.sleep(_LOOK_AGAIN)


async def _send_half(request: web.Request, response: web.StreamResponse, body: bytes) -> None:
    response.content_length = len(body)
    await response.prepare(request)
    await response.write(body[: len(body) // 2])


async def _send_oversized(request: web.Request, response: web.StreamResponse, body: bytes) -> None:
    response.enable_chunked_encoding()
    await response.prepare(request)
    for _ in range(OVERSIZED_BYTES // len(_CHUNK)):
        await response.write(_CHUNK)
    await response.write(body)


def _drop(request: web.Request, drop: Drop) -> None:
    """End the connection: with RST, which closing a socket that must not linger sends, or with FIN."""
    transport = request.transport
    if transport is None:
        return
    if drop.startswith("reset"):
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_ZERO)
    transport.close()


def _platform_headers(answer: Answer, elapsed: float) -> dict[str, str]:
    headers = {"x-azure-ref": f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(16)}"}
    if answer.content_type:
        headers["Content-Type"] = answer.content_type
    if answer.content_type != HTML:
        headers |= {
            "api-supported-versions": ", ".join(SUPPORTED_VERSIONS),
            "MS-CV": f"{secrets.token_urlsafe(16)}.0",
            "Request-Context": "appId=",
            "X-Cache": "CONFIG_NOCACHE",
            "X-Processing-Time": f"{elapsed * 1000:.0f}ms",
        }
    return headers


def _fault_headers(fault: Fault) -> dict[str, str]:
    headers = {}
    if fault.retry_after is not None:
        headers["Retry-After"] = str(fault.retry_after)
    if fault.retry_after_date is not None:
        when = datetime.now(UTC) + timedelta(seconds=fault.retry_after_date)
        headers["Retry-After"] = format_datetime(when, usegmt=True)
    if fault.location is not None:
        headers["Location"] = fault.location
    return headers
