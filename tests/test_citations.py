"""What the code cites is in the repository: every page named in a comment exists, and so does every heading.

A citation is the page's path from the root, alone, with a heading in quotes, or with the anchor of one:

    docs/facts/acs-optouts.md, "Signing"
    docs/runbook.md#breaker-open
"""

import ast
import io
import re
import tokenize
from collections.abc import Iterable, Iterator
from pathlib import Path
from subprocess import run

import pytest

ROOT = Path(__file__).parents[1]

#: A page, and where it is named with a heading in quotes or an anchor, that too. What has a scheme is on the web.
CITATION = re.compile(
    r'(?<![\w/.:-])(?P<page>(?:[\w.-]+/)*[\w.-]+\.md)\b(?:#(?P<anchor>[\w-]+)|, "(?P<heading>[^"]+)")?'
)
#: A document that is not named, or a section of one.
NAMELESS = re.compile(r"\b[Tt]he design (?:says|names|asks)|\b(?:of|as) the design\b|(?<!, )\(section \d")


def tracked(*patterns: str) -> list[Path]:
    """Give the files that git knows by patterns such as `*.py`."""
    listing = run(["git", "ls-files", *patterns], cwd=ROOT, capture_output=True, text=True, check=True)  # noqa: S607 - git is git
    return [ROOT / name for name in listing.stdout.splitlines()]


def passages(path: Path) -> Iterator[str]:
    """Give what a file tells its reader, each passage on one line: of Python its docstrings and comments, else all."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".py":
        yield from (on_one_line(passage) for passage in (*docstrings(text), *comments(text)))
    else:
        yield on_one_line(re.sub(r"^\s*(?:#|//)", "", text, flags=re.MULTILINE))


def docstrings(source: str) -> Iterator[str]:
    """Give every string that stands alone as a statement."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            yield node.value.value


def comments(source: str) -> Iterator[str]:
    """Give the comments, those of successive lines as one."""
    block: list[str] = []
    last = 0
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            if token.start[0] != last + 1:
                yield " ".join(block)
                block = []
            block.append(token.string.lstrip("#: "))
            last = token.start[0]
    yield " ".join(block)


def on_one_line(text: str) -> str:
    return " ".join(text.split())


def headings(page: Path) -> set[str]:
    """Give the headings of a page, without code marks."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    return {heading.replace("`", "") for heading in re.findall(r"^#+ (.+)$", text, re.MULTILINE)}


def anchor(heading: str) -> str:
    """Give a heading's anchor as GitHub makes it: lower case, blanks as dashes, punctuation left out."""
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


def wrong_citations(passages: Iterable[str], root: Path = ROOT) -> Iterator[str]:
    """Give each citation that leads nowhere, and why."""
    for passage in passages:
        for found in NAMELESS.finditer(passage):
            yield f"{found.group()}: names no page"
        for found in CITATION.finditer(passage):
            page = root / found["page"]
            if not page.is_file():
                yield f"{found.group()}: no such page"
            elif found["heading"] and found["heading"].replace("`", "") not in headings(page):
                yield f"{found.group()}: no such heading"
            elif found["anchor"] and found["anchor"] not in map(anchor, headings(page)):
                yield f"{found.group()}: no such anchor"


SOURCES = tracked("*.py", "*.bicep", "*.bicepparam", "*.yml", "*.yaml", "Makefile", ".ci/run", "infra/lint")


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_what_a_file_cites_exists(path):
    assert list(wrong_citations(passages(path))) == []


@pytest.mark.parametrize("page", tracked("*.md"), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_link_to_a_heading_finds_it(page):
    linked = re.findall(r"\]\((?!https?:)([^)#]*)#([^)]+)\)", page.read_text(encoding="utf-8"))
    targets = [(page.parent / name if name else page, fragment) for name, fragment in linked]

    assert [
        f"{path.name}#{fragment}" for path, fragment in targets if fragment not in map(anchor, headings(path))
    ] == []


#: Pages that describe the tree; a path in code marks is of a file or folder that exists.
DESCRIPTIONS = ("CONTRIBUTING.md", "SECURITY.md", "docs/design.md")


@pytest.mark.parametrize("page", DESCRIPTIONS)
def test_every_path_that_a_description_names_exists(page):
    named = re.findall(r"`((?:[\w.-]+/)+[\w.-]*|[\w.-]+\.(?:py|md|toml|json))`", (ROOT / page).read_text("utf-8"))
    made_by_hand = {"local.settings.json"}

    assert named
    assert [name for name in named if name not in made_by_hand and not (ROOT / name).exists()] == []


@pytest.fixture
def shelf(tmp_path: Path) -> Path:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "a.md").write_text("# A page\n\n## The `x` of y\n\n```\n# no heading\n```\n", encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize(
    "passage",
    [
        "see docs/a.md",
        'in docs/a.md, "The x of y".',
        'in docs/a.md, "The `x` of y" and elsewhere',
        "docs/a.md#the-x-of-y",
        "https://example.org/spec/b.md#any, section 3",
        "Source: https://example.org/amqp.html, section 2.4",
        "the design of this test",
    ],
)
def test_a_citation_that_leads_somewhere_is_right(shelf, passage):
    assert list(wrong_citations([passage], shelf)) == []


@pytest.mark.parametrize(
    ("passage", "problem"),
    [
        ("see docs/b.md for more", "docs/b.md: no such page"),
        ("see a.md", "a.md: no such page"),
        ("(facts/a.md, section 1)", "facts/a.md: no such page"),
        ('docs/a.md, "no heading"', 'docs/a.md, "no heading": no such heading'),
        ("docs/a.md#x-of-y", "docs/a.md#x-of-y: no such anchor"),
        ("must not become %3A (section 3)", "(section 3: names no page"),
        ("row by row of the design.", "of the design: names no page"),
    ],
)
def test_a_citation_that_leads_nowhere_is_told(shelf, passage, problem):
    assert list(wrong_citations([passage], shelf)) == [problem]


def test_comments_and_docstrings_are_read_across_their_lines(shelf):
    source = shelf / "a.py"
    source.write_text(
        '"""Says docs/b.md,\n"One"."""\n'
        "X = 'docs/not-cited.md'  # (docs/c.md,\n"
        '# "Two")\n'
        "\n"
        "#: docs/d.md\n"
        "Y = 1\n"
        '"""docs/e.md of Y."""\n',
        encoding="utf-8",
    )

    assert list(wrong_citations(passages(source), shelf)) == [
        'docs/b.md, "One": no such page',
        "docs/e.md: no such page",
        'docs/c.md, "Two": no such page',
        "docs/d.md: no such page",
    ]


def test_a_file_that_is_no_python_is_read_whole(shelf):
    source = shelf / "a.bicep"
    source.write_text("metadata description = 'docs/b.md#one'\n// docs/c.md,\n// \"Two\"\n", encoding="utf-8")

    assert list(wrong_citations(passages(source), shelf)) == [
        "docs/b.md#one: no such page",
        'docs/c.md, "Two": no such page',
    ]
