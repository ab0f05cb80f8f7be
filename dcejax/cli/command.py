"""What every command does with its arguments: flags, help, version, and an exit code for bad input."""

import atexit
import copy
import platform
import sys
from collections.abc import Callable
from functools import partial
from importlib import metadata
from signal import SIGINT

from absl import flags

import dcejax
from dcejax.data import access
from dcejax.execution import interruption


def define_shared(values: flags.FlagValues) -> None:
    """Define the flags that every command has."""
    flags.DEFINE_boolean("quiet", False, "Tell only warnings, errors and results, no progress.", flag_values=values)
    flags.DEFINE_boolean("version", False, "Show the versions of dcejax, JAX and Python.", flag_values=values)
    flags.DEFINE_boolean("help", False, "Show this text.", short_name="h", flag_values=values)


def versions() -> str:
    """The versions that a report of a fault should state; found without importing JAX."""
    parts = ("jax", metadata.version("jax")), ("Python", platform.python_version())
    return f"dcejax {dcejax.__version__} ({', '.join(' '.join(part) for part in parts)})"


def refuse_words(words: list[str]) -> None:
    """Raise ValueError if there are words, where a command takes flags only."""
    if words:
        raise ValueError(f"expected flags only, found {words[0]!r}; see --help")


def last_word(text: str) -> None:
    """Tell in one line how the command ends, in place of a status that a terminal shows.

    What ends a line, or controls a terminal, comes from a file or a flag: it is shown as Python writes it.
    """
    line = "".join(each if each.isprintable() else repr(each)[1:-1] for each in text)
    print("\r\033[K" * sys.stderr.isatty() + line, file=sys.stderr)


FAILURES = (ValueError, OSError, MemoryError)
"""Errors of which the user is told in one line."""


def tell_failure(error: ValueError | OSError | MemoryError) -> int:
    """Tell it as the last word; returns the exit code: 2 for bad input, 1 for what is wrong with the machine
    (`access.may_pass`)."""
    last_word(f"error: {error if isinstance(error, ValueError) else access.refusal(error)}")
    return 1 if access.may_pass(error) else 2


def exit_with(run: Callable[[list[str]], int], argv: list[str] | None = None) -> None:
    """Run a command and exit: with its code, 2 for what is wrong with its input, 1 for what is wrong with the machine
    (`access.may_pass`), 130 or 143 after Ctrl-C or SIGTERM.

    The command takes program name and arguments, those of the process if absent.
    """
    stop = interruption.Stop()
    with stop.listening(to_the_end=True):
        try:
            with stop.raising():
                code = run(sys.argv if argv is None else argv)
        except FAILURES as error:
            code = tell_failure(error)
        except KeyboardInterrupt as error:
            stop.note(getattr(error, "number", SIGINT))
            last_word(f"interrupted{': ' if str(error) else ''}{error}")
            code = interruption.SHELL_OFFSET + stop.number
            atexit.register(interruption.leave, code)  # after Python's threads have ended, before JAX is torn down
    sys.exit(code)


def entry_point(
    run: Callable[[flags.FlagValues, list[str]], int],
    values: flags.FlagValues,
    about: str | Callable[[], str],
    *,
    rewrite: Callable[[list[str]], list[str]] = list,
    known_only: bool = False,
) -> Callable[..., None]:
    """Make the `main` of a command: `exit_with` what it does with its flags and other words, or with its help.

    Values are the command's flags, `define_shared` among them; `about` is, or returns, what the help says above them.
    Arguments are rewritten first; with `known_only`, flags that the command does not have are words.
    """

    def run_or_help(argv: list[str]) -> int:
        parsed = copy.deepcopy(values)  # so that one process can call a command often
        try:
            _, *words = parsed([*argv[:1], *rewrite(argv[1:])], known_only=known_only)
        except flags.Error as error:
            known = "" if "expected" in str(error) else "expected flags and values as --help tells, found "
            raise ValueError(f"{known}{error}; see --help") from error
        if parsed.help:
            shown = about() if callable(about) else about
            print(f"{shown}\nAfter Ctrl-C the exit code is 130, after SIGTERM 143.\n\nFlags:\n{parsed.get_help()}")
            return 0
        if parsed.version:
            print(versions())
            return 0
        return run(parsed, words)

    return partial(exit_with, run_or_help)
