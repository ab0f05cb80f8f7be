"""Calling a kernel that is registered with XLA."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp


def call(name: str, shapes: Sequence[tuple[int, ...]], *operands: jax.Array) -> Sequence[jax.Array]:
    """Give the results of a kernel, float32 of these shapes.

    Args:
        name: of the kernel.
        shapes: of its results.
        *operands: float32; the kernel trusts their shapes.

    Raises:
        TypeError: another type, whose bits the kernel would take for float32.
    """
    for i, operand in enumerate(operands):
        if operand.dtype != jnp.float32:
            raise TypeError(f"{name}: expected float32, found {operand.dtype} as operand {i}")
    results = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
    return jax.ffi.ffi_call(name, results, vmap_method="sequential")(*operands)
