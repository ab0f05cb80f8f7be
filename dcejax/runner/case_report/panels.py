"""Maps as a page shows them: an image, its scale, and what of it lies beyond."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from dcejax.data.scales import Scale
from dcejax.runner.case_report import region_table
from dcejax.runner.case_report.sheets import FIRST, LEVELS, Sheet, Sheets, colours_of

_WORTH_A_WORD = 0.005  # share of the mask
_MARKS = {0: "#2b323b", 1: "#3fa7a0"}


@dataclass(frozen=True)
class Codes:
    """A map of codes, such as what became of each voxel's fit."""

    title: str
    volume: np.ndarray  # [X, Y, Z]
    names: Mapping[int, str]
    colours: Mapping[int, str]  # CSS, of every code in the mask


def percent(share: float) -> str:
    """A share in words."""
    return f"{100 * share:.{1 if share < 0.0995 else 0}f} %"


class Panels:
    """Makes panels, and keeps the scales by which the page reads values back from colours."""

    def __init__(self, mask: np.ndarray, sheets: Sheets):
        self._mask, self._sheets = mask, sheets
        self.scales: list[dict[str, Any]] = []
        self.seen: dict[str, list[str]] = {}  # what lies beyond scales and occurs, with its colours

    def _number(self, entry: dict[str, Any]) -> int:
        if entry not in self.scales:
            self.scales.append(entry)
        return self.scales.index(entry)

    def _notes(self, sheet: Sheet) -> list[str]:
        beyond = {"above": sheet.above, "below": sheet.below}
        return [
            f"{percent(share)} of the mask {where} the scale"
            for where, share in beyond.items()
            if share > _WORTH_A_WORD
        ]

    def of_map(
        self, title: str, volume: np.ndarray, scale: Scale, text: str = "", levels: int = LEVELS
    ) -> dict[str, Any]:
        """A map [X, Y, Z] on a scale."""
        sheet = self._sheets.of_map(volume, scale, levels)
        meanings = ("no value", "below the scale", "above the scale")
        for share, colour, name in zip(
            (sheet.none, sheet.below, sheet.above), sheet.colours[1:FIRST], meanings, strict=True
        ):
            if share and colour not in self.seen.setdefault(name, []):
                self.seen[name].append(colour)
        places = region_table.digits(scale)
        entry = {"colours": list(sheet.colours), "low": scale.low, "high": scale.high, "digits": places}
        unit = f" ({scale.unit})" if scale.unit else ""
        notes = [*([text] if text else []), *self._notes(sheet)]
        if not scale.fixed:
            notes.append("this patient's own scale")
        shades = colours_of(scale, 12)
        return {
            "title": title,
            "address": sheet.address,
            "scale": self._number(entry),
            "alt": f"{title}{unit}, from {scale.low:g} to {scale.high:g}",
            "gradient": ", ".join(shades),
            "low": f"{scale.low:g}",
            "high": f"{scale.high:g}",
            "unit": scale.unit,
            "notes": notes,
            "coded": False,
            "codes": [],
        }

    def of_image(self, title: str, volume: np.ndarray, text: str) -> dict[str, Any]:
        """An image [X, Y, Z] without a scale of its own."""
        sheet = self._sheets.of_image(volume)
        plain = {"title": title, "address": sheet.address, "alt": f"{title}: {text}", "notes": [text]}
        return plain | {"scale": None, "gradient": "", "coded": False, "codes": []}

    def of_marks(self, title: str, volume: np.ndarray, text: str) -> dict[str, Any]:
        """A map [X, Y, Z] of 0 and 1."""
        return self.of_codes(Codes(title, np.asarray(volume) > 0.5, {0: "no (0)", 1: "yes (1)"}, _MARKS), text)

    def of_codes(self, codes: Codes, text: str = "") -> dict[str, Any]:
        """A map of codes in a colour each."""
        sheet = self._sheets.of_codes(codes.volume, dict(codes.colours))
        inside = codes.volume[self._mask]
        shares = {code: float(np.mean(inside == code)) for code in sorted(codes.colours)}
        names = ["", *(codes.names[code] for code in sorted(codes.colours))]
        listed = [
            {"colour": codes.colours[code], "name": codes.names[code], "share": percent(share)}
            for code, share in shares.items()
            if share
        ]
        entry = {"colours": list(sheet.colours), "names": names}
        plain = {"title": codes.title, "address": sheet.address, "alt": codes.title, "gradient": ""}
        notes = [text] if text else []
        return plain | {"scale": self._number(entry), "coded": True, "codes": listed, "notes": notes}
