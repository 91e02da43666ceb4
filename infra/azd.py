#!/usr/bin/env python3
"""After azd has made the resources: write local.settings.json, and say what to do next.

azd puts the outputs of the deployment into the environment of its hooks. A local.settings.json that is there is left
alone.
"""

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path

_ROOT = Path(__file__).parents[1]


def local_settings(outputs: Mapping[str, str]) -> str:
    """Give the settings of a function on this machine that works on the queues of the deployment."""
    sample = json.loads((_ROOT / "local.settings.sample.json").read_text())
    values = sample["Values"] | {
        "ACS_ENDPOINT": outputs["acsEndpoint"],
        "ServiceBusConnection__fullyQualifiedNamespace": outputs["serviceBusNamespace"],
        "ALLOWED_SENDERS": outputs.get("ALLOWED_SENDERS", ""),
    }
    return json.dumps({"IsEncrypted": False, "Values": values}, indent=2) + "\n"


def next_steps(outputs: Mapping[str, str]) -> str:
    """Say what to do with what was made."""
    namespace, application = outputs["serviceBusNamespace"], outputs["applicationInsightsAppId"]
    return f"""
What was made: {outputs["functionAppName"]}, reading from {namespace}. Rights take up to ten minutes to count.

  optout doctor --namespace {namespace}
  infra/smoke.py --namespace {namespace} --application {application} --recipient +1…

The first says whether you may look at the queues and how they are set; the second publishes one opt-in and waits for
what becomes of it. local.settings.json makes a function on this machine work on the same queues: stop one of the two.
"""


def main(target: Path = _ROOT / "local.settings.json") -> int:
    """Run the hook; exit codes: 0 done, 1 not called by azd."""
    try:
        settings, steps = local_settings(os.environ), next_steps(os.environ)
    except KeyError as error:
        sys.stderr.write(f"azd did not pass the output {error}: run this as a hook of azd\n")
        return 1
    if not target.exists():
        target.write_text(settings)
    sys.stdout.write(steps)
    return 0


if __name__ == "__main__":
    sys.exit(main())
