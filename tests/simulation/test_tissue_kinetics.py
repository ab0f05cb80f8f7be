"""Kinetics of simulated tissue: medians, spread and correlations of the priors, and those of each class of tumour."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from typical_patients import pure

from dcejax.simulation import priors, tissue_kinetics
from dcejax.simulation.anatomy import composition
from dcejax.simulation.training import patient


@pytest.mark.slow
def test_kinetics_follow_the_priors_and_their_correlations():
    def white_matter(key):
        drawn = patient.sample_patient(key, jnp.array(0)).kinetics
        tissue = tissue_kinetics.properties(drawn, pure(composition.WHITE, 1), jnp.zeros((1, 3)), jnp.array(0.42))
        return jnp.stack([*tissue.params, tissue.t10, tissue.m0])[:, 0]

    values = np.log(jax.jit(jax.vmap(white_matter))(jax.random.split(jax.random.key(2), 6000)))
    prior = priors.TISSUES[composition.WHITE]
    np.testing.assert_allclose(np.exp(np.median(values[:, 0])), prior.ktrans.median, rtol=0.05)
    np.testing.assert_allclose(np.exp(np.median(values[:, 3])) * 60, prior.t10_s.median, rtol=0.02)
    np.testing.assert_allclose(values[:, 0].std(), np.hypot(prior.ktrans.between, prior.ktrans.within), rtol=0.06)
    np.testing.assert_allclose(np.exp(np.median(values[:, 4])), prior.m0.median, rtol=0.02)
    np.testing.assert_allclose(values[:, 4].std(), np.hypot(prior.m0.between, prior.m0.within), rtol=0.06)
    correlation = np.corrcoef(values.T)
    assert abs(correlation[0, 1] - priors.PRIORS.correlation_ktrans_vp) < 0.06
    assert abs(correlation[0, 2] - priors.PRIORS.correlation_ktrans_ve) < 0.06


@pytest.mark.slow
def test_a_tumour_has_the_kinetics_of_its_class_or_of_one_that_does_not_enhance():
    def tumour(key, tumour_class):
        drawn = patient.sample_patient(key, tumour_class)
        tissue = tissue_kinetics.properties(
            drawn.kinetics, pure(composition.TUMOUR, 1), jnp.zeros((1, 3)), jnp.array(0.42)
        )
        return tissue.params.ktrans[0], drawn.anatomy.tumour.enhancing

    keys = jax.random.split(jax.random.key(4), 3000)
    for index in (0, 6):
        ktrans, enhancing = (np.asarray(a) for a in jax.jit(jax.vmap(tumour, (0, None)))(keys, jnp.array(index)))
        expected = priors.TUMOUR_KINETICS[priors.TUMOUR_CLASSES[index].kinetics].ktrans.median
        np.testing.assert_allclose(np.median(ktrans[enhancing]), expected, rtol=0.1)
        assert 1 - enhancing.mean() == pytest.approx(priors.TUMOUR_CLASSES[index].non_enhancing, abs=0.03)
        if (~enhancing).sum() > 500:
            expected = priors.TUMOUR_KINETICS[priors.NON_ENHANCING].ktrans.median
            np.testing.assert_allclose(np.median(ktrans[~enhancing]), expected, rtol=0.1)
