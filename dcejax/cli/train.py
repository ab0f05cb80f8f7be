"""Train the networks: ``dcejax-train --config=configs/paper.py --workdir=DIR``.

Exit codes: 0 done; 1 the program or the machine failed, try again; 2 bad flags or configuration, or a folder that
cannot be used; 3 a loss that is not finite; 4 the processes of a run did not meet, or lost one another: try again.
"""

import logging as standard_logging
import shlex
import sys
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from absl import flags, logging

from dcejax.cli import command, compilation_cache, config_file
from dcejax.cli.console import Console
from dcejax.data import access
from dcejax.execution import interruption
from dcejax.types import Reporter

_FLAGS = flags.FlagValues()  # of this command only
_WITHOUT_EFFECT_ON_RESULTS = ("workdir", "compilation_cache", "part", "pool_processes", "distributed")
_GRACE_S = 25.0  # of the 30 that SLURM and Kubernetes give by default between SIGTERM and SIGKILL
_PARTING_S = 5.0  # in which the others come to the same error; they wait in vain for one that has its own
_GOES_ON = "the same command goes on from the latest checkpoint"
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
flags.DEFINE_enum(
    "distributed",
    "off",
    ["off", "auto"],
    "Whether this process is one of several that train together, as SLURM, Kubernetes or a Cloud TPU has started them: "
    "docs/clusters.md.",
    flag_values=_FLAGS,
)
compilation_cache.define(_FLAGS)
command.define_shared(_FLAGS)


def command_line(argv: list[str]) -> str:
    """The flags that decide the result, so without the folders."""
    kept, skip = [], False
    for word in argv:
        if not skip and not word.lstrip("-").startswith((*_WITHOUT_EFFECT_ON_RESULTS, "quiet", "noquiet")):
            kept.append(word)
        skip = word.lstrip("-") in _WITHOUT_EFFECT_ON_RESULTS
    return shlex.join(["python", "train.py", *kept])


def _run(overrides: list[str], argv: list[str], values: flags.FlagValues, words: list[str]) -> int:
    command.refuse_words(words)
    for name in ("config", "workdir"):
        if values[name].value is None:
            raise ValueError(f"--{name}: expected a value, found none; see --help")
    # Orbax logs a page per checkpoint, and it and what it waits with log several of what it also raises.
    logging.set_verbosity(logging.FATAL)
    standard_logging.getLogger("asyncio").setLevel(standard_logging.CRITICAL)
    compilation_cache.use(values.compilation_cache)
    config = config_file.read(values.config, overrides)
    stop = interruption.Stop()
    try:
        with stop.listening(to_the_end=True), stop.ending_within(_GRACE_S, _GOES_ON):
            train = partial(_train, config, command_line(argv[1:]), values)
            with Console(quiet=values.quiet) as report:
                return _together(train, report, stop) if values.distributed == "auto" else train(report, stop)
    except FloatingPointError as error:
        command.last_word(f"error: {error}")
        return 3
    except ValueError as error:
        if not access.may_pass(error):
            raise
        command.last_word(f"error: {error}")
        interruption.leave(1)  # where a checkpoint was not written, threads of Orbax wait minutes for one another
    except KeyboardInterrupt as error:
        error.args = (_GOES_ON,)
        raise


def _train(config: Any, words: str, values: flags.FlagValues, report: Reporter, stop: interruption.Stop) -> int:
    from dcejax.training.run import train  # importing JAX takes seconds that --help and bad flags need not wait for

    train(config, Path(values.workdir), words, report, stop, part=values.part, simulating=values.pool_processes)
    return 0


class _Silent:
    """What processes that do not lead report to."""

    def status(self, *_: Any) -> None:
        """Tell nothing."""

    def note(self, text: str) -> None:
        """Tell nothing."""

    def line(self, text: str) -> None:
        """Tell nothing."""


def _together(train: Callable[[Reporter, interruption.Stop], int], report: Reporter, stop: interruption.Stop) -> int:
    """Train as one of the processes of a run."""
    from dcejax.training import processes, rendezvous

    if not rendezvous.join():
        return train(report, stop)
    with stop.listening(to_the_end=True):  # JAX has taken SIGTERM for itself
        try:
            code = train(report if processes.leads() else _Silent(), stop)
        except Exception as error:
            if processes.lost(error):
                command.last_word(f"error: another process of this run has gone; {_GOES_ON} ({error})")
                interruption.leave(rendezvous.APART)  # to part would wait for it
            if isinstance(error, FloatingPointError):
                command.last_word(f"error: {error}")
                code = 3
            elif isinstance(error, command.FAILURES):
                code = command.tell_failure(error)
            else:
                traceback.print_exc()
                code = 1
            rendezvous.part(within_s=_PARTING_S)
            interruption.leave(code)
        except KeyboardInterrupt:
            rendezvous.part()
            raise
        rendezvous.part()
        return code


def main(argv: list[str] | None = None) -> None:
    """Run the command and exit; program name and arguments are those of the process if absent."""
    argv = sys.argv if argv is None else argv
    overrides, others = config_file.separate(argv)
    command.entry_point(partial(_run, overrides, argv), _FLAGS, __doc__)(others)


if __name__ == "__main__":
    main()
