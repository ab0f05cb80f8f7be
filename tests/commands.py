"""Runs a command in the process of the tests."""

import contextlib
import io

import pytest


def call(main, *arguments, **flags):
    """Call the `main` of a command; returns its exit code, stdout and stderr. Flags given as None are left out."""
    words = [f"--{name}={value}" for name, value in flags.items() if value is not None]
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), pytest.raises(SystemExit) as stop:
        main(["command", *map(str, arguments), *words])
    return stop.value.code, out.getvalue(), err.getvalue()
