"""Files that are whole or absent, whatever becomes of the processes that write them."""

import errno
import fcntl
import os
import signal
import subprocess
import sys

import pytest

from dcejax.cli import command
from dcejax.data import access, atomic

HELD = """
import sys, time
from pathlib import Path
from dcejax.data import atomic

def forever(*_):
    print("writing", flush=True)
    time.sleep(60)

atomic.os.replace = forever
atomic.write_text(Path(sys.argv[1]), "half")
"""


def test_what_a_killed_process_left_is_removed_and_what_a_living_one_writes_is_not(tmp_path):
    started = [sys.executable, "-c", HELD, str(tmp_path / "a.txt")]
    dead, living = (subprocess.Popen(started, stdout=subprocess.PIPE, text=True) for _ in range(2))
    for process in (dead, living):
        assert process.stdout.readline() == "writing\n"
    dead.send_signal(signal.SIGKILL)
    dead.wait()
    assert len(list(tmp_path.glob(".*.tmp"))) == 2
    atomic.write_text(tmp_path / "b.txt", "whole")
    assert len(list(tmp_path.glob(".*.tmp"))) == 1
    living.kill()
    for process in (dead, living):
        process.communicate()
    atomic.sweep.cache_clear()  # once a process
    atomic.write_text(tmp_path / "b.txt", "again")
    assert [path.name for path in tmp_path.iterdir()] == ["b.txt"]


def test_a_temporary_that_was_swept_before_it_was_locked_is_made_again(tmp_path, monkeypatch):
    lock, swept = fcntl.flock, []

    def swept_first(file, how):
        if not swept:
            swept.append(os.unlink(file.name))
        return lock(file, how)

    monkeypatch.setattr(atomic.fcntl, "flock", swept_first)
    atomic.write_text(tmp_path / "a.txt", "whole")
    assert (tmp_path / "a.txt").read_text() == "whole"
    assert len(list(tmp_path.iterdir())) == len(swept) == 1


def test_a_file_system_without_locks_will_do(tmp_path, monkeypatch):
    def none(*_):
        raise OSError(errno.ENOLCK, "no locks")

    monkeypatch.setattr(atomic.fcntl, "flock", none)
    (tmp_path / ".0123456789abcdef.tmp").touch()
    atomic.write_text(tmp_path / "a.txt", "whole")
    assert {path.name for path in tmp_path.iterdir()} == {".0123456789abcdef.tmp", "a.txt"}  # it may be in use


@pytest.mark.parametrize(
    ("number", "code"), [(errno.ENOSPC, 1), (errno.EIO, 1), (errno.ENOMEM, 1), (errno.EACCES, 2), (errno.EROFS, 2)]
)
def test_the_exit_code_says_whether_another_try_may_write(tmp_path, monkeypatch, capsys, number, code):
    def fails(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(atomic.os, "fsync", fails)
    with pytest.raises(SystemExit) as stop:
        command.exit_with(lambda _: atomic.write_text(tmp_path / "a.txt", "new"), ["command"])
    assert stop.value.code == code
    assert f"a.txt: expected a file that can be written, found {os.strerror(number)}" in capsys.readouterr().err


def test_no_memory_is_said_in_one_line(capsys):
    def fails(_):
        raise MemoryError("Unable to allocate 3 TiB")

    with pytest.raises(SystemExit) as stop:
        command.exit_with(fails, ["command"])
    assert stop.value.code == 1
    assert capsys.readouterr().err.startswith(
        "error: expected enough memory, found none left (Unable to allocate 3 TiB)"
    )


def test_an_error_is_the_machines_if_its_cause_is():
    assert access.may_pass(MemoryError())
    error = ValueError("no file")
    error.__cause__ = OSError(errno.EIO, "x")
    assert access.may_pass(error)
    error.__cause__ = OSError(errno.ENOENT, "x")
    assert not access.may_pass(error)
