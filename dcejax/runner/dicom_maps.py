"""Maps of cases that came from DICOM, written as DICOM beside the NIfTI."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dcejax.data import plain_text, presence
from dcejax.data.dicom import conversion, parametric_map
from dcejax.data.dicom.parametric_map import NamedMap
from dcejax.runner.layouts.layout import Place

_KEY = "dicom_maps"  # of a case's sidecar


@dataclass(frozen=True)
class DicomMaps:
    """Where the DICOM of cases lies."""

    folders: Mapping[str, Path]  # by case
    series: int | None = None  # number of the dynamic series, as it was converted

    def written(self, sidecar: Path) -> bool:
        """Whether a case that is done has its objects."""
        try:
            names = plain_text.read_json(sidecar)[_KEY]
            return all(presence.is_file(sidecar.parent / name) for name in names)
        except (OSError, ValueError, KeyError, TypeError):
            return False

    def write(
        self, place: Place, case_id: str, maps: Sequence[NamedMap], affine: np.ndarray, identity: str
    ) -> dict[str, Any]:
        """Write the maps of a case to its place; returns what its sidecar says of them.

        Raises:
            ValueError: as `parametric_map.write`, or DICOM that is no longer what was converted.
        """
        source = conversion.dynamic_stack(self.folders[case_id], self.series)
        parametric_map.write(*place, maps, affine, source, identity)
        return {_KEY: [parametric_map.path_of(*place, one.statistic, one.quantity).name for one in maps]}
