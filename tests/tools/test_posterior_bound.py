"""Bounds of a tumour voxel in an examination: more knowledge is less error, and the signals are the generator's."""

import jax
import numpy as np
import posterior_bound
import pytest

from dcejax.protocol import Protocol


@pytest.fixture(autouse=True)
def _double():
    with jax.enable_x64(True):
        yield
    jax.clear_caches()  # JAX keeps functions of the simulation that were traced in double, for which others then fail


@pytest.mark.slow
def test_more_knowledge_is_less_error(monkeypatch):
    monkeypatch.setattr(posterior_bound, "DRAWS", 12)
    nothing, known = (
        np.array(posterior_bound.rms(Protocol(), 27.0, case))
        for case in ("nothing of the arterial input", "arterial input, T1 and B1 maps")
    )
    seen = np.array(posterior_bound.rms(Protocol(), 27.0, "vessels seen"))
    assert (known > 0).all()
    assert (known < 0.9 * seen).all()
    assert (seen < 0.9 * nothing).all()
    assert (nothing < posterior_bound.SD).all()  # the prior


def test_a_voxel_without_agent_keeps_its_signal_and_blood_brightens():
    drawn, family = posterior_bound.draw(jax.random.key(1))
    empty = drawn._replace(log_ktrans=np.log(1e-9), log_vp=np.log(1e-9))
    signals = jax.jit(posterior_bound.signals, static_argnums=(3, 4))
    found = signals(empty, family, Protocol().acquisition, 60, 5 / 60)
    np.testing.assert_allclose(found["tumour"], found["tumour"][0], rtol=1e-5)
    for vessel in ("sinus", "artery"):
        assert found[vessel].max() > 2 * found[vessel][0]
    assert np.argmax(found["artery"]) < np.argmax(found["sinus"])  # which lies behind the brain
