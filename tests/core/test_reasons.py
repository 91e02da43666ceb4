"""The reason codes: a closed list, and what the errors say of it."""

from optout_core.errors import (
    BatchRejected,
    EndpointUnavailable,
    EventError,
    LedgerUnavailable,
    MalformedEvent,
    OptOutError,
    RequestError,
    RequestRefused,
    SenderRejected,
    SendFailed,
    SettingsError,
    UnsupportedEvent,
)
from optout_core.reasons import Reason, Replay

DESIGNED = {
    "RecipientRejected": Replay.AFTER_A_FIX,
    "StillOptedOut": Replay.SAFE,
    "SenderRejected": Replay.AFTER_A_FIX,
    "RequestRefused": Replay.AFTER_A_FIX,
    "RetriesExhausted": Replay.SAFE,
    "RetryRefused": Replay.SAFE,
    "StaleOptIn": Replay.NEVER,
    "NewerOptOut": Replay.NEVER,
    "UnclearOptOut": Replay.AFTER_A_FIX,
    "OptOutRejected": Replay.AFTER_A_FIX,
    "NotOptedOut": Replay.SAFE,
    "OptOutSenderRejected": Replay.AFTER_A_FIX,
    "OptOutRefused": Replay.AFTER_A_FIX,
    "OptOutRetriesExhausted": Replay.SAFE,
    "SenderNotAllowed": Replay.AFTER_A_FIX,
    "MalformedEvent": Replay.NEVER,
    "UnsupportedEvent": Replay.NEVER,
    "MaxDeliveryCountExceeded": Replay.SAFE,
    "TTLExpiredException": Replay.NEVER,
}


def test_the_codes_and_their_replay_advice_are_those_of_the_design():
    assert {reason.value: reason.replay for reason in Reason} == DESIGNED


def test_a_code_is_found_by_its_name_on_the_wire():
    found = Reason("TTLExpiredException")  # type: ignore[call-arg] # mypy takes it for the constructor

    assert found is Reason.TTL_EXPIRED
    assert f"{Reason.STALE_OPT_IN}" == "StaleOptIn"


def test_every_reason_has_a_meaning_of_its_own_in_one_line():
    meanings = {reason.meaning for reason in Reason}

    assert len(meanings) == len(Reason)
    assert all(20 < len(meaning) < 200 and "\n" not in meaning for meaning in meanings)


def test_errors_are_grouped_by_what_the_caller_does():
    assert set(EventError.__subclasses__()) == {MalformedEvent, UnsupportedEvent}
    assert set(RequestError.__subclasses__()) == {EndpointUnavailable, RequestRefused, SenderRejected, BatchRejected}
    assert set(OptOutError.__subclasses__()) == {
        SettingsError,
        EventError,
        LedgerUnavailable,
        RequestError,
        LedgerUnavailable,
        SendFailed,
    }


def test_an_event_error_knows_how_it_is_dead_lettered():
    assert MalformedEvent("not JSON").reason is Reason.MALFORMED_EVENT
    assert UnsupportedEvent("no such type").reason is Reason.UNSUPPORTED_EVENT


def test_a_request_error_says_what_the_api_said():
    assert str(RequestRefused("Denied: no such key", 401)) == "HTTP 401: Denied: no such key"
    assert str(EndpointUnavailable("", 503)) == "HTTP 503"
    assert str(EndpointUnavailable("ConnectError")) == "no answer: ConnectError"
