"""How a request proves who we are: the signature against public vectors, the token against a credential with memory."""

import asyncio
import time
import traceback
from datetime import UTC, datetime, timedelta

import pytest
from azure.core.credentials import AccessToken
from azure.core.exceptions import ClientAuthenticationError, HttpResponseError, ServiceRequestError
from azure.identity import CredentialUnavailableError
from pydantic import SecretStr

from optout_core.adapters.signing import SCOPE, EntraSigner, HmacSigner, hmac_headers, host_of, sign
from optout_core.errors import EndpointUnavailable, RequestRefused
from optout_core.outcomes import Verdict
from sandbox.endpoint import Endpoint, Fault
from tests.adapters.acs_client import PERSON, RawServer, open_client, people, removing_one_by_one

#: Key, host, date and signatures: azure-sdk-for-python, azure-communication-sms/tests/test_hmac.py @3a730d34.
KEY = SecretStr("pw==")
MOMENT = datetime(2022, 4, 13, 18, 9, 12, tzinfo=UTC)
HOST = "https://contoso.communicationservices.azure.com"
TOKEN = "a-token-nobody-may-see"
NO_KEY = "c2VjcmV0 \N{KEY}"


def signed(url, target, *, method="GET", body=b"", key=KEY):
    """Sign a request as it goes to an origin."""
    return hmac_headers(method=method, host=host_of(url), target=target, body=body, date=MOMENT, access_key=key)


@pytest.mark.parametrize(
    ("text", "signature"),
    [
        ("banana", "88EC05aAS9iXnaimtNO78JLjiPtfWryQB/5QYEzEsu8="),
        ("😀", "1rudJKjn2Zi+3hRrBG29wIF6pD6YyAeQR1ZcFtXoKAU="),
    ],
)
def test_the_public_vectors_of_a_plain_text(text, signature):
    assert sign(KEY, text) == signature


@pytest.mark.parametrize(
    ("target", "signature"),
    [
        ("/", "88MDmJhUR3m5QhFxb8ztShsSwlGrg7g/6XPnWf7QEO4="),
        ("/testPath", "RoCrHjw7fb9fpHSbqvRUY2xa8RBS0YvI1cxI1x8AS38="),
        ("/testPath?testQuery=yes", "il99+rd6V5O136roX/zVePCNle78HmvC4B7tu9zRH3I="),
    ],
)
def test_the_public_vectors_of_a_request(target, signature):
    headers = signed(HOST, target)

    assert headers["x-ms-date"] == "Wed, 13 Apr 2022 18:09:12 GMT"
    assert headers["x-ms-content-sha256"] == "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="
    assert (
        headers["Authorization"]
        == f"HMAC-SHA256 SignedHeaders=x-ms-date;host;x-ms-content-sha256&Signature={signature}"
    )


def test_the_vector_of_our_own_request():
    """Derived with the verified routine: docs/facts/acs-optouts.md, "Signature vectors"."""
    body = b'{"from":"+18001234567","recipients":[{"to":"+15555555551"},{"to":"+123"},{"to":"+15555555553"}]}'
    target = "/sms/optouts:remove?api-version=2026-01-23"

    headers = signed("https://contoso.communication.azure.com", target, method="POST", body=body)

    assert headers["x-ms-content-sha256"] == "NpOJNq6PEF5narCdXIqtjwRnLOn28LA17xfjUYghXa8="
    assert headers["Authorization"].endswith("&Signature=b/yuoU6NE435qr1eK2mEMmLXHCnS99H9bDFINwL6s1I=")


def test_the_default_port_is_not_part_of_the_signed_host_and_any_other_is():
    assert signed(f"{HOST}:443", "/") == signed(HOST, "/")
    assert signed(f"{HOST}:4443", "/") != signed(HOST, "/")
    assert host_of("http://127.0.0.1:80") == "127.0.0.1"
    assert host_of("https://[::1]:443") == "[::1]"


async def test_each_attempt_sends_the_same_bytes_under_a_fresh_date():
    """The server answers 503 twice; what it read each time is compared."""
    seen: list[tuple[str, dict[str, str], bytes]] = []

    async def answer(reader, writer):
        head = server.heads[-1].decode()
        fields = dict(line.split(": ", 1) for line in head.strip().split("\r\n")[1:])
        body = await reader.readexactly(int(fields["Content-Length"]))
        seen.append((head.split("\r\n")[0], fields, body))
        writer.write(b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        await writer.drain()

    ticks = iter(MOMENT + timedelta(seconds=second) for second in range(3))
    async with (
        RawServer(answer) as server,
        open_client(server, sign=HmacSigner(server.url, KEY, lambda: next(ticks))) as caller,
    ):
        await caller.remove(PERSON)

    lines, headers, bodies = zip(*seen, strict=True)
    assert set(lines) == {"POST /sms/optouts:remove?api-version=2026-01-23 HTTP/1.1"}
    assert set(bodies) == {b'{"from":"+18001234567","recipients":[{"to":"+15555555551"}]}'}
    assert [each["x-ms-date"][-12:] for each in headers] == ["18:09:12 GMT", "18:09:13 GMT", "18:09:14 GMT"]
    assert len({each["x-ms-content-sha256"] for each in headers}) == 1
    assert len({each["Authorization"] for each in headers}) == 3
    assert {each["Content-Type"] for each in headers} == {"application/json"}


async def test_a_wrong_key_is_our_fault_and_nobody_elses(endpoint):
    wrong = "d3Jvbmc="
    async with open_client(endpoint, sign=HmacSigner(endpoint.url, SecretStr(wrong))) as caller:
        outcome = (await caller.remove(PERSON))[PERSON]

    assert (outcome.verdict, outcome.status, outcome.error_code) == (Verdict.REFUSED, 401, "Denied")
    assert len(endpoint.requests) == 1


def test_nothing_shows_the_key():
    signer = HmacSigner(HOST, SecretStr("c2VjcmV0IGtleQ=="))

    assert "c2VjcmV0" not in f"{signer!r} {vars(signer)}"


def test_not_even_a_traceback_shows_a_key_that_is_no_key():
    with pytest.raises(ValueError, match="ASCII") as raised:
        signed(HOST, "/", key=SecretStr(NO_KEY))

    assert NO_KEY not in "".join(traceback.format_exception(raised.value))


class Credential:
    """Gives tokens, or what it was told to raise, and remembers for which scopes it was asked."""

    def __init__(self, *answers, lasts=3600):
        self.scopes = []
        self._lasts = lasts
        self._answers = list(answers)

    async def get_token(self, *scopes, **_):
        self.scopes.append(scopes)
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        await asyncio.sleep(0)
        if isinstance(answer, Exception):
            raise answer
        return AccessToken(answer, int(time.time()) + self._lasts)

    async def close(self):
        """Nothing is open."""

    async def __aenter__(self):
        return self

    async def __aexit__(self, *_):
        await self.close()


async def test_a_token_of_entra_id_is_sent_as_bearer():
    credential = Credential(TOKEN)
    async with Endpoint(bearer_token=TOKEN) as endpoint, open_client(endpoint, sign=EntraSigner(credential)) as caller:
        assert await caller.verdict() is Verdict.CONFIRMED

    assert credential.scopes == [(SCOPE,)] == [("https://communication.azure.com//.default",)]


async def test_requests_at_once_ask_for_one_token_together():
    credential = Credential(TOKEN)
    async with Endpoint(bearer_token=TOKEN) as endpoint, open_client(endpoint, sign=EntraSigner(credential)) as caller:
        assert {*await removing_one_by_one(caller, people(32))} == {Verdict.CONFIRMED}

    assert len(credential.scopes) == 1


async def test_a_token_about_to_end_is_renewed_even_between_two_tries():
    credential = Credential("about to end", TOKEN, lasts=60)
    busy_once = [Fault(status=503, times=1)]
    async with (
        Endpoint(bearer_token=TOKEN, faults=busy_once) as endpoint,
        open_client(endpoint, sign=EntraSigner(credential)) as caller,
    ):
        assert await caller.verdict() is Verdict.CONFIRMED

    assert len(credential.scopes) == 2


async def test_a_token_that_acs_does_not_take_refuses_us(endpoint):
    async with open_client(endpoint, sign=EntraSigner(Credential("wrong"))) as caller:
        assert await caller.verdict() is Verdict.REFUSED


async def test_an_identity_without_a_right_is_a_refusal_of_us(endpoint):
    credential = Credential(ClientAuthenticationError(message=f"secret {TOKEN}"))
    async with open_client(endpoint, sign=EntraSigner(credential)) as caller:
        outcome = (await caller.remove(PERSON))[PERSON]

    assert (outcome.verdict, outcome.error_code) == (Verdict.REFUSED, "NoToken")
    assert outcome.detail == (
        "Entra ID gives our identity no token for ACS: a right is missing (ClientAuthenticationError)"
    )
    assert endpoint.requests == []
    assert len(credential.scopes) == 1


async def test_an_identity_that_is_unavailable_is_an_outage_and_uses_up_no_try(endpoint):
    """https://github.com/Azure/azure-sdk-for-js/issues/39566: no identity endpoint answers, for minutes or for good."""
    credential = Credential(CredentialUnavailableError(message=f"secret {TOKEN}"))
    async with open_client(endpoint, sign=EntraSigner(credential)) as caller:
        outcome = (await caller.remove(PERSON))[PERSON]

    assert (outcome.verdict, outcome.detail) == (
        Verdict.UNAVAILABLE,
        "no identity endpoint answered, so there is no token for ACS (CredentialUnavailableError)",
    )
    assert endpoint.requests == []


async def test_requests_at_once_share_one_failure_to_get_a_token(endpoint):
    credential = Credential(ClientAuthenticationError(message="no"))
    async with open_client(endpoint, sign=EntraSigner(credential)) as caller:
        assert {*await removing_one_by_one(caller, people(16))} == {Verdict.REFUSED}
        assert len(credential.scopes) == 1
        await caller.verdict()

    assert len(credential.scopes) == 2


@pytest.mark.parametrize("error", [ServiceRequestError, HttpResponseError])
async def test_entra_id_that_does_not_answer_is_asked_again_and_then_later(endpoint, error):
    credential = Credential(error(f"secret {TOKEN}"))
    async with open_client(endpoint, sign=EntraSigner(credential)) as caller:
        outcome = (await caller.remove(PERSON))[PERSON]

    assert (outcome.verdict, outcome.detail) == (
        Verdict.UNAVAILABLE,
        f"Entra ID did not answer ({error.__name__})",
    )
    assert len(credential.scopes) == 3


async def test_a_credential_that_breaks_in_its_own_way_leaves_everybody_for_later(endpoint):
    async with open_client(endpoint, sign=EntraSigner(Credential(KeyError("expires_on")))) as caller:
        assert await caller.verdict() is Verdict.UNAVAILABLE


async def test_a_credential_that_hangs_is_cut_off_like_a_request(endpoint):
    class Hanging(Credential):
        async def get_token(self, *_, **__):
            await asyncio.Event().wait()

    async with open_client(endpoint, sign=EntraSigner(Hanging()), timeout=0.1) as caller:
        assert await caller.verdict() is Verdict.UNAVAILABLE


async def test_no_token_and_no_text_of_the_credential_is_in_our_errors():
    def shown(error):
        return "".join(traceback.format_exception(error)) + repr(error)

    with pytest.raises(RequestRefused) as refused:
        await EntraSigner(Credential(ClientAuthenticationError(TOKEN)))("/", b"")
    with pytest.raises(EndpointUnavailable) as unavailable:
        await EntraSigner(Credential(ServiceRequestError(TOKEN)))("/", b"")

    assert TOKEN not in shown(refused.value) + shown(unavailable.value) + repr(EntraSigner(Credential(TOKEN)))


async def test_a_token_that_is_no_header_is_in_no_text(endpoint):
    async with open_client(endpoint, sign=EntraSigner(Credential(f"{TOKEN}\r\nX: y"))) as caller:
        outcome = (await caller.remove(PERSON))[PERSON]

    assert outcome.verdict is Verdict.UNAVAILABLE
    assert TOKEN not in outcome.detail
