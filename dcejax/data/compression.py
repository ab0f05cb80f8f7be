"""gzip by the fastest maintained library at hand: ISA-L where `isal` is installed, else Python's own.

ISA-L writes an image eight times as fast and reads it twice as fast, at the same size.
"""

import gzip
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

try:
    from isal import igzip as _fast
    from isal import isal_zlib
except ImportError:
    _fast = isal_zlib = None

ERRORS: tuple[type[Exception], ...] = (zlib.error,) if isal_zlib is None else (zlib.error, isal_zlib.error)
"""What damaged data raise, beside OSError and EOFError."""

open_file: Callable[[Path], Any] = gzip.open if _fast is None else _fast.open
"""Open a compressed file for reading bytes."""


def compress(content: bytes, level: int) -> bytes:
    """Compress without a time, so that the same content gives the same bytes; level is 1 (fast) to 9 (small)."""
    if _fast is None:
        return gzip.compress(content, compresslevel=level, mtime=0)
    return _fast.compress(content, compresslevel=min(level, 2), mtime=0)  # its levels end at 3, which is no smaller
