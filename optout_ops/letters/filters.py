"""The filters that choose dead letters, the same for every command. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from optout_core.masking import show
from optout_core.numbers import read_number, read_sender, sender_key
from optout_ops.letters.letter import Letter

#: Statuses of one class, such as `4xx`, share their hundreds.
_CLASS = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Conditions on a dead letter, all of which must be met; a condition that is None is met by every dead letter.

    Attributes:
        reasons: Reason codes, in lower case.
        sender: Sender of the event.
        event: Id of the event.
        to: A recipient's number.
        since: Dead-lettered at or after; aware.
        until: Dead-lettered before; aware.
        older_than: Dead-lettered at least this long ago.
        attempts: At least this many attempts were used up.
        status: An HTTP status such as `429`, or a class such as `5xx`.
        written: Conditions as the operator wrote them, by their names; `since 24h` is the same an hour later.
        limit: How many dead letters are chosen at most, from the start of the queue; at least 1.
    """

    reasons: frozenset[str] = frozenset()
    sender: str | None = field(default=None, repr=False)
    event: str | None = None
    to: str | None = field(default=None, repr=False)
    since: datetime | None = None
    until: datetime | None = None
    older_than: timedelta | None = None
    attempts: int | None = None
    status: str | None = None
    written: Mapping[str, str] = field(default_factory=dict)
    limit: int | None = None

    def matches(self, letter: Letter, now: datetime) -> bool:
        """Say whether a dead letter meets all conditions but the limit."""
        at = letter.message.enqueued_at
        return (
            (not self.reasons or letter.code.lower() in self.reasons)
            and (self.sender is None or sender_key(read_sender(self.sender)) in map(sender_key, letter.senders))
            and (self.event is None or letter.has_event(self.event))
            and (self.to is None or letter.has_recipient(self.to))
            and (self.since is None or at >= self.since)
            and (self.until is None or at < self.until)
            and (self.older_than is None or now - at >= self.older_than)
            and (self.attempts is None or letter.lineage.attempt >= self.attempts)
            and (self.status is None or self._has_status(letter.status))
        )

    def as_document(self) -> dict[str, object]:
        """Give the conditions that are set, numbers masked, for the audit trail."""
        conditions = {
            "reason": sorted(self.reasons) or None,
            "sender": str(read_sender(self.sender)) if self.sender else None,
            "event": show(self.event) if self.event else None,
            "to": str(read_number(self.to)) if self.to else None,
            "since": self.since.isoformat() if self.since else None,
            "until": self.until.isoformat() if self.until else None,
            "olderThanSeconds": self.older_than.total_seconds() if self.older_than else None,
            "attempts": self.attempts,
            "status": self.status,
            "limit": self.limit,
        }
        return {name: self.written.get(name, value) for name, value in conditions.items() if value is not None}

    def _has_status(self, status: int | None) -> bool:
        if status is None or self.status is None:
            return False
        return self.status == str(status) or self.status.lower() == f"{status // _CLASS}xx"
