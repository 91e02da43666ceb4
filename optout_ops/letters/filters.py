"""The filters that choose dead letters, the same for every command. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from optout_core.masking import show
from optout_core.numbers import read_number, read_sender, sender_key
from optout_ops.letters.letter import Letter

#: What stands for a dead letter without a reason, and for one with a reason that is none of ours.
NO_REASON, FOREIGN_REASON = "(none)", "(foreign)"
#: Statuses of one class, such as `4xx`, share their hundreds.
_CLASS = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Conditions on a dead letter, all of which must be met; a condition that is None is met by every dead letter.

    Attributes:
        numbers: Sequence numbers.
        reasons: Reason codes, in lower case; `(none)` and `(foreign)` stand for what they say.
        sender: Sender of the event.
        event: Id of the event.
        to: A recipient's number.
        since: Dead-lettered at or after; aware.
        until: Dead-lettered before; aware.
        code: The error code that ACS gave last.
        source: Publisher of the event, its `source`.
        replay: Id of the replay that sent it last.
        attempts: At least this many attempts were used up.
        status: An HTTP status such as `429`, or a class such as `5xx`.
        written: Conditions as the operator wrote them, by their names; `since 24h` is the same an hour later.
        limit: How many dead letters are chosen at most, the newest; at least 1.
    """

    numbers: frozenset[int] = frozenset()
    reasons: frozenset[str] = frozenset()
    sender: str | None = field(default=None, repr=False)
    event: str | None = None
    to: str | None = field(default=None, repr=False)
    since: datetime | None = None
    until: datetime | None = None
    code: str | None = None
    source: str | None = None
    replay: str | None = None
    attempts: int | None = None
    status: str | None = None
    written: Mapping[str, str] = field(default_factory=dict)
    limit: int | None = None

    def matches(self, letter: Letter) -> bool:
        """Say whether a dead letter meets all conditions but the limit."""
        at = letter.message.enqueued_at
        return (
            (not self.numbers or letter.number in self.numbers)
            and (not self.reasons or self._has_reason(letter))
            and (self.sender is None or sender_key(read_sender(self.sender)) in map(sender_key, letter.senders))
            and (self.event is None or letter.has_event(self.event))
            and (self.to is None or letter.has_recipient(self.to))
            and (self.since is None or at >= self.since)
            and (self.until is None or at < self.until)
            and (self.code is None or self.code == letter.error_code)
            and (self.source is None or letter.has_source(self.source))
            and (self.replay is None or self.replay == letter.lineage.replay_id)
            and (self.attempts is None or letter.lineage.attempt >= self.attempts)
            and (self.status is None or self._has_status(letter.status))
        )

    def as_document(self) -> dict[str, object]:
        """Give the conditions that are set, numbers masked, for the audit trail."""
        conditions = {
            "number": sorted(self.numbers) or None,
            "reason": [show(code) for code in sorted(self.reasons)] or None,
            "sender": str(read_sender(self.sender)) if self.sender else None,
            "event": show(self.event) if self.event else None,
            "to": str(read_number(self.to)) if self.to else None,
            "since": self.since.isoformat() if self.since else None,
            "until": self.until.isoformat() if self.until else None,
            "code": show(self.code) if self.code else None,
            "source": show(self.source) if self.source else None,
            "replay": show(self.replay) if self.replay else None,
            "attempts": self.attempts,
            "status": self.status,
            "limit": self.limit,
        }
        return {name: self.written.get(name, value) for name, value in conditions.items() if value is not None}

    def _has_reason(self, letter: Letter) -> bool:
        if letter.code.lower() in self.reasons:
            return True
        if not letter.code:
            return NO_REASON in self.reasons
        return letter.reason is None and FOREIGN_REASON in self.reasons

    def _has_status(self, status: int | None) -> bool:
        if status is None or self.status is None:
            return False
        return self.status == str(status) or self.status.lower() == f"{status // _CLASS}xx"
