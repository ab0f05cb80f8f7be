"""The public API as a notebook uses it: arrays in, arrays out, and clear refusals."""

import subprocess
import sys

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scans

import dcejax
from dcejax.data import nifti
from dcejax.physics.aif import parker
from dcejax.physics.forward import signal_residual
from dcejax.physics.kinetics import ExtendedTofts, extended_tofts
from dcejax.physics.units import acquisition

TIMES = np.arange(60) * 5 / 60


@pytest.fixture(scope="module")
def curves():
    """Exact curves of four voxels in a square, and their arterial input."""
    aif = np.asarray(parker(TIMES, arrival=0.5))
    truth = ExtendedTofts(*np.array([[0.07, 0.25, 0.02, 0.1], [0.05, 0.1, 0.02, 0.03], [0.25, 0.4, 0.2, 0.3]]))
    found = jax.vmap(extended_tofts, (0, None, None))(truth, TIMES, aif)
    return np.asarray(found).reshape(2, 2, 60), aif, truth


@pytest.fixture(scope="module")
def released(tiny_weights):
    return dcejax.load_weights(str(tiny_weights))


def test_every_public_name_is_there_and_no_other():
    assert set(dir(dcejax)) == set(dcejax.__all__)
    for name in dcejax.__all__:
        assert getattr(dcejax, name) is not None
    assert dcejax.__version__ == "0.1.0"
    with pytest.raises(AttributeError, match="public names are"):
        dcejax.absent  # noqa: B018


def test_importing_the_package_does_not_import_jax():
    code = "import sys, dcejax; sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_fit_of_an_array_of_any_shape(curves):
    concentration, aif, truth = curves
    found = dcejax.fit(concentration, TIMES, aif)
    assert found.status.shape == (2, 2)
    assert found.covariance.shape == (2, 2, 3, 3)
    for name in ExtendedTofts._fields:
        np.testing.assert_allclose(getattr(found.params, name).ravel(), getattr(truth, name), rtol=1e-3)
    assert dcejax.fit(concentration[0, 0], TIMES, aif, "patlak").params.ktrans.shape == ()


def test_maps_of_an_array_are_those_of_the_command(released, tmp_path, run_infer):
    path = scans.save_scan(tmp_path / "in" / "p1.nii.gz")
    mask = scans.save_mask(tmp_path / "in" / "mask.nii.gz")
    assert run_infer(path, mask=mask, output_dir=tmp_path / "out")[0] == 0
    scan = dcejax.open_scan(path, mask=mask)
    with pytest.warns(UserWarning, match="below 200 mL it may miss the large vessels"):
        maps = dcejax.predict(scan, released)
    made = dcejax.make_scan(scans.signal(), TIMES, scans.head(), case_id="p1")
    with pytest.warns(UserWarning, match="below 200 mL"):
        again = dcejax.predict(made, released)
    for name, values in maps.items():
        what, quantity = name.split("_")
        written = nifti.read_label_map(tmp_path / "out" / f"p1_desc-{what}_{quantity}.nii.gz").values
        np.testing.assert_array_equal(values, written)
        np.testing.assert_allclose(again[name], values, rtol=1e-4, atol=1e-6)  # times of a header are rounded
    paths = dcejax.save_maps(tmp_path / "saved", scan, maps)
    assert {p.name for p in paths} == {p.name for p in (tmp_path / "out").glob("*_desc-*.nii.gz")}


def test_an_arterial_input_beside_an_array(released, curves):
    scan, (_, aif, _) = dcejax.make_scan(scans.signal(), TIMES, scans.head(), case_id="p1"), curves
    with pytest.warns(UserWarning, match="p1: ") as told:
        dcejax.predict(scan, released, aif=(TIMES + 0.1, aif))
    assert any("aif: its clock starts 6 s after the series'" in str(one.message) for one in told)
    with pytest.raises(ValueError, match="aif_clock: expected 'scan' or 'frames', found 'own'"):
        dcejax.predict(scan, released, aif=(TIMES, aif), aif_clock="own")
    for bad in ((TIMES[::-1], aif), (TIMES[:-1], aif), (TIMES, aif * np.nan)):
        with pytest.raises(ValueError, match="aif: expected two samples or more at increasing times"):
            dcejax.predict(scan, released, aif=bad)


def test_one_training_step_and_batches_on_the_device(monkeypatch):
    from training_examples import make_batch

    from dcejax.training import batches

    monkeypatch.setattr(
        batches, "source_of", lambda *_, **__: lambda key: make_batch(seed=int(jax.random.bits(key)) % 97)
    )
    stage = dcejax.make_stage(scans.tiny_config())
    state, step = dcejax.init_state(stage, jax.random.key(0)), dcejax.make_train_step(stage)
    first, second, again = (next(dcejax.batches(stage, start=n)) for n in (0, 1, 0))
    chex.assert_trees_all_equal(first, again)
    assert not np.array_equal(first.curves, second.curves)
    before = jax.tree.map(np.array, state.params)
    state, metrics = step(state, first, jax.random.key(1))
    chex.assert_tree_all_finite((state.params, metrics))
    assert any(not np.array_equal(a, b) for a, b in zip(*map(jax.tree.leaves, (before, state.params)), strict=True))
    assert dcejax.make_stage(scans.tiny_config(), "prob_unet", {"tcn": state.params}).name == "prob_unet"


def test_gradient_of_the_physics_residual_with_respect_to_maps(curves):
    _, aif, truth = curves
    maps = jnp.stack(truth, axis=-1)
    scanner = acquisition(2.8, 10.0, 4.5)
    signal = dcejax.physics.forward.signal_curves(maps, TIMES, aif, 1.5 / 60, scanner)
    loss = lambda maps: (signal_residual(maps, signal, 0.01, TIMES, aif, 1.5 / 60, scanner) ** 2).mean()  # noqa: E731
    assert float(jnp.abs(jax.grad(loss)(maps)).max()) < 1e-4
    gradient = jax.grad(loss)(maps * 1.1)
    assert (gradient[:, 0] > 0).all()


@pytest.mark.slow
def test_a_simulated_patient_as_arrays():
    patient = dcejax.simulate(3, size="slab")
    assert patient.truth.shape == (*patient.scan.mask.shape, 3)
    assert patient.scan.values.shape[:3] == patient.scan.mask.shape


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"diagnosis": 99}, "diagnosis: expected 0 to"),
        ({"size": "tiny"}, "size: expected one of full, half, slab"),
    ],
)
def test_patients_that_there_are_not(arguments, message):
    with pytest.raises(ValueError, match=message):
        dcejax.simulate(0, **arguments)


def test_units_and_shapes_that_do_not_fit_are_refused(curves):
    concentration, aif, _ = curves
    signal = scans.signal((2, 2, 1))
    refused = [
        (lambda: dcejax.fit(concentration, TIMES * 60, aif), "times"),
        (lambda: dcejax.fit(concentration, TIMES * 60_000, aif), "times"),
        (lambda: dcejax.fit(concentration, TIMES, aif * 1000), "aif"),
        (lambda: dcejax.fit(concentration * 1000, TIMES, aif), "concentration"),
        (lambda: dcejax.fit(concentration, TIMES[:-1], aif), "expected concentration"),
        (lambda: dcejax.make_scan(signal, TIMES * 60), "divide times in s by 60"),
        (lambda: dcejax.make_scan(signal[0], TIMES), r"values: expected shape \[X, Y, Z, T\]"),
        (lambda: dcejax.make_scan(signal, TIMES[::-1]), "increasing"),
        (lambda: dcejax.make_scan(signal, TIMES, np.ones((2, 3, 1))), "mask: expected shape"),
        (lambda: dcejax.make_scan(signal, TIMES, t1_map=np.full((2, 2, 1), 1.5)), "divide one in s by 60"),
        (lambda: dcejax.make_scan(np.full_like(signal, np.nan), TIMES), "finite values in the mask"),
        (lambda: dcejax.save_maps(".", dcejax.make_scan(signal, TIMES), {"Ktrans": signal[..., 0]}), "maps: expected"),
        (lambda: dcejax.make_stage(scans.tiny_config(), "unet"), "part: expected one of tcn, prob_unet"),
        (lambda: dcejax.open_scan("absent.nii.gz"), "absent.nii.gz"),
    ]
    for call, message in refused:
        with pytest.raises(ValueError, match=message):
            call()


def test_what_cannot_be_traced_says_so(curves):
    concentration, aif, _ = curves
    with pytest.raises(TypeError, match=r"dcejax\.fit: .* cannot be traced or differentiated: call it outside, or use"):
        jax.jit(lambda c: dcejax.fit(c, TIMES, aif).params.ktrans)(concentration)
    with pytest.raises(TypeError, match=r"dcejax\.make_scan: expected arrays with values, found values"):
        jax.grad(lambda v: dcejax.make_scan(v, TIMES).values.sum())(scans.signal((2, 2, 1)))
