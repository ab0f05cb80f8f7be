"""Maps as DICOM: pydicom and dcm2niix read back the same numbers, units, quantities and place."""

import subprocess

import nibabel as nib
import numpy as np
import pytest

from dcejax.data.dicom import conversion, parametric_map
from dcejax.data.dicom.parametric_map import NamedMap

pytest.importorskip("highdicom", reason="needs pip install 'dcejax[dicom]'")
dicoms = pytest.importorskip("dicoms", reason="needs pip install 'dcejax[dicom]'")
pydicom = pytest.importorskip("pydicom")


VALUES = np.random.default_rng(3).uniform(0, 0.3, dicoms.SHAPE).astype(np.float32)
VALUES[:4] = 0.0
AFFINE = np.diag([-dicoms.SPACING[1], dicoms.SPACING[0], dicoms.THICKNESS, 1.0])
AFFINE[:3, 3] = (-dicoms.ORIGIN[0], -dicoms.ORIGIN[1] - (dicoms.SHAPE[1] - 1) * dicoms.SPACING[0], dicoms.ORIGIN[2])
MAPS = (
    NamedMap("median", "Ktrans", "1/min", "median of the posterior", VALUES),
    NamedMap("fit", "vp", "1", "plasma volume fraction, 0-1; CAPLEX gives mL/100 mL, 100 times as much", 2 * VALUES),
    NamedMap("q05", "ve", "1", "5 % quantile", VALUES - np.float32(0.01)),
)


@pytest.fixture(scope="module", params=["classic", "enhanced"])
def written(request, tmp_path_factory):
    """Source folder, and what `write` leaves of it."""
    source, out = tmp_path_factory.mktemp("in") / "s", tmp_path_factory.mktemp("maps")
    if request.param == "classic":
        dicoms.classic(source, dicoms.stored(frames=3), dicoms.SIEMENS)
    else:
        source.mkdir()
        dicoms.enhanced(source / "IM1", dicoms.stored(frames=3))
    parametric_map.write(out, "sub-s", MAPS, AFFINE, conversion.dynamic_stack(source, None), "hash")
    return source, out


def read(out, one):
    return pydicom.dcmread(parametric_map.path_of(out, "sub-s", one.statistic, one.quantity))


def mapping(made):
    shared = made.SharedFunctionalGroupsSequence[0]
    holder = shared if "RealWorldValueMappingSequence" in shared else made.PerFrameFunctionalGroupsSequence[0]
    return holder.RealWorldValueMappingSequence[0]


def test_the_same_numbers_where_the_source_has_them(written):
    _, out = written
    for one in MAPS:
        made = read(out, one)
        assert made.pixel_array.dtype == np.float32
        np.testing.assert_array_equal(dicoms.volume(made), one.values[:, ::-1])
        real = mapping(made)
        assert (real.RealWorldValueSlope, real.RealWorldValueIntercept) == (1.0, 0.0)


def test_dcm2niix_reads_them_too(written, tmp_path):
    program = pytest.importorskip("dcm2niix").bin
    _, out = written
    for one in MAPS:
        path = parametric_map.path_of(out, "sub-s", one.statistic, one.quantity)
        command = [program, "-s", "y", "-z", "n", "-b", "n", "-x", "i", "-f", one.quantity, "-o", tmp_path, path]
        subprocess.run(command, check=True, capture_output=True)
        image = nib.load(tmp_path / f"{one.quantity}.nii")
        np.testing.assert_allclose(image.affine, AFFINE, atol=1e-5)
        np.testing.assert_array_equal(image.get_fdata(dtype=np.float32), one.values)


def test_units_and_quantities_are_coded(written):
    _, out = written
    expected = {
        "Ktrans": ("/min", [("246205007", "126312"), ("121401", "373099004")]),
        "vp": ("1", [("246205007", "126331")]),
        "ve": ("1", []),  # a quantile is no ve, and has no code of its own
    }
    for one in MAPS:
        real = mapping(read(out, one))
        unit = real.MeasurementUnitsCodeSequence[0]
        items = real.get("QuantityDefinitionSequence", [])
        codes = [(i.ConceptNameCodeSequence[0].CodeValue, i.ConceptCodeSequence[0].CodeValue) for i in items]
        assert unit.CodingSchemeDesignator == "UCUM"
        assert (unit.CodeValue, codes) == expected[one.quantity]


def test_they_belong_to_the_source(written):
    source, out = written
    originals = [pydicom.dcmread(path, stop_before_pixels=True) for path in source.iterdir()]
    first = originals[0]
    made = [read(out, one) for one in MAPS]
    for each in made:
        for keyword in ("StudyInstanceUID", "FrameOfReferenceUID", "PatientID", "PatientName", "AccessionNumber"):
            assert each[keyword].value == first[keyword].value
        (series,) = each.ReferencedSeriesSequence
        assert series.SeriesInstanceUID == first.SeriesInstanceUID
        found = {item.ReferencedSOPInstanceUID for item in series.ReferencedInstanceSequence}
        assert found == {original.SOPInstanceUID for original in originals}
    assert len({each.SeriesInstanceUID for each in made}) == 1
    assert len({each.SOPInstanceUID for each in made}) == len(MAPS)
    assert made[0].SeriesInstanceUID != first.SeriesInstanceUID


def test_another_grid_is_refused(written, tmp_path):
    source, _ = written
    elsewhere = AFFINE.copy()
    elsewhere[2, 3] += 2.0
    with pytest.raises(ValueError, match="expected a plane of the maps' grid"):
        parametric_map.write(tmp_path, "x", MAPS[:1], elsewhere, conversion.dynamic_stack(source, None), "hash")
    odd = [NamedMap("fit", "Ktrans", "furlong", "", VALUES)]
    with pytest.raises(ValueError, match="expected a unit among"):
        parametric_map.write(tmp_path, "x", odd, AFFINE, conversion.dynamic_stack(source, None), "hash")
