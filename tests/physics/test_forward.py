"""Physics consistency: maps -> forward model -> curves against the input, differentiable end to end."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree
from quadrature import central_difference, convolve

from dcejax.data import weights
from dcejax.execution.curves import map_curves
from dcejax.execution.policy import default_policy
from dcejax.methods import method
from dcejax.methods.lyoo2025 import make_tcn
from dcejax.models.tcn import TCN
from dcejax.physics.aif import parker
from dcejax.physics.forward import beside_vessels, signal_curves, signal_residual
from dcejax.physics.signal import spgr, spgr_to_concentration
from dcejax.physics.tracer_models import MODELS
from dcejax.physics.units import acquisition
from dcejax.protocol import Protocol
from dcejax.simulation import priors, tissue_kinetics
from dcejax.simulation.aif_prior import disperse, plasma_concentration
from dcejax.simulation.anatomy.head_anatomy import tissue_shares
from dcejax.simulation.scanner.session_fields import receive_field, to_head, transmit_field
from dcejax.simulation.training import patient, point_measurement

TIMES = np.arange(60) * 5.0 / 60.0
ACQUISITION = acquisition(tr_ms=2.8, flip_angle_deg=10.0, relaxivity_per_mM_s=4.5)
T10 = 1.5 / 60.0
MAPS = np.array([[0.07, 0.05, 0.25], [0.25, 0.10, 0.40], [0.03, 0.03, 0.20], [0.0, 0.02, 0.15]])


def aif():
    return parker(TIMES, arrival=0.5)


FRAMES = np.array([0.0, 0.07, 0.15, 0.25, 0.4, 0.6, 0.9, 1.3, 1.4])  # min, uneven
FINE = np.arange(0.0, 1.6, 0.02)
DURATION = 0.05


class Voxels:
    """Three voxels with everything that may vary between them."""

    maps = np.array([[0.2, 0.05, 0.3], [0.05, 0.02, 0.2], [0.5, 0.1, 0.4]])
    t10 = np.array([1.2, 1.5, 0.9]) / 60.0
    s0 = np.array([1.0, 0.8, 1.3])
    b1 = np.array([0.9, 1.0, 1.15])
    delay = np.array([0.013, -0.021, 0.0347])
    times = FRAMES
    aif = 0.2 + 5.0 * FRAMES * np.exp(-3.0 * FRAMES)
    fine_aif = 0.2 + 5.0 * FINE * np.exp(-3.0 * FINE)

    def keywords(self):
        return {"s0": self.s0, "b1": self.b1, "delay": self.delay}


def ernst(concentration, t10, s0, b1):
    """Spoiled gradient echo in numpy, as the textbook has it."""
    angle = b1 * ACQUISITION.flip_angle
    decay = np.exp(-ACQUISITION.tr * (1.0 / t10 + ACQUISITION.relaxivity * concentration))
    return s0 * np.sin(angle) * (1.0 - decay) / (1.0 - np.cos(angle) * decay)


def by_quadrature(frame_duration=None, acquired_times=None, fine=False):
    """The same signal in float64 numpy and scipy."""
    v = Voxels
    knots, plasma = (FINE, v.fine_aif) if fine else (FRAMES, v.aif)
    frames = FRAMES if acquired_times is None else acquired_times
    rows = []
    for (ktrans, vp, ve), t10, s0, b1, delay in zip(v.maps, v.t10, v.s0, v.b1, v.delay, strict=True):

        def concentration(query, ktrans=ktrans, vp=vp, ve=ve):
            shown = np.where(query < knots[0], 0.0, np.interp(query, knots, plasma))
            return vp * shown + ktrans * convolve(ktrans / ve, knots, plasma, query)

        if fine or frame_duration is not None:
            inner = np.zeros(1) if frame_duration is None else (np.arange(8) + 0.5) / 8 * frame_duration
            query = frames[:, None] + inner - delay
            curve = np.interp(query, knots, concentration(knots), left=0.0).mean(-1)
        else:
            curve = concentration(frames - delay)
        rows.append(ernst(curve, t10, s0, b1))
    if acquired_times is not None:
        rows = [np.interp(FRAMES, acquired_times, row) for row in rows]
    return np.array(rows)


ACQUIRED = np.linspace(0.0, 1.45, 11)
CASES = [
    {},
    {"fine": True},
    {"fine": True, "frame_duration": DURATION},
    {"fine": True, "frame_duration": DURATION, "acquired_times": ACQUIRED},
    {"frame_duration": DURATION},
]


def forward(maps, b1, delay, *, fine=False, **more):
    v = Voxels
    grid = {"aif_times": FINE} if fine else {}
    curve = v.fine_aif if fine else v.aif

    @jax.jit  # compiled whole: its many steps one by one take longer to compile
    def call(maps, b1, delay):
        return signal_curves(maps, FRAMES, curve, v.t10, ACQUISITION, s0=v.s0, b1=b1, delay=delay, **grid, **more)

    return call(maps, b1, delay)


@pytest.mark.parametrize("case", CASES)
def test_equals_a_float64_reference(case):
    v = Voxels
    with jax.enable_x64(True):
        np.testing.assert_allclose(forward(v.maps, v.b1, v.delay, **case), by_quadrature(**case), rtol=1e-10)
    single = [np.asarray(a, np.float32) for a in (v.maps, v.b1, v.delay)]
    np.testing.assert_allclose(forward(*single, **case), by_quadrature(**case), rtol=2e-4)


@pytest.mark.parametrize("case", CASES)
def test_gradients_equal_finite_differences(case):
    """With respect to maps, B1 and delay; no delay puts a sample on a knot."""
    v = Voxels
    with jax.enable_x64(True):
        shape = np.linspace(1.0, -0.4, FRAMES.size)
        loss = jax.jit(lambda maps, b1, delay: jnp.sum(shape * forward(maps, b1, delay, **case)))
        gradients = jax.jit(jax.grad(loss, (0, 1, 2)))(v.maps, v.b1, v.delay)
        differences = (
            central_difference(lambda m: float(loss(m, v.b1, v.delay)), v.maps, 1e-6),
            central_difference(lambda b: float(loss(v.maps, b, v.delay)), v.b1, 1e-6),
            central_difference(lambda d: float(loss(v.maps, v.b1, d)), v.delay, 1e-6),
        )
    for gradient, difference in zip(gradients, differences, strict=True):
        assert np.abs(difference).max() > 1e-3
        np.testing.assert_allclose(gradient, difference, rtol=1e-5, atol=1e-8)


def test_a_batch_of_examinations_by_vmap():
    """Each with its own times, arterial input, acquisition, frame duration, B1 and delay."""
    v = Voxels
    settings = jax.tree.map(lambda a: jnp.array([a, 0.9 * a]), ACQUISITION)
    times, curves = np.stack([FRAMES, 1.1 * FRAMES]), np.stack([v.fine_aif, 0.7 * v.fine_aif])
    fine, durations = np.stack([FINE, 1.1 * FINE]), np.array([DURATION, 0.04])
    acquired = np.stack([ACQUIRED, 1.05 * ACQUIRED])
    maps, b1 = np.stack([v.maps, v.maps[::-1]]), np.stack([v.b1, v.b1 + 0.05])

    def one(maps, times, curve, settings, b1, fine, duration, acquired):
        more = {"aif_times": fine, "frame_duration": duration, "acquired_times": acquired}
        return signal_curves(maps, times, curve, v.t10, settings, b1=b1, delay=v.delay, **more)

    batch = (maps, times, curves, settings, b1, fine, durations, acquired)
    found, single = jax.jit(jax.vmap(one))(*batch), jax.jit(one)
    for index in range(2):
        alone = single(*jax.tree.map(lambda leaf, index=index: leaf[index], batch))
        np.testing.assert_allclose(found[index], alone, rtol=1e-4)


def test_any_model_gives_its_signal():
    model = MODELS["two_compartment_exchange"]
    maps = jnp.array([[0.3, 0.05, 0.05, 0.2], [0.3, 0.05, 0.05, -1.0]])
    found = jax.jit(partial(signal_curves, model=model))(maps, TIMES, aif(), T10, ACQUISITION)
    expected = jax.jit(lambda ve: spgr(model.curve(model.params(0.3, 0.05, 0.05, ve), TIMES, aif()), T10, ACQUISITION))
    for row, ve in zip(found, (0.2, 0.005), strict=True):  # raised to its lower bound
        np.testing.assert_allclose(row, expected(ve), rtol=1e-5)


def test_residual_of_the_truth_is_the_noise():
    key = jax.random.key(0)
    maps = jnp.asarray(np.repeat(MAPS, 500, axis=0), jnp.float32)
    clean = signal_curves(maps, TIMES, aif(), T10, ACQUISITION, s0=100.0)
    sigma = 0.3
    noise = jax.random.normal(key, clean.shape)
    residual = signal_residual(maps, clean + sigma * noise, sigma, TIMES, aif(), T10, ACQUISITION, s0=100.0)
    np.testing.assert_allclose(residual, noise, atol=1e-3)


def test_residual_is_white_after_interpolation_too():
    """Noise of acquired frames, interpolated: every frame of the residual has unit variance."""
    maps = np.repeat(MAPS[:1], 4000, axis=0).astype(np.float32)
    acquired = np.arange(76) * 4.1 / 60.0
    clean = signal_curves(maps, acquired, parker(acquired, arrival=0.5), T10, ACQUISITION)
    noisy = np.asarray(clean) + 0.01 * np.random.default_rng(0).normal(size=clean.shape)
    signal = np.stack([np.interp(TIMES, acquired, row) for row in noisy])
    more = {"aif_times": acquired, "acquired_times": acquired}
    residual = signal_residual(maps, signal, 0.01, TIMES, parker(acquired, arrival=0.5), T10, ACQUISITION, **more)
    np.testing.assert_allclose(np.asarray(residual).std(0), 1.0, atol=0.05)


PROTOCOL = Protocol()
SIMULATED = point_measurement.frame_count(PROTOCOL.duration_s)  # that the generator simulates
FINE_S = np.arange(int((SIMULATED + 1) * priors.PRIORS.frame_interval_training_s[1]))  # its grid of the input


@jax.jit
def simulated_examination(key):
    """What the training generator measures of 3000 points without noise, all that is true there, and our prediction."""
    exam = patient.sample_examination(key, PROTOCOL.acquisition, [1.0] * len(priors.TUMOUR_CLASSES))
    extent = jnp.array([70.0, 85.0, 50.0])
    points = jax.random.uniform(jax.random.key(9), (3000, 3), minval=-extent, maxval=extent)
    inside = to_head(exam.scanner.placement, points)
    shares, mask = tissue_shares(exam.patient.anatomy, inside)
    tissue = tissue_kinetics.properties(exam.patient.kinetics, shares, inside, exam.arterial.hematocrit)
    settings, interval = PROTOCOL.acquisition, exam.frame_interval
    kernels = point_measurement.sample_kernels(exam.arterial, interval, SIMULATED)
    silent = exam.scanner._replace(noise=jnp.array(0.0))
    simulated = point_measurement.measure(
        jax.random.key(0), tissue, points, mask, silent, exam.arterial, kernels, settings
    )
    vessels = tissue.artery + tissue.vein
    s0, b1 = tissue.m0 * receive_field(exam.scanner, points), transmit_field(exam.scanner, points)
    own = (
        point_measurement.concentration(tissue, exam.arterial, kernels) / tissue_kinetics.tissue_share(tissue)[:, None]
    )
    beside = spgr(own, tissue.t10[:, None], settings, s0=s0[:, None], b1=b1[:, None])

    fine = FINE_S / 60.0
    arriving = disperse(fine, plasma_concentration(exam.arterial, fine), exam.arterial.tissue_dispersion)
    delay = point_measurement.total_delay(tissue, exam.arterial)
    times = jnp.arange(SIMULATED) * interval
    maps = tissue_kinetics.true_maps(tissue)

    def predicted(maps, delay):
        more = {"aif_times": fine, "frame_duration": interval}
        return signal_curves(maps, times, arriving, tissue.t10, settings, s0=s0, b1=b1, delay=delay, **more)

    rounded = jnp.round(delay * 120.0) / 120.0
    ways = (maps, maps, beside_vessels(maps, vessels, exam.arterial.hematocrit)), (delay, rounded, rounded)
    as_it_is, with_rounded, beside_only = jax.vmap(predicted)(*map(jnp.stack, ways))
    return {
        "pure": mask & (vessels == 0) & (tissue.m0 > 0) & (maps[:, 2] >= 0.005),
        "mixed": mask & (vessels > 0.01) & (vessels < 0.9) & (tissue.params.ve > 0.01),
        "simulated": simulated,
        "beside": beside,
        "noise": exam.scanner.noise,
        "predicted": as_it_is,
        "predicted_rounded": with_rounded,
        "predicted_beside": beside_only,
    }


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 3])
def test_agrees_with_the_training_generator(seed):
    """Fields, delays and averages within frames, as the generator has them.

    It rounds delays to 0.5 s and interpolates in a table of rates; values below the model's lower bounds are raised
    here and not there.
    """
    found = {name: np.asarray(value) for name, value in simulated_examination(jax.random.key(seed)).items()}
    pure, mixed = found["pure"], found["mixed"]
    assert pure.sum() > 1000
    assert mixed.sum() > 20
    simulated = found["simulated"][pure]
    error = np.abs(found["predicted_rounded"][pure] / simulated - 1.0)
    assert error.max() < 1e-3
    assert np.sqrt((error**2).mean()) < 3e-5
    # With the delay itself the mean square of a whitened residual at the truth is 1 to within 2 %.
    whitened = (found["predicted"][pure] - simulated) / found["noise"]
    assert (whitened**2).mean() < 0.02
    # Beside large vessels the tissue's own part of the signal is left.
    np.testing.assert_allclose(found["predicted_beside"][mixed], found["beside"][mixed], rtol=1e-3)


def test_signal_inverts_to_the_concentration_of_the_maps():
    with jax.enable_x64(True):

        @jax.jit
        def inverted(maps, plasma):
            signal = signal_curves(maps, TIMES, plasma, T10, ACQUISITION)
            return spgr_to_concentration(signal, signal[:, :1], T10, ACQUISITION)

        concentration = inverted(MAPS, aif())
        # With Ktrans = 0 only plasma is left.
        np.testing.assert_allclose(concentration[3], 0.02 * aif(), rtol=1e-9, atol=1e-12)
        # Ktrans is the rate at which a tissue without plasma begins to fill: C'(t) = Ktrans Cp(t) at first.
        only_leak = np.array([[0.05, 0.0, 0.3]])
        first = inverted(only_leak, np.ones(60))[0, 1]
        np.testing.assert_allclose(first, 0.3 * (1 - np.exp(-0.05 / 0.3 * TIMES[1])), rtol=1e-9)


def test_unphysical_maps_give_finite_signal_and_gradient():
    maps = jnp.array([[-0.1, -0.2, -0.3], [0.0, 0.0, 0.0], [5.0, 1.0, 0.0]])
    loss = lambda m: jnp.sum(signal_curves(m, TIMES, aif(), T10, ACQUISITION) ** 2)  # noqa: E731
    assert np.isfinite(loss(maps))
    assert np.isfinite(jax.jit(jax.grad(loss))(maps)).all()


def test_gradient_of_the_residual_reaches_the_network():
    """Network -> maps -> forward model -> residual, against central differences along random directions."""
    with jax.enable_x64(True):
        tcn = TCN(channels=(6, 1), dilations=(1, 4))
        signal = jax.jit(signal_curves)(MAPS, TIMES, aif(), T10, ACQUISITION)
        curves = (signal / signal.max()).astype(jnp.float64)
        params = jax.jit(tcn.init)(jax.random.key(1), curves.astype(jnp.float32))["params"]
        params = jax.tree.map(lambda p: p.astype(jnp.float64), params)
        # Keep the maps inside the physical range, where the forward model is smooth.
        params["head"]["bias"] = jnp.array([0.1, 0.1, 0.3], jnp.float64)
        params["head"]["kernel"] = 0.02 * params["head"]["kernel"]

        apply = jax.jit(tcn.apply)

        @jax.jit
        def loss(params):
            maps = apply({"params": params}, curves)
            return jnp.mean(signal_residual(maps, signal, 0.001, TIMES, aif(), T10, ACQUISITION) ** 2)

        assert (apply({"params": params}, curves) > 0).all()
        gradient = jax.jit(jax.grad(loss))(params)
        flat, unravel = ravel_pytree(params)
        flat_gradient, _ = ravel_pytree(gradient)
        for seed in range(5):
            direction = np.random.default_rng(seed).normal(size=flat.shape) * (1e-3 + np.abs(flat))
            step = 1e-6
            difference = (loss(unravel(flat + step * direction)) - loss(unravel(flat - step * direction))) / (2 * step)
            np.testing.assert_allclose(flat_gradient @ direction, difference, rtol=1e-6)


@pytest.mark.parametrize("snr", [30.0])
def test_released_maps_explain_the_curves_they_were_made_from(snr):
    """The maps of the released temporal stage leave a smaller residual than no kinetics and than typical kinetics."""
    released = weights.load(weights.PUBLISHED_METHOD)
    config = method.config_of(released)
    maps = jnp.asarray(np.repeat(MAPS[:3], 200, axis=0), jnp.float32)
    t10 = config.protocol.t10_s / 60.0
    input_curve = parker(TIMES, arrival=0.5)
    clean = np.asarray(jax.jit(signal_curves)(maps, TIMES, input_curve, t10, ACQUISITION, s0=0.7))
    sigma = 0.1 / snr
    signal = clean + sigma * np.random.default_rng(3).normal(size=clean.shape)
    # The scale of a whole head: blood at the peak of the same input.
    blood = jax.jit(signal_curves)(np.array([[0.0, 0.58, 0.1]]), TIMES, input_curve, 1.65 / 60.0, ACQUISITION)
    scaled = np.asarray(signal / blood.max(), np.float32)
    predicted = map_curves(make_tcn(config), released.params["tcn"], scaled, default_policy())

    @jax.jit
    def misfit(maps):
        residual = signal_residual(maps, signal, sigma, TIMES, input_curve, t10, ACQUISITION, s0=0.7)
        return jnp.sqrt(jnp.mean(residual**2))

    typical = jnp.broadcast_to(jnp.median(maps, axis=0), maps.shape)
    assert misfit(predicted) < 0.5 * misfit(jnp.zeros_like(maps))
    assert misfit(predicted) < misfit(typical)
