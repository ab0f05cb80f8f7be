"""Lets the processes of one test run share what they compile, which is most of their time.

Import it before JAX. Both workers and the commands that tests start read programs that another has compiled already;
the folder is gone when the run ends. Small programs are kept too: there are thousands, of which most come again in
other files, and to read one takes a fourth of the time to compile it.
"""

import atexit
import os
import shutil
import tempfile

FOLDER = "JAX_COMPILATION_CACHE_DIR"

if FOLDER not in os.environ:  # else a worker, whose parent has set it, or a user who keeps his own
    os.environ[FOLDER] = tempfile.mkdtemp(prefix="dcejax-tests-")
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
    atexit.register(shutil.rmtree, os.environ[FOLDER], ignore_errors=True)
