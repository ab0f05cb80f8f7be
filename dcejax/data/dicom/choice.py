"""Which stack of an examination is the dynamic series, and which were measured at other flip angles, for T1."""

from collections.abc import Sequence
from dataclasses import dataclass

from dcejax.data import sidecars
from dcejax.data.dicom.headers import Plane
from dcejax.data.dicom.stacks import Broken, Sorted, Stack, joined, name_of

FEWEST_FRAMES = 3
"""A stack of fewer is no dynamic series."""

_LONGEST_TR_MS = sidecars.LONGEST_EXCITATION_S * 1e3
_SHARED_TR = 0.01  # flip angles of one T1 measurement have one TR, to this share


@dataclass(frozen=True)
class Choice:
    """What an examination holds for us."""

    dynamic: Stack
    flip_angles: tuple[Stack, ...]  # one volume each, by rising flip angle; two or more, or none
    others: tuple[str, ...]  # what is left out, and why
    warnings: tuple[str, ...]


def _unfit(stack: Stack | Broken, chosen: int | None) -> str:
    """Why a stack is no dynamic series; nothing where it may be one."""
    plane = stack.first
    if stack.frames < FEWEST_FRAMES:
        return f"{stack.frames:g} frame(s)"
    if plane.modality != "MR":
        return f"modality {plane.modality or 'unknown'}"
    if not plane.magnitude:
        return "not magnitude"
    if not plane.gradient_echo:
        return "not a gradient echo, or echo-planar"
    if chosen is None and plane.derived:
        return "derived from other images"
    if plane.tr_ms is not None and plane.tr_ms >= _LONGEST_TR_MS and chosen is None:
        return f"TR {plane.tr_ms:g} ms"
    return ""


def _number_is(plane: Plane, chosen: int | None) -> bool:
    return chosen is None or plane.series_number == chosen


def _dynamic(folder: str, found: Sorted, chosen: int | None) -> tuple[Stack, list[str]]:
    stacks = [stack for stack in found.stacks if _number_is(stack.first, chosen)]
    reasons = {id(stack): _unfit(stack, chosen) for stack in stacks}
    fit = [stack for stack in stacks if not reasons[id(stack)]]
    broken = [b.reason for b in found.broken if _number_is(b.first, chosen) and not _unfit(b, chosen)]
    if len(fit) == 1 and not broken:
        others = [f"{s.name}: {reasons[id(s)]}" for s in stacks if reasons[id(s)]]
        return fit[0], others + [f"{s.name}: not asked for" for s in found.stacks if s not in stacks]
    if broken:
        raise ValueError(broken[0])
    if not fit and chosen is None:
        fit = [stack for stack in joined(found.stacks) if not _unfit(stack, chosen)]
        if len(fit) == 1:
            parts = {plane.series_uid for frame in fit[0].planes for plane in frame}
            return fit[0], [f"{s.name}: {reasons[id(s)]}" for s in stacks if s.first.series_uid not in parts]
    asked = f"series {chosen}" if chosen is not None else "one dynamic series"
    if not fit:
        told = "; ".join(f"{s.name}: {reasons[id(s)]}" for s in stacks) or "no such number"
        raise ValueError(
            f"{folder}: expected {asked} of {FEWEST_FRAMES} frames or more (spoiled gradient echo, magnitude, not "
            f"derived), found none: {told}; give the folder of the dynamic series, or choose one with dcejax-prepare "
            "--series=NUMBER"
        )
    told = ", ".join(f"{s.name} of {s.frames} frames" for s in fit)
    remedy = (
        "choose one with dcejax-prepare --series=NUMBER"
        if len({s.first.series_number for s in fit}) == len(fit)
        else "give each a folder of its own"
    )
    raise ValueError(f"{folder}: expected {asked}, found {len(fit)}: {told}; {remedy}")


def _begins_after(stack: Stack, other: Stack) -> bool:
    """Whether a stack began after another, as far as one clock of both says so."""
    here, there = stack.first.clocks, other.first.clocks
    clock = next((name for name in ("AcquisitionDateTime", "AcquisitionTime") if name in here and name in there), None)
    return clock is not None and here[clock] > there[clock]


def _flip_angles(found: Sorted, dynamic: Stack) -> tuple[list[Stack], list[str]]:
    """Volumes at several flip angles, before contrast; or none, with the reason where there seemed to be some."""
    volumes = [
        s
        for s in found.stacks
        if s.frames == 1 and s.first.modality == "MR" and s.first.magnitude and s.first.gradient_echo
        # The slab may be another; a localizer has another direction.
        and not s.first.derived and s.first.flip_angle_deg and s.first.tr_ms and s.first.tr_ms < _LONGEST_TR_MS
        and abs(s.first.normal @ dynamic.first.normal) > 0.999
    ]  # fmt: skip
    by_tr: list[list[Stack]] = []
    for stack in sorted(volumes, key=lambda s: s.first.tr_ms):
        if by_tr and stack.first.tr_ms <= by_tr[-1][0].first.tr_ms * (1 + _SHARED_TR):
            by_tr[-1].append(stack)
        else:
            by_tr.append([stack])
    sets = [group for group in by_tr if len({s.first.flip_angle_deg for s in group}) > 1]
    if not sets:
        return [], []
    named = ", ".join(f"{s.name} at {s.first.flip_angle_deg:g}°" for group in sets for s in group)
    if len(sets) > 1:
        return [], [f"flip angles at several TR are not used for T1: {named}"]
    (group,) = sets
    group = sorted(group, key=lambda s: s.first.flip_angle_deg)
    if len({s.first.flip_angle_deg for s in group}) < len(group):
        return [], [f"flip angles that were measured more than once are not used for T1: {named}"]
    if not all(s.same_grid(group[0]) for s in group):
        return [], [f"flip angles on different grids are not used for T1: {named}"]
    if any(_begins_after(s, dynamic) for s in group):
        return [], [f"flip angles measured after the dynamic series began, with contrast, are not used for T1: {named}"]
    return group, []


def choose(folder: str, found: Sorted, series: int | None = None) -> Choice:
    """Choose among the stacks of an examination.

    Args:
        folder: for messages.
        found: what the folder holds.
        series: number of the dynamic series, where there are several or it is derived.

    Raises:
        ValueError: no dynamic series or several, or one that is not whole; with what there is.
    """
    dynamic, others = _dynamic(folder, found, series)
    flip_angles, warnings = _flip_angles(found, dynamic)
    used: Sequence[str] = [s.name for s in flip_angles]
    left = [text for text in others if not any(text.startswith(f"{name}:") for name in used)]
    left += [f"{name_of(broken.first)}: not whole" for broken in found.broken]
    return Choice(dynamic, tuple(flip_angles), tuple(left), (*found.warnings, *warnings))
