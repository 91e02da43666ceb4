"""Who may do what: least, on one queue or one resource, and without any key."""

import re

import pytest

from tests.infra.snapshots import Deployment, Resource, deployment, read
from tests.infra.sources import INFRA, PARAMETER_FILES, ROOT, TEMPLATES

#: https://learn.microsoft.com/azure/role-based-access-control/built-in-roles
ROLES = {
    "090c5cfd-751d-490a-894a-3ce6f1109419": "Azure Service Bus Data Owner",
    "4f6d3b9b-027b-4f4c-9142-0e5a2a2247e0": "Azure Service Bus Data Receiver",
    "69a216fc-b8fb-44d8-bc22-1f3c2cd27a39": "Azure Service Bus Data Sender",
    "b7e6dc6d-f1e8-4753-8033-0f276bb0955b": "Storage Blob Data Owner",
    "0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3": "Storage Table Data Contributor",
    "3913510d-42f4-4e42-8a64-420c390055eb": "Monitoring Metrics Publisher",
    "09976791-48a7-449e-bb21-39d1a415f350": "Communication and Email Service Owner",
    "43d0d8ad-25c7-4714-9337-8ba259a9fe05": "Monitoring Reader",
    "00000000-0000-0000-0000-0000000000f5": "the role that communicationRoleId names",
}
ASSIGNMENT = "Microsoft.Authorization/roleAssignments"
ASSIGNMENTS = deployment("everything").of_type(ASSIGNMENT)

FUNCTION, EVENT_GRID = "the function", "Event Grid"
SMOKE_TEST = "00000000-0000-0000-0000-0000000000f4"
OPERATORS = "00000000-0000-0000-0000-0000000000f0"
PUBLISHERS = ("00000000-0000-0000-0000-0000000000f1", "00000000-0000-0000-0000-0000000000f2")
OPT_INS, DEAD_LETTERS = "queues/opt-ins", "queues/opt-ins-dead-letter"
ENDING = "queues/opt-ins-dead-letter-ending"
STORAGE, TELEMETRY = "storageAccounts", "components"
ACS = "communicationServices/acs-of-the-snapshot"


def _principal(assignment: Resource) -> str:
    """Give who gets the right; an identity that the deployment makes has its object id only then."""
    principal: str = assignment["properties"]["principalId"]
    made = re.fullmatch(r"\[reference\('[^']+/userAssignedIdentities/(id-optin-[a-z-]*)everything-\w+'.+\]", principal)
    return {"id-optin-": FUNCTION, "id-optin-texts-": EVENT_GRID}[made[1]] if made else principal


def _scope(assignment: Resource) -> str:
    """Give on what: the last two parts of a part of a resource, the type of a resource of ours, or the ACS resource."""
    inside = re.match(r"\[extensionResourceId\('([^']+)'", assignment["id"])
    scope = inside[1] if inside else assignment["id"].partition(f"/providers/{ASSIGNMENT}")[0]
    parts = scope.split("/")
    return "/".join(parts[-2:]) if len(parts) > 9 or parts[2].endswith("ac") else parts[-2]


def _rights(assignments: list[Resource]) -> set[tuple[str, str, str]]:
    return {
        (_principal(each), ROLES[each["properties"]["roleDefinitionId"].rpartition("/")[2]], _scope(each))
        for each in assignments
    }


OF_THE_FUNCTION = {
    (FUNCTION, "Azure Service Bus Data Owner", OPT_INS),
    (FUNCTION, "Azure Service Bus Data Sender", DEAD_LETTERS),
    (FUNCTION, "Storage Blob Data Owner", STORAGE),
    (FUNCTION, "Storage Table Data Contributor", STORAGE),
    (FUNCTION, "Monitoring Metrics Publisher", TELEMETRY),
}


def test_with_everything_on_there_are_exactly_these_rights():
    receiver, sender = "Azure Service Bus Data Receiver", "Azure Service Bus Data Sender"

    assert _rights(ASSIGNMENTS) == {
        *OF_THE_FUNCTION,
        (FUNCTION, "the role that communicationRoleId names", ACS),
        *((OPERATORS, role, queue) for role in (receiver, sender) for queue in (OPT_INS, DEAD_LETTERS)),
        (OPERATORS, receiver, ENDING),
        *((publisher, sender, OPT_INS) for publisher in PUBLISHERS),
        (EVENT_GRID, sender, OPT_INS),
        (SMOKE_TEST, sender, OPT_INS),
        (SMOKE_TEST, "Monitoring Reader", TELEMETRY),
    }


def test_who_is_not_named_gets_no_right():
    assert _rights_of_required() == {*OF_THE_FUNCTION, (FUNCTION, "Communication and Email Service Owner", ACS)}


def _rights_of_required() -> set[tuple[str, str, str]]:
    assignments = deployment("required").of_type(ASSIGNMENT)
    for each in assignments:
        each["properties"]["principalId"] = each["properties"]["principalId"].replace("required", "everything")
    return _rights(assignments)


def test_a_right_is_given_once():
    given = [(_principal(each).lower(), each["properties"]["roleDefinitionId"], _scope(each)) for each in ASSIGNMENTS]

    assert len(given) == len(set(given))


@pytest.mark.parametrize("assignment", ASSIGNMENTS, ids=lambda each: each["properties"]["description"][:30])
def test_a_right_says_why_and_to_what_kind_of_principal(assignment):
    made_here = _principal(assignment) in {FUNCTION, EVENT_GRID}

    assert len(assignment["properties"]["description"]) > 20
    # A publisher may be a managed identity, a service principal or, in a test environment, a person.
    expected: set[str | None] = (
        {"ServicePrincipal"} if made_here else {"Group"} if _principal(assignment) == OPERATORS else {None}
    )
    if _principal(assignment) == SMOKE_TEST:
        expected = {None, "ServicePrincipal"}
    assert assignment["properties"].get("principalType") in expected


@pytest.mark.parametrize("path", [*TEMPLATES, *PARAMETER_FILES], ids=lambda path: path.name)
def test_no_key_is_read_or_written(path):
    source = path.read_text()

    assert not re.search(
        r"\blist\w*\(|\.list\w+\(|AccountKey=|SharedAccessKey|accesskey=|getSecret", source, re.IGNORECASE
    )
    assert "@secure()" not in source


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.name)
def test_no_host_name_is_written_down(path):
    code = re.sub(r"//.*|@description\('.*'\)", "", path.read_text())

    assert not re.search(r"\w\.(windows\.net|azure\.com|azure\.net|cloudapi)", code)


def test_no_output_holds_a_secret():
    outputs = [line for path in TEMPLATES for line in re.findall(r"^output .*$", path.read_text(), re.MULTILINE)]

    assert outputs
    for line in outputs:
        assert not re.search(r"key|secret|password|connectionstring", line, re.IGNORECASE), line


def test_no_file_of_the_deployment_holds_an_identity_or_a_phone_number():
    files = [*TEMPLATES, *PARAMETER_FILES, ROOT / "azure.yaml", *(ROOT / ".github/workflows").glob("*.yml")]
    for path in files:
        found = set(re.findall(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", path.read_text()))

        assert found <= set(ROLES), path.name
        assert not re.search(r"\+1\d{10}", path.read_text()), path.name


def test_every_role_that_is_given_is_listed_here():
    guids = re.findall(r"'([0-9a-f]{8}-[0-9a-f-]{27})'", "".join(path.read_text() for path in TEMPLATES))

    assert {guid for guid in ROLES if not guid.startswith("00000000")} == set(guids)


def test_an_identity_that_was_made_anew_gets_assignments_of_its_own():
    """Its resource id is the old one, and an assignment of that name could not be changed."""
    for name in ("everything", "required"):
        for each in deployment(name).of_type(ASSIGNMENT):
            made_here = each["properties"]["principalId"].startswith("[reference(")
            assert each["name"].startswith("[guid(") == made_here, each["properties"]["description"]
            if made_here:
                assert each["properties"]["principalId"].strip("[]") in each["name"]


def test_a_lock_makes_no_right_irrevocable():
    """A lock forbids to delete role assignments at and below what it locks."""
    everything = deployment("everything")
    locked = [each["id"].partition("/providers/Microsoft.Authorization/locks")[0] for each in _locks(everything)]

    assert len(locked) == 2
    for scope in locked:
        for assignment in ASSIGNMENTS:
            assert f"{scope}/" not in assignment["id"], assignment["properties"]["description"]
    assert _locks(deployment("required")) == []


def _locks(deployed: Deployment) -> list[Resource]:
    return deployed.of_type("Microsoft.Authorization/locks")


def test_everything_is_switched_on_in_the_snapshot_of_everything():
    """A switch that is missing there would be a part of the deployment that no rule looks at."""
    parameters = set(read("template")["parameters"])
    given = _given("everything")

    # What is brought along is not made: brought.bicepparam has these.
    brought = {"existingDnsZones", "existingSubnets", "workspaceId"}
    assert parameters - given == {"location", *brought}
    assert brought <= _given("brought")
    assert " = false" not in _source("everything")


def _source(name: str) -> str:
    return (INFRA.parent / f"tests/infra/environments/{name}.bicepparam").read_text()


def _given(name: str) -> set[str]:
    return set(re.findall(r"^param (\w+) =", _source(name), re.MULTILINE))
