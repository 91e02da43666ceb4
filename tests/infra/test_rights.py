"""Who may do what: least, on one queue or one resource, and without any key."""

import re

import pytest

from tests.infra.bicep_tree import PARAMETER_FILES, ROOT, TEMPLATES, read, text, walk

#: https://learn.microsoft.com/azure/role-based-access-control/built-in-roles
ROLES = {
    "090c5cfd-751d-490a-894a-3ce6f1109419": "Azure Service Bus Data Owner",
    "4f6d3b9b-027b-4f4c-9142-0e5a2a2247e0": "Azure Service Bus Data Receiver",
    "69a216fc-b8fb-44d8-bc22-1f3c2cd27a39": "Azure Service Bus Data Sender",
    "b7e6dc6d-f1e8-4753-8033-0f276bb0955b": "Storage Blob Data Owner",
    "0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3": "Storage Table Data Contributor",
    "3913510d-42f4-4e42-8a64-420c390055eb": "Monitoring Metrics Publisher",
    "09976791-48a7-449e-bb21-39d1a415f350": "Communication and Email Service Owner",
}
ASSIGNMENTS = [
    assignment for path in TEMPLATES for assignment in read(path).of_type("Microsoft.Authorization/roleAssignments")
]

FUNCTION = "identity.properties.principalId"
OPERATORS = "operatorsGroupId"
PUBLISHERS = "publisherId"
EVENT_GRID = "eventGridIdentity!.properties.principalId"
OPT_INS, DEAD_LETTERS = "namespace::optIns", "namespace::deadLetters"


def _role(assignment) -> str:
    return ROLES[assignment.properties["roleDefinitionId"].rpartition("/")[2]]


def _rights(principal: str) -> set[tuple[str, str]]:
    return {(_role(each), each.body["scope"]) for each in ASSIGNMENTS if each.properties["principalId"] == principal}


def test_the_function_may_do_its_work_and_nothing_else():
    assert _rights(FUNCTION) == {
        ("Azure Service Bus Data Owner", OPT_INS),
        ("Azure Service Bus Data Sender", DEAD_LETTERS),
        ("Storage Blob Data Owner", "storage"),
        ("Storage Table Data Contributor", "storage"),
        ("Monitoring Metrics Publisher", "applicationInsights"),
    }


def test_the_function_may_call_the_one_acs_resource():
    assert _rights("principalId") == {("Communication and Email Service Owner", "acs")}


def test_operators_may_read_and_send_on_both_queues_and_nothing_else():
    receiver, sender = "Azure Service Bus Data Receiver", "Azure Service Bus Data Sender"

    assert _rights(OPERATORS) == {(role, queue) for role in (receiver, sender) for queue in (OPT_INS, DEAD_LETTERS)}


def test_publishers_may_send_opt_ins_and_nothing_else():
    assert _rights(PUBLISHERS) == {("Azure Service Bus Data Sender", OPT_INS)}


def test_event_grid_may_send_opt_ins_and_nothing_else():
    assert _rights(EVENT_GRID) == {("Azure Service Bus Data Sender", OPT_INS)}


def test_nobody_else_has_a_right():
    principals = {str(assignment.properties["principalId"]) for assignment in ASSIGNMENTS}

    assert principals == {FUNCTION, "principalId", OPERATORS, PUBLISHERS, EVENT_GRID}


@pytest.mark.parametrize("assignment", ASSIGNMENTS, ids=lambda each: each.symbol)
def test_a_right_is_given_on_a_queue_or_one_resource_and_says_why(assignment):
    # Storage, Application Insights and ACS know no smaller scope that would do.
    assert assignment.body["scope"] in {OPT_INS, DEAD_LETTERS, "storage", "applicationInsights", "acs"}
    assert len(assignment.properties["description"]) > 20
    assert assignment.body["name"].startswith("guid(")


def test_operators_and_event_grid_get_rights_only_when_they_are_named():
    for assignment in ASSIGNMENTS:
        if assignment.symbol.startswith("operators"):
            assert assignment.condition == "(!empty(operatorsGroupId))"
        if assignment.symbol.startswith("eventGrid"):
            assert assignment.condition == "(!empty(eventGridIdentityName))"


@pytest.mark.parametrize("path", [*TEMPLATES, *PARAMETER_FILES], ids=lambda path: path.name)
def test_no_key_is_read_or_written(path):
    source = path.read_text()

    assert not re.search(
        r"\blist\w*\(|\.list\w+\(|AccountKey=|SharedAccessKey|accesskey=|getSecret", source, re.IGNORECASE
    )
    assert "@secure()" not in source


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.name)
def test_no_host_name_is_written_down(path):
    strings = [text(node) for node in walk(read(path).root) if node.type == "string_content"]

    assert [s for s in strings if re.search(r"\w\.(windows\.net|azure\.com|azure\.net|cloudapi)", s)] == []


def test_no_output_holds_a_secret():
    outputs = {name: value for path in TEMPLATES for name, value in read(path).outputs.items()}

    assert outputs
    for name, value in outputs.items():
        assert not re.search(r"key|secret|password|connectionstring", f"{name}{value}", re.IGNORECASE), name


def test_no_file_of_the_deployment_holds_an_identity_or_a_phone_number():
    known = set(ROLES)
    files = [*TEMPLATES, *PARAMETER_FILES, ROOT / "azure.yaml", *(ROOT / ".github/workflows").glob("*.yml")]
    for path in files:
        found = set(re.findall(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", path.read_text()))

        assert found <= known, path.name
        assert not re.search(r"\+1\d{10}", path.read_text()), path.name


def test_every_role_that_is_given_is_listed_here():
    guids = re.findall(r"'([0-9a-f]{8}-[0-9a-f-]{27})'", "".join(path.read_text() for path in TEMPLATES))

    assert sorted(guids) == sorted(ROLES)
