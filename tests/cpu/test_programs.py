"""Compiled programs of our own: all cores, and forms of convolutions that only they have."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jaxeval.cpu import Rewritten, program, programs
from jaxeval.cpu.cores import available_cores
from jaxeval.private_jax import YNNPACK_ON_ONE_CORE
from tests.cpu.rewriting import equations

USED = YNNPACK_ON_ONE_CORE and available_cores() > 1 and jax.default_backend() == "cpu"


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    """The same function is traced both as part of a program and outside of one."""
    jax.clear_caches()
    yield
    jax.clear_caches()


def convolution(case: tuple[Any, ...]) -> tuple[Any, Any, Any]:
    size, channels, window, strides, padding, dilation = case
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=(2, *size, channels[0])), jnp.float32)
    kernel = jnp.asarray(rng.normal(size=(*window, *channels)), jnp.float32)

    def fn(x: Any, kernel: Any) -> Any:
        return lax.conv_general_dilated(
            x, kernel, strides, padding, rhs_dilation=dilation,
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )  # fmt: skip

    return fn, x, kernel


def owned(fn: Any) -> Any:
    """The function as a program of our own is traced."""

    def call(*args: Any) -> Any:
        with programs.owning():
            return Rewritten(fn)(*args)

    return call


# rows and columns, channels in and out, window, strides, padding, dilation
SAME = ((1, 1), (1, 1))
WIDENED = {
    "as large as its input": ((9, 11), (16, 16), (3, 3), (1, 1), SAME, (1, 1)),
    "uneven, dilated": ((9, 11), (9, 6), (3, 2), (1, 1), ((0, 1), (1, 0)), (2, 1)),
    "strides": ((9, 12), (16, 16), (3, 3), (2, 2), SAME, (1, 1)),
    "four columns": ((7, 8), (8, 8), (5, 5), (1, 1), ((2, 2), (2, 2)), (1, 1)),
    "no padding": ((9, 11), (16, 16), (3, 3), (1, 1), ((0, 0), (0, 0)), (1, 1)),
    "six columns": ((8, 25), (12, 5), (4, 4), (2, 3), ((1, 2), (0, 2)), (1, 1)),
}


def close(got: Any, wanted: Any) -> None:
    got, wanted = np.asarray(got), np.asarray(wanted)
    np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-5 * np.abs(wanted).max())


@pytest.mark.parametrize("case", WIDENED)
def test_several_columns_at_once(case: str) -> None:
    fn, x, kernel = convolution(WIDENED[case])
    wide = owned(fn)
    (plain,) = equations(fn, "conv_general_dilated", x, kernel)
    (wider,) = equations(jax.jit(wide), "conv_general_dilated", x, kernel)
    assert wider.outvars[0].aval.shape[-1] >= 2 * plain.outvars[0].aval.shape[-1]
    close(wide(x, kernel), fn(x, kernel))
    tangents = (x * 2 + 1, kernel - 1)
    for a, b in zip(*(jax.jvp(f, (x, kernel), tangents) for f in (wide, fn)), strict=True):
        close(a, b)
    z = jnp.asarray(np.random.default_rng(1).normal(size=fn(x, kernel).shape), jnp.float32)
    for a, b in zip(*(jax.vjp(f, x, kernel)[1](z) for f in (wide, fn)), strict=True):
        close(a, b)


def test_widened_under_vmap_and_twice_differentiated() -> None:
    fn, x, kernel = convolution(WIDENED["as large as its input"])
    several = jnp.stack([x, x + 1])

    def gradient(f: Any) -> Any:
        return jax.grad(lambda x: (f(x, kernel) ** 3).sum())

    def second(f: Any) -> Any:
        return jax.grad(lambda x: (gradient(f)(x) ** 2).sum())

    close(jax.vmap(gradient(owned(fn)))(several), jax.vmap(gradient(fn))(several))
    close(second(owned(fn))(x), second(fn)(x))


@pytest.mark.parametrize("shape", [(6, 6), (4, 9), (5, 5), (9, 4)])
@pytest.mark.parametrize("channels", [(8, 16), (16, 8), (4, 4)])
def test_xla_keeps_image_and_window_of_small_images_apart(shape: Any, channels: Any) -> None:
    # It exchanges them where the window has more entries: the gradient took 6 times as long.
    fn, x, kernel = convolution((shape, channels, (3, 3), (1, 1), ((0, 0), (0, 0)), (1, 1)))
    f = owned(fn)

    def gradient(x: Any) -> Any:
        return jax.grad(lambda x: (f(x, kernel) ** 2).sum())(x)

    text = jax.jit(gradient).lower(x).compile().as_text()
    labels = re.findall(r" convolution\(.*dim_labels=(\w+)_", text)
    assert all(label == "b01f" for label in labels), labels
    close(gradient(x), jax.grad(lambda x: (fn(x, kernel) ** 2).sum())(x))


def test_others_do_not_have_it() -> None:
    fn, x, kernel = convolution(WIDENED["as large as its input"])
    (plain,) = equations(Rewritten(fn), "conv_general_dilated", x, kernel)
    assert plain.outvars[0].aval.shape == fn(x, kernel).shape


def test_a_program_is_a_compiled_function() -> None:
    calls = []

    @program(static_argnums=0, donate_argnums=1)
    def scaled(factor: float, x: Any) -> Any:
        """Its documentation."""
        calls.append(programs.own())
        return factor * x

    assert scaled.__name__ == "scaled"
    assert scaled.__doc__ == "Its documentation."
    x = jnp.arange(3.0)
    for _ in range(2):
        np.testing.assert_array_equal(scaled(2.0, jnp.arange(3.0)), 2 * x)
    assert calls == [USED]
    assert not programs.own()


def test_within_other_programs_it_is_part_of_them() -> None:
    @program()
    def square(x: Any) -> Any:
        assert not programs.own()
        return x**2

    x = jnp.arange(3.0)
    np.testing.assert_array_equal(jax.jit(square)(x), x**2)
    np.testing.assert_array_equal(jax.vmap(square)(x), x**2)
    np.testing.assert_array_equal(jax.grad(lambda x: square(x).sum())(x), 2 * x)
    assert jax.eval_shape(square, x).shape == (3,)


@pytest.mark.skipif(not USED, reason="of jaxlib 0.10 on CPUs of several cores")
@pytest.mark.parametrize("strides", [(1, 1), (2, 2)])
def test_convolutions_are_left_to_no_library(strides: Any) -> None:
    fn, x, kernel = convolution(((16, 16), (20, 24), (3, 3), strides, SAME, (1, 1)))
    assert "ynn" in jax.jit(fn).lower(x, kernel).compile().as_text()
    assert "ynn" not in program()(fn).lower(x, kernel).compile().as_text()
