"""How tests compile, which is most of their time. Import it before JAX.

Programs of this process are compiled without optimisation, which halves the time of the whole: what is tested here is
what a program says, not what XLA makes of it. Commands that tests start in processes of their own compile as users'
commands do, and so does everything where XLA_FLAGS is set, be it empty.

Both workers and those commands share what they compile; the folder is gone when the run ends. Small programs are kept
too: there are thousands, of which most come again in other files, and to read one takes a fourth of the time to compile
it.
"""

import atexit
import os
import shutil
import tempfile

_QUICK = "--xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false"
FOLDER = "JAX_COMPILATION_CACHE_DIR"
FLAGS = "XLA_FLAGS"

if FOLDER not in os.environ:  # else a worker, whose parent has set it, or a user who keeps his own
    os.environ[FOLDER] = tempfile.mkdtemp(prefix="dcejax-tests-")
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
    atexit.register(shutil.rmtree, os.environ[FOLDER], ignore_errors=True)

if FLAGS not in os.environ:
    os.environ[FLAGS] = _QUICK
    import jax

    jax.devices()  # has read the flags
    del os.environ[FLAGS]


def as_here() -> dict[str, str]:
    """Environment of a process that compiles as this one does: one whose numbers are compared with numbers from here,
    or that would compile for minutes."""
    return {FLAGS: _QUICK} | os.environ
