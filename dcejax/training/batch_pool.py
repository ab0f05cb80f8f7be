"""A pool: batches of any source, kept on disk and drawn again by key.

    FOLDER/batch-00000.npz, ...   a batch each: an uncompressed array for each leaf, named by its path in `Batch`
                                  (curves, context.times, truth.aif.plasma, ...); optional leaves may be absent
    FOLDER/pool.json              written last: number of batches in each split, shape and type of every array, SHA-256
                                  of every file, seed, what the batches were made from
    FOLDER/unfinished.json        while it is being written: seed, and what the batches are made from

On CPU a batch is in memory only while it is used. An accelerator keeps those it has seen, up to `_KEPT_BYTES`:
reading one takes longer than a step.
"""

import hashlib
import io
import json
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, get_args, get_type_hints

import jax
import jax.numpy as jnp
import numpy as np

from dcejax.batch import Batch
from dcejax.data import access, atomic, presence
from dcejax.data.provenance import version
from dcejax.methods.stage import StageConfig
from dcejax.rng import stream
from dcejax.training.batch_source import Source, Split, part_of

RECORD = "pool.json"
"""Name of the record, which marks a whole pool."""

_UNFINISHED = "unfinished.json"
_KEPT_BYTES = 16 * 2**30


def _file(folder: Path, index: int) -> Path:
    return folder / f"batch-{index:05d}.npz"


def _arrays_of(batch: Batch) -> dict[str, np.ndarray]:
    leaves, _ = jax.tree.flatten_with_path(batch)
    return {jax.tree_util.keystr(path, simple=True, separator="."): np.asarray(leaf) for path, leaf in leaves}


def _record_of(kind: type, arrays: Mapping[str, Any], prefix: str = "") -> Any:
    """A NamedTuple from its leaves by name; what has none is None."""
    fields = {}
    for name, hint in get_type_hints(kind).items():
        full = f"{prefix}{name}"
        nested = [option for option in (hint, *get_args(hint)) if hasattr(option, "_fields")]
        if nested and any(leaf.startswith(f"{full}.") for leaf in arrays):
            fields[name] = _record_of(nested[0], arrays, f"{full}.")
        else:
            fields[name] = arrays.get(full)
    return kind(**fields)


def _layout_of(content: bytes) -> dict[str, Any]:
    with np.load(io.BytesIO(content)) as arrays:
        return {name: {"shape": list(array.shape), "dtype": str(array.dtype)} for name, array in arrays.items()}


def write_batch(folder: Path, index: int, source: Source, seed: int) -> None:
    """Write one batch of a pool that is not whole yet."""
    buffer = io.BytesIO()
    np.savez(buffer, **_arrays_of(source(stream(seed, "pool", index))))
    atomic.write_bytes(_file(folder, index), buffer.getvalue())


def write_pool(
    folder: Path,
    source_for: Callable[[Split], Source],
    count: int,
    seed: int,
    made_from: Mapping[str, Any],
    progress: Callable[[int, int], None] = lambda done, total: None,
    fill: Callable[[Sequence[tuple[int, Split]]], None] = lambda indices: None,
) -> None:
    """Write a pool, for instance of `partial(batches.source_of, config, protocol)`.

    Batch i is that of the key `stream(seed, "pool", i)`. The last ones, for validation, are of the source for
    validation, so that splits which share no subject in the source share none in the pool.

    The folder is made when it does not exist. An unfinished pool in it is finished, if it was made from the same with
    the same seed, else written anew. `made_from` says in the record what the source is, ready for JSON. `fill` may
    write the batches of some of the indices, given with their splits, first, as `write_batch` does.

    Raises:
        ValueError: a whole pool is there already, the folder cannot be written, there are fewer than two batches, they
            differ in shape, or their curves are not float32.
    """
    if presence.exists(folder / RECORD):
        raise ValueError(f"{folder}: expected a folder without a pool, found a whole one; choose another or remove it")
    splits = {split: part_of(range(count), split, f"{folder}: batches") for split in get_args(Split)}
    origin = {"seed": seed, "made_from": dict(made_from), "dcejax": version("dcejax")}
    _start(folder, origin)
    lacking = [(i, split) for split, own in splits.items() for i in own if not presence.exists(_file(folder, i))]
    if lacking:
        fill(lacking)
    layout, hashes = None, []
    for split, indices in splits.items():
        source = source_for(split)
        for index in indices:
            progress(index, count)
            if not presence.exists(_file(folder, index)):
                write_batch(folder, index, source, seed)
            content = _file(folder, index).read_bytes()
            found = _layout_of(content)
            layout = found if layout is None else layout
            if found != layout or found["curves"]["dtype"] != "float32":
                _file(folder, index).unlink()
                raise ValueError(
                    f"{folder}: expected batches of one shape with float32 curves, found {found} in batch {index} and "
                    f"{layout} in the first; correct the source"
                )
            hashes.append(hashlib.sha256(content).hexdigest())
    counts = {split: len(indices) for split, indices in splits.items()}
    record = {"batches": counts, **origin, "arrays": layout, "sha256": hashes}
    atomic.write_text(folder / RECORD, json.dumps(record, indent=2) + "\n")
    (folder / _UNFINISHED).unlink()


def _start(folder: Path, origin: Mapping[str, Any]) -> None:
    """Make the folder of a pool, or clear one of batches of another origin."""
    mark, content = folder / _UNFINISHED, json.dumps(origin, indent=2) + "\n"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        same = presence.exists(mark) and mark.read_text(encoding="utf-8") == content
        if not same:  # what is there is of another origin
            mark.unlink(missing_ok=True)
            for path in folder.glob("batch-*.npz"):
                path.unlink()
            atomic.write_text(mark, content)
    except OSError as error:
        raise ValueError(access.refusal(error)) from error


def read_record(folder: Path) -> dict[str, Any]:
    """The record of a whole pool.

    Raises:
        ValueError: there is none, or one that cannot be read.
    """
    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        shapes = [record["arrays"][name]["shape"] for name in ("curves", "context.times")]
        counts = [record["batches"][split] for split in get_args(Split)]
        if (
            min(counts) < 1
            or len(record["sha256"]) != sum(counts)
            or len(shapes[0]) not in (3, 4)
            or len(shapes[1]) != 2
        ):
            raise ValueError("numbers that do not agree")
        return record
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{folder / RECORD}: expected the record of a whole pool, found {error!r}; check the path, or write the "
            "pool again"
        ) from error


def _check_shapes(folder: Path, arrays: Mapping[str, Any], config: StageConfig) -> None:
    examples, *sides, _ = arrays["curves"]["shape"]
    patients = arrays["context.times"]["shape"][0]
    if len(sides) == 1:  # sets of voxels, an example each
        if (examples, patients) != (config.patients_per_step,) * 2:
            raise ValueError(
                f"{folder / RECORD}: expected batches of {config.patients_per_step} patients, as patients_per_step "
                f"says, found {patients}; change it or write another pool"
            )
        return
    size = config.patch_size
    expected = config.patients_per_step * config.patches_per_patient, size, size, config.patients_per_step
    if (examples, *sides, patients) != expected:
        raise ValueError(
            f"{folder / RECORD}: expected batches of {config.patients_per_step} patients, {expected[0]} patches in all "
            f"and {size} x {size} voxels, as patients_per_step, patches_per_patient and patch_size say, found "
            f"{patients} patients, {examples} patches and {' x '.join(map(str, sides))} voxels; change these fields "
            "or write another pool"
        )


def open_pool(folder: Path, config: StageConfig, split: Split) -> Source:
    """The source that draws a batch of a pool, with replacement.

    What the batches show, such as the share of patches on tumours, was decided when they were written; of the
    configuration `patients_per_step`, `patches_per_patient` and `patch_size` must be those of the pool.

    Raises:
        ValueError: no whole pool, or one of other shapes. The source raises it for a file that is missing or not the
            one that was written.
    """
    record = read_record(folder)
    _check_shapes(folder, record["arrays"], config)
    count, first = record["batches"][split], 0 if split == "train" else record["batches"]["train"]

    def load(index: int) -> Batch:
        content = _read(_file(folder, index), record["sha256"][index])
        with np.load(io.BytesIO(content)) as arrays:
            return jax.tree.map(jnp.asarray, _record_of(Batch, dict(arrays)))

    kept = 0 if jax.default_backend() == "cpu" else _KEPT_BYTES // _file(folder, first).stat().st_size
    load = lru_cache(kept)(load)

    def source(key: jax.Array) -> Batch:
        return load(first + int(jax.random.randint(key, (), 0, count)))

    return source


def _read(path: Path, sha256: str) -> bytes:
    found = "other content"
    try:
        content = path.read_bytes()
        if hashlib.sha256(content).hexdigest() == sha256:
            return content
    except OSError as error:
        found = error.strerror or str(error)
    raise ValueError(
        f"{path}: expected the batch that {RECORD} describes, found {found}; copy the whole pool again or write it anew"
    )
