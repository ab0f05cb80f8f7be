"""The tissues by number, and how layers that cover each other become shares."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from dcejax.simulation.priors import TISSUES

TISSUE_NAMES = tuple(tissue.name for tissue in TISSUES)
WHITE, GREY, CSF, TUMOUR, CORE, OEDEMA, ARTERY, VEIN = range(8)
DURA, CHOROID, MUCOSA, SKULL, SCALP, MUSCLE, AIR = range(8, len(TISSUES))

Cover = tuple[int, jax.Array | float]  # a tissue and the share [V] of what lies below that it covers


def composite(covers: Sequence[Cover], like: jax.Array) -> list[jax.Array]:
    """Shares of each tissue, a list of [V] shaped as `like`, where later layers cover earlier ones.

    They sum to 1 if the first layer covers everything.
    """
    shares = [jnp.zeros_like(like) for _ in TISSUES]
    seen = jnp.ones_like(like)  # what is left for the layers below
    for tissue, cover in reversed(covers):
        shares[tissue] = shares[tissue] + seen * cover
        seen = seen * (1.0 - cover)
    return shares
