"""What the parts of a trained published model make of simulated patients, beside the model itself.

    python tools/published_arms.py RUN DATA OUTPUT

RUN is the folder of a training run of `configs/paper.py`, whose checkpoints hold the posterior that released weights
lack; DATA is a data set of `dcejax-simulate` with readers. Written are maps for `dcejax-evaluate --maps=LABEL=FOLDER`,

    OUTPUT/temporal/     maps of the temporal network alone
    OUTPUT/posterior/    mean and SD over samples of the posterior, which sees reader 1's maps of the same patient

and OUTPUT/latent.json: for every patient the divergence of the posterior from the prior in nats, mean over slices, and
the SDs of the latents of both. Cases that are there are not made again.
"""

import json
import sys
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import nibabel
import numpy as np
from fit_accuracy import load
from model_accuracy import stem_of

from dcejax.data import atomic, cases, loading, results
from dcejax.data.facts import Facts
from dcejax.execution.policy import default_policy
from dcejax.execution.unet_volumes import slices_of
from dcejax.methods import fixed_grid, lyoo2025, method
from dcejax.models.prob_unet import ProbUNet
from dcejax.rng import fold
from dcejax.training.checkpoints import Checkpoints
from dcejax.training.losses import divergence
from dcejax.training.step import init_state
from dcejax.types import PARAMETERS


def trained(run: Path, config: lyoo2025.Config) -> dict[str, Any]:
    """The parameters of both parts of a run that its weights are made of."""
    params: dict[str, Any] = {}
    for make_stage in lyoo2025.stages(config, default_policy()):
        stage = make_stage(params)
        keep = {"keep_latest": config.keep_latest, "keep_best": config.keep_best}
        with Checkpoints(str(run / "checkpoints" / stage.name), {}, **keep) as checkpoints:
            state = init_state(stage, jax.random.key(0))
            if stage.config.take == "last":
                params[stage.name] = checkpoints.restore_latest(state)[0].params
            else:
                params[stage.name] = checkpoints.restore_best(state.params)
    return params


@partial(jax.jit, static_argnums=(0, 5))
def sampled(unet: ProbUNet, params: Any, image: jax.Array, label: jax.Array, key: jax.Array, samples: int):
    """Maps [S, X, Y, C] of one slice from samples of the posterior; the posterior, and the prior."""
    of = partial(unet.apply, {"params": params})
    prior, posterior = of(image[None], method="encode_prior"), of(image[None], label[None], method="encode_posterior")
    features = of(image[None], method="features")
    noise = jax.random.normal(key, (samples, 1, unet.latent_size))
    latents = posterior.mean + jnp.exp(posterior.log_std) * noise
    maps = jax.lax.map(lambda z: of(features, z, method="decode")[0], latents)
    return maps, posterior, prior


def save(folder: Path, case_id: str, affine: np.ndarray, maps: dict[str, np.ndarray]) -> None:
    """Write maps [X, Y, Z, C] by statistic."""
    for statistic, values in maps.items():
        for channel, name in enumerate(PARAMETERS):
            image = nibabel.Nifti1Image(values[..., channel].astype(np.float32), affine)
            nibabel.save(image, results.map_path(folder, case_id, statistic, name))


def examine(case: cases.Case, params: dict[str, Any], networks: lyoo2025.Networks, output: Path) -> dict[str, Any]:
    """Write the maps of a case and give what there is to say of its latents."""
    config = networks.config
    scan = loading.load_scan(case)
    series = lyoo2025.series_of(scan, fixed_grid.NOTHING_BESIDE, config)
    curves, _ = fixed_grid.encode_series(series, config.protocol)
    images = lyoo2025.temporal_maps(networks, curves, scan.mask)
    paths = [results.map_path(case.path.parent, case.case_id, "reader1", name) for name in PARAMETERS]
    labels = np.where(scan.mask[..., None], np.stack([load(path) for path in paths], axis=-1).clip(0.0, 1.0), 0.0)
    mean, sd, told = np.zeros_like(images), np.zeros_like(images), []
    for z in slices_of(scan.mask).tolist():
        key = fold(jax.random.key(0), z)
        slices = images[:, :, z], labels[:, :, z].astype(np.float32)
        maps, posterior, prior = sampled(networks.unet, params["prob_unet"], *slices, key, config.num_samples)
        mean[:, :, z], sd[:, :, z] = np.mean(maps, axis=0), np.std(maps, axis=0, ddof=1)
        sds = [np.exp(np.asarray(of.log_std)[0]) for of in (posterior, prior)]
        told.append([float(divergence(posterior, prior)[0]), *(float(of.mean()) for of in sds)])
    outside = ~scan.mask
    images[outside] = mean[outside] = sd[outside] = 0.0
    save(output / "temporal", case.case_id, scan.affine, {"mean": images})
    save(output / "posterior", case.case_id, scan.affine, {"mean": mean, "std": sd})
    nats, posterior_sd, prior_sd = np.mean(told, axis=0).tolist()
    return {"case": case.case_id, "divergence_nats": nats, "posterior_sd": posterior_sd, "prior_sd": prior_sd}


def main() -> None:
    """Examine all patients."""
    run, data, output = map(Path, sys.argv[1:4])
    config = method.from_dict(json.loads((run / "config.json").read_text(encoding="utf-8")))
    params = trained(run, config)
    released = jax.tree.map(lambda leaf: np.asarray(leaf, np.float32), lyoo2025.release(params))
    networks = lyoo2025.load(released, config, default_policy())
    for name in ("temporal", "posterior"):
        (output / name).mkdir(parents=True, exist_ok=True)
    record = output / "latent.json"
    rows = json.loads(record.read_text(encoding="utf-8")) if record.exists() else []
    done = {row["case"] for row in rows}
    for case in cases.enumerate_cases([str(data)], Facts()):
        if case.case_id not in done:
            rows.append(examine(case, params, networks, output))
            atomic.write_text(record, json.dumps(rows, indent=1) + "\n")
            print(stem_of(case), rows[-1]["divergence_nats"], file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
