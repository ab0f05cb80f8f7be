"""The true plasma curve that tools compare with is that of the simulation."""

import json

import drawn_sessions
import numpy as np
import pytest
import true_plasma

from dcejax.physics.bolus_grid import within_steps
from dcejax.simulation.reference_object.fine_time import arterial_curves, fine_time
from dcejax.simulation.reference_object.session import record


def test_the_curve_is_what_arrives_in_the_simulated_tissue(tmp_path):
    shown = drawn_sessions.draw("plasma", 0)
    stem = tmp_path / "sub-1"
    (tmp_path / "sub-1_desc-dro.json").write_text(json.dumps({"settings": record(shown)}))
    for name, value in true_plasma.sampled_of(str(stem))._asdict().items():
        assert value == pytest.approx(float(getattr(shown.arterial, name)), rel=1e-5), name
    fine = fine_time(shown)
    arrival = 0.5
    within = arrival + within_steps(20)
    expected = np.interp(within, np.asarray(fine.times), arterial_curves(shown, fine)[1]).mean(axis=1)
    inside = within[:, -1] < fine.times[-1]
    found = true_plasma.on_grid(str(stem), arrival)
    np.testing.assert_allclose(found[inside], expected[inside], atol=0.02 * expected.max())
