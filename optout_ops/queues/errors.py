"""What azure.servicebus raises, in the words of an operator."""

from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus

from azure.core.exceptions import AzureError, ClientAuthenticationError
from azure.servicebus.exceptions import (
    MessageLockLostError,
    MessagingEntityNotFoundError,
    ServiceBusAuthenticationError,
    ServiceBusAuthorizationError,
    ServiceBusError,
)

from optout_core.masking import show
from optout_ops.exits import OutOfReach

_REFUSALS = (ServiceBusAuthenticationError, ServiceBusAuthorizationError, ClientAuthenticationError)

#: True of who looks, who publishes and who replays alike.
_SAFE = "nothing is lost: what a queue took is in it, and everything else is where it was"
#: Characters of what the namespace says.
_SAID = 200


@contextmanager
def translated(queue: str = "") -> Iterator[None]:
    """Turn an error of the SDK into one line that says what happened, what is safe and what to do.

    Args:
        queue: The queue that the block talks to, or "" for the namespace.

    Raises:
        OutOfReach: In place of an error of the SDK.
        MessageLockLostError: Unchanged; the locking pass gives the message out again.
    """
    at = f"the queue {queue!r}" if queue else "the namespace"
    try:
        yield
    except MessageLockLostError:
        raise
    except (MessagingEntityNotFoundError, *_REFUSALS) as error:
        if _is_missing(error):
            raise OutOfReach(
                f"{at} does not exist in this namespace; nothing was changed; check OPT_IN_QUEUE, DEAD_LETTER_QUEUE and"
                " the namespace"
            ) from error
        raise OutOfReach(
            f"we are not allowed at {at} ({type(error).__name__}); nothing was changed; `az login`, and ask for the"
            " roles Service Bus Data Receiver and Sender on both queues, or check the key in ServiceBusConnection"
        ) from error
    except (ServiceBusError, AzureError, OSError, TimeoutError) as error:
        if type(error) is ServiceBusError:
            # Whatever has no class of its own is an answer about what was sent or asked.
            raise OutOfReach(f"{at} refuses this: {show(str(error))[:_SAID]}; {_SAFE}") from error
        what = "did not answer in time" if isinstance(error, TimeoutError) else "cannot be reached"
        raise OutOfReach(
            f"{at} {what} ({type(error).__name__}); {_SAFE}; check that it exists, and the network, then run the same"
            " command again"
        ) from error


def _is_missing(error: Exception) -> bool:
    # The namespace gives no token for a queue that does not exist; the SDK reports that as a failed authentication.
    status = getattr(getattr(error, "inner_exception", None), "status_code", None)
    return isinstance(error, MessagingEntityNotFoundError) or status == HTTPStatus.NOT_FOUND
