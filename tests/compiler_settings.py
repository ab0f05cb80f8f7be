"""How tests compile, which is most of their time. Import it before JAX.

Programs are compiled without optimisation, which halves the time of the whole: what is tested here is what a program
says, not what XLA makes of it. Where XLA_FLAGS is set, be it empty, everything is compiled as it says.

Both workers and the commands that they start share what they compile, for which all must see the same XLA_FLAGS: JAX
names what it keeps by them too. The folder is gone when the run ends. Small programs are kept too: there are thousands,
of which most come again in other files and other processes. Programs do not say which line made them, which takes time.
"""

import atexit
import os
import shutil
import tempfile
from importlib import metadata

FOLDER = "JAX_COMPILATION_CACHE_DIR"

if FOLDER not in os.environ:  # else a worker, whose parent has set it, or a user who keeps his own
    os.environ[FOLDER] = tempfile.mkdtemp(prefix="dcejax-tests-")
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
    atexit.register(shutil.rmtree, os.environ[FOLDER], ignore_errors=True)

os.environ.setdefault("JAX_TRACEBACK_IN_LOCATIONS_LIMIT", "0")
flags = ["--xla_backend_optimization_level=0"]
if tuple(map(int, metadata.version("jaxlib").split(".")[:2])) < (0, 11):  # later ones do not know it, and would abort
    flags.append("--xla_cpu_use_fusion_emitters=false")
os.environ.setdefault("XLA_FLAGS", " ".join(flags))
