"""Steps of cases that keep a record of what they do, for the tests of the runner.

Steps wait for each other by events and barriers, never by the clock; a timeout is only reached where a test fails.
"""

import json
import re
import threading
from dataclasses import dataclass

from dcejax.runner.case_record import RunSettings
from dcejax.runner.run_cases import run_cases

TIMEOUT = 60.0  # s


@dataclass(frozen=True)
class Named:
    case_id: str


class Thing:
    """What a step gives; unlike a string, it can be watched."""

    def __init__(self, number):
        self.number = number


class Log:
    def __init__(self):
        self.lines, self.statuses = [], []

    def line(self, text):
        self.lines.append(text)

    def note(self, text):
        self.line(text)

    def status(self, stage, done=None, total=None, unit=""):
        self.statuses.append((threading.current_thread(), stage, done, total, unit))


class Steps:
    """Steps of numbered cases that keep a record of what begins and ends; subclasses say what happens within."""

    def __init__(self):
        self.trace = []

    def _step(self, name, number, action):
        self.trace.append(f"{name} {number}")
        try:
            return action(number)
        finally:
            self.trace.append(f"{name} {number} ends")

    def read(self, case, report):
        report.status("reading")
        return self._step("read", int(case.case_id), lambda number: self.on_read(number, report.line))

    def compute(self, ready, report):
        report.status("computing")
        return self._step("compute", ready.number, self.on_compute)

    def write(self, made):
        return self._step("write", made.number, self.on_write)

    def on_read(self, number, line):
        return Thing(number)

    def on_compute(self, number):
        return Thing(number)

    def on_write(self, number):
        pass


def settings(folder, *, dry_run=False, shard=(0, 1)):
    return RunSettings(output_dir=folder / "out", shard=shard, dry_run=dry_run)


def cases(count):
    return [Named(str(number)) for number in range(count)]


def run(folder, steps, count, log=None, conclude=None, **how):
    functions = steps.read, steps.compute, steps.write
    return run_cases(cases(count), *functions, settings(folder, **how), log or Log(), conclude=conclude)


def records(folder):
    paths = sorted((folder / "out").glob("cases*.jsonl"))
    return [json.loads(line) for path in paths for line in path.read_text().splitlines()]


def told(log):
    """Lines without times; of a traceback the beginning only."""
    texts = ["Traceback" if text.startswith("Traceback") else text for text in log.lines]
    return [re.sub(r"in \d+(\.\d)? s", "in s", text) for text in texts]
