"""Rehearsals: runs whose compiled programs are recorded instead of called.

A rehearsal goes through the same Python code as a run and sees each program that the run would
call, in its real shapes, and how often. It is used to plan memory (`fitting`), to estimate the cost
of a sweep on a device that is not there, and to compile everything for such devices in tests.
Answers are zeros, so what depends on their values (rounds to a tolerance) is not seen.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from ..lifetime import WATCHER, Jit
from ..model import Model

ALIGNMENT = 64
"""Of arrays that JAX takes over from NumPy on a CPU, in bytes."""


class Program:
    """A compiled program of a run, for the shapes in which it is called.

    Attributes:
      name: the name of its function.
      calls: how often the run calls it.
      rows: rows of its batch on each device, where that is known.
    """

    def __init__(self, jit: Jit, args: tuple[Any, ...], rows: int = 1):
        self.jit, self.name, self.calls = jit, jit.__name__, 0  # type: ignore[attr-defined]
        self.rows = rows
        self.args = tuple(v if i in jit.static else specs(v) for i, v in enumerate(args))
        self._lowered: Any = None
        self._compiled: Any = None

    def lowered(self) -> Any:
        """Lowered exactly as a run does, whose call then finds it compiled."""
        if self._lowered is None:
            self._lowered = self.jit.lower(*self.args)
        return self._lowered

    def compiled(self) -> Any:
        if self._compiled is None:
            self._compiled = self.lowered().compile()
        return self._compiled

    def traced(self) -> Any:
        """Traced without options for CPUs (`jax.stages.Traced`)."""
        made, args = self.jit.portable(*self.args)
        return made.trace(*args)

    def lowered_for(self, mesh: Mesh) -> Any:
        """Lowered for other devices, as many as its own or one."""
        args = tuple(
            (mesh if isinstance(v, Mesh) else v) if i in self.jit.static else moved(v, mesh)
            for i, v in enumerate(self.args)
        )
        made, args = self.jit.portable(*args)
        return made.lower(*args)

    def memory(self) -> int:
        """Bytes that it needs on a device, as the compiler says."""
        a = self.compiled().memory_analysis()
        used = a.argument_size_in_bytes + a.output_size_in_bytes + a.temp_size_in_bytes
        return used - a.alias_size_in_bytes

    def fixed(self) -> int:
        """Bytes of its arguments that are no batches: the model's parameters."""
        leaves = jax.tree.leaves([v for v in self.args if isinstance(v, Model)])
        return sum(int(np.prod(v.shape)) * v.dtype.itemsize for v in leaves if hasattr(v, "dtype"))

    def per_row(self) -> float:
        """Bytes for each row on a device, beside what is `fixed`.

        Outputs count twice, as those of the chunk before are still being measured.
        """
        more = self.compiled().memory_analysis().output_size_in_bytes
        return max(1.0, self.memory() + more - self.fixed()) / self.rows


class Rehearsal:
    """What is called while it watches.

    Attributes:
      programs: every distinct program, in the order of the first calls.
      platform: the platform that models are prepared for.
      rows: rows of a batch on each device, of the programs called next.

    Args:
      counts: whether plans are made nevertheless, once for each shape, for their numbers of steps
        and which of those are the same; the plans themselves are zeros, too.
      compiles: whether programs are compiled.
    """

    def __init__(self, platform: str, counts: bool = False, compiles: bool = False):
        self.platform, self.counts, self.compiles = platform, counts, compiles
        self.rows = 1
        self._zeros: dict[Any, Any] = {}
        self._models: dict[int, tuple[Model, Any]] = {}
        self._known: dict[Any, tuple[Program, Any]] = {}

    @property
    def programs(self) -> list[Program]:
        return [program for program, _ in self._known.values()]

    def called(self, jit: Jit, args: tuple[Any, ...]) -> Any:
        if any(isinstance(v, Tracer) for v in jax.tree.leaves(args)):
            made, args = jit.portable(*args)  # part of the program that is being traced
            return made(*args)
        key = (jit, *(v if i in jit.static else self._signature(v) for i, v in enumerate(args)))
        if key not in self._known:
            program = Program(jit, args, self.rows)
            self._known[key] = program, self._result(program, args)
        program, result = self._known[key]
        program.calls += 1
        return result

    def _signature(self, v: Any) -> Any:
        """By what programs are told apart; a model, with its many parameters, is read once."""
        if not isinstance(v, Model):
            return signature(v)
        if id(v) not in self._models:
            self._models[id(v)] = v, signature(v)
        return self._models[id(v)][1]

    def _result(self, program: Program, args: tuple[Any, ...]) -> Any:
        if self.counts and program.name == "plan":
            with watching(None):
                made, *counts = program.jit(*args)
            return (jax.tree.map(lambda v: self.zeros(v, v.sharding), made), *counts)
        if self.compiles:
            compiled = program.compiled()
            placed = compiled.output_shardings
            if all(s.device_set <= set(jax.devices()) for s in jax.tree.leaves(placed)):
                return jax.tree.map(self.zeros, compiled.out_info, placed)
        placed = next((v.sharding for v in jax.tree.leaves(args) if _placed(v)), None)
        return jax.tree.map(lambda v: self.zeros(v, placed), program.jit.eval_shape(*args))

    def zeros(self, v: Any, placed: Any) -> Any:
        """An array of v's shape. There is one of each: a run's buffers would be too many here."""
        key = v.shape, v.dtype, placed
        if key not in self._zeros:
            self._zeros[key] = _zeros(v, placed)
        return self._zeros[key]


@contextlib.contextmanager
def watching(rehearsal: Rehearsal | None) -> Iterator[None]:
    """Programs called inside are recorded by the rehearsal."""
    token = WATCHER.set(rehearsal)
    try:
        yield
    finally:
        WATCHER.reset(token)


def specs(tree: Any) -> Any:
    """Shapes and dtypes of the arrays, with where they are committed to be."""

    def leaf(v: Any) -> Any:
        if not isinstance(v, (jax.Array, jax.ShapeDtypeStruct)):
            return v
        # JAX moves what is not committed to a device to where the other arguments are.
        placed = v.sharding if getattr(v, "committed", True) else None
        weak = getattr(v, "weak_type", False)
        return jax.ShapeDtypeStruct(v.shape, v.dtype, sharding=placed, weak_type=weak)

    return jax.tree.map(leaf, tree)


def signature(tree: Any) -> Any:
    """By what programs are told apart."""
    leaves, treedef = jax.tree.flatten(tree)

    def leaf(v: Any) -> Any:
        return np.shape(v), getattr(v, "dtype", type(v)), bool(getattr(v, "weak_type", False))

    return treedef, tuple(map(leaf, leaves))


def moved(tree: Any, mesh: Mesh) -> Any:
    """The shapes, placed on the devices of another mesh."""

    def leaf(v: Any) -> Any:
        spec = getattr(getattr(v, "sharding", None), "spec", P())
        placed = NamedSharding(mesh, spec)
        if not isinstance(v, jax.ShapeDtypeStruct):
            v = jax.typeof(v)
        return jax.ShapeDtypeStruct(v.shape, v.dtype, sharding=placed, weak_type=v.weak_type)

    return jax.tree.map(leaf, tree)


def impl_of(dtype: Any) -> str:
    """The kind of random keys of this dtype."""
    return next(
        name
        for name in ("threefry2x32", "rbg", "unsafe_rbg")
        if jax.eval_shape(lambda: jax.random.key(0, impl=name)).dtype == dtype  # noqa: B023
    )


def _placed(v: Any) -> bool:
    return isinstance(v, jax.Array) and v.committed


def _zeros(v: Any, sharding: Any) -> Any:
    if jnp.issubdtype(v.dtype, jax.dtypes.prng_key):
        data = jax.eval_shape(jax.random.key_data, jax.ShapeDtypeStruct(v.shape, v.dtype))
        keys = jax.random.wrap_key_data(jnp.zeros(data.shape, data.dtype), impl=impl_of(v.dtype))
        return jax.device_put(keys, sharding)
    spread = getattr(sharding, "spec", None) not in (None, P())
    if spread and (not v.shape or v.shape[0] % sharding.mesh.size):  # no rows of a batch
        sharding = NamedSharding(sharding.mesh, P())
    # Pages that nobody writes to take no memory; where they are aligned, a CPU does not copy them.
    pages = np.zeros(math.prod(v.shape) * np.dtype(v.dtype).itemsize + ALIGNMENT, np.uint8)
    start = -pages.ctypes.data % ALIGNMENT
    return jax.device_put(np.ndarray(v.shape, v.dtype, pages, start), sharding)
