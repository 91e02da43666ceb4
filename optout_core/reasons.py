"""The one closed list of reasons for which a message may wait in the dead-letter queue.

The code is the `DeadLetterReason` property, the metric attribute `reason`, the filter of the operators' tool and the
heading in docs/runbook.md. Codes are for programs, meanings for people: never route on a meaning.
"""

from enum import StrEnum
from typing import Self


class Replay(StrEnum):
    """Whether sending a dead letter back to the queue is wise."""

    SAFE = "safe"
    DONE = "done"
    """Of a single letter: the ledger says that the list says so already, or that a newer word stands."""
    AFTER_A_FIX = "after a fix"
    NEVER = "never"


class Reason(StrEnum):
    """Why recipients of an event were dead-lettered."""

    meaning: str
    replay: Replay

    def __new__(cls, code: str, meaning: str, replay: Replay) -> Self:
        """Attach the meaning and the replay advice to the code."""
        member = str.__new__(cls, code)
        member._value_ = code
        member.meaning = meaning
        member.replay = replay
        return member

    RECIPIENT_REJECTED = (
        "RecipientRejected",
        "the number was refused: by ACS, for this recipient or alone in a request, or unsent, since it is no number",
        Replay.AFTER_A_FIX,
    )
    STILL_OPTED_OUT = (
        "StillOptedOut",
        "ACS answered success and said in the same breath that the recipient is still opted out",
        Replay.SAFE,
    )
    SENDER_REJECTED = (
        "SenderRejected",
        "ACS refused the sender of the event (400 about `from`)",
        Replay.AFTER_A_FIX,
    )
    REQUEST_REFUSED = (
        "RequestRefused",
        "ACS refused us, not the recipient: key, role, sender not ours, or API version; the retries are used up",
        Replay.AFTER_A_FIX,
    )
    RETRIES_EXHAUSTED = (
        "RetriesExhausted",
        "ACS failed for this recipient on every try of the schedule",
        Replay.SAFE,
    )
    RETRY_REFUSED = (
        "RetryRefused",
        "the recipients were to wait for a next try, and the queue of the opt-ins did not say that it took the message",
        Replay.SAFE,
    )
    STALE_OPT_IN = (
        "StaleOptIn",
        "the opt-in was older than OPT_IN_MAX_AGE when it would have been sent; it was not sent",
        Replay.NEVER,
    )
    NEWER_OPT_OUT = (
        "NewerOptOut",
        "the person said STOP at or after this opt-in; it was not sent, or its effect is taken back by that STOP",
        Replay.NEVER,
    )
    UNCLEAR_OPT_OUT = (
        "UnclearOptOut",
        "a STOP names no number that is one person's for certain, so it holds back no opt-in",
        Replay.AFTER_A_FIX,
    )
    OPT_OUT_REJECTED = (
        "OptOutRejected",
        "ACS refused the number of a STOP for good; the person is not on its opt-out list by this STOP",
        Replay.AFTER_A_FIX,
    )
    NOT_OPTED_OUT = (
        "NotOptedOut",
        "ACS answered success to a STOP and said in the same breath that the recipient is not opted out",
        Replay.SAFE,
    )
    OPT_OUT_SENDER_REJECTED = (
        "OptOutSenderRejected",
        "ACS refused the sender of a STOP (400 about `from`)",
        Replay.AFTER_A_FIX,
    )
    OPT_OUT_REFUSED = (
        "OptOutRefused",
        "ACS refused us, not the recipient of a STOP: key, role, sender not ours or version; the retries are used up",
        Replay.AFTER_A_FIX,
    )
    OPT_OUT_RETRIES_EXHAUSTED = (
        "OptOutRetriesExhausted",
        "ACS failed for the recipient of a STOP on every try of the schedule",
        Replay.SAFE,
    )
    SENDER_NOT_ALLOWED = (
        "SenderNotAllowed",
        "the sender is not in ALLOWED_SENDERS; nothing was sent",
        Replay.AFTER_A_FIX,
    )
    MALFORMED_EVENT = (
        "MalformedEvent",
        "the message is not an event we can read; its bytes are unchanged",
        Replay.NEVER,
    )
    UNSUPPORTED_EVENT = (
        "UnsupportedEvent",
        "the message is an event of a type or version we do not know; its bytes are unchanged",
        Replay.NEVER,
    )
    # The two the broker itself gives (https://learn.microsoft.com/azure/service-bus-messaging/service-bus-dead-letter-queues).
    MAX_DELIVERY_COUNT_EXCEEDED = (
        "MaxDeliveryCountExceeded",
        "the broker delivered the message ten times and never heard that it was done; some of it may have been applied",
        Replay.SAFE,
    )
    TTL_EXPIRED = (
        "TTLExpiredException",
        "the message waited in the queue until its time to live ended; nobody looked at it",
        Replay.NEVER,
    )
