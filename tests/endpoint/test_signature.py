"""Signatures, held against the public vectors of azure-sdk-for-python (tests/test_hmac.py @3a730d34)."""

from datetime import UTC, datetime, timedelta

import pytest

from sandbox.endpoint.signature import DENIED, HASH_DIFFERS, MAX_SKEW, content_hash, decode_key, refusal, signature

KEY = decode_key("pw==")
DATE = "Wed, 13 Apr 2022 18:09:12 GMT"
NOW = datetime(2022, 4, 13, 18, 9, 12, tzinfo=UTC)
BODY = b'{"from":"+18001234567","recipients":[{"to":"+15555555551"},{"to":"+123"},{"to":"+15555555553"}]}'
# Not a public vector: made with the routine that reproduces all five.
POST = "b/yuoU6NE435qr1eK2mEMmLXHCnS99H9bDFINwL6s1I="


def judge(signed, *, method="POST", target="/sms/optouts:remove?api-version=2026-01-23", body=BODY, now=NOW, **headers):
    given = {
        "Host": "contoso.communication.azure.com",
        "x-ms-date": DATE,
        "x-ms-content-sha256": content_hash(body),
        "Authorization": f"HMAC-SHA256 SignedHeaders=x-ms-date;host;x-ms-content-sha256&Signature={signed}",
        **{name.replace("_", "-"): value for name, value in headers.items()},
    }
    return refusal(method=method, target=target, headers=given, body=body, key=KEY, now=now)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("banana", "88EC05aAS9iXnaimtNO78JLjiPtfWryQB/5QYEzEsu8="),
        ("😀", "1rudJKjn2Zi+3hRrBG29wIF6pD6YyAeQR1ZcFtXoKAU="),
    ],
)
def test_the_public_vectors_for_a_text_are_reproduced(text, expected):
    assert signature(KEY, text) == expected


@pytest.mark.parametrize(
    ("target", "signed"),
    [
        ("/", "88MDmJhUR3m5QhFxb8ztShsSwlGrg7g/6XPnWf7QEO4="),
        ("/testPath", "RoCrHjw7fb9fpHSbqvRUY2xa8RBS0YvI1cxI1x8AS38="),
        ("/testPath?testQuery=yes", "il99+rd6V5O136roX/zVePCNle78HmvC4B7tu9zRH3I="),
    ],
)
def test_the_public_vectors_for_a_request_are_accepted(target, signed):
    host = "contoso.communicationservices.azure.com"

    assert judge(signed, method="GET", target=target, body=b"", Host=host) is None


def test_a_signed_remove_is_accepted():
    assert content_hash(BODY) == "NpOJNq6PEF5narCdXIqtjwRnLOn28LA17xfjUYghXa8="
    assert judge(POST) is None


def test_an_empty_body_has_the_published_hash():
    assert content_hash(b"") == "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="


def test_a_body_changed_after_signing_is_named_as_the_cause():
    assert judge(POST, body=BODY + b" ", x_ms_content_sha256=content_hash(BODY)) == HASH_DIFFERS


@pytest.mark.parametrize(
    "changed",
    [
        {"method": "PUT"},
        {"target": "/sms/optouts:add?api-version=2026-01-23"},
        {"target": "/sms/optouts%3Aremove?api-version=2026-01-23"},
        {"Host": "contoso.communication.azure.com:443"},
        {"body": BODY + b" "},
        {"x_ms_date": "Wed, 13 Apr 2022 18:09:13 GMT"},
    ],
)
def test_a_signature_covers_verb_target_host_body_and_date(changed):
    assert judge(POST, **changed) == DENIED


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": ""},
        {"Authorization": f"HMAC-SHA256 SignedHeaders=host;x-ms-content-sha256&Signature={POST}"},
        {"Authorization": POST},
        {"x_ms_date": ""},
        {"x_ms_date": "yesterday GMT"},
        {"x_ms_date": "Wed, 13 Apr 2022 18:09:12 +0000"},
    ],
)
def test_a_request_without_a_readable_date_and_authorization_is_denied(headers):
    assert judge(POST, **headers) == DENIED


def test_a_signature_of_odd_characters_is_denied():
    assert judge("ü" * 44) == DENIED


@pytest.mark.parametrize("direction", [1, -1])
def test_a_date_is_accepted_up_to_the_tolerated_skew(direction):
    assert judge(POST, now=NOW + direction * MAX_SKEW) is None
    assert judge(POST, now=NOW + direction * (MAX_SKEW + timedelta(seconds=1))) == DENIED


@pytest.mark.parametrize("key", ["", "not base64!", "cHc"])
def test_a_key_that_is_not_base64_is_refused_without_repeating_it(key):
    with pytest.raises(ValueError, match="not base64") as refused:
        decode_key(key)

    assert not key or key not in str(refused.value)
