"""`optout report`: a page that anybody can open and read, and that tells nobody's number."""

import json
import os
import re
import shutil
import subprocess
from dataclasses import replace
from datetime import timedelta
from html.parser import HTMLParser
from pathlib import Path

import pytest

from optout_core.reasons import Reason
from optout_ops.report.runbook import RUNBOOK, read_advice
from optout_ops.report.style import STYLE
from tests.build import NOW, OTHER, PERSON, canonical, dead_letter, wire
from tests.ops.command_line import QUICK

#: A browser that can be driven without a screen.
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
#: A folder with axe-core and jsdom: npm install axe-core jsdom.
AXE = Path(os.environ.get("AXE_MODULES", Path(__file__).parents[2] / "node_modules"))


@pytest.fixture
def page(desk, place):
    """The page of a bad day, as text."""

    def of(*letters, **options):
        desk.put(*letters)
        if options.get("replay"):
            desk.dlq("replay", *QUICK)
        said = desk("report", "-o", place / "report.html")
        assert said.code == 0, said
        return (place / "report.html").read_text(encoding="utf-8")

    return of


def bad_day():
    return [
        *(replace(dead_letter(n), enqueued_at=NOW - timedelta(hours=n % 30)) for n in range(1, 60)),
        dead_letter(60, "RecipientRejected", PERSON, OTHER, name="call +15555555551 <script>alert(1)</script>"),
        dead_letter(61, "ProcessingError"),
        dead_letter(62, "", body=b"{not JSON +15555555553"),
        dead_letter(63, "<b>Bad</b> &amp; \x1b[31m +15555555554"),
    ]


def words(html):
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", html))


def test_it_tells_what_waits_what_is_dead_what_was_replayed_and_what_to_do(page):
    text = words(page(*bad_day(), replay=True))

    assert "it is still happening" in text
    assert "What is waiting" in text
    assert "urn:test" in text
    assert re.search(r"20\d{6}T\d{6}Z-[0-9a-f]{6} .* done", text)
    assert "optout dlq plan --reason RecipientRejected -o plan.jsonl" in text
    assert "Replay: after a fix." in text


def test_no_number_and_no_text_of_others_is_in_it_as_it_came(page):
    html = page(*bad_day())

    assert not re.search(r"555555555[1-4]", html)
    assert "<script" not in html
    assert "<b>Bad" not in html
    assert "\x1b" not in html


def test_it_needs_no_network_and_is_small_however_much_happened(page):
    many = [dead_letter(n, f"Reason{n}", body=wire(canonical(source=f"https://shop-{n}.example/" + "x" * 900)))
            for n in range(1, 1_500)]  # fmt: skip

    html = page(*many)

    assert len(html.encode()) < 300_000
    assert "more publishers are not listed" in html
    assert not re.search(r"""(?:src|href|url\(|@import|<link|<script)""", html)


def test_when_nothing_is_dead_it_says_so(page):
    text = words(page())

    assert "There are no dead letters." in text
    assert "Nothing to do." in text


def test_no_file_is_written_over(desk, place):
    (place / "report.html").write_text("mine")

    assert desk("report", "-o", place / "report.html").code == 2
    assert (place / "report.html").read_text() == "mine"


@pytest.mark.parametrize("reason", Reason)
def test_the_runbook_gives_advice_about_every_reason(reason):
    advice = read_advice(RUNBOOK.read_text(), reason.value)

    assert advice is not None
    assert advice.text.startswith(f"Replay: {reason.replay}")
    assert advice.commands.startswith("optout ")
    assert not re.search(r"[\[`*]", advice.text)


# --- can everybody read it? ----------------------------------------------------------------------------------------


class Outline(HTMLParser):
    """What a program that reads a page aloud goes by."""

    def __init__(self):
        super().__init__()
        self.open, self.headings, self.problems, self.landmarks = [], [], [], set()

    def handle_starttag(self, tag, attrs):
        facts = dict(attrs)
        self.landmarks.add(tag)
        if re.fullmatch("h[1-6]", tag):
            self.headings.append(int(tag[1]))
        if tag == "th" and "scope" not in facts:
            self.problems.append("a heading of a table without scope")
        if tag == "svg" and not (facts.get("role") == "img" and facts.get("aria-label")):
            self.problems.append("a picture without a name")
        if tag == "html" and not facts.get("lang"):
            self.problems.append("no language")
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        """Nothing is read aloud of a line."""

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.problems.append(f"</{tag}> closes nothing")


def test_a_program_that_reads_aloud_finds_its_way(page):
    outline = Outline()

    outline.feed(page(*bad_day(), replay=True))

    assert outline.problems == []
    assert outline.open == []
    assert {"header", "main", "footer", "title", "caption"} <= outline.landmarks
    assert outline.headings[0] == 1
    assert outline.headings.count(1) == 1
    assert all(b - a <= 1 for a, b in zip(outline.headings, outline.headings[1:], strict=False))


def luminance(colour):
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (each / 12.92 if each <= 0.04045 else ((each + 0.055) / 1.055) ** 2.4 for each in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one, other):
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("mode", [0, 1], ids=["light", "dark"])
def test_text_and_bars_stand_out_from_what_is_behind_them(mode):
    colours = dict(re.findall(r"--(\w+):(#[0-9a-f]{6})", STYLE.split("@media (prefers-color-scheme:dark)")[mode]))

    texts = {name: contrast(colours[name], colours["back"]) for name in ("text", "soft", "good", "bad", "unknown")}
    bars = {name: contrast(colours[name], colours["back"]) for name in (f"c{n}" for n in range(6))}

    assert {name: ratio for name, ratio in texts.items() if ratio < 4.5} == {}
    assert {name: ratio for name, ratio in bars.items() if ratio < 3} == {}
    assert contrast(colours["text"], colours["card"]) >= 4.5


@pytest.mark.skipif(
    not ((AXE / "axe-core").exists() and (AXE / "jsdom").exists() and shutil.which("node")),
    reason="needs node, axe-core and jsdom: npm install axe-core jsdom, or AXE_MODULES",
)
def test_axe_finds_nothing_to_complain_of(page, place):
    page(*bad_day(), replay=True)

    said = subprocess.run(
        ["node", Path(__file__).parent / "axe.js", AXE, place / "report.html"],  # noqa: S607
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip

    assert json.loads(said.stdout) == []


@pytest.mark.skipif(BROWSER is None, reason="needs chromium or google-chrome")
@pytest.mark.parametrize("mode", ["light", "dark"])
def test_a_browser_shows_it_by_day_and_by_night(page, place, mode):
    page(*bad_day(), replay=True)
    picture = Path(os.environ.get("SCREENSHOTS", place)) / f"report-{mode}.png"
    dark = ["--force-dark-mode", "--blink-settings=preferredColorScheme=0"] if mode == "dark" else []

    options = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--window-size=1000,2400", *dark]
    subprocess.run(
        [str(BROWSER), *options, f"--screenshot={picture}", (place / "report.html").as_uri()],
        capture_output=True,
        check=True,
        timeout=60,
    )

    assert picture.read_bytes().startswith(b"\x89PNG")
    assert picture.stat().st_size > 20_000
