"""When the list changes: at once, late, never, or by itself when a person texts."""

import asyncio
import json

import httpx
import pytest

from sandbox.endpoint import Endpoint, Fault, Item
from sandbox.endpoint.fault_file import parse_faults

SENDER = "+18001234567"
PERSON = "+15555555551"
ANOTHER = "+15555555552"
LISTED = {(SENDER, PERSON)}


async def give_up(http, request, after=0.1):
    """Send a request and leave before its answer."""
    request.extensions["timeout"] = {"read": after}
    with pytest.raises(httpx.ReadTimeout):
        await http.send(request)


async def until(condition, within=5.0):
    async with asyncio.timeout(within):
        while not condition():  # noqa: ASYNC110 - the list is a plain set
            await asyncio.sleep(0.01)


# --- late ---


async def test_an_effect_can_come_after_the_answer(call, endpoint):
    endpoint.opted_out = set(LISTED)
    endpoint.faults = [Fault(applied_after=0.2)]

    items = await call.items(endpoint)
    at_the_answer = set(endpoint.opted_out)
    await until(lambda: not endpoint.opted_out)

    assert items == [{"to": PERSON, "httpStatusCode": 200}]
    assert at_the_answer == LISTED


@pytest.mark.parametrize("fault", [{"drop": "silence"}, {"delay": 60}, {"delay": 60, "status": 503}], ids=str)
async def test_an_effect_can_come_after_the_client_gave_up(call, http, endpoint, fault):
    endpoint.opted_out = set(LISTED)
    endpoint.faults = [Fault(applied_after=0.3, **fault)]

    await give_up(http, call.request(endpoint))
    when_it_gave_up = set(endpoint.opted_out)
    await until(lambda: not endpoint.opted_out)

    assert when_it_gave_up == LISTED


@pytest.mark.parametrize("fault", [{"status": 500}, {"drop": "reset"}, {"drop": "close-mid-body"}], ids=str)
async def test_an_effect_can_come_after_a_call_that_failed(call, endpoint, fault):
    endpoint.opted_out = set(LISTED)
    endpoint.faults = [Fault(applied_after=0.2, **fault)]

    try:
        await call(endpoint)
    except httpx.TransportError:
        assert "drop" in fault
    when_it_failed = set(endpoint.opted_out)
    await until(lambda: not endpoint.opted_out)

    assert when_it_failed == LISTED


async def test_an_effect_can_be_done_at_once_and_answered_late(call, http, endpoint):
    endpoint.faults = [Fault(delay=60, applied_after=0)]

    await give_up(http, call.request(endpoint, "add"))

    assert endpoint.opted_out == LISTED


async def test_two_calls_can_have_their_effects_in_the_wrong_order(call, endpoint):
    endpoint.faults = [Fault(operation="remove", applied_after=3600)]

    await call(endpoint, "remove")
    await call(endpoint, "add")
    endpoint.catch_up()

    assert endpoint.opted_out == set()


async def test_what_is_late_can_be_let_happen_now_and_happens_in_the_order_of_its_moments(call, endpoint):
    endpoint.faults = [Fault(operation="remove", applied_after=3000), Fault(operation="add", applied_after=2000)]

    await call(endpoint, "remove")
    await call(endpoint, "add")
    before = set(endpoint.opted_out)
    endpoint.catch_up()
    after = set(endpoint.opted_out)
    endpoint.opted_out = set(LISTED)
    endpoint.catch_up()

    assert (before, after, endpoint.opted_out) == (set(), set(), LISTED)


async def test_the_effect_on_one_recipient_can_come_late(call, endpoint):
    endpoint.faults = [Fault(to=PERSON, items=(Item(http_status_code=500),), applied_after=3600)]

    items = await call.items(endpoint, "add", to=[PERSON, ANOTHER])
    before = set(endpoint.opted_out)
    endpoint.catch_up()

    assert [item["httpStatusCode"] for item in items] == [500, 200]
    assert before == {(SENDER, ANOTHER)}
    assert endpoint.opted_out == {(SENDER, ANOTHER), (SENDER, PERSON)}


async def test_a_late_effect_still_needs_a_credential(call, endpoint):
    endpoint.faults = [Fault(applied_after=3600)]

    answered = await call(endpoint, "add", key="cGFzc3dvcmQ=")
    endpoint.catch_up()

    assert answered.status_code == 401
    assert endpoint.opted_out == set()


async def test_what_is_late_does_not_happen_when_the_endpoint_has_gone(call):
    async with Endpoint(faults=[Fault(applied_after=0.2)]) as endpoint:
        await call(endpoint, "add")
    await asyncio.sleep(0.3)
    endpoint.catch_up()

    assert endpoint.opted_out == set()


# --- never ---


@pytest.mark.parametrize(
    "fault", [{"applied": False}, {"delay": 0.01, "applied": False}, {"times": 1, "applied": False}], ids=str
)
async def test_a_call_can_be_answered_well_and_never_done(call, endpoint, fault):
    endpoint.opted_out = set(LISTED)
    endpoint.faults = [Fault(**fault)]

    items = await call.items(endpoint)
    endpoint.catch_up()

    assert items == [{"to": PERSON, "httpStatusCode": 200}]
    assert endpoint.opted_out == LISTED


async def test_a_call_that_is_never_done_is_answered_as_truly_as_any(call, endpoint):
    endpoint.faults = [Fault(applied=False)]

    assert (await call(endpoint, key="cGFzc3dvcmQ=")).status_code == 401
    assert [item["httpStatusCode"] for item in await call.items(endpoint, to=[PERSON, "+123"])] == [200, 400]


# --- silence ---


async def test_silence_leaves_the_connection_open_and_undone_what_was_asked(call, http, endpoint):
    endpoint.faults = [Fault(drop="silence", times=1)]

    await give_up(http, call.request(endpoint, "add"))

    assert endpoint.opted_out == set()
    assert [request.status for request in endpoint.requests] == [None]
    assert (await call(endpoint)).status_code == 200


async def test_silence_ends_when_its_client_goes(call, http, endpoint):
    endpoint.faults = [Fault(drop="silence", times=1)]
    await give_up(http, call.request(endpoint))

    await until(lambda: endpoint._in_flight == 0)


# --- texts ---


@pytest.mark.parametrize(
    ("word", "before", "after"),
    [("STOP", set(), LISTED), ("START", LISTED, set()), ("STOP", LISTED, LISTED), ("START", set(), set())],
)
async def test_a_text_changes_the_list_by_itself(endpoint, word, before, after):
    endpoint.opted_out = set(before)

    listed = endpoint.text(word, person=PERSON, sender=SENDER)

    assert endpoint.opted_out == after
    assert listed == bool(after)


@pytest.mark.parametrize("word", ["stop", " Stop ", "unsubscribe", "opt  out", "END", "QUIT", "cancel", "Revoke"])
async def test_every_word_of_acs_counts_whatever_its_case_and_blanks(endpoint, word):
    assert endpoint.text(word, person=PERSON, sender=SENDER)


@pytest.mark.parametrize("word", ["HELP", "stop it", "", "START now", "stopp"])
async def test_any_other_text_changes_nothing(endpoint, word):
    endpoint.opted_out = {(SENDER, ANOTHER)}

    assert not endpoint.text(word, person=PERSON, sender=SENDER)
    assert endpoint.text(word, person=ANOTHER, sender=SENDER)


@pytest.mark.parametrize(("person", "sender"), [("+123", SENDER), (PERSON, "Contoso"), ("15555555551", SENDER)])
async def test_who_has_no_number_cannot_text_and_nobody_can_text_a_name(endpoint, person, sender):
    with pytest.raises(ValueError, match="text") as refused:
        endpoint.text("STOP", person=person, sender=sender)

    assert not any(number in str(refused.value) for number in (person, sender))


async def test_another_process_can_let_a_person_text(http, endpoint):
    address = f"{endpoint.url}/sandbox/texts"

    stopped = await http.post(address, json={"from": PERSON, "to": SENDER, "message": "STOP"})
    listed = set(endpoint.opted_out)
    started = await http.post(address, json={"from": PERSON, "to": SENDER, "message": "START"})

    assert (stopped.json(), started.json()) == ({"isOptedOut": True}, {"isOptedOut": False})
    assert (listed, endpoint.opted_out, endpoint.requests) == (LISTED, set(), [])


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b'{"from":"+15555555551"}', b'{"from":"+15555555551","to":"Contoso","message":"STOP"}', b'{"+1":1}'],
)
async def test_a_text_that_is_none_is_refused_and_not_repeated(http, endpoint, body):
    refused = await http.post(f"{endpoint.url}/sandbox/texts", content=body)

    assert refused.status_code == 400
    assert refused.text.endswith("Nothing was changed.\n")
    assert "+1" not in refused.text


@pytest.mark.parametrize(("text_after", "on_list"), [(0, False), (0.2, True)])
async def test_a_stop_can_fall_before_or_after_the_effect_of_a_remove(call, endpoint, text_after, on_list):
    endpoint.faults = [Fault(to=PERSON, text="STOP", text_after=text_after), Fault(to=PERSON, applied_after=0.1)]

    await call.items(endpoint, to=[PERSON, ANOTHER])
    await asyncio.sleep(0.3)

    assert endpoint.opted_out == (LISTED if on_list else set())


async def test_a_stop_can_fall_between_a_time_out_and_the_effect(call, http, endpoint):
    endpoint.faults = parse_faults(
        json.dumps([{"text": "STOP", "textAfter": 0.2}, {"drop": "silence", "appliedAfter": 0.4}])
    )

    await give_up(http, call.request(endpoint))
    await until(lambda: endpoint.opted_out == LISTED)
    await until(lambda: endpoint.opted_out == set())


async def test_a_text_of_the_same_moment_comes_before_the_effect(call, endpoint):
    endpoint.faults = [Fault(applied_after=3600), Fault(text="STOP", text_after=3600)]

    await call.items(endpoint, "remove")
    endpoint.catch_up()

    assert endpoint.opted_out == set()


async def test_a_text_is_sent_by_who_is_named_or_by_everybody_whatever_else_goes_wrong(call, endpoint):
    endpoint.faults = [Fault(status=503), Fault(to=PERSON, text="STOP", times=1), Fault(text="STOP", after=1)]

    await call(endpoint, to=[PERSON, ANOTHER])
    first = set(endpoint.opted_out)
    answered = await call(endpoint, to=["+123", PERSON, ANOTHER])

    assert first == LISTED
    assert answered.status_code == 503
    assert endpoint.opted_out == {(SENDER, PERSON), (SENDER, ANOTHER)}
