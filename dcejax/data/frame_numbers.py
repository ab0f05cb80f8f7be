"""Numbers of frames as text."""

from collections.abc import Sequence

_MOST_FRAMES = 1_000_000  # no series has more


def parse(text: str) -> tuple[int, ...]:
    """Read numbers of frames from 0 on, such as 0,50-59.

    Raises:
        ValueError: text of another form.
    """
    found: set[int] = set()
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        low, high = int(first), int(last) if dash else int(first)
        if not low <= high < _MOST_FRAMES:
            raise ValueError(part)
        found.update(range(low, high + 1))
    return tuple(sorted(found))


def in_short(values: Sequence[int]) -> str:
    """Numbers in short, ranges as such: 0,50-59."""
    runs: list[list[int]] = []
    for value in values:
        if runs and value == runs[-1][-1] + 1:
            runs[-1].append(value)
        else:
            runs.append([value])
    shown = [f"{run[0]}-{run[-1]}" if len(run) > 1 else f"{run[0]}" for run in runs]
    return ",".join(shown)
