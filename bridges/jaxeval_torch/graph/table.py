"""The table of ONNX operators, and helpers for their functions.

An operator is one function ``f(node, *inputs) -> output`` (or a tuple of them). An input is a
NumPy array if its value is known at conversion (shapes, indices, constants), else a JAX array; a
list of either for a sequence; None if it is omitted. Results computed only from NumPy arrays must
be NumPy arrays: they may determine shapes, which under `jax.jit` cannot depend on traced data.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

F = TypeVar("F", bound=Callable[..., Any])

OPERATORS: dict[str, Callable[..., Any]] = {}
"""ONNX operator -> the function that computes it; `operator` adds one."""


class ConversionError(ValueError):
    """A model that cannot be converted, or whose converted outputs differ."""


@dataclasses.dataclass(frozen=True)
class Node:
    """One operation of a graph: its operator, its attributes, the names it reads and writes."""

    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]
    name: str = ""
    scopes: tuple[str, ...] = ()
    """The torch modules it belongs to, outermost first."""
    opset: int = 20

    def get(self, name: str, default: Any = None) -> Any:
        """An attribute; bytes come as a string."""
        value = self.attributes.get(name, default)
        return value.decode() if isinstance(value, bytes) else value

    def wants(self, i: int) -> bool:
        """Whether output i is used."""
        return i < len(self.outputs) and self.outputs[i] != ""


def operator(*names: str) -> Callable[[F], F]:
    """Register a function ``f(node, *inputs) -> output`` for the ONNX operators of these names.

    A name is an operator's type, preceded by its domain if that is not ONNX's own: "Conv",
    "com.example::Swish". `from_onnx` and `from_torch` use the function from then on.

    Args of the function:
      node: the operation, with its attributes: ``node.get("alpha", 1.0)``.
      inputs: JAX arrays; NumPy arrays for values known at conversion, such as shapes and
        constants; None for omitted inputs. Values that determine shapes must be NumPy arrays.

    It returns an array, or a tuple of them for several outputs. Defining a function again, for
    example by running a notebook cell twice, replaces it.

    Raises:
      ValueError: one of the operators is registered to another function.

    >>> @operator("com.example::Swish")
    ... def swish(node, x):
    ...     return x * jax.nn.sigmoid(node.get("beta", 1.0) * x)
    """
    if not names or not all(isinstance(name, str) for name in names):
        raise TypeError('write @operator("Name") with the names of ONNX operators above a function')

    def enter(f: F) -> F:
        for name in names:
            taken = OPERATORS.get(name)
            again = taken is not None and _where(taken) == _where(f) and f.__name__ != "<lambda>"
            if taken is not None and not again:
                raise ValueError(
                    f"the ONNX operator {name} is already registered to {_where(taken)}: it cannot "
                    f"be registered to {_where(f)}, too"
                )
        OPERATORS.update(dict.fromkeys(names, f))
        return f

    return enter


def is_ours(f: Callable[..., Any]) -> bool:
    """Whether it is a function of this package, not a user-defined one."""
    return f.__module__.startswith(__name__.rpartition(".")[0])


def _where(f: Callable[..., Any]) -> str:
    """The full name of a function."""
    return f"{f.__module__}.{f.__qualname__}"


def is_known(*values: Any) -> bool:
    """Whether all values are known at conversion."""
    return all(
        is_known(*v)
        if isinstance(v, list)
        else v is None or isinstance(v, (np.ndarray, np.generic))
        for v in values
    )


def module(*values: Any) -> ModuleType:
    """NumPy if all values are known, else jax.numpy."""
    return np if is_known(*values) else jnp


def known(value: Any, what: str) -> np.ndarray:
    """A value that determines a shape or must be known at conversion for other reasons."""
    if not is_known(value):
        raise ConversionError(
            f"its {what} depends on the data, so its shape would, too, but JAX compiles for fixed "
            "shapes. jaxeval_torch.wrap_torch runs such a model in torch"
        )
    return np.asarray(value)


def integers(value: Any, what: str) -> list[int]:
    return [int(i) for i in known(value, what).reshape(-1)]


def axes_of(node: Node, given: Any) -> tuple[int, ...] | None:
    """Axes: since opset 13 or 18 an input, before that an attribute."""
    if given is not None:
        return tuple(integers(given, "axes"))
    axes = node.get("axes")
    return None if axes is None else tuple(axes)


def by_channel(v: Any, ndim: int) -> Any:
    """v [C], reshaped to broadcast against [N, C, ...] with `ndim` axes."""
    return v.reshape((1, -1) + (1,) * (ndim - 2))


def dtype_of(node: Node, name: str) -> np.dtype[Any]:
    """The NumPy dtype for an attribute that holds an ONNX type."""
    import onnx

    return np.dtype(onnx.helper.tensor_dtype_to_np_dtype(node.get(name)))


def cast(x: Any, dtype: Any) -> Any:
    """x as `dtype`; if x is traced, as the corresponding JAX dtype."""
    if is_known(x):
        with np.errstate(all="ignore"):
            return np.asarray(x).astype(dtype)
    return x.astype(jax.dtypes.canonicalize_dtype(dtype))
