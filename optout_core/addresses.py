"""Addresses of what we call: what each may be, and what it says. Pure."""

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from pydantic import SecretStr

_ORIGIN = re.compile(r"(?P<scheme>https?)://(?P<host>[a-z0-9.-]+|\[[0-9a-f:]+\])(:(?P<port>[0-9]{1,5}))?/?")
_SERVICE_BUS = re.compile(r"sb://(?P<host>[a-z0-9_.-]+|\[[0-9a-f:]+\])(:[0-9]{1,5})?/?", re.IGNORECASE)
_ENDPOINT = re.compile(r"endpoint=sb://(?P<host>[^/;]+)", re.IGNORECASE)
_MAX_PORT = 65_535
#: RFC 1035, 2.3.4.
_MAX_LABEL = 63
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
_SQLITE = re.compile(r"sqlite:///(?P<path>[^?#]+)")
#: One host, one user, one database; what follows are parameters of libpq
#: (https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNSTRING-URIS).
_POSTGRES = re.compile(
    r"postgres(?:ql)?://(?P<user>[^:@/?#]+)(?::(?P<password>[^:@/?#]+))?@"
    r"(?P<host>[a-zA-Z0-9_.-]+|\[[0-9a-f:]+\])(?::[0-9]{1,5})?/(?P<database>[^/?#]+)(?:\?(?P<options>[^#]*))?"
)
_SSLMODE = re.compile(r"(?:^|&)sslmode=([^&]*)")


@dataclass(frozen=True, slots=True)
class SqliteAddress:
    """A ledger in a file.

    Attributes:
        path: Of the file.
    """

    path: str


@dataclass(frozen=True, slots=True)
class PostgresAddress:
    """A ledger in a database.

    Attributes:
        url: As libpq reads it; it may hold a password.
        user: Who we are there.
        has_password: Whether it holds a password; else a token of Entra ID is one.
        is_here: Whether the server is on this machine, and needs no TLS.
        names_root: Whether it says whose certificates are trusted.
    """

    url: SecretStr
    user: str
    has_password: bool
    is_here: bool
    names_root: bool


def read_ledger(text: str) -> SqliteAddress | PostgresAddress:
    """Read the address of a consent ledger.

    Raises:
        ValueError: It is none, or would be reached without knowing the server.
    """
    if sqlite := _SQLITE.fullmatch(text):
        return SqliteAddress(sqlite["path"])
    found = _POSTGRES.fullmatch(text)
    if found is None:
        raise ValueError("must be postgresql://USER@HOST/DATABASE or sqlite:////FILE")
    options, is_here = found["options"] or "", found["host"].casefold().strip("[]") in _LOOPBACK
    if not is_here and set(_SSLMODE.findall(options)) - {"verify-full"}:
        raise ValueError("must not ask for less than sslmode=verify-full, unless the server is on this machine")
    return PostgresAddress(
        SecretStr(text), found["user"], bool(found["password"]), is_here, names_root="sslrootcert=" in options
    )


def read_origin(text: str) -> str:
    """Read scheme and host of the ACS resource.

    Raises:
        ValueError: It is none, can exist nowhere, or would be reached without TLS.
    """
    found = _ORIGIN.fullmatch(text.lower())
    if found is None or int(found["port"] or 443) > _MAX_PORT:
        raise ValueError("must be https:// and a host, with a port if need be, and nothing else")
    if not _can_be_a_host(found["host"]):
        raise ValueError("must name a host: this name or address can exist nowhere")
    if found["scheme"] == "http" and not is_loopback(text):
        raise ValueError("must start with https:// (http:// only for this machine)")
    return text.rstrip("/")


def is_loopback(origin: str) -> bool:
    """Say whether an origin is on this machine."""
    found = _ORIGIN.fullmatch(origin.lower())
    return found is not None and found["host"].strip("[]") in _LOOPBACK


def namespace_in(connection_string: str) -> str:
    """Give the host and, where it has one, the port that a connection string of Service Bus names; "" for none."""
    found = _ENDPOINT.search(connection_string)
    return found["host"].lower() if found else ""


def _can_be_a_host(host: str) -> bool:
    try:
        if host.startswith("["):
            IPv6Address(host[1:-1])
        elif host.rpartition(".")[2].isdigit():
            IPv4Address(host)
    except ValueError:
        return False
    labels = host.removesuffix(".").split(".")
    return host.startswith("[") or all(0 < len(label) <= _MAX_LABEL and label.strip("-") == label for label in labels)


def check_connection_string(value: str) -> None:
    """Refuse a connection string of Service Bus.

    Raises:
        ValueError: A client would refuse it, or would talk to nobody, at the first message.
    """
    parts = {
        name.strip().casefold(): text.strip() for name, _, text in (part.partition("=") for part in value.split(";"))
    }
    host = _SERVICE_BUS.fullmatch(parts.get("endpoint", ""))
    has_key = bool(parts.get("sharedaccesskeyname") and parts.get("sharedaccesskey"))
    if host is None or not (has_key or parts.get("sharedaccesssignature")):
        raise ValueError("must be a connection string: Endpoint=sb://...;SharedAccessKeyName=...;SharedAccessKey=...")
    if parts.get("entitypath"):
        raise ValueError("must be the connection string of the namespace, without EntityPath: there are two queues")
    is_here = host["host"].casefold().strip("[]") in _LOOPBACK
    if parts.get("usedevelopmentemulator", "").casefold() == "true" and not is_here:
        raise ValueError(
            "must not say UseDevelopmentEmulator of a namespace that is not on this machine: it turns TLS off"
        )
