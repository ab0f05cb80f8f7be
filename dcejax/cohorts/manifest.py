"""What a folder of simulated patients was made from, so that two data sets are never mixed in it."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from dcejax import physics, rng, simulation
from dcejax.data import access, dataset, plain_text, presence, provenance, results
from dcejax.simulation.cohort_definitions import Cohort
from dcejax.simulation.priors import priors_sha256
from dcejax.simulation.scanner.imaging import SIZES

FILE = "dcejax-simulated.json"

_VERSIONED = ("dcejax", "jax", "numpy", "nibabel")
_KEPT = ("cohort", "seed", "size", "priors_sha256", "labels_sha256")  # what all patients of a folder share for ever


def _code_sha256() -> str:
    """Hash of the sources that shape a patient: a version number stays while a checkout changes."""
    folders = (Path(package.__file__).parent for package in (simulation, physics))
    sources = [*sorted(source for folder in folders for source in folder.rglob("*.py")), Path(rng.__file__)]
    return hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()


def make(cohort_made: Cohort, size: str, seed: int, labels_sha256: str | None) -> dict[str, Any]:
    """All that shapes every patient of a data set, as JSON gives it back.

    The hash is of the label map that stands for the patients' own anatomy, if there is one.
    """
    content = {
        "cohort": asdict(cohort_made),
        "seed": seed,
        "size": {"name": size, **asdict(SIZES[size])},
        "priors_sha256": priors_sha256(),
        "labels_sha256": labels_sha256,
        "code_sha256": _code_sha256(),
        "versions": provenance.versions(_VERSIONED),
    }
    return json.loads(json.dumps(content))


def _in_words(manifest: Mapping[str, Any]) -> str:
    return (
        f"cohort {manifest['cohort']['name']}, seed {manifest['seed']}, size {manifest['size']['name']}, "
        f"priors {manifest['priors_sha256'][:8]}"
    )


def _read(path: Path) -> dict[str, Any] | None:
    try:
        found = plain_text.read_json(path)
        _in_words(found)
        return {**found, "patients": int(found["patients"])}
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ValueError(access.refusal(error)) from error
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{path}: expected the manifest of a simulated data set, found a damaged one; choose another --output_dir"
        ) from error


def check(folder: Path, manifest: Mapping[str, Any]) -> int:
    """How many patients the data set in a folder has, made or to be made; 0 if there is no folder or no data set.

    Raises:
        ValueError: the folder holds another data set, simulated or not.
    """
    # Looked for before the manifest, which other shards write first: what lies here without one is none of theirs.
    foreign = [name for name in dataset.ROOT_FILES if presence.exists(folder / name)]
    path = folder / FILE
    found = _read(path)
    if found is None:
        if foreign:
            raise ValueError(
                f"{folder}: expected no data set or one that dcejax-simulate made, found {foreign[0]} without {FILE}; "
                "choose another --output_dir"
            )
        return 0
    others = [name for name in _KEPT if found.get(name) != manifest[name]]
    if others:
        raise ValueError(
            f"{path}: expected the data set asked for ({_in_words(manifest)}), found another ({_in_words(found)}; "
            f"different: {', '.join(others)}); choose another --output_dir"
        )
    return found["patients"]


def write(folder: Path, manifest: Mapping[str, Any], patients: int) -> None:
    """Describe a data set of so many patients; the versions are those of the latest run, each record holds its own.

    Raises:
        ValueError: the folder cannot be written.
    """
    results.make_folder(folder)
    content = {"simulated": True, "patients": patients, **manifest}
    dataset.write_new(folder / FILE, results.json_text(content))
