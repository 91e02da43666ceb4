"""Somebody is told when it hurts, about something that exists, and where to read what to do."""

import json
import re

import pytest

from optout_core.adapters.telemetry import Telemetry
from optout_core.batches import Operation
from optout_core.errors import LedgerUnavailable, RequestRefused
from optout_core.outgoing import Outgoing, Queue
from optout_core.reasons import Reason
from optout_core.reports import Dispatched, Report
from optout_core.settings import Settings
from tests.infra.snapshots import deployment
from tests.infra.sources import INFRA, ROOT

#: https://learn.microsoft.com/azure/azure-monitor/reference/supported-metrics/microsoft-servicebus-namespaces-metrics
SERVICE_BUS_METRICS = {
    "ActiveMessages": {"Average", "Minimum", "Maximum"},
    "ScheduledMessages": {"Average", "Minimum", "Maximum"},
    "DeadletteredMessages": {"Average", "Minimum", "Maximum"},
    "CompleteMessage": {"Total"},
    "AbandonMessage": {"Total"},
    "IncomingMessages": {"Total"},
    "Size": {"Average", "Minimum", "Maximum"},
    "ThrottledRequests": {"Total"},
}
#: By what they watch: https://learn.microsoft.com/azure/azure-monitor/reference/supported-metrics/metrics-index
OTHER_METRICS = {
    "Microsoft.EventGrid/systemTopics": {"DroppedEventCount": {"Total"}, "DeliveryAttemptFailCount": {"Total"}},
    "Microsoft.DBforPostgreSQL/flexibleServers": {
        "is_db_alive": {"Average", "Minimum", "Maximum"},
        "storage_percent": {"Average", "Minimum", "Maximum"},
    },
}
QUEUES = {queue["name"] for queue in json.loads((INFRA / "queues.json").read_text()).values()}
EVERYTHING = deployment("everything")
METRIC_ALERTS = EVERYTHING.of_type("Microsoft.Insights/metricAlerts")
LOG_ALERTS = EVERYTHING.of_type("Microsoft.Insights/scheduledQueryRules")
WORKBOOK = EVERYTHING.only("Microsoft.Insights/workbooks")["properties"]["serializedData"]


def _name(alert) -> str:
    return alert["name"].partition("-everything-")[0]


PAGER = (
    "/subscriptions/00000000-0000-0000-0000-0000000000ad/resourceGroups/rg-pager/providers/Microsoft.Insights/"
    "actionGroups/pager"
)
every_alert = pytest.mark.parametrize("alert", [*METRIC_ALERTS, *LOG_ALERTS], ids=_name)
every_metric_alert = pytest.mark.parametrize("alert", METRIC_ALERTS, ids=_name)
every_log_alert = pytest.mark.parametrize("alert", LOG_ALERTS, ids=_name)


def _instruments() -> set[str]:
    """Give the names of the instruments that the code makes."""
    source = (ROOT / "optout_core/adapters/telemetry.py").read_text()
    return set(re.findall(r'create_\w+\(\s*"(optout\.[a-z._]+)"', source))


def _queries() -> dict[str, str]:
    alerts = {_name(alert): alert["properties"]["criteria"]["allOf"][0]["query"] for alert in LOG_ALERTS}
    charts = {item["name"]: item["content"]["query"] for item in WORKBOOK["items"] if item["type"] == 3}
    return alerts | charts


def _anchors(path) -> set[str]:
    """Give the anchors of a Markdown page, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", path.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def test_there_is_an_alert_for_everything_that_hurts():
    names = {_name(alert) for alert in (*METRIC_ALERTS, *LOG_ALERTS)}

    assert names >= {
        "dead-letters-waiting",
        "oldest-opt-in-too-old",
        "endpoint-refuses",
        "nothing-processed",
        "breaker-open",
    }


@every_alert
def test_an_alert_names_the_section_of_the_runbook_that_has_its_own_name(alert):
    page, _, anchor = alert["properties"]["description"].rpartition(" ")[2].partition("#")

    assert page == "https://example.com/docs/runbook.md"
    assert anchor == _name(alert)
    assert anchor in _anchors(ROOT / "docs/runbook.md")


@every_alert
def test_an_alert_reaches_somebody(alert):
    mail = EVERYTHING.only("Microsoft.Insights/actionGroups")["id"]
    heard_by = [mail, PAGER] if alert["properties"]["severity"] == 1 else [mail]

    assert alert["properties"]["enabled"] is True
    assert alert["properties"]["severity"] in {1, 2}
    assert alert["properties"]["actions"] in (
        [{"actionGroupId": group} for group in heard_by],
        {"actionGroups": heard_by},
    )


def test_without_a_pager_everything_goes_to_the_mail():
    required = deployment("required")
    mail = required.only("Microsoft.Insights/actionGroups")["id"]

    for kind in ("metricAlerts", "scheduledQueryRules"):
        for alert in required.of_type(f"Microsoft.Insights/{kind}"):
            assert alert["properties"]["actions"] in ([{"actionGroupId": mail}], {"actionGroups": [mail]})


def test_a_wake_up_call_is_for_what_does_not_heal_by_itself():
    loud = {_name(alert) for alert in (*METRIC_ALERTS, *LOG_ALERTS) if alert["properties"]["severity"] == 1}

    # Waiting loses nothing: what only waits is for the morning.
    assert not loud & {"breaker-open", "queue-not-draining", "queue-never-empty", "oldest-opt-in-too-old"}
    assert {"endpoint-refuses", "nothing-processed", "dead-letters-rising", "unclear-opt-out"} <= loud


def test_no_window_is_shorter_than_it_takes_a_metric_to_arrive():
    """Exported each minute, and asked for some minutes later: https://learn.microsoft.com/azure/azure-monitor/logs/data-ingestion-time"""
    for alert in (*METRIC_ALERTS, *LOG_ALERTS):
        assert _minutes(alert["properties"]["windowSize"]) >= 15, _name(alert)


def test_what_only_passes_through_a_queue_is_no_dead_letter_out_of_reach():
    (alert,) = [alert for alert in METRIC_ALERTS if _name(alert) == "dead-letters-out-of-reach"]

    assert alert["properties"]["criteria"]["allOf"][0]["timeAggregation"] == "Minimum"


#: https://learn.microsoft.com/azure/azure-monitor/alerts/alerts-create-metric-alert-rule
METRIC_FREQUENCIES = ["PT1M", "PT5M", "PT15M", "PT30M", "PT1H"]
METRIC_WINDOWS = [*METRIC_FREQUENCIES, "PT6H", "PT12H", "P1D"]
#: https://learn.microsoft.com/azure/azure-monitor/alerts/alerts-create-log-alert-rule
LOG_FREQUENCIES = ["PT1M", *(f"PT{m}M" for m in (5, 10, 15, 30, 45)), *(f"PT{h}H" for h in range(1, 7)), "P1D"]
LOG_WINDOWS = [*LOG_FREQUENCIES[1:], "P2D"]


def _minutes(duration: str) -> int:
    number = int(re.sub(r"\D", "", duration))
    return number * {"PT1M": 1, "PT1H": 60, "P1D": 1440}[re.sub(r"\d+", "1", duration)]


@every_metric_alert
def test_a_metric_alert_has_a_window_and_a_frequency_that_azure_takes(alert):
    window, frequency = alert["properties"]["windowSize"], alert["properties"]["evaluationFrequency"]

    assert window in METRIC_WINDOWS
    assert frequency in METRIC_FREQUENCIES
    assert _minutes(frequency) <= _minutes(window)


@every_log_alert
def test_a_log_alert_has_a_window_and_a_frequency_that_azure_takes(alert):
    window, frequency = alert["properties"]["windowSize"], alert["properties"]["evaluationFrequency"]
    (condition,) = alert["properties"]["criteria"]["allOf"]
    periods = condition["failingPeriods"]

    assert window in LOG_WINDOWS
    assert frequency in LOG_FREQUENCIES
    assert _minutes(frequency) <= _minutes(window) * periods["numberOfEvaluationPeriods"] <= 48 * 60
    assert 1 <= periods["minFailingPeriodsToAlert"] <= periods["numberOfEvaluationPeriods"] <= 6


def test_the_action_group_writes_to_every_address():
    group = EVERYTHING.only("Microsoft.Insights/actionGroups")["properties"]

    assert group["enabled"] is True
    assert [receiver["emailAddress"] for receiver in group["emailReceivers"]] == ["one@example.com", "two@example.com"]
    assert len({receiver["name"] for receiver in group["emailReceivers"]}) == 2
    assert len(group["groupShortName"]) <= 12  # the most Azure takes


def _watched(alert) -> str:
    (scope,) = alert["properties"]["scopes"]
    return scope


OF_QUEUES = [
    each for each in METRIC_ALERTS if _watched(each) == EVERYTHING.only("Microsoft.ServiceBus/namespaces")["id"]
]


@pytest.mark.parametrize("alert", OF_QUEUES, ids=_name)
def test_a_metric_alert_watches_queues_by_a_metric_service_bus_has(alert):
    for condition in alert["properties"]["criteria"]["allOf"]:
        assert condition["metricNamespace"] == "Microsoft.ServiceBus/namespaces"
        assert condition["timeAggregation"] in SERVICE_BUS_METRICS[condition["metricName"]]
        (dimension,) = condition["dimensions"]
        assert dimension["name"] == "EntityName"
        assert set(dimension["values"]) <= QUEUES
        # A rule of several conditions takes one value each.
        assert len(dimension["values"]) == 1 or len(alert["properties"]["criteria"]["allOf"]) == 1


@pytest.mark.parametrize("alert", [each for each in METRIC_ALERTS if each not in OF_QUEUES], ids=_name)
def test_a_metric_alert_watches_another_resource_of_ours_by_a_metric_that_it_has(alert):
    (condition,) = alert["properties"]["criteria"]["allOf"]
    watched = EVERYTHING.only(condition["metricNamespace"])

    assert _watched(alert) == watched["id"]
    assert condition["timeAggregation"] in OTHER_METRICS[watched["type"]][condition["metricName"]]


@pytest.mark.parametrize(("name", "share"), [("queue-filling", 0.6), ("queue-almost-full", 0.8)])
@pytest.mark.parametrize("deployed", ["everything", "required"])
def test_a_full_queue_is_announced_at_a_share_of_its_own_size(name, share, deployed):
    alert = deployment(deployed).only("Microsoft.Insights/metricAlerts", name)
    (condition,) = alert["properties"]["criteria"]["allOf"]
    sizes = {
        queue["properties"]["maxSizeInMegabytes"]
        for queue in deployment(deployed).of_type("Microsoft.ServiceBus/namespaces/queues")
    }

    assert condition["metricName"] == "Size"
    assert {round(size * 2**20 * share) for size in sizes} == {round(condition["threshold"])}
    assert set(condition["dimensions"][0]["values"]) == QUEUES


def test_what_is_completed_is_held_against_what_was_seen():
    """The counts are in the workspace, and the line is one that the function writes."""
    settings = EVERYTHING.only("Microsoft.Insights/diagnosticSettings", "counts-and-audit")["properties"]
    source = (ROOT / "optout_core/adapters/telemetry.py").read_text()
    workspace = EVERYTHING.only("Microsoft.OperationalInsights/workspaces")["id"]

    assert settings["workspaceId"] == workspace
    assert settings["metrics"] == [{"category": "AllMetrics", "enabled": True}]
    assert '"settled %d messages' in source
    assert '{"messages": report.messages}' in source
    for name in ("telemetry-silent", "completed-unseen"):
        (alert,) = [alert for alert in LOG_ALERTS if _name(alert) == name]
        assert _watched(alert) == workspace
        query = alert["properties"]["criteria"]["allOf"][0]["query"]
        assert "MetricName == 'CompleteMessage'" in query
        assert "Message startswith 'settled '" in query
        # A workspace that was brought along holds the counts of others too.
        for each in ("Microsoft.ServiceBus/namespaces", "Microsoft.Insights/components"):
            assert f"_ResourceId =~ '{EVERYTHING.only(each)['id']}'" in query
        assert "optout.messages" in query


def test_the_alerts_on_the_host_look_for_the_line_that_it_writes():
    facts = (ROOT / "docs/facts/real-host.md").read_text()

    for name in ("listener-errors", "listener-floods"):
        (alert,) = [alert for alert in LOG_ALERTS if _name(alert) == name]
        (text,) = re.findall(r"has '([^']+)'", alert["properties"]["criteria"]["allOf"][0]["query"])
        assert text in " ".join(facts.split())


def test_without_a_ledger_or_texts_nothing_watches_them():
    names = {each["name"] for each in deployment("required").of_type("Microsoft.Insights/metricAlerts")}

    assert not any(name.startswith(("ledger-", "texts-")) for name in names)
    assert len(names) == len(OF_QUEUES)


OF_THE_CODE = {name: query for name, query in _queries().items() if "customMetrics" in query}


@pytest.mark.parametrize(("name", "query"), OF_THE_CODE.items(), ids=list(OF_THE_CODE))
def test_a_query_asks_for_a_metric_the_code_has(name, query):
    asked = re.findall(r"name == '([^']+)'", query)

    assert asked, name
    assert set(asked) <= _instruments()


def test_the_workbook_shows_every_metric_the_code_has():
    asked = {metric for query in _queries().values() for metric in re.findall(r"name == '([^']+)'", query)}

    assert asked == _instruments()


@pytest.mark.parametrize(("name", "query"), _queries().items(), ids=list(_queries()))
def test_a_query_asks_for_attributes_the_code_sets(name, query):
    source = (ROOT / "optout_core/adapters/telemetry.py").read_text()

    for attribute in re.findall(r"customDimensions\.(\w+)", query):
        assert f'"{attribute}":' in source, name


def test_a_log_alert_measures_the_column_its_query_gives():
    for alert in LOG_ALERTS:
        (condition,) = alert["properties"]["criteria"]["allOf"]
        columns = condition["query"].rpartition("project ")[2]

        assert condition["metricMeasureColumn"] == "measured"
        assert "measured = " in columns
        for dimension in condition.get("dimensions", []):
            assert f"{dimension['name']} = " in columns


def _query(name: str) -> str:
    (alert,) = [alert for alert in LOG_ALERTS if _name(alert) == name]
    query: str = alert["properties"]["criteria"]["allOf"][0]["query"]
    return query


#: What tells of one event, and wakes somebody: what was measured and not yet exported is lost with its instance.
OF_ONE_EVENT = {
    "dead-letters-rising",
    "endpoint-refuses",
    "ledger-fails",
    "opt-outs-failing",
    "queue-refuses",
    "unclear-opt-out",
}


def test_what_tells_of_one_event_is_asked_of_the_lines_and_not_of_metrics():
    for name in OF_ONE_EVENT:
        assert _query(name).startswith("traces\n"), name

    rest_on_metrics = {_name(alert) for alert in LOG_ALERTS if "customMetrics" in _query(_name(alert))}
    assert rest_on_metrics == {"acs-throttles", "breaker-open", "oldest-opt-in-too-old", "stops-unsettled"}


def test_the_alerts_ask_for_lines_and_attributes_that_the_code_writes(caplog):
    caplog.set_level("INFO", "optout_core")
    telemetry = Telemetry()
    with pytest.raises(RequestRefused), telemetry.request(Operation.REMOVE, 1):
        raise RequestRefused("Denied", 401)
    with pytest.raises(LedgerUnavailable), telemetry.ledger("admit"):
        raise LedgerUnavailable("gone")
    sent = [
        Outgoing(queue=Queue.DEAD_LETTERS, message_id="", body=b"", content_type=None, properties={}, reason=reason)
        for reason in Reason
    ]
    telemetry.report(Report(messages=1, dispatched=Dispatched(dead_letters=sent, parked=sent[:2])))

    refused, failed, detoured, settled = caplog.records
    assert refused.getMessage().startswith(re.findall(r"startswith '([^']+)'", _query("endpoint-refuses"))[0])
    assert "optout.statement" in vars(failed)
    assert "['optout.statement']" in _query("ledger-fails")
    assert (vars(detoured)["optout.detours"], vars(detoured)["optout.queue"]) == (2, "dead_letters")
    assert re.findall(r"\['(optout\.\w+)'\]", _query("queue-refuses")) == [
        "optout.detours",
        "optout.queue",
        "optout.detours",
    ]
    keys = {key for key in vars(settled) if key.startswith("optout.")}
    reasons = {key.removeprefix("optout.") for key in keys if re.match(r"^optout\.[A-Z]", key)}
    assert settled.getMessage().startswith("settled ")
    assert reasons == {reason.value for reason in Reason}
    assert "matches regex @'^optout\\.[A-Z]'" in _query("dead-letters-rising")
    assert "optout.UnclearOptOut" in keys
    assert "'optout.UnclearOptOut'" in _query("unclear-opt-out")
    # Every reason of a STOP that failed, and no other: the STOP that names nobody for certain has an alert of its own.
    asked = re.findall(r"'optout\.(\w+)'", _query("opt-outs-failing"))
    assert asked == ["OptOut", "NotOptedOut"]
    assert {reason for reason in reasons if reason.startswith("OptOut")} == {
        *("OptOutRejected", "OptOutSenderRejected", "OptOutRefused", "OptOutRetriesExhausted"),
    }


@pytest.mark.parametrize(("name", "instances"), [("everything", 40), ("required", 10)])
def test_a_backlog_is_what_all_instances_do_not_have_in_hand(name, instances):
    alert = deployment(name).only("Microsoft.Insights/metricAlerts", "queue-not-draining")
    (condition,) = alert["properties"]["criteria"]["allOf"]
    batch = json.loads((ROOT / "host.json").read_text())["extensions"]["serviceBus"]["maxMessageBatchSize"]
    scale = deployment(name).only("Microsoft.Web/sites")["properties"]["functionAppConfig"]["scaleAndConcurrency"]

    assert scale["maximumInstanceCount"] == instances
    assert condition["threshold"] == instances * batch


def test_the_alert_on_the_breaker_knows_every_class_of_answer():
    source = (ROOT / "optout_core/adapters/telemetry.py").read_text()
    (alert,) = [alert for alert in LOG_ALERTS if _name(alert).startswith("breaker-open")]
    query = alert["properties"]["criteria"]["allOf"][0]["query"]

    classes = {
        name for found in re.findall(r"status_class in \(([^)]*)\)", query) for name in re.findall(r"\w+", found)
    }
    assert classes == {"2xx", "4xx", "5xx", "none", "refused"}
    assert all(f'"{name}"' in source for name in ("none", "refused"))


def test_an_opt_in_is_called_old_after_the_retries_and_well_before_it_is_thrown_out():
    (alert,) = [alert for alert in LOG_ALERTS if _name(alert).startswith("oldest-opt-in")]
    threshold = alert["properties"]["criteria"]["allOf"][0]["threshold"]
    retries = sum(delay.total_seconds() for delay in Settings.model_fields["retry_schedule"].default)

    assert retries < threshold < Settings.model_fields["opt_in_max_age"].default.total_seconds() / 2


def test_telemetry_is_kept_as_long_as_a_dead_letter_unless_one_says_otherwise():
    queues = json.loads((INFRA / "queues.json").read_text())
    days = sum(
        int(queues[name]["properties"]["defaultMessageTimeToLive"].strip("PD"))
        for name in ("deadLetters", "endingDeadLetters")
    )
    kept = [
        each.only("Microsoft.OperationalInsights/workspaces")["properties"]["retentionInDays"]
        for each in (deployment("required"), EVERYTHING)
    ]

    assert kept == [days, 180]


def test_there_is_a_most_that_is_logged_on_a_day_and_an_alert_at_it():
    caps = [
        each.only("Microsoft.OperationalInsights/workspaces")["properties"]["workspaceCapping"]["dailyQuotaGb"]
        for each in (deployment("required"), EVERYTHING)
    ]
    (alert,) = [alert for alert in LOG_ALERTS if _name(alert) == "log-capped"]

    assert caps == [5, 20]
    assert alert["properties"]["severity"] == 1
    assert _watched(alert) == EVERYTHING.only("Microsoft.OperationalInsights/workspaces")["id"]


def test_somebody_is_woken_before_a_dead_letter_is_deleted():
    (alert,) = [alert for alert in METRIC_ALERTS if _name(alert) == "dead-letters-ending"]
    (condition,) = alert["properties"]["criteria"]["allOf"]

    assert alert["properties"]["severity"] == 1
    assert condition["dimensions"][0]["values"] == ["opt-ins-dead-letter-ending"]
    assert (condition["metricName"], condition["operator"], condition["threshold"]) == (
        "ActiveMessages",
        "GreaterThan",
        0,
    )


def test_the_workbook_is_one_page_that_azure_can_open():
    names = [item["name"] for item in WORKBOOK["items"]]
    depths = [item["content"] for item in WORKBOOK["items"] if item["type"] == 10]

    assert WORKBOOK["version"] == "Notebook/1.0"
    assert len(names) == len(set(names))
    assert {"events", "outcomes", "reasons", "latency", "age", "depth"} <= set(names)
    for content in depths:
        metric = content["metrics"][0]
        assert metric["metric"].removeprefix("microsoft.servicebus/namespaces--") in SERVICE_BUS_METRICS
        assert metric["splitBy"] == "EntityName"


def test_the_workbook_looks_at_the_resources_of_the_deployment():
    shown = json.dumps(WORKBOOK)
    named = set(re.findall(r"/subscriptions/[^\"]+", shown))

    assert "__" not in shown
    assert named == {
        EVERYTHING.only("Microsoft.Insights/components")["id"],
        EVERYTHING.only("Microsoft.ServiceBus/namespaces")["id"],
    }
