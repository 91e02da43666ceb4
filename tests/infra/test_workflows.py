"""The pipelines: valid, pinned, with no more rights than they need, and calling only what exists."""

import re
from typing import Any

import pytest
import yaml

from tests.infra.commands import run
from tests.infra.sources import INFRA, PARAMETER_FILES, ROOT

PATHS = sorted((ROOT / ".github/workflows").glob("*.yml"))
WORKFLOWS: dict[str, dict[Any, Any]] = {path.stem: yaml.safe_load(path.read_text()) for path in PATHS}
JOBS = [(f"{name}: {job}", body) for name, workflow in WORKFLOWS.items() for job, body in workflow["jobs"].items()]
STEPS = [(name, step) for name, job in JOBS for step in job.get("steps", [])]
SCRIPTS = "\n".join(step["run"] for _, step in STEPS if "run" in step)
every_job = pytest.mark.parametrize("job", [job for _, job in JOBS], ids=[name for name, _ in JOBS])


def test_there_are_the_three_workflows():
    assert set(WORKFLOWS) == {"ci", "deploy", "deploy-environment"}


@pytest.mark.parametrize("step", [step for _, step in STEPS if "uses" in step], ids=lambda step: step["uses"][:24])
def test_an_action_is_pinned_by_commit_and_says_its_version(step):
    assert re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}", step["uses"])
    lines = "\n".join(path.read_text() for path in PATHS)
    assert re.search(re.escape(step["uses"]) + r" # v\d+\.\d+\.\d+\n", lines)


def test_an_action_is_pinned_to_one_commit_everywhere():
    used = {step["uses"] for _, step in STEPS if "uses" in step}

    assert len(used) == len({action.partition("@")[0] for action in used})


def test_a_workflow_may_read_the_sources_and_nothing_else():
    for workflow in WORKFLOWS.values():
        assert workflow["permissions"] == {"contents": "read"}


@every_job
def test_only_a_job_that_signs_in_to_azure_may_ask_for_a_token(job):
    called = job.get("uses", "").removeprefix("./.github/workflows/").removesuffix(".yml")
    jobs = WORKFLOWS[called]["jobs"].values() if called else [job]
    signs_in = any(step.get("uses", "").startswith("azure/login@") for each in jobs for step in each.get("steps", []))

    attests = any("attest-build-provenance" in step.get("uses", "") for step in job.get("steps", []))
    expected = {"contents": "read", "id-token": "write"} | ({"attestations": "write"} if attests else {})
    assert job.get("permissions") == (expected if signs_in or attests else None)


def test_no_secret_is_used():
    for path in PATHS:
        assert "secrets." not in path.read_text()
        assert "creds:" not in path.read_text()


def test_a_checkout_leaves_no_token_behind():
    for _, step in STEPS:
        if step.get("uses", "").startswith("actions/checkout@"):
            assert step["with"]["persist-credentials"] is False


def test_no_script_has_an_expression_pasted_into_it():
    assert "${{" not in SCRIPTS


@every_job
def test_a_job_ends(job):
    assert "uses" in job or job["timeout-minutes"] <= 60


def test_every_script_that_is_called_exists_and_can_be_run():
    called = set(re.findall(r"(?<![\w./-])(infra/[\w.-]+|\.ci/[\w.-]+)", SCRIPTS)) - {"infra/"}
    scripts = {name for name in called if not name.endswith(".bicepparam")}

    assert scripts == {
        f"infra/{name}"
        for name in (
            *("again", "changed", "ledger-rights", "lint"),
            *("package.py", "rights.py", "sbom.py", "smoke.py", "variables.py"),
        )
    }
    for name in scripts:
        assert (ROOT / name).stat().st_mode & 0o111, name


def test_every_make_target_that_is_called_exists():
    targets = set(re.findall(r"\bmake (\w+)", SCRIPTS))

    assert targets == {"check", "environment", "test"}
    for target in targets:
        assert run("make", "--dry-run", target, cwd=ROOT).returncode == 0, target


def test_every_file_that_is_named_exists():
    for name in re.findall(r"--requirement (\S+)", SCRIPTS):
        assert (ROOT / name).exists() or f"> {name}" in SCRIPTS, name
    called = {job["uses"] for _, job in JOBS if "uses" in job}
    assert called == {"./.github/workflows/ci.yml", "./.github/workflows/deploy-environment.yml"}
    assert all((ROOT / name).exists() for name in called)


def test_ci_runs_on_every_python_we_support():
    matrix = WORKFLOWS["ci"]["jobs"]["check"]["strategy"]["matrix"]["python"]

    assert matrix == ["3.11", "3.12", "3.13"]
    assert WORKFLOWS["ci"][True].keys() == {"pull_request", "workflow_call"}  # YAML 1.1 reads the key `on` as true


def test_a_pull_request_sees_what_would_change_and_changes_nothing():
    job = WORKFLOWS["deploy"]["jobs"]["preview"]
    script = "\n".join(step.get("run", "") for step in job["steps"])

    assert "github.event.pull_request.head.repo.full_name == github.repository" in job["if"]
    assert job["runs-on"] == "ubuntu-24.04"
    assert job["environment"] == "${{ matrix.environment }}-preview"
    assert "az deployment group what-if" in script
    assert "deployment group create" not in script


DEPLOY, SMOKE = (WORKFLOWS["deploy-environment"]["jobs"][name] for name in ("deploy", "smoke"))


def _names(job) -> list[str]:
    return [step.get("name") or step.get("uses", step.get("run", "")).partition("@")[0] for step in job["steps"]]


def test_a_deployment_is_infrastructure_then_code_then_smoke_test_one_environment_after_the_other():
    jobs = WORKFLOWS["deploy"]["jobs"]
    named = [step["name"] for job in (DEPLOY, SMOKE) for step in job["steps"] if "name" in step]

    assert [name for name in named if name not in {"packages", "variables"}] == [
        *("infrastructure", "rights", "ledger", "code"),
        "smoke test",
    ]
    assert SMOKE["needs"] == "deploy"
    # With one environment for both, a required reviewer would be asked twice.
    assert DEPLOY["environment"] == "${{ inputs.environment }}"
    assert SMOKE["environment"] == "${{ inputs.environment }}-smoke"
    assert [(jobs[name]["needs"], jobs[name]["with"]) for name in ("dev", "prod")] == [
        ("package", {"environment": "dev"}),
        ("dev", {"environment": "prod"}),
    ]


@pytest.mark.parametrize("job", [DEPLOY, SMOKE], ids=["deploy", "smoke"])
def test_what_comes_from_the_registry_runs_before_anybody_signs_in_and_is_known_by_its_hash(job):
    (packages,) = [step for step in job["steps"] if step.get("name") == "packages"]
    after = job["steps"][_names(job).index("azure/login") :]

    assert _names(job).index("packages") < _names(job).index("azure/login")
    assert "--require-hashes --only-binary :all:" in packages["run"]
    assert not any("pip install" in step.get("run", "") for step in after)


def test_the_smoke_test_signs_in_as_somebody_who_does_not_deploy():
    (deploys,) = [step["with"] for step in DEPLOY["steps"] if "azure/login" in step.get("uses", "")]
    (tests,) = [step["with"] for step in SMOKE["steps"] if "azure/login" in step.get("uses", "")]

    assert (deploys["client-id"], tests["client-id"]) == ("${{ vars.AZURE_CLIENT_ID }}", "${{ vars.SMOKE_CLIENT_ID }}")
    assert "az " not in "".join(step.get("run", "") for step in SMOKE["steps"])


def test_every_package_of_the_pipeline_has_a_hash_and_the_version_that_was_tested():
    def pins(name: str) -> dict[str, str]:
        lines = re.findall(r"^([a-z][\w.-]*)==([^ \n]+)(.*)", (ROOT / name).read_text(), re.MULTILINE)
        return {package: version for package, version, marker in lines if "< '3.13'" not in marker}

    text = (ROOT / "requirements-pipeline.txt").read_text()
    blocks = re.split(r"\n(?=[a-z])", text.partition("make lock\n")[2].strip())

    assert len(blocks) > 50
    assert all("--hash=sha256:" in block for block in blocks)
    assert pins("requirements-pipeline.txt").items() <= pins("requirements-dev.txt").items()
    assert pins("requirements.txt").items() <= pins("requirements-pipeline.txt").items()


def test_every_environment_gets_the_bytes_that_were_built_once():
    jobs = WORKFLOWS["deploy"]["jobs"]
    code = DEPLOY["steps"][_names(DEPLOY).index("code")]["run"]
    built = [name for name, job in JOBS if "package.zip packages" in str(job)]

    assert built == ["deploy: package"]
    assert "--build-remote false" in code
    assert "package.py" not in code
    assert "actions/download-artifact" in _names(DEPLOY)
    assert "ci" in jobs["package"]["needs"]


def test_the_package_and_its_bill_of_materials_are_attested():
    steps = WORKFLOWS["deploy"]["jobs"]["package"]["steps"]
    (attested,) = [step["with"]["subject-path"] for step in steps if "attest-build-provenance" in step.get("uses", "")]

    assert attested.split() == ["package.zip", "sbom.cdx.json"]


def test_who_may_deploy_is_asked_about_what_deploys():
    owners = (ROOT / ".github/CODEOWNERS").read_text()

    for path in ("/infra/", "/.github/", "/requirements*.txt", "/azure.yaml"):
        assert re.search(rf"^{re.escape(path)} +@", owners, re.MULTILINE), path


def test_a_forks_first_push_is_checked_and_deploys_nothing():
    jobs = WORKFLOWS["deploy"]["jobs"]

    assert jobs["package"]["if"].startswith("vars.DEPLOY == 'true' && ")
    assert (jobs["dev"]["needs"], jobs["prod"]["needs"]) == ("package", "dev")  # skipped with it
    assert jobs["preview"]["if"].startswith("vars.DEPLOY == 'true' && ")
    assert "vars.DEPLOY != 'true'" in jobs["nothing"]["if"]
    assert "docs/deploy.md" in jobs["nothing"]["steps"][0]["run"]
    assert "if" not in jobs["ci"] or "DEPLOY" not in jobs["ci"]["if"]


def test_a_push_that_changes_nothing_that_is_deployed_deploys_nothing():
    jobs = WORKFLOWS["deploy"]["jobs"]

    assert jobs["package"]["if"].endswith("&& needs.changes.outputs.deployed == 'true'")
    assert jobs["package"]["needs"] == ["ci", "changes"]
    assert 'infra/changed "$BEFORE" "$AFTER"' in jobs["changes"]["steps"][-1]["run"]
    assert jobs["changes"]["steps"][0]["with"]["fetch-depth"] == 0


@pytest.fixture
def checkout(tmp_path):
    """A checkout, and what commits a change to a file of it and gives the commit."""

    def git(*arguments: str) -> str:
        said = run("git", "-c", "user.name=n", "-c", "user.email=e@example.com", *arguments, cwd=tmp_path)
        assert said.returncode == 0, said.stderr
        return said.stdout.strip()

    def change(name: str) -> str:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
        git("add", "--all")
        git("commit", "--quiet", "--message", name)
        return git("rev-parse", "HEAD")

    git("init", "--quiet")
    return change


def _changed(place, before: str, after: str) -> str:
    ran = run(str(INFRA / "changed"), before, after, cwd=place)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.strip()


@pytest.mark.parametrize("name", ["README.md", "docs/deploy.md", "tests/core/test_a.py", "sandbox/run.py"])
def test_words_and_tests_are_nothing_to_deploy(name, checkout, tmp_path):
    assert _changed(tmp_path, checkout("function_app.py"), checkout(name)) == "false"


@pytest.mark.parametrize(
    "name",
    [
        "host.json",
        "optout_core/events.py",
        "infra/main.bicep",
        ".github/workflows/deploy.yml",
        "requirements.txt",
        "new",
    ],
)
def test_whatever_else_changes_is_deployed(name, checkout, tmp_path):
    before = checkout("function_app.py")
    checkout("docs/deploy.md")

    assert _changed(tmp_path, before, checkout(name)) == "true"


@pytest.mark.parametrize("before", ["", "0" * 40, "1" * 40], ids=["by hand", "the first push", "by force"])
def test_a_commit_that_git_does_not_know_is_something_to_deploy(before, checkout, tmp_path):
    assert _changed(tmp_path, before, checkout("README.md")) == "true"


def test_variables_are_checked_before_anybody_signs_in():
    for job in (WORKFLOWS["deploy"]["jobs"]["preview"], DEPLOY, SMOKE):
        assert _names(job).index("variables") < _names(job).index("azure/login")


def test_each_environment_has_a_parameter_file_and_gives_it_what_it_reads():
    files = {path.stem: path for path in PARAMETER_FILES}
    preview, deploy = WORKFLOWS["deploy"]["jobs"]["preview"], WORKFLOWS["deploy-environment"]["jobs"]["deploy"]
    assert set(preview["strategy"]["matrix"]["environment"]) == set(files)
    for job in (preview, deploy):
        for path in files.values():
            wanted = set(re.findall(r"readEnvironmentVariable\('(\w+)'", path.read_text()))
            assert wanted - {"AZURE_ENV_NAME"} <= set(job["env"]), path.name


def test_a_step_uses_only_outputs_that_the_deployment_has():
    template = (ROOT / "infra/main.bicep").read_text()
    workflow = (ROOT / ".github/workflows/deploy-environment.yml").read_text()
    used = set(re.findall(r"steps\.infrastructure\.outputs\.(\w+)", workflow))
    told = set(re.findall(r'outputs\["(\w+)"\]', (ROOT / "infra/azd.py").read_text()))

    assert used
    assert used | told == set(re.findall(r"^output (\w+)", template, re.MULTILINE))


def test_the_compiler_is_of_one_version_everywhere():
    assert len(set(re.findall(r"az bicep install --version (\S+)", SCRIPTS))) == 1


def test_azd_finds_the_templates_and_the_function():
    project = yaml.safe_load((ROOT / "azure.yaml").read_text())
    infra, service = project["infra"], project["services"]["processor"]

    assert (ROOT / infra["path"] / f"{infra['module']}.bicepparam").exists()
    assert service == {"project": ".", "language": "python", "host": "function"}
    assert "'azd-service-name': 'processor'" in (ROOT / "infra/modules/function.bicep").read_text()


def test_the_image_of_every_runner_is_pinned():
    images = [job.get("runs-on") for workflow in WORKFLOWS.values() for job in workflow["jobs"].values()]

    assert images
    assert not [image for image in images if image and "latest" in image]
