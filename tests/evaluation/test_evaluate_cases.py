"""What an evaluation refuses before it begins."""

import gliomas
import pytest

from dcejax.evaluation import evaluate_cases
from dcejax.evaluation.evaluate_settings import EvaluateSettings
from dcejax.runner.case_record import RunSettings


def test_different_examinations_of_one_name_are_refused(tmp_path):
    first, second = (
        gliomas.write(tmp_path / name, gliomas.PEOPLE[:1], readers=readers)
        for name, readers in (("first", True), ("second", False))
    )
    settings = EvaluateSettings(cohort=str(first), retest=str(second))
    with pytest.raises(ValueError, match="expected other patients than those of --cohort, found sub-00 in both"):
        evaluate_cases.run(settings, RunSettings(output_dir=tmp_path / "out"), None)
    assert not (tmp_path / "out").exists()
