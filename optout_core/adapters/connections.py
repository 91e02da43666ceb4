"""Access key, connection string or identity: decided here, for the function and for the operators' tool."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self, TypeVar

from optout_core.adapters.http import HttpEndpoint
from optout_core.adapters.signing import EntraSigner, HmacSigner
from optout_core.addresses import PostgresAddress, SqliteAddress
from optout_core.errors import SettingsError
from optout_core.masking import show
from optout_core.settings import Settings

if TYPE_CHECKING:
    from azure.core.credentials import AccessToken
    from azure.core.credentials_async import AsyncTokenCredential

    from optout_core.adapters.ledger.postgres import PostgresLedger
    from optout_core.adapters.ledger.sqlite import SqliteLedger

#: Failures in a row after which a credential is made anew.
_FAILURES_OF_A_CREDENTIAL = 3
#: What azure-identity reads when a credential is made
#: (https://learn.microsoft.com/python/api/overview/azure/identity-readme#environment-variables).
_OF_A_CREDENTIAL = (
    "AZURE_TOKEN_CREDENTIALS",
    "AZURE_AUTHORITY_HOST",
    "AZURE_CLIENT_ID",
    "AZURE_TENANT_ID",
    "AZURE_CLIENT_CERTIFICATE_PATH",
    "IDENTITY_ENDPOINT",
)


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


def open_acs(
    settings: Settings,
    credential: "Callable[[str | None], AsyncTokenCredential]",
    environ: Mapping[str, str] = os.environ,
) -> HttpEndpoint:
    """Prepare the connections to the ACS resource, signed with its key or as an identity.

    Args:
        settings: They name the resource, and how it is reached.
        credential: Gives the credential of an identity, named by its client id or the default one.
        environ: It may name a proxy and certificates.

    Raises:
        SettingsError: The environment names a proxy, certificates or a credential that cannot be used.
    """
    url, key = settings.acs_endpoint, settings.acs_access_key
    signer = HmacSigner(url, key) if key is not None else EntraSigner(credential(settings.identity_client_id))
    return HttpEndpoint(url, signer, timeout=settings.http_timeout.total_seconds(), environ=environ)


def open_ledger(
    address: PostgresAddress | SqliteAddress, credential: "Callable[[], AsyncTokenCredential]"
) -> "PostgresLedger | SqliteLedger":
    """Prepare a ledger; nothing is opened before its first statement.

    Args:
        address: Where it is.
        credential: Gives what PostgreSQL is reached with where the address holds no password.

    Raises:
        SettingsError: The file cannot be kept there.
    """
    # Imported late: the libraries of PostgreSQL are slow, and loading the function must not wait for them.
    if isinstance(address, SqliteAddress):
        from optout_core.adapters.ledger.sqlite import SqliteLedger

        return SqliteLedger(Path(address.path))
    from optout_core.adapters.ledger.postgres import PostgresLedger

    return PostgresLedger(address, credential)


class Credentials:
    """The credentials of this process: one for each identity, since its cache of tokens is its own."""

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        self._environ = environ
        self._made: dict[str | None, RenewedCredential] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for credential in self._made.values():
            await credential.close()

    def __call__(self, client_id: str | None) -> "AsyncTokenCredential":
        """Give the credential of an identity, named by its client id or the default one.

        Raises:
            SettingsError: The environment of the credential is wrong.
        """
        if client_id not in self._made:
            self._made[client_id] = RenewedCredential(lambda: entra_credential(client_id, self._environ))
        return self._made[client_id]


class RenewedCredential:
    """A credential that is made anew when it fails again and again.

    One that failed may keep failing for as long as the process lives, where a new one gets a token at once
    (https://github.com/Azure/azure-sdk-for-js/issues/39566, https://github.com/microsoft/mssql-jdbc/issues/3003).
    """

    def __init__(self, make: "Callable[[], AsyncTokenCredential]") -> None:
        self._make = make
        self._current: AsyncTokenCredential | None = make()
        self._failures = 0

    async def get_token(self, *scopes: str, **options: Any) -> "AccessToken":  # noqa: ANN401 - of the SDK
        """Give a token, as `AsyncTokenCredential` does."""
        self._current = current = self._current or self._make()
        try:
            token = await current.get_token(*scopes, **options)
        except Exception:
            self._failures += 1
            if self._failures >= _FAILURES_OF_A_CREDENTIAL and self._current is current:
                await self.close()
            raise
        self._failures = 0
        return token

    async def close(self) -> None:
        """Close the credential; the next token is asked of a new one."""
        current, self._current, self._failures = self._current, None, 0
        if current is not None:
            await current.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


def entra_credential(client_id: str | None, environ: Mapping[str, str] = os.environ) -> "AsyncTokenCredential":
    """Make a credential: the managed identity on Azure, the developer's login elsewhere.

    Args:
        client_id: Of a user-assigned identity, or None.
        environ: The environment; the platform names its identity endpoint there.

    Raises:
        SettingsError: The environment of the credential is wrong.
    """
    # Imported late: with an access key, as in the sandbox, nobody pays for it.
    from azure.identity.aio import DefaultAzureCredential, ManagedIdentityCredential

    try:
        if environ.get("IDENTITY_ENDPOINT"):
            # The default one tries many, and reports whatever happened to any of them as a refusal: an endpoint that is
            # down would look like a missing right (azure-identity 1.27, `aio/_credentials/chained.py`).
            return ManagedIdentityCredential(client_id=client_id)
        return DefaultAzureCredential(managed_identity_client_id=client_id)
    except (ValueError, OSError) as error:
        names = [name for name in _OF_A_CREDENTIAL if environ.get(name)]
        raise SettingsError(f"no identity can be used ({show(str(error))}): check {', '.join(names)}") from None
