"""Weights on disk: an .npz of parameters, and a .json that says what they are and which method they belong to."""

import hashlib
import io
import json
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from dcejax.data import atomic
from dcejax.types import Weights

DEFAULT = "default-v5"
"""The weights in the package that inference uses unless told otherwise: those of the recommended method."""

PUBLISHED_METHOD = "paper-v1"
"""Those of the published method."""

PACKAGED = (DEFAULT, PUBLISHED_METHOD)
"""All weights in the package."""

_MOST_BYTES = 4 << 30  # of parameters; those in the package have a hundredth of it


def _flatten(tree: Mapping[str, Any]) -> dict[str, np.ndarray]:
    import jax  # which takes a second that reading does not need

    leaves, _ = jax.tree.flatten_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): np.asarray(leaf) for path, leaf in leaves}


def _unflatten(flat: Mapping[str, np.ndarray]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for key, value in flat.items():
        *parents, name = key.split("/")
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        node[name] = value
    return tree


def _parameters(content: bytes) -> dict[str, Any]:
    """The tree of parameters in the bytes of an .npz; nothing in it is executed."""
    flat = {}
    with np.load(io.BytesIO(content), allow_pickle=False) as archive:
        if (size := sum(member.file_size for member in archive.zip.infolist())) > _MOST_BYTES:
            raise ValueError(f"{size} bytes of parameters, more than {_MOST_BYTES}")
        for key in archive.files:
            values = archive[key]
            if not isinstance(values, np.ndarray) or values.dtype.kind not in "fiu":
                raise ValueError(f"something else than real numbers in {key}")
            with np.errstate(over="ignore"):
                flat[key] = values.astype(np.float32)
            if not np.isfinite(flat[key]).all():
                raise ValueError(f"parameters that are not finite in {key}")
    return _unflatten(flat)


def _paths(stem: Path) -> tuple[Path, Path]:
    """The two files of one set of weights; names may hold dots, so `with_suffix` will not do."""
    return stem.with_name(f"{stem.name}.npz"), stem.with_name(f"{stem.name}.json")


def save(stem: Path, params: Mapping[str, Any], record: Mapping[str, Any]) -> Path:
    """Write ``<stem>.npz`` and ``<stem>.json``; the same parameters give the same bytes.

    Args:
        stem: path without suffix; its name is the weights' name.
        params: part -> tree of arrays, in the precision in which they are stored.
        record: JSON-serialisable facts; `config` must hold the resolved configuration with the name of its method.

    Returns:
        The path of the .npz.

    Raises:
        ValueError: a parameter that is not finite, no configuration, or a folder that cannot be written.
    """
    if "method" not in record.get("config", {}):
        raise ValueError(f"{stem}: expected record['config'] with the name of its method, found {sorted(record)}")
    flat = _flatten(params)
    for key, values in flat.items():
        if not np.isfinite(values).all():
            raise ValueError(f"{stem}: expected finite parameters, found others in {key}; training has diverged")
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **dict(sorted(flat.items())))
    npz, sidecar = _paths(stem)
    atomic.write_bytes(npz, buffer.getvalue())
    digest = hashlib.sha256(buffer.getvalue()).hexdigest()
    atomic.write_text(sidecar, json.dumps({**record, "sha256": digest}, indent=2) + "\n")
    return npz


def _stem(path: str | None) -> Path:
    if path is None or path in PACKAGED:
        return Path(str(resources.files("dcejax.weights"))) / (path or DEFAULT)
    for suffix in (".npz", ".json"):
        if path.endswith(suffix):
            return Path(path.removesuffix(suffix))
    raise ValueError(
        f"{path}: expected weights as .npz (or its .json) or one of {', '.join(PACKAGED)}, found another name; give "
        "the file that train.py wrote"
    )


def load(path: str | None) -> Weights:
    """Read weights, their parameters as float32.

    Args:
        path: the .npz or the .json beside it, the name of weights in the package, or None for the default ones.

    Raises:
        ValueError: a file that cannot be read, is damaged, of other content than its record says, or without a network.
    """
    stem = _stem(path)
    npz, sidecar = _paths(stem)
    try:
        content, text = npz.read_bytes(), sidecar.read_bytes()
    except OSError as error:
        raise ValueError(
            f"{error.filename}: expected weights as an .npz and a .json of one name, found {error.strerror}; check the "
            "path and that both files are there"
        ) from error
    try:
        record = json.loads(text)
        digest = record["sha256"]
        record["config"]["method"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(
            f"{sidecar}: expected the record that train.py writes beside weights, found {error!r}; export them again"
        ) from error
    if hashlib.sha256(content).hexdigest() != digest:
        raise ValueError(
            f"{npz}: expected the content that {sidecar.name} describes (sha256 {digest}), found other content; copy "
            "both files again"
        )
    try:
        tree = _parameters(content)
    except Exception as error:  # whatever numpy and zipfile raise for bytes that mean nothing
        raise ValueError(f"{npz}: expected an .npz of parameters, found {error}; export the weights again") from error
    return Weights(stem.name, tree, record)
