"""Programs that a process has compiled, and when it should forget them.

Linux allows a process some 65,000 mappings of memory (`vm.max_map_count`), of which each program takes several. A run
over scans of ever new shapes, such as numbers of frames, uses them up within some forty; LLVM then ends the process.
"""

from pathlib import Path

import jax

_FULL = 0.5
"""Share of the mappings from which on programs are forgotten, so that the next case has room for its own."""


def mappings() -> float:
    """Share of the mappings of memory that this process may have which it has; 0 where the system does not tell."""
    try:
        allowed = int(Path("/proc/sys/vm/max_map_count").read_text())
        with open("/proc/self/maps", "rb") as file:
            return sum(1 for _ in file) / allowed
    except (OSError, ValueError):
        return 0.0


def forget_if_many() -> bool:
    """Forget all programs if they take too many mappings, and say whether; what is needed again is compiled again."""
    if mappings() < _FULL:
        return False
    jax.clear_caches()
    return True
