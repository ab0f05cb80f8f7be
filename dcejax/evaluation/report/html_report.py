"""A report of results as one self-contained HTML file: no network, no scripts, no other files.

What a reader sees is formatted by `dcejax.evaluation.tables.table_cells`; how the page looks is in report.html.j2.
"""

import base64
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from typing import Any

from dcejax.data import results
from dcejax.evaluation.scoring import plain
from dcejax.evaluation.tables import table_cells
from dcejax.evaluation.tables.result_table import Table

_MOST_ROWS = 24  # of a table that is shown whole; a longer one scrolls
_PNG_START = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True)
class FigureBlock:
    """A figure with its text."""

    title: str
    caption: str  # what is drawn, of which patients, and its limits
    alt: str  # for readers who cannot see the figure
    png: bytes  # content of a PNG file

    def __post_init__(self):
        if not self.png.startswith(_PNG_START):
            raise ValueError(
                f"{self.title}: expected the content of a PNG file, found {self.png[:8]!r}; use figures.png"
            )

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels, from the file's header."""
        return int.from_bytes(self.png[16:20], "big"), int.from_bytes(self.png[20:24], "big")

    @property
    def base64(self) -> str:
        """The file as text."""
        return base64.b64encode(self.png).decode("ascii")


@dataclass(frozen=True)
class Section:
    """One question, with what answers it."""

    title: str
    text: str = ""  # plain; blank lines separate paragraphs
    tables: Sequence[Table] = ()
    figures: Sequence[FigureBlock] = ()
    links: Sequence[tuple[str, str]] = ()  # words, and the address of another file

    @property
    def paragraphs(self) -> list[str]:
        """The text in parts."""
        return [part.strip() for part in self.text.split("\n\n") if part.strip()]


@dataclass(frozen=True)
class Report:
    """Everything a reader is told."""

    title: str
    subtitle: str
    warning: str  # stands first and in print: "Simulated patients. Not clinical evidence."
    summary: Sequence[str]  # sentences
    sections: Sequence[Section]
    provenance: Mapping[str, Any] = field(default_factory=dict)  # versions, hashes, seeds; mappings may be nested
    results: Mapping[str, Any] | None = None  # embedded as JSON for machines, if given


def render(document: Report) -> str:
    """Content of an HTML file.

    Tables and figures are numbered through the document. All text is escaped. The page forbids itself to load anything.

    Raises:
        ImportError: jinja2 is not installed.
    """
    try:
        import jinja2
    except ImportError as error:
        raise ImportError("a report needs jinja2, which is not installed: pip install 'dcejax[report]'") from error
    source = resources.files("dcejax.evaluation.report").joinpath("report.html.j2").read_text(encoding="utf-8")
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(source).render(
        document=document,
        groups_of=table_cells.table_groups,
        is_numeric=table_cells.is_numeric,
        to_csv=to_csv,
        most_rows=_MOST_ROWS,
        provenance=list(_flat(document.provenance)),
        results=None if document.results is None else _json(document.results),
    )


def to_csv(table: Table) -> str:
    """The table as CSV: numbers to six digits, nothing where there is none."""
    return results.csv_text(table.keys, table.rows)


def _flat(record: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, str]]:
    """Names and values of nested mappings, a name after those above it."""
    for name, value in record.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{above}{name} · ")
        elif isinstance(value, list | tuple):
            yield f"{above}{name}", ", ".join(table_cells.text(item) for item in value)
        else:
            yield f"{above}{name}", table_cells.text(value)


def _json(record: Mapping[str, Any]) -> str:
    """JSON without "<", so that no HTML parser finds the end of the script element in it."""
    return json.dumps(plain(record), ensure_ascii=False, allow_nan=False).replace("<", "\\u003c")
