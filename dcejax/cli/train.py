"""Train the networks: ``dcejax-train --config=configs/paper.py --workdir=DIR``."""

import logging
import shlex
import sys
from pathlib import Path

from absl import app, flags
from absl import logging as absl_logging
from ml_collections import config_flags

from dcejax import config as configuration

_CONFIG = config_flags.DEFINE_config_file(
    "config", None, "Configuration file with a get_config(); override fields as --config.section.field=value."
)
_WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the run; a run found there is continued.")


def _run(argv: list[str]) -> None:
    if len(argv) > 1:
        raise app.UsageError(f"unexpected arguments: {' '.join(argv[1:])}")
    try:
        config = configuration.validate(_CONFIG.value)
        from dcejax.training.run import (
            train,  # after parsing: importing JAX takes seconds that --help need not wait
        )

        command = shlex.join(["python", "train.py", *(a for a in sys.argv[1:] if not a.startswith("--workdir"))])
        train(config, Path(_WORKDIR.value), command)
    except ValueError as error:
        print(f"train: {error}", file=sys.stderr)
        sys.exit(2)


def main() -> None:
    """Entry point of the console script and of train.py."""
    absl_logging.set_verbosity(absl_logging.WARNING)  # Orbax logs a page per checkpoint
    logging.getLogger("dcejax").setLevel(logging.INFO)
    flags.mark_flags_as_required(["config", "workdir"])
    app.run(_run)


if __name__ == "__main__":
    main()
