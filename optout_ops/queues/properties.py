"""The properties of queues, as the namespace's management endpoint tells them; that needs the Manage right."""

from collections.abc import Mapping
from typing import Any

from azure.core.exceptions import AzureError
from azure.identity import DefaultAzureCredential
from azure.servicebus.management import ServiceBusAdministrationClient
from pydantic.alias_generators import to_snake

from optout_core.adapters.connections import connect_service_bus
from optout_core.settings import Settings

#: Seconds; an operator without the Manage right should not have to wait for the refusal.
_TIMEOUT = 5


def read_properties(settings: Settings, queue: str, names: Mapping[str, object]) -> dict[str, object] | None:
    """Read the properties of a queue that are named as in infra/queues.json; None when they cannot be read."""
    options: dict[str, Any] = {"retry_total": 0, "connection_timeout": _TIMEOUT, "read_timeout": _TIMEOUT}
    try:
        with connect_service_bus(ServiceBusAdministrationClient, settings, _credential, **options) as client:
            found = client.get_queue(queue)
    except (AzureError, ValueError):
        return None
    return {name: getattr(found, to_snake(name), None) for name in names}


def _credential(client_id: str | None) -> DefaultAzureCredential:
    return DefaultAzureCredential(managed_identity_client_id=client_id)
