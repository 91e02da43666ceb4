"""Where the deployment's own files are."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
INFRA = ROOT / "infra"
TEMPLATES = sorted([INFRA / "main.bicep", *(INFRA / "modules").glob("*.bicep")])
PARAMETER_FILES = sorted(INFRA.glob("*.bicepparam"))
