"""What people write down, leave out or mistype: a deployment that would be wrong ends in a sentence of ours."""

import runpy
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.infra.commands import run
from tests.infra.compiler import CompilationError, Compiler
from tests.infra.snapshots import VARIABLES, read
from tests.infra.sources import INFRA, ROOT

TOOL = SimpleNamespace(**runpy.run_path(str(INFRA / "variables.py")))
AZD = SimpleNamespace(**runpy.run_path(str(INFRA / "azd.py")))
OF_PROD = {
    "COMMUNICATION_SERVICE_ID",
    "ALERT_EMAIL_ADDRESSES",
    "OPERATORS_GROUP_ID",
    "PUBLISHER_IDS",
    "ALLOWED_SENDERS",
    "LEDGER_ADMINISTRATORS_ID",
    "LEDGER_ADMINISTRATORS_NAME",
}
OF_DEV = {"COMMUNICATION_SERVICE_ID", "ALERT_EMAIL_ADDRESSES"}
NOTHING_SAID = {"absent": None, "empty": "", "blank": " ", "a comma": " , "}


@pytest.fixture(scope="module", params=NOTHING_SAID)
def told_nothing(request, compiler_program) -> Iterator[Compiler]:
    """Start a compiler in whose environment every variable says nothing."""
    value = NOTHING_SAID[request.param]
    with Compiler(compiler_program, {} if value is None else dict.fromkeys(VARIABLES, value)) as compiler:
        yield compiler


@pytest.mark.parametrize(("environment", "needed"), [("prod", OF_PROD), ("dev", OF_DEV)])
def test_what_is_not_said_is_named_in_a_sentence(environment, needed, told_nothing):
    said = told_nothing.diagnostics(INFRA / f"{environment}.bicepparam")

    sentences = [line.partition('": ')[2] for line in said]
    assert {sentence.partition(" is empty or not set. It takes ")[0] for sentence in sentences} == needed
    assert all(sentence.endswith(".") for sentence in sentences)


def test_a_test_environment_may_leave_out_senders_publishers_and_operators():
    assert read("template")["parameters"]["allowedSenders"]["defaultValue"] == []
    assert set(TOOL.needed("dev")) == OF_DEV


def test_lists_are_read_without_blanks():
    assert read("prod")["allowedSenders"] == ["+18005550100", "+18005550101"]
    assert read("prod")["publisherIds"] == [f"00000000-0000-0000-0000-0000000000f{n}" for n in (1, 2)]
    assert read("dev")["alertEmailAddresses"] == ["one@example.com", "two@example.com"]


OPERATORS = "00000000-0000-0000-0000-0000000000f0"
REFUSED = [
    ("environmentName = 'My_Env'", 'environmentName takes lower-case letters, digits and hyphens, not "M_E".'),
    ("environmentName = 'my env'", 'environmentName takes lower-case letters, digits and hyphens, not " ".'),
    ("environmentName = 'dév'", 'environmentName takes lower-case letters, digits and hyphens, not "é".'),
    ("alertEmailAddresses = ['']", "alertEmailAddresses takes at least one mail address"),
    ("alertEmailAddresses = [' ']", "alertEmailAddresses takes at least one mail address"),
    ("alertEmailAddresses = ['nobody']", "alertEmailAddresses takes at least one mail address"),
    ("pagerActionGroupId = 'pager'", 'pagerActionGroupId is "pager", and that is not the id of an action group'),
    ("operatorsGroupId = ' '", 'operatorsGroupId is " ", and that is no object id'),
    ("operatorsGroupId = 'none'", 'operatorsGroupId is "none", and that is no object id'),
    ("publisherIds = ['none']", 'publisherIds holds "none", and that is no object id'),
    (f"publisherIds = [' {OPERATORS.upper()} ']", "publisherIds holds the operators' group, which may publish already"),
    ("allowedSenders = [' ', '']", "allowedSenders holds no number"),
    ("allowedSenders = ['+18005550100,+18005550101']", "allowedSenders is a list"),
    ("communicationServiceId = ''", 'communicationServiceId is "", and that is not the id of an ACS resource'),
    ("communicationServiceId = 'acs'", 'communicationServiceId is "acs", and that is not the id of an ACS resource'),
    *(
        (f"communicationServiceId = '{wrong}'", "and that is not the id of an ACS resource")
        for wrong in (
            VARIABLES["COMMUNICATION_SERVICE_ID"] + "/",
            VARIABLES["COMMUNICATION_SERVICE_ID"].removeprefix("/"),
            VARIABLES["COMMUNICATION_SERVICE_ID"].replace("communicationServices", "emailServices"),
        )
    ),
    ("tags = { 'azd-env-name': 'other' }", "tags holds azd-env-name or application"),
    ("tags = { Application: 'other' }", "tags holds azd-env-name or application"),
    ("alwaysReadyInstanceCount = 20", "alwaysReadyInstanceCount (20) is above maximumInstanceCount (1)"),
]


@pytest.mark.parametrize(("line", "sentence"), REFUSED, ids=[line[:50] for line, _ in REFUSED])
def test_what_azure_would_refuse_late_or_take_wrongly_is_refused_now(line, sentence, compiler, parameter_file):
    path = parameter_file(
        "required", f"param operatorsGroupId = '{OPERATORS}'", "param maximumInstanceCount = 1", f"param {line}"
    )

    with pytest.raises(CompilationError) as refused:
        compiler.snapshot(path)

    assert sentence in str(refused.value)


@pytest.mark.parametrize("line", ["environmentName = 'a'", f"environmentName = '{'a' * 21}'"])
def test_the_length_of_a_name_is_the_compilers_to_refuse(line, compiler, parameter_file):
    with pytest.raises(CompilationError, match="BCP33"):
        compiler.snapshot(parameter_file("required", f"param {line}"))


@pytest.mark.parametrize("environment", ["prod", "dev"])
def test_the_pipeline_names_all_that_is_missing_before_it_signs_in(environment, tmp_path):
    ran = run(
        str(INFRA / "variables.py"),
        *("check", environment, "RESOURCE_GROUP", "ALLOWED_SENDERS"),
        cwd=tmp_path,
        environ=dict.fromkeys([*VARIABLES, "RESOURCE_GROUP"], " , "),
    )

    assert ran.returncode == 1
    named = {line.partition(" ")[0] for line in ran.stderr.splitlines()} - {".github/CODEOWNERS"}
    assert named == {*(OF_PROD if environment == "prod" else OF_DEV), "RESOURCE_GROUP", "ALLOWED_SENDERS"}
    assert ran.stderr.count("ALLOWED_SENDERS is empty") == 1


def test_a_job_that_deploys_nothing_asks_for_what_it_names_only(tmp_path):
    ran = run(str(INFRA / "variables.py"), "named", "ALLOWED_SENDERS", cwd=tmp_path, environ={"ALLOWED_SENDERS": " "})

    assert ran.returncode == 1
    assert ran.stderr.startswith("ALLOWED_SENDERS is empty or not set.")
    assert len(ran.stderr.splitlines()) == 1


def _fork(place: Path, owners: str | None) -> Path:
    """Make a checkout of the parameter files, with these code owners, and give its check."""
    shutil.copytree(INFRA, place / "infra")
    (place / ".github").mkdir()
    if owners is not None:
        (place / ".github/CODEOWNERS").write_text(owners)
    return place / "infra/variables.py"


def test_the_check_passes_when_everything_is_said(tmp_path):
    program = _fork(tmp_path, "# of ours\n/.github/ @contoso/deployers\n")

    ran = run(str(program), "check", "prod", cwd=tmp_path, environ=VARIABLES)

    assert (ran.returncode, ran.stderr) == (0, "")


@pytest.mark.parametrize(
    "owners",
    ["/.github/ @OWNER/deployers\n", "# @contoso/deployers\n", "", None],
    ids=["as it comes", "a comment", "empty", "none"],
)
def test_production_is_not_deployed_while_nobody_is_asked_about_what_deploys_it(owners, tmp_path):
    program = _fork(tmp_path, owners)

    prod = run(str(program), "check", "prod", cwd=tmp_path, environ=VARIABLES)
    dev = run(str(program), "check", "dev", cwd=tmp_path, environ=VARIABLES)

    assert (prod.returncode, dev.returncode) == (1, 0)
    assert prod.stderr == (
        ".github/CODEOWNERS names nobody. It takes the team that may deploy, in the place of @OWNER/deployers."
        " Commit it: docs/deploy.md says what for.\n"
    )


@pytest.mark.parametrize("arguments", [[], ["check"], ["check", "nowhere"], ["other"]])
def test_the_check_says_how_to_use_it(arguments, tmp_path):
    ran = run(str(INFRA / "variables.py"), *arguments, cwd=tmp_path)

    assert ran.returncode == 2
    assert ran.stderr.startswith("usage: ")


def test_azd_asks_for_what_it_was_not_told_and_keeps_the_answers():
    kept: dict[str, str] = {}
    asked = []

    def answer(question: str) -> str:
        asked.append(question.partition(",")[0])
        return {"ALERT_EMAIL_ADDRESSES": " one@example.com "}.get(asked[-1], "")

    known = {"COMMUNICATION_SERVICE_ID": "id", "AZURE_RESOURCE_GROUP": "rg", "OPERATORS_GROUP_ID": ""}
    missing = TOOL.ask(known, answer, kept.__setitem__)

    assert asked == ["ALERT_EMAIL_ADDRESSES", "PUBLISHER_IDS"]
    assert kept == {"ALERT_EMAIL_ADDRESSES": "one@example.com"}
    assert missing == []


def test_azd_stops_before_it_makes_anything_when_nobody_answers(tmp_path):
    ran = run(str(INFRA / "variables.py"), "ask", cwd=tmp_path, environ=dict.fromkeys(VARIABLES, ""))

    assert ran.returncode == 1
    assert {line.partition(" ")[0] for line in ran.stderr.splitlines()} == {*OF_DEV, "AZURE_RESOURCE_GROUP"}
    assert "azd env set NAME VALUE" in ran.stderr


OUTPUTS = {
    "acsEndpoint": "https://acs.example",
    "serviceBusNamespace": "sb.example",
    "functionAppName": "func-optin",
    "applicationInsightsAppId": "app-id",
}


def test_azd_leaves_settings_for_this_machine_and_says_what_to_try(tmp_path, monkeypatch, capsys):
    for name, value in OUTPUTS.items():
        monkeypatch.setenv(name, value)

    assert AZD.main(tmp_path / "local.settings.json") == 0

    written = (tmp_path / "local.settings.json").read_text()
    assert '"ACS_ENDPOINT": "https://acs.example"' in written
    assert '"ServiceBusConnection__fullyQualifiedNamespace": "sb.example"' in written
    said = capsys.readouterr().out
    assert "optout doctor --namespace sb.example" in said
    assert "infra/smoke.py --namespace sb.example --application app-id" in said


def test_azd_leaves_settings_that_are_there_alone(tmp_path, monkeypatch):
    for name, value in OUTPUTS.items():
        monkeypatch.setenv(name, value)
    target = tmp_path / "local.settings.json"
    target.write_text("mine")

    AZD.main(target)

    assert target.read_text() == "mine"


def test_outside_of_azd_the_hook_says_so(tmp_path, capsys):
    assert AZD.main(tmp_path / "local.settings.json") == 1
    assert "hook of azd" in capsys.readouterr().err


def test_the_hooks_of_azd_exist():
    project = (ROOT / "azure.yaml").read_text()

    for script in ("infra/variables.py ask", "infra/azd.py"):
        assert project.count(f"run: python3 {script}") == project.count(f"run: python {script}") == 1
