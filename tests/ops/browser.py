"""A page in Chromium without a screen: what axe finds there, whether it fits, and a picture of it."""

import html
import json
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

#: A browser that can be driven without a screen.
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
_MODULES = Path(os.environ.get("AXE_MODULES", Path(__file__).parents[2] / "node_modules"))
#: https://github.com/dequelabs/axe-core; `npm install axe-core`.
AXE = _MODULES / "axe-core" / "axe.min.js"

_OPTIONS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--hide-scrollbars",
)  # fmt: skip
#: Chromium's own way to say that its user likes it dark.
_DARK = "--blink-settings=preferredColorScheme=0"
#: No window of Chromium is narrower than this; what is narrower stands in a frame.
_WINDOW = 500
_FRAME = """<!doctype html><html lang="en"><meta name="color-scheme" content="light dark"><title>frame</title>
<body style="margin:0"><iframe title="page" style="border:0;display:block;width:{width}px;height:{height}px"
srcdoc="{page}"></iframe><pre hidden id="seen"></pre><script>{script}</script>"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What a browser shows of a page.

    Attributes:
        mode: What the page's media query answers: `dark` or `light`.
        width: How wide its content is, in CSS pixels.
        height: How high.
        violations: What axe finds, or None when axe is not at hand.
    """

    mode: str
    width: int
    height: int
    violations: list[object] | None


def look(page, place, *, width, mode):
    """Open a page and look at it.

    Args:
        page: The page's text.
        place: A folder for what the browser needs.
        width: Of the page, in CSS pixels; a phone has some 390.
        mode: `light` or `dark`.
    """
    axe = AXE.read_text(encoding="utf-8") if AXE.exists() else ""
    script = Path(__file__).with_name("axe.js").read_text(encoding="utf-8").replace("AXE", json.dumps(axe))
    frame = _write(place, page, width, 600, script.replace("</", "<\\/"))
    shown = _browse(place, frame, mode, "--dump-dom", "--virtual-time-budget=20000")
    said = re.search(r'id="seen">(.*?)</pre>', shown, re.DOTALL)
    assert said, shown[-2000:]
    return Seen(**json.loads(html.unescape(said[1])))


def take_picture(page, place, picture, seen, *, width):
    """Take a picture of the whole page that was looked at."""
    frame = _write(place, page, width, seen.height, "")
    _browse(place, frame, seen.mode, f"--screenshot={picture}", f"--window-size={max(width, _WINDOW)},{seen.height}")


def _write(place, page, width, height, script):
    frame = place / "frame.html"
    frame.write_text(_FRAME.format(width=width, height=height, page=html.escape(page), script=script), encoding="utf-8")
    return frame


def _browse(place, frame, mode, *options):
    profile = place / "browser"
    dark = [_DARK] if mode == "dark" else []
    done = subprocess.run(
        [str(BROWSER), *_OPTIONS, *dark, f"--user-data-dir={profile}", *options, frame.as_uri()],
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    return done.stdout
