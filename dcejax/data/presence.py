"""Whether a file is there.

From Python 3.14 on, `Path.is_file` and its like say no where the system does not tell, as of a folder without
permission or a file system that is lost. A file that is optional would then be left out without a word; here that is
an error.
"""

import errno
import os
import stat
from pathlib import Path

_ABSENT = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)


def _mode(path: Path) -> int:
    """What `os.stat` says of it; 0 where there is nothing.

    Raises:
        OSError: the system does not tell.
    """
    try:
        return os.stat(path).st_mode
    except OSError as error:
        if error.errno in _ABSENT:
            return 0
        raise
    except ValueError:  # a name that no file can have
        return 0


def exists(path: Path) -> bool:
    """Whether there is anything of that name. OSError where the system does not tell."""
    return _mode(path) != 0


def is_file(path: Path) -> bool:
    """Whether it is a regular file. OSError where the system does not tell."""
    return stat.S_ISREG(_mode(path))


def is_dir(path: Path) -> bool:
    """Whether it is a folder. OSError where the system does not tell."""
    return stat.S_ISDIR(_mode(path))
