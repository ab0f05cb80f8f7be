"""What is there, what is not, and what the system does not tell, alike in every version of Python."""

import pytest

from dcejax.data import presence


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("file")
    (tmp_path / "lost").symlink_to("nothing")
    (tmp_path / "circle").symlink_to("circle")
    return tmp_path


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("file", (True, True, False)),
        ("link", (True, True, False)),
        ("folder", (True, False, True)),
        *((name, (False, False, False)) for name in ("nothing", "lost", "circle", "file/below", "no\0name")),
    ],
)
def test_what_is_there(folder, name, expected):
    path = folder / name
    assert (presence.exists(path), presence.is_file(path), presence.is_dir(path)) == expected


@pytest.mark.parametrize("ask", [presence.exists, presence.is_file, presence.is_dir])
def test_what_the_system_does_not_tell_is_an_error(folder, ask):
    with pytest.raises(OSError, match="File name too long"):
        ask(folder / ("n" * 300))
