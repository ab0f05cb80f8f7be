"""The voxels of a tumour that readers are calibrated on."""

from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import pytest
import reader_calibration

from dcejax import rng
from dcejax.simulation import cohort_definitions
from dcejax.simulation.reference_object import readers, render, session
from dcejax.simulation.reference_object.fine_time import make_tables
from dcejax.simulation.scanner import imaging
from dcejax.simulation.scanner.session_fields import to_scanner

GLIOBLASTOMA = 0


@pytest.fixture(scope="module")
def patient():
    return session.sample_session(rng.stream(0, "read patient"), GLIOBLASTOMA, cohort_definitions.ScanPriors())


@pytest.fixture(scope="module")
def tables(patient):
    return make_tables(patient)


@pytest.mark.slow
def test_voxels_of_the_tumour_are_its_enhancing_part(patient, tables):
    key = rng.stream(0, "tumour")
    signal, maps = reader_calibration.tumour_voxels(key, patient, tables)
    assert maps.shape == (reader_calibration.ROI_VOXELS, 3)
    assert (maps[:, 0] > 0.001).mean() > 0.95
    assert signal.shape == (reader_calibration.ROI_VOXELS, patient.protocol.frames)
    enhancement = signal[:, -10:].mean(axis=1) / signal[:, :3].mean(axis=1)
    assert (enhancement > 1.1).mean() > 0.95
    np.testing.assert_array_equal(signal, reader_calibration.tumour_voxels(key, patient, tables)[0])


@pytest.mark.slow
def test_a_tumour_that_does_not_enhance_has_no_voxels(patient, tables):
    anatomy = patient.patient.anatomy
    silent = anatomy._replace(tumour=anatomy.tumour._replace(enhancing=jnp.array(False)))
    session_ = patient._replace(patient=patient.patient._replace(anatomy=silent))
    assert reader_calibration.tumour_voxels(rng.stream(0, "tumour"), session_, tables) is None


@pytest.mark.slow
def test_the_mean_is_that_of_the_whole_image(patient, tables):
    """Half a minute: the tumour's mean as a reader finds it, in slices of a full rendering."""
    slab = replace(imaging.SIZES["full"], slab=9)
    centre = to_scanner(patient.scanner.placement, patient.patient.anatomy.tumour.centre[None])[0, 2]
    first = int(np.clip(round((float(centre) + 60) / 3 - 0.5) - 4, 0, 31))
    series, truth = render.examine(rng.stream(0, "noise"), patient, tables, slab, first)
    tumour = render.segmentation(truth, enhancing=True) == 1
    reading = readers.Reading(tables.aif, 3, {})
    found = [
        readers.analyse(signal, reading, patient.protocol).clip(0, 1).mean(axis=0)
        for signal in (series[tumour], reader_calibration.tumour_voxels(rng.stream(0, "tumour"), patient, tables)[0])
    ]
    np.testing.assert_allclose(found[1], found[0], rtol=0.15)
