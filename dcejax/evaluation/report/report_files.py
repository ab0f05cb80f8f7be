"""A report on disk: results.json, tables, figures and the page, each beside the others."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from dcejax.data import atomic, plain_text, results
from dcejax.evaluation.report import html_report
from dcejax.evaluation.report.html_report import FigureBlock, Report
from dcejax.evaluation.scoring import plain
from dcejax.evaluation.tables.result_table import Table

RESULTS, REPORT, TABLES, FIGURES = "results.json", "report.html", "tables", "figures"
"""What is written, beside the records of cases."""


def write(folder: Path, document: Report, tables: Mapping[str, Table], figures: Mapping[str, FigureBlock]) -> None:
    """Write everything; files of an earlier report that this one does not have are removed.

    The results of the document become results.json, with all tables by name and the list of files.

    Raises:
        ValueError: the folder cannot be written.
        ImportError: jinja2 is not installed.
    """
    files = [f"{TABLES}/{name}.csv" for name in tables] + [f"{FIGURES}/{name}.png" for name in figures]
    told = {
        name: {"title": table.title, "caption": table.caption, "rows": table.rows} for name, table in tables.items()
    }
    content = plain({**(document.results or {}), "tables": told, "provenance": document.provenance, "files": files})
    page = html_report.render(dataclasses.replace(document, results=content))
    _forget(folder, files)
    for name in (TABLES, FIGURES):
        results.make_folder(folder / name)
    for name, table in tables.items():
        atomic.write_text(folder / TABLES / f"{name}.csv", html_report.to_csv(table))
    for name, figure in figures.items():
        atomic.write_bytes(folder / FIGURES / f"{name}.png", figure.png)
    atomic.write_text(folder / REPORT, page)
    atomic.write_text(folder / RESULTS, json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def _forget(folder: Path, files: Sequence[str]) -> None:
    """Remove tables and figures that an earlier report in this folder had and this one has not."""
    try:
        before = plain_text.read_json(folder / RESULTS)["files"]
        stale = [Path(name) for name in set(before) - set(files)]
    except (OSError, ValueError, KeyError, TypeError):  # none, or damaged
        return
    for path in stale:
        if path.parent.as_posix() in (TABLES, FIGURES):
            (folder / path).unlink(missing_ok=True)
