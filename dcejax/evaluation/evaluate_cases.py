"""An evaluation from flags to report: every examination is scored once, then all are pooled."""

import importlib.util
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from dcejax.evaluation.arms.folder_arms import MapFolder
from dcejax.evaluation.arms.network_arms import Network
from dcejax.evaluation.casework import Casework, make_arms
from dcejax.evaluation.evaluate_settings import EvaluateSettings
from dcejax.evaluation.examinations import Cohort, Examination, enumerate_cohort, is_name
from dcejax.evaluation.pooling import Pool, examined_twice, first_examinations, read_record
from dcejax.evaluation.report import publish, report_files
from dcejax.runner.case_record import RunSettings
from dcejax.runner.run_cases import run_cases
from dcejax.types import Reporter


def _cohorts(settings: EvaluateSettings) -> list[Cohort]:
    """The cohort that is evaluated and, if another one is given, that of test and retest.

    Raises:
        ValueError: one that cannot be found, flags that do not fit, or two examinations of one name.
    """
    texts = {"cohort": settings.cohort}
    if settings.retest is not None and settings.retest != settings.cohort:
        texts["retest"] = settings.retest
    if settings.size is not None and not any(map(is_name, texts.values())):
        raise ValueError("--size: expected none, because the cohort is a folder, found one; leave it out")
    found = [enumerate_cohort(text, settings, flag) for flag, text in texts.items()]
    hashes: dict[str, str] = {}
    for examination in (examination for cohort in found for examination in cohort.examinations):
        if hashes.setdefault(examination.case_id, examination.hash) != examination.hash:
            raise ValueError(
                f"--retest: expected other patients than those of --cohort, found {examination.case_id} in both; "
                "evaluate them in two folders"
            )
    if settings.retest is not None and not any(examination.number for examination in found[-1].examinations):
        raise ValueError(f"--retest: expected patients with two sessions in {settings.retest}, found none")
    return found


def _all(cohorts: Sequence[Cohort]) -> list[Examination]:
    """Every examination once."""
    return list({e.case_id: e for cohort in cohorts for e in cohort.examinations}.values())


def _flags(settings: EvaluateSettings) -> dict[str, Any]:
    """The flags that change results; of paths only the names, so that moved data give the same record."""

    def name(text: str) -> str:
        return text if is_name(text) else Path(text).resolve().name

    return {
        "cohort": name(settings.cohort),
        "retest": None if settings.retest is None else name(settings.retest),
        "size": settings.size,
        "limit": settings.limit,
        "cohort_seed": settings.cohort_seed,
        "weights": [Path(path).name for path in settings.weights],
        "maps": [f"{label}={folder.resolve().name}" for label, folder in settings.maps],
        **settings.shaping(),
    }


def _publish(cohorts: Sequence[Cohort], casework: Casework, how: RunSettings, report: Reporter) -> None:
    """Publish the report of all scored examinations, and say how many are missing."""
    report.status("tables and figures")
    settings, arms, folder = casework.settings, casework.arms, how.output_dir
    examinations = _all(cohorts)
    done = {e.case_id for e in examinations if casework.is_done(e, folder)}
    missing = [e.case_id for e in examinations if e.case_id not in done]
    records = {name: read_record(folder, name) for name in done}
    own = first_examinations(cohorts[0].examinations, records)
    if not own:
        report.line("no examination is scored: no report")
        return
    pairs = [pair for cohort in cohorts for pair in examined_twice(cohort.examinations, records)]
    described = [arm.description for arm in arms]
    scored = [arm for arm in described if any("refused" not in r["arms"].get(arm.name, {"refused": ""}) for r in own)]
    pool = Pool(scored, own, pairs, folder, settings.seed)
    weights = {arm.description.name: arm.record for arm in arms if isinstance(arm, Network)}
    publish.publish(publish.Evaluation(pool, cohorts, described, weights, _flags(settings), missing), folder)
    if missing:
        report.line(
            f"INCOMPLETE: {len(missing)} of {len(examinations)} examinations are not scored yet; the report covers the "
            "others, and a run with all shards done renews it"
        )
    report.note(f"report: {folder / report_files.REPORT}")


def run(settings: EvaluateSettings, how: RunSettings, report: Reporter) -> int:
    """Score this process's share of the examinations, then publish all that are scored.

    Returns:
        0, or 1 if some of several examinations are bad.

    Raises:
        ValueError: flags, data sets, weights or maps that cannot be used, the only examination is bad, or the folder
            cannot be written.
        OSError: a file may not be read or written.
    """
    if importlib.util.find_spec("jinja2") is None:
        raise ValueError("the report needs jinja2, which is not installed; run pip install 'dcejax[report]'")
    cohorts = _cohorts(settings)
    arms = make_arms(settings)
    examinations = _all(cohorts)
    for arm in arms:
        if isinstance(arm, MapFolder):
            arm.require_any(examination.case_id for examination in examinations)
    casework = Casework(arms, settings)
    return run_cases(
        examinations,
        partial(casework.read, how),
        casework.score,
        partial(casework.write, how.output_dir),
        how,
        report,
        conclude=partial(_publish, cohorts, casework, how, report),
    )
