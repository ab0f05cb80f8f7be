import dataclasses

import numpy as np
import pytest
import scans

from dcejax.data import cases, loading
from dcejax.data.facts import Facts

NOTHING = Facts()


def case_of(tmp_path, **facts):
    path = scans.save_scan(tmp_path / "scan.nii.gz")
    mask = scans.save_mask(tmp_path / "mask.nii.gz")
    return cases.Case("scan", path, Facts(**({"mask": mask} | facts)))


def test_load(tmp_path):
    case = case_of(tmp_path, segmentation=scans.save_mask(tmp_path / "labels.nii.gz"))
    scans.save_sidecar(case.path, RepetitionTime=0.0031, FlipAngle=12)
    scan = loading.load_scan(case)
    np.testing.assert_array_equal(scan.values, scans.signal())
    np.testing.assert_array_equal(scan.mask, scans.head())
    np.testing.assert_allclose(scan.times, np.arange(60) * 5 / 60)
    np.testing.assert_allclose(scan.affine, scans.AFFINE)
    assert scan.provenance["acquisition"] == {"tr_ms": 3.1, "flip_angle_deg": 12}
    assert scan.provenance["mask"] == {"source": "file mask.nii.gz", "voxels": int(scans.head().sum())}
    assert scan.warnings == ()


def test_flags_come_before_the_sidecar(tmp_path):
    case = case_of(tmp_path, tr_ms=7.0, flip_angle_deg=20.0)
    scans.save_sidecar(case.path, RepetitionTime=0.005, FlipAngle=15)
    scan = loading.load_scan(case)
    assert scan.provenance["acquisition"] == {"tr_ms": 7.0, "flip_angle_deg": 20.0}
    assert scan.warnings == (
        "tr_ms of scan.nii.gz is 7 as stated, though RepetitionTime in scan.json gives 5",
        "flip_angle_deg of scan.nii.gz is 20 as stated, though FlipAngle in scan.json gives 15",
    )


@pytest.mark.parametrize(
    "fields",
    [{"RepetitionTimeExcitation": 0.00702}, {"RepetitionTime": 5.0}, {"RepetitionTime": 0.15}, {"FlipAngle": 9}],
)
def test_a_sidecar_that_says_nothing_else_is_no_matter(tmp_path, fields):
    case = case_of(tmp_path, tr_ms=7.0)
    scans.save_sidecar(case.path, **fields)
    scan = loading.load_scan(case)
    assert scan.provenance["acquisition"]["tr_ms"] == 7.0
    assert scan.warnings == ()


def test_a_time_between_inversions_is_named(tmp_path):
    case = case_of(tmp_path)
    scans.save_sidecar(case.path, RepetitionTimeInversion=2.3, FlipAngle=15)
    told = r"RepetitionTimeInversion in the sidecar, over which --tr_ms wins: expected tr_ms .* found 2300"
    with pytest.raises(ValueError, match=told):
        loading.load_scan(case)
    found = loading.load_scan(dataclasses.replace(case, facts=dataclasses.replace(case.facts, tr_ms=5.0)))
    assert found.provenance["acquisition"]["tr_ms"] == 5.0


def test_the_file_that_disagrees_is_named_where_it_is_inherited(tmp_path):
    folder = tmp_path / "sub-1" / "perf"
    path = scans.save_scan(folder / "sub-1_dce.nii.gz")
    (tmp_path / "dce.json").write_text('{"FlipAngle": 15}')
    scans.save_sidecar(path, RepetitionTimeExcitation=0.004)
    facts = Facts(mask=scans.save_mask(tmp_path / "mask.nii.gz"), flip_angle_deg=20.0)
    (warning,) = loading.load_scan(cases.Case("sub-1", path, facts)).warnings
    assert warning.endswith("is 20 as stated, though FlipAngle in dce.json gives 15")


def test_nan_in_the_mask_is_counted(tmp_path):
    case = case_of(tmp_path)
    values = scans.signal()
    values[12, 10, 1, 3:7] = np.nan
    values[13, 10, 2, 0] = np.inf
    values[0, 0, 0, 0] = np.nan  # outside
    scans.save(case.path, values, dt_s=5.0)
    voxels = int(scans.head().sum())
    with pytest.raises(ValueError, match=rf"NaN or infinity in 2 of its {voxels} voxels, the first at \(12, 10, 1\)"):
        loading.require_finite(case, loading.load_scan(case))


def test_nan_outside_the_mask_is_no_matter(tmp_path):
    case = case_of(tmp_path)
    values = scans.signal()
    values[~scans.head()] = np.nan
    scans.save(case.path, values, dt_s=5.0)
    loading.require_finite(case, loading.load_scan(case))


def test_automatic_foreground_says_what_it_is(tmp_path):
    scan = loading.load_scan(dataclasses.replace(case_of(tmp_path), facts=NOTHING))
    np.testing.assert_array_equal(scan.mask, scans.head())
    assert scan.provenance["mask"]["source"] == "automatic foreground"
    assert "no mask was given" in scan.warnings[0]


def test_nan_inside_the_automatic_foreground(tmp_path):
    case = dataclasses.replace(case_of(tmp_path), facts=NOTHING)
    values = scans.signal()
    values[12, 10, 1, 3] = np.nan
    scans.save(case.path, values, dt_s=5.0)
    with pytest.raises(ValueError, match="automatic foreground, found NaN or infinity in 1 of"):
        loading.require_finite(case, loading.load_scan(case))


def test_image_without_foreground(tmp_path):
    path = scans.save(tmp_path / "flat.nii.gz", np.full((6, 6, 2, 60), 7, np.float32), dt_s=5.0)
    with pytest.raises(ValueError, match=r"flat\.nii\.gz: expected a foreground.*give --mask"):
        loading.load_scan(cases.Case("flat", path, NOTHING))


def test_foreground_of_concentration_is_what_is_not_zero(tmp_path):
    values = scans.signal() * scans.head()[..., None]
    path = scans.save(tmp_path / "c.nii.gz", values, dt_s=5.0)
    scan = loading.load_scan(cases.Case("c", path, Facts(input_quantity="concentration")))
    np.testing.assert_array_equal(scan.mask, scans.head())


def test_foreground_of_concentration_leaves_out_what_is_not_finite(tmp_path):
    values = scans.signal() * scans.head()[..., None]
    values[12, 10, 1, 3] = np.nan
    values[0, 0, 0, 5] = np.inf
    path = scans.save(tmp_path / "c.nii.gz", values, dt_s=5.0)
    scan = loading.load_scan(cases.Case("c", path, Facts(input_quantity="concentration")))
    expected = scans.head()
    expected[12, 10, 1] = False
    np.testing.assert_array_equal(scan.mask, expected)


def test_an_acquisition_stated_for_concentration_is_told(tmp_path):
    case = case_of(tmp_path, tr_ms=4.0, flip_angle_deg=20.0, input_quantity="concentration")
    assert loading.load_scan(case).warnings[0].startswith("tr_ms and flip_angle_deg without effect on concentration")
    described = case_of(tmp_path, input_quantity="concentration")
    scans.save_sidecar(described.path, RepetitionTime=0.004, FlipAngle=20)
    assert loading.load_scan(described).warnings == ()


def test_segmentation_outside_the_mask_is_told(tmp_path):
    everywhere = scans.save_mask(tmp_path / "labels.nii.gz", np.ones(scans.SHAPE))
    scan = loading.load_scan(case_of(tmp_path, segmentation=everywhere))
    assert f"{int((~scans.head()).sum())} voxels of the segmentation lie outside" in scan.warnings[0]


def test_t1_map_in_seconds_becomes_minutes(tmp_path):
    t1 = scans.save(tmp_path / "t1.nii.gz", np.full(scans.SHAPE, 1.2, np.float32))
    np.testing.assert_allclose(loading.load_scan(case_of(tmp_path, t1_map=t1)).t1_map, 0.02)


@pytest.mark.parametrize(
    ("value", "found"), [(1200.0, "a median of 1200"), (0.02, "a median of 0.02"), (0.0, "none above zero")]
)
def test_implausible_t1_map(tmp_path, value, found):
    t1 = scans.save(tmp_path / "t1.nii.gz", np.full(scans.SHAPE, value, np.float32))
    with pytest.raises(ValueError, match=rf"t1\.nii\.gz: expected T1 in s.*{found}"):
        loading.load_scan(case_of(tmp_path, t1_map=t1))


@pytest.mark.parametrize("value", [95.0, 80.0, 800.0, 2.5, 0.26])  # percent, degrees, tenths of them, radians
def test_b1_map_is_a_ratio(tmp_path, value):
    b1 = scans.save(tmp_path / "b1.nii.gz", np.full(scans.SHAPE, value, np.float32))
    case = case_of(tmp_path, b1_map=b1)
    remedy = "divide a map in percent by 100, one of flip angles by the nominal one"
    with pytest.raises(ValueError, match=rf"b1\.nii\.gz: expected the ratio.*median of {value:g}.*{remedy}"):
        loading.load_b1_map(case, loading.load_scan(case))


def test_voxels_of_impossible_t1_have_none(tmp_path):
    values = np.full(scans.SHAPE, 1.5, np.float32)
    values[:3] = 1500.0
    found = loading.load_scan(case_of(tmp_path, t1_map=scans.save(tmp_path / "t1.nii.gz", values)))
    assert (found.t1_map[:3] == 0).all()
    np.testing.assert_allclose(found.t1_map[3:] * 60, 1.5)
    count = np.count_nonzero(found.mask[:3])
    assert any(f"t1.nii.gz: {count} voxels of the mask have T1 above 20 s" in warning for warning in found.warnings)


def test_voxels_of_impossible_b1_have_none(tmp_path):
    values = np.full(scans.SHAPE, 0.9, np.float32)
    values[:10], values[-8:] = 50.0, 0.01
    case = case_of(tmp_path, b1_map=scans.save(tmp_path / "b1.nii.gz", values))
    scan = loading.load_scan(case)
    found, warnings = loading.load_b1_map(case, scan)
    assert (found[:10] == 0).all()
    assert (found[-8:] == 0).all()
    np.testing.assert_allclose(found[10:-8], 0.9)
    above, below = (np.count_nonzero(scan.mask[part]) for part in (slice(10), slice(-8, None)))
    assert warnings[0].startswith(f"b1.nii.gz: {above} voxels of the mask have B1 above 3 and count as without B1")
    assert warnings[1].startswith(f"b1.nii.gz: {below} voxels of the mask have B1 below 0.2")


@pytest.mark.parametrize(
    ("stated", "message"),
    [
        ({"tr_ms": 0.005}, "expected tr_ms of 0.5 to 500 ms, found 0.005"),
        ({"tr_ms": 5000.0}, "expected tr_ms of 0.5 to 500 ms, found 5000"),
        (
            {"flip_angle_deg": 0.26},
            "expected flip_angle_deg from 0.8 to below 180 degrees, found 0.26; multiply radians",
        ),
        ({"flip_angle_deg": 200.0}, "found 200"),
    ],
)
def test_an_acquisition_in_another_unit(tmp_path, stated, message):
    with pytest.raises(ValueError, match=message):
        loading.load_scan(case_of(tmp_path, **stated))


@pytest.mark.parametrize("relaxivity", [0.0056, 270.0, 4500.0])
def test_relaxivity_in_another_unit(tmp_path, relaxivity):
    with pytest.raises(ValueError, match=rf"expected a relaxivity of 1 to 20 1/\(mM s\), found {relaxivity:g}"):
        loading.load_scan(case_of(tmp_path, relaxivity=relaxivity))


def test_a_hematocrit_in_percent(tmp_path):
    with pytest.raises(ValueError, match=r"scan\.nii\.gz: expected a hematocrit of 0 to below 1, found 42"):
        loading.load_scan(case_of(tmp_path, hematocrit=42.0))


@pytest.mark.parametrize("missing", [np.nan, np.inf, 0.0])
def test_b1_map_may_have_no_value_in_some_voxels(tmp_path, missing):
    values = np.full(scans.SHAPE, 0.9, np.float32)
    values[:13] = missing  # more than half of the mask
    case = case_of(tmp_path, b1_map=scans.save(tmp_path / "b1.nii.gz", values))
    np.testing.assert_array_equal(loading.load_b1_map(case, loading.load_scan(case))[0], values)


def test_b1_map_without_values(tmp_path):
    case = case_of(tmp_path, b1_map=scans.save(tmp_path / "b1.nii.gz", np.full(scans.SHAPE, np.nan, np.float32)))
    with pytest.raises(ValueError, match=r"b1\.nii\.gz: expected the ratio.*found none above zero"):
        loading.load_b1_map(case, loading.load_scan(case))


@pytest.mark.parametrize("name", [f.name for f in dataclasses.fields(Facts) if f.metadata["positive"]])
@pytest.mark.parametrize("value", [0.0, -1.0, np.nan])
def test_impossible_numbers(tmp_path, name, value):
    with pytest.raises(ValueError, match=f"expected a positive {name}"):
        loading.load_scan(case_of(tmp_path, **{name: value}))


def test_impossible_sidecar(tmp_path):
    case = case_of(tmp_path)
    scans.save_sidecar(case.path, FlipAngle="ten")
    with pytest.raises(ValueError, match=r"scan\.json: expected a positive number for FlipAngle, found 'ten'"):
        loading.load_scan(case)
