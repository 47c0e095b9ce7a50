"""The data set, checked before anything is compiled."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from ..shown import count
from ..tokens import ATTENTION, COUNTED, FIRST, IDS, KEPT, SPECIAL, Tokens
from ..trace.embedding import check_ids
from ..words import check_features, first_pieces, read_features, summed


@dataclasses.dataclass(frozen=True, eq=False)
class Data:
    """A checked data set with one row per sample; y is None for the predicted classes.

    `inputs`, {name: [N, ...]}, are given to the model with x; None: there are none. For models of
    tokens they include the clean ids and which of them count (`jaxeval.tokens`).
    """

    x: np.ndarray
    y: np.ndarray | None
    index: np.ndarray
    mask: np.ndarray | None
    extras: dict[str, np.ndarray]
    padding: np.ndarray | None = None
    inputs: dict[str, np.ndarray] | None = None
    names: tuple[str, ...] | None = None
    """The names of the columns of tabular x."""

    @property
    def of_words(self) -> bool:
        """Whether the features are words of tokens."""
        return FIRST in (self.inputs or {})

    def inputs_of(self, rows: Any) -> dict[str, np.ndarray] | None:
        """The inputs of some rows."""
        return None if self.inputs is None else {k: v[rows] for k, v in self.inputs.items()}


def read_x(x: Any) -> np.ndarray:
    """The inputs [N, ...]: finite floating-point numbers."""
    if isinstance(x, Mapping) or (isinstance(x, tuple) and any(np.ndim(v) > 1 for v in x)):
        raise TypeError(
            f"x must be one array [N, ...], got a {type(x).__name__} of {len(x)}: stack samples; "
            "for a model of several inputs, jaxeval.join_inputs makes one array of them; give what "
            "is not explained as inputs={name: array}, to a model apply(params, x, inputs)"
        )
    x = _array("x", x)
    if x.ndim < 2 or 0 in x.shape:
        raise ValueError(f"x must be a batch [N, ...] with N >= 1, got shape {list(x.shape)}")
    if not jnp.issubdtype(x.dtype, jnp.floating):
        raise TypeError(
            f"x must be floating-point, got {x.dtype}: convert quantities (pixels, columns of a "
            "table) by x.astype('float32'); for token ids give Model(tokens=jaxeval.Tokens(...)); "
            "for other categories explain their embeddings, x = embedding(ids) [N, T, E]"
        )
    x = x.astype(jax.dtypes.canonicalize_dtype(x.dtype), copy=False)
    _finite("x", x)
    return x


def read_ids(x: Any) -> np.ndarray:
    """Token ids [N, T], int32."""
    if isinstance(x, Mapping):
        raise TypeError(
            f"x must be the token ids [N, T], got a {type(x).__name__} of {sorted(x)}: give "
            'x["input_ids"], and the rest as inputs={name: array}'
        )
    x = _array("x", x)
    if x.ndim != 2 or 0 in x.shape:
        raise ValueError(f"x must be token ids [N, T] with N >= 1, got shape {list(x.shape)}")
    if x.dtype.kind not in "iu":
        raise TypeError(
            f"x must be token ids, whole numbers, as the model has tokens; got {x.dtype}. For "
            "embeddings give the model that jaxeval.embedded(model, ids) returns"
        )
    check_ids(x, None)
    return x.astype(np.int32)


def read_inputs(inputs: Any, n: int) -> dict[str, np.ndarray]:
    """{name: array [N, ...]} of what is given to the model with x."""
    if not isinstance(inputs, Mapping):
        raise TypeError(
            f"inputs must be a dict {{name: array [N, ...]}}, got {type(inputs).__name__}"
        )
    found = {}
    for name, v in inputs.items():
        found[name] = read_rows(f"inputs[{name!r}]", v, n)
        if found[name].dtype.kind in "fV":
            _finite(f"inputs[{name!r}]", found[name])
    return found


def read_text(
    tokens: Tokens,
    x: np.ndarray,
    inputs: dict[str, np.ndarray],
    padding: np.ndarray | None,
    features: Any = None,
) -> dict[str, np.ndarray]:
    """The inputs of texts, with what counts, and where words begin if they are the features."""
    for name in (IDS, COUNTED, KEPT, FIRST):
        if name in inputs:
            raise ValueError(f"inputs[{name!r}]: the token ids are x, and this name is taken")
    for name in (ATTENTION, SPECIAL):
        if name in inputs and inputs[name].shape != x.shape:
            raise ValueError(
                f"inputs[{name!r}] must be [N, T] = {list(x.shape)}, as the token ids, got "
                f"{list(inputs[name].shape)}"
            )
    if padding is not None and padding.shape != x.shape:
        raise ValueError(
            f"padding must be [N, T] = {list(x.shape)}, as the token ids, got {list(padding.shape)}"
        )
    counted = tokens.counted(x, inputs, padding)
    first = None
    if features is not None:
        features = np.asarray(read_features(features, x))
        check_features(features, counted)
        counted &= features >= 0
        first = first_pieces(features, counted)
    if (empty := ~counted.any(1)).any():
        raise ValueError(
            f"no token counts in {int(empty.sum())} of {len(x)} texts, the first of them "
            f"sample {int(empty.argmax())}: all tokens are padding or special ({tokens})"
            + ("" if first is None else ", or of no word (features= -1)")
            + ". Leave these texts out"
        )
    return {**inputs, IDS: x, COUNTED: counted} | ({} if first is None else {FIRST: first})


def read_y(y: Any, n: int) -> np.ndarray | None:
    """The classes to explain [N], or None for the predicted ones."""
    if y is None:
        return None
    y = _array("y", y)
    if y.shape != (n,):
        raise ValueError(f"y must have one class for each of the {n} samples, got {list(y.shape)}")
    if y.dtype.kind not in "iu":
        raise TypeError(
            f"y must hold integer classes, got {y.dtype}: y says which output is explained, "
            "y.astype(int) for classes; the targets of a regression are not needed, leave y out"
        )
    if y.min() < 0:
        raise ValueError(f"y must hold classes from 0 on, got {y.min()}")
    if y.max() > np.iinfo(np.int32).max:
        raise ValueError(f"y holds {y.max()}, which is no class")
    return y.astype(np.int32)


def read_data(
    x: Any,
    y: Any,
    mask: Any,
    index: Any,
    extras: Any,
    padding: Any = None,
    inputs: Any = None,
    tokens: Tokens | None = None,
    names: Any = None,
    features: Any = None,
) -> Data:
    """The whole data set."""
    if features is not None and tokens is None:
        raise ValueError(
            "features= makes words of tokens features, and this model has no tokens: leave it out, "
            "or give Model(tokens=jaxeval.Tokens(...)). Explainers of images take segments by "
            "features= of their own, as in FeatureAblation(features=...)"
        )
    x = read_x(x) if tokens is None else read_ids(x)
    n = len(x)
    if index is None:
        index = np.arange(n)
    index = _array("index", index)
    if index.shape != (n,) or index.dtype.kind not in "iu":
        raise ValueError(
            f"index must be one integer id for each of the {n} samples, got "
            f"{index.dtype}{list(index.shape)}"
        )
    if index.min() < 0 or index.max() >= 2**32:
        raise ValueError(f"index must lie in 0..2**32 - 1, got {index.min()}..{index.max()}")
    padding = None if padding is None else _read_padding(padding, n)
    inputs = read_inputs(inputs, n) if inputs else None
    mask = None if mask is None else _read_mask("mask", mask, n)
    if tokens is not None:
        inputs = read_text(tokens, x, inputs or {}, padding, features)
        padding = ~inputs[COUNTED]
        if mask is not None and mask.shape == x.shape and FIRST in inputs:
            mask = summed(mask & inputs[COUNTED], inputs[FIRST])  # of booleans: any
    return Data(
        x=x,
        y=read_y(y, n),
        index=index.astype(np.uint32),
        mask=mask,
        padding=padding,
        inputs=inputs,
        extras={k: read_rows(f"extras[{k!r}]", v, n) for k, v in (extras or {}).items()},
        names=names,
    )


def _read_padding(padding: Any, n: int) -> np.ndarray:
    padding = _read_mask("padding", padding, n)
    full = padding.reshape(n, -1).all(1)
    if full.any():
        raise ValueError(
            f"padding covers {count(int(full.sum()), 'sample')} completely, the first of them "
            f"sample {int(full.argmax())}: it must be True at padding and False at features"
        )
    return padding


def _read_mask(name: str, mask: Any, n: int) -> np.ndarray:
    mask = read_rows(name, mask, n)
    if mask.dtype.kind == "b":
        return mask
    if mask.dtype.kind in "iuf" and np.isin(mask, (0, 1)).all():
        return mask.astype(bool)
    raise ValueError(f"{name} must be boolean (or hold only 0 and 1), got {mask.dtype}")


def read_rows(name: str, v: Any, n: int) -> np.ndarray:
    v = _array(name, v)
    if v.ndim < 1 or len(v) != n:
        raise ValueError(
            f"{name} must have one row for each of the {n} samples, got {list(v.shape)}"
        )
    return v


def _array(name: str, v: Any) -> np.ndarray:
    if isinstance(v, Tracer):
        raise TypeError(
            f"{name} is a tracer: this function processes data sets from the host; inside jit, "
            "vmap or grad use jaxeval.as_function"
        )
    try:
        v = np.asarray(v)
    except Exception as e:
        raise TypeError(f"{name} must be an array, got {type(v).__name__} ({e})") from e
    if v.dtype.kind not in "biufV":  # V: bfloat16 and similar dtypes
        raise TypeError(f"{name} must be a numeric array, got dtype {v.dtype}")
    return v


def _finite(name: str, v: np.ndarray) -> None:
    bad = ~np.isfinite(v.astype(np.float32) if v.dtype.kind == "V" else v)
    if bad.any():
        row = int(np.argwhere(bad)[0][0])
        raise ValueError(
            f"{name} holds {count(int(bad.sum()), 'NaN or infinite value')}, the first in sample "
            f"{row}: explanations need all values, so fill in missing ones, such as by the means "
            "of the columns, x.fillna(x.mean()), or leave these samples out"
        )
