"""A pytest plugin that stands in for what azure-servicebus' own live tests need of Azure.

They ask `devtools_testutils` and `servicebus_preparer` for a namespace with queues; here they get a broker of ours for
each test. The client itself is as it was installed: it speaks TLS to port 5671 of an address that is this worker's own
(127.0.0.2, 127.0.0.3 ...), and trusts the certificate since `certifi` names ours.
"""

import functools
import inspect
import itertools
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import certifi
import pytest
from azure.core.credentials import AccessToken
from cryptography import x509

from servicebus_sandbox import AccessKey, BrokerThread, QueueProperties, server
from servicebus_sandbox.tests.certificates import make_certificate

#: The only port that the client speaks TLS to.
AMQPS = 5671
#: Whatever xdist runs has a number; 127.0.0.1 is left to others.
WORKER = 2 + int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
NAMESPACE, SUFFIX = "127.0.0", f".{WORKER}"

ROOT_KEY = AccessKey("RootManageSharedAccessKey", "sandbox")

#: Seconds of the lock durations that the tests ask for.
LOCKS = {"PT5S": 5, "PT10S": 10, "PT30S": 30, "PT55S": 55, "PT1M": 60, "PT5M": 300}

_numbers = itertools.count(1)


class Preparer:
    """A decorator of a test: it says what the namespace must hold, and the outermost one makes it."""

    def __init__(self, name_prefix="", parameter_name=None, **properties):
        self.prefix = name_prefix
        self.parameter = parameter_name
        self.properties = properties

    def __call__(self, test):
        needs = [self, *getattr(test, "needs", ())]
        wrapped = getattr(test, "innermost", test)

        async def awaited(*args, **kwargs):
            with namespace(needs) as given:
                await wrapped(*args, **kwargs, **given)

        def called(*args, **kwargs):
            with namespace(needs) as given:
                wrapped(*args, **kwargs, **given)

        prepared: Any = functools.wraps(test)(awaited if inspect.iscoroutinefunction(wrapped) else called)
        prepared.needs, prepared.innermost = needs, wrapped
        return prepared


class ResourceGroup(Preparer):
    """What a namespace lies in: nothing here."""


class Namespace(Preparer):
    """The broker itself, which is there anyway."""


class Queue(Preparer):
    """A queue."""


class Topic(Preparer):
    """A topic, by name only: the broker has none."""


class Subscription(Preparer):
    """A subscription, by name only: the broker has none."""


class NamespaceRule(Preparer):
    """A key of the namespace."""


class QueueRule(Preparer):
    """A key that is used for one queue."""


@contextmanager
def namespace(needs) -> Iterator[dict[str, object]]:
    """Run a broker with what some preparers ask for, and give the arguments of the test."""
    given: dict[str, object] = {
        "servicebus_namespace": SimpleNamespace(name=NAMESPACE),
        "servicebus_namespace_connection_string": connection_string(ROOT_KEY),
        "servicebus_namespace_key_name": ROOT_KEY.name,
        "servicebus_namespace_primary_key": ROOT_KEY.key,
    }
    queues, keys, queue_name = {}, [ROOT_KEY], ""
    for need in needs:
        name = f"{need.prefix}{next(_numbers)}"
        if isinstance(need, Queue):
            queue_name, queues[name] = name, queue(**need.properties)
            given[need.parameter or "servicebus_queue"] = SimpleNamespace(name=name)
        elif isinstance(need, Topic | Subscription):
            refuse_sessions(**need.properties)
            given[f"servicebus_{type(need).__name__.lower()}"] = SimpleNamespace(name=name)
        elif isinstance(need, NamespaceRule | QueueRule):
            key = AccessKey(name, f"key{name}", frozenset(need.properties.get("access_rights", ALL)))
            keys.append(key)
            whole = connection_string(key)
            given |= {
                "servicebus_authorization_rule_connection_string": whole,
                # The queue stands above its rule.
                "servicebus_queue_authorization_rule_connection_string": f"{whole}EntityPath={queue_name}",
            }
    with BrokerThread(queues, port=AMQPS, keys=keys, tls=TLS):
        yield given


def connection_string(key):
    """Return the connection string of a key."""
    return f"Endpoint=sb://{NAMESPACE}{SUFFIX}/;SharedAccessKeyName={key.name};SharedAccessKey={key.key};"


def refuse_sessions(*, requires_session=False, **_):
    """Skip the test if it needs sessions: all that would be tested is how they are refused."""
    if requires_session:
        pytest.skip("the broker has no sessions")


def queue(
    *,
    lock_duration="PT30S",
    requires_duplicate_detection=False,
    dead_lettering_on_message_expiration=False,
    **others,
):
    """Make the properties of a queue from those that a preparer names."""
    refuse_sessions(**others)
    return QueueProperties(
        lock_duration=timedelta(seconds=LOCKS[lock_duration]),
        requires_duplicate_detection=requires_duplicate_detection,
        dead_lettering_on_message_expiration=dead_lettering_on_message_expiration,
    )


class Credential:
    """An identity of Entra ID. The broker takes its tokens as they are."""

    def get_token(self, *_scopes, **_options):
        return AccessToken("opaque", int((datetime.now(UTC) + timedelta(hours=1)).timestamp()))


class AsyncCredential(Credential):
    """The same, to be awaited."""

    async def get_token(self, *scopes, **options):
        return super().get_token(*scopes, **options)

    async def close(self):
        pass

    async def __aenter__(self):
        return self

    async def __aexit__(self, *_):
        pass


@pytest.fixture(scope="session")
def test_proxy():
    """Give what records HTTP for tests of the administration client: none of those is run."""


def module(name, **content):
    made = sys.modules[name] = ModuleType(name)
    vars(made).update(content)
    parent, _, child = name.rpartition(".")
    if parent in sys.modules:
        setattr(sys.modules[parent], child, made)


def nothing(*_args, **_kwargs):
    """Stand in for what prepares recordings."""


class RecordedTestCase:
    """The base class of their tests."""

    #: pytest-asyncio awaits them.
    await_prepared_test = staticmethod(lambda test: test)


ALL = ("Listen", "Send", "Manage")
FOLDER = tempfile.TemporaryDirectory(prefix="sdk-tests-")
TLS = make_certificate(Path(FOLDER.name), x509.IPAddress(IPv4Address(NAMESPACE + SUFFIX)))
certifi.where = lambda: str(Path(FOLDER.name, "certificate.pem"))
server.HOST = NAMESPACE + SUFFIX

module(
    "devtools_testutils",
    AzureMgmtRecordedTestCase=RecordedTestCase,
    AzureRecordedTestCase=RecordedTestCase,
    RandomNameResourceGroupPreparer=ResourceGroup,
    PowerShellPreparer=Preparer,
    recorded_by_proxy=lambda test: test,
    set_custom_default_matcher=nothing,
    get_credential=lambda is_async=False, **_: AsyncCredential() if is_async else Credential(),
)
module(
    "devtools_testutils.sanitizers",
    add_remove_header_sanitizer=nothing,
    add_general_regex_sanitizer=nothing,
    add_oauth_response_sanitizer=nothing,
)
module("azure.common", AzureHttpError=Exception, AzureConflictHttpError=Exception)
module("azure.mgmt")
module("azure.mgmt.servicebus")
module("azure.mgmt.servicebus.models", AccessRights=SimpleNamespace(listen="Listen", send="Send", manage="Manage"))
module(
    "servicebus_preparer",
    SERVICEBUS_ENDPOINT_SUFFIX=SUFFIX,
    **{
        f"{cached}ServiceBus{name}Preparer": preparer
        for cached in ("", "Cached")
        for name, preparer in {
            "ResourceGroup": ResourceGroup,
            "Namespace": Namespace,
            "Queue": Queue,
            "Topic": Topic,
            "Subscription": Subscription,
            "NamespaceAuthorizationRule": NamespaceRule,
            "QueueAuthorizationRule": QueueRule,
        }.items()
    },
)
