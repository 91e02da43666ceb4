"""Every app setting the code needs, and no other."""

import re

from optout_core.settings import Settings
from tests.infra.snapshots import deployment, read
from tests.infra.sources import ROOT

#: What the host and the worker read: the code never does.
OF_THE_HOST = {
    "APPLICATIONINSIGHTS_AUTHENTICATION_STRING",
    "APPLICATIONINSIGHTS_CONNECTION_STRING",
    "AzureWebJobsStorage__accountName",
    "AzureWebJobsStorage__clientId",
    "AzureWebJobsStorage__credential",
    "APPLICATIONINSIGHTS_OPENTELEMETRY_RESOURCE_METRIC_DISABLED",
    "APPLICATIONINSIGHTS_SDKSTATS_DISABLED",
    "OTEL_BLRP_SCHEDULE_DELAY",
    "OTEL_METRICS_EXPORTER",
    "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS",
    "OTEL_RESOURCE_ATTRIBUTES",
    "OTEL_TRACES_EXPORTER",
    "PYTHON_APPLICATIONINSIGHTS_ENABLE_TELEMETRY",
    "ServiceBusConnection__credential",
}
#: Secrets: the cloud has identities instead.
NEVER_IN_THE_CLOUD = {"ACS_ACCESS_KEY", "ServiceBusConnection"}
#: Read by the consent ledger, which is optional.
LEDGER = "CONSENT_LEDGER"
#: https://learn.microsoft.com/azure/azure-functions/functions-app-settings#flex-consumption-plan-deprecations
REFUSED_BY_FLEX = {
    *("ENABLE_ORYX_BUILD", "FUNCTIONS_EXTENSION_VERSION", "FUNCTIONS_WORKER_RUNTIME"),
    *("FUNCTIONS_WORKER_RUNTIME_VERSION", "FUNCTIONS_MAX_HTTP_CONCURRENCY", "FUNCTIONS_WORKER_PROCESS_COUNT"),
    *("SCM_DO_BUILD_DURING_DEPLOYMENT", "WEBSITE_CONTENTAZUREFILECONNECTIONSTRING", "WEBSITE_CONTENTSHARE"),
    *("WEBSITE_NODE_DEFAULT_VERSION", "WEBSITE_RUN_FROM_PACKAGE", "WEBSITE_VNET_ROUTE_ALL"),
    *("WEBSITE_MAX_DYNAMIC_APPLICATION_SCALE_OUT", "WEBSITE_SKIP_CONTENTSHARE_VALIDATION"),
}

EVERYTHING, REQUIRED = deployment("everything"), deployment("required")
APP = EVERYTHING.only("Microsoft.Web/sites")


def _settings(of=EVERYTHING) -> dict[str, str]:
    settings: dict[str, str] = of.only("Microsoft.Web/sites/config")["properties"]
    return settings


#: Without one override: what the template itself sets.
EXPLICIT = set(_settings(REQUIRED))
OVERRIDABLE = set(read("template")["definitions"]["processorSettings"]["properties"])


def test_every_setting_the_code_reads_is_set_or_can_be_and_no_other():
    read_by_the_code = {field.alias for field in Settings.model_fields.values()} - NEVER_IN_THE_CLOUD | {LEDGER}

    assert read_by_the_code == (EXPLICIT - OF_THE_HOST) | OVERRIDABLE


def test_no_setting_is_set_twice():
    assert set() == EXPLICIT & OVERRIDABLE


def test_only_settings_with_a_default_are_left_to_be_overridden():
    required = {field.alias for field in Settings.model_fields.values() if field.is_required()}

    assert required <= EXPLICIT
    assert OVERRIDABLE & required == set()


def test_an_override_arrives():
    assert {"OPT_IN_MAX_AGE": "PT48H", "MAX_CONCURRENT_REQUESTS": "8"}.items() <= _settings().items()


def test_the_host_gets_what_it_needs():
    assert EXPLICIT >= OF_THE_HOST


def test_nothing_is_set_that_flex_refuses_and_no_secret_is():
    assert set() == EXPLICIT & (REFUSED_BY_FLEX | NEVER_IN_THE_CLOUD)


def test_every_connection_goes_by_the_one_identity():
    values = _settings()

    for name in ("AzureWebJobsStorage__clientId", "ServiceBusConnection__clientId", "AZURE_CLIENT_ID"):
        assert re.fullmatch(r"\[reference\('[^']+/id-optin-everything-\w+', '[\d-]+'\)\.clientId\]", values[name])
    assert values["AzureWebJobsStorage__credential"] == values["ServiceBusConnection__credential"] == "managedidentity"
    assert ";Authorization=AAD" in values["APPLICATIONINSIGHTS_AUTHENTICATION_STRING"]


def test_the_identity_of_the_settings_is_attached_to_the_app():
    (attached,) = APP["identity"]["userAssignedIdentities"]

    assert APP["identity"]["type"] == "UserAssigned"
    assert f"'{attached}'" in _settings()["AZURE_CLIENT_ID"]


def test_each_setting_has_the_value_of_its_own_name():
    values = _settings()

    assert "/namespaces/sb-optin-" in values["ServiceBusConnection__fullyQualifiedNamespace"]
    assert "/communicationServices/acs-of-the-snapshot'" in values["ACS_ENDPOINT"]
    assert values["ACS_ENDPOINT"].startswith("[format('https://{0}'")
    assert ").ConnectionString]" in values["APPLICATIONINSIGHTS_CONNECTION_STRING"]
    assert values["AzureWebJobsStorage__accountName"] == EVERYTHING.only("Microsoft.Storage/storageAccounts")["name"]
    assert (values["OPT_IN_QUEUE"], values["DEAD_LETTER_QUEUE"]) == ("opt-ins", "opt-ins-dead-letter")
    assert values["ALLOWED_SENDERS"] == "+18005550100,+18005550101"


def test_the_connection_and_the_queue_of_the_trigger_are_set():
    trigger = (ROOT / "function_app.py").read_text()
    connection = re.search(r'connection="(\w+)"', trigger)
    queue = re.search(r'queue_name="%(\w+)%"', trigger)

    assert connection
    assert f"{connection[1]}__fullyQualifiedNamespace" in EXPLICIT
    assert queue
    assert queue[1] in EXPLICIT


def test_the_app_is_python_3_13_on_flex_consumption():
    plan = EVERYTHING.only("Microsoft.Web/serverfarms")
    config = APP["properties"]["functionAppConfig"]

    assert plan["sku"] == {"name": "FC1", "tier": "FlexConsumption"}
    assert plan["properties"]["reserved"] is True  # Linux
    assert APP["kind"] == "functionapp,linux"
    assert config["runtime"] == {"name": "python", "version": "3.13"}
    assert config["deployment"]["storage"]["authentication"] == {
        "type": "UserAssignedIdentity",
        "userAssignedIdentityResourceId": next(iter(APP["identity"]["userAssignedIdentities"])),
    }
    assert APP["tags"]["azd-service-name"] == "processor"


def test_the_function_is_named_alike_in_code_and_template():
    (ready,) = APP["properties"]["functionAppConfig"]["scaleAndConcurrency"]["alwaysReady"]

    assert ready == {"name": "function:process_opt_ins", "instanceCount": 1}
    assert '@app.function_name("process_opt_ins")' in (ROOT / "function_app.py").read_text()


def test_the_limit_on_calls_in_flight_is_explained_where_it_is_set():
    description = read("template")["parameters"]["maximumInstanceCount"]["metadata"]["description"]
    concurrency = Settings.model_fields["max_concurrent_requests"].default

    assert f"instances x MAX_CONCURRENT_REQUESTS ({concurrency})" in description
