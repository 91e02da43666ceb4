"""What the runbook says to do about a reason."""

import re
import sys
from dataclasses import dataclass
from pathlib import Path

_IN_CHECKOUT = Path(__file__).parents[2] / "docs" / "runbook.md"
#: In a checkout, or where pip installed it (pyproject.toml, data-files).
RUNBOOK = _IN_CHECKOUT if _IN_CHECKOUT.exists() else Path(sys.prefix, "share", "acs-opt-in", "runbook.md")

_LINK = re.compile(r"\[([^\]]+)\]\([^)#]+[^)]*\)")
#: A link within the runbook leads nowhere elsewhere.
_SECTION = re.compile(r"\[([^\]]+)\]\(#[^)]*\)")


@dataclass(frozen=True, slots=True)
class Advice:
    """What to do about the dead letters of one reason.

    Attributes:
        text: In words.
        commands: What to type, one command a line.
    """

    text: str
    commands: str


def read_advice(runbook: str, code: str) -> Advice | None:
    """Give the advice of the section about a reason; None when there is no such section.

    Args:
        runbook: The text of docs/runbook.md.
        code: The reason code.
    """
    found = re.search(rf"^### {re.escape(code)}\n(.*?)(?=^#{{2,3}} |\Z)", runbook, re.MULTILINE | re.DOTALL)
    if found is None:
        return None
    section = found[1]
    commands = "".join(re.findall(r"```sh\n(.*?)```", section, re.DOTALL)).strip()
    words = re.sub(r"```.*?```", "", section, flags=re.DOTALL)
    paragraphs = [" ".join(each.split()) for each in words.split("\n\n") if each.strip()]
    told = [each for each in paragraphs if each.startswith("**Replay")] or paragraphs[:1]
    text = _SECTION.sub(r"\1 (docs/runbook.md)", _LINK.sub(r"\1", " ".join(told)))
    return Advice(text.replace("*", "").replace("`", ""), commands)
