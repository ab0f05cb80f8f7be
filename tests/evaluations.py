"""Evaluations of small simulated patients through the command, and what they write."""

import json

import commands
import gliomas

from dcejax.cli import evaluate as command

CASES = [f"sub-{number:02d}" for number in range(len(gliomas.PEOPLE))]


def evaluate(folder, *arguments, **flags):
    """Run the command; returns its exit code, stdout and stderr."""
    return commands.call(command.main, *arguments, **{"output_dir": folder} | flags)


def read(folder):
    """What results.json holds."""
    return json.loads((folder / "results.json").read_text())


def row(folder, table, **wanted):
    """The one row of a table with the wanted cells."""
    (found,) = [
        row
        for row in read(folder)["tables"][table]["rows"]
        if all(row[name] == value for name, value in wanted.items())
    ]
    return found


def statuses(folder):
    """(case, status) of each record, in the order of the file."""
    paths = sorted(folder.glob("cases*.jsonl"))
    lines = [json.loads(line) for path in paths for line in path.read_text().splitlines()]
    return [(line["case_id"], line["status"]) for line in lines]
