"""Fits and bounds against the truth of simulated curves, and against implementations in float64."""

from collections.abc import Iterator

import jax
import numpy as np

from dcejax.physics import kinetics
from dcejax.physics.aif import parker
from dcejax.physics.bounds import cramer_rao, fisher_information, van_trees
from dcejax.physics.fitting import fit
from dcejax.physics.kinetics import ExtendedTofts
from dcejax.physics.tracer_models import MODELS
from dcejax.selfcheck.check import Check, Finding, largest

_FRAMES = np.arange(60) / 12.0  # 60 frames of 5 s, min
# Ktrans, vp, ve
_TISSUES = {"rim": (0.07, 0.05, 0.25), "hot rim": (0.25, 0.10, 0.40), "IDH-mutant": (0.03, 0.03, 0.20)}
_NOISE = 0.01  # mM
_SAMPLE = 20_480
_Z90 = 1.6449  # half-width of a 90 % interval in standard errors


def _extended_tofts(times: np.ndarray, plasma: np.ndarray, params: np.ndarray) -> np.ndarray:
    """Extended Tofts [T] in float64 for an input that is linear between frames, as the textbook recursion."""
    ktrans, vp, ve = params
    x = ktrans / ve * np.diff(times)
    mean = -np.expm1(-x) / x  # of the decay over a frame
    last = (1.0 - mean) / x
    integral = np.zeros(times.size)
    for i, step in enumerate(np.diff(times)):
        gain = step * ((mean[i] - last[i]) * plasma[i] + last[i] * plasma[i + 1])
        integral[i + 1] = np.exp(-x[i]) * integral[i] + gain
    return vp * plasma + ktrans * integral


def _relative_jacobian(times: np.ndarray, plasma: np.ndarray, params: tuple[float, ...]) -> np.ndarray:
    """Derivatives [T, P] by log params, by central differences of fourth order."""
    columns = []
    for unit in np.eye(len(params)):
        near, far = (
            _extended_tofts(times, plasma, params * np.exp(1e-3 * k * unit))
            - _extended_tofts(times, plasma, params * np.exp(-1e-3 * k * unit))
            for k in (1, 2)
        )
        columns.append((8.0 * near - far) / (12.0 * 1e-3))
    return np.stack(columns, axis=1)


# Tissues of each model; of others the typical one of its record.
_TRUTHS = {
    "plasma_only": [(0.05,), (0.005,)],
    "tofts": [(0.07, 0.25), (0.25, 0.40), (1.0, 0.6), (0.01, 0.1)],
    "extended_tofts": [*_TISSUES.values(), (1.0, 0.02, 0.6)],
    "patlak": [(0.02, 0.05), (0.001, 0.02), (0.05, 0.005)],
    "two_compartment_uptake": [(0.3, 0.02, 0.05), (0.8, 0.05, 0.1), (0.15, 0.01, 0.03)],
    "two_compartment_exchange": [(0.3, 0.05, 0.05, 0.2), (0.6, 0.1, 0.1, 0.3), (0.2, 0.15, 0.1, 0.4)],
}


def _noise_free() -> Iterator[Finding]:
    plasma = np.asarray(parker(_FRAMES, arrival=0.5))
    for name, model in MODELS.items():
        truths = _TRUTHS.get(name, [tuple(model.typical)])
        curves = np.stack([model.curve(model.params(*truth), _FRAMES, plasma) for truth in truths])
        found = fit(model, curves, _FRAMES, plasma)
        for i, truth in enumerate(truths):
            for parameter, estimates, true in zip(model.params._fields, found.params, truth, strict=True):
                case = f"{name} of {', '.join(map(str, truth))}"
                yield largest(case, estimates[i], true, relative=0.01, unit=f"in {parameter}")


def _efficiency() -> Iterator[Finding]:
    plasma = np.asarray(parker(_FRAMES, arrival=0.5), np.float64)
    for tissue, truth in _TISSUES.items():
        allowed = 0.15 if tissue == "IDH-mutant" else 0.05
        noise = _NOISE * np.random.default_rng(3).normal(size=(_SAMPLE, _FRAMES.size))
        found = fit("extended_tofts", _extended_tofts(_FRAMES, plasma, truth) + noise, _FRAMES, plasma)
        jacobian = _relative_jacobian(_FRAMES, plasma, truth)
        bounds = _NOISE * np.sqrt(np.diag(np.linalg.inv(jacobian.T @ jacobian))) * truth
        for name, estimate, error, true, bound in zip(
            ExtendedTofts._fields, found.params, found.se, truth, bounds, strict=True
        ):
            deviation = np.abs(estimate - true)
            ratio = float(np.sqrt(np.mean(deviation**2)) / bound)
            yield Finding(f"{tissue}, RMSE of {name}", ratio - 1.0, allowed, "above the bound")
            covered = float(np.mean(deviation <= _Z90 * error))
            yield Finding(f"{tissue}, 90 % interval of {name}", abs(covered - 0.9), 0.02, "from 90 %")


def _frame_time() -> Iterator[Finding]:
    """Curves computed on frames of 0.05 s and seen every 5 s: what the straight lines between frames cost."""
    fine = np.arange(6000) / 1200.0
    for arrival_s in (28.0, 30.0, 31.5):
        plasma = np.asarray(parker(fine, arrival=arrival_s / 60.0), np.float64)
        for truth in _TISSUES.values():
            curve = _extended_tofts(fine, plasma, truth)[::100]
            found = fit("extended_tofts", curve[None], _FRAMES, plasma[::100])
            case = f"{', '.join(map(str, truth))}, arrival {arrival_s:g} s"
            yield Finding(case, abs(float(found.params.vp[0]) / truth[1] - 1.0), 0.01, "of vp")


def _bounds() -> Iterator[Finding]:
    plasma = np.asarray(parker(_FRAMES, arrival=0.5), np.float64)
    prior = np.diag([0.9, 0.8, 0.8]) ** 2

    @jax.jit
    def both(params):
        def predict(p):
            return kinetics.extended_tofts(p, _FRAMES, plasma)

        return cramer_rao(predict, params, _NOISE), van_trees(fisher_information(predict, params, _NOISE), prior)

    for truth in _TISSUES.values():
        jacobian = _relative_jacobian(_FRAMES, plasma, truth) / _NOISE
        information = jacobian.T @ jacobian
        expected = np.linalg.inv(information), np.linalg.inv(information + np.linalg.inv(prior))
        for name, found, right in zip(("Cramér-Rao", "van Trees"), both(ExtendedTofts(*truth)), expected, strict=True):
            case = f"{name}, {', '.join(map(str, truth))}"
            yield largest(case, found, right, relative=1e-6, unit="relative variance")


CHECKS = (
    Check("fits of noise-free curves", "1 % of each parameter, float32", _noise_free),
    Check(
        "efficiency of extended Tofts under noise",
        "RMSE 5 % above the bound (IDH-mutant 15 %), 90 % intervals hold 88 to 92 % of 20,480",
        _efficiency,
    ),
    Check("bias of vp at 5 s a frame", "1 %", _frame_time),
    Check("bounds on any method's error", "1e-6, float64", _bounds, x64=True),
)
