"""What each part of the recommended model is worth: networks without it, trained alike, on the same patients.

    python tools/ablations.py POOL DATA > docs/ablations.json
    python tools/ablations.py POOL DATA "as it is" "without vessels" "without vessels and random voxels" \\
        > docs/ablations_of_vessels.json

POOL is the pool of a training run (`runs/default/pool/examinations`), DATA as for `tools/model_accuracy.py`. Every row
is one network, without ensemble or calibration, of `STEPS` steps with one seed: a twentieth of the steps of a released
network, so that rows are compared with the first row. Each row is a process of its own. Simulated results.
"""

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import model_accuracy
import numpy as np

from dcejax.cli import config_file
from dcejax.data import cases
from dcejax.data.facts import Facts
from dcejax.execution import placement
from dcejax.execution.policy import default_policy
from dcejax.methods import aligned_grid, dcejax2026, examination_posterior
from dcejax.methods.calibration import no_calibration
from dcejax.methods.examination_posterior import Trained
from dcejax.models import posterior_network
from dcejax.physics import bolus_grid, grid_posterior
from dcejax.physics.aif import parker
from dcejax.rng import stream
from dcejax.simulation.training import voxel_sets
from dcejax.training.batches import source_of
from dcejax.training.step import init_state, make_train_step

STEPS, WARM_UP = 1500, 100
POINTS = "points instead of voxels"  # of patients simulated for this row: those of the pool have voxels
ROOT = Path(__file__).resolve().parents[1]


def _wrap(name: str, change: Callable[[Any], Any], *modules: Any) -> None:
    """Put what `change` makes of a function's result in its place, wherever the function is used."""
    original = getattr(modules[0], name)
    for module in modules:
        setattr(module, name, lambda *arguments: change(original(*arguments)))


def without_vessels() -> None:
    """A population's plasma curve instead of those of the brightest voxels."""
    population = np.asarray(parker(bolus_grid.GRID - bolus_grid.GRID[0], arrival=15 / 60), np.float32)

    def blind(seen):
        flat = {name: jnp.full_like(getattr(seen, name), 0.3) for name in ("bright", "signal", "baseline", "points")}
        return seen._replace(known=jnp.broadcast_to(population, seen.known.shape), **flat)

    _wrap("prepare_examination", blind, aligned_grid, examination_posterior)


def without_tokens() -> None:
    """No random voxels of the brain."""

    def blind(seen):
        return seen._replace(sample=jnp.zeros_like(seen.sample), usable=jnp.zeros_like(seen.usable))

    _wrap("prepare_examination", blind, aligned_grid, examination_posterior)


def without_other_voxels() -> None:
    """Neither vessels nor random voxels: a curve and its neighbours, but the arrival, the noise and the unit."""
    without_vessels()
    without_tokens()


class _Temporal(nn.Module):
    """Features of a curve beside the plasma curve by dilated convolutions in time, instead of physics."""

    @nn.compact
    def __call__(self, curves, plasma):
        x = jnp.stack([jnp.arcsinh(5 * curves), jnp.broadcast_to(jnp.log1p(plasma)[:, None], curves.shape)], axis=-1)
        for dilation in (1, 2, 4, 8):
            x = nn.silu(nn.Conv(16, (3,), kernel_dilation=(dilation,), padding="CAUSAL")(x))
        return nn.Dense(grid_posterior.MOMENTS)(jnp.concatenate([x.mean(axis=-2), x[..., -1, :]], axis=-1))


def without_physics() -> None:
    """A temporal network's features instead of the grid's."""
    plain = posterior_network.Network

    class Network(plain):
        def setup(self):
            super().setup()
            self.temporal = _Temporal()

        def moments(self, plasma, voxels, valid):
            del valid
            return self.temporal(voxels.concentration, plasma)

    dcejax2026.Network = Network


def without_global() -> None:
    """No errors that voxels share."""
    _wrap("from_numbers", lambda found: found._replace(shared=0.0 * found.shared), posterior_network)


def diagonal() -> None:
    """Noise without correlation between parameters."""
    own = np.eye(3, dtype=np.float32)
    _wrap("from_numbers", lambda found: found._replace(cholesky=found.cholesky * own), posterior_network)


def points() -> None:
    """Voxels of 0.3 mm, which see hardly more than a point of tissue."""
    _wrap("sample_conditions", lambda found: found._replace(voxel_mm=jnp.full_like(found.voxel_mm, 0.3)), voxel_sets)


ROWS: dict[str, tuple[Callable[[], None], tuple[str, ...]]] = {
    "as it is": (lambda: None, ()),
    "without vessels": (without_vessels, ()),
    "without random voxels of the brain": (without_tokens, ()),
    "without vessels and random voxels": (without_other_voxels, ()),
    "temporal network instead of physics features": (without_physics, ()),
    "without shared errors": (without_global, ()),
    "diagonal covariance": (diagonal, ()),
    "without neighbours": (lambda: None, ("--config.network.neighbour_layers=0",)),
    "with the residual of the curve as a loss (0.1)": (lambda: None, ("--config.training.losses.curve_residual=0.1",)),
    POINTS: (points, ()),
}


def train(config: dcejax2026.Config) -> Trained:
    """One network, uncalibrated."""
    stage = dcejax2026.stages(config, default_policy())[0]({})
    source, update = source_of(stage.config, stage.protocol, "train"), make_train_step(stage, default_policy())
    state = init_state(stage, stream(config.seed, stage.name, "init"))
    for step in range(STEPS):
        batch = source(stream(config.seed, stage.name, "train", step))
        state, metrics = update(state, batch, stream(config.seed, stage.name, "step", step))
        if step % 200 == 0:
            print(step, float(metrics["loss"]), file=sys.stderr, flush=True)
    network = dcejax2026.Network(config.network, config.network.rank)
    return Trained(network, placement.replicate(state.params), no_calibration(), config.network.rank)


def configured(pool: str | None, flags: Sequence[str]) -> dcejax2026.Config:
    """The default configuration for one short run; without a pool patients are simulated as it goes."""
    config = config_file.read(str(ROOT / "configs" / "default.py"), list(flags))
    settings = {"pool_batches": 0, "steps_per_epoch": STEPS, "max_epochs": 1, "warmup_steps": WARM_UP}
    if pool:
        settings["batches"] = f"pool:{pool}"
    distilling = replace(config.distilling, pool_batches=0)  # not trained
    return replace(config, training=replace(config.training, **settings), distilling=distilling)


def row(name: str, pool: str, data: str) -> dict[str, Any]:
    """Train without a part and judge."""
    change, flags = ROWS[name]
    change()
    config = configured(None if name == POINTS else pool, flags)
    trained, found = train(config), cases.enumerate_cases([data], Facts())
    return model_accuracy.summary([model_accuracy.judge(case, trained, config, ()) for case in found])


def main() -> None:
    """Train and judge the row that is named, or each of several, or of all, in a process of its own."""
    pool, data, *names = sys.argv[1:]
    if len(names) == 1:
        print(json.dumps(row(names[0], pool, data)))
        return
    if unknown := set(names) - set(ROWS):
        raise SystemExit(f"expected rows of {', '.join(ROWS)}; found {', '.join(unknown)}")
    results = {"what": "simulated validation patients, not clinical evidence", "steps": STEPS}
    for name in names or ROWS:
        done = subprocess.run([sys.executable, __file__, pool, data, name], stdout=subprocess.PIPE, check=True)
        results[name] = json.loads(done.stdout)
        print(name, results[name]["log_rmse"]["median"], file=sys.stderr, flush=True)
    print(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
