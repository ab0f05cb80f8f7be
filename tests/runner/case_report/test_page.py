"""The page of a case: every value can be read back from its colours, in a file that needs nothing else."""

import base64
import dataclasses
import io
import re

import numpy as np
import pytest
from case_pages import MASK, SHAPE, WARNING, cell, embedded, labels, maps_of, picture, scan_of, told, words
from PIL import Image

from dcejax.data import drawing, scales
from dcejax.methods import dcejax2026, lyoo2025
from dcejax.runner import shown_maps
from dcejax.runner.case_report import curves, page, region_table
from dcejax.runner.case_report.beside import Beside
from dcejax.runner.case_report.panels import Codes
from dcejax.runner.case_report.sheets import FIRST, LEVELS
from dcejax.types import PARAMETERS, Output, Scan

HOSTILE = '</script><script>alert(1)</script><img src=x onerror="alert(2)"> & \'"'
MOST_BYTES = 15_000_000


def test_every_slice_of_a_map_can_be_read_back(content):
    maps = maps_of(dcejax2026.OUTPUTS)["median_Ktrans"]
    indices, _ = picture(content, "Ktrans (1/min), from 0 to 0.2")
    assert embedded(content)["slices"] == [2, 3, 4, 5]
    for z in range(1, 5):
        found = cell(content, indices, z)
        inside = found > 0
        view = drawing.View(scan_of(), z)
        expected = view(maps, masked=True)
        expected = expected[~np.isnan(expected)]  # the same rows and columns, whatever margin is about them
        read = (found[inside].astype(float) - FIRST + 0.5) / LEVELS * 0.2
        assert read.size == np.count_nonzero(MASK[:, :, z])
        np.testing.assert_allclose(read, expected, atol=0.5001 * 0.2 / LEVELS)


def test_what_lies_beyond_a_scale_has_colours_of_its_own_and_is_counted():
    maps = maps_of(dcejax2026.OUTPUTS)
    values = maps["median_Ktrans"]
    values[5, 8, 1:3], values[6, 8, 1], values[7, 8, 1], values[8, 8, 1] = 0.3, -0.1, np.nan, -0.001
    content = page.render(told(maps=maps))
    indices, palette = picture(content, "Ktrans (1/min), from 0 to 0.2")
    counts = np.bincount(indices.ravel(), minlength=FIRST)
    assert [counts[code] for code in (1, 2, 3)] == [1, 1, 2]
    assert len({tuple(colour) for colour in palette[: FIRST + LEVELS]}) == FIRST + LEVELS
    text = words(content)
    for name in ("no value", "below the scale", "above the scale"):
        assert name in text
    many = {**maps, "median_Ktrans": np.where(MASK & (np.arange(5) < 2), 0.5, values)}
    share = np.count_nonzero(many["median_Ktrans"][MASK] > 0.2) / MASK.sum()
    assert f"{100 * share:.0f} % of the mask above the scale" in words(page.render(told(maps=many)))


@pytest.mark.parametrize(
    ("ml", "said"), [(0.0412, "0.0412 mL"), (35.84, "35.8 mL"), (999.6, "1000 mL"), (1384.2, "1384 mL")]
)
def test_volumes_have_no_powers_of_ten(ml, said):
    assert region_table.volume_text(ml) == said


def test_numbers_of_regions_stand_in_the_table(content):
    text, maps = words(content), maps_of(dcejax2026.OUTPUTS)
    for inside, name in (((labels() == 1) & MASK, "rim"), ((labels() == 4) & MASK, "label 4"), (MASK, "whole mask")):
        row = text[text.index(name) :]
        volume = f"{inside.sum() * 4.5 / 1000:.3g} mL"
        values = maps["median_Ktrans"][inside]
        assert volume in row
        assert f"{inside.sum()} voxels" in row
        assert f"{np.median(values):.3f}" in row
        assert "true median 0.050 true mean 0.050" in row
    assert "label 7" not in text


def test_intervals_of_means_come_from_the_table_of_regions():
    rows = [
        {"label": 1, "map": name, "expected_mean": 0.0613, "mean_q05": 0.0512, "mean_q95": 0.0714}
        for name in PARAMETERS
    ]
    text = words(page.render(told(rows=rows)))
    assert "mean 0.061 90 %: 0.051 to 0.071" in text


def test_warnings_come_first_and_the_record_last(content):
    text = words(content)
    order = [WARNING, "Regions", "Maps", "Estimate", "Truth", "Error", "Curves", "Provenance", "a.nii.gz"]
    assert [text.index(part) for part in order] == sorted(text.index(part) for part in order)
    assert "1 warning: read before the maps" in text
    assert "No warnings." in words(page.render(told(warnings=[])))


def test_the_same_case_gives_the_same_bytes(content):
    beside = Beside({1: "rim"}, {"Ktrans": np.full(SHAPE, 0.05, np.float32)})
    assert page.render(told(beside=beside)) == content


def test_text_cannot_become_part_of_the_page():
    codes = Codes(HOSTILE, np.ones(SHAPE, int), {1: HOSTILE}, {1: "#112233"})
    fields = {"warnings": [HOSTILE], "record": {HOSTILE: HOSTILE}, "beside": Beside({1: HOSTILE}), "codes": [codes]}
    content = page.render(told(**fields))
    assert "<script>alert" not in content
    assert "<img src=x" not in content
    assert content.count("</script>") == 2
    assert embedded(content)["scales"][-1]["names"][1] == HOSTILE


def test_the_page_loads_nothing(content):
    addresses = re.findall(r'(?:src|href)="([^"]*)"|url\("([^"]*)"\)', content)
    assert addresses
    assert all((one or other).startswith("data:image/") for one, other in addresses)
    assert "default-src 'none'" in content


@pytest.mark.parametrize("outputs", [lyoo2025.OUTPUTS, dcejax2026.OUTPUTS], ids=["paper", "recommended"])
def test_methods_of_the_package(outputs):
    shown = shown_maps.choose(outputs)
    assert shown.quantities == PARAMETERS
    titles = [row.title for row in shown.rows]
    expected = ["Estimate", "Uncertainty"]
    if outputs is dcejax2026.OUTPUTS:
        expected = ["Estimate", "Lower end of the interval", "Upper end of the interval", "Identifiable"]
    assert titles == expected
    assert {o for row in shown.rows for o in row.outputs} | set(shown.others) == set(outputs)
    content = page.render(told(outputs))
    for output in shown.others:
        assert f"{output.quantity}, {output.statistic}" in words(content)


def test_a_method_of_other_quantities_gets_its_page():
    """Names that nobody knows: the kind of number decides; a unit without a range gets a scale of the patient's own."""
    outputs = [
        Output("best", "flow", "mL/min", "estimate", "flow"),
        Output("wobble", "flow", "1", "spread", "of the logarithm"),
        Output("doubt", "flow", "mL/min", "spread", "of flow"),
        Output("best", "lag", "s", "estimate", "arrival"),
        Output("sure", "flow", "1", "mask", "known"),
    ]
    shown = shown_maps.choose(outputs)
    assert shown.quantities == ("flow",)
    assert [[o.statistic for o in row.outputs] for row in shown.rows] == [["best"], ["doubt"], ["sure"]]
    maps = maps_of(outputs)
    maps["best_lag"] -= 0.1
    flow, lag = (scales.scale_of(o, outputs, maps[o.name][MASK]) for o in (outputs[0], outputs[3]))
    assert (flow.low, flow.fixed, lag.fixed) == (0.0, False, False)
    assert lag.low == -lag.high
    assert scales.scale_of(outputs[1], outputs, maps["wobble_flow"]).unit == "ratio"
    text = words(page.render(told(outputs, maps=maps)))
    assert "this patient's own scale" in text
    alone = [Output("q", "thing", "1", "quantile", "no estimate at all")]
    assert "thing, q" in words(page.render(told(alone)))


def test_ranges_do_not_depend_on_the_patient():
    (output,) = (o for o in dcejax2026.OUTPUTS if o.name == "median_Ktrans")
    for values in (np.zeros(3), np.full(3, 9.0), np.full(3, np.nan)):
        scale = scales.scale_of(output, dcejax2026.OUTPUTS, values)
        assert (scale.low, scale.high, scale.unit, scale.fixed) == (0.0, 0.2, "1/min", True)


def test_without_segmentation_and_with_one_slice_and_no_finite_value():
    scan = dataclasses.replace(scan_of(), mask=MASK & (np.arange(5) == 2))
    maps = {o.name: np.full(SHAPE, np.nan, np.float32) for o in dcejax2026.OUTPUTS}
    drawn = curves.Curves(scan.times, "concentration", [], None, [])
    content = page.render(told(scan=dataclasses.replace(scan, quantity="concentration"), maps=maps, curves=drawn))
    text = words(content)
    assert "no voxel has an estimate" in text
    assert embedded(content)["slices"] == [3]
    assert "Curves" not in text


def test_labels_have_one_colour_everywhere_however_many_there_are():
    parts = np.where(MASK, 300 + np.arange(MASK.size).reshape(SHAPE) % 290, 0)  # more than a byte can tell apart
    parts[0, 0, 1] = 5  # outside the mask, and first in order
    scan = scan_of(parts)
    content = page.render(told(scan=scan))
    colours = re.findall(r'background: (#\w+)"></i>label (\d+)', content)
    assert [int(label) for _, label in colours] == list(np.unique(parts[MASK]))
    drawn = curves.of_regions(scan.times, "signal", scan.values[MASK], None, parts[MASK], {}, [])
    expected = {f"label {label}": colour for colour, label in colours}
    assert {region.name: region.colour for region in drawn.regions}.items() <= expected.items()
    outline = re.search(r'\.outline { background: url\("data:image/png;base64,([^"]+)"\)', content)[1]
    image = Image.open(io.BytesIO(base64.b64decode(outline))).convert("RGBA")
    seen = {"#" + bytes(pixel[:3]).hex() for pixel in np.asarray(image).reshape(-1, 4) if pixel[3]}
    assert seen == set(expected.values())


def test_outlines_lie_within_their_labels(content):
    outline = re.search(r'\.outline { background: url\("data:image/png;base64,([^"]+)"\)', content)[1]
    drawn = np.asarray(Image.open(io.BytesIO(base64.b64decode(outline))))
    facts = embedded(content)
    column = facts["slices"].index(4) % facts["columns"]
    inside = drawn[: 2 * facts["height"], 2 * column * facts["width"] : 2 * (column + 1) * facts["width"]]
    for index, (length, width) in {1: (4, 3), 2: (3, 3)}.items():
        # Of a rectangle, all but what is a half voxel from its sides.
        assert np.count_nonzero(inside == index) == 4 * length * width - (2 * length - 2) * (2 * width - 2)


def test_anything_may_stand_outside_the_mask_and_in_names():
    scan = scan_of(labels())
    values = scan.values.copy()
    values[0, 0], values[0, 1] = np.nan, np.inf
    assert not MASK[0, :2].any()
    odd = r"a $\frac{1}$ _b"
    drawn = curves.of_regions(
        scan.times, "signal", values[MASK], None, labels()[MASK], {1: odd}, [curves.Line(odd, scan.times, scan.times)]
    )
    content = page.render(told(scan=dataclasses.replace(scan, values=values), curves=drawn, beside=Beside({1: odd})))
    images = [base64.b64decode(part).decode() for part in re.findall(r"svg\+xml;base64,([^\"]+)", content)]
    assert len(images) == 2
    assert all(odd in image for image in images)


@pytest.mark.slow
def test_forty_slices_take_less_than_15_mb():
    shape = (256, 256, 40)
    x, y = (np.linspace(-1, 1, n) for n in shape[:2])
    mask = np.repeat(((x[:, None] / 0.7) ** 2 + (y[None, :] / 0.9) ** 2 < 1)[:, :, None], 40, axis=2)
    assert mask.sum() > 1_200_000  # more than any brain has of these slices
    rng = np.random.default_rng(0)
    series = rng.normal(300, 20, (*shape, 6)).astype(np.float32)
    scan = Scan("p", series, "signal", np.arange(6) / 12, mask, np.diag([0.94, 0.94, 3, 1]))
    smooth = 0.02 + 0.02 * np.sin(6 * x)[:, None, None] * np.cos(6 * y)[None, :, None]
    maps = {}
    for output in dcejax2026.OUTPUTS:
        top = scales.scale_of(output, dcejax2026.OUTPUTS, np.zeros(1)).high
        values = top * (10 * smooth + rng.normal(0, 0.01, shape))
        maps[output.name] = np.where(mask, values > 0.3 * top if output.kind == "mask" else values, 0)
    drawn = curves.Curves(scan.times, "signal", [], None, [])
    content = page.render(page.Told(scan, "p", "", dcejax2026.OUTPUTS, maps, [], {}, drawn))
    assert 1_000_000 < len(content) < MOST_BYTES
