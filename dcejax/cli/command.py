"""What every command does with its arguments: flags, help, and an exit code for what is wrong with its input."""

import copy
import sys
from collections.abc import Callable

from absl import flags

from dcejax.data import access


def parse(values: flags.FlagValues, argv: list[str]) -> tuple[flags.FlagValues, list[str]]:
    """Flags, in a copy so that one process can call a command often, and the words that are none.

    Raises:
        ValueError: an unknown flag, or a value of the wrong type.
    """
    values = copy.deepcopy(values)
    try:
        _, *words = values(argv)
    except flags.Error as error:
        raise ValueError(f"{error}; see --help") from error
    return values, words


def define_help(values: flags.FlagValues) -> None:
    """Define --help."""
    flags.DEFINE_boolean("help", False, "Show this text.", short_name="h", flag_values=values)


def exit_with(
    run: Callable[[flags.FlagValues, list[str]], int],
    values: flags.FlagValues,
    about: str | Callable[[], str],
    argv: list[str] | None,
) -> None:
    """Run a command, or show its help, and exit with its code: 2 for what is wrong with its input.

    Args:
        run: from flags and other words to an exit code.
        values: the command's flags, --help among them.
        about: what the help says above the flags, or a function that returns it.
        argv: program name and arguments; those of the process if absent.
    """
    try:
        parsed, words = parse(values, sys.argv if argv is None else argv)
        if parsed.help:
            print(f"{about() if callable(about) else about}\nFlags:\n{parsed.get_help()}")
            code = 0
        else:
            code = run(parsed, words)
    except (ValueError, OSError) as error:
        reason = access.refusal(error) if isinstance(error, OSError) else error
        print(f"error: {reason}", file=sys.stderr)
        code = 2
    sys.exit(code)
