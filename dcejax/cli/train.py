"""Train the networks: ``dcejax-train --config=configs/paper.py --workdir=DIR``.

Exit codes: 0 done; 2 bad flags or configuration, or a folder that cannot be used; 3 a loss that is not finite.
"""

import shlex
import sys
from pathlib import Path

from absl import flags, logging

from dcejax.cli import compilation_cache
from dcejax.cli.console import Console

_FLAGS = flags.FlagValues()  # of this command only
_WITHOUT_EFFECT_ON_RESULTS = ("workdir", "compilation_cache")
flags.DEFINE_string(
    "config",
    None,
    "Configuration file with a get_config(); override fields as --config.section.field=value.",
    flag_values=_FLAGS,
)
flags.DEFINE_string("workdir", None, "Folder of the run; a run found there is continued.", flag_values=_FLAGS)
compilation_cache.define(_FLAGS)
flags.DEFINE_boolean("help", False, "Show this text.", short_name="h", flag_values=_FLAGS)


def command_line(argv: list[str]) -> str:
    """The flags that decide the result, so without the folders."""
    kept, skip = [], False
    for word in argv:
        if not skip and not word.lstrip("-").startswith(_WITHOUT_EFFECT_ON_RESULTS):
            kept.append(word)
        skip = word.lstrip("-") in _WITHOUT_EFFECT_ON_RESULTS
    return shlex.join(["python", "train.py", *kept])


def _run(argv: list[str]) -> int:
    from dcejax.cli import config_file

    overrides, others = config_file.separate(argv)
    try:
        _, *words = _FLAGS(others)
    except flags.Error as error:
        raise ValueError(f"{error}; see --help") from error
    if _FLAGS.help:
        print(f"{__doc__}\nFlags:\n{_FLAGS.get_help()}")
        return 0
    if words:
        raise ValueError(f"expected flags only, found {words[0]!r}; see --help")
    for name in ("config", "workdir"):
        if _FLAGS[name].value is None:
            raise ValueError(f"--{name}: expected a value, found none; see --help")
    compilation_cache.use(_FLAGS.compilation_cache)
    config = config_file.read(_FLAGS.config, overrides)
    from dcejax.training.run import train  # importing JAX takes seconds that --help and bad flags need not wait for

    train(config, Path(_FLAGS.workdir), command_line(argv[1:]), Console())
    return 0


def main() -> None:
    """Entry point of the console script and of train.py."""
    logging.set_verbosity(logging.WARNING)  # Orbax logs a page per checkpoint
    try:
        code = _run(sys.argv)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        code = 2
    except FloatingPointError as error:
        print(f"error: {error}", file=sys.stderr)
        code = 3
    sys.exit(code)


if __name__ == "__main__":
    main()
