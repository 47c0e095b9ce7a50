"""Converted modules of token ids: x are the ids, the rest of the module's inputs come with them."""

from __future__ import annotations

import dataclasses
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np

import jaxeval as je
from jaxeval.cpu import RewrittenOnCpus

from .forward import Forward
from .graph import ConversionError
from .tensors import to_jax


def with_embedding(tokens: je.Tokens, module: Any) -> je.Tokens:
    """The tokens with the name of the module's layer of embeddings, if it tells."""
    own = getattr(module, "get_input_embeddings", None)
    if tokens.embedding is not None or tokens.embed is not None or own is None:
        return tokens
    try:
        layer = own()
    except (NotImplementedError, AttributeError):
        return tokens
    names = [name for name, part in module.named_modules() if part is layer]
    return dataclasses.replace(tokens, embedding=names[0]) if names else tokens


def check_ids(inputs: dict[str, Any], names: tuple[str, ...] | None) -> None:
    """Check that the example begins with token ids, and has names for what follows."""
    first, *rest = inputs.values()
    if first.is_floating_point() or first.ndim != 2:
        raise TypeError(
            "from_torch(tokens=...): the first input of the example must be the token ids, whole "
            f"numbers [N, T], got {str(first.dtype).removeprefix('torch.')}{list(first.shape)}"
        )
    if rest and names is None:
        raise TypeError(
            "from_torch(tokens=...): give an example of several inputs by keyword, such as "
            '{"input_ids": ids, "attention_mask": mask}'
        )


def of_tokens(
    model: je.Model,
    tokens: je.Tokens | None,
    inputs: dict[str, Any],
    expected: Any,
    outputs: str,
    shorter: bool = False,
) -> je.Model:
    """The converted model as one of token ids; unchanged without `tokens`.

    Args:
      shorter: whether texts may be shorter than those of the example.

    Raises:
      ConversionError: the model from its embeddings gives other logits than from its ids.
    """
    model = dataclasses.replace(model, outputs=outputs)
    if tokens is None:
        return model
    name, *_ = inputs
    arrays = {k: to_jax(v) for k, v in inputs.items()}
    ids = arrays.pop(name)

    def on_ids(fn: Any) -> Any:
        if fn is None:
            return None
        wrapped = isinstance(fn, RewrittenOnCpus)
        forward = cast(Forward, fn.fn if wrapped else fn)
        forward = dataclasses.replace(forward, ids=name, length=ids.shape[1], shorter=shorter)
        return RewrittenOnCpus(forward) if wrapped else forward

    example = jax.ShapeDtypeStruct((1, *ids.shape[1:]), jnp.int32)
    made = dataclasses.replace(
        model,
        apply=on_ids(model.apply),
        hidden=on_ids(model.hidden),
        tokens=tokens,
        example=example,
    )
    if tokens.embed is None:
        _compare(made, ids, arrays, expected)
    return made


def _compare(model: je.Model, ids: Any, inputs: dict[str, Any], expected: Any) -> None:
    """Check that the model from the embeddings is the model."""
    try:
        new, e, more, _ = je.embedded(model, ids, inputs)
    except ValueError:  # not found: an error says so once a method needs it
        if model.tokens is not None and model.tokens.embedding is not None:
            raise
        return
    with jax.default_matmul_precision("highest"):
        logits = np.asarray(dataclasses.replace(new, inputs=more)(e), np.float64)
    error, scale = np.abs(logits - expected.logits).max(), np.abs(expected.logits).max()
    if not error <= expected.tolerance * scale:
        raise ConversionError(
            f"the logits from the embeddings differ from the module's by {error:.3g}, "
            f"{error / scale:.3g} of the largest: name the layer that reads the table at the ids, "
            "Tokens(embedding=...)"
        )
