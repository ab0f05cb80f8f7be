"""Patients, tissue and arterial inputs that several tests of the simulation look at."""

from pathlib import Path

import jax
import jax.numpy as jnp

from dcejax.cli import config_file
from dcejax.protocol import Protocol
from dcejax.simulation import aif_prior, priors
from dcejax.simulation.cohort_definitions import TRAINING_MIX
from dcejax.simulation.training import patient, point_measurement

SMALL = config_file.read(str(Path(__file__).parents[1] / "configs" / "smoke.py"), []).tcn_training.patches
"""The patches of configs/smoke.py: to compile the sampler of others takes half a minute."""
PROTOCOL = Protocol()
ACQUISITION = PROTOCOL.acquisition


# Compiled, which takes a fraction of the time of its many steps one by one, and once for all tests: what varies is an
# argument, and `observe` is given POINTS points.
POINTS = 4096
measure = jax.jit(point_measurement.measure)
observe = jax.jit(patient.observe)


@jax.jit
def examine(key):
    """A patient and an examination as training draws them."""
    return patient.sample_examination(key, ACQUISITION, TRAINING_MIX)


@jax.jit
def kernels_of(drawn):
    """The arterial input of an examination as frames over the protocol's duration see it."""
    frames = point_measurement.frame_count(PROTOCOL.duration_s)
    return point_measurement.sample_kernels(drawn.arterial, drawn.frame_interval, frames)


def pure(tissue, count):
    """Shares [count, K] of one tissue."""
    return jnp.zeros((count, len(priors.TISSUES))).at[:, tissue].set(1.0)


def typical_aif(family):
    """An arterial input without variation."""
    return aif_prior.SampledAif(
        family=jnp.array(aif_prior.FAMILIES.index(family)),
        amplitude=1.0,
        width=1.0,
        tail=1.0,
        clearance=1.0,
        hematocrit=0.42,
        arrival=0.5,
        injection=1e-3,
        dispersion=1e-4,
        tissue_delay=0.0,
        tissue_dispersion=1e-4,
        tumour_delay=0.0,
        sinus_delay=0.0,
        sinus_dispersion=1e-4,
        inflow=1e-3,
    )
