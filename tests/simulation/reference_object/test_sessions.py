"""Sessions of the reference object: what is drawn of them, and what is kept."""

from dataclasses import replace

import jax
import numpy as np
import pytest
from drawn_sessions import SHORT, draw

from dcejax.simulation import cohort_definitions
from dcejax.simulation.reference_object import session


def test_a_retest_is_the_same_patient_another_day():
    first, second = (draw("retest", number=n) for n in (0, 1))
    jax.tree.map(np.testing.assert_array_equal, first.patient, second.patient)
    assert first.arterial.arrival != second.arterial.arrival
    assert first.arterial.amplitude != second.arterial.amplitude
    assert first.arterial.hematocrit == second.arterial.hematocrit
    assert (first.scanner.placement.shift != second.scanner.placement.shift).any()
    pairs = [
        (draw(f"r{i}", number=0).arterial.amplitude, draw(f"r{i}", number=1).arterial.amplitude) for i in range(60)
    ]
    logs = np.log(np.array(pairs, float))
    assert 0.4 < np.corrcoef(logs.T)[0, 1] < 0.95  # 0.71 expected
    np.testing.assert_allclose(logs.std(axis=0), 0.22, rtol=0.3)


def test_every_setting_is_drawn_within_its_range_and_recorded():
    scan = cohort_definitions.COHORTS["ood-protocol"].scan
    drawn = [draw(f"protocol {i}", scan=scan) for i in range(20)]
    for person in drawn:
        protocol = person.protocol
        for name in ("frame_interval_s", "frames", "tr_ms", "flip_angle_deg", "dose_mmol_per_kg"):
            low, high = getattr(scan, name)
            assert low <= getattr(protocol, name) <= high
        assert 10 <= person.snr <= 60
        assert person.gain.shape == (protocol.frames,)
        assert person.poses.shape == (protocol.frames, 6)
    assert len({person.protocol.frames for person in drawn}) > 5
    record = session.record(drawn[0])
    assert record["protocol"]["frames"] == drawn[0].protocol.frames
    assert record["arterial_input"]["arrival_s"] == pytest.approx(60 * float(drawn[0].arterial.arrival))
    assert record["tumour"]["class"] == "IDH-wildtype grade 4"
    assert len(record["scanner"]["gain"]) == drawn[0].protocol.frames


def test_motion_suites_move_by_whole_millimetres():
    moving = [draw(f"m{i}", scan=replace(SHORT, motion_steps=(1, 3), motion_step=(1.0, 3.0))) for i in range(10)]
    still = [draw(f"m{i}") for i in range(10)]

    def span(person):
        return np.linalg.norm(np.ptp(person.poses[:, :3], axis=0))

    assert min(map(span, moving)) > 0.9
    assert max(map(span, still)) < 2.0
