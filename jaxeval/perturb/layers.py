"""Randomisation of a model's parameters, layer by layer."""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Callable, Iterator
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal

from .. import check
from ..model import Model
from ..trace.params import layer_of, paths
from ..trace.written import as_written
from ..types import Sample, pytree, static
from .base import Perturbation

LAYER_ORDERS = ("top_down", "bottom_up", "independent")
ALL = "all"
"""The order with a single step that randomises every layer."""
RANDOMISATIONS = ("normal", "reinit", "permute")


class Layer(NamedTuple):
    """A layer's name and the paths of its parameters."""

    name: str
    leaves: tuple[str, ...]


def layer_names(model: Model, x: Any) -> tuple[str, ...]:
    """The names of a model's layers with parameters, in the order of the forward pass.

    These are the names that metrics which randomise parameters (MPRT) take as ``layers=``, and
    that results show: the layers that have parameters, each once. `Model.layers` also names what
    has none ("Conv_0/relu") and further calls of a layer ("Conv_0@2").

    Args:
      model: a JAX model with parameters.
      x: inputs [N, ...]; only their shape and type matter.

    >>> import jax.numpy as jnp
    >>> params = {"a": {"w": jnp.ones((2, 2))}, "b": {"w": jnp.ones((4, 2))}}
    >>> model = Model(lambda p, x: x @ p["b"]["w"] @ p["a"]["w"], params)
    >>> layer_names(model, jnp.ones((1, 4)))
    ('b', 'a')
    """
    if model.host:
        raise TypeError("a host model does not show its layers: give a JAX model with parameters")
    one = jax.ShapeDtypeStruct(np.shape(x)[1:], jnp.result_type(x))
    return tuple(layer.name for layer in parameter_layers(model, one))


def parameter_layers(model: Model, x: Any) -> tuple[Layer, ...]:
    """The model's layers, in the order in which the forward pass first uses their parameters.

    Found by tracing the model: a parameter is used by the first operation that combines it, or a
    value computed from parameters only, with a value that depends on the input. Leaves whose paths
    differ only in the last part form one layer. Parameters that are never used are left out.

    Args:
      x: one sample's input, or its shape and dtype.
    """
    names = paths(model.params)
    trained = [not _is_state(model.params, n) for n in names]
    with as_written():
        jaxpr = jax.make_jaxpr(lambda *given: model.apply(*given))(*model.like(x, rows=1))
    found: dict[str, list[str]] = {}
    for i in _call_order(jaxpr, len(names)):
        if trained[i]:
            found.setdefault(layer_of(names[i]), []).append(names[i])
    return tuple(Layer(name, tuple(leaves)) for name, leaves in found.items())


def _is_state(params: Any, path: str) -> bool:
    return isinstance(params, dict) and "params" in params and path.split("/")[0] != "params"


class _Value(NamedTuple):
    """A traced value: whether it depends on the input; if not, the parameters it depends on."""

    of_input: bool = False
    leaves: tuple[int, ...] = ()


def _call_order(closed: ClosedJaxpr, n_leaves: int) -> list[int]:
    """Indices of the parameter leaves in the order of their first use, without repeats."""
    used: dict[int, None] = {}

    def visit(jaxpr: Jaxpr, given: list[_Value]) -> list[_Value]:
        env = dict(zip(jaxpr.invars, given, strict=True))

        def read(v: Any) -> _Value:
            return _Value() if isinstance(v, Literal) else env.get(v, _Value())

        for eqn in jaxpr.eqns:
            ins = [read(v) for v in eqn.invars]
            inner = [visit(sub, [ins[i] for i in at]) for sub, at in _inner(eqn)]
            of_input = any(v.of_input for v in ins)
            leaves = tuple(dict.fromkeys(i for v in ins for i in v.leaves))
            if inner:
                of_input |= any(v.of_input for outs in inner for v in outs)
                leaves = tuple(i for i in leaves if i not in used) if of_input else leaves
            elif of_input:
                used.update(dict.fromkeys(leaves))
            out = _Value(True) if of_input else _Value(False, leaves)
            exact = inner[0] if len(inner) == 1 and len(inner[0]) == len(eqn.outvars) else None
            env.update(zip(eqn.outvars, exact or [out] * len(eqn.outvars), strict=True))
        return [read(v) for v in jaxpr.outvars]

    n_inputs = len(closed.jaxpr.invars) - n_leaves
    given = [_Value(False, (i,)) for i in range(n_leaves)] + [_Value(True)] * n_inputs
    visit(closed.jaxpr, given)
    return list(used)


def _inner(eqn: Any) -> Iterator[tuple[Jaxpr, list[int]]]:
    """The jaxprs inside an equation, each with the positions of its inputs among the equation's."""
    n = len(eqn.invars)
    if eqn.primitive.name == "while":
        c, b = eqn.params["cond_nconsts"], eqn.params["body_nconsts"]
        yield eqn.params["cond_jaxpr"].jaxpr, [*range(c), *range(c + b, n)]
        yield eqn.params["body_jaxpr"].jaxpr, list(range(c, n))
        return
    for value in eqn.params.values():
        for item in value if isinstance(value, (tuple, list)) else (value,):
            jaxpr = getattr(item, "jaxpr", item)
            # A call has the equation's inputs; a branch of `cond` all but the index.
            if isinstance(jaxpr, Jaxpr) and len(jaxpr.invars) <= n:
                yield jaxpr, list(range(n - len(jaxpr.invars), n))


@pytree
class RandomiseLayers(Perturbation):
    """Each step randomises the parameters of some layers; all steps repeat for `n_seeds` seeds.

    `order`: "top_down" and "bottom_up" cascade from the output or from the input: step s randomises
    the first s + 1 layers in that order. "independent" randomises only layer s, counted from the
    output. "all" has one step per seed, which randomises all layers: the end of a cascade.
    `randomise`: "normal" draws normal values with the mean and standard deviation of each
    parameter, "permute" permutes its entries, "reinit" runs the model's initialisation.
    `draws`: random parameters, a pytree like the model's with a leading axis [n_seeds].
    `names`: the layers to randomise (None: all), in any order.
    """

    changes_params: ClassVar[bool] = True
    takes_padding: ClassVar[bool] = True
    takes_ids: ClassVar[bool] = True

    order: str = static("top_down")
    randomise: str = static("normal")
    n_seeds: int = static(1)
    names: tuple[str, ...] | None = static(None)
    draws: Any = None
    # Filled in by bind:
    layers: tuple[Layer, ...] = static(())
    init: Callable[..., Any] | None = static(None)
    input: tuple[Any, ...] = static(())

    def bind(self, model: Model, sample: Sample) -> RandomiseLayers:
        found = parameter_layers(model, sample.x)
        known = [layer.name for layer in found]
        for name in self.names or ():
            if name not in known:
                raise ValueError(
                    f"layers={self.names!r}: the model has no layer {name!r}, only "
                    f"{check.among(known, 'jaxeval.layer_names(model, x)', name)} "
                    f"(those with parameters){_hint(name, known)}"
                )
        if self.names is not None:
            found = tuple(layer for layer in found if layer.name in self.names)
        if not found:
            raise ValueError("the model has no parameters that its output depends on")
        if self.randomise == "reinit" and model.init is None and self.draws is None:
            raise ValueError(
                'randomise="reinit" needs the model\'s own initialisation: give Model(init=...), '
                'or use randomise="normal" or "permute"'
            )
        if self.draws is not None:
            self._check_draws(model.params)
        elif self.randomise == "reinit":
            _check_init(model, sample.x, {path for layer in found for path in layer.leaves})
        shape = (tuple(sample.x.shape), str(sample.x.dtype))
        return dataclasses.replace(
            self,
            layers=found if self.order == "bottom_up" else found[::-1],
            init=model.init if self.randomise == "reinit" else None,
            input=shape if self.randomise == "reinit" else (),
        )

    def _check_draws(self, params: Any) -> None:
        wanted = jax.tree.map(lambda p: (self.n_seeds, *np.shape(p)), params)
        if jax.tree.structure(self.draws) != jax.tree.structure(params) or jax.tree.leaves(
            jax.tree.map(np.shape, self.draws), is_leaf=lambda v: isinstance(v, tuple)
        ) != jax.tree.leaves(wanted, is_leaf=lambda v: isinstance(v, tuple)):
            raise ValueError(
                "draws must be a pytree like the model's params, each leaf with a leading axis "
                f"of n_seeds = {self.n_seeds}"
            )

    @property
    def n_stages(self) -> int:
        """The number of steps per seed."""
        return 1 if self.order == ALL else len(self.layers)

    @property
    def stages(self) -> tuple[str, ...]:
        """For each step of a seed, the layer that it randomises, or the last one of a cascade."""
        return tuple(layer.name for layer in self.layers)[-self.n_stages :]

    def n_steps(self, sample: Sample) -> int:
        return self.n_seeds * self.n_stages

    def params(self, params: Any, key: Any, step: Any) -> Any:
        seed, position = step // self.n_stages, step % self.n_stages
        key = jax.random.fold_in(key, seed)
        rank = {path: i for i, layer in enumerate(self.layers) for path in layer.leaves}
        leaves, treedef = jax.tree.flatten(params)
        names = paths(params)
        if self.draws is not None:
            new = [d[seed] for d in jax.tree.leaves(self.draws)]
        elif self.randomise == "reinit":
            assert self.init is not None
            fresh = self.init(key, jnp.zeros((1, *self.input[0]), self.input[1]))
            drawn = dict(zip(paths(fresh), jax.tree.leaves(fresh), strict=True))
            new = [drawn.get(name, p) for name, p in zip(names, leaves, strict=True)]
        elif self.randomise == "permute":
            old = zip(names, leaves, strict=True)
            new = [_permuted(key, n, p) if n in rank else p for n, p in old]
        else:
            new = _redrawn(key, dict(zip(names, leaves, strict=True)), rank)

        def leaf(name: str, old: Any, fresh: Any) -> Any:
            if name not in rank:
                return old
            if self.order == ALL:
                return fresh.astype(old.dtype)
            now = rank[name] == position if self.order == "independent" else rank[name] <= position
            return jnp.where(now, fresh.astype(old.dtype), old)

        return jax.tree.unflatten(treedef, [leaf(*v) for v in zip(names, leaves, new, strict=True)])


def _hint(name: str, known: list[str]) -> str:
    """What to randomise instead of a layer without parameters of its own."""
    called = name.partition("@")[0]
    if called in known:
        return f". {name!r} is another call of {called!r}, whose parameters it shares: give that"
    before = max((k for k in known if name.startswith(f"{k}/")), key=len, default=None)
    if before is not None:
        return f". {name!r} comes after {before!r} and has nothing to randomise: give that"
    return check.did_you_mean(name, known)


def _check_init(model: Model, x: Any, wanted: set[str]) -> None:
    """Check that the model's initialisation returns every parameter to be randomised."""
    one = jax.ShapeDtypeStruct((1, *x.shape), x.dtype)
    assert model.init is not None
    fresh = jax.eval_shape(model.init, jax.eval_shape(lambda: jax.random.key(0)), one)
    made = {p: v.shape for p, v in zip(paths(fresh), jax.tree.leaves(fresh), strict=True)}
    leaves = zip(paths(model.params), jax.tree.leaves(model.params), strict=True)
    for name, leaf in leaves:
        if name in wanted and made.get(name) != np.shape(leaf):
            got = f"one of shape {made[name]}" if name in made else "none"
            raise ValueError(
                f"Model(init=...) must make the parameters that the model has: wanted {name!r} of "
                f"shape {np.shape(leaf)}, and it makes {got}"
            )


def _permuted(key: Any, name: str, p: Any) -> Any:
    # Keyed by path, because the order of leaves differs between traced and concrete dicts.
    key = jax.random.fold_in(key, zlib.crc32(name.encode()))
    return jax.random.permutation(key, p.reshape(-1)).reshape(p.shape)


def _redrawn(key: Any, params: dict[str, Any], chosen: dict[str, int]) -> list[Any]:
    """Normal draws with the mean and standard deviation of each parameter.

    One long draw is split in the order of the paths: a separate draw for each parameter takes
    seconds to compile even for a small network.
    """
    names = sorted(name for name in params if name in chosen)
    draw = jax.random.normal(key, (sum(params[n].size for n in names),))
    ends = np.cumsum([params[n].size for n in names])
    noise = dict(zip(names, jnp.split(draw, ends[:-1]), strict=True))

    def leaf(name: str, p: Any) -> Any:
        if name not in noise:
            return p
        return (p.mean() + p.std() * noise[name].reshape(p.shape)).astype(p.dtype)

    return [leaf(name, p) for name, p in params.items()]
