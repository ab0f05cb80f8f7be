"""Scales of the published method's spread."""

import numpy as np
import published_calibration


def test_nine_of_ten_values_lie_in_the_scaled_intervals_of_patients_who_count_the_same():
    rng = np.random.default_rng(0)
    patients = []
    for number in range(30):
        kind = (np.arange(2000 + 500 * (number % 3)) % 3 == 0).astype(int)
        spread = np.where(kind[:, None] == 1, [2.0, 3.0, 0.5], [5.0, 1.0, 8.0])
        patients.append((np.abs(rng.normal(size=(len(kind), 3)) * spread), kind))
    made = published_calibration.scales(patients)
    np.testing.assert_allclose(made, [[5.0, 1.0, 8.0], [2.0, 3.0, 0.5]], rtol=0.03)
    np.testing.assert_allclose(published_calibration.coverage(patients, made), 0.9, atol=0.005)


def test_groups_are_by_the_map_of_ktrans():
    np.testing.assert_array_equal(published_calibration.leaking(np.array([[0.004, 1, 1], [0.006, 0, 0]])), [0, 1])
