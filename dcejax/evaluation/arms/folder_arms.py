"""Arms whose maps lie in a folder, as dcejax-infer, dcejax-fit or dcejax-bids writes them."""

import hashlib
import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dcejax.data import nifti, plain_text, presence, results
from dcejax.evaluation import map_places
from dcejax.evaluation.arms.simple_arms import INTERVAL, Description, Maps
from dcejax.evaluation.examinations import Loaded
from dcejax.methods.method import of_parameters
from dcejax.types import PARAMETERS, Output


class _Writer(NamedTuple):
    """How a program names the maps that it writes."""

    estimate: str  # how files name the estimates
    sd: str | None  # and their SD
    sidecar: str
    stages: tuple[str, ...]  # names in the sidecar of the seconds that are inference


_FIT = _Writer("fit", "se", "fit", ("fit",))
_WITHOUT_SIDECAR = _Writer("mean", "std", "dcejax", ("predict",))  # maps that were copied without it


class MapFolder:
    """Maps of any origin."""

    def __init__(self, label: str, folder: Path):
        if not presence.is_dir(folder):
            raise ValueError(f"--maps: expected a folder for {label}, found {folder}; check the path")
        self._folder = folder
        self.description = Description(
            label, label, "maps", f"Maps from the folder {folder.name}, with their SD where they have one."
        )

    def _files(self, case_id: str, statistic: str | None) -> list[Path]:
        """The files of a map of each parameter, if all are there."""
        if statistic is None:
            return []
        place = map_places.place_of(self._folder, case_id)
        paths = [results.map_path(*place, statistic, name) for name in PARAMETERS]
        return paths if all(presence.is_file(path) for path in paths) else []

    def _writers(self, case_id: str) -> Iterator[_Writer]:
        """Who may have written the maps; the sidecar of dcejax-infer names its estimates and their spread."""
        try:
            maps = plain_text.read_json(self._sidecar(case_id, "dcejax"))["maps"]
            outputs = [Output(m["statistic"], m["quantity"], m["Units"], m["kind"], "") for m in maps.values()]
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            outputs = []
        estimate, spread = (of_parameters(outputs, kind) for kind in ("estimate", "spread"))
        if estimate:
            sd = spread[0].statistic if spread else None
            yield _WITHOUT_SIDECAR._replace(estimate=estimate[0].statistic, sd=sd)
        yield _WITHOUT_SIDECAR
        yield _FIT

    def require_any(self, case_ids: Iterable[str]) -> None:
        """Refuse a folder without maps of the cases that are evaluated.

        Raises:
            ValueError: there are maps of none of the cases.
        """
        case_ids = list(case_ids)
        if not any(map(self._found, case_ids)):
            raise ValueError(
                f"--maps: expected maps of cases such as {case_ids[0]} in {self._folder}, named "
                f"{case_ids[0]}_desc-mean_* or _desc-fit_* of {', '.join(PARAMETERS)}, found none; check the folder"
            )

    def _found(self, case_id: str) -> _Writer | None:
        """Who wrote the maps of a case; None without maps."""
        return next((writer for writer in self._writers(case_id) if self._files(case_id, writer.estimate)), None)

    def _writer(self, case_id: str) -> _Writer:
        if found := self._found(case_id):
            return found
        raise ValueError(
            f"{self._folder.name}: expected {case_id}_desc-mean_* or {case_id}_desc-fit_* of {', '.join(PARAMETERS)}, "
            "found none"
        )

    def identity(self, case_id: str) -> dict[str, str]:
        """Hash of each file by name.

        Raises:
            ValueError: there is no map of this case.
        """
        writer = self._writer(case_id)
        maps = [file for name in (writer.estimate, writer.sd, *INTERVAL) for file in self._files(case_id, name)]
        paths = [*maps, self._sidecar(case_id, writer.sidecar)]
        return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths if presence.is_file(path)}

    def _sidecar(self, case_id: str, name: str) -> Path:
        folder, stem = map_places.place_of(self._folder, case_id)
        return folder / f"{stem}_desc-{name}.json"

    def _seconds(self, path: Path, stages: tuple[str, ...]) -> dict[str, float | None]:
        """Seconds of inference and of everything, if the sidecar says."""
        try:
            seconds: dict[str, Any] = plain_text.read_json(path)["seconds"]
            found = {"inference": sum(seconds[stage] for stage in stages), "total": sum(seconds.values())}
            return found if all(map(math.isfinite, found.values())) else {}
        except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError):
            return {}

    def maps(self, loaded: Loaded) -> Maps:
        """Read them.

        Raises:
            ValueError: missing, damaged, on another grid, or not finite in the brain.
        """
        scan = loaded.simulated.scan
        grid = nifti.Image(Path(f"{scan.case_id}_dce.nii.gz"), scan.values, scan.affine, scan.header)
        writer = self._writer(scan.case_id)

        def read(paths: list[Path]) -> np.ndarray | None:
            if not paths:
                return None
            found = np.stack([nifti.read_volume(path, "map", grid).values for path in paths], axis=-1)
            lost = np.count_nonzero(~np.isfinite(found[scan.mask]), axis=0)
            if lost.any():
                worst = int(lost.argmax())
                raise ValueError(
                    f"{paths[worst]}: expected finite maps in the brain, found NaN or infinity in {lost[worst]} voxels"
                    "; make the maps again"
                )
            return np.where(scan.mask[..., None], found, np.float32(0.0))

        names = (writer.estimate, writer.sd, *INTERVAL)
        values, spread, *ends = (read(self._files(scan.case_id, name)) for name in names)
        interval = None if any(end is None for end in ends) else tuple(ends)
        seconds = self._seconds(self._sidecar(scan.case_id, writer.sidecar), writer.stages)
        statistic = "estimate" if writer is _FIT else writer.estimate
        return Maps(values, spread, interval, seconds=seconds, statistic=statistic)
