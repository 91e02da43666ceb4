"""What the endpoint remembers of the requests it answered, with numbers masked wherever a person could see them."""

from dataclasses import dataclass
from datetime import datetime

from optout_core.masking import mask


@dataclass(frozen=True, repr=False, slots=True)
class Request:
    """One request to the opt-out list, as it was answered."""

    operation: str | None
    """`add`, `remove` or `check`; None when the path is none of them."""
    sender: str | None
    """The body's `from`; None when the body has none."""
    recipients: tuple[str, ...]
    """The body's `recipients[].to`, in order, repeats included."""
    status: int | None
    """The status answered; None when the connection was dropped before one was."""
    at: datetime
    """When the request came in, UTC."""
    seconds: float
    """From the request's arrival to the decision about its answer, delays included."""

    def __repr__(self) -> str:
        sender = self.sender and mask(self.sender)
        recipients = ", ".join(map(mask, self.recipients))
        return f"Request({self.operation} from {sender} to [{recipients}] -> {self.status} at {self.at.isoformat()})"
