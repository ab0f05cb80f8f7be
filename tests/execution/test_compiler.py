"""Options of the compiler are tried before they are used."""

import jax

from dcejax.execution.compiler import options_for_gradients


def test_options_that_this_xla_does_not_know_are_left_out(monkeypatch):
    assert options_for_gradients() == {"xla_cpu_experimental_ynn_fusion_type": ""}
    real = jax.jit

    def older(function, *, compiler_options):
        return real(function, compiler_options={f"{name}_of_another_year": "" for name in compiler_options})

    monkeypatch.setattr(jax, "jit", older)
    assert options_for_gradients.__wrapped__() == {}
