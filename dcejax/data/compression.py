"""gzip by the fastest maintained library at hand: zlib-ng where `zlib-ng` is installed, else Python's own.

zlib-ng reads and writes an image in half the time, at the same size. ISA-L writes it in a fifth of that again, but now
and then other bytes for the same content, and a rerun must give the same files. (An installation without zlib-ng gives
the same values in other bytes.)
"""

import gzip
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

try:
    from zlib_ng import gzip_ng as _fast
    from zlib_ng import zlib_ng
except ImportError:
    _fast = zlib_ng = None

ERRORS: tuple[type[Exception], ...] = (zlib.error,) if zlib_ng is None else (zlib.error, zlib_ng.error)
"""What damaged data raise, beside OSError and EOFError."""

open_file: Callable[[Path], Any] = gzip.open if _fast is None else _fast.open
"""Open a compressed file for reading bytes."""


def compress(content: bytes, level: int) -> bytes:
    """Compress without a time, so that the same content gives the same bytes; level is 1 (fast) to 9 (small)."""
    return (_fast or gzip).compress(content, compresslevel=level, mtime=0)
