"""Access key, connection string or identity: decided here, for the function and for the operators' tool."""

import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol, Self, TypeVar

from optout_core.adapters.http import HttpEndpoint
from optout_core.adapters.signing import EntraSigner, HmacSigner
from optout_core.settings import Settings

if TYPE_CHECKING:
    from azure.core.credentials_async import AsyncTokenCredential


class _ServiceBus(Protocol):
    """What the clients of Service Bus have in common: each is made in one of two ways."""

    def __init__(self, fully_qualified_namespace: str, credential: Any, **options: Any) -> None:  # noqa: ANN401
        """Reach a namespace as an identity."""

    @classmethod
    def from_connection_string(cls, conn_str: str, **options: Any) -> Self:  # noqa: ANN401
        """Reach the namespace that a connection string names, with its key."""


_Client = TypeVar("_Client", bound=_ServiceBus)


def connect_service_bus(
    client: type[_Client],
    settings: Settings,
    credential: Callable[[str | None], object],
    **options: Any,  # noqa: ANN401 - of the client
) -> _Client:
    """Make a client of the namespace.

    Args:
        client: Its class.
        settings: They name the namespace, and how it is reached.
        credential: Gives the credential of an identity, named by its client id or the default one.
        options: For the client.

    Raises:
        ValueError: The connection string is none.
    """
    if settings.connection_string is not None:
        return client.from_connection_string(settings.connection_string.get_secret_value(), **options)
    identity = settings.namespace_client_id or settings.identity_client_id
    return client(settings.namespace or "", credential(identity), **options)


def open_acs(settings: Settings, credential: "Callable[[str | None], AsyncTokenCredential]") -> HttpEndpoint:
    """Open the connections to the ACS resource, signed with its key or as an identity.

    Args:
        settings: They name the resource, and how it is reached.
        credential: Gives the credential of an identity, named by its client id or the default one.
    """
    url, key = settings.acs_endpoint, settings.acs_access_key
    return HttpEndpoint(
        url,
        HmacSigner(url, key) if key is not None else EntraSigner(credential(settings.identity_client_id)),
        timeout=settings.http_timeout.total_seconds(),
        connections=settings.max_concurrent_requests,
    )


class Credentials:
    """The credentials of this process: one for each identity, since its cache of tokens is its own."""

    def __init__(self) -> None:
        self._made: dict[str | None, AsyncTokenCredential] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        while self._made:
            await self._made.popitem()[1].close()

    def __call__(self, client_id: str | None) -> "AsyncTokenCredential":
        """Give the credential of an identity, named by its client id or the default one."""
        if client_id not in self._made:
            self._made[client_id] = entra_credential(client_id)
        return self._made[client_id]


def entra_credential(client_id: str | None, environ: Mapping[str, str] = os.environ) -> "AsyncTokenCredential":
    """Make a credential: the managed identity on Azure, the developer's login elsewhere.

    Args:
        client_id: Of a user-assigned identity, or None.
        environ: The environment; the platform names its identity endpoint there.
    """
    # Imported late: with an access key, as in the sandbox, nobody pays for it.
    from azure.core.pipeline.transport import AsyncioRequestsTransport
    from azure.identity.aio import DefaultAzureCredential, ManagedIdentityCredential

    # Without a transport of its own azure.identity.aio wants aiohttp, which the function does not carry.
    transport = AsyncioRequestsTransport()
    if environ.get("IDENTITY_ENDPOINT"):
        # The default one tries many, and reports whatever happened to any of them as a refusal: an identity endpoint
        # that is down would look like a missing right (azure-identity 1.27, `aio/_credentials/chained.py`).
        return ManagedIdentityCredential(client_id=client_id, transport=transport)
    return DefaultAzureCredential(managed_identity_client_id=client_id, transport=transport)
