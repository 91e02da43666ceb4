#!/usr/bin/env python3
"""Say which variables an environment lacks, all at once, before anything is deployed.

    infra/variables.py check ENVIRONMENT [NAME ...]   those of the parameter file, and the names beside them
    infra/variables.py named NAME [NAME ...]          these and no other
    infra/variables.py ask                            the same for azd, which asks for them at a terminal

What is needed stands in the parameter file alone: whatever it refuses to do without. Absent, empty, blank and a lone
comma are the same. For an environment that is no test environment, .github/CODEOWNERS has to name who is asked before
the pipeline itself changes: while the placeholder stands there GitHub asks nobody, without a word.

Exit codes: 0 all are there, 1 some are missing, 2 usage.
"""

import os
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

_HERE = Path(__file__).parent
_CODE_OWNERS = _HERE.parent / ".github" / "CODEOWNERS"
_PLACEHOLDER = "@OWNER/"
_TEST_ENVIRONMENT = "dev"
_NEEDED = re.compile(r"fail\('([A-Z_]+) is empty or not set\. It takes (.+?)\.'\)")
#: azd asks for these too: nobody could use an environment without them.
_WORTH_ASKING = {
    "PUBLISHER_IDS": "the object ids of who may publish, separated by commas: "
    "`az ad signed-in-user show --query id --output tsv` is yours",
    "OPERATORS_GROUP_ID": "the object id of the Entra group of the operators, or nothing",
}


def needed(environment: str) -> dict[str, str]:
    """Give what the parameter file of an environment cannot do without: what each variable takes, by its name."""
    return dict(_NEEDED.findall((_HERE / f"{environment}.bicepparam").read_text()))


def is_given(value: str | None) -> bool:
    """Tell whether a value says anything."""
    return any(part.strip() for part in (value or "").split(","))


def check(environment: str, others: list[str], variables: Mapping[str, str]) -> list[str]:
    """Give a line for each variable that is missing."""
    return _missing(needed(environment), others, variables)


def unowned(environment: str, owners: Path = _CODE_OWNERS) -> list[str]:
    """Give a line when nobody would be asked about a change of what deploys this environment."""
    text = owners.read_text() if owners.exists() else ""
    named = [line for line in text.splitlines() if "@" in line and not line.lstrip().startswith("#")]
    if environment == _TEST_ENVIRONMENT or (named and not any(_PLACEHOLDER in line for line in named)):
        return []
    return [".github/CODEOWNERS names nobody. It takes the team that may deploy, in the place of @OWNER/deployers."]


def _missing(takes: Mapping[str, str], others: list[str], variables: Mapping[str, str]) -> list[str]:
    return [
        f"{name} is empty or not set." + (f" It takes {takes[name]}." if name in takes else "")
        for name in dict.fromkeys([*takes, *others])
        if not is_given(variables.get(name))
    ]


def ask(variables: Mapping[str, str], answer: Callable[[str], str], keep: Callable[[str, str], None]) -> list[str]:
    """Ask for what azd has not been told, keep the answers, and give a line for each that is still missing."""
    known = dict(variables)
    for name, what in {**needed("dev"), **_WORTH_ASKING}.items():
        if name not in known and (given := answer(f"{name}, {what}: ").strip()):
            known[name] = given
            keep(name, given)
    return check("dev", ["AZURE_RESOURCE_GROUP"], known)


def _keep(name: str, value: str) -> None:
    subprocess.run(["azd", "env", "set", name, value], check=True)  # noqa: S603, S607 - azd called us


def main(arguments: list[str]) -> int:
    """Run the command."""
    unasked: list[str] = []
    match arguments:
        case ["check", environment, *others] if (_HERE / f"{environment}.bicepparam").exists():
            missing, unasked = check(environment, others, os.environ), unowned(environment)
            where = f"Set it for the environment {environment}"
        case ["named", first, *others]:
            missing = _missing({}, [first, *others], os.environ)
            where = "Set it for the environment of this job"
        case ["ask"]:
            missing = ask(os.environ, input if sys.stdin.isatty() else lambda _: "", _keep)
            where = "Set it with `azd env set NAME VALUE`"
        case _:
            sys.stderr.write("usage: infra/variables.py check ENVIRONMENT [NAME ...] | named NAME [NAME ...] | ask\n")
            return 2
    for line in missing:
        sys.stderr.write(f"{line} {where}: docs/deploy.md says what for.\n")
    for line in unasked:
        sys.stderr.write(f"{line} Commit it: docs/deploy.md says what for.\n")
    return 1 if missing or unasked else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
