"""Convolutions that are asked for a row more compute the same, and leave no core idle."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jaxeval.cpu import Rewritten, cores
from jaxeval.private_jax import YNNPACK_ON_ONE_CORE
from tests.cpu.rewriting import equations, same

CASES = {
    # channels, outputs, rows and columns, window, padding, dilation
    "as large as its input": (20, 24, (16, 17), (3, 3), "SAME", (1, 1)),
    "few channels in": (16, 17, (9, 9), (3, 3), "SAME", (1, 1)),
    "wide window": (20, 20, (16, 16), (5, 2), "SAME", (1, 1)),
    "dilated": (20, 20, (16, 18), (3, 3), "SAME", (1, 2)),
    "padding on one side": (20, 20, (16, 16), (3, 3), ((2, 0), (0, 2)), (1, 1)),
    "larger already": (20, 20, (32, 32), (3, 3), ((2, 2), (2, 2)), (1, 1)),
    "smaller": (20, 20, (32, 24), (3, 2), "VALID", (1, 1)),
}
LEFT_ALONE = {
    "narrow": (16, 16, (16, 16), (3, 3), "SAME", (1, 1)),
    "wide": (128, 128, (16, 16), (3, 3), "SAME", (1, 1)),
    "small": (20, 20, (4, 4), (3, 3), "SAME", (1, 1)),
    "single rows": (20, 20, (16, 16), (3, 1), "SAME", (1, 1)),
}


@pytest.fixture(autouse=True)
def _affected(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As on a machine of several cores, whichever version is installed."""
    monkeypatch.setattr(cores, "YNNPACK_ON_ONE_CORE", True)
    monkeypatch.setattr(cores, "available_cores", lambda: 2)
    jax.clear_caches()
    yield
    jax.clear_caches()


def convolution(case: tuple[Any, ...], layout: str, strides: Any = (1, 1)) -> Any:
    c, o, size, window, padding, dilation = case
    rng = np.random.default_rng(0)
    shape = (2, *size, c) if layout == "NHWC" else (2, c, *size)
    x = jnp.asarray(rng.normal(size=shape), jnp.float32)
    kernel = jnp.asarray(rng.normal(size=(*window, c, o)), jnp.float32)

    def fn(x: Any, kernel: Any) -> Any:
        return lax.conv_general_dilated(
            x, kernel, strides, padding, rhs_dilation=dilation,
            dimension_numbers=(layout, "HWIO", layout),
        )  # fmt: skip

    return fn, x, kernel


def sizes(fn: Any, *args: Any) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Rows and columns of the input and of the output of each convolution, channels-last."""
    found = equations(fn, "conv_general_dilated", *args)
    return [(e.invars[0].aval.shape[1:3], e.outvars[0].aval.shape[1:3]) for e in found]


@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
@pytest.mark.parametrize("case", CASES)
def test_same_values_and_gradients(case: str, layout: str) -> None:
    fn, x, kernel = convolution(CASES[case], layout)
    same(fn, x, kernel)
    (forward,) = sizes(Rewritten(fn), x, kernel)
    assert any(b > a for a, b in zip(*forward, strict=True))
    # The gradient goes the other way.
    assert any(a > b for a, b in zip(*forward, strict=True))


@pytest.mark.parametrize("case", LEFT_ALONE)
def test_others_are_left_alone(case: str) -> None:
    fn, x, kernel = convolution(LEFT_ALONE[case], "NHWC")
    assert sizes(Rewritten(fn), x, kernel) == sizes(fn, x, kernel)


def test_strides_and_single_cores_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    case = CASES["as large as its input"]
    fn, x, kernel = convolution(case, "NHWC", (2, 2))
    assert sizes(Rewritten(fn), x, kernel) == sizes(fn, x, kernel)
    monkeypatch.setattr(cores, "available_cores", lambda: 1)
    fn, x, kernel = convolution(case, "NHWC")
    assert sizes(Rewritten(fn), x, kernel) == sizes(fn, x, kernel)


@pytest.mark.skipif(
    not YNNPACK_ON_ONE_CORE or jax.default_backend() != "cpu", reason="of jaxlib 0.10 on CPUs"
)
def test_the_compiler_runs_them_on_all_cores() -> None:
    """Nothing of them is left to the library that keeps to one core."""
    fn, x, kernel = convolution(CASES["as large as its input"], "NCHW")

    def gradient(x: Any, kernel: Any) -> Any:
        return jax.grad(lambda x: (Rewritten(fn)(x, kernel) ** 2).sum())(x)

    for f in (Rewritten(fn), gradient):
        assert "ynn" not in jax.jit(f).lower(x, kernel).compile().as_text()
