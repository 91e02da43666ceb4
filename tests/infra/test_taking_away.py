"""What was given is taken away again when nobody names it any more."""

import json
import runpy
import subprocess
import time
from types import SimpleNamespace

import pytest
import yaml

from tests.infra.commands import run
from tests.infra.sources import INFRA, ROOT

RIGHTS = SimpleNamespace(**runpy.run_path(str(INFRA / "rights.py")))
DEPLOY = yaml.safe_load((ROOT / ".github/workflows/deploy-environment.yml").read_text())["jobs"]["deploy"]
STEPS = {step["name"]: step for step in DEPLOY["steps"] if "name" in step}
NAMESPACE = "/subscriptions/s/resourceGroups/g/providers/Microsoft.ServiceBus/namespaces/sb-optin"


def _assignment(principal: str, scope: str, role: str = "Azure Service Bus Data Sender") -> dict[str, str]:
    return {
        "id": f"{scope}/providers/Microsoft.Authorization/roleAssignments/{principal}",
        "principalId": principal,
        "principalName": f"name of {principal}",
        "roleDefinitionName": role,
        "scope": scope,
    }


def _azure(*assignments: dict[str, str]):
    """Answer as `az role assignment list --scope` does: with what is inherited too."""

    def ask(scope: str) -> list[dict[str, str]]:
        return [each for each in assignments if scope.lower().startswith(each["scope"].lower())]

    return ask


def test_who_is_named_may_stay(capsys):
    queue = f"{NAMESPACE}/queues/opt-ins"
    azure = _azure(_assignment("function", queue), _assignment("publisher-1", queue), _assignment("publisher-2", queue))

    assert RIGHTS.main([NAMESPACE, "FUNCTION", "", "publisher-1, publisher-2"], azure) == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("where", ["", "/queues/opt-ins", "/queues/opt-ins-dead-letter"])
def test_a_right_that_nobody_named_fails_the_deployment_and_says_how_to_end_it(where, capsys):
    azure = _azure(_assignment("function", f"{NAMESPACE}/queues/opt-ins"), _assignment("gone", NAMESPACE + where))

    assert RIGHTS.main([NAMESPACE, "function"], azure) == 1

    said = capsys.readouterr().err
    assert said.count("nobody named it") == 1
    assert said.startswith("name of gone (gone) is Azure Service Bus Data Sender on ")
    assert f"az role assignment delete --ids {NAMESPACE}{where}/providers" in said


def test_what_comes_from_above_is_not_ours_to_judge():
    owner = _assignment("owner", "/subscriptions/s", "Owner")

    assert RIGHTS.main([NAMESPACE, "function"], _azure(owner)) == 0


def test_azure_that_cannot_be_asked_is_no_all_clear(capsys):
    def ask(_scope: str):
        raise subprocess.CalledProcessError(1, "az", stderr="AuthorizationFailed")

    assert RIGHTS.main([NAMESPACE, "function"], ask) == 4
    assert "AuthorizationFailed" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [[], [NAMESPACE], ["", "function"]])
def test_the_command_says_how_to_use_it(arguments, capsys):
    assert RIGHTS.main(arguments) == 2
    assert capsys.readouterr().err.startswith("usage: ")


def test_az_is_asked_for_each_scope(tmp_path, monkeypatch):
    az, log = tmp_path / "az", tmp_path / "log"
    az.write_text(f'#!/bin/sh\necho "$@" >> {log}\necho "[]"\n')
    az.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")

    assert RIGHTS.main([NAMESPACE, "function"]) == 0
    queues = json.loads((INFRA / "queues.json").read_text()).values()
    assert log.read_text().splitlines() == [
        f"role assignment list --scope {scope} --output json"
        for scope in (NAMESPACE, *(f"{NAMESPACE}/queues/{queue['name']}" for queue in queues))
    ]


def test_the_pipeline_deletes_what_the_templates_no_longer_name():
    script = STEPS["infrastructure"]["run"]

    assert "az stack group create" in script
    assert "--action-on-unmanage deleteResources" in script  # deleteAll would take resource groups
    assert "az deployment group create" not in script


def test_the_pipeline_looks_at_the_rights_before_it_deploys_code():
    names = list(STEPS)

    assert names.index("infrastructure") < names.index("rights") < names.index("code")
    assert "continue-on-error" not in STEPS["rights"]
    for everybody in (
        "IDENTITY_OBJECT_ID",
        "TEXTS_IDENTITY_OBJECT_ID",
        "OPERATORS_GROUP_ID",
        "PUBLISHER_IDS",
        "SMOKE_TESTER_ID",
    ):
        assert f'"${everybody}"' in STEPS["rights"]["run"]
        assert everybody in STEPS["rights"]["env"] or everybody in DEPLOY["env"]


@pytest.mark.parametrize("failures", [0, 1, 2])
def test_what_azure_refuses_at_first_is_tried_again(failures, tmp_path):
    script = f"echo try >> log; [ $(wc -l < log) -gt {failures} ]"

    ran = run(str(INFRA / "again"), "3", "0", "sh", "-c", script, cwd=tmp_path)

    assert ran.returncode == 0
    assert len((tmp_path / "log").read_text().splitlines()) == failures + 1


def test_what_azure_refuses_to_the_end_ends_as_the_last_try(tmp_path):
    began = time.monotonic()
    ran = run(str(INFRA / "again"), "2", "0.1", "sh", "-c", "exit 7", cwd=tmp_path)

    assert ran.returncode == 7
    assert ran.stderr == "try 1 of 2 ended with 7; once more in 0.1 s: sh -c exit 7\n"
    assert time.monotonic() - began >= 0.1
    assert run(str(INFRA / "again"), "2", cwd=tmp_path).returncode == 2
