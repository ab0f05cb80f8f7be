"""The page of a case as a browser shows it, and as hands use it."""

import html
import json
import re

import browser
import numpy as np
import pytest
from case_pages import cell, embedded, maps_of, picture, scan_of, words
from PIL import Image

from dcejax.data import drawing
from dcejax.methods import dcejax2026
from dcejax.runner.case_report.sheets import LEVELS


def test_a_browser_shows_everything_without_a_complaint(content, tmp_path):
    path = tmp_path / "report.html"
    path.write_text(content, encoding="utf-8")
    shown = browser.open_page(path, width=800)
    assert shown.console_errors == []
    assert shown.requests == []
    assert shown.images_loaded == shown.images_total > 30
    assert shown.content_width <= shown.width
    assert 'id="slice-name">4 of 5<' in shown.dom
    image = np.asarray(Image.open(shown.screenshot).convert("RGB"))
    assert len(np.unique(image.reshape(-1, 3), axis=0)) > 50


_HANDS = """
<script>
addEventListener("load", () => {
  const name = () => document.getElementById("slice-name").textContent, told = [];
  const slider = document.getElementById("slice"), boxes = [...document.querySelectorAll(".box")];
  const key = key => document.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true }));
  const wheel = deltaY => boxes[0].dispatchEvent(new WheelEvent("wheel", { deltaY, cancelable: true }));
  key("ArrowRight"); told.push(name());
  told.push(String(wheel(100))); // at the end the page scrolls on
  key("ArrowLeft"); key("ArrowLeft"); told.push(name());
  told.push(String(wheel(-100)), name());
  slider.value = 2; slider.dispatchEvent(new Event("input")); told.push(name());
  const box = boxes[1], area = box.getBoundingClientRect();
  const at = { clientX: area.left + PLACE_X * area.width, clientY: area.top + PLACE_Y * area.height };
  box.dispatchEvent(new PointerEvent("pointermove", at));
  told.push(box.parentElement.querySelector(".value").textContent);
  box.dispatchEvent(new PointerEvent("pointerleave", at));
  told.push(box.parentElement.querySelector(".value").textContent);
  const list = document.createElement("ol");
  list.id = "hands"; list.textContent = JSON.stringify(told);
  document.body.append(list);
});
</script>
"""


def test_keys_wheel_slider_and_pointer(content, tmp_path):
    """The pointer reads the value that the map holds there."""
    z, facts = 3, embedded(content)
    indices, _ = picture(content, "Ktrans (1/min), from 0 to 0.2")
    row, column = np.argwhere(cell(content, indices, z) > 0)[40]
    place = {"PLACE_X": (column + 0.5) / facts["width"], "PLACE_Y": (row + 0.5) / facts["height"]}
    hands = _HANDS
    for name, value in place.items():
        hands = hands.replace(name, f"{value:.6f}")
    path = tmp_path / "report.html"
    path.write_text(content.replace("</body>", f"{hands}</body>"), encoding="utf-8")
    dom = browser.open_page(path).dom
    found = json.loads(html.unescape(re.search('<ol id="hands">(.*?)</ol>', dom)[1]))
    view = drawing.View(scan_of(), z)(maps_of(dcejax2026.OUTPUTS)["median_Ktrans"], masked=True)
    expected = view[~np.isnan(view)][40]
    *slices, value, gone = found
    assert slices == ["5 of 5", "true", "3 of 5", "false", "2 of 5", "4 of 5"]
    assert float(value) == pytest.approx(expected, abs=0.5 * 0.2 / LEVELS + 0.0006)
    assert gone == ""


def test_without_scripts_a_slice_and_all_tables_are_there(content):
    still = content[: content.index("<script")]
    style = re.search(r"--column: (\d+); --row: (\d+);", still)
    facts = embedded(content)
    assert facts["slices"][int(style[1]) + facts["columns"] * int(style[2])] == 4  # that with most segmented voxels
    assert "Slice 4 of 5 (scripts are off" in words(still)
    assert still.count("<table>") == 1
    assert 'class="slider"' in still  # seen only where scripts run
    assert ".slider { display: none !important; }" in still
