"""What the broker refuses, grouped by what its client should do.

Refused
├── EntityNotFound      use the name of a queue that exists
├── Unauthorized        use another key
├── NotAllowed          this queue cannot do that: change the call
├── EntityDisabled      enable the queue
├── InvalidArgument     the request is malformed: change the call
├── NotImplementedHere  the broker does not know the operation
├── MessageTooLarge     send less at once
├── QuotaExceeded       empty the queue first
├── LockLost            the message is or will be delivered again: drop your result
├── MessageNotFound     somebody else has the message, or it is gone
├── LinkDetached        attach it again
└── ServerBusy          try again later

Conditions are those that azure-servicebus maps to its exceptions (`_ERROR_CODE_TO_ERROR_MAPPING` in
`azure/servicebus/_transport/_pyamqp_transport.py`), statuses those of `$management` replies.
"""

from typing import ClassVar


class Refused(Exception):
    """The broker will not do it. The text goes to the client."""

    condition: ClassVar[str] = "amqp:internal-error"
    status: ClassVar[int] = 500


class EntityNotFound(Refused):
    """There is no queue of that name."""

    condition = "amqp:not-found"
    status = 404


class Unauthorized(Refused):
    """The token is wrong, expired, or does not cover this."""

    condition = "amqp:unauthorized-access"
    status = 401


class NotAllowed(Refused):
    """The queue does not do that."""

    condition = "amqp:not-allowed"
    status = 400


class EntityDisabled(Refused):
    """The queue's status does not allow it."""

    condition = "com.microsoft:entity-disabled"
    status = 400


class InvalidArgument(Refused):
    """The request is malformed."""

    condition = "com.microsoft:argument-error"
    status = 400


class NotImplementedHere(Refused):
    """The operation is unknown."""

    condition = "amqp:not-implemented"
    status = 501


class MessageTooLarge(Refused):
    """The message or batch is larger than the link allows."""

    condition = "amqp:link:message-size-exceeded"
    status = 413


class QuotaExceeded(Refused):
    """The queue is full."""

    condition = "amqp:resource-limit-exceeded"
    status = 403


class LockLost(Refused):
    """The lock has expired, or the message is settled."""

    condition = "com.microsoft:message-lock-lost"
    status = 410


class MessageNotFound(Refused):
    """There is no such message in the state the operation needs."""

    condition = "com.microsoft:message-not-found"
    status = 404


class LinkDetached(Refused):
    """Nobody has used the link."""

    condition = "amqp:link:detach-forced"
    status = 503


class ServerBusy(Refused):
    """The broker is told to refuse for a while."""

    condition = "com.microsoft:server-busy"
    status = 503
