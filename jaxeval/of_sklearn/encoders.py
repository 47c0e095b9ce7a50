"""Encoders of categories as tables: each column's value is looked up among its categories."""

from __future__ import annotations

import dataclasses
import warnings
from typing import Any

import jax.numpy as jnp
import numpy as np

from .gradients import without_gradients
from .parts import NotConvertible, Part, f32

NO_GRADIENTS = (
    "columns of categories are encoded, and outputs are piecewise constant in them, so their "
    "gradients are 0 or undefined"
)


@dataclasses.dataclass(frozen=True)
class Encoded:
    """What the encoder makes of each column, beside each other.

    A value that equals none of its column's categories has the last row of the column's table; NaN
    equals NaN. `strict`: the encoder refuses such a value, and the model's outputs are NaN.
    """

    strict: bool

    def __call__(self, p: Any, x: Any) -> Any:
        x = without_gradients(x, NO_GRADIENTS)
        found = [table[self.row(x, i, p)] for i, table in enumerate(p["tables"])]
        return jnp.concatenate(found, 1)

    def row(self, x: Any, column: int, p: Any) -> Any:
        """The row of the column's table for each row of x."""
        at, categories = x[:, column, None], p["categories"][column]
        same = (at == categories) | (jnp.isnan(at) & jnp.isnan(categories))
        return jnp.where(same.any(1), same.argmax(1), len(categories))

    def refuses(self, p: Any, x: Any) -> Any:
        """Which rows have a value that is no category."""
        known = [self.row(x, i, p) < len(c) for i, c in enumerate(p["categories"])]
        return ~jnp.stack(known, 1).all(1)


def encoder(name: str, step: Any) -> Part:
    """A fitted OneHotEncoder, OrdinalEncoder or TargetEncoder of numbers."""
    columns = [np.asarray(c) for c in step.categories_]
    if any(c.dtype.kind not in "biuf" for c in columns):
        raise NotConvertible(f"its step {name!r} is a {type(step).__name__} of text or objects")
    categories = [c.astype(np.float64) for c in columns]
    if any((f32(c) != c)[~np.isnan(c)].any() for c in categories):
        raise NotConvertible(
            f"step {name!r} has categories that are no float32 numbers, in which models are "
            "explained"
        )
    widths = getattr(step, "_n_features_outs", [1] * len(columns))
    strict = getattr(step, "handle_unknown", "") == "error"
    tables = _tables(step, categories, np.cumsum(widths)[:-1], strict)
    if [t.shape[1] for t in tables] != list(widths):
        raise NotConvertible(f"step {name!r} makes several columns of each")

    def draw(rng: Any, x: np.ndarray) -> np.ndarray:
        drawn = np.stack([rng.choice(c, len(x)) for c in categories], 1)
        if strict:
            return drawn
        drawn = np.where(rng.random(x.shape) < 0.1, drawn + 0.5, drawn)
        return np.where(rng.random(x.shape) < 0.1, np.nan, drawn)

    state = {"categories": tuple(map(f32, categories)), "tables": tuple(map(f32, tables))}
    return Part(name, Encoded(strict), {}, state, draw)  # type: ignore[arg-type]


def _tables(step: Any, categories: list[Any], ends: Any, strict: bool) -> list[np.ndarray]:
    """What the encoder itself makes of each category of a column, then of an unknown value."""
    unknown = [np.append(c[np.isfinite(c)], 0).max() + 1 for c in categories]
    n = max(map(len, categories))
    rows = np.stack(
        [np.append(c, np.full(n - len(c), c[0])) for c in categories], 1
    )  # each column's first category stands for those that it lacks
    rows = rows if strict else np.concatenate([rows, [unknown]])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of names of columns, and of unknown values
        made = step.transform(rows)
    made = np.asarray(made.toarray() if hasattr(made, "toarray") else made, np.float64)
    if strict:
        made = np.concatenate([made, np.full_like(made[:1], np.nan)])
    parts = np.split(made, ends, 1)
    return [np.concatenate([t[: len(c)], t[-1:]]) for c, t in zip(categories, parts, strict=True)]
