"""What a function says of itself to its operators: the settings it runs with, without a secret or a number. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from pydantic import TypeAdapter

from optout_core.settings import Settings

#: Keys, an address that may hold a password, and identities, which tell an operator nothing.
UNPUBLISHED = frozenset(
    {"ACS_ACCESS_KEY", "ServiceBusConnection", "ServiceBusConnection__clientId", "AZURE_CLIENT_ID", "CONSENT_LEDGER"}
)
NAMESPACE = "ServiceBusConnection__fullyQualifiedNamespace"
_SPAN = TypeAdapter(timedelta)


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """What one function says of itself.

    Attributes:
        function: Its name.
        started_at: When the instance started that said so, the last one that did; aware.
        version: Of its code.
        settings: What `settings_to_publish` gave there.
    """

    function: str
    started_at: datetime
    version: str
    settings: Mapping[str, str]


def settings_to_publish(settings: Settings) -> dict[str, str]:
    """Write settings as the environment has them, by their names; a number among the senders is masked."""
    values = {field.alias or name: getattr(settings, name) for name, field in Settings.model_fields.items()}
    values[NAMESPACE] = settings.namespace_host
    return {name: _written(value) for name, value in values.items() if name not in UNPUBLISHED}


def _written(value: object) -> str:
    if isinstance(value, timedelta):
        return str(_SPAN.dump_python(value, mode="json"))
    if isinstance(value, tuple):
        return ",".join(map(_written, value))
    if isinstance(value, frozenset):
        return ",".join(sorted(map(str, value)))
    return str(value)
