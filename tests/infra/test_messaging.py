"""The namespace and its queues, and the texts that Event Grid brings."""

import json

from optout_core.settings import Settings
from tests.infra.bicep_tree import INFRA, Resource, read, text

QUEUES = json.loads((INFRA / "queues.json").read_text())


def _queues() -> dict[str, Resource]:
    template = read(INFRA / "modules/messaging.bicep")
    return {resource.symbol: resource for resource in template.of_type("Microsoft.ServiceBus/namespaces/queues")}


def test_the_queues_are_those_of_the_shared_file():
    deployed = {
        symbol: {"name": queue.body["name"], "properties": queue.properties} for symbol, queue in _queues().items()
    }

    assert deployed == QUEUES


def test_the_queues_are_those_the_code_expects():
    defaults = {field.alias: field.default for field in Settings.model_fields.values()}

    assert _queues()["optIns"].body["name"] == defaults["OPT_IN_QUEUE"]
    assert _queues()["deadLetters"].body["name"] == defaults["DEAD_LETTER_QUEUE"]


def test_what_the_broker_dead_letters_lands_in_the_queue_operators_look_at():
    queues = _queues()

    assert queues["optIns"].properties["forwardDeadLetteredMessagesTo"] == queues["deadLetters"].body["name"]
    assert queues["optIns"].properties["deadLetteringOnMessageExpiration"] is True
    assert queues["optIns"].body["dependsOn"] == ["deadLetters"]


def test_a_crash_between_send_and_complete_is_harmless_on_both_queues():
    for queue in _queues().values():
        assert queue.properties["requiresDuplicateDetection"] is True
        assert queue.properties["lockDuration"] == "PT5M"


def test_an_opt_in_gets_too_old_before_the_broker_throws_it_out():
    days = int(QUEUES["optIns"]["properties"]["defaultMessageTimeToLive"].strip("PD"))

    assert Settings.model_fields["opt_in_max_age"].default.total_seconds() < days * 86400


def test_the_namespace_takes_no_key_and_no_old_tls():
    (namespace,) = read(INFRA / "modules/messaging.bicep").of_type("Microsoft.ServiceBus/namespaces")

    assert namespace.properties["disableLocalAuth"] is True
    assert namespace.properties["minimumTlsVersion"] == "1.2"


def test_standard_is_the_default_and_premium_a_choice():
    parameters = read(INFRA / "main.bicep").parameters

    assert "param serviceBusSku string = 'Standard'" in (INFRA / "main.bicep").read_text()
    assert parameters["serviceBusSku"].decorators["allowed"] == ["Standard", "Premium"]


def test_a_private_network_without_premium_is_refused():
    choice = text(read(INFRA / "main.bicep").variables["effectiveSku"])

    assert choice.startswith("privateNetworking && serviceBusSku != 'Premium'")
    assert "? fail(" in choice


def test_storage_takes_no_key_and_shows_nothing_to_the_public():
    (account,) = read(INFRA / "modules/storage.bicep").of_type("Microsoft.Storage/storageAccounts")

    assert account.properties["allowSharedKeyAccess"] is False
    assert account.properties["allowBlobPublicAccess"] is False
    assert account.properties["minimumTlsVersion"] == "TLS1_2"


def test_event_grid_brings_received_texts_and_nothing_else():
    template = read(INFRA / "modules/event-grid.bicep")
    (topic,) = template.of_type("Microsoft.EventGrid/systemTopics")
    (texts,) = template.of_type("Microsoft.EventGrid/systemTopics/eventSubscriptions")
    delivery = texts.properties["deliveryWithResourceIdentity"]

    assert topic.properties["topicType"] == "Microsoft.Communication.CommunicationServices"
    assert texts.properties["filter"]["includedEventTypes"] == ["Microsoft.Communication.SMSReceived"]
    assert delivery["identity"]["type"] == "UserAssigned"
    assert delivery["destination"]["endpointType"] == "ServiceBusQueue"
    assert delivery["destination"]["properties"]["resourceId"] == "namespace::optIns.id"
    assert "destination" not in texts.properties


def test_a_text_of_one_segment_or_of_unknown_length_passes_the_filter():
    (texts,) = read(INFRA / "modules/event-grid.bicep").of_type("Microsoft.EventGrid/systemTopics/eventSubscriptions")
    (short,) = texts.properties["filter"]["advancedFilters"]

    assert short["operatorType"] == "NumberNotIn"  # a missing key matches a "not in", and no "less than"
    assert short["key"] == "data.segmentCount"
    assert short["values"] == list(range(2, 22))
    assert len(short["values"]) <= 25  # the most values Event Grid takes


def test_texts_are_received_only_when_asked_for():
    source = (INFRA / "main.bicep").read_text()

    assert "param receiveTexts bool = false" in source
    assert "module texts 'modules/event-grid.bicep' = if (receiveTexts) {" in source
