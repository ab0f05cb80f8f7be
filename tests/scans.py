"""Small real files for the tests of reading, inference and the command line."""

import dataclasses
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import nibabel as nib
import numpy as np

from dcejax.data import weights
from dcejax.execution.policy import default_policy
from dcejax.methods import lyoo2025, method
from dcejax.methods.lyoo2025 import make_prob_unet, make_tcn

SHAPE = (24, 20, 3)
AFFINE = np.array([[-1.0, 0, 0, 12.0], [0, 1.0, 0, -9.0], [0, 0, 3.0, 4.0], [0, 0, 0, 1]])


def tiny_config(**fields) -> lyoo2025.Config:
    """Small networks. The U-Net and its patches are those of configs/smoke.py, so that tests share its initialisation,
    which takes a quarter of a minute to compile."""
    return lyoo2025.Config(
        tcn=lyoo2025.TCNConfig(channels=(4, 1), dilations=(1, 2), kernel_size=3),
        prob_unet=lyoo2025.ProbUNetConfig(filters=(4, 8), combination_layers=2),
        **{"prob_unet_training": dataclasses.replace(lyoo2025.Config().prob_unet_training, patch_size=16)} | fields,
    )


def export_tiny_weights(stem: Path) -> Path:
    """Random parameters of the right shapes; their initialisers would take longer than the tests."""
    settings = tiny_config()
    tcn, unet = make_tcn(settings), make_prob_unet(settings, default_policy())
    key = jax.random.key(0)
    curves, image = jnp.zeros((1, settings.protocol.frames)), jnp.zeros((1, 8, 8, 3))
    rng = np.random.default_rng(0)

    def draw(shape):
        return rng.normal(0, 0.5 * max(np.prod(shape.shape[:-1]), 1) ** -0.5, shape.shape)

    shapes = jax.eval_shape(tcn.init, key, curves)["params"], jax.eval_shape(unet.init, key, image, image)["params"]
    tcn_params, unet_params = jax.tree.map(draw, shapes)
    released = lyoo2025.release({"tcn": tcn_params, "prob_unet": unet_params})
    return weights.save(stem, released, {"config": method.to_dict(settings)})


def head(shape=SHAPE) -> np.ndarray:
    """An ellipse in every slice."""
    x, y = (np.linspace(-1, 1, n) for n in shape[:2])
    inside = x[:, None] ** 2 + y[None, :] ** 2 < 0.7
    return np.repeat(inside[:, :, None], shape[2], axis=2)


def signal(shape=SHAPE, frames=60, seed=0) -> np.ndarray:
    """Background noise, and a head whose voxels take up an agent at different speeds."""
    rng = np.random.default_rng(seed)
    since = np.maximum(np.arange(frames) / frames - 0.15, 0.0)
    speed = rng.uniform(1, 10, shape)[..., None]
    curves = 100.0 + 150.0 * (1 - np.exp(-speed * since))
    noise = rng.normal(0, 1, (*shape, frames))
    return np.where(head(shape)[..., None], curves, 5.0).astype(np.float32) + noise.astype(np.float32)


def save(path: Path, values: np.ndarray, affine=AFFINE, *, dt_s: float | None = None, unit: str = "sec") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nib.Nifti1Image(values, affine)
    image.header.set_xyzt_units("mm", unit if dt_s else "unknown")
    if dt_s:
        image.header["pixdim"][4] = dt_s
    nib.save(image, path)
    return path


def save_scan(path: Path, *, shape=SHAPE, frames=60, dt_s: float | None = 5.0, seed=0) -> Path:
    return save(path, signal(shape, frames, seed), dt_s=dt_s)


def save_mask(path: Path, mask: np.ndarray | None = None, affine=AFFINE) -> Path:
    return save(path, (head() if mask is None else mask).astype(np.uint8), affine)


def save_sidecar(image: Path, **fields) -> Path:
    path = image.with_name(image.name.removesuffix(".nii.gz") + ".json")
    path.write_text(json.dumps(fields))
    return path
