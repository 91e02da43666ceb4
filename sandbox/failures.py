"""What the .NET client makes of a failure: whether it tries again by itself, and the words in which it raises.

Sources, in https://github.com/Azure/azure-sdk-for-net/tree/main/sdk/servicebus/Azure.Messaging.ServiceBus/src:
`AmqpExceptionHelper` (conditions to exceptions), `BasicRetryPolicy` and `ServiceBusRetryPolicy` (what is retried).
"""

from sandbox.dotnet import Undecodable
from sandbox.link import Refusal

_SERVICE_BUS = "Azure.Messaging.ServiceBus.ServiceBusException"
#: Exceptions that are not of Service Bus, by the condition without its prefix; 401 is the status of a refused token.
_PLAIN = {
    "401": "System.UnauthorizedAccessException",
    "unauthorized-access": "System.UnauthorizedAccessException",
    "not-implemented": "System.NotSupportedException",
    "not-allowed": "System.InvalidOperationException",
    "argument-error": "System.ArgumentException",
}
#: Reasons of a `ServiceBusException`; every other condition is a GeneralError.
_REASONS = {
    "404": "MessagingEntityNotFound",
    "not-found": "MessagingEntityNotFound",
    "entity-disabled": "MessagingEntityDisabled",
    "message-lock-lost": "MessageLockLost",
    "message-not-found": "MessageNotFound",
    "resource-limit-exceeded": "QuotaExceeded",
    "link:message-size-exceeded": "MessageSizeExceeded",
    "server-busy": "ServiceBusy",
}
#: What is raised at once. A general error is transient, and so is a token or a claim that is refused.
_FINAL = (_PLAIN.keys() | _REASONS.keys()) - {"401", "unauthorized-access", "server-busy"}


def may_heal(error: Exception) -> bool:
    """Tell whether the client tries again by itself."""
    return isinstance(error, OSError) or (isinstance(error, Refusal) and _condition(error) not in _FINAL)


def is_busy(error: Exception) -> bool:
    """Tell whether the service asked for time."""
    return isinstance(error, Refusal) and _condition(error) == "server-busy"


def named(error: Exception) -> str:
    """Write a failure of the client as .NET does, by its class and reason."""
    if isinstance(error, Undecodable):
        return str(error)
    if isinstance(error, TimeoutError):
        return f"{_SERVICE_BUS}: The operation did not complete within the allocated time. (ServiceTimeout)"
    if not isinstance(error, Refusal):
        return f"{_SERVICE_BUS}: {error} (ServiceCommunicationProblem)"
    condition = _condition(error)
    text = str(error)
    if condition.isdecimal():
        text = f"Put token failed. status-code: {condition}, status-description: {error}."
    if condition in _PLAIN:
        return f"{_PLAIN[condition]}: {text}"
    return f"{_SERVICE_BUS}: {text} ({_REASONS.get(condition, 'GeneralError')})"


def _condition(error: Refusal) -> str:
    return error.condition.removeprefix("amqp:").removeprefix("com.microsoft:")
