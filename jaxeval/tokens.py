"""Token ids as inputs: which of them are features, and what removing one means."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from .check import TOKEN_BASELINES, one_of

DELETED, PADDED = -1, -2
"""What stands in queries for a token that is deleted, and for one that becomes padding."""
IDS, COUNTED, ATTENTION = "input_ids", "counted", "attention_mask"
"""Names of inputs: the clean ids, which tokens are features, and which tokens are attended to."""
FIRST = "first_piece"
"""The name of an input: where the word of each token begins (`jaxeval.words`)."""
KEPT = "kept"
"""The name of an input: which entries of the embeddings stay, the others are set to zero."""
SPECIAL, POSITIONS = "special_tokens_mask", "position_ids"
HIDDEN = (IDS, COUNTED, SPECIAL, KEPT, FIRST)
"""Inputs that are not given to the model."""
SIDES = ("right", "left")


@dataclasses.dataclass(frozen=True)
class Tokens:
    """What the integers in the inputs of a language model mean; `Model(tokens=...)`.

    The features of a text are its tokens, except padding and special tokens, which never count and
    are never changed.

    Args:
      embedding: the name of the layer that looks up the embeddings of the tokens, as in
        `Model.layers`; None: the layer is found if there is only one. For methods that need
        gradients.
      mask: the id of the mask token, which stands in for removed tokens; None: there is none.
      pad: the id of padding; None: texts are not padded.
      special: the ids of special tokens ([CLS], [SEP], <s>, ...). If a text itself holds such a
        token, say by position instead which are special: ``inputs={"special_tokens_mask": bool
        [N, T]}``, as tokenizers return it.
      unk: the id of the token for unknown words.
      padding_side: "right" or "left": where a text without padding gets it when tokens are deleted.
        A text that has padding gets it on the same side.
      embed: ``(params, ids [N, T]) -> e [N, T, E]``, the embeddings of the tokens, and
      apply: ``(params, e, ids, inputs) -> outputs [N, K]``, the model from its embeddings, for
        models whose embedding is not a layer.

    >>> Tokens(embedding="embed", mask=103, special=(101, 102))
    Tokens(embedding='embed', mask=103, pad=0, special=(101, 102), unk=None, padding_side='right')
    """

    embedding: str | None = None
    mask: int | None = None
    pad: int | None = 0
    special: tuple[int, ...] = ()
    unk: int | None = None
    padding_side: str = "right"
    embed: Callable[..., Any] | None = dataclasses.field(default=None, repr=False)
    apply: Callable[..., Any] | None = dataclasses.field(default=None, repr=False)

    def __post_init__(self) -> None:
        special = self.special
        if isinstance(special, (int, np.integer)):
            special = (special,)
        object.__setattr__(self, "special", tuple(_id(self, "special", v) for v in special))
        for name in ("mask", "pad", "unk"):
            if (value := getattr(self, name)) is not None:
                object.__setattr__(self, name, _id(self, name, value))
        if self.embedding is not None and not isinstance(self.embedding, str):
            raise TypeError(
                f"Tokens(embedding={self.embedding!r}) must be the name of a layer; a function "
                "(params, ids) -> e is given as embed="
            )
        one_of(self, "padding_side", SIDES)
        if (self.embed is None) != (self.apply is None):
            raise TypeError(
                "Tokens(embed=..., apply=...) go together: embed(params, ids) -> e [N, T, E] and "
                "apply(params, e, ids, inputs) -> outputs"
            )
        if self.mask is not None and self.mask in self.special:
            raise ValueError(
                f"Tokens(mask={self.mask}) is also one of the special tokens, which never count: "
                "leave it out of special="
            )

    def removal(self, baseline: Any, default: str = "black") -> int:
        """The id that stands in queries for a removed token.

        Args:
          baseline: "mask", "pad", "delete", an id, or `default`: the mask token, or padding if
            there is none.

        Raises:
          ValueError, TypeError: no way to remove a token; the message says what there is.
        """
        if isinstance(baseline, str):
            known = {"mask": self.mask, "pad": self.pad, "delete": self.pad}
            if baseline == default:
                baseline = "mask" if self.mask is not None else "pad"
            if baseline in known and known[baseline] is not None:
                return {"mask": self.mask, "pad": PADDED, "delete": DELETED}[baseline]  # type: ignore[return-value]
            if baseline in known:
                lacks = "mask" if baseline == "mask" else "pad"
                raise ValueError(
                    f"baseline={baseline!r} needs the id of {_NAMES[lacks]}, and this model has "
                    f"Tokens({lacks}=None): give that, another baseline, or an id"
                )
        elif not isinstance(baseline, Tracer):
            value = np.asarray(baseline)
            if value.dtype.kind in "iu" and value.ndim == 0 and value >= 0:
                return PADDED if int(value) == self.pad else int(value)
        raise ValueError(
            f"baseline={baseline!r} is no way to remove a token: give "
            f"{', '.join(map(repr, TOKEN_BASELINES))} or the id of a token"
        )

    def counted(self, ids: Any, inputs: Mapping[str, Any], padding: Any = None) -> Any:
        """Which tokens are features, bool [N, T].

        Args:
          padding: True at tokens that are not, in addition to padding and special tokens.
        """
        xp = np if isinstance(ids, np.ndarray) else jnp
        if (known := inputs.get(COUNTED)) is not None:
            counted = known
        elif (special := inputs.get(SPECIAL)) is not None:
            counted = xp.asarray(special) == 0
            given = inputs.get(ATTENTION)
            if given is not None:
                counted &= xp.asarray(given) != 0
            elif self.pad is not None and self.pad not in self.special:
                counted &= ids != self.pad
        else:
            never = [v for v in (*self.special, self.pad) if v is not None]
            counted = ~xp.isin(ids, xp.asarray(never, ids.dtype))
            if (given := inputs.get(ATTENTION)) is not None:
                counted &= xp.asarray(given) != 0
        return counted if padding is None else counted & ~padding

    def attended(self, ids: Any) -> Any:
        """Which tokens are no padding, int32 [N, T]: the attention mask if none is given."""
        xp = np if isinstance(ids, np.ndarray) else jnp
        there = xp.ones(ids.shape, xp.int32) if self.pad is None else ids != self.pad
        return there.astype(xp.int32)

    def asked(
        self, x: Any, inputs: Mapping[str, Any] | None, clean: bool = False
    ) -> tuple[Any, dict[str, Any]]:
        """The ids and the inputs that the model is called with.

        A token that became padding is not attended to; where tokens were deleted, the rest of the
        text moves up, with its inputs.

        Args:
          x: ids [N, T], `DELETED` and `PADDED` for removed tokens.
          inputs: {name: [N, ...]}, with the clean ids if x is a query.
          clean: whether x is known to have no removed tokens.
        """
        inputs = dict(inputs or {})
        x = x if isinstance(x, jax.Array) else jnp.asarray(x)
        given = {k: jnp.asarray(v) for k, v in inputs.items() if k not in HIDDEN}
        attended = given.setdefault(ATTENTION, self.attended(inputs.get(IDS, x)))
        if clean or self.pad is None:
            return x, given
        given[ATTENTION] = jnp.where(x < 0, jnp.zeros((), attended.dtype), attended)
        deleted = x == DELETED
        x = jnp.where(x < 0, jnp.asarray(self.pad, x.dtype), x)
        moved = lambda args: _moved(self.pad, self.padding_side, attended, *args)  # noqa: E731
        return jax.lax.cond(deleted.any(), moved, lambda args: args[1:], (deleted, x, given))


_NAMES = {"mask": "a mask token", "pad": "padding"}


def _moved(
    pad: Any, side: str, attended: Any, gone: Any, x: Any, given: dict[str, Any]
) -> tuple[Any, dict[str, Any]]:
    """The texts without the tokens that are `gone` [N, T]; padding takes their room.

    It goes to the side where the clean text has its own, and to `side` if that has none, or both.
    """
    length = x.shape[1]
    before, behind = attended[:, :1] == 0, attended[:, -1:] == 0
    at_end = jnp.where(before == behind, side == "right", behind)
    number = gone.sum(1, keepdims=True)
    rank = jnp.where(gone, 2 * length, jnp.arange(length))
    source = jnp.argsort(jnp.where(at_end, rank, jnp.where(gone, -1, rank)), axis=1, stable=True)
    place = jnp.arange(length)
    empty = jnp.where(at_end, place >= length - number, place < number)

    def move(name: str, v: Any) -> Any:
        if v.ndim < 2 or v.shape[1] != length:
            return v
        axes = tuple(range(2, v.ndim))
        if name == POSITIONS:  # the remaining tokens count anew
            return jnp.take_along_axis(v, jnp.maximum(place - ~at_end * number, 0), 1)
        rest = jnp.take_along_axis(v, jnp.expand_dims(source, axes), 1)
        return jnp.where(jnp.expand_dims(empty, axes), jnp.zeros((), v.dtype), rest)

    x = jnp.where(empty, jnp.asarray(pad, x.dtype), jnp.take_along_axis(x, source, 1))
    return x, {name: move(name, v) for name, v in given.items()}


def _id(owner: Tokens, name: str, value: Any) -> int:
    whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
    if not whole or value < 0:
        raise TypeError(
            f"Tokens({name}=...) must be the id of a token, a whole number from 0 on, got {value!r}"
        )
    return int(value)


def of_tokenizer(tokenizer: Any, **more: Any) -> Tokens:
    """The `Tokens` of a Hugging Face tokenizer; `more` are further fields.

    Special tokens are `all_special_ids` without the mask token, the token of unknown words and
    padding.
    """
    mask, pad = tokenizer.mask_token_id, tokenizer.pad_token_id
    unk = getattr(tokenizer, "unk_token_id", None)
    # Some tokenizers, such as GPT-2's, name the end of a text as their unknown token, too.
    ends = [getattr(tokenizer, f"{name}_token_id", None) for name in ("bos", "eos", "cls", "sep")]
    words = {mask, pad} | ({unk} - set(ends))
    special = tuple(i for i in tokenizer.all_special_ids if i not in words)
    side = getattr(tokenizer, "padding_side", None)
    given: dict[str, Any] = {"mask": mask, "pad": pad, "special": special, "unk": unk}
    given |= {"padding_side": side} if side in SIDES else {}
    return Tokens(**given, **more)


def read_tokens(given: Any) -> Tokens | None:
    """`Tokens`, from an instance or a tokenizer."""
    if given is None or isinstance(given, Tokens):
        return given
    if hasattr(given, "all_special_ids") and hasattr(given, "pad_token_id"):
        return of_tokenizer(given)
    raise TypeError(
        "tokens must be jaxeval.Tokens(...) or a Hugging Face tokenizer, got "
        f"{type(given).__name__}"
    )
