"""The queues' properties, from the file that Bicep deploys from."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta

import pytest

from servicebus_sandbox import QueueProperties, load_queues
from servicebus_sandbox.properties import QUEUES_FILE


def test_the_shared_file_is_read_as_it_is_deployed():
    entries = json.loads(QUEUES_FILE.read_text())
    queues = load_queues()

    assert list(queues) == [entry["name"] for entry in entries.values()]
    assert queues["opt-ins"] == QueueProperties(
        lock_duration=timedelta(minutes=5),
        max_delivery_count=10,
        requires_duplicate_detection=True,
        duplicate_detection_history_time_window=timedelta(days=1),
        default_message_time_to_live=timedelta(days=7),
        dead_lettering_on_message_expiration=True,
        forward_dead_lettered_messages_to="opt-ins-dead-letter",
        max_size_in_megabytes=5120,
    )


def test_a_property_can_be_replaced_for_a_test():
    short = replace(load_queues()["opt-ins"], lock_duration=timedelta(seconds=1))

    assert (short.lock_duration, short.max_delivery_count) == (timedelta(seconds=1), 10)


@pytest.mark.parametrize(
    ("properties", "fault"),
    [
        ({"lockDuraton": "PT5M"}, "queue.properties.lockDuraton: Unexpected keyword argument"),
        ({"requiresSession": True}, "requiresSession"),
        ({"lockDuration": "PT6M"}, "queue.properties.lockDuration: Input should be less than or equal to 5 minutes"),
        ({"lockDuration": "5 minutes"}, "lockDuration"),
        ({"maxDeliveryCount": 0}, "greater than or equal to 1"),
        ({"duplicateDetectionHistoryTimeWindow": "P8D"}, "less than or equal to 7 days"),
        ({"defaultMessageTimeToLive": "PT0S"}, "greater than 0"),
    ],
)
def test_a_property_that_the_sandbox_cannot_honour_is_named(tmp_path, properties, fault):
    path = tmp_path / "queues.json"
    path.write_text(json.dumps({"queue": {"name": "q", "properties": properties}}))

    with pytest.raises(ValueError, match="cannot honour this file") as error:
        load_queues(path)
    assert fault in str(error.value)
    assert str(path) in str(error.value)


def test_a_file_that_is_no_json_is_named(tmp_path):
    path = tmp_path / "queues.json"
    path.write_text("{")

    with pytest.raises(ValueError, match="Invalid JSON"):
        load_queues(path)
