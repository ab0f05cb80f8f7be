"""What is told of a fit as a whole, of simulated examinations that are described rightly and wrongly."""

import exams
import numpy as np
import pytest

from dcejax.conventional import worth_a_word
from dcejax.conventional.analysis import analyse
from dcejax.conventional.fit_facts import ArterialSource, FitFacts
from dcejax.conventional.fit_settings import FitSettings
from dcejax.conventional.preparation import prepare
from dcejax.conventional.voxel_status import VoxelStatus
from dcejax.data.cases import Case


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    """Fit an examination with noise as other facts would have it; returns what was prepared and found."""
    folder, exam = tmp_path_factory.mktemp("exam"), exams.simulate()
    noise = np.random.default_rng(0).normal(0, 0.3, exam.signal.shape).astype(np.float32)
    files = exams.write(folder, exam._replace(signal=exam.signal + noise))

    def fit(**changed):
        facts = {"tr_ms": exams.TR_MS, "flip_angle_deg": exams.FLIP_DEG, "mask": files["mask"]}
        facts |= {"t1_map": files["t1_map"], "b1_map": files["b1_map"], "aif": ArterialSource("file", files["aif"])}
        settings = FitSettings(model="extended_tofts", fit_delay=False)
        prepared = prepare(Case("a", files["signal"], FitFacts(**facts | changed)), settings)
        found = analyse(
            prepared.concentration, prepared.status, prepared.scan.times, prepared.arterial.plasma, settings, None
        )
        return prepared, found

    return fit


def test_what_is_described_needs_no_word(fitted):
    prepared, found = fitted()
    assert worth_a_word.told(prepared, found) == []
    left = worth_a_word.unexplained(prepared.scan.times, prepared.concentration, found.modelled)
    assert 0.6 < left < 1.2


def test_another_arterial_input_leaves_much_unexplained(fitted):
    warning = worth_a_word.told(*fitted(aif=ArterialSource("parker"), aif_arrival_s=80.0))[-1]
    assert warning.startswith("the model leaves ")
    assert "noise SDs of the typical enhancing voxel unexplained" in warning


@pytest.mark.parametrize("changed", [{"flip_angle_deg": 1.0}, {"tr_ms": 400.0}])
def test_signal_that_nothing_gives_points_at_units(fitted, changed):
    with pytest.raises(ValueError, match=r"'SATURATED': \d+}; check TR, flip angle, T1 and B1"):
        fitted(**changed)


def test_every_state_is_in_one_line(fitted):
    prepared, found = fitted()
    status = found.status.copy()
    status[: status.size // 4] = VoxelStatus.SATURATED
    status[-(status.size // 4) :] = VoxelStatus.NO_BASELINE
    (warning,) = worth_a_word.told(prepared, found._replace(status=status))
    assert "% have a signal that no concentration gives, 2" in warning
    assert "TR, flip angle, T1 or B1 may be wrong" in warning


def test_without_noise_nothing_is_said():
    times = np.arange(40) * 5 / 60
    curves = np.outer([1.0, 2.0], np.minimum(times, 1.0))
    assert worth_a_word.unexplained(times, curves, 0.9 * curves) == 0.0
