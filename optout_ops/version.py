"""The version of the command line."""

import importlib.metadata
import tomllib
from pathlib import Path

#: The name of the distribution in pyproject.toml.
_DISTRIBUTION = "acs-opt-in"


def version() -> str:
    """Give the version: that of the checkout, or of the installed distribution."""
    pyproject = Path(__file__).parents[1] / "pyproject.toml"
    if pyproject.exists():
        return str(tomllib.loads(pyproject.read_text(encoding="utf-8"))["project"]["version"])
    return importlib.metadata.version(_DISTRIBUTION)
