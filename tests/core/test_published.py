"""What the function tells its operators of its settings: all of them, but no secret and no number."""

import json

import pytest

from optout_core.addresses import namespace_in
from optout_core.published import UNPUBLISHED, settings_to_publish
from optout_core.settings import Settings
from tests.build import SENDER

KEY = "c2VjcmV0LWtleQ=="
BROKER = f"Endpoint=sb://Shop.example:5671/;SharedAccessKeyName=n;SharedAccessKey={KEY}"


def settings(**environ):
    broker = {} if any("Qualified" in name for name in environ) else {"ServiceBusConnection": BROKER}
    return Settings.from_environ({"ACS_ENDPOINT": "https://shop.example", "ACS_ACCESS_KEY": KEY} | broker | environ)


def test_every_setting_is_published_but_secrets_and_identities():
    names = {field.alias for field in Settings.model_fields.values()}

    assert set(settings_to_publish(settings())) == names - UNPUBLISHED
    assert {"ACS_ACCESS_KEY", "ServiceBusConnection", "CONSENT_LEDGER"} <= UNPUBLISHED


def test_no_secret_and_no_number_is_published():
    said = settings_to_publish(
        settings(
            ALLOWED_SENDERS=f"{SENDER},12345",
            CONSENT_LEDGER="postgresql://user:pass-word@127.0.0.1/consent",
            AZURE_CLIENT_ID="0af76519-16cd-43dd-8448-eb211c80319c",
        )
    )

    assert said["ALLOWED_SENDERS"] == "+1800•••4567,12345"
    for secret in (KEY, "pass-word", SENDER[2:], "0af76519"):
        assert secret not in json.dumps(said)


def test_they_are_written_as_the_environment_has_them():
    said = settings_to_publish(settings(OPT_IN_MAX_AGE="PT36H", RETRY_SCHEDULE="PT30S,PT2M"))

    assert said["OPT_IN_MAX_AGE"] == "P1DT12H"
    assert said["RETRY_SCHEDULE"] == "PT30S,PT2M"
    assert said["OPT_OUT_SCOPE"] == "sender"
    assert said["ServiceBusConnection__fullyQualifiedNamespace"] == "shop.example:5671"


@pytest.mark.parametrize(
    "environ", [{}, {"ServiceBusConnection__fullyQualifiedNamespace": "SHOP.example:5671"}], ids=["by-key", "by-name"]
)
def test_the_namespace_is_named_alike_however_it_is_reached(environ):
    assert settings(**environ).namespace_host == "shop.example:5671"


def test_a_connection_string_that_names_no_host_names_none():
    assert namespace_in("SharedAccessKey=x") == ""
