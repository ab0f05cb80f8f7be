"""The true plasma curve of a simulated examination on the recommended model's time grid."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from dcejax.physics.bolus_grid import within_steps
from dcejax.physics.units import SECONDS_PER_MINUTE
from dcejax.simulation.aif_prior import FAMILIES, SampledAif, disperse, plasma_concentration

_FINE = 0.25 / SECONDS_PER_MINUTE  # min
_WITHIN = 20  # samples of a step


@jax.jit
def _arriving(arterial: SampledAif, times: jax.Array) -> jax.Array:
    return disperse(times, plasma_concentration(arterial, times), arterial.tissue_dispersion)


def sampled_of(stem: str) -> SampledAif:
    """The arterial input that a data set records of an examination."""
    settings = json.loads(Path(f"{stem}_desc-dro.json").read_text(encoding="utf-8"))["settings"]["arterial_input"]

    def of(name: str) -> float:
        for suffix, unit in (("", 1.0), ("_s", 1 / SECONDS_PER_MINUTE), ("_mm_per_s", SECONDS_PER_MINUTE)):
            if name + suffix in settings:
                return settings[name + suffix] * unit
        raise KeyError(name)

    own = {name: of(name) for name in SampledAif._fields if name != "family"}
    return SampledAif(family=FAMILIES.index(settings["family"]), **own)


def on_grid(stem: str, arrival: float) -> np.ndarray:
    """Plasma [G] in mM that arrives in tissue, before any delay, averaged within steps from an arrival in min on."""
    times = jnp.arange(-0.5, 20.0, _FINE)
    curve = np.asarray(_arriving(sampled_of(stem), times), np.float64)
    return np.interp(arrival + within_steps(_WITHIN), np.asarray(times), curve).mean(axis=1)
