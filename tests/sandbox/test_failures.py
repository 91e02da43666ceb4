"""What the .NET client says of a failure, and whether it tries again first."""

import pytest

from sandbox.dotnet import Undecodable
from sandbox.failures import may_heal, named
from sandbox.link import Refusal

SERVICE_BUS = "Azure.Messaging.ServiceBus.ServiceBusException"
TOO_LATE = "The operation did not complete within the allocated time."


@pytest.mark.parametrize(
    ("error", "said", "again"),
    [
        (
            Refusal("404", "no q"),
            f"{SERVICE_BUS}: Put token failed. status-code: 404, status-description: no q.",
            False,
        ),
        (Refusal("401", "no"), "System.UnauthorizedAccessException: Put token failed. status-code: 401", True),
        (Refusal("amqp:unauthorized-access", "no"), "System.UnauthorizedAccessException: no", True),
        (Refusal("amqp:not-found", "no"), f"{SERVICE_BUS}: no (MessagingEntityNotFound)", False),
        (Refusal("com.microsoft:entity-disabled", "no"), f"{SERVICE_BUS}: no (MessagingEntityDisabled)", False),
        (Refusal("com.microsoft:message-lock-lost", "no"), f"{SERVICE_BUS}: no (MessageLockLost)", False),
        (Refusal("com.microsoft:server-busy", "no"), f"{SERVICE_BUS}: no (ServiceBusy)", True),
        (Refusal("amqp:resource-limit-exceeded", "no"), f"{SERVICE_BUS}: no (QuotaExceeded)", False),
        (Refusal("amqp:link:detach-forced", "no"), f"{SERVICE_BUS}: no (GeneralError)", True),
        (Refusal("amqp:internal-error", "no"), f"{SERVICE_BUS}: no (GeneralError)", True),
        (Refusal("amqp:not-implemented", "no"), "System.NotSupportedException: no", False),
        (Refusal("amqp:not-allowed", "no"), "System.InvalidOperationException: no", False),
        (Refusal("com.microsoft:argument-error", "no"), "System.ArgumentException: no", False),
        (ConnectionResetError("gone"), f"{SERVICE_BUS}: gone (ServiceCommunicationProblem)", True),
        (TimeoutError(), f"{SERVICE_BUS}: {TOO_LATE} (ServiceTimeout)", True),
        (Undecodable("System.OverflowException: x"), "System.OverflowException: x", False),
        (Undecodable(""), "", False),
    ],
    ids=lambda each: getattr(each, "condition", None),
)
def test_a_failure_has_the_name_that_dotnet_gives_it(error, said, again):
    assert named(error).startswith(said)
    assert bool(named(error)) is bool(said)
    assert may_heal(error) is again
