"""The namespace and its queues, and the texts that Event Grid brings."""

import json

import pytest

from optout_core.settings import Settings
from tests.infra.compiler import CompilationError
from tests.infra.snapshots import Deployment, Resource, deployment, read
from tests.infra.sources import INFRA

QUEUES = json.loads((INFRA / "queues.json").read_text())
EVERYTHING, REQUIRED = deployment("everything"), deployment("required")


def _queues(of: Deployment = EVERYTHING) -> dict[str, Resource]:
    queues = of.of_type("Microsoft.ServiceBus/namespaces/queues")
    return {queue["name"].partition("/")[2]: queue["properties"] for queue in queues}


def test_the_queues_are_those_of_the_shared_file():
    assert _queues(REQUIRED) == {queue["name"]: queue["properties"] for queue in QUEUES.values()}


def test_the_queues_are_those_the_code_expects():
    defaults = {field.alias: field.default for field in Settings.model_fields.values()}

    assert QUEUES["optIns"]["name"] == defaults["OPT_IN_QUEUE"]
    assert QUEUES["deadLetters"]["name"] == defaults["DEAD_LETTER_QUEUE"]


def test_what_the_broker_dead_letters_lands_in_the_queue_operators_look_at():
    opt_ins = _queues()["opt-ins"]

    assert opt_ins["forwardDeadLetteredMessagesTo"] in _queues()
    assert opt_ins["deadLetteringOnMessageExpiration"] is True


def test_a_queue_is_made_after_the_one_it_forwards_to():
    waits = read("graph")["messaging"]

    assert "deadLetters" in waits["optIns"]
    assert "endingDeadLetters" in waits["deadLetters"]


def test_a_crash_between_send_and_complete_is_harmless_on_both_queues():
    for name in ("opt-ins", "opt-ins-dead-letter"):
        assert _queues()[name]["requiresDuplicateDetection"] is True
        assert _queues()[name]["lockDuration"] == "PT5M"


def test_a_dead_letter_has_a_last_day_and_somebody_is_told_two_weeks_before():
    """Nothing ends in a built-in dead-letter queue: https://learn.microsoft.com/azure/service-bus-messaging/service-bus-dead-letter-queues"""
    queues = _queues(REQUIRED)
    first, last = queues["opt-ins-dead-letter"], queues["opt-ins-dead-letter-ending"]
    days = [int(queue["defaultMessageTimeToLive"].strip("PD")) for queue in (first, last)]

    assert first["deadLetteringOnMessageExpiration"] is True
    assert first["forwardDeadLetteredMessagesTo"] == "opt-ins-dead-letter-ending"
    assert last["deadLetteringOnMessageExpiration"] is False
    assert "forwardDeadLetteredMessagesTo" not in last
    assert (sum(days), days[1]) == (90, 14)


def test_nothing_is_dropped_as_a_duplicate_where_only_the_broker_sends():
    assert _queues()["opt-ins-dead-letter-ending"]["requiresDuplicateDetection"] is False


def test_what_is_full_is_full_for_every_queue():
    assert {queue["maxSizeInMegabytes"] for queue in _queues(REQUIRED).values()} == {5120}


def test_an_opt_in_gets_too_old_before_the_broker_throws_it_out():
    days = int(QUEUES["optIns"]["properties"]["defaultMessageTimeToLive"].strip("PD"))

    assert Settings.model_fields["opt_in_max_age"].default.total_seconds() < days * 86400


def test_a_queue_has_a_size_that_both_tiers_take():
    """https://learn.microsoft.com/azure/service-bus-messaging/service-bus-quotas"""
    for queue in _queues(REQUIRED).values():
        assert queue["maxSizeInMegabytes"] in {1024, 2048, 3072, 4096, 5120}


def test_premium_holds_more_and_standard_is_refused_more(compiler, parameter_file):
    assert {queue["maxSizeInMegabytes"] for queue in _queues().values()} == {81920}
    assert EVERYTHING.only("Microsoft.ServiceBus/namespaces")["sku"]["capacity"] == 2

    with pytest.raises(CompilationError, match="queueSizeMB above 5120 needs serviceBusSku Premium"):
        compiler.snapshot(parameter_file("required", "param queueSizeMB = 10240"))


def test_no_queue_is_partitioned():
    """Each partition numbers its messages for itself, and what pages by number would miss some."""
    for queue in (*_queues().values(), *_queues(REQUIRED).values()):
        assert "enablePartitioning" not in queue


def test_standard_is_the_default_and_premium_a_choice():
    parameter = read("template")["parameters"]["serviceBusSku"]

    assert REQUIRED.only("Microsoft.ServiceBus/namespaces")["sku"]["name"] == "Standard"
    assert parameter["allowedValues"] == ["Standard", "Premium"]


def test_a_private_network_without_premium_is_refused(compiler, parameter_file):
    path = parameter_file("required", "param privateNetworking = true")

    with pytest.raises(CompilationError, match="privateNetworking needs serviceBusSku Premium"):
        compiler.snapshot(path)


def test_event_grid_brings_received_texts_and_nothing_else():
    topic = EVERYTHING.only("Microsoft.EventGrid/systemTopics")["properties"]
    texts = EVERYTHING.only("Microsoft.EventGrid/systemTopics/eventSubscriptions")["properties"]
    delivery = texts["deliveryWithResourceIdentity"]

    assert topic["topicType"] == "Microsoft.Communication.CommunicationServices"
    assert topic["source"].endswith("/communicationServices/acs-of-the-snapshot")
    assert texts["filter"]["includedEventTypes"] == ["Microsoft.Communication.SMSReceived"]
    assert delivery["identity"]["type"] == "UserAssigned"
    assert "/id-optin-texts-" in delivery["identity"]["userAssignedIdentity"]
    assert delivery["destination"]["endpointType"] == "ServiceBusQueue"
    assert delivery["destination"]["properties"]["resourceId"].endswith("/queues/opt-ins")
    assert "destination" not in texts


def test_a_text_of_one_segment_or_of_unknown_length_passes_the_filter():
    texts = EVERYTHING.only("Microsoft.EventGrid/systemTopics/eventSubscriptions")
    (short,) = texts["properties"]["filter"]["advancedFilters"]

    assert short["operatorType"] == "NumberNotIn"  # a missing key matches a "not in", and no "less than"
    assert short["key"] == "data.segmentCount"
    assert short["values"] == list(range(2, 22))
    assert len(short["values"]) <= 25  # the most values Event Grid takes


def test_texts_are_received_only_when_asked_for():
    assert REQUIRED.of_type("Microsoft.EventGrid/systemTopics") == []
    assert len(REQUIRED.of_type("Microsoft.ManagedIdentity/userAssignedIdentities")) == 1
