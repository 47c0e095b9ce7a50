"""What follows a convolution in channels-last order computes what the program says."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jaxeval.cpu import Rewritten
from jaxeval.cpu.layout import Turned, kept, plain, turned
from tests.cpu.rewriting import same

RNG = np.random.default_rng(0)
X = jnp.asarray(RNG.normal(size=(2, 3, 6, 5)), jnp.float32)
KERNEL = jnp.asarray(RNG.normal(size=(8, 3, 3, 3)), jnp.float32)
SCALE = jnp.asarray(RNG.uniform(0.5, 1.5, size=(8, 1, 1)), jnp.float32)
MATRIX = jnp.asarray(RNG.normal(size=(8, 8)), jnp.float32)
SPREAD = jnp.asarray(RNG.normal(size=(1, 8, 6, 1)), jnp.float32)


def pool(f: Any, start: Any, window: Any, padding: Any = "VALID") -> Callable[[Any], Any]:
    return lambda v: lax.reduce_window(v, start, f, window, window, padding)


def normalise(v: Any, axes: Any) -> Any:
    mean = v.mean(axes, keepdims=True)
    return (v - mean) * lax.rsqrt(jnp.square(v - mean).mean(axes, keepdims=True) + 1e-3)


def shuffle(v: Any) -> Any:
    n, c, h, w = v.shape
    return v.reshape(n, 2, c // 2, h, w).transpose(0, 2, 1, 3, 4).reshape(v.shape)


# What is done with a convolution's output v [n, 8, 6, 5].
FOLLOWED: dict[str, Callable[[Any], Any]] = {
    "nothing": lambda v: v,
    "bias": lambda v: v + SCALE,
    "sum": lambda v: v + jnp.sin(v) * 2,
    "relu": jax.nn.relu,
    "relu6": lambda v: jnp.clip(v, 0, 6) - jax.nn.relu6(v / 2),
    "gelu": lambda v: jax.nn.gelu(jax.nn.silu(v) + jax.nn.leaky_relu(v)),
    "elu": jax.nn.elu,
    "chosen": lambda v: jnp.where(v > SCALE, v, 0.1 * v * SPREAD),
    "global mean": lambda v: v.mean((2, 3)),
    "mean of rows": lambda v: v.mean(3),
    "largest channel": lambda v: jnp.max(v, 1),
    "where the largest channel is": lambda v: jax.nn.one_hot(jnp.argmax(v, 1), 8) * v.mean(),
    "normalised over pixels": lambda v: normalise(v, (2, 3)),
    "normalised over channels": lambda v: normalise(v, 1),
    "padded": lambda v: jnp.pad(v, ((0, 0), (1, 2), (0, 0), (3, 0)), constant_values=1.5),
    "reflected": lambda v: jnp.pad(v, ((0, 0), (0, 0), (1, 1), (2, 2)), "reflect"),
    "sliced": lambda v: v[:, 1:7:2, ::3, 2:],
    "reversed": lambda v: v[:, ::-1, :, ::-1],
    "concatenated": lambda v: jnp.concatenate([v, SPREAD * jnp.ones(v.shape), jnp.cos(v)], 1),
    "split": lambda v: jnp.multiply(*jnp.split(v, 2, 1)),
    "max pooling": pool(lax.max, -jnp.inf, (1, 1, 2, 3), "SAME"),
    "max pooling over channels": pool(lax.max, -jnp.inf, (1, 2, 2, 1)),
    "least": pool(lax.min, jnp.inf, (1, 1, 3, 2), "SAME"),
    "mean pooling": pool(lax.add, 0.0, (1, 1, 2, 2)),
    "squeezed and excited": lambda v: v * jax.nn.sigmoid(
        jnp.einsum("nc,dc->nd", v.mean((2, 3)), MATRIX)[:, :, None, None]
    ),
    "channels as tokens": lambda v: v.reshape(len(v), 8, -1).transpose(0, 2, 1) @ MATRIX,
    "flat": lambda v: v.reshape(len(v), -1) @ jnp.ones((240, 2)),
    "shuffled": shuffle,
    "one size less": lambda v: v[:, :, :1, 2:3].squeeze((2, 3)),
    "a matrix product of channels": lambda v: jnp.einsum("nchw,cd->ndhw", v, MATRIX),
    "turned by the program": lambda v: (v.transpose(0, 2, 3, 1) @ MATRIX).transpose(0, 3, 1, 2) + v,
    "softmax": lambda v: jax.nn.softmax(v, 1) + jax.nn.logsumexp(v, 1, keepdims=True),
    "sorted": lambda v: jnp.sort(v, 2),
    "in a loop": lambda v: lax.fori_loop(0, 3, lambda i, u: jnp.sin(u + i), v),
    "a sum over time": lambda v: jnp.cumsum(v, 3),
}  # fmt: skip


def after_convolution(f: Callable[[Any], Any]) -> Callable[..., Any]:
    return lambda x, kernel: f(lax.conv(x, kernel, (1, 1), "SAME"))


@pytest.mark.parametrize("name", FOLLOWED)
def test_values_and_gradients(name: str) -> None:
    same(after_convolution(FOLLOWED[name]), X, KERNEL)


@pytest.mark.parametrize("name", ["relu", "max pooling", "concatenated", "shuffled"])
def test_under_vmap(name: str) -> None:
    fn = after_convolution(FOLLOWED[name])
    kernels = jnp.stack([KERNEL, -KERNEL])
    for axes, given in (((0, None), (X[:, None], KERNEL)), ((None, 0), (X, kernels))):
        one, other = (jax.vmap(f, axes)(*given) for f in (Rewritten(fn), fn))
        np.testing.assert_allclose(one, other, atol=1e-4)


def residual(x: Any, kernel: Any) -> Any:
    def unit(x: Any, kernel: Any, stride: int = 1) -> Any:
        out = lax.conv(x, kernel, (stride, stride), "SAME") * SCALE + SPREAD[:, :, :1]
        return jax.nn.relu(out)

    first = jnp.pad(kernel, ((0, 0), (0, 0), (1, 1), (1, 1)))
    x = pool(lax.max, -jnp.inf, (1, 1, 2, 2), "SAME")(unit(x, first))
    wide = jnp.concatenate([kernel] * 3, 1)[:, :8]
    x = x + unit(unit(x, wide), wide)
    x = unit(x, wide, 2) + lax.conv(x, MATRIX[:, :, None, None], (2, 2), "SAME")
    return x.mean((2, 3)) @ MATRIX


def turns(fn: Callable[..., Any], *args: Any) -> int:
    """How many images are turned in the compiled program."""
    text = jax.jit(fn).lower(*args).compile().as_text()
    assert text is not None
    return len(re.findall(r" = f32\[2,\d+,\d+,\d+\]\S* transpose\(", text))


def test_a_network_is_turned_once() -> None:
    same(residual, X, KERNEL)
    assert turns(Rewritten(residual), X, KERNEL) == 1
    slope = jax.grad(lambda x, kernel: Rewritten(residual)(x, kernel)[:, 0].sum())
    assert turns(slope, X, KERNEL) == 2


def test_the_rectifier_keeps_its_own_gradient() -> None:
    fn = after_convolution(jax.nn.relu)
    zero = jnp.zeros_like(KERNEL)
    slope = jax.grad(lambda x: Rewritten(fn)(x, KERNEL).sum())
    np.testing.assert_array_equal(slope(jnp.zeros_like(X)), 0)  # max(v, 0) would give a half
    bent = jax.hessian(lambda k: Rewritten(fn)(X, k)[0, 0, 0, 0])(zero)
    assert not bent.any()


def test_the_order_of_axes() -> None:
    for axes in ((0, 2, 3, 1), (3, 0, 1, 2), (2, 1, 0, 3)):
        v = kept(X.transpose(axes), axes)
        assert isinstance(v, Turned)
        assert v.shape == X.shape
        np.testing.assert_array_equal(plain(v), X)
        np.testing.assert_array_equal(turned(v, (1, 3, 0, 2)), X.transpose(1, 3, 0, 2))
    assert kept(X, (0, 1, 2, 3)) is X


@pytest.mark.parametrize(
    ("before", "after"),
    [((2, 3, 4, 5), (2, 3, 20)), ((2, 3, 4, 5), (2, 3, 1, 2, 2, 5)), ((2, 6, 1, 5), (2, 3, 2, 5)),
     ((2, 6, 1, 1), (12,)), ((1, 1, 6, 5), (6, 5)), ((2, 3, 4, 5), (6, 20)), ((1, 1, 1), ())],
)  # fmt: skip
def test_reshapes(before: tuple[int, ...], after: tuple[int, ...]) -> None:
    v = jnp.arange(float(np.prod(before))).reshape(before)
    turn = (*range(len(before))[::2], *range(len(before))[1::2])

    def fn(v: Any) -> Any:
        return jnp.transpose(v, turn).transpose(np.argsort(turn)).reshape(after) + 1

    # The convolution is there to have the function rewritten; its output is not used.
    both = lambda v: (fn(v), lax.conv(X, KERNEL, (1, 1), "SAME"))  # noqa: E731
    np.testing.assert_array_equal(Rewritten(both)(v)[0], fn(v))
