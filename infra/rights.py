#!/usr/bin/env python3
"""Say who has a right on the namespace or its queues that nobody named, and how to take it away.

    infra/rights.py NAMESPACE_ID PRINCIPAL [PRINCIPAL ...]

A principal is an object id; several may be joined by commas, and empty ones are left out. Whoever has a right directly
on the namespace or a queue must be among them. What comes from the resource group or above is not looked at: that is
given and taken by whoever manages the subscription.

Exit codes: 0 nobody else, 1 somebody else, 2 usage, 4 Azure cannot be asked.
"""

import json
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

_QUEUES = json.loads(Path(__file__).with_name("queues.json").read_text())

Ask = Callable[[str], list[dict[str, Any]]]


def scopes(namespace: str) -> list[str]:
    """Give what has rights of its own: the namespace and each queue."""
    return [namespace, *(f"{namespace}/queues/{queue['name']}" for queue in _QUEUES.values())]


def unnamed(namespace: str, named: Iterable[str], ask: Ask) -> list[dict[str, Any]]:
    """Give the assignments of principals that nobody named."""
    known = {part.strip().lower() for each in named for part in each.split(",")} - {""}
    found = [
        (scope, assignment)
        for scope in scopes(namespace)
        for assignment in ask(scope)
        # Azure gives what is inherited too unless asked not to; the scope says which is which.
        if assignment["scope"].lower() == scope.lower()
    ]
    return [assignment for _, assignment in found if assignment["principalId"].lower() not in known]


def sentence(assignment: dict[str, Any]) -> str:
    """Say who may do what where, and the command that ends it."""
    who = assignment.get("principalName") or assignment["principalId"]
    what, where = assignment.get("roleDefinitionName"), assignment["scope"].rpartition("/")[2]
    return (
        f"{who} ({assignment['principalId']}) is {what} on {where}, and nobody named it:\n"
        f"  az role assignment delete --ids {assignment['id']}"
    )


def _ask_azure(scope: str) -> list[dict[str, Any]]:
    command = ["az", "role", "assignment", "list", "--scope", scope, "--output", "json"]
    answer = subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603 - az signs in for us
    assignments: list[dict[str, Any]] = json.loads(answer.stdout)
    return assignments


def main(arguments: list[str], ask: Ask = _ask_azure) -> int:
    """Run the command."""
    if len(arguments) < 2 or not arguments[0].startswith("/subscriptions/"):  # noqa: PLR2004 - a namespace, a principal
        sys.stderr.write("usage: infra/rights.py NAMESPACE_ID PRINCIPAL [PRINCIPAL ...]\n")
        return 2
    try:
        others = unnamed(arguments[0], arguments[1:], ask)
    except (OSError, subprocess.CalledProcessError) as error:
        said = (getattr(error, "stderr", None) or str(error)).strip()
        sys.stderr.write(f"cannot ask Azure who has which right: {said}\n")
        return 4
    for assignment in others:
        sys.stderr.write(f"{sentence(assignment)}\n")
    return 1 if others else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
