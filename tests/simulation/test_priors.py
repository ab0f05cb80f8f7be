"""The hash of the priors, which says which population weights have seen."""

import dataclasses

from dcejax.simulation import priors


def variants(value):
    """Every record that differs from one in a single number."""
    if dataclasses.is_dataclass(value):
        for field in dataclasses.fields(value):
            for other in variants(getattr(value, field.name)):
                yield dataclasses.replace(value, **{field.name: other})
    elif isinstance(value, tuple):
        for i, item in enumerate(value):
            for other in variants(item):
                yield (*value[:i], other, *value[i + 1 :])
    elif not isinstance(value, str):
        yield value + 1


def test_priors_hash_changes_with_any_number(monkeypatch):
    hashes = [priors.priors_sha256()]
    for name in ("TISSUES", "TUMOUR_KINETICS", "TUMOUR_CLASSES", "PRIORS"):
        for variant in variants(getattr(priors, name)):
            with monkeypatch.context() as patch:
                patch.setattr(priors, name, variant)
                hashes.append(priors.priors_sha256())
    assert len(hashes) > 250
    assert len(set(hashes)) == len(hashes)
