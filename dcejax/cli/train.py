"""Train the networks: ``dcejax-train --config=configs/paper.py --workdir=DIR``.

Exit codes: 0 done; 2 bad flags or configuration, or a folder that cannot be used; 3 a loss that is not finite; 130 or
143 after Ctrl-C or SIGTERM.
"""

import shlex
from functools import partial
from pathlib import Path

from absl import flags, logging
from ml_collections import config_flags

from dcejax import config as configuration
from dcejax.cli import command, compilation_cache
from dcejax.cli.console import Console

_FLAGS = flags.FlagValues()  # of this command only
_WITHOUT_EFFECT_ON_RESULTS = ("workdir", "compilation_cache")
_CONFIG = config_flags.DEFINE_config_file(
    "config",
    None,
    "Configuration file with a get_config(); override fields as --config.section.field=value.",
    flag_values=_FLAGS,
)
_WORKDIR = flags.DEFINE_string(
    "workdir", None, "Folder of the run; a run found there is continued.", flag_values=_FLAGS
)
compilation_cache.define(_FLAGS)
command.define_help(_FLAGS)


def _parse(argv: list[str]) -> configuration.Config | None:
    """Parse the flags; None when only help was asked for.

    Raises:
        ValueError: flags or a configuration that cannot be used.
    """
    try:
        _, *words = _FLAGS(argv)
        if _FLAGS.help:
            return None
        if words:
            raise ValueError(f"expected flags only, found {words[0]!r}; see --help")
        for flag in (_CONFIG, _WORKDIR):
            if flag.value is None:
                raise ValueError(f"--{flag.name}: expected a value, found none; see --help")
        return configuration.validate(_CONFIG.value)  # a file that cannot be loaded fails only when it is used
    except (flags.Error, OSError, KeyError, AttributeError, TypeError, SyntaxError) as error:
        raise ValueError(f"{_explain(error)}; see --help") from error


def _explain(error: Exception) -> str:
    """Say which flag is meant; of an unknown field also which there are."""
    text = " ".join(str(error).strip("'\"").split())
    if isinstance(error, (KeyError, AttributeError)):
        names = ", ".join(configuration.field_names())
        return f"--config: {text}; the fields are {names}"
    return text


def _command(argv: list[str]) -> str:
    """The flags that decide the result, so without the folders."""
    kept, skip = [], False
    for word in argv:
        if not skip and not word.lstrip("-").startswith(_WITHOUT_EFFECT_ON_RESULTS):
            kept.append(word)
        skip = word.lstrip("-") in _WITHOUT_EFFECT_ON_RESULTS
    return shlex.join(["python", "train.py", *kept])


def _run(argv: list[str]) -> int:
    logging.set_verbosity(logging.WARNING)  # Orbax logs a page per checkpoint
    config = _parse(argv)
    if config is None:
        print(f"{__doc__}\nFlags:\n{_FLAGS.get_help()}")
        return 0
    compilation_cache.use(_FLAGS.compilation_cache)
    from dcejax.training.run import train  # importing JAX takes seconds that --help and bad flags need not wait for

    try:
        train(config, Path(_WORKDIR.value), _command(argv[1:]), Console())
    except FloatingPointError as error:
        command.last_word(f"error: {error}")
        return 3
    except KeyboardInterrupt as error:
        error.args = ("the same command goes on from the latest checkpoint",)
        raise
    return 0


main = partial(command.exit_with, _run)

if __name__ == "__main__":
    main()
