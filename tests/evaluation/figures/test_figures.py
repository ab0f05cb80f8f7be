"""Figures of an evaluation: what they show is what they were given, where a reader expects it."""

import dataclasses
import io
from itertools import pairwise

import matplotlib
import numpy as np
import pytest
from matplotlib import image as decoder
from matplotlib.collections import PolyCollection

from dcejax.data import drawing
from dcejax.evaluation.figures import panels
from dcejax.evaluation.figures.agreement_figures import Agreement, Scatter, bland_altman_figure, scatter_figure
from dcejax.evaluation.figures.map_figures import CV_TOP, CasePanel, case_figure, hang
from dcejax.evaluation.figures.roc_figure import RocCurve, RocPanel, roc_figure
from dcejax.evaluation.figures.uncertainty_figures import Uncertainty, uncertainty_figure
from dcejax.evaluation.metrics.bootstrap import Interval
from dcejax.evaluation.metrics.reliability import bland_altman
from dcejax.evaluation.metrics.roc_metrics import auc, roc
from dcejax.types import PARAMETERS, Scan

SHAPE = (30, 37)
STACKS = ("reference", "truth", "estimate", "cv", "sd", "error")
NOTHING = Interval(np.nan, np.nan, np.nan)
MOST_BYTES = 300_000


def ellipse(shape=SHAPE):
    x, y = (np.linspace(-1, 1, n) for n in shape)
    return x[:, None] ** 2 + y[None, :] ** 2 < 0.8


def case(shape=SHAPE, **changes):
    rng = np.random.default_rng(0)
    scale = np.array([0.1, 0.05, 0.3])
    maps = {name: scale * rng.uniform(0.1, 1, (*shape, 3)) for name in STACKS}
    tumour = np.zeros(shape, bool)
    tumour[shape[0] // 2 :, shape[1] // 2 :] = True
    parts = {"tumour": tumour & ellipse(shape), "brain": ellipse(shape)}
    return CasePanel(
        **{"title": "who", "arm": "mine", "statistic": "median", "note": "what", "mm": (1.9, 2.1)}
        | maps
        | parts
        | changes
    )


def drawn(figure):
    """Pixels [Y, X, 3 or 4] of the file."""
    content = panels.png(figure)
    assert len(content) < MOST_BYTES
    return decoder.imread(io.BytesIO(content), format="png")


def words(figure):
    """All that is written in a figure."""
    found = figure.findobj(matplotlib.text.Text)
    return [text.get_text() for text in found if text.get_visible() and text.get_text()]


def grid_of(figure, columns):
    return np.reshape([axes for axes in figure.axes if axes.get_label() != "<colorbar>"], (-1, columns))


def test_maps_lie_in_rows_of_parameters_with_the_ranges_they_share():
    given = case()
    figure = case_figure(given)
    grid = grid_of(figure, len(STACKS))
    assert grid.shape == (3, 6)
    for channel, row in enumerate(grid):
        shown = [axes.images[0] for axes in row]
        for image, name in zip(shown, STACKS, strict=True):
            values = hang(getattr(given, name)[..., channel])
            np.testing.assert_array_equal(image.get_array()[image.get_alpha() > 0], values[hang(given.brain)])
        inside = [getattr(given, name)[..., channel][given.brain] for name in STACKS]
        maps, errors = np.percentile(np.concatenate(inside[:2]), 99.5), np.percentile(np.concatenate(inside[4:]), 99.5)
        tops = [maps, maps, maps, CV_TOP, errors, errors]
        np.testing.assert_allclose([image.get_clim() for image in shown], [(0, top) for top in tops])
    heads = [axes.get_title() for axes in grid[0]]
    assert "reader 1" in heads[0]
    assert heads[1:] == ["Truth", "mine, median", "mine, SD / median", "mine, SD", "|Error| of median"]
    assert [axes.get_ylabel() for axes in grid[:, 0]] == list(PARAMETERS)


def test_every_bar_says_its_unit():
    figure = case_figure(case())
    bars = [axes.get_ylabel() for axes in figure.axes if axes.get_label() == "<colorbar>"]
    assert len(bars) == 9
    assert not any("mean" in text for text in words(figure))
    for name, unit in zip(PARAMETERS, ("1/min", "fraction", "fraction"), strict=True):
        assert f"{name} ({unit})" in bars
        assert f"{name}, SD and |error| ({unit})" in bars
        assert f"{name}, SD / median (ratio)" in bars


def test_right_of_the_patient_is_left_and_front_is_up():
    voxel = np.zeros((*SHAPE, 3))
    voxel[22:25, 28:31] = 0.1  # right and front, for x and y increase to there
    figure = case_figure(case(reference=voxel, truth=voxel, tumour=np.zeros(SHAPE, bool)))
    pixels = drawn(figure)
    x0, y0, x1, y1 = figure.axes[1].get_position().extents
    height, width = pixels.shape[:2]
    panel = pixels[round((1 - y1) * height) : round((1 - y0) * height), round(x0 * width) : round(x1 * width), :3]
    brightest = matplotlib.colormaps["inferno"](1.0)[:3]
    rows, columns = np.nonzero(np.abs(panel - brightest).max(axis=-1) < 0.01)
    assert rows.size > 20
    assert rows.max() < panel.shape[0] / 2
    assert columns.max() < panel.shape[1] / 2
    sides = {text.get_text(): text.get_position()[0] for text in figure.axes[1].texts}
    assert sides["R"] < 0.5 < sides["L"]


def test_slices_hang_as_in_the_pictures_of_cases():
    image = np.random.default_rng(0).normal(size=SHAPE)
    volume = image[..., None]
    scan = Scan("p1", volume[..., None], "signal", np.zeros(1), np.ones((*SHAPE, 1), bool), np.diag([1.9, 2.1, 3, 1]))
    np.testing.assert_array_equal(drawing.View(scan, 0)(volume, masked=False), hang(image))


def test_the_scale_bar_is_two_centimetres():
    given = case(mm=(1.6, 1.6))
    bars = [line for line in grid_of(case_figure(given), 6)[0, 0].lines if line.get_linewidth() > 2]
    assert [np.ptp(line.get_xdata()) * 1.6 for line in bars] == [20.0]


def test_colours_of_maps_are_in_the_file_as_they_are():
    pixels = np.round(255 * drawn(case_figure(case()))[..., :3]).astype(np.uint8)
    found = set(map(tuple, pixels.reshape(-1, 3)))
    for image in case_figure(case()).axes[0].images:
        shades = image.get_cmap()
        assert set(map(tuple, shades(np.arange(shades.N), bytes=True)[:, :3])) <= found


EMPTY = np.zeros(SHAPE, bool)


@pytest.mark.parametrize(
    "odd",
    [
        case(tumour=EMPTY),
        case(brain=EMPTY, tumour=EMPTY),
        pytest.param(case(tumour=~EMPTY, brain=~EMPTY), marks=pytest.mark.slow),
        pytest.param(case(**{name: np.zeros((*SHAPE, 3)) for name in STACKS}), marks=pytest.mark.slow),
        case(**{name: np.full((*SHAPE, 3), np.nan) for name in STACKS}),
        case((5, 41)),
        case((2, 1)),
    ],
    ids=["no tumour", "no brain", "all tumour", "zeros", "nan", "narrow", "tiny"],
)
def test_odd_cases_are_drawn(odd):
    assert drawn(case_figure(odd)).shape[0] > 200


def test_voxels_without_value_are_seen_and_explained():
    given = case()
    given.reference[10:14, 10:14] = np.nan
    figure = case_figure(given)
    assert any("Cyan" in text for text in words(figure))
    pixels = np.round(255 * drawn(figure)[..., :3])
    assert (pixels == [0x4F, 0xD8, 0xFF]).all(axis=-1).sum() > 50
    assert not any("Cyan" in text for text in words(case_figure(case())))


def agreement(title, parameter, n, scale):
    rng = np.random.default_rng(n)
    a = rng.uniform(0.1, 1, n)
    b = a + scale * rng.normal(size=n)
    result = bland_altman(a, b) if n > 1 else None
    ends = (result.bias, result.lower, result.upper) if result else (Interval(float(a[0] - b[0]), *NOTHING[1:]),)
    return Agreement(title, parameter, a, b, *ends, *[NOTHING] * (3 - len(ends)))


def test_differences_stand_against_means_with_bias_and_limits():
    panels = [agreement(t, p, 20, s) for t, s in (("a vs b", 0.3), ("c vs d", 0.01)) for p in PARAMETERS]
    figure = bland_altman_figure(panels)
    for axes, panel in zip(grid_of(figure, 3).flat, panels, strict=True):
        points = next(line for line in axes.lines if line.get_marker() == "o")
        np.testing.assert_allclose(points.get_xdata(), (panel.a + panel.b) / 2)
        np.testing.assert_allclose(points.get_ydata(), panel.a - panel.b)
        lines = {line.get_ydata()[0] for line in axes.lines if len(line.get_ydata()) == 2}
        assert lines == {0.0, panel.bias.estimate, panel.lower.estimate, panel.upper.estimate}
        assert any("n = 20" in text.get_text() for text in axes.texts)
        unit = "1/min" if panel.parameter == "Ktrans" else "fraction"
        assert f"difference ({unit})" in axes.get_ylabel()
    for column in grid_of(figure, 3).T:
        assert column[0].get_ylim() == column[1].get_ylim()
    assert {"a vs b", "c vs d"} <= {axes.get_ylabel().split("\n")[0] for axes in grid_of(figure, 3)[:, 0]}
    drawn(figure)


def test_one_patient_has_no_limits():
    figure = bland_altman_figure([agreement("a vs b", "vp", 1, 0.1)])
    assert "no data" in words(figure)  # for the other two maps
    assert any("n = 1 " in text and "limits –" in text for text in words(figure))
    drawn(figure)


def scatter(truth, estimate, diagnosis, title="network", parameter="Ktrans"):
    return Scatter(title, parameter, np.array(truth), np.array(estimate), diagnosis)


def test_estimates_stand_against_the_truth_by_diagnosis():
    figure = scatter_figure(
        [scatter([0.1, 0.02, 0.3], [0.2, 0.0, -1.0], ["glioblastoma", "astrocytoma", "astrocytoma"])]
    )
    axes = grid_of(figure, 3)[0, 0]
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    assert axes.get_xlim() == axes.get_ylim()
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("truth, Ktrans (1/min)", "network, Ktrans (1/min)")
    hollow = [line for line in axes.lines if line.get_markerfacecolor() == "none" and line.get_xdata().size]
    np.testing.assert_array_equal([line.get_xdata() for line in hollow], [[0.02, 0.3]])
    np.testing.assert_array_equal([line.get_ydata() for line in hollow], [[1e-4, 1e-4]])
    assert any("2 at or below 0.0001" in text for text in words(figure))
    assert {"identity", "glioblastoma", "astrocytoma"} <= set(words(figure))
    drawn(figure)


@pytest.mark.parametrize("spread", [1.01, 3.0, 60.0, 1e4])
def test_numbers_at_logarithmic_axes_do_not_touch(spread):
    truth = 0.25 * spread ** np.array([-0.5, 0.5])
    figure = scatter_figure([scatter(truth, truth[::-1], ["glioblastoma"] * 2, parameter="ve")])
    figure.draw_without_rendering()
    axes = grid_of(figure, 3)[0, PARAMETERS.index("ve")]
    for axis, sides in ((axes.xaxis, (0, 2)), (axes.yaxis, (1, 3))):
        low, high = axis.get_view_interval()
        labels = axis.get_majorticklabels() + axis.get_minorticklabels()
        places = [*axis.get_majorticklocs(), *axis.get_minorticklocs()]
        shown = [
            label.get_window_extent().extents[list(sides)]
            for label, place in zip(labels, places, strict=True)
            if label.get_text() and low <= place <= high
        ]
        assert shown
        ends = sorted(map(tuple, shown))
        assert all(after[0] > before[1] for before, after in pairwise(ends))


@pytest.mark.parametrize(
    ("truth", "estimate"), [([0.0], [0.0]), ([np.nan], [0.1]), ([0.1, 0.1], [0.1, 0.1])], ids=["zero", "nan", "same"]
)
def test_odd_scatters_are_drawn(truth, estimate):
    drawn(scatter_figure([scatter(truth, estimate, ["glioblastoma"] * len(truth))]))


def test_roc_curves_say_their_areas():
    rng = np.random.default_rng(0)
    positive = np.arange(30) < 18
    panels = []
    for title in ("IDH", "grade"):
        for name in PARAMETERS:
            scores = [rng.normal(size=30) + 2 * positive * share for share in (1, 0.5)]
            curves = [
                RocCurve(arm, *roc(values, positive)[:2], auc(values, positive).area)
                for arm, values in zip(("network", "reader 1"), scores, strict=True)
            ]
            panels.append(RocPanel(title, name, 18, 12, curves))
    figure = roc_figure(panels)
    for axes, panel in zip(grid_of(figure, 3).flat, panels, strict=True):
        assert panel.parameter in axes.get_title()
        assert panel.title in axes.get_title()
        assert any(text.get_text() == "18 positive, 12 negative" for text in axes.texts)
        labels = [text.get_text() for text in axes.get_legend().get_texts()]
        area = panel.curves[0].area
        assert labels[0] == f"network {area.estimate:.2f} [{area.low:.2f}–{area.high:.2f}]"
        np.testing.assert_array_equal(axes.lines[1].get_xdata(), panel.curves[0].fpr)
        np.testing.assert_array_equal(axes.lines[1].get_ydata(), panel.curves[0].tpr)
        assert len({(line.get_color(), line.get_linestyle()) for line in axes.lines}) == 3
    drawn(figure)


def test_a_roc_curve_without_interval_says_so():
    ends = np.array([0.0, 1.0])
    panel = RocPanel("IDH", "ve", 1, 5, [RocCurve("network", ends, ends, Interval(0.5, np.nan, np.nan))])
    assert "network 0.50 [–]" in words(roc_figure([panel]))
    known = RocCurve("network", ends, ends, Interval(0.5, 0.2, 0.9))
    assert "network 0.50 [0.20–0.90*]" in words(roc_figure([dataclasses.replace(panel, curves=[known])]))
    assert "no data" in words(roc_figure([dataclasses.replace(panel, curves=[])]))


def uncertainty(parameter, **changes):
    removed = np.arange(10) / 10
    given = {
        "level": np.array([0.5, 0.8, 0.9, 0.95]),
        "inside": [Interval(0.4, 0.35, 0.45), Interval(0.7, 0.6, 0.8), Interval(0.8, 0.7, 0.9), NOTHING],
        "pit": np.arange(20),
        "removed": removed,
        "by_sd": 0.02 - 0.01 * removed,
        "by_cv": 0.02 - 0.005 * removed,
        "oracle": 0.02 * (1 - removed),
        "random": np.full(10, 0.02),
    }
    return Uncertainty(title="network", parameter=parameter, **given | changes)


def test_uncertainty_is_shown_three_ways():
    figure = uncertainty_figure([uncertainty(name) for name in PARAMETERS])
    coverage, transforms, sparsification = grid_of(figure, 3)
    for name, axes in zip(PARAMETERS, coverage, strict=True):
        assert axes.get_title() == name
        np.testing.assert_allclose(axes.lines[1].get_xdata(), [50, 80, 90, 95])
        np.testing.assert_allclose(axes.lines[1].get_ydata(), [40, 70, 80, np.nan])
    for axes in transforms:
        heights = axes.patches[0].get_data().values
        assert heights.mean() == pytest.approx(1)
        np.testing.assert_allclose(heights / heights.sum(), np.arange(20) / np.arange(20).sum())
    for name, axes in zip(PARAMETERS, sparsification, strict=True):
        labels = [line.get_label() for line in axes.lines]
        assert labels == ["random order", "by SD / estimate", "by SD", "by the error itself"]
        np.testing.assert_allclose(axes.lines[2].get_ydata(), uncertainty(name).by_sd)
        assert panels.UNIT_NAMES[name] in axes.get_ylabel()
    assert not coverage[0].findobj(PolyCollection)
    drawn(figure)


def test_uncertainty_without_any_value_is_drawn():
    drawn(uncertainty_figure([uncertainty("vp", pit=np.zeros(20), by_sd=np.full(10, np.nan), inside=[NOTHING] * 4)]))


def test_panels_that_have_no_place_are_refused():
    panel = uncertainty("vp")
    with pytest.raises(ValueError, match="expected at least one"):
        uncertainty_figure([])
    with pytest.raises(ValueError, match="'vp' twice in 'network'"):
        uncertainty_figure([panel, panel])
    with pytest.raises(ValueError, match="found 'kep'"):
        uncertainty_figure([dataclasses.replace(panel, parameter="kep")])
    with pytest.raises(ValueError, match="expected one arm"):
        uncertainty_figure([panel, dataclasses.replace(panel, title="other")])
