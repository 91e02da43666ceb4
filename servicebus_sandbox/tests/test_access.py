"""Tokens and keys, with a clock that stands still."""

import pytest
from azure.servicebus._pyamqp.utils import generate_sas_token

from servicebus_sandbox import LISTEN, AccessKey
from servicebus_sandbox.access import EVERYTHING, AccessKeys, Grant, covers, path_of
from servicebus_sandbox.errors import Unauthorized

NOW = 1_700_000_000
KEYS = AccessKeys([AccessKey("all", "secret"), AccessKey("some", "other", frozenset({LISTEN}))], clock=lambda: NOW)
QUEUE = "sb://namespace.example:5671/opt-ins"


def token(audience=QUEUE, name="all", key="secret", expiry=NOW + 1):
    return generate_sas_token(audience, name, key, expiry)


def test_a_token_made_by_azure_servicebus_gives_the_claims_of_its_key_until_it_expires():
    assert KEYS.check(token(), QUEUE) == Grant("opt-ins", EVERYTHING, NOW + 1)
    assert KEYS.check(token(name="some", key="other"), QUEUE) == Grant("opt-ins", frozenset({LISTEN}), NOW + 1)


def test_a_token_covers_what_is_below_its_resource():
    assert KEYS.check(token(), QUEUE + "/$DeadLetterQueue").path == "opt-ins/$deadletterqueue"
    assert KEYS.check(token("sb://namespace.example"), QUEUE).path == "opt-ins"


@pytest.mark.parametrize(
    ("bad", "text"),
    [
        (token(key="wrong"), "InvalidSignature"),
        (token(name="nobody"), "InvalidSignature"),
        (token(expiry=NOW), "ExpiredToken"),
        (token("sb://namespace.example/opt-ins-dead-letter"), "InvalidAudience"),
        (token("sb://namespace.example/opt"), "InvalidAudience"),
        (token().replace("skn", "who"), "MalformedToken"),
        (token().replace("se=", "se=1"), "InvalidSignature"),
    ],
)
def test_a_token_that_does_not_fit_is_refused(bad, text):
    with pytest.raises(Unauthorized, match=text):
        KEYS.check(bad, QUEUE)


def test_a_token_that_is_no_signature_is_taken_as_one_of_entra_id():
    assert KEYS.check("header.payload.signature", QUEUE) == Grant("opt-ins", EVERYTHING)
    assert KEYS.check("header.payload.signature", QUEUE, NOW + 5) == Grant("opt-ins", EVERYTHING, NOW + 5)


def test_paths_are_compared_without_scheme_host_and_case():
    assert path_of("amqps://127.0.0.1:5671/Opt-Ins/$management") == path_of("opt-ins/$Management")
    assert covers("", "a")
    assert covers("a", "a/b")
    assert not covers("a", "ab")


def test_a_key_is_not_shown():
    assert "secret" not in repr(AccessKey("all", "secret"))


def test_whatever_a_token_or_an_address_says_it_is_refused_or_taken():
    for odd in (
        "SharedAccessSignature sr=[&sig=é&se=²&skn=all",
        "SharedAccessSignature &&=",
        "",
        "SharedAccessSignature",
    ):
        try:
            KEYS.check(odd, "amqp://[")
        except Unauthorized:
            continue
    assert path_of("amqp://[::1") == ""
