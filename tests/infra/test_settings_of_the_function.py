"""Every app setting the code needs, and no other."""

import re

from optout_core.settings import Settings
from tests.infra.bicep_tree import INFRA, ROOT, read, text

#: What the host and the worker read: the code never does.
OF_THE_HOST = {
    "APPLICATIONINSIGHTS_AUTHENTICATION_STRING",
    "APPLICATIONINSIGHTS_CONNECTION_STRING",
    "AzureWebJobsStorage__accountName",
    "AzureWebJobsStorage__clientId",
    "AzureWebJobsStorage__credential",
    "OTEL_RESOURCE_ATTRIBUTES",
    "PYTHON_APPLICATIONINSIGHTS_ENABLE_TELEMETRY",
    "ServiceBusConnection__credential",
}
#: Secrets: the cloud has identities instead.
NEVER_IN_THE_CLOUD = {"ACS_ACCESS_KEY", "ServiceBusConnection"}
#: https://learn.microsoft.com/azure/azure-functions/functions-app-settings#flex-consumption-plan-deprecations
REFUSED_BY_FLEX = {
    *("ENABLE_ORYX_BUILD", "FUNCTIONS_EXTENSION_VERSION", "FUNCTIONS_WORKER_RUNTIME"),
    *("FUNCTIONS_WORKER_RUNTIME_VERSION", "FUNCTIONS_MAX_HTTP_CONCURRENCY", "FUNCTIONS_WORKER_PROCESS_COUNT"),
    *("SCM_DO_BUILD_DURING_DEPLOYMENT", "WEBSITE_CONTENTAZUREFILECONNECTIONSTRING", "WEBSITE_CONTENTSHARE"),
    *("WEBSITE_NODE_DEFAULT_VERSION", "WEBSITE_RUN_FROM_PACKAGE", "WEBSITE_VNET_ROUTE_ALL"),
    *("WEBSITE_MAX_DYNAMIC_APPLICATION_SCALE_OUT", "WEBSITE_SKIP_CONTENTSHARE_VALIDATION"),
}

FUNCTION = read(INFRA / "modules/function.bicep")


def _explicit() -> set[str]:
    (settings,) = FUNCTION.of_type("Microsoft.Web/sites/config")
    assert settings.body["name"] == "appsettings"
    return {name for name in settings.properties if not name.startswith("...")}


def _overridable() -> set[str]:
    fields = read(INFRA / "modules/types.bicep").types["processorSettings"]
    return {text(field.named_children[0]) for field in fields.named_children if field.type == "object_property"}


def test_every_setting_the_code_reads_is_set_or_can_be_and_no_other():
    read_by_the_code = {field.alias for field in Settings.model_fields.values()} - NEVER_IN_THE_CLOUD

    assert (_explicit() - OF_THE_HOST) | _overridable() == read_by_the_code


def test_no_setting_is_set_twice():
    assert _explicit() & _overridable() == set()


def test_only_settings_with_a_default_are_left_to_be_overridden():
    required = {field.alias for field in Settings.model_fields.values() if field.is_required()}

    assert required <= _explicit()
    assert _overridable() & required == set()


def test_the_host_gets_what_it_needs():
    assert _explicit() >= OF_THE_HOST


def test_nothing_is_set_that_flex_refuses_and_no_secret_is():
    assert _explicit() & (REFUSED_BY_FLEX | NEVER_IN_THE_CLOUD) == set()


def test_every_connection_goes_by_the_one_identity():
    (settings,) = FUNCTION.of_type("Microsoft.Web/sites/config")
    values = settings.properties

    for name in ("AzureWebJobsStorage__clientId", "ServiceBusConnection__clientId", "AZURE_CLIENT_ID"):
        assert values[name] == "identity.properties.clientId"
    assert values["AzureWebJobsStorage__credential"] == values["ServiceBusConnection__credential"] == "managedidentity"
    assert values["APPLICATIONINSIGHTS_AUTHENTICATION_STRING"].endswith(";Authorization=AAD")


def test_the_connection_and_the_queue_of_the_trigger_are_set():
    trigger = (ROOT / "function_app.py").read_text()
    connection = re.search(r'connection="(\w+)"', trigger)
    queue = re.search(r'queue_name="%(\w+)%"', trigger)

    assert connection
    assert f"{connection[1]}__fullyQualifiedNamespace" in _explicit()
    assert queue
    assert queue[1] in _explicit()


def test_the_app_is_python_3_13_on_flex_consumption():
    (app,) = FUNCTION.of_type("Microsoft.Web/sites")
    (plan,) = FUNCTION.of_type("Microsoft.Web/serverfarms")

    assert plan.body["sku"] == {"name": "FC1", "tier": "FlexConsumption"}
    assert app.properties["functionAppConfig"]["runtime"] == {"name": "python", "version": "3.13"}
    assert app.properties["functionAppConfig"]["deployment"]["storage"]["authentication"] == {
        "type": "UserAssignedIdentity",
        "userAssignedIdentityResourceId": "identity.id",
    }
    assert app.body["tags"]["azd-service-name"] == "processor"


def test_nobody_publishes_code_with_a_password():
    policies = FUNCTION.of_type("Microsoft.Web/sites/basicPublishingCredentialsPolicies")

    assert {policy.body["name"]: policy.properties["allow"] for policy in policies} == {"ftp": False, "scm": False}


def test_the_limit_on_calls_in_flight_is_explained_where_it_is_set():
    description = read(INFRA / "main.bicep").parameters["maximumInstanceCount"].decorators["description"]
    concurrency = Settings.model_fields["max_concurrent_requests"].default

    assert f"instances x MAX_CONCURRENT_REQUESTS ({concurrency})" in description
