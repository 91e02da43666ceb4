"""The table of docs/design.md, "Outcomes", row by row, and the answers as they were recorded."""

import json
from dataclasses import replace

import pytest

from optout_core.api import read_answer, request_body, request_target
from optout_core.batches import Operation
from optout_core.errors import BatchRejected, EndpointUnavailable, RequestError, RequestRefused, SenderRejected
from optout_core.outcomes import Outcome, Verdict
from tests.build import NOW, OTHER, PERSON, SENDER, answer, batch, number, sample

EXAMPLE = batch(PERSON, "+123", "+15555555553")


def item(status=200, **fields):
    return {"to": PERSON, "httpStatusCode": status} | fields


def one(*items, headers=None):
    """Give the outcome of the one recipient that was asked for."""
    return read_answer(batch(), answer(body={"value": list(items)}, headers=headers))[number(PERSON)]


def refusal(status, body=b"", headers=None):
    """Give the error that an answer raises."""
    with pytest.raises(RequestError) as raised:
        read_answer(EXAMPLE, answer(status, body, headers))
    return raised.value


# --- the request --------------------------------------------------------------------------------------------------


def test_the_request_is_the_example_of_the_specification_to_the_byte():
    assert request_body(EXAMPLE) == sample("acs/remove-request.json").strip()


def test_what_is_no_number_is_asked_for_as_it_was_written():
    asked = json.loads(request_body(batch(PERSON, 'no "number"\\')))

    assert asked == {"from": SENDER, "recipients": [{"to": PERSON}, {"to": 'no "number"\\'}]}


# --- per recipient ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "verdict"),
    [
        (item(200), Verdict.CONFIRMED),
        (item(204), Verdict.CONFIRMED),
        (item(299), Verdict.CONFIRMED),
        (item(200, isOptedOut=False), Verdict.CONFIRMED),
        (item(200, isOptedOut=None), Verdict.CONFIRMED),
        (item(200, errorMessage=None), Verdict.CONFIRMED),
        (item(200, errorMessage=""), Verdict.CONFIRMED),
        (item(200, isOptedOut=True), Verdict.CONTRADICTED),
        (item(200, isOptedOut="true"), Verdict.CONTRADICTED),
        (item(200, isOptedOut=0), Verdict.CONTRADICTED),
        (item(200, isOptedOut="false"), Verdict.CONTRADICTED),
        (item(200, errorMessage="Something else"), Verdict.FAILED),
        (item(200, errorMessage={"code": 1}), Verdict.FAILED),
        (item(200, errorMessage="no", isOptedOut=True), Verdict.FAILED),
        (item(400), Verdict.REJECTED),
        (item(400, errorMessage="Invalid recipient phone number format"), Verdict.REJECTED),
        (item(404), Verdict.REJECTED),
        (item(499), Verdict.REJECTED),
        (item(408), Verdict.FAILED),
        (item(429), Verdict.FAILED),
        (item(500), Verdict.FAILED),
        (item(503), Verdict.FAILED),
        (item(599), Verdict.FAILED),
        (item(100), Verdict.FAILED),
        (item(302), Verdict.FAILED),
        (item(0), Verdict.FAILED),
        (item(-200), Verdict.FAILED),
        (item(600), Verdict.FAILED),
        (item(2**31), Verdict.FAILED),
        (item("200"), Verdict.FAILED),
        (item(200.0), Verdict.FAILED),
        (item(status=True), Verdict.FAILED),
        (item(None), Verdict.FAILED),
        ({"to": PERSON}, Verdict.FAILED),
    ],
    ids=str,
)
def test_an_item_means(said, verdict):
    assert one(said).verdict is verdict


def test_a_status_that_is_none_is_not_reported_as_one():
    assert one(item(2**40)) == Outcome(Verdict.FAILED, "the answer holds no status for this recipient")


@pytest.mark.parametrize(
    ("items", "verdict"),
    [
        ([], Verdict.FAILED),
        ([{"to": OTHER, "httpStatusCode": 200}], Verdict.FAILED),
        ([None, 7, "x", [], {}, {"to": None}, {"to": 15555555551, "httpStatusCode": 200}], Verdict.FAILED),
        ([item(200), item(200)], Verdict.CONFIRMED),
        ([item(200), item(204)], Verdict.CONFIRMED),
        ([item(400), item(404)], Verdict.REJECTED),
        ([item(200), item(500)], Verdict.FAILED),
        ([item(200), item(400)], Verdict.FAILED),
        ([item(400), item(200, isOptedOut=True)], Verdict.FAILED),
        ([item(200), {"to": OTHER, "httpStatusCode": 400}], Verdict.CONFIRMED),
        ([item(200, to="+1 (555) 555-5551")], Verdict.CONFIRMED),
    ],
)
def test_missing_extra_repeated_and_contradictory_items(items, verdict):
    assert one(*items).verdict is verdict


def test_who_is_left_out_or_contradicted_is_told_so():
    assert one().detail == "the answer left this recipient out"
    assert one(item(200), item(500)).detail == "the answer contradicts itself about this recipient"


def test_repeated_items_that_agree_give_the_same_outcome_in_any_order():
    said = item(400, errorMessage="one"), item(404, errorMessage="two")

    assert one(*said) == one(*reversed(said))


def test_an_outcome_holds_what_support_asks_for():
    said = one(item(400, errorMessage=f"  Invalid\n number {PERSON} "), headers={"ms-cv": "cv.1"})

    assert said == Outcome(Verdict.REJECTED, "Invalid number +1555•••5551", 400, ms_cv="cv.1")
    assert str(said) == "HTTP 400: Invalid number +1555•••5551"
    assert str(one()) == "no answer: the answer left this recipient out"


@pytest.mark.parametrize("status", [401, 403])
def test_an_item_with_a_refusal_is_a_refusal_of_us(status):
    items = [item(status), {"to": OTHER, "httpStatusCode": 200}]

    outcomes = read_answer(batch(PERSON, OTHER), answer(body={"value": items}))

    assert outcomes[number(PERSON)].verdict is Verdict.REFUSED
    with pytest.raises(RequestRefused):
        one(item(status))


def failing(*statuses):
    """Answer for two recipients item by item; None leaves one out."""
    items = [
        {"to": to, "httpStatusCode": status}
        for to, status in zip((PERSON, OTHER), statuses, strict=True)
        if status is not None
    ]
    return read_answer(batch(PERSON, OTHER), answer(body={"value": items}))


@pytest.mark.parametrize("statuses", [(500, 500), (408, 429), (None, 503), (None, None)], ids=str)
def test_an_answer_in_which_nobody_succeeds_and_all_may_heal_is_an_outage(statuses):
    with pytest.raises(EndpointUnavailable):
        failing(*statuses)


@pytest.mark.parametrize("statuses", [(500, 200), (None, 400), (302, 500)], ids=str)
def test_an_answer_in_which_somebody_fares_otherwise_is_about_its_recipients(statuses):
    assert len(failing(*statuses)) == 2


def test_a_byte_order_mark_before_an_answer_is_no_part_of_it():
    body = b"\xef\xbb\xbf" + json.dumps({"value": [item()]}).encode()

    assert read_answer(batch(), answer(body=body))[number(PERSON)].verdict is Verdict.CONFIRMED


# --- the whole request --------------------------------------------------------------------------------------------

JSON_LIST = b'[{"to": "+15555555551", "httpStatusCode": 200}]'
HTML_400 = sample("acs/400-edge.html")


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        (408, b"", EndpointUnavailable),
        (429, b"", EndpointUnavailable),
        (500, b"", EndpointUnavailable),
        (502, sample("acs/502-edge.html"), EndpointUnavailable),
        (503, b"{}", EndpointUnavailable),
        (599, b"", EndpointUnavailable),
        (200, b"", EndpointUnavailable),
        (200, b"<html></html>", EndpointUnavailable),
        (200, b'{"value": [{"to"', EndpointUnavailable),
        (200, b"\xff\xfe", EndpointUnavailable),
        (200, b"null", EndpointUnavailable),
        (200, JSON_LIST, EndpointUnavailable),
        (200, b"{}", EndpointUnavailable),
        (200, b'{"value": null}', EndpointUnavailable),
        (200, b'{"value": {"to": "+15555555551"}}', EndpointUnavailable),
        (202, b"", EndpointUnavailable),
        (400, b"", EndpointUnavailable),
        (400, HTML_400, EndpointUnavailable),
        (400, b"[]", EndpointUnavailable),
        (400, b"[" * 100_000, EndpointUnavailable),
        (401, sample("acs/401-denied.json"), RequestRefused),
        (401, sample("acs/401-unauthorized.json"), RequestRefused),
        (401, b"", RequestRefused),
        (401, b"<html></html>", RequestRefused),
        (403, b"<html></html>", EndpointUnavailable),
        (403, b"", RequestRefused),
        (404, b"<html></html>", EndpointUnavailable),
        (404, b"", RequestRefused),
        (405, b"", RequestRefused),
        (413, b"", RequestRefused),
        (302, b"", RequestRefused),
        (400, sample("acs/400-invalid-api-version.json"), RequestRefused),
        (400, sample("acs/400-api-version-unspecified.json"), RequestRefused),
        (400, b'{"error": {"code": "UNSUPPORTEDAPIVERSION"}}', RequestRefused),
        (400, sample("acs/400-problem-from.json"), SenderRejected),
        (400, b'{"errors": {"$.from": ["no"]}}', SenderRejected),
        (400, b'{"errors": {"OptOutRequest.From": ["no"]}}', SenderRejected),
        (400, b'{"errors": {"Recipients[0].To": ["no"], "from": ["no"]}}', SenderRejected),
        (400, b'{"error": {"code": "InvalidInput", "target": "From"}}', SenderRejected),
        (400, sample("acs/400-invalid-input.json"), BatchRejected),
        (400, b'{"errors": {"Recipients[0].To": ["no"]}}', BatchRejected),
        (400, b'{"errors": ["from"], "error": ["from"]}', BatchRejected),
        (400, b'{"error": {"code": 7, "message": null, "target": {"from": 1}}}', BatchRejected),
        (400, b'{"error": "from"}', BatchRejected),
        (400, b"{}", BatchRejected),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else str(value)[:50],
)
def test_an_answer_about_the_whole_request_means(status, body, error):
    assert type(refusal(status, body)) is error


@pytest.mark.parametrize(
    ("error", "verdict"),
    [
        (EndpointUnavailable, Verdict.UNAVAILABLE),
        (RequestRefused, Verdict.REFUSED),
        (SenderRejected, Verdict.SENDER_REJECTED),
        (BatchRejected, Verdict.REJECTED),
    ],
)
def test_an_error_of_the_request_is_the_outcome_of_each_recipient(error, verdict):
    outcome = Outcome.of_error(error("words", 400, error_code="Code", ms_cv="cv.1", retry_after=7.0))

    assert outcome == Outcome(verdict, "words", 400, error_code="Code", ms_cv="cv.1", retry_after=7.0)


def test_a_refusal_carries_code_words_and_the_id_for_support():
    error = refusal(401, sample("acs/401-denied.json"), {"ms-cv": "cv.1"})

    assert (error.status, error.error_code, error.ms_cv) == (401, "Denied", "cv.1")
    assert str(error) == "HTTP 401: Denied: Request 'x-ms-content-sha256' differs from generated content hash."


def test_a_problem_document_gives_its_title():
    assert refusal(400, sample("acs/400-problem-from.json")).detail == "One or more validation errors occurred."


def test_a_refusal_without_words_has_none():
    assert str(refusal(401, sample("acs/401-unauthorized.json"))) == "HTTP 401: Unauthorized"
    assert str(refusal(404)) == "HTTP 404"
    assert refusal(404).error_code is None


def test_numbers_in_the_words_of_the_api_are_masked_and_long_words_cut():
    body = {"error": {"code": f"Bad{'x' * 500} {PERSON}", "message": f"{PERSON} {OTHER}" * 50}}

    error = refusal(400, json.dumps(body).encode(), {"ms-cv": "c" * 500})
    outcome = Outcome.of_error(error)

    assert PERSON not in f"{error.detail}{error.error_code}"
    assert len(error.error_code) == len(outcome.detail) == len(error.ms_cv) == 200


# --- the recordings -----------------------------------------------------------------------------------------------


def test_the_example_of_the_specification_is_one_removed_one_rejected_and_one_failed():
    outcomes = read_answer(EXAMPLE, answer(body=sample("acs/remove-200-partial.json")))

    assert outcomes == {
        number(PERSON): Outcome(Verdict.CONFIRMED, "", 200, answered_at=NOW),
        number("+123"): Outcome(Verdict.REJECTED, "Invalid recipient phone number format", 400),
        number("+15555555553"): Outcome(Verdict.FAILED, "Internal Server Error", 500),
    }


def test_the_recorded_exchange_is_a_removal():
    exchange = json.loads(sample("acs/remove-200-recording.json"))
    headers = {name.lower(): value for name, value in exchange["ResponseHeaders"].items()}
    asked = exchange["RequestBody"]
    recorded = batch(*(each["to"] for each in asked["recipients"]), sender=asked["from"])

    outcomes = read_answer(recorded, answer(exchange["StatusCode"], exchange["ResponseBody"], headers))

    assert outcomes == {number("Sanitized"): Outcome(Verdict.CONFIRMED, "", 200, ms_cv="Sanitized", answered_at=NOW)}


def test_who_is_still_opted_out_in_an_answer_of_check_would_not_count_as_removed():
    asked = batch(PERSON, "+15555555552", "+123", "+15555555553")

    outcomes = read_answer(asked, answer(body=sample("acs/check-200-partial.json")))

    assert [outcome.verdict for outcome in outcomes.values()] == [
        Verdict.CONTRADICTED,
        Verdict.CONFIRMED,
        Verdict.REJECTED,
        Verdict.FAILED,
    ]


# --- the other operations ------------------------------------------------------------------------------------------


def asked(operation, *recipients):
    return replace(batch(*recipients or (PERSON,)), operation=operation)


@pytest.mark.parametrize("operation", list(Operation))
def test_an_operation_stands_in_the_path_with_a_plain_colon(operation):
    assert request_target(operation) == f"/sms/optouts:{operation.value}?api-version=2026-01-23"


@pytest.mark.parametrize(
    ("operation", "opted_out", "verdict"),
    [
        (Operation.ADD, None, Verdict.CONFIRMED),
        (Operation.ADD, True, Verdict.CONFIRMED),
        (Operation.ADD, False, Verdict.CONTRADICTED),
        (Operation.ADD, "true", Verdict.CONTRADICTED),
        (Operation.REMOVE, True, Verdict.CONTRADICTED),
        (Operation.REMOVE, False, Verdict.CONFIRMED),
        (Operation.CHECK, True, Verdict.CONFIRMED),
        (Operation.CHECK, False, Verdict.CONFIRMED),
        (Operation.CHECK, None, Verdict.FAILED),
        (Operation.CHECK, "false", Verdict.FAILED),
    ],
)
def test_what_the_answer_says_of_the_list_is_held_against_what_was_asked(operation, opted_out, verdict):
    said = {"value": [item(200, isOptedOut=opted_out)]}

    (outcome,) = read_answer(asked(operation), answer(body=said)).values()

    assert outcome.verdict is verdict
    assert outcome.is_opted_out is (opted_out if isinstance(opted_out, bool) else None)


def test_a_question_about_many_is_answered_for_each():
    said = read_answer(
        asked(Operation.CHECK, PERSON, "+15555555552", "+123", "+15555555553"),
        answer(body=sample("acs/check-200-partial.json")),
    )

    assert [outcome.is_opted_out for outcome in said.values()] == [True, False, None, None]
