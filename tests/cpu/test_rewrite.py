"""Rewritten models compute the same as XLA's own operations, values and gradients."""

from __future__ import annotations

import dataclasses
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import jaxeval as je
from jaxeval.cpu import Rewritten, RewrittenOnCpus, cores, rewrite, suited
from jaxeval.perturb.layers import layer_names
from tests.cpu.rewriting import equations, operations, same

LAYOUTS = {2: {"first": ("NCHW", "OIHW"), "last": ("NHWC", "HWIO")},
           1: {"first": ("NCW", "OIW"), "last": ("NWC", "WIO")}}  # fmt: skip


CONVOLUTIONS = {
    # channels, outputs, groups, window, strides, padding, dilation
    "first layer": (1, 6, 1, (5, 5), (1, 1), ((0, 0), (0, 0)), (1, 1)),
    "small": (6, 16, 1, (5, 5), (1, 1), ((2, 2), (2, 2)), (1, 1)),
    "strided": (3, 16, 1, (3, 3), (2, 2), ((1, 1), (1, 1)), (1, 1)),
    "strided, dilated rows": (2, 5, 1, (2, 3), (1, 2), ((0, 1), (2, 0)), (2, 1)),
    "strides wider than the window": (3, 10, 1, (1, 2), (1, 3), ((0, 1), (0, 0)), (1, 1)),
    "wide window": (1, 15, 1, (2, 11), (2, 1), ((0, 0), (5, 5)), (1, 1)),
    "dilated": (2, 7, 1, (3, 2), (2, 1), ((0, 3), (2, 0)), (2, 3)),
    "dilated and wide": (2, 7, 1, (5, 2), (2, 1), ((0, 3), (2, 0)), (2, 3)),
    "uneven": (3, 5, 1, (2, 3), (3, 2), ((1, 0), (0, 2)), (1, 2)),
    "uneven and wide": (3, 5, 1, (2, 6), (3, 2), ((1, 0), (0, 2)), (1, 2)),
    "depthwise": (8, 8, 8, (3, 3), (2, 1), ((1, 1), (0, 2)), (1, 2)),
    "depthwise, three each": (4, 12, 4, (3, 5), (1, 1), ((1, 1), (2, 2)), (1, 1)),
    "depthwise, wide": (4, 4, 4, (5, 5), (2, 2), ((2, 2), (1, 2)), (1, 1)),
    "of pixels": (9, 20, 1, (1, 1), (1, 1), ((0, 0), (0, 0)), (1, 1)),
    "of some pixels, with a border": (9, 40, 1, (1, 1), (2, 3), ((1, 0), (0, 2)), (1, 2)),
    "of patches": (5, 40, 1, (4, 3), (4, 3), ((1, 0), (0, 1)), (1, 1)),
}


@pytest.mark.parametrize("layout", ["first", "last"])
@pytest.mark.parametrize("spatial", [2, 1])
@pytest.mark.parametrize("case", CONVOLUTIONS)
def test_convolution(case: str, spatial: int, layout: str) -> None:
    convolve, x, kernel = convolution(case, spatial, layout)
    same(convolve, x, kernel, gone="conv_general_dilated")


KEPT = {
    "many channels": (40, 48, 1, (3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1)),
    "many outputs": (3, 64, 1, (3, 3), (2, 2), ((1, 1), (1, 1)), (1, 1)),
    "uneven": (9, 33, 1, (2, 3), (3, 2), ((1, 0), (0, 2)), (1, 2)),
    "groups": (6, 15, 3, (3, 3), (1, 2), ((0, 2), (1, 1)), (2, 1)),
    "overlapping patches": (8, 4, 1, (3, 3), (3, 2), ((0, 0), (0, 0)), (1, 1)),
    "cropped": (8, 4, 1, (3, 3), (1, 1), ((-1, 0), (1, -2)), (1, 1)),
}


@pytest.mark.parametrize("spatial", [2, 1])
@pytest.mark.parametrize("case", KEPT)
def test_other_convolutions_run_channels_last(
    case: str, spatial: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cores, "YNNPACK_ON_ONE_CORE", False)  # test_cores.py is about those
    convolve, x, kernel = convolution(case, spatial, "first", KEPT)
    same(convolve, x, kernel)
    (conv,) = equations(Rewritten(convolve), "conv_general_dilated", x, kernel)
    last = (0, spatial + 1, *range(1, spatial + 1))
    dims = conv.params["dimension_numbers"]
    assert dims.lhs_spec == dims.out_spec == last
    convolve, x, kernel = convolution(case, spatial, "last", KEPT)
    assert str(jax.make_jaxpr(Rewritten(convolve))(x, kernel)) == str(
        jax.make_jaxpr(convolve)(x, kernel)
    )


@pytest.mark.parametrize("layout", ["first", "last"])
def test_three_channels_become_four(layout: str) -> None:
    cases = {"colours": (3, 24, 1, (3, 3), (2, 1), ((1, 1), (0, 1)), (1, 2))}
    convolve, x, kernel = convolution("colours", 2, layout, cases)
    same(convolve, x, kernel)
    (conv,) = equations(Rewritten(convolve), "conv_general_dilated", x, kernel)
    assert conv.invars[0].aval.shape[-1] == 4


@pytest.mark.parametrize("case", ["depthwise", "of patches", "strided"])
def test_convolution_in_double_precision(case: str) -> None:
    with jax.enable_x64(True):
        convolve, *given = convolution(case, 2, "first")
        given = [v.astype(jnp.float64) for v in given]
        same(convolve, *given, gone="conv_general_dilated", tolerance=1e-13)


def test_gradients_of_a_depthwise_convolution_have_gradients() -> None:
    convolve, x, kernel = convolution("depthwise", 2, "first")

    def bend(f: Any) -> Any:
        slope = jax.grad(lambda x, k: jnp.sin(f(x, k)).sum(), (0, 1))
        direction = jax.random.normal(jax.random.key(0), x.shape)
        both = jax.jvp(lambda x: slope(x, kernel), (x,), (direction,))
        return both, jax.grad(lambda x: sum((v**2).sum() for v in slope(x, kernel)))(x)

    got, wanted = jax.jit(bend, static_argnums=0)(Rewritten(convolve)), bend(convolve)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-3), got, wanted)


def convolution(case: str, spatial: int, layout: str, cases: Any = CONVOLUTIONS) -> Any:
    """A convolution of one of the cases, its input and its kernel."""
    c, o, groups, window, strides, padding, dilation = cases[case]
    x_spec, kernel_spec = LAYOUTS[spatial][layout]
    sizes = {"N": 2, "C": c, "H": 13, "W": 17}
    kernel_sizes = {"I": c // groups, "O": o, "H": window[0], "W": window[1]}
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=[sizes[k] for k in x_spec]), jnp.float32)
    kernel = jnp.asarray(rng.normal(size=[kernel_sizes[k] for k in kernel_spec]), jnp.float32)

    def convolve(x: Any, kernel: Any) -> Any:
        return lax.conv_general_dilated(
            x,
            kernel,
            strides[-spatial:],
            padding[-spatial:],
            rhs_dilation=dilation[-spatial:],
            dimension_numbers=(x_spec, kernel_spec, x_spec),
            feature_group_count=groups,
        )

    return convolve, x, kernel


@pytest.mark.parametrize(
    "shape",
    [
        (6, 1, 5),
        (16, 6, 5),
        (16, 1, 3),
        (20, 1, 5),
        (10, 3, 3),
        (32, 1, 3),
        (64, 3, 7),
        (40, 48, 1),
    ],
)
def test_a_flat_region_stays_flat(shape: tuple[int, int, int]) -> None:
    """Else rounding would choose which of a window's equal entries has the maximum's gradient."""
    o, c, side = shape
    rng = np.random.default_rng(0)
    kernel = jnp.asarray(rng.normal(size=(o, c, side, side)), jnp.float32)
    x = jnp.asarray(rng.uniform(size=(8, c, 1, 1)), jnp.float32) * jnp.ones((28, 28))
    out = jax.jit(Rewritten(lambda x: lax.conv(x, kernel, (1, 1), "VALID")))(x)
    np.testing.assert_array_equal(out, jnp.broadcast_to(out[:, :, :1, :1], out.shape))


@pytest.mark.parametrize("channels", [16, 64])
def test_a_convolution_that_xla_runs_well_is_kept(channels: int) -> None:
    def convolve(x: Any, kernel: Any) -> Any:
        return lax.conv(x, kernel, (1, 1), "SAME")

    x, kernel = jnp.ones((1, channels, 8, 8)), jnp.ones((8, channels, 3, 3))
    assert "conv_general_dilated" in operations(Rewritten(convolve), x, kernel)


@pytest.mark.parametrize(("side", "stride"), [(2, 1), (4, 2), (2, 2)])
def test_windows_wider_than_the_image(side: int, stride: int) -> None:
    """Or than the output: XLA runs these fifty times as slowly as others, values or gradients."""
    rng = np.random.default_rng(0)
    x, kernel = (
        jnp.asarray(rng.normal(size=shape), jnp.float32)
        for shape in ((2, 24, side, side), (40, 24, 3, 3))
    )

    def convolve(x: Any, kernel: Any) -> Any:
        return lax.conv_general_dilated(x, kernel, (stride, stride), ((1, 1), (1, 1)))

    same(convolve, x, kernel, gone="conv_general_dilated")


def test_transposed_convolutions_are_kept() -> None:
    def convolve(x: Any, kernel: Any) -> Any:
        return lax.conv_transpose(x, kernel, (2, 2), "SAME")

    rng = np.random.default_rng(0)
    x, kernel = (jnp.asarray(rng.normal(size=s)) for s in ((2, 5, 5, 3), (3, 3, 3, 4)))
    same(convolve, x, kernel)
    assert "conv_general_dilated" in operations(Rewritten(convolve), x, kernel)


@pytest.mark.parametrize("window", [(2, 2), (3, 3), (3, 1)])
@pytest.mark.parametrize("padding", ["VALID", "SAME"])
def test_max_pooling(window: tuple[int, int], padding: str) -> None:
    # Rectified values: most windows hold ties, whose gradient goes to the first entry.
    x = jax.nn.relu(jnp.asarray(np.random.default_rng(0).normal(size=(3, 9, 8, 2)), jnp.float32))
    x = jnp.round(x)
    same(lambda x: nn.max_pool(x, window, (2, 2), padding), x, gone="reduce_window_max")


def test_max_pooling_passes_nan_on() -> None:
    x = jnp.arange(16.0).reshape(1, 4, 4, 1).at[0, 0, 1, 0].set(jnp.nan)

    def pool(x: Any) -> Any:
        return nn.max_pool(x, (2, 2), (2, 2))

    np.testing.assert_array_equal(Rewritten(pool)(x), pool(x))


class Network(nn.Module):
    @nn.compact
    def __call__(self, x: Any) -> Any:
        x = nn.max_pool(nn.relu(nn.Conv(4, (3, 3))(x)), (2, 2), (2, 2))
        x = nn.relu(nn.Conv(4, (3, 3), feature_group_count=4)(x))
        return nn.Dense(3)(x.reshape(len(x), -1))


@pytest.fixture(scope="module")
def network() -> tuple[je.Model, Any]:
    x = jnp.asarray(np.random.default_rng(0).normal(size=(4, 8, 8, 1)), jnp.float32)
    module = Network()
    return je.from_flax(module, module.init(jax.random.key(0), x)), x


def test_a_network(network: tuple[je.Model, Any]) -> None:
    model, x = network
    fast = suited(model, x[0], "cpu")
    same(lambda x: model(x), x)
    np.testing.assert_allclose(jax.jit(fast)(x), model(x), atol=1e-5)
    assert "conv_general_dilated" not in operations(fast.apply, fast.params, x)
    # Under vmap, and in another precision.
    one = jax.vmap(lambda v: fast(v[None])[0])(x)
    np.testing.assert_allclose(one, model(x), atol=1e-5)
    half = jax.tree.map(lambda v: v.astype(jnp.bfloat16), (fast.params, x))
    assert fast.apply(*half).dtype == model.apply(*half).dtype == jnp.bfloat16


def test_the_rectifier_keeps_its_own_gradient() -> None:
    def fn(x: Any) -> Any:
        return jax.nn.relu(nn.max_pool(x, (2, 2), (2, 2)))

    slope = jax.grad(lambda x: Rewritten(fn)(x).sum())(jnp.zeros((1, 2, 2, 1)))
    assert not slope.any()  # that of maximum(x, 0) would be a half


def test_other_models_and_platforms_are_left_alone(network: tuple[je.Model, Any]) -> None:
    model, x = network
    assert suited(model, x[0], "gpu") is model
    dense = je.Model(lambda w, x: x.reshape(len(x), -1) @ w, jnp.ones((64, 3)))
    assert suited(dense, x[0], "cpu") is dense
    host = je.Model(lambda _, x: np.asarray(x), host=True)
    assert suited(host, x[0], "cpu") is host


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="of CPUs")
def test_explainers_that_are_called_run_it_so(network: tuple[je.Model, Any]) -> None:
    """As under the engine; not within a program of the caller's own."""
    model, x = network
    y = np.zeros(len(x), np.int32)
    e = je.explain.Gradient()
    np.testing.assert_allclose(e(model, x, y), je.attribute(e, model, x, y), atol=1e-6)
    shown = str(jax.make_jaxpr(lambda x: e(model, x, y))(x))
    assert "conv_general_dilated" in shown


def test_equal_models_share_programs(network: tuple[je.Model, Any]) -> None:
    model, x = network
    again = dataclasses.replace(model)
    assert suited(model, x[0], "cpu").apply == suited(again, x[0], "cpu").apply


def test_a_model_is_looked_at_once_and_not_kept(network: tuple[je.Model, Any]) -> None:
    model, x = network
    model, gone = dataclasses.replace(model), len(rewrite._KNOWN)
    assert suited(model, x[0], "cpu") is suited(model, x[0], "cpu")
    assert len(rewrite._KNOWN) == gone + 1
    del model
    assert len(rewrite._KNOWN) == gone


def test_hidden_layers_are_those_of_the_model() -> None:
    def hidden(w: Any, x: Any) -> Any:
        h = lax.conv(x, w, (1, 1), "SAME")
        return h.mean((2, 3)), {"conv": h}

    w = jnp.asarray(np.random.default_rng(0).normal(size=(4, 1, 3, 3)), jnp.float32)
    model = je.Model(lambda w, x: hidden(w, x)[0], w, hidden=hidden)
    x = jnp.asarray(np.random.default_rng(1).normal(size=(2, 1, 6, 6)), jnp.float32)
    fast = suited(model, x[0], "cpu")
    assert fast.hidden is not None
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5),
        fast.hidden(w, x), hidden(w, x),
    )  # fmt: skip


def test_functions_that_are_rewritten_on_cpus_alone(
    network: tuple[je.Model, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As converted models are: `jax.jit(model.apply)` is fast without the engine."""
    model, x = network
    apply = RewrittenOnCpus(model.apply)
    given = dataclasses.replace(model, apply=apply)
    assert suited(given, x[0], "cpu").apply == Rewritten(model.apply).weak
    assert suited(given, x[0], "gpu") is given
    for backend, there in (("cpu", False), ("gpu", True)):
        monkeypatch.setattr(jax, "default_backend", lambda backend=backend: backend)
        found = operations(lambda *given: apply(*given), model.params, x)
        assert ("conv_general_dilated" in found) == there
    np.testing.assert_allclose(apply(model.params, x), model(x), atol=1e-5)


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="of CPUs")
def test_rules_see_the_model_as_it_was_written(network: tuple[je.Model, Any]) -> None:
    model, x = network
    y = np.zeros(len(x), np.int32)
    given = dataclasses.replace(model, apply=RewrittenOnCpus(model.apply))
    for e in (je.explain.LRP(), je.explain.GuidedBackprop()):
        np.testing.assert_allclose(e(given, x, y), e(model, x, y), atol=1e-5)
    assert layer_names(given, x) == layer_names(model, x)
