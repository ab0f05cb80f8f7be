"""The peak of a process's own memory."""

import resource
import sys
from pathlib import Path

_GIB = 2**30
_KIB = 2**10
_STATUS = Path("/proc/self/status")


def peak_rss_gib() -> float:
    """Peak resident memory of this process since its program began, in GiB.

    On Linux from VmHWM: `getrusage` there also counts what the process that started this one held at that moment.
    """
    if _STATUS.is_file():
        (line,) = (line for line in _STATUS.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * _KIB / _GIB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else _KIB) / _GIB
