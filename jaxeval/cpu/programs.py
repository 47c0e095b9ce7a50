"""Compiled programs whose convolutions run on all cores.

Some versions of jaxlib (`private_jax`) delegate channels-last convolutions to YNNPACK, which runs
most of them on one core. Programs compiled here disable this by a compiler option: on two cores a
convolution with 16 to 64 channels takes 0.6 of the time, with or without strides. Programs
compiled by the user do not have that option; `cores` is for those.

Programs that run once for hundreds of evaluations are compiled with less effort.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any

import jax

from ..lifetime import Jit
from ..private_jax import EFFORT, WITHOUT_YNNPACK, YNNPACK_ON_ONE_CORE
from ..trace import jaxprs
from .cores import available_cores

_OWN: ContextVar[bool] = ContextVar("own", default=False)


def own() -> bool:
    """Whether the current trace will be compiled without YNNPACK."""
    return _OWN.get()


@contextlib.contextmanager
def owning() -> Iterator[None]:
    """Traces inside will be compiled without YNNPACK."""
    token = _OWN.set(True)
    try:
        yield
    finally:
        _OWN.reset(token)


class CpuJit(Jit):
    """`Jit` of a function, compiled for CPUs without YNNPACK if that helps.

    `effort`: how well rather than fast to compile it, see `private_jax.EFFORT`.
    """

    def __init__(self, fn: Callable[..., Any], effort: str = "most", **settings: Any):
        self._effort = effort
        super().__init__(fn, **settings)

    def _make(self) -> Any:
        fn = self._fn

        @functools.wraps(fn)
        def owned(*args: Any) -> Any:
            with owning() if _delegated() else contextlib.nullcontext():
                return fn(*args)

        options = EFFORT[self._effort] | (WITHOUT_YNNPACK if _delegated() else {})
        return super()._make(), jax.jit(owned, compiler_options=options, **self._settings)

    def _of(self, args: tuple[Any, ...]) -> tuple[Any, tuple[Any, ...]]:
        (nested, alone), args = super()._of(args)
        # Inner programs are compiled with the outer program's options and take none.
        return alone if _on_cpus() and not jaxprs.transformed() else nested, args

    def portable(self, *args: Any) -> tuple[Any, tuple[Any, ...]]:
        (nested, _), args = super()._of(args)
        return nested, args


@functools.cache
def _on_cpus() -> bool:
    return jax.default_backend() == "cpu"


def _delegated() -> bool:
    return YNNPACK_ON_ONE_CORE and available_cores() > 1


def program(
    *, effort: str = "most", static_argnums: Any = (), donate_argnums: Any = ()
) -> Callable[[Callable[..., Any]], CpuJit]:
    """Decorator with the settings of `jax.jit`; `effort` see `CpuJit`."""
    return functools.partial(
        CpuJit, effort=effort, static_argnums=static_argnums, donate_argnums=donate_argnums
    )
