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

LOOK = """
<script>
addEventListener("load", () => setTimeout(() => {
  const column = place => [...document.querySelectorAll("#messages tbody tr")].map(
    row => Number(row.cells[place].dataset.order));
  const sorted = {};
  document.querySelectorAll("#messages th").forEach((heading, place) => {
    heading.querySelector("button").click();
    sorted[heading.dataset.column] = [column(place)];
    heading.querySelector("button").click();
    sorted[heading.dataset.column].push(column(place));
  });
  const inks = [...document.querySelectorAll("canvas")].map(canvas => {
    const pixels = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
    return new Set(new Uint32Array(pixels.buffer)).size;
  });
  const seen = {
    sorted, inks, title: document.title,
    width: document.documentElement.scrollWidth, screen: innerWidth,
    dark: matchMedia("(prefers-color-scheme: dark)").matches,
    background: getComputedStyle(document.body).backgroundColor,
    loaded: performance.getEntriesByType("resource").map(entry => entry.name),
  };
  parent.postMessage(JSON.stringify(seen), "*");
}, 200));
</script>
"""
# Chromium's own window is no narrower than 500 pixels.
FRAME = """\
<iframe src="{page}" width="{width}" height="800" style="border: 0"></iframe>
<script>
addEventListener("message", event => {{
  const result = document.createElement("pre");
  result.id = "seen";
  result.textContent = event.data;
  document.body.append(result);
}});
</script>
"""
WIDTHS = {"wide": 1200, "tablet": 768, "phone": 375}


def look(page: Path, width: int, *flags: str) -> dict[str, Any]:
    """Open a page and return what it shows. Fails if the console shows anything."""
    chromium = shutil.which("chromium")
    assert chromium, "Chromium is not installed; on Debian: apt-get install chromium"
    copy, frame = page.with_name("looked-at.html"), page.with_name("frame.html")
    copy.write_text(page.read_text("utf-8") + LOOK, "utf-8")
    frame.write_text(FRAME.format(page=copy.name, width=width), "utf-8")
    command = [
        *(chromium, "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr"),
        *(f"--user-data-dir={page.parent / 'profile'}", "--virtual-time-budget=5000"),
        *("--window-size=1300,900", *flags, "--dump-dom", frame.as_uri()),
    ]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120)
    shown = [line for line in ended.stderr.splitlines() if ":CONSOLE" in line]
    assert not shown
    found = re.search(r'<pre id="seen">(.*?)</pre>', ended.stdout, re.DOTALL)
    assert found, ended.stderr
    seen: dict[str, Any] = json.loads(html.unescape(found[1]))
    return seen


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("screen", WIDTHS)
def test_the_page_is_drawn_fits_and_sorts(screen: str, scheme: str, tmp_path: Path) -> None:
    _, page = write_page(tmp_path)
    preferred = f"--blink-settings=preferredColorScheme={0 if scheme == 'dark' else 1}"
    seen = look(page, WIDTHS[screen], preferred)
    assert seen["title"] == f"Email report: {', '.join(LIST_NAMES)}", (
        "a text of the account was run"
    )
    assert not seen["loaded"]
    assert len(seen["inks"]) == 2 + len(LIST_NAMES)
    assert min(seen["inks"]) > 3, "a chart is blank"
    assert seen["width"] <= seen["screen"] == WIDTHS[screen]
    assert seen["dark"] == (scheme == "dark")
    assert seen["background"] == {"dark": "rgb(18, 22, 29)", "light": "rgb(245, 246, 248)"}[scheme]
    for descending, ascending in seen["sorted"].values():
        assert ascending == sorted(ascending)
        assert descending == sorted(descending, reverse=True)


def test_on_paper_a_page_from_a_dark_screen_is_light(tmp_path: Path) -> None:
    _, page = write_page(tmp_path)
    before = """
<script>
dispatchEvent(new Event("beforeprint"));
</script>
"""
    page.write_text(page.read_text("utf-8") + before, "utf-8")
    seen = look(page, WIDTHS["wide"], "--blink-settings=preferredColorScheme=0")
    assert seen["dark"]
    assert seen["background"] == "rgb(245, 246, 248)"
    assert min(seen["inks"]) > 3, "a chart is blank"


def test_an_error_in_the_console_is_noticed(tmp_path: Path) -> None:
    _, page = write_page(tmp_path)
    page.write_text(page.read_text("utf-8") + "<script>nothing.there</script>", "utf-8")
    with pytest.raises(AssertionError, match="nothing is not defined"):
        look(page, WIDTHS["wide"])
