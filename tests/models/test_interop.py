"""Published weights: the same numbers as the PyTorch networks, and errors that name every entry."""

import re
from functools import partial
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dcejax.models.interop import from_torch_state_dict
from dcejax.models.prob_unet import ProbUNet
from dcejax.models.tcn import TCN

TOLERANCE = 1e-5


def _tcn_entries():
    """Return entries of the published TCN by name and shape as the specification lists them."""
    shapes = {"linear.weight": (3, 60), "linear.bias": (3,)}
    for i, (n_in, n_out) in enumerate(((1, 32), (32, 32), (32, 1))):
        for names, channels in ((("conv1", "net.0"), n_in), (("conv2", "net.4"), n_out)):
            for name in names:
                shapes[f"model.{i}.{name}.weight_g"] = (n_out, 1, 1, 1, 1)
                shapes[f"model.{i}.{name}.weight_v"] = (n_out, channels, 1, 1, 7)
                shapes[f"model.{i}.{name}.bias"] = (n_out,)
        if i != 1:
            shapes[f"model.{i}.downsample.weight"] = (n_out, n_in, 1, 1, 1)
            shapes[f"model.{i}.downsample.bias"] = (n_out,)
    arrays = _filled(shapes)
    for name in arrays:
        repeat = name.replace("conv1", "net.0").replace("conv2", "net.4")
        arrays[repeat] = arrays[name].copy()
    return arrays


def _prob_unet_entries(channels=3):
    shapes = {}

    def conv(name, n_in, n_out, size=3):
        shapes[f"{name}.weight"], shapes[f"{name}.bias"] = (n_out, n_in, size, size), (n_out,)

    filters = (32, 64, 128, 192)
    for part, n_in in (("prior", channels), ("posterior", channels + 3)):
        for place, (a, b) in zip((0, 2, 4, 7, 9, 11, 14, 16, 18, 21, 23, 25), _steps((n_in, *filters)), strict=True):
            conv(f"{part}.encoder.layers.{place}", a, b)
        conv(f"{part}.conv_layer", 192, 4, 1)
    for i, (places, a, b) in enumerate(zip(((0, 2, 4), *[(1, 3, 5)] * 3), (channels, *filters), filters, strict=False)):
        for place, n_in in zip(places, (a, b, b), strict=True):
            conv(f"unet.contracting_path.{i}.layers.{place}", n_in, b)
    for i, (a, b) in enumerate(((192 + 128, 128), (128 + 64, 64), (64 + 32, 32))):
        for place, n_in in zip((0, 2, 4), (a, b, b), strict=True):
            conv(f"unet.upsampling_path.{i}.conv_block.layers.{place}", n_in, b)
    for place, n_in in ((0, 34), (2, 32), (4, 32)):
        conv(f"fcomb.layers.{place}", n_in, 32, 1)
    conv("fcomb.last_layer", 32, 3, 1)
    return _filled(shapes)


def _steps(sizes):
    return [pair for a, b in pairwise(sizes) for pair in ((a, b), (b, b), (b, b))]


def _filled(shapes):
    rng = np.random.default_rng(0)
    return {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


def _assert_tree_of(params, network, *inputs):
    expected = jax.eval_shape(network.init, jax.random.key(0), *inputs)["params"]
    assert jax.tree.structure(params) == jax.tree.structure(expected)
    for found, spec in zip(jax.tree.leaves(params), jax.tree.leaves(expected), strict=True):
        assert found.shape == spec.shape
        assert found.dtype == spec.dtype == np.float32


@pytest.mark.parametrize("prefix", ["", "net."])
@pytest.mark.parametrize("repeats", [True, False])
def test_the_tcn_fills_the_flax_tree(prefix, repeats):
    arrays = {prefix + k: v for k, v in _tcn_entries().items() if repeats or ".net." not in k}
    assert len(arrays) == (42 if repeats else 24)
    kind, params = from_torch_state_dict(arrays)
    assert kind == "tcn"
    _assert_tree_of(params, TCN(), jnp.zeros((1, 60)))


@pytest.mark.parametrize("prefix", ["", "net."])
@pytest.mark.parametrize("channels", [1, 3])
def test_the_prob_unet_fills_the_flax_tree(channels, prefix):
    arrays = {prefix + k: v.astype(np.float64) for k, v in _prob_unet_entries(channels).items()}
    kind, params = from_torch_state_dict(arrays)
    assert kind == "prob_unet"
    _assert_tree_of(params, ProbUNet(), jnp.zeros((1, 8, 8, channels)), jnp.zeros((1, 8, 8, 3)))


@pytest.mark.parametrize("entries", [_tcn_entries, _prob_unet_entries])
def test_every_value_arrives_once(entries):
    arrays = {k: v for k, v in entries().items() if ".net." not in k}
    _, params = from_torch_state_dict(arrays)
    sent = np.sort(np.concatenate([v.ravel() for v in arrays.values()]))
    np.testing.assert_array_equal(np.sort(np.concatenate([v.ravel() for v in jax.tree.leaves(params)])), sent)


def test_one_error_names_everything_that_is_wrong_with_a_tcn():
    arrays = _tcn_entries()
    del arrays["model.0.downsample.bias"], arrays["linear.weight"]
    arrays["model.1.downsample.weight"] = np.zeros((32, 32, 1, 1, 1))
    arrays["model.2.conv1.weight_g"] = np.zeros((1,))
    arrays["model.0.net.4.bias"] = arrays["model.0.net.4.bias"] + 1e-3
    with pytest.raises(ValueError, match="not the published tcn") as error:
        from_torch_state_dict(arrays)
    assert sorted(str(error.value).splitlines()[1:]) == [
        "  linear.weight: missing",
        "  model.0.downsample.bias: missing",
        "  model.0.net.4.bias: differs from model.0.conv2.bias, which it should repeat",
        "  model.1.downsample.weight: surplus",
        "  model.2.conv1.weight_g: expected shape [1, 1, 1, 1, 1], found [1]",
        "  model.2.net.0.weight_g: differs from model.2.conv1.weight_g, which it should repeat",
    ]


def test_one_error_names_everything_that_is_wrong_with_a_prob_unet():
    arrays = _prob_unet_entries()
    del arrays["posterior.conv_layer.weight"]
    arrays["unet.contracting_path.0.layers.1.weight"] = np.zeros((32, 32, 3, 3))
    arrays["prior.conv_layer.weight"] = np.zeros((12, 192, 1, 1))  # latent size 6
    arrays["fcomb.layers.0.weight"] = np.zeros((34, 32, 1, 1))  # axes swapped
    with pytest.raises(ValueError, match="not the published prob_unet") as error:
        from_torch_state_dict(arrays)
    assert sorted(str(error.value).splitlines()[1:]) == [
        "  fcomb.layers.0.weight: expected shape [32, 34, 1, 1], found [34, 32, 1, 1]",
        "  posterior.conv_layer.weight: missing",
        "  prior.conv_layer.weight: expected shape [4, 192, 1, 1], found [12, 192, 1, 1]",
        "  unet.contracting_path.0.layers.1.weight: surplus",
    ]


@pytest.mark.parametrize("channels", [2, 4])
def test_other_numbers_of_input_channels_are_misshapen(channels):
    name = "unet.contracting_path.0.layers.0.weight"
    with pytest.raises(ValueError, match=re.escape(f"{name}: expected shape [32, 3, 3, 3]")):
        from_torch_state_dict(_prob_unet_entries(channels))


@pytest.mark.parametrize("arrays", [{}, {"conv.weight": np.zeros(3)}])
def test_something_else_is_refused(arrays):
    with pytest.raises(ValueError, match=r"published TCN .* or probabilistic U-Net"):
        from_torch_state_dict(arrays)


def test_a_prefix_on_some_names_only_is_surplus():
    arrays = _prob_unet_entries()
    arrays["net.fcomb.last_layer.bias"] = arrays["fcomb.last_layer.bias"]
    with pytest.raises(ValueError, match=r"net\.fcomb\.last_layer\.bias: surplus"):
        from_torch_state_dict(arrays)


# From here on PyTorch is needed.


@pytest.fixture(scope="module")
def torch_networks():
    pytest.importorskip("torch", reason="parity with PyTorch needs torch")
    import torch_networks

    return torch_networks


def _images(*shape, seed=0):
    """Draw values from 0 to 1, the range of scaled signals and of the maps."""
    return np.random.default_rng(seed).uniform(size=shape).astype(np.float32)


def _run(module, *images):
    """Call a PyTorch module with images [B, X, Y, C]; latents and vectors pass as they are."""
    import torch

    def to_torch(a):
        a = torch.from_numpy(np.array(a))
        return a.movedim(-1, 1) if a.ndim == 4 else a

    def to_numpy(a):
        return (a.movedim(1, -1) if a.ndim == 4 else a).numpy()

    with torch.no_grad():
        out = module(*(to_torch(a) for a in images))
    return tuple(map(to_numpy, out)) if isinstance(out, tuple) else to_numpy(out)


def _close(found, expected):
    np.testing.assert_allclose(found, expected, rtol=0, atol=TOLERANCE)
    assert np.std(expected) > 0.01  # a constant would agree by chance


@pytest.fixture(scope="module")
def tcns(torch_networks):
    """Return the PyTorch network and the flax one with its weights, both on images [B, X, Y, C]."""
    network = torch_networks.randomise(torch_networks.TorchTCN(), seed=1)
    kind, params = from_torch_state_dict(torch_networks.state_dict(network))
    assert kind == "tcn"
    voxelwise = jax.jit(lambda curves: TCN().apply({"params": params}, curves))
    return network, lambda images: voxelwise(images.reshape(-1, 60)).reshape(*images.shape[:3], 3)


@pytest.fixture(scope="module", params=[3, 1])
def prob_unets(torch_networks, request):
    """Return the number of input channels, the PyTorch network, and the flax methods with its weights."""
    network = torch_networks.randomise(torch_networks.TorchProbUNet(request.param), seed=2)
    kind, params = from_torch_state_dict(torch_networks.state_dict(network))
    assert kind == "prob_unet"
    methods = ("features", "encode_prior", "encode_posterior", "decode")
    flax = {m: jax.jit(partial(ProbUNet().apply, {"params": params}, method=m)) for m in methods}
    return request.param, network, flax


def test_the_statement_has_the_published_names(torch_networks):
    for module, entries in (
        (torch_networks.TorchTCN(), _tcn_entries()),
        (torch_networks.TorchProbUNet(3), _prob_unet_entries(3)),
        (torch_networks.TorchProbUNet(1), _prob_unet_entries(1)),
    ):
        state = torch_networks.state_dict(module)
        assert {k: v.shape for k, v in state.items()} == {k: v.shape for k, v in entries.items()}


def test_tcn_parity(tcns):
    network, flax = tcns
    series = _images(1, 64, 64, 60)
    _close(flax(series), _run(network, series))


def test_features_prior_posterior_and_decoding_parity(prob_unets):
    channels, network, flax = prob_unets
    x, y = _images(1, 64, 64, channels), _images(1, 64, 64, 3, seed=1)
    z = _images(1, 2, seed=2)
    features = flax["features"](x)
    _close(features, _run(network.unet, x))
    _close(flax["encode_prior"](x), _run(network.prior, x))
    _close(flax["encode_posterior"](x, y), _run(network.posterior, np.concatenate([x, y], -1)))
    _close(flax["decode"](features, z), _run(network.fcomb, np.asarray(features), z))


def test_the_encoder_alone_agrees_where_pooling_rounds_up(prob_unets):
    channels, network, flax = prob_unets
    x = _images(2, 37, 22, channels)
    _close(flax["encode_prior"](x), _run(network.prior, x))


@pytest.mark.parametrize("prob_unets", [3], indirect=True)
def test_parity_of_the_whole_chain(tcns, prob_unets):
    _, network, flax = prob_unets
    torch_tcn, flax_tcn = tcns
    series = _images(1, 64, 64, 60)
    maps = flax_tcn(series)
    prior = flax["encode_prior"](maps)
    z = prior.mean + jnp.exp(prior.log_std) * 0.5
    found = flax["decode"](flax["features"](maps), z)

    torch_maps = _run(torch_tcn, series)
    mean, log_std = _run(network.prior, torch_maps)
    _close(found, _run(network.fcomb, _run(network.unet, torch_maps), mean + 0.5 * np.exp(log_std)))
