"""How maps were made, as the methods document of a challenge, from the records of the cases and nothing else."""

from collections.abc import Mapping, Sequence
from typing import Any

_NETWORK = """{method} with the weights {name} (SHA-256 {sha256}).
The networks estimate Ktrans, vp and ve from the series itself, with an arterial input that they estimate from the
images. Submitted are the first estimates among the method's outputs (medians). No start values, no iterations."""

_FIT = """{name} ({Description}), fitted voxel by voxel by {how}.
Bounds: {bounds}. A delay of arrival {delay}. {selection}"""


def _flat(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_flat(each)}" for key, each in value.items())
    if isinstance(value, (list, tuple)):
        return " to ".join(_flat(each) for each in value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def _model(record: Mapping[str, Any]) -> str:
    if "weights" in record:
        return _NETWORK.format(**record["weights"])
    model = record["model"]
    codes = [name for code, name in model.get("models", {}).items() if int(code) >= 0]
    selection = f"Chosen for each voxel among {', '.join(codes)} by {model['selected_by']}." if codes else ""
    how = {"nlls": "bounded nonlinear least squares", "linear": "linear least squares"}[model["method"]]
    delay = "was fitted, too" if model.get("fit_delay") else "was not fitted"
    bounds = _flat(model.get("bounds", {})) or "none"
    text = _FIT.format(**{**model, "how": how, "bounds": bounds, "delay": delay, "selection": selection})
    return text.rstrip()


# What a record says of how an input was obtained.
_PREPARED = ("timing", "mask", "acquisition", "input", "conversion", "t1", "b1", "aif", "drop_frames")


def _case(record: Mapping[str, Any]) -> str:
    name = record["osipi"]["name"]
    lines = [f"{name} (case {record['case_id']}, record details/{record['case_id']}_desc-*.json)"]
    lines += [f"  {key}: {_flat(record[key])}" for key in _PREPARED if key in record]
    if "voxels" in record:
        lines.append(f"  voxels: {_flat(record['voxels'])}")
    lines += [f"  warning: {warning}" for warning in record["warnings"]] or ["  warnings: none"]
    return "\n".join(lines)


def of(records: Sequence[Mapping[str, Any]]) -> str:
    """The document of cases whose records a command left; models and versions that differ are all told."""
    models = list(dict.fromkeys(_model(record) for record in records))
    versions = list(dict.fromkeys(_flat(record["versions"]) for record in records))
    cases = "\n\n".join(_case(record) for record in records)
    newline = "\n"
    return f"""METHODS

Written from the records of {len(records)} scan(s). Team, contact and repeated analyses are yours to add.

1. Software
dcejax, Apache-2.0. Versions: {"; ".join(versions)}.

2. Model
{(newline * 2).join(models)}

3. Maps
Ktrans and kep in 1/min, vp and ve as fractions from 0 to 1, on the grid of the series. NaN: no estimate, outside the
mask or not fitted. modelled_st holds the modelled series in the quantity and unit of the input, on the frames that were
used; 0 outside the mask and where nothing was fitted, NaN in frames that the model does not reach.
rois.csv: median, population standard deviation and its ratio to the mean, over the voxels of a region that have an
estimate; share_covered is their share of the region. This is spread within one scan, not repeatability.

4. Preparation
dcejax registers nothing and corrects no movement. What each scan was given and found:

{cases}
"""
