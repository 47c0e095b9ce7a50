"""A small network of token ids, in JAX, and the same in NumPy for one text of any length."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jaxeval as je

PAD, CLS, SEP, MASK, WORDS, V = 0, 1, 2, 3, 4, 24
T, E, K = 9, 6, 3
TOKENS = je.Tokens(embedding="words", mask=MASK, pad=PAD, special=(CLS, SEP))


def params(seed: int = 0) -> dict[str, Any]:
    rng = np.random.default_rng(seed)

    def draw(*shape: int) -> np.ndarray:
        return rng.normal(size=shape).astype(np.float32)

    return {
        "words": {"table": draw(V, E)},
        "places": {"table": 0.4 * draw(T, E)},
        "types": {"table": 0.4 * draw(2, E)},
        "query": {"w": draw(E, E)},
        "value": {"w": draw(E, E)},
        "out": {"w": draw(E, K)},
    }


def apply(p: Any, ids: jax.Array, inputs: Any) -> jax.Array:
    """Mean of self-attention with a mask, over the tokens that are attended to."""
    there = inputs["attention_mask"].astype(jnp.float32)
    # Positions count from the first token that is attended to.
    place = jnp.clip(jnp.cumsum(inputs["attention_mask"], 1) - 1, 0)
    x = jnp.take(p["words"]["table"], ids, axis=0) + p["places"]["table"][place]
    if "token_type_ids" in inputs:
        x = x + p["types"]["table"][inputs["token_type_ids"]]
    scores = jnp.einsum("nte,nse->nts", x @ p["query"]["w"], x) / E**0.5
    scores = jnp.where(there[:, None] > 0, scores, -1e9)
    h = jnp.tanh(jax.nn.softmax(scores, -1) @ (x @ p["value"]["w"]))
    return (h * there[..., None]).sum(1) / there.sum(1, keepdims=True) @ p["out"]["w"]


def reference(
    p: Any, ids: Any, attended: Any = None, types: Any = None, x: Any = None
) -> np.ndarray:
    """The logits [K] of one text of ids, in float64; x: embeddings of words in place of theirs."""
    p = jax.tree.map(lambda v: np.asarray(v, np.float64), p)
    ids = np.asarray(ids)
    keep = np.ones(len(ids), bool) if attended is None else np.asarray(attended) > 0
    x = (p["words"]["table"][ids] if x is None else np.asarray(x, np.float64))[keep]
    x = x + p["places"]["table"][: len(x)]
    if types is not None:
        x = x + p["types"]["table"][np.asarray(types)[keep]]
    scores = (x @ p["query"]["w"]) @ x.T / E**0.5
    weights = np.exp(scores - scores.max(1, keepdims=True))
    h = np.tanh(weights / weights.sum(1, keepdims=True) @ (x @ p["value"]["w"]))
    return h.mean(0) @ p["out"]["w"]


def model(**more: Any) -> je.Model:
    own = {"tokens": TOKENS, "channel_axis": None, **more}
    return je.Model(apply, jax.tree.map(jnp.asarray, params()), **own)


def texts(n: int = 6, seed: int = 1) -> np.ndarray:
    """Ids [n, T]: [CLS] words [SEP] and padding; the first has one word, the second no padding."""
    rng, ids = np.random.default_rng(seed), np.zeros((n, T), int)
    for i in range(n):
        k = {0: 1, 1: T - 2}.get(i, int(rng.integers(2, T - 2)))
        ids[i, : k + 2] = [CLS, *rng.integers(WORDS, V, k), SEP]
    return ids


def left(ids: np.ndarray) -> np.ndarray:
    """The same texts with their padding on the left."""
    return np.stack([np.roll(row, int((row == PAD).sum())) for row in ids])
