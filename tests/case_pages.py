"""A case small enough to be told on a page in a moment, and what can be read from the page."""

import base64
import html
import io
import json
import re
from html.parser import HTMLParser

import numpy as np
import scans
from PIL import Image

from dcejax.methods import dcejax2026
from dcejax.runner.case_report import curves, page
from dcejax.types import Scan

SHAPE = (23, 17, 5)
AFFINE = np.array([[-1.5, 0, 0, 12.0], [0, 1.0, 0, -9.0], [0, 0, 3.0, 4.0], [0, 0, 0, 1]])
MASK = scans.head(SHAPE) & (np.arange(5) > 0)  # the first slice holds nothing of it
WARNING = "the maps of this scan may be biased"


def labels():
    values = np.zeros(SHAPE, int)
    values[8:12, 6:9, 3] = 1
    values[12:15, 6:9, 3] = 4  # touches the other
    values[0, 0, 1] = 7  # outside the mask
    return values


def scan_of(segmentation=None):
    times = np.arange(60) * 5 / 60
    return Scan("p1", scans.signal(SHAPE), "signal", times, MASK, AFFINE, segmentation=segmentation)


def maps_of(outputs, seed=0):
    rng = np.random.default_rng(seed)
    maps = {}
    for output in outputs:
        values = rng.uniform(0, 1, SHAPE) > 0.5 if output.kind == "mask" else rng.uniform(0, 0.19, SHAPE)
        maps[output.name] = np.where(MASK, values, 0).astype(np.float32)
    return maps


def told(outputs=dcejax2026.OUTPUTS, scan=None, maps=None, **fields):
    scan = scan_of(labels()) if scan is None else scan
    inside = None if scan.segmentation is None else scan.segmentation[MASK]
    chosen = curves.voxels(inside, np.count_nonzero(MASK))
    measured = scan.values[MASK][chosen]
    picked = None if inside is None else inside[chosen]
    lines = [curves.Line("given", scan.times, np.exp(-scan.times))]
    drawn = curves.of_regions(scan.times, "signal", measured, measured + 2.0, picked, {1: "rim"}, lines)
    return page.Told(
        scan=scan,
        title="p1",
        subtitle="a method",
        outputs=outputs,
        maps=maps_of(outputs) if maps is None else maps,
        **{"warnings": [WARNING], "record": {"seed": 3, "inputs": {"input": "a.nii.gz"}}, "curves": drawn} | fields,
    )


def embedded(content):
    return json.loads(re.search(r'<script type="application/json" id="told">(.*?)</script>', content, re.S)[1])


def picture(content, alt):
    """Palette indices and colours of the first image with a description."""
    address = re.search(rf'<img src="data:image/png;base64,([^"]+)" alt="{re.escape(alt)}"', content)
    image = Image.open(io.BytesIO(base64.b64decode(address[1])))
    return np.asarray(image), np.array(image.getpalette()).reshape(-1, 3)


def cell(content, sheet, z):
    """A slice of a sheet, z counted from 0 in the volume."""
    facts = embedded(content)
    column, row = facts["slices"].index(z + 1) % facts["columns"], facts["slices"].index(z + 1) // facts["columns"]
    width, height = facts["width"], facts["height"]
    return sheet[row * height : (row + 1) * height, column * width : (column + 1) * width]


def words(content):
    body = re.sub(r"<(script|style).*?</\1>", " ", content, flags=re.S)
    return " ".join(html.unescape(re.sub("<[^>]+>", " ", body)).split())


_EMPTY = {"br", "col", "hr", "img", "input", "link", "meta", "source", "wbr"}  # elements without an end


class _Elements(HTMLParser):
    """Elements as a strict reader sees them: each ends where it should; and every address that could be loaded."""

    def __init__(self, content):
        super().__init__()
        self.addresses, self.count, self._open = [], 0, []
        self.feed(content)
        self.close()
        assert not self._open

    def handle_starttag(self, tag, attributes):
        self.count += 1
        self.addresses += [value for name, value in attributes if name in ("src", "href", "srcset", "action", "data")]
        if tag not in _EMPTY:
            self._open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in _EMPTY:
            self._open.pop()

    def handle_endtag(self, tag):
        assert self._open.pop() == tag, self.getpos()


def check_whole(content):
    """A page is one document, whose facts and images can be read, and which asks no other place for anything."""
    elements = _Elements(content)
    assert elements.count > 100
    assert all(address.startswith(("data:", "#")) for address in elements.addresses)
    assert not re.search(r"url\((?![\"']?data:)|@import|fetch\(|XMLHttpRequest", content)
    assert embedded(content)["slices"]
    images = re.findall(r'src="data:image/png;base64,([^"]+)"', content)
    assert images
    for image in images:
        Image.open(io.BytesIO(base64.b64decode(image))).load()
