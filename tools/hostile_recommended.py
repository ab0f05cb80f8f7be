"""`dcejax-infer` with the recommended method, whose maps depend on where voxels lie, and on what is known beside."""

from pathlib import Path

import hostile_commands
import hostile_inputs as inputs
import jax
import numpy as np
from hostile_inputs import Kind
from hypothesis import strategies as st

from dcejax.cli import infer
from dcejax.data import weights
from dcejax.execution.policy import default_policy
from dcejax.methods import dcejax2026, method
from dcejax.models.posterior_network import Sizes
from dcejax.rng import stream

_SIZES = Sizes(encoder_width=8, context=4, voxel_width=16, voxel_layers=1, neighbour_width=8, neighbour_layers=1)
_GRID = hostile_commands.INFER_FRAMES, 5.0


def tiny_weights(stem: Path) -> Path:
    """Random parameters of small networks, as training exports them."""
    config, rng, params = dcejax2026.Config(network=_SIZES, members=1), np.random.default_rng(0), {}
    for make_stage in dcejax2026.stages(config, default_policy()):
        stage = make_stage(params)
        shapes = jax.eval_shape(stage.init, stream(0, stage.name))
        params[stage.name] = jax.tree.map(lambda leaf: rng.normal(0, 0.1, leaf.shape).astype(np.float32), shapes)
    return weights.save(stem, dcejax2026.release(params), {"config": method.to_dict(config)})


def _files(folder: Path, data: bytes, name: str = "scan.nii", *, known: bool = False, **how: object) -> dict:
    files = hostile_commands.infer_files(folder, data, name, **how)
    inputs.put(folder / "in" / "scan.json", b'{"RepetitionTimeExcitation": 0.005, "FlipAngle": 15}')
    if known:
        files["aif"] = inputs.put(folder / "in" / "aif.csv", hostile_commands.aif(*_GRID))
        files |= hostile_commands.map_files(folder, hostile_commands.INFER_SHAPE)
    return files


def recommended_kinds(shared: Path) -> dict[str, Kind]:
    """What inference with such weights reads; the plain examination lies in `shared`, and is run first."""
    own = tiny_weights(shared / "recommended")
    signal = hostile_commands.infer_signal()

    def run(folder: Path, *, good: bool = False, **files: Path) -> tuple[str, dict[str, np.ndarray]]:
        return hostile_commands.run(infer, folder, good=good, **files, weights=own)

    def plain_of(folder: Path, *, known: bool) -> dict[str, np.ndarray]:
        return run(folder, good=True, **_files(folder, inputs.content(signal), known=known))[1]

    plain = {known: plain_of(shared / f"recommended-{known}", known=known) for known in (False, True)}

    def same(folder: Path, drawn: tuple) -> str:
        kind, order, version, zipped, extension = drawn
        stored = {"version": version, "order": order}
        data = inputs.content(signal.astype(kind), extension=extension, **stored)
        files = _files(folder, data, "scan.nii.gz" if zipped else "scan.nii", **stored)
        return hostile_commands.same_maps(run(folder, good=True, **files)[1], plain[False])

    def damaged(folder: Path, drawn: tuple) -> str:
        which, how, place, data, zipped = drawn
        known = which not in ("input", "mask", "times", "sidecar") or place % 3 == 0
        files = _files(
            folder, inputs.content(signal.astype("f4")), "scan.nii.gz" if zipped else "scan.nii", known=known
        )
        path = folder / "in" / "scan.json" if which == "sidecar" else files[which]
        hostile_commands.damage(path, how, place, data)
        found, maps = run(folder, **files)
        if which == "input" or found == "refused":
            return found
        alike = all(np.array_equal(maps[name], values) for name, values in plain[known].items())
        return "same" if alike else "accepted"

    return {
        "dcejax-infer, recommended: the same examination": Kind(st.tuples(*hostile_commands.STORED), same, share=0.2),
        "dcejax-infer, recommended: damaged files": Kind(hostile_commands.DAMAGE, damaged, share=0.2),
    }
