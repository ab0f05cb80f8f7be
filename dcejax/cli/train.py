"""Train the networks: ``dcejax-train --config=configs/paper.py --workdir=DIR``.

Exit codes: 0 done; 2 bad flags or configuration, or a folder that cannot be used; 3 a loss that is not finite.
"""

import shlex
import sys
from functools import partial
from pathlib import Path

from absl import flags, logging

from dcejax.cli import command, compilation_cache, config_file
from dcejax.cli.console import Console

_FLAGS = flags.FlagValues()  # of this command only
_WITHOUT_EFFECT_ON_RESULTS = ("workdir", "compilation_cache", "part", "pool_processes")
flags.DEFINE_string(
    "config",
    None,
    "Configuration file with a get_config(); override fields as --config.section.field=value.",
    flag_values=_FLAGS,
)
flags.DEFINE_string("workdir", None, "Folder of the run; a run found there is continued.", flag_values=_FLAGS)
flags.DEFINE_string(
    "part",
    "",
    "Train this part of the weights alone, for instance member_2, and export nothing: the parts of an ensemble may be "
    "trained at the same time in one --workdir, once its pool is there.",
    flag_values=_FLAGS,
)
flags.DEFINE_integer(
    "pool_processes", 1, "Processes, on the CPU, that simulate a pool of batches.", lower_bound=1, flag_values=_FLAGS
)
compilation_cache.define(_FLAGS)
command.define_help(_FLAGS)


def command_line(argv: list[str]) -> str:
    """The flags that decide the result, so without the folders."""
    kept, skip = [], False
    for word in argv:
        if not skip and not word.lstrip("-").startswith(_WITHOUT_EFFECT_ON_RESULTS):
            kept.append(word)
        skip = word.lstrip("-") in _WITHOUT_EFFECT_ON_RESULTS
    return shlex.join(["python", "train.py", *kept])


def _run(overrides: list[str], argv: list[str], values: flags.FlagValues, words: list[str]) -> int:
    command.refuse_words(words)
    for name in ("config", "workdir"):
        if values[name].value is None:
            raise ValueError(f"--{name}: expected a value, found none; see --help")
    logging.set_verbosity(logging.WARNING)  # Orbax logs a page per checkpoint
    compilation_cache.use(values.compilation_cache)
    config = config_file.read(values.config, overrides)
    from dcejax.training.run import train  # importing JAX takes seconds that --help and bad flags need not wait for

    try:
        train(
            config,
            Path(values.workdir),
            command_line(argv[1:]),
            Console(),
            part=values.part,
            processes=values.pool_processes,
        )
    except FloatingPointError as error:
        command.last_word(f"error: {error}")
        return 3
    except KeyboardInterrupt as error:
        error.args = ("the same command goes on from the latest checkpoint",)
        raise
    return 0


def main(argv: list[str] | None = None) -> None:
    """Run the command and exit; program name and arguments are those of the process if absent."""
    argv = sys.argv if argv is None else argv
    overrides, others = config_file.separate(argv)
    command.entry_point(partial(_run, overrides, argv), _FLAGS, __doc__)(others)


if __name__ == "__main__":
    main()
