"""Who may do what: shared access keys, checked as Service Bus checks them.

A token names a resource; it covers that queue and everything below it. A token that is no shared access signature is
one of Entra ID, and is taken as it is: nobody on this machine can check it. The type that a client gives says nothing:
azure-servicebus gives `jwt` for tokens that it made from a key (`create_authentication` in its `_common/utils.py`).

Source: https://learn.microsoft.com/azure/service-bus-messaging/service-bus-sas
"""

import hmac
from base64 import b64encode
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from hashlib import sha256
from urllib.parse import unquote_plus

from servicebus_sandbox.errors import Unauthorized

LISTEN, SEND, MANAGE = "Listen", "Send", "Manage"
_PLAIN_PARTS = 3
EVERYTHING = frozenset({LISTEN, SEND, MANAGE})


@dataclass(frozen=True)
class AccessKey:
    """A shared access key, by its name, and the claims it gives."""

    name: str
    key: str = field(repr=False)
    claims: frozenset[str] = EVERYTHING


@dataclass(frozen=True)
class Grant:
    """What a connection may do on a path and below it, and until when: seconds since 1970, None for ever."""

    path: str
    claims: frozenset[str]
    expires_at: float | None = None


def path_of(address: str) -> str:
    """Return the path of an address (`amqps://host:port/queue`, `queue`), in lower case as paths are compared."""
    _, scheme, rest = address.partition("://")
    path = rest.partition("/")[2] if scheme else address
    return path.strip("/").lower()


class AccessKeys:
    """The keys of a namespace."""

    def __init__(self, keys: Iterable[AccessKey], clock: Callable[[], float]) -> None:
        self._keys = {key.name: key for key in keys}
        self._clock = clock

    def check_plain(self, response: bytes | None) -> Grant:
        """Check a SASL PLAIN response: an identity that is not looked at, the name of a key, and the key.

        Raises:
            Unauthorized: It is no such response, or the key is wrong.
        """
        parts = (response or b"").split(b"\0")
        key = self._keys.get(parts[1].decode(errors="replace")) if len(parts) == _PLAIN_PARTS else None
        if key is None or not hmac.compare_digest(key.key.encode(), parts[2]):
            raise Unauthorized("the user is not the name of a key, or the password is not the key")
        return Grant("", key.claims)

    def now(self) -> float:
        """Give the time by which tokens expire, in seconds since 1970."""
        return self._clock()

    def check(self, token: str, audience: str, expires_at: float | None = None) -> Grant:
        """Check a token for an audience (a URI).

        Args:
            token: As the client shows it.
            audience: What it is for.
            expires_at: When the client says that it expires, which counts where the token itself cannot be read.

        Raises:
            Unauthorized: It is unknown, wrong, expired, or for another resource.
        """
        kind, _, content = token.partition(" ")
        if kind != "SharedAccessSignature":
            return Grant(path_of(audience), EVERYTHING, expires_at)
        fields = dict(part.partition("=")[::2] for part in content.split("&"))
        if not {"sr", "sig", "se", "skn"} <= fields.keys():
            raise Unauthorized("MalformedToken: The token has no signature, resource, expiry or name of a key")
        key = self._keys.get(unquote_plus(fields["skn"]))
        signature = unquote_plus(fields["sig"]).encode()
        if key is None or not hmac.compare_digest(_sign(key.key, fields["sr"], fields["se"]), signature):
            raise Unauthorized(
                "InvalidSignature: The token has an invalid signature; check SharedAccessKey and its name"
            )
        if not fields["se"].isdecimal() or int(fields["se"]) <= self._clock():
            raise Unauthorized("ExpiredToken: The token is expired; check this machine's clock")
        resource, wanted = path_of(unquote_plus(fields["sr"])), path_of(audience)
        if not covers(resource, wanted):
            raise Unauthorized(f"InvalidAudience: the token is for {resource!r}, not for {wanted!r}")
        return Grant(wanted, key.claims, float(fields["se"]))


def covers(granted: str, wanted: str) -> bool:
    """Tell whether a granted path covers a wanted one: it is the same, above it, or the namespace itself."""
    return granted in ("", wanted) or wanted.startswith(granted + "/")


def _sign(key: str, resource: str, expiry: str) -> bytes:
    """Sign as the clients do: over the encoded resource, as it stands in the token, and the expiry."""
    return b64encode(hmac.digest(key.encode(), f"{resource}\n{expiry}".encode(), sha256))
