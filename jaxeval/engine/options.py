"""Options shared by `score`, `evaluate`, `attribute` and sweeps."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from ..check import did_you_mean
from ..ops import OUTPUTS
from ..tolerance import Tolerance, read

PRECISIONS = ("highest", "fast")


@dataclasses.dataclass(frozen=True, eq=False)
class Options:
    """How a data set is evaluated; each field as the argument of `jaxeval.evaluate`.

    `rows`, for sweeps: shapes of compiled programs are chosen for a data set with this many
    samples, so that a shorter last shard does not need programs of its own.

    Raises:
      ValueError, TypeError: an invalid option.
    """

    key: Any = 0
    batch_size: int | None = None
    mesh: Any = None
    output: Any = None
    outputs: str | None = None
    precision: str = "highest"
    background: Any = None
    reduce_channels: str | None = None
    tolerance: Tolerance | None = None
    rows: int | None = None

    def __post_init__(self) -> None:
        for name, of in (
            ("key", read_key),
            ("batch_size", read_batch_size),
            ("mesh", read_mesh),
            ("precision", read_precision),
            ("tolerance", read),
        ):
            object.__setattr__(self, name, of(getattr(self, name)))


def read_key(key: Any) -> Any:
    """A typed JAX key, from a seed or a key of either kind."""
    if isinstance(key, (int, np.integer)):
        return jax.random.key(int(key))
    if isinstance(key, (jax.Array, np.ndarray)):
        if jnp.issubdtype(key.dtype, jax.dtypes.prng_key) and key.shape == ():
            return key
        if key.dtype == jnp.uint32 and key.ndim == 1:
            return jax.random.wrap_key_data(jnp.asarray(key))
    raise TypeError(f"key must be an integer seed or one JAX random key, got {key!r}")


def read_batch_size(batch_size: Any) -> int | None:
    """A positive integer, or None."""
    if batch_size is None:
        return None
    whole = isinstance(batch_size, (int, np.integer)) and not isinstance(batch_size, bool)
    if not whole or batch_size < 1:
        raise ValueError(f"batch_size must be a positive integer or None, got {batch_size!r}")
    return int(batch_size)


def read_mesh(mesh: Any) -> Mesh:
    """A mesh with one axis over the given mesh's devices; None: over the default device."""
    if mesh is None:
        default = getattr(jax.config, "jax_default_device", None)
        device = (
            default if isinstance(default, jax.Device) else jax.local_devices(backend=default)[0]
        )
        devices = np.array([device])
    elif isinstance(mesh, Mesh):
        devices = mesh.devices.reshape(-1)
    else:
        raise TypeError(f"mesh must be a jax.sharding.Mesh, got {type(mesh).__name__}")
    return Mesh(devices, ("data",))


def read_precision(precision: Any) -> str:
    if precision not in PRECISIONS:
        raise ValueError(
            f"precision={precision!r}: must be one of {', '.join(map(repr, PRECISIONS))}"
            f"{did_you_mean(precision, PRECISIONS)}"
        )
    return precision


def read_output(output: Any, kind: str) -> Any:
    """The default class score of metrics.

    Args:
      output: as given; None: the probability, or the value for ``Model(outputs="values")``.
      kind: the kind of the model's outputs (`Model.outputs`).
    """
    if output is None:
        return "value" if kind == "values" else "probability"
    if not callable(output) and output not in OUTPUTS:
        raise ValueError(
            f"output={output!r}: must be one of {', '.join(map(repr, OUTPUTS))} or a function "
            f"(outputs, y) -> value{did_you_mean(output, OUTPUTS)}"
        )
    return output
