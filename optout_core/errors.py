"""Every error of this package, grouped by what the caller does about it.

OptOutError
├── SettingsError            the operator corrects the setting that the text names; messages wait untouched
├── EventError               dead-letter the message, bytes unchanged, with `.reason`
│   ├── MalformedEvent
│   └── UnsupportedEvent
├── RequestError             no answer per recipient; carries what ACS said
│   ├── EndpointUnavailable  try again later; nobody's fault, no attempt is used up
│   │   └── NotSent
│   ├── RequestRefused       our configuration is wrong: alert, try again on the schedule
│   ├── SenderRejected       dead-letter all recipients of this sender
│   └── BatchRejected        some recipient spoils the request: split it and ask again
├── LedgerUnavailable        nothing is called, or what was called is called again: try again later
└── SendFailed               raise to the host, so that the broker delivers all messages again

Texts never hold a phone number or a secret.
"""

from dataclasses import KW_ONLY, dataclass

from optout_core.reasons import Reason


class OptOutError(Exception):
    """The root of all errors of this package."""


class SettingsError(OptOutError):
    """A setting that is missing or wrong; the text names it and says what it may be."""


class EventError(OptOutError):
    """A message that cannot become events; `reason` says how it is dead-lettered."""

    reason: Reason


class MalformedEvent(EventError):
    """Bytes that have the wrong shape: not JSON, no recipients, a field of the wrong type."""

    reason = Reason.MALFORMED_EVENT


class UnsupportedEvent(EventError):
    """A well-formed event of a type or version that we do not know."""

    reason = Reason.UNSUPPORTED_EVENT


@dataclass(eq=False)
class RequestError(OptOutError):
    """A request that brought no answer per recipient, and what is known of it.

    Attributes:
        detail: What happened, in words, numbers masked.
        status: HTTP status in the range [200, 600), or None when no answer came.
        error_code: The API's own code, such as `InvalidInput`, or None.
        ms_cv: The `MS-CV` response header that Microsoft support asks for, or None.
        retry_after: Seconds the server asked us to wait, at least 0, or None.
    """

    detail: str
    status: int | None = None
    _: KW_ONLY
    error_code: str | None = None
    ms_cv: str | None = None
    retry_after: float | None = None

    def __str__(self) -> str:
        """Say what the API said, such as `HTTP 401 Denied: ...`."""
        return said(self.status, self.detail)


class EndpointUnavailable(RequestError):
    """An endpoint that is down, slow, throttling or unintelligible."""


class NotSent(EndpointUnavailable):
    """A request that was not sent; nothing was learned of ACS or of its recipients."""


class RequestRefused(RequestError):
    """A request that ACS refuses because of us: key, role, sender not ours, address or API version."""


class SenderRejected(RequestError):
    """A request whose sender ACS refuses."""


class BatchRejected(RequestError):
    """A 400 that names neither the sender nor the API version: one recipient may be the cause."""


class LedgerUnavailable(OptOutError):
    """The consent ledger gives no answer; the text says why, without a secret."""


class LedgerForbidden(LedgerUnavailable):
    """The consent ledger answers, and our identity may not do what was asked."""


class SendFailed(OptOutError):
    """Retries or dead letters that could not be handed to the broker; nothing may be completed."""


def said(status: int | None, detail: str) -> str:
    """Say what ACS said, such as `HTTP 400: Invalid recipient phone number format`, or that it gave no answer."""
    answer = f"HTTP {status}" if status else "no answer"
    return f"{answer}: {detail}" if detail else answer
