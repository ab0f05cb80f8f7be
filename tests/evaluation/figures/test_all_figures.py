"""Which figures an evaluation has, from records made by hand."""

import io

import numpy as np
import pooled_records
import pytest

from dcejax.evaluation.arms.simple_arms import Description
from dcejax.evaluation.figures import all_figures
from dcejax.evaluation.pooling import Pool
from dcejax.evaluation.tables.agreement_tables import shown_conditions

MINE = Description("mine", "My maps", "maps", "Maps.")


@pytest.fixture
def pool(tmp_path):
    """One patient with pictures of two arms; a third has none of him."""
    made = pooled_records.write(tmp_path)
    path = tmp_path / "cases" / "sub-0.npz"
    with np.load(path) as archive:
        arrays = dict(archive)
    rng = np.random.default_rng(0)
    for name in ("truth", "net/estimate", "net/sd", "mine/estimate"):
        arrays[f"picture/{name}"] = rng.uniform(0, 0.2, (9, 8, 3)).astype(np.float16)
    arrays |= {"picture/brain": np.ones((9, 8), bool), "picture/tumour": np.eye(9, 8) > 0}
    np.savez(buffer := io.BytesIO(), **arrays)
    path.write_bytes(buffer.getvalue())
    for record in made.records:
        record["arms"]["mine"] = pooled_records.scored(0.2 + 0.1 * int(record["subject"][-1]))
    made.records[0]["picture"]["statistics"] = {"net": "median", "mine": "estimate"}
    arms = [*made.arms, MINE, Description("other", "Other", "maps", "None of him.")]
    return Pool(arms, made.records, [], tmp_path, 0)


def test_maps_of_every_arm_of_interest_are_drawn(pool):
    found = all_figures.cases(Pool(pool.arms, pool.records[:1], [], pool.folder, 0))
    assert list(found) == ["case1_net", "case1_mine"]
    assert found["case1_mine"].title.endswith("My maps")
    assert found["case1_net"].png != found["case1_mine"].png


def test_agreement_with_the_truth_is_drawn_of_every_arm_of_interest(pool):
    names = [condition.name for condition in shown_conditions(pool)]
    assert {"net vs truth", "My maps vs truth", "Reader 1 vs truth"} <= set(names)
    assert not {"All zero vs truth", "Fit, true AIF vs truth"} & set(names)
