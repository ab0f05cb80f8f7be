"""The commands themselves, in this process, on tiny examinations whose files lie, break off or say the same otherwise.

A run has to leave finite maps, those of the plain examination where the files say the same, and nothing outside its
folder; or end with exit code 2, one line that says why, and no folder.
"""

import contextlib
import dataclasses
import gzip
import io
import math
import re
from pathlib import Path
from typing import Any

import hostile_images
import hostile_inputs as inputs
import hostile_text
import hostile_weights
import jax
import jax.numpy as jnp
import nibabel as nib
import numpy as np
from hostile_inputs import Kind
from hypothesis import strategies as st

from dcejax.cli import fit, infer
from dcejax.conventional import fit_picture
from dcejax.data import weights
from dcejax.execution.policy import default_policy
from dcejax.methods import lyoo2025, method
from dcejax.runner import map_picture

_FIT = {"input_quantity": "concentration", "model": "tofts", "method": "linear", "fit_delay": "false"}
_FIT_SIGNAL = {"tr_ms": 5, "flip_angle_deg": 15, "baseline_frames": 3, "model": "tofts", "method": "linear"}
_NAMES = ("scan", "mask", "aif", "times", "cases", "none.nii", "t1_map", "b1_map", "segmentation")
INFER_FRAMES = 60  # every 5 s, the grid of these weights
_ODD = (math.nan, math.inf, -math.inf, 0.0, -0.0, -1.0, 1e-40, 3e38, -3e38, 7.5)
INFER_SHAPE = (6, 5, 1)


def _config() -> lyoo2025.Config:
    return lyoo2025.Config(
        tcn=lyoo2025.TCNConfig(channels=(4, 1), dilations=(1, 2), kernel_size=3),
        prob_unet=lyoo2025.ProbUNetConfig(filters=(4, 8), combination_layers=2),
        prob_unet_training=dataclasses.replace(lyoo2025.Config().prob_unet_training, patch_size=16),
    )


def tiny_weights(stem: Path) -> Path:
    """Random parameters of small networks, as training exports them."""
    config = _config()
    tcn, unet = lyoo2025.make_tcn(config), lyoo2025.make_prob_unet(config, default_policy())
    key, image = jax.random.key(0), jnp.zeros((1, 8, 8, 3))
    shapes = {
        "tcn": jax.eval_shape(tcn.init, key, jnp.zeros((1, config.protocol.frames)))["params"],
        "prob_unet": jax.eval_shape(unet.init, key, image, image)["params"],
    }
    rng = np.random.default_rng(0)
    params = jax.tree.map(lambda leaf: rng.normal(0, 0.1, leaf.shape), shapes)
    return weights.save(stem, lyoo2025.release(params), {"config": method.to_dict(config)})


def load_networks(path: str) -> Any:
    """Weights, once their networks are made, as the command makes them."""
    loaded = weights.load(path)
    config = method.config_of(loaded)
    try:
        method.of(config).load(loaded.params, config, default_policy())
    except ValueError as error:
        raise ValueError(f"weights {loaded.name}: {error}") from error
    return loaded


@contextlib.contextmanager
def without_pictures() -> Any:
    """Pictures take longer than all else."""
    kept = fit_picture.overview, map_picture.overview
    fit_picture.overview = map_picture.overview = lambda *_: b"picture"
    try:
        yield
    finally:
        fit_picture.overview, map_picture.overview = kept


def run(
    command: Any,
    folder: Path,
    *words: object,
    good: bool = False,
    names: tuple[str, ...] = _NAMES,
    stays: str = "none",
    **flags: Any,
) -> tuple[str, dict[str, np.ndarray]]:
    """Run a command on the files of `folder/in`, which are good or may be refused by one of their names; what became of
    it, and its maps by name. What `stays` in the folder of results is not removed where a command refuses.
    """
    before = sorted(folder.rglob("*"))
    out, told = folder / "out", io.StringIO()
    flags = flags if words else {"output_dir": out} | flags
    stated = [*map(str, words), *(f"--{name}={value}" for name, value in flags.items())]
    code = None
    with without_pictures(), contextlib.redirect_stderr(told), contextlib.redirect_stdout(told):
        try:
            command.main(["command", *stated])
        except SystemExit as stop:
            code = stop.code
    errors = [line for line in told.getvalue().splitlines() if line.startswith("error: ")]
    assert "Traceback" not in told.getvalue(), told.getvalue()
    assert not re.search(r"\.py:\d+: \w*Warning", told.getvalue()), told.getvalue()
    written = set(folder.rglob("*")) - set(before)
    if code == 2 and not good:
        assert len(errors) == 1, told.getvalue()
        left = [path for path in written if out / stays not in (path, *path.parents)]
        left.remove(out) if (out / stays).exists() else None
        assert not left, f"refused, and left {sorted(left)}"
        return inputs.check_refusal(errors[0], *names), {}
    assert code == 0, (code, told.getvalue())
    assert all(path == out or out in path.parents for path in written), "files outside the folder"
    return "accepted", maps_in(out, stays)


def maps_in(out: Path, without: str = "none") -> dict[str, np.ndarray]:
    """Maps by the names of their files, all of them finite; what lies in a folder below is left out."""
    paths = [path for path in sorted(out.rglob("*.nii.gz")) if out / without not in path.parents]
    values = {path.name: np.asarray(nib.load(path).dataobj) for path in paths}
    assert values, "no maps"
    assert all(np.isfinite(each).all() for each in values.values()), "maps that are not finite"
    return values


def same_maps(maps: dict[str, np.ndarray], plain: dict[str, np.ndarray]) -> str:
    """Refuse to go on unless maps are the plain ones."""
    assert sorted(maps) == sorted(plain)
    for name, values in maps.items():
        np.testing.assert_array_equal(values, plain[name], err_msg=name)
    return "same"


def aif(*frames: float) -> bytes:
    """The plain arterial input as a table, of the plain frames or of others."""
    times, curve = inputs.plasma(*frames)
    lines = [f"{60 * t!r},{c!r}" for t, c in zip(times.tolist(), curve.tolist(), strict=True)]
    return "\n".join(["time_s,cp_plasma_mM", *lines]).encode()


def _fit_files(folder: Path, data: bytes = inputs.PLAIN, name: str = "scan.nii", mask: bytes = inputs.MASK) -> dict:
    times, _ = inputs.plasma()
    files = {
        "input": inputs.put(folder / "in" / name, data),
        "mask": inputs.put(folder / "in" / "mask.nii", mask),
        "aif": inputs.put(folder / "in" / "aif.csv", aif()),
        "times": inputs.put(folder / "in" / "times.txt", "\n".join(map(str, (60 * times).tolist())).encode()),
    }
    inputs.put(folder / "in" / "scan.json", b'{"RepetitionTime": 6.0, "FlipAngle": 12}')
    return files


def map_files(folder: Path, shape: tuple[int, ...]) -> dict[str, Path]:
    """All maps that may lie beside a series of signal, by their flags."""
    ones = np.ones(shape, np.float32)
    maps = {"t1_map": 1.4 * ones, "b1_map": 0.9 * ones, "segmentation": ones}
    return {role: inputs.put(folder / "in" / f"{role}.nii.gz", inputs.content(values)) for role, values in maps.items()}


def _signal_files(folder: Path, name: str = "scan.nii") -> dict:
    """The same as signal, with all maps that may lie beside it."""
    level = (100 + np.arange(np.prod(inputs.SHAPE)).reshape(*inputs.SHAPE, 1)).astype(np.float32)
    files = _fit_files(folder, inputs.content(level * (1 + inputs.plain_values())), name)
    return files | map_files(folder, inputs.SHAPE)


def infer_signal() -> np.ndarray:
    """Whole numbers."""
    speed = np.linspace(1, 6, int(np.prod(INFER_SHAPE))).reshape(*INFER_SHAPE, 1)
    since = np.maximum(np.arange(INFER_FRAMES) / INFER_FRAMES - 0.15, 0)
    baseline = 45 + np.arange(np.prod(INFER_SHAPE)).reshape(*INFER_SHAPE, 1) % 7
    return np.rint(baseline + 70 * (1 - np.exp(-speed * since))).astype(np.int64)


def infer_files(folder: Path, data: bytes, name: str = "scan.nii", **how: Any) -> dict:
    """Files of a series of `infer_signal`'s shape, by their flags."""
    mask = inputs.content(np.ones(INFER_SHAPE, np.uint8), **how)
    return {
        "input": inputs.put(folder / "in" / name, data),
        "mask": inputs.put(folder / "in" / "mask.nii", mask),
        "times": inputs.put(folder / "in" / "times.txt", "\n".join(f"{5 * i}" for i in range(60)).encode()),
    }


STORED = (
    st.sampled_from(["u1", "i1", "u2", "i2", "i4", "i8", "u8", "f4", "f8"]),
    st.sampled_from("<>"),
    st.sampled_from([1, 2]),
    st.booleans(),
    st.integers(0, 3).map(lambda number: bytes(range(16 * number))),
)
"""How whole numbers may be stored: type, byte order, version of NIfTI, whether compressed, an extension."""

SAME = st.tuples(*STORED, hostile_images.ROTATIONS)
DAMAGE = st.tuples(
    st.sampled_from(["input", "input", "mask", "aif", "times", "sidecar", "t1_map", "b1_map", "segmentation"]),
    st.sampled_from(["change", "number", "number", "cut", "insert", "repeat"]),
    st.integers(0, 4000),
    st.one_of(st.binary(min_size=1, max_size=6), st.integers(0, 99).map(lambda number: str(number).encode())),
    st.booleans(),
)
IDS = st.lists(
    st.tuples(hostile_text.CELLS, st.sampled_from(["scan.nii", "../in/scan.nii", "none.nii", "mask.nii", ""])),
    max_size=2,
)


def damaged_bytes(name: str, content: bytes, how: str, place: int, data: bytes) -> bytes:
    """What a file of a name holds once it is damaged."""
    zipped, image = name.endswith(".gz"), ".nii" in name
    within = zipped and place % 5 > 0  # else what is compressed is damaged
    content = gzip.decompress(content) if within else content
    at = place % (len(content) if place % 2 else min(len(content), 360))
    if how == "number":  # a voxel, or a digit
        if image:
            at, data = (
                352 + 4 * (place % max(1, (len(content) - 352) // 4)),
                np.float32(_ODD[sum(data) % len(_ODD)]).tobytes(),
            )
        else:
            digits = [i for i, byte in enumerate(content) if chr(byte) in "0123456789"]
            at, data = digits[place % len(digits)] if digits else 0, str(data[0] % 10).encode()
    changed = {
        "number": content[:at] + data + content[at + len(data) :],
        "change": content[:at] + data + content[at + len(data) :],
        "cut": content[:at],
        "insert": content[:at] + data + content[at:],
        "repeat": content + content[at:],
    }[how]
    return gzip.compress(changed) if within else changed


def damage(path: Path, how: str, place: int, data: bytes) -> None:
    """The same of a file."""
    path.write_bytes(damaged_bytes(path.name, path.read_bytes(), how, place, data))


def _fit_kinds(plain: dict[str, np.ndarray], of_signal: dict[str, np.ndarray]) -> dict[str, Kind]:
    def same(folder: Path, drawn: tuple) -> str:
        kind, order, version, zipped, extension, (*how, coded, _) = drawn
        stored = inputs.whole_numbers().astype(kind)
        if kind[0] == "f":
            stored = stored * np.dtype(kind).type(inputs.SLOPE)
        rest = {"affine": hostile_images.turned(*how), "coded": coded, "version": version, "order": order}
        data = inputs.content(stored, slope=1.0 if kind[0] == "f" else inputs.SLOPE, extension=extension, **rest)
        mask = inputs.content(np.ones(inputs.SHAPE, np.uint8), **rest)
        files = _fit_files(folder, data, "scan.nii.gz" if zipped else "scan.nii", mask)
        return same_maps(run(fit, folder, good=True, **files, **_FIT)[1], plain)

    def damaged(folder: Path, drawn: tuple) -> str:
        which, how, place, data, zipped = drawn
        signal = which.endswith("_map") or which == "segmentation" or place % 3 == 0
        name = "scan.nii.gz" if zipped else "scan.nii"
        files = _signal_files(folder, name) if signal else _fit_files(folder, name=name)
        damage(folder / "in" / "scan.json" if which == "sidecar" else files[which], how, place, data)
        found, maps = run(fit, folder, **files, **(_FIT_SIGNAL if signal else _FIT))
        if which == "input" or found == "refused":
            return found
        usual = of_signal if signal else plain
        alike = sorted(maps) == sorted(usual) and all(np.array_equal(maps[name], usual[name]) for name in usual)
        return "same" if alike else "accepted"

    def named(folder: Path, rows: list[tuple[str, str]]) -> str:
        files = _fit_files(folder)
        table = "\n".join(["case_id,input", *(f"{case_id},{path}" for case_id, path in rows)])
        files["input"] = inputs.put(folder / "in" / "cases.csv", table.encode("utf-8", "replace"))
        del files["mask"]
        return run(fit, folder, **files, **_FIT)[0] if len(rows) < 2 else "refused"

    return {
        "dcejax-fit: the same examination": Kind(SAME, same, share=0.5),
        "dcejax-fit: damaged files": Kind(DAMAGE, damaged, share=0.5),
        "dcejax-fit: manifests and case ids": Kind(IDS, named, share=0.5),
    }


def _infer_kinds(plain: dict[str, np.ndarray], own: Path) -> dict[str, Kind]:
    def same(folder: Path, drawn: tuple) -> str:
        kind, order, version, zipped, extension, (*how, coded, _) = drawn
        rest = {"affine": hostile_images.turned(*how), "coded": coded, "version": version, "order": order}
        data = inputs.content(infer_signal().astype(kind), extension=extension, **rest)
        files = infer_files(folder, data, "scan.nii.gz" if zipped else "scan.nii", **rest)
        return same_maps(run(infer, folder, good=True, **files, weights=own)[1], plain)

    def damaged(folder: Path, drawn: tuple) -> str:
        which, how, place, data, zipped = drawn
        files = infer_files(folder, inputs.content(infer_signal()), "scan.nii.gz" if zipped else "scan.nii")
        damage(files.get(which, files["input"]), how, place, data)
        return run(infer, folder, **files, weights=own)[0]

    return {
        "dcejax-infer: the same examination": Kind(SAME, same, share=0.2),
        "dcejax-infer: damaged files": Kind(DAMAGE, damaged, share=0.2),
    }


def weights_kinds(shared: Path) -> dict[str, Kind]:
    """Weights, which lie in `shared`."""
    return {"weights": hostile_weights.kind(tiny_weights(shared / "tiny"), load_networks)}


def fit_kinds(shared: Path) -> dict[str, Kind]:
    """What the conventional analysis reads; the plain examination lies in `shared`, and is run first."""
    _, plain = run(fit, shared / "fit", good=True, **_fit_files(shared / "fit"), **_FIT)
    _, of_signal = run(fit, shared / "signal", good=True, **_signal_files(shared / "signal"), **_FIT_SIGNAL)
    return _fit_kinds(plain, of_signal)


def infer_kinds(shared: Path) -> dict[str, Kind]:
    """What inference reads; as `fit_kinds`."""
    own = tiny_weights(shared / "tiny")
    files = infer_files(shared / "infer", inputs.content(infer_signal()))
    _, plain = run(infer, shared / "infer", good=True, **files, weights=own)
    return _infer_kinds(plain, own)
