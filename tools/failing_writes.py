"""Makes the k-th operation on the files of one folder fail, whoever asks for it; see failing_writes.c.

The library that does so is compiled (`cc`) and loaded before the C library, for which a program starts itself again.
"""

import contextlib
import ctypes
import errno
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

_SOURCE = Path(__file__).with_suffix(".c")
_PRELOAD = "LD_PRELOAD"


class Manner(NamedTuple):
    """How an operation fails."""

    error: int
    how: int  # as in the C source
    said: bool = True  # whether the program lives to say so

    @property
    def reason(self) -> str:
        """What the system calls it."""
        return os.strerror(self.error)


MANNERS = {
    "no space": Manner(errno.ENOSPC, 2),  # from then on, but removing works
    "no space after half a write": Manner(errno.ENOSPC, 3),
    "I/O error": Manner(errno.EIO, 1),  # once
    "out of memory": Manner(errno.ENOMEM, 1),
    "killed": Manner(errno.EIO, 4, said=False),  # the folder stays as it is then, half a write included
}


class Hit(NamedTuple):
    """What became of a run under a fault."""

    counted: int  # operations
    what: str  # kind of the operation that failed; empty where it was not reached


def available() -> bool:
    """Whether this system can do so."""
    return sys.platform == "linux" and shutil.which("cc") is not None


def loaded() -> bool:
    """Whether this process has the library."""
    return hasattr(ctypes.CDLL(None), "faults_arm")


def library(folder: Path) -> Path:
    """Compile the library into a folder.

    Raises:
        subprocess.CalledProcessError: the compiler refuses.
    """
    path = folder / "failing_writes.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", path, _SOURCE, "-ldl"], check=True)
    return path


def start_again() -> None:
    """Start this program again with the library, if it does not have it; returns only in a program that has."""
    if loaded():
        return
    if not available():
        raise SystemExit("expected Linux with a C compiler (cc), found none; install gcc")
    with tempfile.TemporaryDirectory(prefix="dcejax-faults-") as folder:
        environment = os.environ | {_PRELOAD: str(library(Path(folder)))}
        raise SystemExit(subprocess.run([sys.executable, *sys.argv], env=environment).returncode)


@contextlib.contextmanager
def failing(folder: Path, at: int = 0, manner: Manner = MANNERS["no space"]) -> Iterator[list[Hit]]:
    """Let the operation of that number in the folder fail; 0 counts only. What became of it is in the list then."""
    own, found = ctypes.CDLL(None), []
    own.faults_counted.restype, own.faults_hit.restype = ctypes.c_long, ctypes.c_char_p
    own.faults_arm(os.fsencode(folder.resolve()), ctypes.c_long(at), manner.error, manner.how)
    try:
        yield found
    finally:
        own.faults_disarm()
        found.append(Hit(own.faults_counted(), own.faults_hit().decode()))
