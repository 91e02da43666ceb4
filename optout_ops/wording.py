"""Durations, times and counts, as people write and read them. Pure."""

from datetime import UTC, datetime, timedelta

from pydantic import TypeAdapter, ValidationError

_UNITS = (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1))
_DURATION = TypeAdapter(timedelta)
_TIME = TypeAdapter(datetime)
_SHORT = {"d": "days", "h": "hours", "m": "minutes", "s": "seconds"}


def duration(span: timedelta) -> str:
    """Write a duration with at most two units, such as `3 d 4 h`."""
    rest = round(abs(span).total_seconds())
    parts: list[str] = []
    for unit, seconds in _UNITS:
        if rest >= seconds and len(parts) < 2:  # noqa: PLR2004 - a third unit would not be read
            parts.append(f"{rest // seconds} {unit}")
            rest %= seconds
        elif parts:
            break
    return " ".join(parts) or "0 s"


def read_duration(text: str) -> timedelta:
    """Read a duration such as `2h`, `45m`, `3d` or `PT2H30M`.

    Raises:
        ValueError: It is not a duration, or not above zero.
    """
    number, unit = text[:-1], text[-1:]
    if unit in _SHORT and number.replace(".", "", 1).isdecimal():
        try:
            span = timedelta(**{_SHORT[unit]: float(number)})
        except OverflowError:
            raise ValueError("must be a duration such as 2h, 45m, 3d or PT2H30M, and shorter than for ever") from None
    else:
        try:
            span = _DURATION.validate_python(text)
        except ValidationError:
            raise ValueError("must be a duration such as 2h, 45m, 3d or PT2H30M") from None
    if span <= timedelta(0):
        raise ValueError("must be longer than 0")
    return span


def read_time(text: str) -> datetime:
    """Read a time such as `2026-01-23T10:00:00Z` or `2026-01-23`; without an offset it is UTC.

    Raises:
        ValueError: It is not a time.
    """
    try:
        # pydantic reads a bare number as seconds since 1970: refuse it.
        time = _TIME.validate_python(text if "-" in text[1:] else "")
    except ValidationError:
        raise ValueError("must be a time such as 2026-01-23T10:00:00Z or 2026-01-23") from None
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def read_past(text: str, now: datetime) -> datetime:
    """Read a time, or a duration before `now` such as `24h`.

    Raises:
        ValueError: It is not a time and not a duration.
    """
    try:
        return now - read_duration(text)
    except (ValueError, OverflowError):
        pass
    try:
        return read_time(text)
    except ValueError:
        raise ValueError("must be a time such as 2026-01-23T10:00:00Z, or how long ago: 45m, 24h, 3d") from None


def count(number: int, thing: str) -> str:
    """Write a count, such as `1 dead letter` or `1,200 dead letters`."""
    return f"{number:,} {thing}" if number == 1 else f"{number:,} {thing}s"


def utc(time: datetime) -> str:
    """Write a time: UTC, to the second."""
    return f"{time.astimezone(UTC):%Y-%m-%d %H:%M:%S}"


def brief(text: str, most: int = 40) -> str:
    """Cut a text where a line has to stay readable."""
    return text if len(text) <= most else f"{text[: most - 1]}…"
