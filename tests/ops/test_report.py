"""`optout report`: a page that anybody can open and read, and that tells nobody's number."""

import os
import re
from datetime import timedelta
from html.parser import HTMLParser
from pathlib import Path

import pytest
from msgspec.structs import replace

from optout_core.outgoing import Queue
from optout_core.reasons import Reason
from optout_ops.report.runbook import RUNBOOK, read_advice
from optout_ops.report.style import STYLE
from tests.build import NOW, OTHER, PERSON, canonical, dead_letter, wire
from tests.ops.browser import BROWSER, look, take_picture
from tests.ops.command_line import QUICK


@pytest.fixture
def page(desk, place):
    """The page of a bad day, as text."""

    def of(*letters, **options):
        if letters:
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

    assert "It is still happening." in text
    assert "What is waiting" in text
    assert "urn:test" in text
    assert re.search(r"20\d{6}T\d{6}Z-[0-9a-f]{6} done 59", text)
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
    assert not re.search(r"""(?:src|href=(?!"#)|url\(|@import|<link|<script)""", html)


def test_when_nothing_is_dead_it_says_so(page):
    text = words(page())

    assert "There are no dead letters." in text
    assert "nothing to replay" in text


def test_the_first_line_says_whether_it_is_over(page):
    text = words(page(replace(dead_letter(1), enqueued_at=NOW - timedelta(hours=2))))

    assert "It has stopped. No dead letter in the last 15 minutes; 1 wait for somebody." in text


def test_what_does_not_work_stands_above_everything_else(desk, page):
    waiting = replace(dead_letter(1), enqueued_at=NOW - timedelta(hours=2))
    desk.queues.messages[Queue.OPT_INS].append(waiting)

    header = words(page().partition("</header>")[0])

    assert "There are no dead letters. Function. 1 message ready, the first since 2 h: it does not take them" in header


def test_dead_letters_of_other_programs_have_the_commands_that_find_them(page):
    html = page(*bad_day())

    assert "optout dlq list --reason &#x27;(foreign)&#x27;\noptout dlq list --reason &#x27;(none)&#x27;" in html


def test_a_section_of_the_runbook_is_named_with_the_runbook(page):
    assert "The fix is in endpoint-refuses (docs/runbook.md)." in words(page(dead_letter(1, "RequestRefused")))


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


def incident():
    """Dead letters of a night: an outage that began hours ago, a refusal that began just now, some of another kind."""
    outage = [(n, "RetriesExhausted", 60 * (n % 9) + 20) for n in range(1, 90)]
    refusal = [(n, "RequestRefused", n % 40) for n in range(100, 160)]
    few = [(200, "StillOptedOut", 1_900), (201, "StaleOptIn", 700), (202, "RecipientRejected", 400), (203, "", 90)]
    return [
        replace(
            dead_letter(n, reason, body=wire(canonical(f"+1555555{n:04}", source=f"urn:shop-{n % 3}"))),
            enqueued_at=NOW - timedelta(minutes=minutes),
        )
        for n, reason, minutes in outage + refusal + few
    ]  # fmt: skip


def of_others():
    """Dead letters whose texts are long, of no one language, and meant to be read as a part of the page."""
    names = (
        "W" * 300,
        "<script>alert(1)</script>" * 20,
        "\u202egnol " * 60,
        "ﷺ" * 90,
        "&lt;b&gt;" * 30,
        "\x1b[31m" * 40,
    )
    return [
        dead_letter(n, names[n % 6] + str(n), body=wire(canonical(source=names[n % 5] + str(n), id=names[n % 4])))
        for n in range(1, 40)
    ]  # fmt: skip


PAGES = {"empty": [], "incident": incident(), "of-others": of_others()}


@pytest.mark.skipif(BROWSER is None, reason="needs chromium or google-chrome")
@pytest.mark.parametrize("mode", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1000], ids=["phone", "desktop"])
@pytest.mark.parametrize("which", PAGES)
def test_in_a_browser_it_fits_and_axe_finds_nothing_to_complain_of(desk, place, which, width, mode):
    html = night(desk, place, PAGES[which])

    seen = look(html, place, width=width, mode=mode)

    assert seen.mode == mode
    assert seen.width <= width
    assert seen.violations in ([], None)
    if seen.violations is None:
        pytest.skip("axe was not asked: npm install axe-core, or AXE_MODULES")


@pytest.mark.skipif(BROWSER is None, reason="needs chromium or google-chrome")
@pytest.mark.parametrize("mode", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1000], ids=["phone", "desktop"])
def test_a_picture_of_it_can_be_taken(desk, place, width, mode):
    html = night(desk, place, PAGES["incident"])
    picture = Path(os.environ.get("SCREENSHOTS", place)) / f"report-{width}-{mode}.png"

    take_picture(html, place, picture, look(html, place, width=width, mode=mode), width=width)

    assert picture.read_bytes().startswith(b"\x89PNG")
    assert picture.stat().st_size > 20_000


def night(desk, place, letters):
    """The page of a night in which a few dead letters were replayed already, as text."""
    desk.put(*letters)
    if any(letter.sequence_number == 200 for letter in letters):
        assert desk.dlq("replay", "--reason", "StillOptedOut", "--note", "ACS says it is mended", *QUICK).code == 0
    assert desk("report", "-o", place / "report.html").code == 0
    return (place / "report.html").read_text(encoding="utf-8")
