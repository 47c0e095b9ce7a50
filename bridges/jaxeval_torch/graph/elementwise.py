"""Elementwise operators: arithmetic, comparisons, activations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .table import OPERATORS, Node, by_channel, cast, dtype_of, is_known, module, operator


def _unary(function: str) -> Callable[..., Any]:
    """A function of one array that NumPy and jax.numpy both have."""
    return lambda node, x: getattr(module(x), function)(x)


def _binary(function: str) -> Callable[..., Any]:
    return lambda node, x, y: getattr(module(x, y), function)(x, y)


def _variadic(function: str) -> Callable[..., Any]:
    def f(node: Node, *values: Any) -> Any:
        total = values[0]
        for v in values[1:]:
            total = getattr(module(total, v), function)(total, v)
        return total

    return f


UNARY = {
    "Abs": "abs",
    "Acos": "arccos",
    "Acosh": "arccosh",
    "Asin": "arcsin",
    "Asinh": "arcsinh",
    "Atan": "arctan",
    "Atanh": "arctanh",
    "BitwiseNot": "bitwise_not",
    "Ceil": "ceil",
    "Cos": "cos",
    "Cosh": "cosh",
    "Exp": "exp",
    "Floor": "floor",
    "IsNaN": "isnan",
    "Log": "log",
    "Neg": "negative",
    "Not": "logical_not",
    "Round": "round",
    "Sign": "sign",
    "Sin": "sin",
    "Sinh": "sinh",
    "Sqrt": "sqrt",
    "Tan": "tan",
    "Tanh": "tanh",
}
BINARY = {
    "Add": "add",
    "And": "logical_and",
    "BitwiseAnd": "bitwise_and",
    "BitwiseOr": "bitwise_or",
    "BitwiseXor": "bitwise_xor",
    "Equal": "equal",
    "Greater": "greater",
    "GreaterOrEqual": "greater_equal",
    "Less": "less",
    "LessOrEqual": "less_equal",
    "Mul": "multiply",
    "Or": "logical_or",
    "Sub": "subtract",
    "Xor": "logical_xor",
}
VARIADIC = {"Max": "maximum", "Min": "minimum", "Sum": "add"}

OPERATORS.update({name: _unary(f) for name, f in UNARY.items()})
OPERATORS.update({name: _binary(f) for name, f in BINARY.items()})
OPERATORS.update({name: _variadic(f) for name, f in VARIADIC.items()})


@operator("Identity")
def identity(node: Node, x: Any) -> Any:
    return x


@operator("Mean")
def mean(node: Node, *values: Any) -> Any:
    return OPERATORS["Sum"](node, *values) / len(values)


@operator("Div")
def divide(node: Node, x: Any, y: Any) -> Any:
    m = module(x, y)
    if not np.issubdtype(x.dtype, np.integer):
        return m.divide(x, y)
    # Towards zero, as in C.
    down = m.floor_divide(x, y)
    return down + ((down * y != x) & ((x < 0) != (y < 0))).astype(down.dtype)


@operator("Mod")
def mod(node: Node, x: Any, y: Any) -> Any:
    m = module(x, y)
    return m.fmod(x, y) if node.get("fmod", 0) else m.mod(x, y)


@operator("Pow")
def power(node: Node, x: Any, y: Any) -> Any:
    if is_known(y) and np.size(y) == 1 and not is_known(x) and float(np.ravel(y)[0]) in (2.0, 3.0):
        # An integer power is computed by products, and has a gradient at 0.
        return jax.lax.integer_pow(x, int(np.ravel(y)[0])).reshape(
            np.broadcast_shapes(x.shape, y.shape)
        )
    return module(x, y).power(x, y).astype(x.dtype)


@operator("BitShift")
def bit_shift(node: Node, x: Any, y: Any) -> Any:
    m = module(x, y)
    return m.left_shift(x, y) if node.get("direction") == "LEFT" else m.right_shift(x, y)


@operator("Reciprocal")
def reciprocal(node: Node, x: Any) -> Any:
    return 1 / x


@operator("IsInf")
def is_inf(node: Node, x: Any) -> Any:
    m = module(x)
    sign = node.get("detect_positive", 1) - node.get("detect_negative", 1)
    if not node.get("detect_positive", 1) and not node.get("detect_negative", 1):
        return m.zeros(x.shape, bool)
    return m.isinf(x) & (True if sign == 0 else x > 0 if sign > 0 else x < 0)


@operator("Where")
def where(node: Node, condition: Any, x: Any, y: Any) -> Any:
    return module(condition, x, y).where(condition, x, y)


@operator("Clip")
def clip(node: Node, x: Any, low: Any = None, high: Any = None) -> Any:
    low = node.get("min") if low is None else low
    high = node.get("max") if high is None else high
    m = module(x, *(v for v in (low, high) if hasattr(v, "shape")))
    if low is not None:
        x = m.maximum(x, m.asarray(low, x.dtype))
    if high is not None:
        x = m.minimum(x, m.asarray(high, x.dtype))
    return x


@operator("Cast")
def cast_to(node: Node, x: Any) -> Any:
    return cast(x, dtype_of(node, "to"))


@operator("CastLike")
def cast_like(node: Node, x: Any, like: Any) -> Any:
    return cast(x, like.dtype)


# Activations.


@operator("Relu")
def relu(node: Node, x: Any) -> Any:
    return jax.nn.relu(x)


@operator("Sigmoid")
def sigmoid(node: Node, x: Any) -> Any:
    return jax.nn.sigmoid(x)


@operator("Erf")
def erf(node: Node, x: Any) -> Any:
    return jax.scipy.special.erf(x)


@operator("Gelu")
def gelu(node: Node, x: Any) -> Any:
    return jax.nn.gelu(x, approximate=node.get("approximate", "none") == "tanh")


@operator("Elu")
def elu(node: Node, x: Any) -> Any:
    return jax.nn.elu(x, node.get("alpha", 1.0))


@operator("Celu")
def celu(node: Node, x: Any) -> Any:
    return jax.nn.celu(x, node.get("alpha", 1.0))


@operator("Selu")
def selu(node: Node, x: Any) -> Any:
    alpha = node.get("alpha", 1.67326319217681884765625)
    return node.get("gamma", 1.05070102214813232421875) * jax.nn.elu(x, alpha)


@operator("LeakyRelu")
def leaky_relu(node: Node, x: Any) -> Any:
    return jnp.where(x >= 0, x, node.get("alpha", 0.01) * x)


@operator("PRelu")
def prelu(node: Node, x: Any, slope: Any) -> Any:
    # torch has one slope per channel: [C], or already with trailing axes of size 1.
    if slope.ndim == 1 and slope.size > 1 and x.ndim > 1 and slope.size != x.shape[-1]:
        slope = by_channel(slope, x.ndim)
    return jnp.where(x >= 0, x, slope * x)


@operator("ThresholdedRelu")
def thresholded_relu(node: Node, x: Any) -> Any:
    return jnp.where(x > node.get("alpha", 1.0), x, 0)


@operator("HardSigmoid")
def hard_sigmoid(node: Node, x: Any) -> Any:
    return jnp.clip(x * node.get("alpha", 0.2) + node.get("beta", 0.5), 0, 1)


@operator("HardSwish")
def hard_swish(node: Node, x: Any) -> Any:
    return x * jnp.clip(x / 6 + 0.5, 0, 1)


@operator("Swish")
def swish(node: Node, x: Any) -> Any:
    return x * jax.nn.sigmoid(node.get("alpha", 1.0) * x)


@operator("Mish")
def mish(node: Node, x: Any) -> Any:
    return x * jnp.tanh(jax.nn.softplus(x))


@operator("Softplus")
def softplus(node: Node, x: Any) -> Any:
    return jax.nn.softplus(x)


@operator("Softsign")
def softsign(node: Node, x: Any) -> Any:
    return x / (1 + jnp.abs(x))


@operator("Shrink")
def shrink(node: Node, x: Any) -> Any:
    bias, edge = node.get("bias", 0.0), node.get("lambd", 0.5)
    shrunk = jnp.where(x < -edge, x + bias, jnp.where(x > edge, x - bias, 0))
    return shrunk.astype(x.dtype)
