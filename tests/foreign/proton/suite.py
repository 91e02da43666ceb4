"""Debian's python3-qpid-proton against servicebus_sandbox; test_proton.py runs this with the Python that has it.

It prints a line for each case that holds, and ends with a traceback at the first that does not.
SERVICEBUS_CONNECTION_STRING says where the broker is; every case has a queue of its own.
"""

import os
import re
from contextlib import contextmanager

# mypy looks into the project's environment, where proton is not.
import proton  # type: ignore[import-not-found]
from proton import Delivery, Message, symbol, ulong
from proton.reactor import AtMostOnce  # type: ignore[import-not-found]
from proton.utils import BlockingConnection, LinkDetached, SendException  # type: ignore[import-not-found]

#: The connection string: where the broker is, the name of a key, and the key.
PARTS = re.compile(r"Endpoint=sb://([\d.:]+);SharedAccessKeyName=([^;]+);SharedAccessKey=([^;]+)")

#: Seconds that a call may take: much longer than any does, so that a client that hangs is a failure.
PATIENCE = 20


@contextmanager
def connected(**options):
    """Connect with SASL PLAIN: the name of a key, and the key."""
    [(host, user, password)] = PARTS.findall(os.environ["SERVICEBUS_CONNECTION_STRING"])
    options = {"user": user, "password": password, "allowed_mechs": "PLAIN", "allow_insecure_mechs": True} | options
    connection = BlockingConnection(f"amqp://{host}", timeout=PATIENCE, **options)
    try:
        yield connection
    finally:
        connection.close()


def error_of(kind, call, *arguments):
    """Return the error of a kind that a call raises."""
    try:
        call(*arguments)
    except kind as error:
        return error
    raise AssertionError(f"{call} should have raised {kind}")


def everything_comes_back_as_it_was(connection):
    sender, receiver = connection.create_sender("names"), connection.create_receiver("names", credit=1)
    properties = {"text": "é", "yes": True, "none": None, "whole": 7, "large": 2**40, "half": 0.5, "big": ulong(2**63)}
    sent = Message(id="m", subject="s", correlation_id="c", body={"a": [1, "b"]}, properties=properties)
    assert sender.send(sent).remote_state == Delivery.ACCEPTED
    message = receiver.receive(PATIENCE)
    receiver.accept()
    assert (message.id, message.subject, message.correlation_id) == ("m", "s", "c")
    assert (message.body, message.properties) == (sent.body, properties)
    assert message.annotations[symbol("x-opt-sequence-number")] >= 1


def outcomes_do_what_they_say(connection):
    sender = connection.create_sender("proton")
    receiver = connection.create_receiver("proton", credit=1)
    sender.send(Message(id="m", body="x"))
    counts = []
    for settle in (
        receiver.release,
        lambda: receiver.release(delivered=False),
        lambda: receiver.settle(Delivery.MODIFIED),
        receiver.reject,
    ):
        counts.append(receiver.receive(PATIENCE).delivery_count)
        settle()
    dead = connection.create_receiver("proton/$DeadLetterQueue", credit=1)
    letter = dead.receive(PATIENCE)
    dead.accept()
    # release() is `modified` with delivery-failed, release(delivered=False) is `released`.
    assert counts == [0, 1, 1, 2], counts
    assert letter.id == "m"


def a_large_message_goes_both_ways_in_small_frames(connection):
    del connection
    with connected(max_frame_size=512) as small:
        body = "0123456789" * 20_000
        small.create_sender("proton-large").send(Message(body=body))
        receiver = small.create_receiver("proton-large", credit=1)
        assert receiver.receive(PATIENCE).body == body
        receiver.accept()


def what_is_too_large_is_rejected_and_the_link_goes_on(connection):
    sender = connection.create_sender("limits")
    refused = error_of(SendException, sender.send, Message(body="x" * 300_000))
    assert refused.state == Delivery.REJECTED, refused.state
    assert sender.send(Message(body="x")).remote_state == Delivery.ACCEPTED


def presettled_messages_get_in_and_are_taken_away(connection):
    sender = connection.create_sender("proton-presettled", options=AtMostOnce())
    for number in range(3):
        sender.send(Message(body=number))
    receiver = connection.create_receiver("proton-presettled", credit=3, options=AtMostOnce())
    assert [receiver.receive(PATIENCE).body for _ in range(3)] == [0, 1, 2]


def an_unknown_queue_is_not_found(connection):
    for attach in (connection.create_sender, connection.create_receiver):
        refused = error_of(LinkDetached, attach, "no-such-queue")
        assert refused.condition == "amqp:not-found", refused.condition


def a_wrong_key_ends_the_connection(connection):
    del connection
    refused = error_of(proton.ConnectionException, connected(password="wrong").__enter__)
    assert "auth" in str(refused).lower(), refused


CASES = [
    everything_comes_back_as_it_was,
    outcomes_do_what_they_say,
    a_large_message_goes_both_ways_in_small_frames,
    what_is_too_large_is_rejected_and_the_link_goes_on,
    presettled_messages_get_in_and_are_taken_away,
    an_unknown_queue_is_not_found,
    a_wrong_key_ends_the_connection,
]

if __name__ == "__main__":
    for case in CASES:
        with connected() as opened:
            case(opened)
        print(case.__name__)  # noqa: T201 - whoever runs it sees how far it came
