"""The page that examples/report makes, opened in a real browser: Debian's chromium."""

import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.support.report import LIST_NAMES, write_page

# Chromium's own window is no narrower than 500 pixels, so the page is opened in a frame.
FRAME = """
<iframe src="looked-at.html" width="{width}" height="800" style="border: 0"></iframe>
<script>
addEventListener("message", event => document.body.append(
  Object.assign(document.createElement("pre"), {{id: "seen", textContent: event.data}})));
</script>
"""
LOOK = """
<script>
addEventListener("load", () => setTimeout(() => {
  const sorted = [...document.querySelectorAll("#messages th")].flatMap((heading, place) =>
    [1, 2].map(() => {
      heading.querySelector("button").click();
      return [...document.querySelectorAll("#messages tbody tr")].map(
        row => Number(row.cells[place].dataset.order));
    }));
  const inks = [...document.querySelectorAll("canvas")].map(canvas => {
    const pixels = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
    return new Set(new Uint32Array(pixels.buffer)).size;
  });
  parent.postMessage(JSON.stringify({
    sorted, inks, title: document.title,
    width: document.documentElement.scrollWidth, screen: innerWidth,
    background: getComputedStyle(document.body).backgroundColor,
    loaded: performance.getEntriesByType("resource").map(entry => entry.name),
  }), "*");
}, 200));
</script>
"""
DARK, LIGHT = "rgb(18, 22, 29)", "rgb(245, 246, 248)"


def look(folder: Path, width: int, *, is_dark: bool, script: str = "") -> dict[str, Any]:
    """Open a page and return what it shows. Fails if the console shows anything."""
    chromium = shutil.which("chromium")
    assert chromium, "Chromium is not installed; on Debian: apt-get install chromium"
    _, page = write_page(folder)
    frame = folder / "frame.html"
    frame.write_text(FRAME.format(width=width), "utf-8")
    (folder / "looked-at.html").write_text(page.read_text("utf-8") + script + LOOK, "utf-8")
    command = [
        *(chromium, "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr"),
        *(f"--user-data-dir={folder / 'profile'}", "--virtual-time-budget=5000"),
        f"--blink-settings=preferredColorScheme={0 if is_dark else 1}",
        *("--window-size=1300,900", "--dump-dom", frame.as_uri()),
    ]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert not [line for line in ended.stderr.splitlines() if ":CONSOLE" in line]
    found = re.search(r'<pre id="seen">(.*?)</pre>', ended.stdout, re.DOTALL)
    assert found, ended.stderr
    seen: dict[str, Any] = json.loads(html.unescape(found[1]))
    return seen


@pytest.mark.parametrize("is_dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1200, 768, 375])
def test_the_page_is_drawn_fits_and_sorts(width: int, is_dark: bool, tmp_path: Path) -> None:
    seen = look(tmp_path, width, is_dark=is_dark)
    assert seen["title"].endswith(", ".join(LIST_NAMES)), "a text of the account was run"
    assert not seen["loaded"]
    assert len(seen["inks"]) == 2 + len(LIST_NAMES)
    assert min(seen["inks"]) > 3, "a chart is blank"
    assert seen["width"] <= seen["screen"] == width
    assert seen["background"] == (DARK if is_dark else LIGHT)
    for descending, ascending in zip(seen["sorted"][::2], seen["sorted"][1::2], strict=True):
        assert ascending == sorted(ascending)
        assert descending == sorted(descending, reverse=True)


def test_on_paper_a_page_from_a_dark_screen_is_light(tmp_path: Path) -> None:
    before = '<script>dispatchEvent(new Event("beforeprint"));</script>'
    seen = look(tmp_path, 1200, is_dark=True, script=before)
    assert seen["background"] == LIGHT
    assert min(seen["inks"]) > 3, "a chart is blank"
