"""Where a namespace is and the key that opens it, as a connection string says it."""

import hmac
import time
from base64 import b64encode
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Self
from urllib.parse import quote_plus

#: Seconds. A token that outlives the sandbox need not be renewed.
_TOKEN_LIFE = 365 * 24 * 3600


@dataclass(frozen=True, slots=True)
class Address:
    """Where a namespace is and the key that opens it, as a connection string says it.

    Attributes:
        host: As above.
        port: As above.
        is_encrypted: False where the connection string says UseDevelopmentEmulator.
        key_name: As above.
        key: As above.
    """

    host: str
    port: int
    is_encrypted: bool
    key_name: str
    key: str = field(repr=False)

    @classmethod
    def parse(cls, connection_string: str) -> Self:
        """Read a connection string.

        Raises:
            ValueError: It names no endpoint or no key.
        """
        parts = {
            name.strip().lower(): value.strip()
            for name, _, value in (part.partition("=") for part in connection_string.split(";"))
        }
        host, _, port = parts.get("endpoint", "").removeprefix("sb://").rstrip("/").partition(":")
        if not host or not parts.get("sharedaccesskeyname") or not parts.get("sharedaccesskey"):
            raise ValueError("the connection string needs Endpoint, SharedAccessKeyName and SharedAccessKey")
        is_encrypted = parts.get("usedevelopmentemulator", "").lower() != "true"
        return cls(
            host=host,
            port=int(port or (5671 if is_encrypted else 5672)),
            is_encrypted=is_encrypted,
            key_name=parts["sharedaccesskeyname"],
            key=parts["sharedaccesskey"],
        )

    def token(self, audience: str) -> str:
        """Sign a token (https://learn.microsoft.com/azure/service-bus-messaging/service-bus-sas)."""
        resource, expiry = quote_plus(audience), int(time.time()) + _TOKEN_LIFE
        signature = b64encode(hmac.digest(self.key.encode(), f"{resource}\n{expiry}".encode(), sha256)).decode()
        return f"SharedAccessSignature sr={resource}&sig={quote_plus(signature)}&se={expiry}&skn={self.key_name}"
