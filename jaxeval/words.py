"""Words as features: the pieces of a word are removed and scored together."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer


def words(encoding: Any) -> np.ndarray:
    """The word of each token, int32 [N, T], for ``features=`` of `jaxeval.evaluate`.

    It is ``encoding.word_ids(i)`` of each text, with -1 for tokens of no word (special tokens,
    padding); the words of the second text of a pair are numbered on from those of the first.

    Args:
      encoding: what a fast tokenizer of Hugging Face returns for texts that it padded to a common
        length, ``tokenizer(texts, padding=True)``; or what ``encode_batch`` of the package
        tokenizers does.

    Raises:
      TypeError: a tokenizer that does not know words.
      ValueError: texts of different lengths.

    >>> class Encoding:  # of "unbelievable film"
    ...     word_ids, sequence_ids = [None, 0, 0, 1, None], [None, 0, 0, 0, None]
    >>> words([Encoding])
    array([[-1,  0,  0,  1, -1]], dtype=int32)
    """
    texts = getattr(encoding, "encodings", encoding)
    if hasattr(texts, "word_ids"):
        texts = [texts]
    if not isinstance(texts, (list, tuple)) or not all(hasattr(e, "word_ids") for e in texts):
        raise TypeError(
            "words: give what a fast tokenizer returns, AutoTokenizer.from_pretrained(..., "
            f"use_fast=True)(texts, padding=True); got {type(encoding).__name__}"
            + (" of a tokenizer that does not know words" if texts is None else "")
        )
    rows = [_numbered(e.word_ids, e.sequence_ids) for e in texts]
    if len(lengths := sorted({len(row) for row in rows})) > 1:
        raise ValueError(
            f"words: the texts have different lengths, {lengths[0]} to {lengths[-1]} tokens: let "
            "the tokenizer pad them, tokenizer(texts, padding=True)"
        )
    return np.array(rows, np.int32).reshape(len(rows), -1)


def _numbered(of_words: Any, sequences: Any) -> list[int]:
    """The words of one text or pair, those of a pair's second text after the first's."""
    pairs = [*zip(of_words, sequences, strict=True)]
    offset = 1 + max((w for w, s in pairs if w is not None and not s), default=-1)
    return [-1 if w is None else w + offset * (s or 0) for w, s in pairs]


def first_pieces(features: Any, counted: Any) -> Any:
    """For each token, the position of the first piece of its word, int32 [N, T].

    Args:
      features: the word of each token [N, T], -1 for none.
      counted: which tokens count; one that does not is a word of its own.
    """
    xp = np if isinstance(features, np.ndarray) and isinstance(counted, np.ndarray) else jnp
    features = xp.where(counted, features, -1)
    before = xp.concatenate([xp.full_like(features[:, :1], -1), features[:, :-1]], axis=1)
    place = xp.arange(features.shape[1], dtype=np.int32)
    begins = xp.where((features < 0) | (features != before), place, 0)
    if xp is np:
        return np.maximum.accumulate(begins, axis=1).astype(np.int32)
    return jax.lax.cummax(jnp.asarray(begins), axis=1).astype(np.int32)


def is_first(first: Any) -> Any:
    """Which tokens are the first pieces of their words."""
    xp = np if isinstance(first, np.ndarray) else jnp
    return first == xp.arange(first.shape[-1])


def summed(a: Any, first: Any) -> Any:
    """Maps [N, T] as maps of words: their sums stand at the first pieces, 0 at the others."""
    if isinstance(a, np.ndarray) and isinstance(first, np.ndarray):
        out = np.zeros_like(a)
        np.add.at(out, (np.arange(len(a))[:, None], first), a)
        return out
    mine = first[:, None, :] == jnp.arange(a.shape[1])[:, None]  # scatters add in any order
    return jnp.where(mine, a[:, None, :], jnp.zeros((), a.dtype)).sum(2)


def check_features(features: Any, counted: Any) -> None:
    """Check the words [N, T] of texts, where their values are known.

    Raises:
      ValueError: a word in two places, or with tokens of which some do not count.
    """
    if isinstance(features, Tracer) or isinstance(counted, Tracer):
        return
    for i, (row, counts) in enumerate(zip(np.asarray(features), np.asarray(counted), strict=True)):
        named = np.flatnonzero(row >= 0)
        by_word = named[np.argsort(row[named], kind="stable")]
        same = row[by_word[1:]] == row[by_word[:-1]]
        before, after = by_word[:-1][same], by_word[1:][same]
        if (mixed := counts[before] != counts[after]).any():
            k = int(mixed.argmax())
            raise ValueError(
                f"features: word {row[before[k]]} of sample {i} has tokens that count and tokens "
                f"that do not (tokens {before[k]} and {after[k]}): special tokens and padding "
                "belong to no word, give them -1"
            )
        if (apart := counts[before] & (after != before + 1)).any():
            k = int(apart.argmax())
            raise ValueError(
                f"features: word {row[before[k]]} of sample {i} stands in two places (tokens "
                f"{before[k]} and {after[k]}), but a word is a run of tokens: number the words of "
                "a text through; those of a pair of texts are jaxeval.words(encoding)"
            )


def read_features(features: Any, ids: Any) -> Any:
    """The words int [N, T] of token ids [N, T], checked for type and shape."""
    if not hasattr(features, "dtype"):
        try:
            features = np.asarray(features)
        except ValueError:  # rows of different lengths
            features = np.asarray(features, object)
    if features.dtype == object:
        raise TypeError(
            "features must be whole numbers [N, T], the word of each token and -1 for none: give "
            "jaxeval.words(encoding), which makes them of word_ids()"
        )
    if not np.issubdtype(features.dtype, np.integer):
        raise TypeError(
            f"features must be whole numbers, the word of each token, got {features.dtype}"
        )
    if features.shape != ids.shape:
        raise ValueError(
            f"features must be {list(ids.shape)}, as the token ids, got {list(features.shape)}"
        )
    return features
