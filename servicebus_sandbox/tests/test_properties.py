"""The queues' properties, and the file they are read from."""

import json
from dataclasses import replace
from datetime import timedelta

import pytest

from servicebus_sandbox import QueueProperties, load_queues


def write(tmp_path, entries):
    path = tmp_path / "queues.json"
    path.write_text(json.dumps(entries))
    return path


def test_a_file_is_read_with_the_names_of_azure_and_durations_of_iso_8601(tmp_path):
    properties = {
        "lockDuration": "PT5M",
        "maxDeliveryCount": 5,
        "requiresDuplicateDetection": True,
        "duplicateDetectionHistoryTimeWindow": "P1DT12H",
        "defaultMessageTimeToLive": "P10675199DT2H48M5.4775807S",
        "deadLetteringOnMessageExpiration": True,
        "forwardDeadLetteredMessagesTo": "failed",
        "maxSizeInMegabytes": 5120,
    }
    path = write(tmp_path, {"orders": {"name": "incoming-orders", "properties": properties}, "failed": {}})

    assert load_queues(path) == {
        "incoming-orders": QueueProperties(
            lock_duration=timedelta(minutes=5),
            max_delivery_count=5,
            requires_duplicate_detection=True,
            duplicate_detection_history_time_window=timedelta(days=1, hours=12),
            default_message_time_to_live=timedelta(days=10675199, hours=2, minutes=48, seconds=5.4775807),
            dead_lettering_on_message_expiration=True,
            forward_dead_lettered_messages_to="failed",
            max_size_in_megabytes=5120,
        ),
        "failed": QueueProperties(),
    }


def test_a_property_can_be_replaced_for_a_test():
    short = replace(QueueProperties(max_delivery_count=3), lock_duration=timedelta(seconds=1))

    assert (short.lock_duration, short.max_delivery_count) == (timedelta(seconds=1), 3)


def test_a_property_out_of_bounds_is_refused_wherever_it_comes_from():
    with pytest.raises(ValueError, match="lockDuration must be longer than zero, and at most 5 minutes"):
        QueueProperties(lock_duration=timedelta(minutes=6))


@pytest.mark.parametrize(
    ("properties", "fault"),
    [
        ({"lockDuraton": "PT5M"}, "queue: this broker has no property lockDuraton; it has lockDuration, maxDelivery"),
        ({"requiresSession": True}, "requiresSession"),
        ({"lockDuration": "PT6M"}, "queue: lockDuration must be longer than zero, and at most 5 minutes"),
        ({"lockDuration": "5 minutes"}, "queue: lockDuration must be a duration like P7D"),
        ({"lockDuration": "PT"}, "must be a duration"),
        ({"lockDuration": 5}, "must be a duration"),
        ({"maxDeliveryCount": 0}, "maxDeliveryCount must be 1 to 2,000"),
        ({"maxDeliveryCount": True}, "maxDeliveryCount must be a whole number"),
        ({"requiresDuplicateDetection": "yes"}, "requiresDuplicateDetection must be true or false"),
        ({"forwardDeadLetteredMessagesTo": None}, "forwardDeadLetteredMessagesTo must be a text"),
        ({"duplicateDetectionHistoryTimeWindow": "P8D"}, "at most 7 days"),
        ({"defaultMessageTimeToLive": "PT0S"}, "longer than zero"),
        ({"defaultMessageTimeToLive": "P9999999999D"}, "longer time than there is"),
    ],
)
def test_a_property_that_the_broker_cannot_honour_is_named(tmp_path, properties, fault):
    path = write(tmp_path, {"queue": {"name": "q", "properties": properties}})

    with pytest.raises(ValueError, match="cannot honour this file") as error:
        load_queues(path)
    assert fault in str(error.value)
    assert str(path) in str(error.value)


@pytest.mark.parametrize(
    ("entries", "fault"),
    [
        ([], "expected a JSON object"),
        ({}, "expected a JSON object"),
        ({"q": []}, "q: expected an object with name and properties"),
        ({"q": {"properties": {}, "more": 1}}, "and nothing else"),
        ({"q": {"name": 7}}, "q: name must be a text"),
        ({"q": {}, "again": {"name": "q"}}, "again: the queue 'q' is there twice"),
    ],
)
def test_a_file_of_another_form_is_named(tmp_path, entries, fault):
    with pytest.raises(ValueError, match=fault):
        load_queues(write(tmp_path, entries))


def test_every_fault_of_a_file_is_told_at_once(tmp_path):
    path = write(tmp_path, {"a": {"properties": {"x": 1}}, "b": {"properties": {"y": 1}}})

    with pytest.raises(ValueError, match=r"no property x.*; b: this broker has no property y"):
        load_queues(path)


def test_a_file_that_is_no_json_is_named(tmp_path):
    path = tmp_path / "queues.json"
    path.write_text("{")

    with pytest.raises(ValueError, match="this is not JSON"):
        load_queues(path)
