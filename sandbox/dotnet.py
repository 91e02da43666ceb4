"""How the .NET client shows what AMQP carries: the text of an id, and the JSON that the host makes of properties.

Also what it cannot decode at all: then the whole receive fails. Seen with Azure.Messaging.ServiceBus 7.21.0, WebJobs
host 3.0.48 (docs/sandbox.md, "The host").
"""

import math
from base64 import b64encode
from datetime import UTC, datetime, timedelta
from decimal import Context, Decimal
from typing import Any
from uuid import UUID

from servicebus_sandbox.amqp import Array, Char, DecimalBits, Described, Symbol, Timestamp

_EPOCH, _YEAR_ONE = datetime(1970, 1, 1, tzinfo=UTC), datetime(1, 1, 1, tzinfo=UTC)
#: Described types that the .NET client writes and reads (`AmqpMessageConverter` of Azure.Messaging.ServiceBus).
_URI, _OFFSET, _TIMESPAN = (Symbol(f"com.microsoft:{name}") for name in ("uri", "datetime-offset", "timespan"))
_TICKS = 10_000_000
#: The end of the Basic Multilingual Plane: a char of .NET holds no more.
_BEYOND = "\uffff"
#: Of a decimal128 its bytes and the bias of its exponent, of `System.Decimal` the bits of its digits and most places.
_DECIMAL128, _BIAS, _DIGITS, _PLACES = 16, 6176, 96, 28


class Undecodable(Exception):
    """A message that the .NET client cannot decode, in its words."""


#: Stands for a property that the .NET client leaves out without a word.
LEFT_OUT = object()


def text_of(value: object) -> str | None:
    """Give an id as `ServiceBusReceivedMessage` shows it."""
    if value is None:
        return None
    return value.hex().upper() if isinstance(value, bytes) else str(value)


def json_of(value: Any) -> Any:  # noqa: ANN401, PLR0911 - any AMQP value, and a line for each kind
    """Give the JSON that the host makes of an application property, or `LEFT_OUT`.

    Raises:
        Undecodable: The client cannot read it.
    """
    if isinstance(value, Described):
        return _described(value)
    if isinstance(value, dict):
        raise Undecodable(
            "System.Runtime.Serialization.SerializationException: Serialization operation failed due to unsupported"
            " type Microsoft.Azure.Amqp.Encoding.AmqpMap"
        )
    if isinstance(value, Char):
        if value > _BEYOND:
            raise Undecodable("System.ArgumentOutOfRangeException: Failed to convert to a char")
        return str(value)
    if isinstance(value, DecimalBits):
        return _decimal(value)
    if isinstance(value, Timestamp):
        return time_of(value)
    if isinstance(value, bytes):
        return b64encode(value).decode()
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else f"{'-' if value < 0 else ''}Infinity"
    if isinstance(value, list | Array):
        return [shown for each in value if (shown := json_of(each)) is not LEFT_OUT]
    return str(value) if isinstance(value, str | UUID) else value


def time_of(milliseconds: int, zone: str = "Z") -> str:
    """Write a timestamp as Newtonsoft.Json does: as many digits of a second as there are, none for none."""
    try:
        moment = _EPOCH + timedelta(milliseconds=milliseconds)
    except OverflowError:
        # `AmqpEncoding` clamps above, and takes what is below the year 1 for no time.
        return "9999-12-31T23:59:59.9999999" if milliseconds > 0 else f"1970-01-01T00:00:00{zone}"
    return _trimmed(moment) + zone


def _trimmed(moment: datetime) -> str:
    fraction = f".{moment:%f}".rstrip("0").rstrip(".")
    # %Y has no leading zeros on every platform.
    return f"{moment.year:04}-{moment:%m-%dT%H:%M:%S}{fraction}"


def _described(value: Described) -> object:
    if value.descriptor == _URI:
        return str(value.value)
    if value.descriptor == _OFFSET and isinstance(value.value, int):
        try:
            return f"{_trimmed(_YEAR_ONE + timedelta(microseconds=value.value // 10))}+00:00"
        except OverflowError:
            raise Undecodable(
                "System.ArgumentOutOfRangeException: Ticks must be between DateTime.MinValue.Ticks and"
                " DateTime.MaxValue.Ticks. (Parameter 'ticks')"
            ) from None
    if value.descriptor == _TIMESPAN and isinstance(value.value, int):
        seconds, ticks = divmod(abs(value.value), _TICKS)
        days, seconds = divmod(seconds, 86_400)
        clock = f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"
        fraction = f".{ticks:07}" if ticks else ""
        return f"{'-' if value.value < 0 else ''}{f'{days}.' if days else ''}{clock}{fraction}"
    return LEFT_OUT


def _decimal(bits: DecimalBits) -> int | float:
    """Read a decimal128 in its binary integer encoding, of which `System.Decimal` holds a part.

    Source: `DecimalEncoding` in https://github.com/Azure/azure-amqp; NaN and infinity have no exponent there.
    """
    if len(bits) != _DECIMAL128:
        raise Undecodable("")
    number = int.from_bytes(bits, "big")
    sign, digits = number >> 127, number & (2**_DIGITS - 1)
    exponent = -_BIAS if number >> 125 & 3 == 3 else (number >> 113 & 0x3FFF) - _BIAS  # noqa: PLR2004 - both bits set
    # The number of places is cast to a byte.
    if exponent <= 0 and (exponent := -(-exponent & 0xFF)) < -_PLACES:
        raise Undecodable(
            "System.ArgumentOutOfRangeException: Decimal's scale value must be between 0 and 28, inclusive."
            " (Parameter 'scale')"
        )
    value = Decimal((sign, tuple(map(int, str(digits))), exponent))
    if abs(value) >= 2**_DIGITS:
        raise Undecodable("System.OverflowException: Value was either too large or too small for a Decimal.")
    return int(value) if value == value.to_integral_value(context=_EXACT) else float(value)


_EXACT = Context(prec=2 * _PLACES)
