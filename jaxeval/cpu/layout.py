"""Arrays stored with permuted axes, to avoid transposes.

XLA runs convolutions on CPUs channels-last, and transposes channels-first arrays before and after
each: on one core, a 3 x 3 convolution takes 1.1 to 1.4 times as long because of it, a 1 x 1
convolution 1.2 to 7 times. Here the output of a convolution stays channels-last, and the following
operations are adapted: elementwise, windowed, or with renumbered axes. Arrays are transposed back
only for operations without such a rule.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from ..trace import jaxprs


@dataclasses.dataclass(frozen=True)
class Turned:
    """A value stored as `array`, which is ``value.transpose(axes)``."""

    array: Any
    axes: tuple[int, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.array.shape[self.axes.index(i)] for i in range(len(self.axes)))


def kept(array: Any, axes: Sequence[int]) -> Any:
    """The value of which `array` is ``value.transpose(axes)``."""
    return array if list(axes) == sorted(axes) else Turned(array, tuple(axes))


def turned(value: Any, axes: Sequence[int]) -> Any:
    """The array ``value.transpose(axes)``."""
    if isinstance(value, Turned):
        value, axes = value.array, [value.axes.index(i) for i in axes]
    return value if list(axes) == sorted(axes) else lax.transpose(value, axes)


def plain(value: Any) -> Any:
    """The value as an array."""
    return turned(value, range(len(value.axes))) if isinstance(value, Turned) else value


def operation(eqn: Any, given: Sequence[Any]) -> list[Any]:
    """The outputs of an equation; inputs and outputs may be `Turned`."""
    rule = RULES.get(eqn.primitive.name)
    out = None
    if rule is not None and (rule is transpose or any(isinstance(v, Turned) for v in given)):
        out = rule(eqn, given)
    return jaxprs.bind(eqn, [plain(v) for v in given]) if out is None else out


def _bind(eqn: Any, *given: Any, **params: Any) -> list[Any]:
    return jaxprs.bind(eqn.replace(params={**eqn.params, **params}), given)


def _order(given: Sequence[Any]) -> tuple[int, ...]:
    return next(v.axes for v in given if isinstance(v, Turned))


def _rank(value: Any) -> int:
    return len(value.axes) if isinstance(value, Turned) else jnp.ndim(value)


def _renumbered(axes: Sequence[int]) -> list[int]:
    """The same order of the numbers from zero."""
    return [sorted(axes).index(i) for i in axes]


# -- rules: functions of an equation and its inputs, one of them turned; None gives it up ---------


def elementwise(eqn: Any, given: Sequence[Any]) -> list[Any] | None:
    axes = _order(given)
    if any(_rank(v) not in (0, len(axes)) for v in given):
        return None
    arrays = [turned(v, axes) if _rank(v) else v for v in given]
    return [kept(v, axes) for v in jaxprs.bind(eqn, arrays)]


def custom_jvp(eqn: Any, given: Sequence[Any]) -> list[Any] | None:
    """A function with a custom derivative, such as `jax.nn.relu`: applies to both."""
    axes, closed = _order(given), eqn.params["call_jaxpr"]
    specs = [v.aval for v in (*eqn.invars, *eqn.outvars)]
    floating = all(jnp.issubdtype(v.dtype, jnp.floating) for v in specs)
    if not floating or any(v.aval.ndim != len(axes) for v in eqn.outvars):
        return None
    specs = [jax.ShapeDtypeStruct(v.shape, v.dtype) for v in specs[: len(given)]]
    full = [len(v.shape) == len(axes) for v in specs]

    def inside(closed: Any, arrays: Sequence[Any], full: Sequence[bool]) -> list[Any]:
        given = [kept(v, axes) if f else v for v, f in zip(arrays, full, strict=True)]
        out = jaxprs.evaluate(closed.jaxpr, closed.consts, given, operation)
        return [turned(v, axes) for v in out]

    @jax.custom_jvp
    def call(*arrays: Any) -> list[Any]:
        return inside(closed, arrays, full)

    @call.defjvp
    def _(primals: Any, tangents: Any) -> tuple[list[Any], list[Any]]:
        def slope(primals: Any, tangents: Any) -> Any:
            return jax.jvp(lambda *given: jaxprs.bind(eqn, given), primals, tangents)

        traced = jax.make_jaxpr(slope)(tuple(specs), tuple(specs))
        out = inside(traced, (*primals, *tangents), full * 2)
        return out[: len(out) // 2], out[len(out) // 2 :]

    arrays = [turned(v, axes) if f else plain(v) for v, f in zip(given, full, strict=True)]
    return [kept(v, axes) for v in call(*arrays)]


def reduction(eqn: Any, given: Sequence[Any]) -> list[Any]:
    """Axes are removed: reduced, or of size one. `name` is their name in the equation."""
    (v,), name = given, "axes" if "axes" in eqn.params else "dimensions"
    gone = [v.axes.index(i) for i in eqn.params[name]]
    left = _renumbered([i for i in v.axes if i not in eqn.params[name]])
    return [kept(out, left) for out in _bind(eqn, v.array, **{name: tuple(sorted(gone))})]


def windows(eqn: Any, given: Sequence[Any]) -> list[Any] | None:
    (v,) = given
    names = ("window_dimensions", "window_strides", "padding", "base_dilation", "window_dilation")
    moving = [i for i in v.axes if eqn.params["window_dimensions"][i] > 1]
    if moving != sorted(moving):  # of equal entries the first counts
        return None
    return _along(eqn, v, names)


def _along(eqn: Any, v: Turned, names: Sequence[str], *given: Any) -> list[Any]:
    """An operation with parameters that have one entry per axis."""
    params = {k: tuple(p[i] for i in v.axes) for k in names if (p := eqn.params[k]) is not None}
    return [kept(out, v.axes) for out in _bind(eqn, v.array, *given, **params)]


def pad(eqn: Any, given: Sequence[Any]) -> list[Any]:
    return _along(eqn, given[0], ["padding_config"], given[1])


def slices(eqn: Any, given: Sequence[Any]) -> list[Any]:
    return _along(eqn, given[0], ["start_indices", "limit_indices", "strides"])


def rev(eqn: Any, given: Sequence[Any]) -> list[Any]:
    (v,) = given
    dimensions = tuple(v.axes.index(i) for i in eqn.params["dimensions"])
    return [kept(out, v.axes) for out in _bind(eqn, v.array, dimensions=dimensions)]


def concatenate(eqn: Any, given: Sequence[Any]) -> list[Any]:
    axes = _order(given)
    arrays = [turned(v, axes) for v in given]
    dimension = axes.index(eqn.params["dimension"])
    return [kept(out, axes) for out in _bind(eqn, *arrays, dimension=dimension)]


def split(eqn: Any, given: Sequence[Any]) -> list[Any]:
    (v,) = given
    outs = _bind(eqn, v.array, axis=v.axes.index(eqn.params["axis"]))
    return [kept(out, v.axes) for out in outs]


def transpose(eqn: Any, given: Sequence[Any]) -> list[Any]:
    """A transpose: only renumbers the axes."""
    (v,), permutation = given, list(eqn.params["permutation"])
    axes = v.axes if isinstance(v, Turned) else range(v.ndim)
    array = v.array if isinstance(v, Turned) else v
    return [kept(array, [permutation.index(i) for i in axes])]


def broadcast(eqn: Any, given: Sequence[Any]) -> list[Any] | None:
    if len(given) > 1:  # the others are sizes known at run time
        return None
    (v,), shape, to = given, eqn.params["shape"], eqn.params["broadcast_dimensions"]
    places = sorted(to)
    axes = list(range(len(shape)))
    for place, i in zip(places, v.axes, strict=True):
        axes[place] = to[i]
    return [kept(lax.broadcast_in_dim(v.array, [shape[i] for i in axes], places), axes)]


def reshape(eqn: Any, given: Sequence[Any]) -> list[Any] | None:
    """A reshape: axes are split, or merged with adjacent ones."""
    v, shape = given[0], eqn.params["new_sizes"]
    if len(given) > 1 or eqn.params["dimensions"] is not None or 0 in shape:
        return None
    # Axes of size one can be anywhere.
    order = [i for i in v.axes if v.shape[i] > 1]
    ones = [i for i, n in enumerate(shape) if n == 1]
    axes: list[int] = []
    groups = _groups(v.shape, shape)
    while order:
        old, new = next(g for g in groups if order[0] in g[0])
        if order[: len(old)] != old:
            return None
        order = order[len(old) :]
        axes += new
    axes += ones
    return [kept(v.array.reshape([shape[i] for i in axes]), axes)]


def _groups(before: Sequence[int], after: Sequence[int]) -> list[tuple[list[int], list[int]]]:
    """Which axes of one shape become which of another; those of size one are left out."""
    old = [i for i, n in enumerate(before) if n > 1]
    new = [i for i, n in enumerate(after) if n > 1]
    groups = []
    while old:
        a, b = [old.pop(0)], [new.pop(0)]
        while (p := math.prod(before[i] for i in a)) != (q := math.prod(after[i] for i in b)):
            a, b = ([*a, old.pop(0)], b) if p < q else (a, [*b, new.pop(0)])
        groups.append((a, b))
    return groups


Rule = Callable[[Any, Sequence[Any]], list[Any] | None]
RULES: dict[str, Rule] = {
    **dict.fromkeys(jaxprs.ELEMENTWISE, elementwise),
    **dict.fromkeys(
        ("reduce_sum", "reduce_max", "reduce_min", "reduce_prod", "argmax", "argmin", "squeeze"),
        reduction,
    ),
    **dict.fromkeys(("reduce_window_max", "reduce_window_min", "reduce_window_sum"), windows),
    "broadcast_in_dim": broadcast,
    "concatenate": concatenate,
    "custom_jvp_call": custom_jvp,
    "pad": pad,
    "reshape": reshape,
    "rev": rev,
    "slice": slices,
    "split": split,
    "transpose": transpose,
}
