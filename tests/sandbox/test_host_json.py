"""host.json is honoured key by key, or refused by the key's name."""

import json
from datetime import timedelta

import pytest

from sandbox.host_json import ClientRetries, HostError, HostJson, read_host_json
from sandbox.run import ROOT


@pytest.fixture
def read(tmp_path):
    def read(document):
        path = tmp_path / "host.json"
        path.write_text(document if isinstance(document, str) else json.dumps(document))
        return read_host_json(path)

    return read


def service_bus(**keys):
    return {"version": "2.0", "extensions": {"serviceBus": keys}}


def test_our_own_is_honoured():
    assert read_host_json(ROOT / "host.json") == HostJson(timeout=timedelta(minutes=4.5), max_batch=100)


def test_what_is_left_out_is_as_the_host_has_it(read):
    found = read({"version": "2.0"})

    assert (found.timeout, found.max_batch, found.auto_complete) == (timedelta(minutes=30), 1000, True)
    assert found.retries == ClientRetries()


def test_every_key_of_a_batch_trigger_is_honoured(read):
    client = {
        "mode": "fixed",
        "tryTimeout": "00:00:30",
        "delay": "00:00:00.50",
        "maxDelay": "00:00:10",
        "maxRetries": 5,
    }
    document = service_bus(maxMessageBatchSize=7, autoCompleteMessages=False, clientRetryOptions=client)

    found = read(document | {"functionTimeout": "1.02:03:04"})

    assert found == HostJson(
        timeout=timedelta(days=1, hours=2, minutes=3, seconds=4),
        max_batch=7,
        auto_complete=False,
        retries=ClientRetries(
            is_exponential=False,
            try_timeout=timedelta(seconds=30),
            delay=timedelta(seconds=0.5),
            max_delay=timedelta(seconds=10),
            max_retries=5,
        ),
    )


@pytest.mark.parametrize(
    "document",
    [
        service_bus(
            maxConcurrentCalls=1,
            maxConcurrentCallsPerSession=1,
            maxConcurrentSessions=1,
            maxAutoLockRenewalDuration="00:05:00",
            sessionIdleTimeout="00:01:00",
        ),
        service_bus(maxBatchWaitTime="00:02:30"),
        service_bus(
            prefetchCount=0, minMessageBatchSize=1, transportType="amqpTcp", enableCrossEntityTransactions=False
        ),
        {"logging": {}, "telemetryMode": "OpenTelemetry", "extensionBundle": {}, "concurrency": {}, "retry": {}},
    ],
    ids=["of single messages", "the wait for a batch", "what it does anyway", "of other parts"],
)
def test_a_key_that_means_nothing_to_a_batch_trigger_is_let_pass(read, document):
    assert read(document) == HostJson()


@pytest.mark.parametrize(
    ("document", "named"),
    [
        (service_bus(webProxy="http://proxy"), "extensions.serviceBus.webProxy is not imitated"),
        (
            service_bus(clientRetryOptions={"jitter": 1}),
            "serviceBus.clientRetryOptions.jitter is not imitated",
        ),
        ({"extensions": {"queues": {}}}, "extensions.queues is not imitated"),
        ({"singleton": {}}, "singleton is not imitated"),
        (service_bus(prefetchCount=10), "prefetchCount must be 0"),
        (service_bus(maxBatchWaitTime="00:02:31"), "maxBatchWaitTime must be at most 0:02:30"),
        (service_bus(minMessageBatchSize=5), "minMessageBatchSize must be 1"),
        (service_bus(enableCrossEntityTransactions=True), "enableCrossEntityTransactions must be false"),
        (service_bus(transportType="amqpWebSockets"), 'transportType must be "amqpTcp"'),
        (service_bus(maxMessageBatchSize=0), "maxMessageBatchSize must be a whole number, at least 1"),
        (service_bus(maxMessageBatchSize="100"), "maxMessageBatchSize must be a whole number"),
        (service_bus(autoCompleteMessages="yes"), "autoCompleteMessages must be true or false"),
        (service_bus(clientRetryOptions={"mode": "linear"}), "mode must be exponential or fixed"),
        (service_bus(clientRetryOptions=[]), "clientRetryOptions must be an object"),
        ({"functionTimeout": "four minutes"}, "functionTimeout must be a time such as 00:04:30, and is 'four minutes'"),
        ("[]", "the document must be an object"),
        ("{", "host.json is no JSON"),
    ],
)
def test_what_the_sandbox_does_not_imitate_is_refused_by_name(read, document, named):
    with pytest.raises(HostError) as refused:
        read(document)

    assert named in str(refused.value)
    assert "\n" not in str(refused.value)
