"""Models of token ids as models of their embeddings, which have gradients."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.ad_checkpoint import checkpoint_name
from jax.core import Tracer

from ..check import LAYERS, among
from ..identity import shapes_of
from ..lifetime import Wrapper, jit, remembered
from ..model import Model, reads_inputs
from ..tokens import ATTENTION, COUNTED, HIDDEN, IDS, KEPT, SPECIAL, Tokens
from .graph import Graph
from .jaxprs import words
from .parts import Operation, Value
from .positions import check_positions

BEFORE = words(
    "convert_element_type broadcast_in_dim reshape squeeze expand_dims concatenate select_n lt ge "
    "gt le add and or max min clamp copy copy_p transpose slice"
)
"""What ids go through before the table is read: casts, shapes, and the wrapping of indices."""


def embedded(model: Model, ids: Any, inputs: Any = None) -> tuple[Model, Any, dict[str, Any], Any]:
    """A model of token ids as a model of their embeddings.

    For methods and metrics that need real-valued inputs: noise on embeddings, or other baselines.

    Args:
      model: a model with `tokens`.
      ids: token ids [N, T].
      inputs: as for `jaxeval.evaluate`.

    Returns:
      ``(model, x, inputs, padding)``: a model of x, the embeddings [N, T, E], with the channel axis
      -1; the inputs that it needs; and, bool [N, T], which tokens do not count. Give all four to
      `jaxeval.evaluate`.

    >>> table = jnp.array([[0.0, 0.0], [1.0, 2.0], [3.0, 4.0]])
    >>> net = lambda p, ids: p["table"][ids].sum(1)
    >>> model = Model(net, {"table": table}, tokens=Tokens())
    >>> new, x, inputs, padding = embedded(model, jnp.array([[1, 2, 0]]))
    >>> x.shape, new(x).tolist(), padding.tolist()
    ((1, 3, 2), [[4.0, 6.0]], [[False, False, True]])
    """
    if model.tokens is None:
        raise TypeError("embedded: the model has no tokens: give Model(tokens=jaxeval.Tokens(...))")
    known = dict(inputs if inputs is not None else model.inputs or {})
    model, x = of_embeddings(dataclasses.replace(model, inputs=known), jnp.asarray(ids, jnp.int32))
    return model, x, model.inputs, ~model.inputs[COUNTED]


def of_embeddings(model: Model, ids: Any) -> tuple[Model, Any]:
    """(the model of embeddings, with the inputs of these rows; the embeddings [N, T, E])."""
    tokens, inputs = model.tokens, dict(model.inputs or {})
    assert tokens is not None
    if model.host:
        raise TypeError(
            "this method needs the gradient with respect to the embeddings, which a host callable "
            "does not show: use a method that needs outputs only, such as FeatureAblation, or "
            "convert the model (jaxeval_torch.from_torch)"
        )
    inputs.setdefault(ATTENTION, tokens.attended(ids))
    inputs[COUNTED] = tokens.counted(ids, inputs)
    made = dataclasses.replace(
        model, apply=Embedded(model.apply, tokens), tokens=None, channel_axis=-1, hidden=None,
        init=None, example=None,
    )  # fmt: skip
    e = embeddings(model, ids)
    inputs.pop(SPECIAL, None)
    return dataclasses.replace(made, inputs={**inputs, IDS: ids}), e


@jit()
def embeddings(model: Model, ids: Any) -> Any:
    """The embeddings [N, T, E] of token ids."""
    tokens = model.tokens
    assert tokens is not None
    if tokens.embed is not None:
        return tokens.embed(model.params, ids)
    graph = Graph(model, ids, precise=False)
    return graph.forward(model.params, ids)[looked_up(graph, tokens)[0]]


@dataclasses.dataclass(frozen=True)
class Embedded(Wrapper):
    """The forward pass from the embeddings: ``(params, e, inputs)``, with the ids among inputs."""

    fn: Callable[..., Any]
    tokens: Tokens
    reads_inputs: ClassVar[bool] = True

    def __call__(self, params: Any, e: Any, inputs: Any) -> Any:
        ids, tokens = inputs[IDS], self.tokens
        given = {k: v for k, v in inputs.items() if k not in HIDDEN}
        if tokens.apply is not None:
            return tokens.apply(params, e, ids, given)
        clean = Model(self.fn, params, inputs=given if reads_inputs(self.fn) else None)
        graph = Graph(clean, ids, precise=False)
        # The name makes it a layer of the new model, too.
        e = checkpoint_name(e, tokens.embedding or "embedding")
        return graph.forward(params, ids, {looked_up(graph, tokens)[0]: e})[graph.out]


def looked_up(graph: Graph, tokens: Tokens) -> tuple[Value, int | None]:
    """(the value of a graph that is the embeddings [N, T, E] of the ids, the number of ids).

    Raises:
      ValueError: it is not found, or not one; the message says what to give.
    """
    tables = [op for op in graph.operations if _reads_table(graph, op)]
    if tokens.embedding is not None:
        value = graph.layer(tokens.embedding)
        wanted = graph.inputs[0].shape
        if len(value.shape) != 3 or value.shape[:2] != wanted:
            raise ValueError(
                f"Tokens(embedding={tokens.embedding!r}) is a layer of the shape "
                f"{list(value.shape)}, and the embeddings of ids {list(wanted)} are [N, T, E]"
            )
        mine = [op for op in tables if _leads_to(graph, op.outs[0], value)]
        return value, mine[-1].ins[0].shape[0] if mine else None
    if len(tables) == 1:
        return tables[0].outs[0], tables[0].ins[0].shape[0]
    found = f"{len(tables)} tables that are read at the ids" if tables else "no such table"
    raise ValueError(
        f"the layer of the embeddings is not clear ({found}): name it, Tokens(embedding=...), one "
        f"of {among(graph.layers, LAYERS)}; or give Tokens(embed=..., apply=...)"
    )


def with_kept(model: Model, ids: Any, inputs: dict[str, Any]) -> tuple[Model, Any]:
    """The model of embeddings and the embeddings, 0 where ``inputs["kept"]`` [N, T, E] is False."""
    kept = inputs[KEPT]
    model, e = of_embeddings(dataclasses.replace(model, inputs=inputs), ids)
    rest = {k: v for k, v in model.inputs.items() if k != KEPT}
    return dataclasses.replace(model, inputs=rest), jnp.where(kept, e, jnp.zeros((), e.dtype))


def embedding_size(model: Model, x: Any) -> int:
    """E, of embeddings [N, T, E]; x: shape and dtype of one sample."""
    ids = model.like(x)[1]
    return embeddings.eval_shape(dataclasses.replace(model, inputs=model.inputs), ids).shape[-1]


def vocabulary(model: Model, x: Any) -> int | None:
    """The number of ids that the model has embeddings for; None if it does not show.

    Args:
      x: shape and dtype of one sample.

    Raises:
      ValueError: the table of positions is shorter than the text.
    """
    tokens = model.tokens
    if tokens is None or model.host:
        return None
    known = remembered(model.apply)
    key = ("vocabulary", *shapes_of((model.params, model.inputs)), tokens, tuple(x.shape))
    if key not in known:
        check_positions(model, x)
        known[key] = None if tokens.embed is not None else _vocabulary(model, tokens, x)
    return known[key]


def _vocabulary(model: Model, tokens: Tokens, x: Any) -> int | None:
    rows = model.like(x)[1]
    spec = jax.ShapeDtypeStruct(rows.shape, rows.dtype)

    def of_rows(v: Any) -> np.ndarray:
        return np.zeros((rows.shape[0], *np.shape(v)[1:]), jnp.result_type(v))

    traced = dataclasses.replace(model, inputs=jax.tree.map(of_rows, model.inputs))
    try:
        return looked_up(Graph(traced, spec), tokens)[1]
    except (ValueError, TypeError, NotImplementedError):
        if tokens.embedding is not None:
            raise
        return None  # methods that need it say so


def check_ids(ids: Any, size: int | None, what: str = "x") -> None:
    """Check token ids [N, T] whose values are known.

    Args:
      size: the number of rows of the table of embeddings; None if the model does not show it.

    Raises:
      ValueError: negative ids, ids beyond int32 or outside of the table, whose rows JAX would read
        as other rows.
    """
    ids = np.asarray(ids)
    if ids.min(initial=0) < 0:
        raise ValueError(f"{what} holds the token id {ids.min()}: ids count from 0")
    if ids.max(initial=0) > np.iinfo(np.int32).max:
        raise ValueError(f"{what} holds the token id {ids.max()}: ids are below 2**31")
    if size is not None and ids.max(initial=0) >= size:
        raise ValueError(
            f"{what} holds the token id {ids.max()}, in sample "
            f"{int((ids >= size).any(1).argmax())}, but the model has embeddings for the ids "
            f"0..{size - 1}"
        )


def check_removal(owner: str, value: Any, size: int | None, tokens: Tokens) -> None:
    """Check that what removed tokens become are rows of the table of embeddings, of `size` rows.

    Args:
      value: a metric or an explainer, with those that it holds.
      size: None if the model does not show it.

    Raises:
      ValueError: an id that is none; JAX would read another row.
    """
    if not dataclasses.is_dataclass(value) or isinstance(value, type):
        return
    last = np.iinfo(np.int32).max if size is None else size - 1
    for field in dataclasses.fields(value):
        given = getattr(value, field.name, None)
        if field.name != "baseline" or getattr(value, "baseline_of_layer", False):
            check_removal(owner, given, size, tokens)
        elif (known := _removed(given, tokens, value)) is not None and known > last:
            has = "" if size is None else f", as the model has embeddings for the ids 0..{last}"
            raise ValueError(f"{owner}: baseline={known} is no id of a token{has}")


def _removed(given: Any, tokens: Tokens, owner: Any) -> int | None:
    """The id that stands for a removed token, if there is one."""
    if isinstance(given, str):
        named = {"mask": tokens.mask, "pad": tokens.pad, "delete": tokens.pad}
        if given not in named and getattr(owner, "on_tokens", "") == "ids":
            given = "mask" if tokens.mask is not None else "pad"
        return named.get(given)
    if (
        given is None
        or isinstance(given, Tracer)
        or np.ndim(given)
        or not hasattr(given, "__int__")
    ):
        return None
    return tokens.pad if int(given) < 0 else int(given)


def _reads_table(graph: Graph, operation: Operation) -> bool:
    """Whether an operation reads rows of a table [V, E] at the ids."""
    if operation.name != "gather" or operation.ins[0] in operation.active:
        return False
    table, out = operation.ins[0], operation.outs[0]
    ids = graph.inputs[0].shape
    if len(table.shape) != 2 or not table.inexact or np.prod(out.shape[:-1]) != np.prod(ids):
        return False
    seen, todo = set(), [v for v in operation.ins[1:] if v in operation.active]
    if not todo:
        return False
    while todo:
        value = todo.pop()
        made = graph.made.get(value)
        if value in seen or made is None:
            continue
        seen.add(value)
        if made.name not in BEFORE:
            return False
        todo += made.active
    return out.shape[:-1] == ids


def _leads_to(graph: Graph, source: Value, value: Value) -> bool:
    """Whether `value` is computed from `source`."""
    seen, todo = set(), [value]
    while todo:
        at = todo.pop()
        if at is source:
            return True
        if at not in seen and (made := graph.made.get(at)) is not None:
            seen.add(at)
            todo += made.ins
    return False
