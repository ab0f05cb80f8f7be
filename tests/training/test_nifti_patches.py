"""Training patches of files against what inference sees of the same files."""

import dataclasses
from pathlib import Path

import gliomas
import jax
import labelled_scans
import numpy as np
import pytest
import scans
from labelled_scans import SHAPE, places

from dcejax.data.cases import Case
from dcejax.data.facts import Facts
from dcejax.data.loading import load_scan
from dcejax.methods import fixed_grid, lyoo2025
from dcejax.methods.stage import StageConfig
from dcejax.protocol import Protocol
from dcejax.rng import stream
from dcejax.training.batches import source_of
from dcejax.types import PARAMETERS

CONFIG = lyoo2025.Config()
LOSSES = {"absolute_error": 1.0}
SUBJECTS = tuple(f"sub-{number:02d}" for number in range(10))


def stage(folder, **fields) -> StageConfig:
    settings = {"patients_per_step": 2, "patches_per_patient": 6, "patch_size": 4, "losses": LOSSES}
    return StageConfig(batches=f"nifti:{folder}", **(settings | fields))


def key(step: int):
    return stream(0, "patches", step)


def inference(stem: Path, protocol: Protocol = CONFIG.protocol) -> np.ndarray:
    """Encoded curves [X, Y, Z, T] of an examination, as `dcejax-infer` encodes them; zero outside the mask."""
    facts = Facts(mask=Path(f"{stem}_desc-brain_mask.nii.gz"))
    scan = load_scan(Case(stem.name, Path(f"{stem}_dce.nii.gz"), facts))
    series = lyoo2025.series_of(scan, fixed_grid.NOTHING_BESIDE, dataclasses.replace(CONFIG, protocol=protocol))
    volume = np.zeros((*scan.mask.shape, protocol.frames), np.float32)
    volume[scan.mask], _ = fixed_grid.encode_series(series, protocol)
    return volume


@pytest.mark.parametrize(("frames", "dt_s", "percentile"), [(60, 5.0, 99.99), (75, 4.1, 99.99), (75, 4.1, 95.0)])
def test_training_sees_what_inference_sees_of_a_scan(tmp_path, frames, dt_s, percentile):
    protocol = dataclasses.replace(CONFIG.protocol, scale_percentile=percentile)
    mask, shape = scans.head((24, 20, 3)), (24, 20, 3)
    small = np.zeros(shape, bool)
    small[5:8, 5:8] = True  # fewer voxels than the other scan's scale needs at the lower percentile
    settings = {"shape": shape, "frames": frames, "dt_s": dt_s, "known": True}
    stems = [
        labelled_scans.write(tmp_path, name, seed=seed, mask=inside, **settings)
        for seed, (name, inside) in enumerate((("sub-a", mask), ("sub-b", small), ("sub-c", mask)))
    ]
    volumes = [inference(stem, protocol) for stem in stems]
    seen = set()
    for split in ("train", "validation"):
        source = source_of(stage(tmp_path, patch_size=12), protocol, split)
        for step in range(4):
            batch = source(key(step))
            assert batch.curves.shape == (12, 12, 12, frames)
            encoded = np.asarray(fixed_grid.encode_batch(batch, protocol))
            inside = np.asarray(batch.mask)
            at = tuple(np.moveaxis(places(batch.truth.maps[inside]), -1, 0))
            for row in (0, 1):
                of_row = (np.asarray(batch.row) == row)[:, None, None] & inside
                among = int(batch.context.brightest.among[row])
                (number,) = (
                    n
                    for n, volume in enumerate(volumes)
                    if np.count_nonzero(volume.any(-1)) == among
                    and np.allclose(encoded[of_row], volume[tuple(a[of_row[inside]] for a in at)], rtol=1e-2)
                )
                expected = volumes[number][tuple(a[of_row[inside]] for a in at)]
                np.testing.assert_allclose(encoded[of_row], expected, rtol=2e-6)
                seen.add(number)
            assert not encoded[~inside].any()
    assert seen == {0, 1, 2}


def test_a_batch_is_a_function_of_its_key_whatever_was_drawn_before(tmp_path):
    for number, subject in enumerate(SUBJECTS):
        labelled_scans.write(tmp_path, subject, seed=number)
    first, other = (source_of(stage(tmp_path), CONFIG.protocol) for _ in range(2))
    batches = [first(key(step)) for step in range(4)]
    again = [other(key(step)) for step in reversed(range(4))]
    jax.tree.map(np.testing.assert_array_equal, batches, again[::-1])
    assert len({np.asarray(batch.curves).tobytes() for batch in batches}) == 4


def test_decoded_examinations_are_forgotten_beyond_the_limit(tmp_path, monkeypatch):
    from dcejax.training import labelled_examinations, nifti_patches

    for number, subject in enumerate(SUBJECTS[:4]):
        labelled_scans.write(tmp_path, subject, seed=number)
    read, load = [], labelled_examinations.load
    monkeypatch.setattr(labelled_examinations, "load", lambda one, *rest: read.append(one.subject) or load(one, *rest))
    settings = stage(tmp_path, patients_per_step=1)
    kept = nifti_patches.make_source(tmp_path, settings, CONFIG.protocol, "train")
    expected = [kept(key(step)) for step in range(12)]
    assert len(read) == len(set(read)) == 3
    read.clear()
    settings = dataclasses.replace(settings, cache_gib=0.0)
    forgetful = nifti_patches.make_source(tmp_path, settings, CONFIG.protocol, "train")
    jax.tree.map(np.testing.assert_array_equal, [forgetful(key(step)) for step in range(12)], expected)
    assert 3 < len(read) <= 12


def test_patches_are_squares_of_slices_and_every_voxel_can_be_drawn(tmp_path):
    for subject in SUBJECTS[:2]:
        labelled_scans.write(tmp_path, subject)
    source = source_of(stage(tmp_path, patches_per_patient=40), CONFIG.protocol)
    drawn = np.zeros(SHAPE, int)
    for step in range(5):
        at = places(source(key(step)).truth.maps)
        np.add.at(drawn, tuple(np.moveaxis(at, -1, 0)), 1)
        # A patch lies in one slice, as inference shows slices: x along its first axis, y along its second.
        offsets = np.stack(np.meshgrid(np.arange(4), np.arange(4), [0], indexing="ij"), -1)[:, :, 0]
        np.testing.assert_array_equal(at - at[:, :1, :1], np.broadcast_to(offsets, at.shape))
    assert drawn.min() > 0


def test_the_stated_share_of_patches_is_centred_on_tumour_and_of_masks_shows_it_alone(tmp_path):
    tumour = np.zeros(SHAPE, np.uint8)
    tumour[5, 4, 1], tumour[5, 5, 1], tumour[8, 4, 1] = 1, 2, 3
    for subject in SUBJECTS[:2]:
        labelled_scans.write(tmp_path, subject, tumour=tumour)
    settings = stage(tmp_path, patients_per_step=1, patches_per_patient=8, patch_size=5, tumour_fraction=0.75)
    source = source_of(settings, CONFIG.protocol)
    centres = places(np.concatenate([source(key(step)).truth.maps[:6, 2, 2] for step in range(6)]))
    assert {tuple(centre) for centre in centres} == {(5, 4, 1), (5, 5, 1)}  # not oedema
    others = places(np.concatenate([source(key(step)).truth.maps[6:, 2, 2] for step in range(6)]))
    assert len({tuple(centre) for centre in others}) > 3

    masked = source_of(dataclasses.replace(settings, lesion_mask_fraction=1.0), CONFIG.protocol)
    alone = 0
    for step in range(6):
        plain, lesion = source(key(step)), masked(key(step))
        of_tumour = np.isin(tumour[tuple(np.moveaxis(places(plain.truth.maps), -1, 0))], (1, 2))
        has = of_tumour.any(axis=(1, 2))
        alone += has.sum()
        np.testing.assert_array_equal(lesion.mask, np.where(has[:, None, None], of_tumour, True))
        inside = np.asarray(lesion.mask)
        assert not np.asarray(lesion.curves)[~inside].any()
        assert not np.asarray(lesion.truth.maps)[~inside].any()
        np.testing.assert_array_equal(lesion.curves[inside], plain.curves[inside])
        jax.tree.map(np.testing.assert_array_equal, lesion.context, plain.context)
    assert alone >= 36
    half = source_of(dataclasses.replace(settings, lesion_mask_fraction=0.5), CONFIG.protocol)
    shown = np.mean([~half(key(step)).mask.all(axis=(1, 2))[:6] for step in range(10)])
    assert 0.25 < shown < 0.75


def test_a_tumour_that_does_not_enhance_counts_by_all_its_voxels(tmp_path):
    tumour = np.zeros(SHAPE, np.uint8)
    tumour[5, 4, 1] = 3
    for subject in SUBJECTS[:2]:
        labelled_scans.write(tmp_path, subject, tumour=tumour)
    batch = source_of(stage(tmp_path, patch_size=5, tumour_fraction=1.0), CONFIG.protocol)(key(0))
    np.testing.assert_array_equal(places(batch.truth.maps[:, 2, 2]), np.broadcast_to((5, 4, 1), (12, 3)))


def test_subjects_train_or_validate_with_all_their_sessions(tmp_path):
    marked = {}
    for number, subject in enumerate(SUBJECTS):
        for session in ("ses-1", "ses-2"):
            marked[2 * number + (session == "ses-2")] = subject
            value = 0.001 * (2 * number + (session == "ses-2"))
            stem = labelled_scans.write(tmp_path, subject, session)
            scans.save(Path(f"{stem}_desc-truth_vp.nii.gz"), np.full(SHAPE, value, np.float32))
    found = {}
    for split in ("train", "validation"):
        source = source_of(stage(tmp_path, patients_per_step=8, patches_per_patient=1), CONFIG.protocol, split)
        values = np.concatenate([source(key(step)).truth.maps[:, 0, 0, 1] for step in range(12)])
        found[split] = set(np.rint(values * 1000).astype(int).tolist())
    subjects = {split: {marked[number] for number in numbers} for split, numbers in found.items()}
    assert not subjects["train"] & subjects["validation"]
    assert subjects["train"] | subjects["validation"] == set(SUBJECTS)
    assert len(subjects["validation"]) == 2  # an eighth of ten, rounded up
    assert len(found["train"] | found["validation"]) == 20


def test_the_context_tells_what_lies_beside_a_series(tmp_path):
    for subject in SUBJECTS[:2]:
        labelled_scans.write(tmp_path / "known", subject, known=True)
        labelled_scans.write(tmp_path / "plain", subject)
    known, plain = (source_of(stage(tmp_path / name), CONFIG.protocol)(key(0)) for name in ("known", "plain"))
    assert jax.tree.map(np.shape, known) == jax.tree.map(np.shape, plain)
    for batch in (known, plain):
        context = batch.context
        np.testing.assert_allclose(context.times, np.broadcast_to(np.arange(60) / 12, (2, 60)), rtol=1e-6)
        np.testing.assert_allclose(context.acquisition.tr, [3 / 60_000] * 2, rtol=1e-6)
        np.testing.assert_allclose(context.acquisition.flip_angle, [np.deg2rad(12)] * 2, rtol=1e-6)
        assert not context.noise_sd.known.any()
        assert batch.truth.tissue is None
    maps = np.asarray(known.truth.maps)
    np.testing.assert_allclose(known.context.t10.values, maps[..., 0], rtol=1e-6)
    np.testing.assert_allclose(known.context.b1.values, 1 + maps[..., 1], rtol=1e-6)
    np.testing.assert_allclose(known.context.aif.values, [np.linspace(0, 5, 60)] * 2, rtol=1e-5)
    for name, size in (("t10", 12), ("b1", 12), ("aif", 2)):
        for batch, expected in ((known, True), (plain, False)):
            np.testing.assert_array_equal(getattr(batch.context, name).known, np.full(size, expected))


def test_a_simulated_data_set_gives_its_truth_before_its_readers(tmp_path):
    folder = gliomas.write(tmp_path, people=gliomas.PEOPLE[:2], prefix="x")
    batch = source_of(stage(folder, patients_per_step=1, patch_size=36), CONFIG.protocol)(key(0))
    made = [gliomas.simulate(number) for number in range(2)]

    def holds(maps):
        return {tuple(voxel) for voxel in maps[maps.any(axis=-1)]}

    drawn = holds(np.asarray(batch.truth.maps))
    assert sum(drawn <= holds(one.truth) for one in made) == 1
    for path in folder.glob("sub-*/perf/*_desc-truth_*"):
        path.unlink()
    batch = source_of(stage(folder, patients_per_step=1, patch_size=36), CONFIG.protocol)(key(0))
    assert sum(holds(np.asarray(batch.truth.maps)) <= holds(one.readers["reader1"]) for one in made) == 1


def test_labels_are_those_that_were_asked_for_and_lie_between_zero_and_one(tmp_path):
    beyond = np.array([-0.5, 0.25, 7.0], np.float32)  # of Ktrans, vp, ve
    for subject in SUBJECTS[:2]:
        stem = labelled_scans.write(tmp_path, subject)
        for value, name in zip(beyond, PARAMETERS, strict=True):
            scans.save(Path(f"{stem}_desc-reader1_{name}.nii.gz"), np.full(SHAPE, value, np.float32))
    of = {
        labels: source_of(stage(tmp_path, labels=labels), CONFIG.protocol)(key(0))
        for labels in ("", "truth", "reader1")
    }
    np.testing.assert_array_equal(of[""].truth.maps, of["truth"].truth.maps)
    np.testing.assert_array_equal(of["reader1"].truth.maps, np.broadcast_to([0.0, 0.25, 1.0], (12, 4, 4, 3)))
    np.testing.assert_array_equal(of["reader1"].curves, of["truth"].curves)


def test_a_folder_of_its_own_may_validate(tmp_path):
    for folder, names in (("ours", SUBJECTS[:3]), ("others", SUBJECTS[3:5])):
        for number, subject in enumerate(names):
            stem = labelled_scans.write(tmp_path / folder, subject)
            value = np.float32(0.1 * number + 0.5 * (folder == "others") + 0.1)
            scans.save(Path(f"{stem}_desc-truth_vp.nii.gz"), np.full(SHAPE, value))
    settings = stage(tmp_path / "ours", validation_batches=f"nifti:{tmp_path / 'others'}")
    found = {}
    for split in ("train", "validation"):
        source = source_of(settings, CONFIG.protocol, split)
        values = np.concatenate([source(key(step)).truth.maps[:, 0, 0, 1] for step in range(8)])
        found[split] = set(np.rint(values * 10).astype(int).tolist())
    assert found == {"train": {1, 2, 3}, "validation": {6, 7}}


def test_of_several_processes_each_reads_its_own_examinations(tmp_path, monkeypatch):
    from dcejax.training import labelled_examinations

    for number, subject in enumerate(SUBJECTS):
        labelled_scans.write(tmp_path, subject, seed=number)
    settings = stage(tmp_path, patients_per_step=4)
    whole = source_of(settings, CONFIG.protocol)(key(0))
    load, parts = labelled_examinations.load, []
    for process in range(2):
        read = []
        monkeypatch.setattr(jax, "process_count", lambda: 2)
        monkeypatch.setattr(jax, "process_index", lambda process=process: process)
        monkeypatch.setattr(
            labelled_examinations, "load", lambda one, *rest, read=read: read.append(one.subject) or load(one, *rest)
        )
        batch = source_of(settings, CONFIG.protocol)(key(0))
        own = slice(12 * process, 12 * process + 12)  # examples of two patients
        np.testing.assert_array_equal(batch.curves[own], whole.curves[own])
        np.testing.assert_array_equal(
            batch.context.brightest.curves[2 * process :][:2], whole.context.brightest.curves[2 * process :][:2]
        )
        assert not np.asarray(batch.curves[12 - 12 * process :][:12]).any()
        assert len(read) <= 2
        parts.append(read)
    assert parts[0] != parts[1]


def test_what_is_made_of_each_curve_is_made_once_and_is_the_same(tmp_path):
    mask = scans.head(SHAPE)
    for number, subject in enumerate(SUBJECTS[:3]):
        labelled_scans.write(tmp_path, subject, seed=number, mask=mask)
    calls = []

    def per_curve(batch):
        calls.append(batch.curves.shape)
        scale = batch.context.brightest.curves.max(axis=(-1, -2))[batch.row]
        share = batch.curves / scale.reshape(-1, *[1] * (batch.curves.ndim - 1))
        return batch._replace(curves=1.0 + share.cumsum(axis=-1)[..., :3])

    settings = stage(tmp_path)
    plain, kept = (source_of(settings, CONFIG.protocol, per_curve=f) for f in (None, per_curve))
    for step in range(6):
        batch = kept(key(step))
        np.testing.assert_allclose(batch.curves, per_curve(plain(key(step))).curves, rtol=1e-6)
        assert (np.asarray(batch.curves)[~np.asarray(batch.mask)] == 1.0).all()
    assert len([shape for shape in calls if len(shape) == 3]) == 2  # of the subjects that do not validate


def break_frames(folder, stem):
    labelled_scans.write(folder, SUBJECTS[1], frames=70)


def break_size(folder, stem):
    for subject in SUBJECTS[:2]:
        labelled_scans.write(folder, subject, shape=(11, 3, 3))


def break_subjects(folder, stem):
    for path in (folder / SUBJECTS[1]).rglob("*_dce.nii.gz"):
        path.unlink()


def remove(ending):
    return lambda folder, stem: Path(f"{stem}_{ending}").unlink()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (break_frames, r"sub-01_dce\.nii\.gz: expected 60 frames like sub-00_dce\.nii\.gz, found 70"),
        (break_size, r"sub-00_dce\.nii\.gz: expected slices of at least patch_size = 4.*found 11 x 3"),
        (break_subjects, r"subjects: expected two or more.*found 1"),
        (remove("desc-brain_mask.nii.gz"), r"sub-00_desc-brain_mask\.nii\.gz: expected .* found no file"),
        (remove("desc-tumour_dseg.nii.gz"), r"sub-00_desc-tumour_dseg\.nii\.gz: expected .* found no file"),
        (remove("desc-truth_vp.nii.gz"), r"sub-00_desc-truth_vp\.nii\.gz: expected a label .* found no file"),
    ],
)
def test_bad_folders_are_refused_at_once(tmp_path, spoil, message):
    stem = labelled_scans.write(tmp_path, SUBJECTS[0])
    labelled_scans.write(tmp_path, SUBJECTS[1])
    spoil(tmp_path, stem)
    with pytest.raises(ValueError, match=message):
        source_of(stage(tmp_path), CONFIG.protocol)


def test_a_folder_that_is_none_is_refused(tmp_path):
    with pytest.raises(ValueError, match="nowhere: expected a folder of labelled examinations"):
        source_of(stage(tmp_path / "nowhere"), CONFIG.protocol)
    with pytest.raises(ValueError, match="expected a BIDS folder"):
        source_of(stage(tmp_path), CONFIG.protocol)


def test_bad_scans_are_refused_when_they_are_read(tmp_path):
    stems = [labelled_scans.write(tmp_path, subject, dt_s=9.0) for subject in SUBJECTS[:2]]
    with pytest.raises(ValueError, match=r"sub-0.: expected frames at most 6 s apart"):
        source_of(stage(tmp_path), CONFIG.protocol)(key(0))
    for subject, stem in zip(SUBJECTS, stems, strict=False):
        labelled_scans.write(tmp_path, subject)
        bad = labelled_scans.labels()[..., 0]
        bad[3, 3, 1] = np.nan
        scans.save(Path(f"{stem}_desc-truth_{PARAMETERS[0]}.nii.gz"), bad)
    with pytest.raises(ValueError, match=r"desc-truth_Ktrans.*expected finite labels.*in 1 of its 297 voxels"):
        source_of(stage(tmp_path), CONFIG.protocol)(key(0))
