"""Windows change nothing but the work: features, prior and maps are those of the whole slice."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from parameters import draw

from dcejax.execution import unet_windows
from dcejax.models.prob_unet import ProbUNet

SHAPE = (128, 96)
OUTSIDE = np.array([0.3, -0.2, 0.7], np.float32)


def make(filters):
    """Biases are of order one, so that borders and the background matter."""
    unet = ProbUNet(filters=filters)
    image = jnp.zeros((1, 8, 8, 3))
    params = draw(unet, image, image)
    return unet, jax.tree.map_with_path(lambda path, leaf: leaf * (10 if "bias" in path[-1].key else 1), params)


NETWORK = make((4, 5, 6, 7))


@partial(jax.jit, static_argnums=0)
def whole(unet, params, images):
    variables = {"params": params}
    return unet.apply(variables, images, method="features"), unet.apply(variables, images, method="encode_prior")


_encode = jax.jit(unet_windows.encode, static_argnames=("unet", "sizes"))
_make_background = jax.jit(unet_windows.make_background, static_argnames=("unet", "image"))


def box(low, high, shape=SHAPE):
    region = np.zeros(shape, bool)
    region[low[0] : high[0], low[1] : high[1]] = True
    return region


def images_of(region, batch=1, seed=0):
    values = np.random.default_rng(seed).normal(size=(batch, *region.shape, 3)).astype(np.float32)
    return np.where(region[None, ..., None], values, OUTSIDE)


def check(network, region, batch=1, seed=0):
    unet, params = network
    images = images_of(region, batch, seed)
    expected, expected_prior = whole(unet, params, images)
    sizes, places = unet_windows.plan(region, len(unet.filters))
    background = _make_background(unet, params, OUTSIDE, image=region.shape)
    taken = unet_windows.window(places.contracting[0], sizes.contracting[0])
    features, prior = _encode(unet, params, images[:, *taken], background, sizes, places)
    inside = region[unet_windows.window(places.expanding[0], sizes.expanding[0])]
    assert features.shape[1:3] == inside.shape
    assert images[:, *taken].size < images.size
    assert inside.sum() == region.sum()
    scale = np.abs(expected).max()
    np.testing.assert_allclose(features[:, inside], expected[:, region], rtol=0, atol=2e-6 * scale)
    for found, value in zip(prior, expected_prior, strict=True):
        np.testing.assert_allclose(found, value, rtol=0, atol=2e-6 * np.abs(value).max())


REGIONS = {
    "even": box((40, 30), (80, 60)),
    "odd": box((41, 31), (78, 57)),
    "low corner": box((0, 0), (33, 20)),
    "high corner": box((90, 70), SHAPE),
    "other corner": box((0, 61), (31, 96)),
    "low border": box((0, 40), (33, 61)),
    "high border": box((95, 29), (128, 50)),
    "across": box((50, 0), (70, 96)),
    "one pixel": box((63, 47), (64, 48)),
    "one pixel in a corner": box((127, 0), (128, 1)),
    "scattered": box((37, 21), (38, 22)) | box((70, 64), (71, 65)),
    "next to the border": box((1, 3), (20, 93)),
    "next to the other border": box((106, 2), (127, 95)),
    "nearly the whole image": box((11, 4), (116, 92)),
}


@pytest.mark.parametrize("name", REGIONS)
def test_features_in_the_region_and_the_prior_are_those_of_the_whole_slice(name):
    check(NETWORK, REGIONS[name], batch=2)


@pytest.mark.parametrize("shift", range(0, 16, 2))
@pytest.mark.parametrize("width", [26, 28, 34])
def test_the_least_that_is_needed_suffices_at_any_place(shift, width):
    """Boxes that fill their first window, or just do not fit one, in all positions to the pairs that are pooled."""
    region = box((31 + shift, 45 - shift), (31 + shift + width, 105 - shift - width))
    sizes, _ = unet_windows.plan(region, 4)
    least = [n + 2 * (2 * unet_windows.HALO + 1) for n in (width, 60 - width)]
    assert sizes.contracting[0] == tuple(-(-n // 8) * 8 for n in least)
    check(NETWORK, region, batch=2, seed=shift)


@pytest.mark.parametrize(
    ("shape", "scales", "low", "high"),
    [
        ((64, 96), 3, (20, 31), (45, 62)),
        ((96, 64), 4, (20, 31), (45, 62)),
        ((96, 64), 4, (0, 33), (7, 64)),
        ((64, 96), 3, (49, 5), (50, 6)),
    ],
)
def test_images_that_further_windows_fill(shape, scales, low, high):
    check(make((3, 4, 5, 6)[:scales]), box(low, high, shape))


@pytest.mark.parametrize(("low", "high"), [((55, 63), (201, 181)), ((70, 0), (215, 163))])
def test_an_image_of_the_usual_size(low, high):
    check(make((2, 3, 4, 3)), box(low, high, (256, 256)))


@pytest.mark.parametrize(
    ("filters", "name"), [((4, 6), "odd"), ((3, 4, 5), "low corner"), ((2, 3, 4, 3, 2), "low corner")]
)
def test_any_number_of_scales(filters, name):
    check(make(filters), REGIONS[name])


@pytest.mark.parametrize("seed", range(3))
def test_any_box(seed):
    rng = np.random.default_rng(seed)
    low, high = np.sort(rng.integers(0, [[SHAPE[0] - 1], [SHAPE[1] - 1]], size=(2, 2)), axis=1).T
    check(NETWORK, box(low, np.minimum(high, low + 60) + 1), seed=seed)


@pytest.mark.parametrize(
    ("region", "scales"),
    [
        (np.ones(SHAPE, bool), 4),  # nothing outside
        (box((2, 2), (126, 94)), 4),  # too little outside
        (box((40, 30), (80, 60), (128, 97)), 4),  # the scales do not divide the image
        (box((40, 30), (80, 60)), 1),  # nothing but the first scale
    ],
)
def test_no_window_where_it_would_not_help(region, scales):
    assert unet_windows.plan(region, scales) is None


def test_similar_regions_share_compilations():
    sizes = {
        unet_windows.plan(box((40 + i, 30 - j), (80 + j, 60 - i)), 4)[0] for i in range(-4, 4) for j in range(-4, 4)
    }
    assert len(sizes) == len({size.contracting[0] for size in sizes}) <= 8  # of 64


def test_the_published_network_does_little_more_than_half_on_a_quarter_of_an_image():
    """Operations counted by the compiler of the lowered programs."""
    unet = ProbUNet()
    shapes = jax.eval_shape(unet.init, jax.random.key(0), *[jnp.zeros((1, 8, 8, 3))] * 2)["params"]
    x, y = (np.linspace(-1, 1, n) for n in (256, 256))
    region = x[:, None] ** 2 + y[None] ** 2 < 1 / np.pi
    assert region.mean() == pytest.approx(0.25, rel=0.01)
    sizes, places = unet_windows.plan(region, 4)

    def flops(function, *arguments):
        return jax.jit(function).lower(*arguments).cost_analysis()["flops"]

    background = jax.eval_shape(lambda p: unet_windows.make_background(unet, p, OUTSIDE, region.shape), shapes)
    of_window = flops(
        lambda p, images, around: unet_windows.encode(unet, p, images, around, sizes, places),
        shapes,
        jax.ShapeDtypeStruct((1, *sizes.contracting[0], 3), jnp.float32),
        background,
    )
    of_whole = flops(partial(whole, unet), shapes, jax.ShapeDtypeStruct((1, 256, 256, 3), jnp.float32))
    assert of_window < 0.6 * of_whole  # whose up-sampling is not by products, as in windows
