"""A page as a real browser shows it: its DOM, its complaints, what it loaded, and a picture of it.

The browser is Chromium without a window: $DCEJAX_BROWSER, or the first of its usual names on the path. Tests that need
it are skipped where there is none.
"""

import base64
import json
import os
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
SECONDS = 60  # of one start

_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--enable-logging=stderr",
    "--virtual-time-budget=5000",
)
# Stands at the end of a copy of the page, in a frame, and sends what it finds to the page around.
_PROBE = """
<script>
addEventListener("load", () => {
  const root = document.documentElement, images = [...document.images];
  parent.postMessage({
    dom: root.outerHTML,
    images_total: images.length,
    images_loaded: images.filter(image => image.complete && image.naturalWidth > 0).length,
    width: innerWidth,
    content_width: root.scrollWidth,
    measured: MEASURE,
    requests: performance.getEntriesByType("resource").map(entry => entry.name).filter(name => !/^data:/.test(name)),
  }, "*");
});
</script>
"""
# A frame is as narrow as it is told to be; a window is not.
_AROUND = """<!DOCTYPE html>
<script>
addEventListener("message", event => {
  const found = document.createElement("pre");
  found.textContent = btoa(unescape(encodeURIComponent(JSON.stringify(event.data))));
  document.body.append(found);
});
</script>
<body><iframe src="probed.html" width="WIDTH" height="HEIGHT" style="border: 0"></iframe></body>
"""


@dataclass(frozen=True)
class Page:
    """What became of a page."""

    dom: str  # serialised after loading
    console_errors: list[str]  # all that the browser wrote to the console of the page
    images_total: int
    images_loaded: int  # those that could be decoded
    width: int  # of the window, CSS pixels
    content_width: int  # more than `width` if the page must be scrolled sideways
    requests: list[str]  # addresses it asked for
    measured: Any  # value of the expression that was asked for
    screenshot: Path


def find() -> str:
    """Path of the browser; skips the test if there is none."""
    chosen = os.environ.get("DCEJAX_BROWSER")
    path = shutil.which(chosen) if chosen else next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        pytest.skip(f"no browser found ({chosen or ', '.join(NAMES)}); install chromium or set DCEJAX_BROWSER")
    return path


def open_page(path: Path, *, width: int = 1280, height: int = 2000, dark: bool = False, measure: str = "null") -> Page:
    """Open a file twice: as it is, for its console and picture, and with a script that asks what was loaded.

    The second is a copy whose Content-Security-Policy is taken out, because it would stop the script. `measure` is an
    expression of JavaScript that is evaluated in it.
    """
    folder = Path(tempfile.mkdtemp(prefix="browser-", dir=path.parent))
    screenshot = folder / "page.png"
    look = [f"--window-size={width},{height}", *(["--blink-settings=preferredColorScheme=0"] if dark else [])]
    _, console = _start(folder, [*look, f"--screenshot={screenshot}"], path)
    source = re.sub(r"<meta http-equiv=\"Content-Security-Policy\"[^>]*>", "", path.read_text(encoding="utf-8"))
    (folder / "probed.html").write_text(
        source.replace("</body>", f"{_PROBE.replace('MEASURE', measure)}</body>"), encoding="utf-8"
    )
    around = folder / "around.html"
    around.write_text(_AROUND.replace("WIDTH", str(width)).replace("HEIGHT", str(height)), encoding="utf-8")
    output, _ = _start(folder, [*look, "--dump-dom"], around)
    found = re.search("<pre>(.*?)</pre>", output)
    assert found, f"{path}: the page did not finish loading, the browser wrote {output[:500]!r}"
    return Page(console_errors=console, screenshot=screenshot, **json.loads(base64.b64decode(found[1])))


def _start(folder: Path, flags: list[str], page: Path) -> tuple[str, list[str]]:
    """Output of the browser and what the page's console said."""
    command = [find(), *_FLAGS, f"--user-data-dir={folder / 'profile'}", *flags, page.resolve().as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=True)
    return done.stdout, [line for line in done.stderr.splitlines() if ":CONSOLE" in line]
