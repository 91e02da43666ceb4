"""host.json: what the sandbox's host honours of it, and what it refuses by name.

A key that the real host would follow and this one does not is an error, so that nobody tunes what does nothing. Keys
that have no effect on a batch trigger, or none on what happens to messages, are let pass
(https://learn.microsoft.com/azure/azure-functions/functions-bindings-service-bus#hostjson-settings).
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

#: They say what is logged and loaded, not what happens to a message; or belong to other triggers.
_ELSEWHERE = {"version", "$schema", "logging", "telemetryMode", "extensionBundle", "concurrency", "retry"}
#: They are for functions that take one message at a time, or for queues with sessions.
_SINGLE = {
    "maxAutoLockRenewalDuration",
    "maxConcurrentCalls",
    "maxConcurrentCallsPerSession",
    "maxConcurrentSessions",
    "sessionIdleTimeout",
}
#: What may stand there because it is what this host does anyway.
_FIXED: dict[str, object] = {
    "prefetchCount": 0,
    "minMessageBatchSize": 1,
    "transportType": "amqpTcp",
    "enableCrossEntityTransactions": False,
}
#: https://learn.microsoft.com/azure/azure-functions/functions-bindings-service-bus#hostjson-settings
_LONGEST_WAIT = timedelta(seconds=150)
_NEVER = timedelta(days=365_000)


class HostError(Exception):
    """An app or a host.json that is refused: with most of these the real host would not start either."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientRetries:
    """How often the .NET client tries before it raises (`ServiceBusRetryOptions`).

    Attributes:
        is_exponential: Whether the delay doubles with each try.
        try_timeout: For one try; so long a receive waits for the first message.
        delay: Before the first repetition; with `is_exponential`, half of it.
        max_delay: The longest.
        max_retries: Repetitions, at least 0.
    """

    is_exponential: bool = True
    try_timeout: timedelta = timedelta(minutes=1)
    delay: timedelta = timedelta(seconds=0.8)
    max_delay: timedelta = timedelta(minutes=1)
    max_retries: int = 3

    def pause(self, repetition: int) -> float:
        """Give the seconds before a repetition, the first being 1 (`BasicRetryPolicy`, without its jitter)."""
        factor = 2**repetition if self.is_exponential else 1
        return min(self.delay * factor, self.max_delay).total_seconds()


@dataclass(frozen=True, slots=True, kw_only=True)
class HostJson:
    """What host.json says of a Service Bus batch trigger; the defaults are the host's.

    Attributes:
        timeout: How long an invocation may take.
        max_batch: Messages for one invocation, at least 1.
        auto_complete: Whether the messages of an invocation that succeeded are completed.
        retries: Of the client.
    """

    timeout: timedelta = timedelta(minutes=30)
    max_batch: int = 1000
    auto_complete: bool = True
    retries: ClientRetries = ClientRetries()


def read_host_json(path: Path) -> HostJson:
    """Read host.json.

    Raises:
        HostError: It says what this host does not do, or says it wrongly; each key by its name.
        OSError: There is none.
    """
    try:
        document = json.loads(path.read_bytes())
    except ValueError as error:
        raise HostError(f"{path.name} is no JSON: {error}") from None
    found = _Section(document, "")
    found.let_pass(_ELSEWHERE)
    service_bus = found.section("extensions").section("serviceBus")
    service_bus.let_pass(_SINGLE)
    # It is for batches with a least number of messages, which this host does not imitate; refused where Azure refuses.
    service_bus.take("maxBatchWaitTime", _longest_wait, None)
    for name, only in _FIXED.items():
        service_bus.take(name, _only(only), only)
    retries = service_bus.section("clientRetryOptions")
    default, client = HostJson(), ClientRetries()
    read = HostJson(
        timeout=found.take("functionTimeout", duration, default.timeout),
        max_batch=service_bus.take("maxMessageBatchSize", _count(1), default.max_batch),
        auto_complete=service_bus.take("autoCompleteMessages", _switch, default.auto_complete),
        retries=ClientRetries(
            is_exponential=retries.take("mode", _mode, client.is_exponential),
            try_timeout=retries.take("tryTimeout", duration, client.try_timeout),
            delay=retries.take("delay", duration, client.delay),
            max_delay=retries.take("maxDelay", duration, client.max_delay),
            max_retries=retries.take("maxRetries", _count(0), client.max_retries),
        ),
    )
    found.refuse_the_rest()
    return read


class _Section:
    """One object of the document; what nobody took of it is refused."""

    def __init__(self, document: object, path: str) -> None:
        if not isinstance(document, Mapping):
            raise HostError(f"host.json: {path.rstrip('.') or 'the document'} must be an object")
        self._left: dict[str, Any] = dict(document)
        self._path = path
        self._sections: list[_Section] = []

    def section(self, name: str) -> "_Section":
        section = _Section(self._left.pop(name, {}), f"{self._path}{name}.")
        self._sections.append(section)
        return section

    def let_pass(self, names: set[str]) -> None:
        for name in names:
            self._left.pop(name, None)

    def take(self, name: str, read: Callable[[Any], Any], default: Any) -> Any:  # noqa: ANN401 - of any key
        if name not in self._left:
            return default
        value = self._left.pop(name)
        try:
            return read(value)
        except (TypeError, ValueError) as error:
            raise HostError(f"host.json: {self._path}{name} {error}, and is {value!r}") from None

    def refuse_the_rest(self) -> None:
        for name in self._left:
            raise HostError(
                f"host.json: {self._path}{name} is not imitated by the sandbox's host; take it out to run here"
            )
        for section in self._sections:
            section.refuse_the_rest()


def duration(text: str) -> timedelta:
    """Read a time span of .NET, such as 00:04:30, 1.00:00:00 or 00:00:00.80; -1 is for ever."""
    if text == "-1":
        return _NEVER
    found = re.fullmatch(r"(?:(\d+)\.)?(\d+):(\d+):(\d+(?:\.\d{1,7})?)", text)
    if found is None:
        raise ValueError("must be a time such as 00:04:30")
    days, hours, minutes, seconds = found.groups()
    return timedelta(days=int(days or 0), hours=int(hours), minutes=int(minutes), seconds=float(seconds))


def _longest_wait(text: str) -> None:
    if duration(text) > _LONGEST_WAIT:
        raise ValueError(f"must be at most {_LONGEST_WAIT}")


def _count(least: int) -> Callable[[object], int]:
    def read(value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise ValueError(f"must be a whole number, at least {least}")
        return value

    return read


def _switch(value: object) -> bool:
    if not isinstance(value, bool):
        raise TypeError("must be true or false")
    return value


def _mode(value: object) -> bool:
    if value not in ("exponential", "fixed"):
        raise ValueError("must be exponential or fixed")
    return value == "exponential"


def _only(expected: object) -> Callable[[object], object]:
    def read(value: object) -> object:
        if value != expected:
            raise ValueError(f"must be {json.dumps(expected)}: the sandbox's host imitates nothing else")
        return value

    return read
