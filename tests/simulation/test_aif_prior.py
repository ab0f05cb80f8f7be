"""Simulated arterial inputs: their families, how they vary, and how blood disperses on its way."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from typical_patients import typical_aif

from dcejax.physics.aif import georgiou, parker
from dcejax.simulation import aif_prior, priors


def test_arterial_input_without_variation_is_its_familys():
    times = jnp.arange(30_000) / 6000.0
    for family, published in (("Parker", parker), ("Georgiou", georgiou)):
        later = 1e-3 / 2 + 1e-4  # the mean delay of injection and dispersion, min
        expected = published(times, arrival=0.5 + later, hematocrit=0.42)
        found = aif_prior.plasma_concentration(typical_aif(family), times)
        smooth = np.abs(times - 0.5) > 0.002  # Parker's curve begins with a step, which no injection does
        np.testing.assert_allclose(found[smooth], expected[smooth], rtol=0.02, atol=0.05)
    wide = aif_prior.plasma_concentration(typical_aif("Parker")._replace(width=1.4), times)
    assert wide.max() < 0.8 * parker(times, arrival=0.5, hematocrit=0.42).max()
    gamma = aif_prior.plasma_concentration(typical_aif("gamma variate"), times)
    assert (gamma[:3000] == 0).all()
    np.testing.assert_allclose(jnp.trapezoid(gamma, times), jnp.trapezoid(parker(times, arrival=0.5), times), rtol=0.25)


def test_injection_and_dispersion_keep_the_area_and_delay_the_centre():
    times = jnp.arange(6000) / 600.0
    short = typical_aif("Parker")
    curve = aif_prior.plasma_concentration(short, times)
    long = aif_prior.plasma_concentration(short._replace(injection=3 / 60), times)
    np.testing.assert_allclose(jnp.trapezoid(long, times), jnp.trapezoid(curve, times), rtol=0.01)
    assert long.max() < curve.max()
    dispersed = aif_prior.disperse(times, curve, jnp.array(3 / 60))
    np.testing.assert_allclose(jnp.trapezoid(dispersed, times), jnp.trapezoid(curve, times), rtol=0.02)
    early = times < 1.0  # the first pass: later by the time constant, on average
    centre = [jnp.sum(jnp.where(early, c * times, 0)) / jnp.sum(jnp.where(early, c, 0)) for c in (curve, dispersed)]
    assert 0.5 * 3 / 60 < centre[1] - centre[0] < 1.2 * 3 / 60


def test_the_family_kept_out_is_not_drawn_in_training():
    families = jax.jit(jax.vmap(lambda k: aif_prior.sample_arterial_input(k).family))(
        jax.random.split(jax.random.key(0), 4000)
    )
    counts = np.bincount(families, minlength=3)
    assert counts[aif_prior.FAMILIES.index("Georgiou")] == 0
    assert counts[0] / 4000 == pytest.approx(priors.PRIORS.parker_share, abs=0.03)
