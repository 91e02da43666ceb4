"""Reads the properties of queues from the namespace's management endpoint; few have the right to manage it needs."""

from collections.abc import Mapping
from typing import Any

from azure.core.exceptions import AzureError
from azure.identity import DefaultAzureCredential
from azure.servicebus.management import ServiceBusAdministrationClient
from pydantic.alias_generators import to_snake

from optout_core.adapters.connections import connect_service_bus
from optout_core.settings import Settings

#: Seconds; who may not manage should not have to wait.
_PATIENCE = 5


def read_properties(settings: Settings, queue: str, names: Mapping[str, object]) -> dict[str, object] | None:
    """Read those properties of a queue that are named as in infra/queues.json; None when they cannot be read."""
    options: dict[str, Any] = {"retry_total": 0, "connection_timeout": _PATIENCE, "read_timeout": _PATIENCE}
    try:
        with connect_service_bus(ServiceBusAdministrationClient, settings, _credential, **options) as client:
            found = client.get_queue(queue)
    except (AzureError, ValueError):
        return None
    return {name: getattr(found, to_snake(name), None) for name in names}


def _credential(client_id: str | None) -> DefaultAzureCredential:
    return DefaultAzureCredential(managed_identity_client_id=client_id)
