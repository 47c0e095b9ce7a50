"""Models of several inputs: their entries as the features of one array."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from .lifetime import Wrapper, hashable
from .model import Model
from .shown import count


def is_several(x: Any) -> bool:
    """Whether x is a tuple or dict of arrays, the inputs of one model."""
    if isinstance(x, Mapping):
        return True
    return isinstance(x, tuple) and len(x) > 0 and all(np.ndim(v) > 1 for v in x)


def join_inputs(model: Any, x: Any) -> Joined:
    """A model of several inputs as a model of one array x [N, F], whose features are all entries.

    Everything that works on tables then works on it: every entry of every input is a feature, and
    features are removed, ranked and counted over all inputs. `evaluate`, `score` and `attribute` do
    this themselves for a tuple or dict x; this function gives the parts.

    Args:
      model: a `Model` of ``apply(params, x)``, or a function of x, where x is the tuple or dict.
      x: {name: array [N, ...]} or a tuple of arrays, floating-point. Inputs that are not explained,
        such as token ids, are no part of it.

    Raises:
      TypeError, ValueError: x is no tuple or dict of arrays with the same number of rows, or holds
        integers.

    >>> x = {"image": np.ones((2, 3, 3), np.float32), "age": np.ones((2, 1), np.float32)}
    >>> joined = join_inputs(lambda x: x["image"].sum(1) * x["age"], x)
    >>> joined.x.shape, joined.model(joined.x).shape
    ((2, 10), (2, 3))
    >>> {name: v.shape for name, v in joined.split(joined.x).items()}
    {'image': (2, 3, 3), 'age': (2, 1)}
    """
    named = dict(x) if isinstance(x, Mapping) else None
    values = list(named.values()) if named is not None else list(x) if is_several(x) else []
    if not values:
        raise TypeError(
            "join_inputs: x must be a dict {name: array [N, ...]} or a tuple of arrays, got "
            f"{type(x).__name__}"
        )
    names = tuple(map(str, named)) if named is not None else None
    labels = names or tuple(map(str, range(len(values))))
    arrays = []
    for name, value in zip(labels, values, strict=True):
        array = np.asarray(value)
        if array.ndim < 2 or len(array) != len(np.asarray(values[0])):
            raise ValueError(
                f"input {name!r} of x must be an array [N, ...] with as many rows as the first, "
                f"got the shape {list(array.shape)}"
            )
        if array.dtype.kind not in "fV":
            raise TypeError(
                f"input {name!r} of x must be floating-point, got {array.dtype}: its entries are "
                "removed and perturbed. Convert quantities by astype('float32'); an input that is "
                "not to be explained is no part of x"
            )
        arrays.append(array)
    shapes = tuple(array.shape[1:] for array in arrays)
    own = model if isinstance(model, Model) else Model(Of(hashable(model)), {})
    one = jnp.result_type(*(a.dtype for a in arrays))
    flat = np.concatenate([a.reshape(len(a), -1) for a in arrays], 1).astype(one)
    apply = Split(own.apply, names, shapes)
    hidden: Any = own.hidden
    if getattr(hidden, "of_graph", False):
        hidden = dataclasses.replace(hidden, apply=apply)
    elif hidden is not None:
        hidden = Split(hidden, names, shapes)
    joined = dataclasses.replace(
        own,
        apply=apply,
        hidden=hidden,
        init=None,
        channel_axis=None,
        example=jax.ShapeDtypeStruct((1, flat.shape[1]), one),
        feature_names=_names(labels, shapes),
    )
    return Joined(joined, flat, names, shapes)


def _names(labels: tuple[str, ...], shapes: tuple[tuple[int, ...], ...]) -> tuple[str, ...]:
    """ "image[0, 2]": the name of every entry."""
    return tuple(
        f"{label}[{', '.join(map(str, at))}]"
        for label, shape in zip(labels, shapes, strict=True)
        for at in np.ndindex(*shape)
    )


@dataclasses.dataclass(frozen=True)
class Of(Wrapper):
    """A function of x alone as an `apply`."""

    fn: Any

    def __call__(self, params: Any, x: Any) -> Any:
        return self.fn(x)


@dataclasses.dataclass(frozen=True)
class Split(Wrapper):
    """``fn(params, inputs)`` as a function of the joined array."""

    HOLDS: ClassVar[str] = "fn"
    fn: Any
    names: tuple[str, ...] | None
    shapes: tuple[tuple[int, ...], ...]

    def __call__(self, params: Any, x: Any) -> Any:
        return self.fn(params, split(x, self.names, self.shapes))


def split(a: Any, names: tuple[str, ...] | None, shapes: tuple[tuple[int, ...], ...]) -> Any:
    """An array [N, F] as the tuple or dict of its parts."""
    sizes = [int(np.prod(shape)) for shape in shapes]
    ends = np.cumsum(sizes).tolist()
    parts = [
        a[:, end - size : end].reshape(a.shape[0], *shape)
        for end, size, shape in zip(ends, sizes, shapes, strict=True)
    ]
    return tuple(parts) if names is None else dict(zip(names, parts, strict=True))


@dataclasses.dataclass(frozen=True, eq=False)
class Joined:
    """What `join_inputs` makes.

    Attributes:
      model: a `Model` of x [N, F].
      x: the inputs [N, F].
      names: of the inputs; None for a tuple.
      shapes: of one sample of each input.
    """

    model: Model
    x: np.ndarray
    names: tuple[str, ...] | None
    shapes: tuple[tuple[int, ...], ...]

    def split(self, a: Any) -> Any:
        """Maps [N, F] as a tuple or dict of maps [N, ...]."""
        return split(a, self.names, self.shapes)

    def join(self, parts: Any) -> np.ndarray:
        """Maps, a background or padding of every input as one array [N, F].

        Raises:
          ValueError: other inputs, or other shapes.
        """
        if isinstance(parts, Mapping) != (self.names is not None):
            raise ValueError("the maps of several inputs must be a dict or a tuple, as x is")
        if self.names is not None and set(parts) != set(self.names):
            raise ValueError(
                f"the parts must be those of the inputs {', '.join(self.names)}, got "
                f"{', '.join(map(str, parts))}"
            )
        values = list(parts) if self.names is None else [parts[n] for n in self.names]
        if len(values) != len(self.shapes):
            raise ValueError(f"wanted {count(len(self.shapes), 'part')}, got {len(values)}")
        arrays = [np.asarray(v) for v in values]
        for i, (array, shape) in enumerate(zip(arrays, self.shapes, strict=True)):
            if array.shape[1:] != shape:
                name = repr(self.names[i]) if self.names else str(i)
                raise ValueError(
                    f"the part of input {name} must have the shape [N, "
                    f"{', '.join(map(str, shape))}], got {list(array.shape)}"
                )
        return np.concatenate([a.reshape(len(a), -1) for a in arrays], 1)

    def one_each(self, values: Any) -> np.ndarray:
        """A number, or an array [...] of one sample, for each input, as an array [F]: baselines.

        >>> x = (np.ones((2, 3), np.float32), np.ones((2, 1), np.float32))
        >>> print(join_inputs(lambda x: x[0] * x[1], x).one_each((0.5, 2.0)))
        [0.5 0.5 0.5 2. ]
        """
        values = [values[n] for n in self.names] if self.names is not None else list(values)
        whole = [
            np.broadcast_to(np.asarray(v, np.float32), shape)
            for v, shape in zip(values, self.shapes, strict=True)
        ]
        return np.concatenate([v.ravel() for v in whole])

    def background(self, given: Any) -> Any:
        """The argument `background`."""
        return self.join(given) if is_several(given) else given

    @property
    def groups(self) -> np.ndarray:
        """The number of each entry's input [F]: ``features=`` of methods that remove groups."""
        sizes = [int(np.prod(shape)) for shape in self.shapes]
        return np.repeat(np.arange(len(sizes)), sizes)

    def explainers(self, given: Any) -> Any:
        """The argument `explainers`, with maps of several inputs joined."""
        if not isinstance(given, Mapping):
            return given
        return {k: self.join(v) if is_several(v) and _arrays(v) else v for k, v in given.items()}


def _arrays(v: Any) -> bool:
    values = v.values() if isinstance(v, Mapping) else v
    return all(hasattr(a, "shape") for a in values)
