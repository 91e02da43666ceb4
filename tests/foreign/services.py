"""What each suite of foreign clients talks to.

`SERVICES` holds, by the folder of the suite, a context manager that starts the services and gives the environment
variables that lead to them.
"""

import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from sandbox.endpoint import Endpoint
from servicebus_sandbox import LISTEN, SEND, AccessKey, Broker, load_queues

#: The folder of the suite of Service Bus clients.
SERVICEBUS = Path(__file__).with_name("servicebus")

Services = Callable[[Path], AbstractAsyncContextManager[Mapping[str, str]]]


@asynccontextmanager
async def acs(folder: Path) -> AsyncIterator[Mapping[str, str]]:
    """Start the endpoint twice: over HTTP for a key, and over TLS for a token, which clients send in no other way."""
    certificate = folder / "certificate.pem"
    tls = certified(certificate)
    async with (
        Endpoint(owned_senders={"+18001234567", "12345"}) as endpoint,
        Endpoint(bearer_token="opaque", tls=tls) as with_tls,
    ):
        yield {
            "ACS_CONNECTION_STRING": f"endpoint={endpoint.url};accesskey={endpoint.access_key}",
            "ACS_ENDPOINT": endpoint.url,
            "ACS_TLS_ENDPOINT": with_tls.url,
            "ACS_TOKEN": "opaque",
            "NODE_EXTRA_CA_CERTS": str(certificate),
        }


@asynccontextmanager
async def servicebus(_folder: Path) -> AsyncIterator[Mapping[str, str]]:
    """Start the broker with the suite's queues, and with keys that only receive and only send."""
    keys = [
        AccessKey("RootManageSharedAccessKey", "sandbox"),
        AccessKey("listener", "listens", frozenset({LISTEN})),
        AccessKey("sender", "sends", frozenset({SEND})),
    ]
    async with Broker(load_queues(SERVICEBUS / "queues.json"), keys=keys) as broker:
        yield {
            "SERVICEBUS_CONNECTION_STRING": broker.connection_string,
            "SERVICEBUS_LISTEN_ONLY": broker.connection_string_of("listener"),
            "SERVICEBUS_SEND_ONLY": broker.connection_string_of("sender"),
        }


def certified(file: Path) -> ssl.SSLContext:
    """Make a certificate for 127.0.0.1 that signs itself, write it to `file`, and return the server's side of it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "sandbox")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    secret = file.with_suffix(".key")
    secret.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file, secret)
    return context


SERVICES: Mapping[str, Services] = {"acs": acs, "servicebus": servicebus}
