"""Tables as people and spreadsheets write them: a byte order mark, empty columns at the end, empty lines."""

import csv
import io
from pathlib import Path

from dcejax.data import plain_text


def read(path: Path) -> list[tuple[int, list[str]]]:
    """Rows that hold something, each with the number of its line: cells without blanks about them, no empty ones last.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is no text in UTF-8, or no CSV.
    """
    reader, found = csv.reader(io.StringIO(plain_text.read(path), newline="")), []
    try:
        for row in reader:
            cells = [cell.strip() for cell in row]
            while cells and not cells[-1]:
                cells.pop()
            if cells:
                found.append((reader.line_num, cells))
    except csv.Error as error:
        raise ValueError(str(error)) from error
    return found
