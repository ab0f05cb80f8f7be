"""SIGTERM to a real process in each phase of a run."""

import signal
import time

import pytest
import training_processes
from training_processes import end, environment, launch

CONFIG = """
import dataclasses, sys
import jax
import toy_method

plain = toy_method.stages


def busy(function, name):
    "The same values, which take seconds to compile and a moment to compute."

    def chain(_, x):
        for _ in range(700):
            x = jax.numpy.sin(x @ x)
        return x

    def one(own, inputs, key):
        print(f"tracing {{name}}", file=sys.stderr, flush=True)
        found = function(own, inputs, key)
        x = jax.lax.fori_loop(0, 100, chain, jax.lax.stop_gradient(inputs[0][0, 0, :8, :8]))
        return {{"maps": found["maps"] + 0.0 * x.sum()}}

    return one


def slowed(make):
    def stage(params):
        found = make(params)
        return found._replace(apply=busy(found.apply, "a step"), judge=busy(found.judge, "a validation"))

    return stage


toy_method.stages = lambda config, policy: tuple(map(slowed, plain(config, policy)))


def get_config():
    usual = toy_method.Config()
    return dataclasses.replace(usual, training=dataclasses.replace(usual.training, batches="pool:{pool}"))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A run that nothing disturbs, which leaves its compiled programs to later ones."""
    found = tmp_path_factory.mktemp("signals")
    training_processes.write_pool(found / "pool")
    (found / "config.py").write_text(CONFIG.format(pool=found / "pool"))
    end([launch(found / "config.py", found / "undisturbed", environment())])
    return found


@pytest.mark.slow
@pytest.mark.parametrize(
    ("phase", "lines", "kept"),
    [
        ("compilation", ["tracing a validation"], ""),
        ("warm-up", ["tracing a step"], "first-within-epochs"),
        ("step", ["first: training, 1 of"], "first-within-epochs"),
        ("validation", ["second: validating"], "second-within-epochs"),
        ("export", ["scoring the weights", "tracing a validation"], "second"),
    ],
)
def test_a_signal_in_any_phase_ends_the_run_in_time_and_loses_nothing(folder, phase, lines, kept):
    workdir, variables = folder / phase, environment()
    tracing = lines[-1].startswith("tracing")
    fresh = {"JAX_ENABLE_COMPILATION_CACHE": str(not tracing)}  # so that there is something to compile
    process = launch(folder / "config.py", workdir, variables | fresh)
    for line in lines:
        while line not in process.stderr.readline():
            assert process.poll() is None
    if tracing:
        time.sleep(1.0)  # until it compiles
    began = time.monotonic()
    process.send_signal(signal.SIGTERM)
    told = process.communicate(timeout=60)[1]
    took = time.monotonic() - began
    print(f"{phase}: {took:.1f} s")
    assert process.returncode == 143, told
    assert told.endswith("interrupted: the same command goes on from the latest checkpoint\n")
    assert took < 30.0
    assert not (workdir / "weights.npz").exists()
    found = {path.parent.name for path in (workdir / "checkpoints").glob("*/*")}
    assert kept in found if kept else not found
    end([launch(folder / "config.py", workdir, variables)])
    assert (workdir / "weights.npz").read_bytes() == (folder / "undisturbed" / "weights.npz").read_bytes()
