"""The files that maps were made from, as BIDS URIs, and the data sets that these refer to."""

import os
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import quote

from dcejax.data import plain_text, sidecars


def _root(path: Path) -> Path:
    """The data set of a file, or its folder where it is of none."""
    path = path.absolute()
    return sidecars.data_set_of(path) or path.parent


def _target(root: Path, folder: Path) -> str:
    """How a data set is referred to: relative where one holds the other, so that both may be moved."""
    folder = folder.absolute()
    if folder.is_relative_to(root) or root.is_relative_to(folder):
        return Path(os.path.relpath(root, folder)).as_posix()
    return root.as_uri()


class Sources:
    """Links of a derivatives data set to those it was made from."""

    def __init__(self, folder: Path, description: Path, paths: Iterable[Path]):
        """Keep the links that a description has, and add those that the files need, the same in every process."""
        try:
            links = plain_text.read_json(description)["DatasetLinks"]
        except (OSError, ValueError, KeyError, TypeError):
            links = {}
        self._folder, self.links = folder, dict(links)
        one_of_each = {(path.parent, path.name.split("_")[0]): path for path in paths}  # a folder and a subject in it
        for target in sorted({_target(_root(path), folder) for path in one_of_each.values()}):
            if target not in self.links.values():
                number = len(self.links) + 1
                self.links["raw" if number == 1 else f"raw{number}"] = target

    def uri(self, path: Path) -> str:
        """The BIDS URI of a file."""
        root = _root(path)
        target = _target(root, self._folder)
        name = next(name for name, value in self.links.items() if value == target)
        return f"bids:{name}:{quote(path.absolute().relative_to(root).as_posix())}"
