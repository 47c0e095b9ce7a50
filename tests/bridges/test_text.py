"""torch modules of token ids: converted, wrapped, in a file, and explained by captum."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from jaxeval_torch import captum_explainer, from_onnx, from_torch, wrap_torch
from torch import nn

import jaxeval as je

PAD, CLS, SEP, MASK, V, T, E = 0, 1, 2, 4, 40, 7, 8
TOKENS = je.Tokens(mask=MASK, pad=PAD, special=(CLS, SEP))


class Reader(nn.Module):
    """One head of masked self-attention over words and places, and the mean of what it reads."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.places = nn.Embedding(V, E), nn.Embedding(T, E)
        self.query, self.value, self.out = nn.Linear(E, E), nn.Linear(E, E), nn.Linear(E, 3)

    def get_input_embeddings(self) -> nn.Module:
        return self.words

    def forward(self, input_ids: Any, attention_mask: Any, token_type_ids: Any = None) -> Any:
        there = attention_mask.to(self.words.weight.dtype)
        x = self.words(input_ids) + self.places(torch.arange(input_ids.shape[1]))
        if token_type_ids is not None:
            x = x + token_type_ids[..., None].to(x.dtype)
        scores = self.query(x) @ x.transpose(1, 2) / E**0.5 + (1 - there[:, None]) * -1e9
        h = torch.tanh(scores.softmax(-1) @ self.value(x)) * there[..., None]
        return {"logits": self.out(h.sum(1) / there.sum(1, keepdim=True))}


def texts() -> np.ndarray:
    rng, ids = np.random.default_rng(0), np.zeros((5, T), int)
    for row, k in zip(ids, (5, 1, 3, 4, 2), strict=True):
        row[: k + 2] = [CLS, *rng.integers(5, V, k), SEP]
    return ids


@pytest.fixture(scope="module")
def net() -> Any:
    torch.manual_seed(0)
    made = Reader().eval()
    with torch.no_grad():
        for p in made.parameters():
            p.mul_(2.0)
    return made


IDS = texts()


def example(**more: Any) -> dict[str, Any]:
    given = {"input_ids": IDS, "attention_mask": (IDS != PAD).astype(np.int64), **more}
    return {k: torch.from_numpy(v[:2]) for k, v in given.items()}


@pytest.fixture(scope="module")
def model(net) -> je.Model:
    return from_torch(net, example(), tokens=TOKENS, cache=False)


@pytest.fixture(scope="module")
def logits(net) -> np.ndarray:
    with torch.no_grad():
        ids = torch.from_numpy(IDS)
        return net(ids, (ids != PAD).long())["logits"].numpy()


def test_a_converted_module_of_ids(net, model, logits):
    np.testing.assert_allclose(np.asarray(model(IDS)), logits, rtol=1e-5, atol=1e-5)
    assert model.tokens.embedding == "words"
    assert "words" in model.layers()
    with pytest.raises(ValueError, match="converted for texts of up to T = 7 tokens and got 9"):
        model(np.pad(IDS, ((0, 0), (0, 2))))


def test_texts_of_other_lengths(net, model):
    """Shorter ones, by ids and embeddings, are torch's; a module of one length says so."""
    for n in (5, 1):
        short = IDS[:, :n]
        with torch.no_grad():
            given = torch.from_numpy(short)
            wanted = net(given, (given != PAD).long())["logits"].numpy()
        np.testing.assert_allclose(np.asarray(model(short)), wanted, rtol=1e-5, atol=1e-5)
        new, e, inputs, _ = je.embedded(model, short)
        got = dataclasses.replace(new, inputs=inputs)(e)
        np.testing.assert_allclose(np.asarray(got), wanted, rtol=1e-5, atol=1e-5)

    longer = {k: nn.functional.pad(v, (0, 2), value=1) for k, v in example().items()}
    with pytest.raises(ValueError, match="texts of T = 9 tokens: index out of range"):
        from_torch(net, longer, tokens=TOKENS, cache=False)

    class Fixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.words, self.out = nn.Embedding(V, 4), nn.Linear(4 * T, 3)

        def forward(self, input_ids: Any) -> Any:
            return self.out(self.words(input_ids).flatten(1))

    fixed = from_torch(Fixed().eval(), torch.from_numpy(IDS[:2]), tokens=TOKENS, cache=False)
    assert fixed(IDS).shape == (len(IDS), 3)
    with pytest.raises(ValueError, match=f"for texts of T = {T} tokens and got 5: pad or cut"):
        fixed(IDS[:, :5])


METRICS = {
    "comp": je.AOPCComprehensiveness(),
    "suff": je.AOPCSufficiency(baseline="delete"),
    "loo": je.LOOCorrelation(baseline="pad"),
}


def test_a_wrapped_module_scores_the_same(net, model, logits):
    wrapped = wrap_torch(net, tokens=TOKENS)
    np.testing.assert_allclose(np.asarray(wrapped(IDS)), logits, rtol=1e-5, atol=1e-5)
    explainers = {"LOO": je.explain.FeatureAblation(), "shap": je.explain.KernelShap(n_samples=20)}
    kept = {"explainers": explainers, "metrics": METRICS, "progress": False}
    ours, theirs = (je.evaluate(m, IDS, **kept) for m in (model, wrapped))
    for cell, out in ours.outcomes.items():
        np.testing.assert_allclose(
            out.score, theirs.outcomes[cell].score, rtol=1e-4, atol=1e-5, err_msg=str(cell)
        )
    with pytest.raises(je.EvaluationError, match="gradient with respect to the embeddings"):
        je.attribute(je.explain.Saliency(), wrapped, IDS)


def test_integrated_gradients_of_captum(net, model, logits):
    pytest.importorskip("captum")
    y = logits.argmax(1)

    def masked(ids: Any) -> Any:
        return torch.where(ids > SEP, torch.tensor(MASK), ids)

    theirs = captum_explainer(
        "LayerIntegratedGradients", net, layer="words", n_steps=12, baselines=masked
    )
    ours = je.explain.IntegratedGradients(n_steps=12, baseline="mask")
    a, b = (np.asarray(je.attribute(e, model, IDS, y)) for e in (ours, theirs))
    np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
    scored = je.score(METRICS["comp"], model, IDS, y, explainer=theirs)
    np.testing.assert_allclose(
        scored.score, je.score(METRICS["comp"], model, IDS, y, a).score, rtol=1e-4, atol=1e-5
    )


def test_deletion_is_the_shorter_text_asked_alone(net, model, logits):
    y, a = logits.argmax(1), np.tile(np.arange(T, 0, -1.0, dtype=np.float32), (len(IDS), 1))
    metric = je.AOPCComprehensiveness(bins=(0.01,), baseline="delete", output="logit")
    got = je.score(metric, model, IDS, y, a).score
    for i, row in enumerate(IDS):
        short = torch.from_numpy(np.delete(row[row != PAD], 1)[None])  # without the first word
        with torch.no_grad():
            z = net(short, torch.ones_like(short))["logits"].numpy()[0, y[i]]
        np.testing.assert_allclose(got[i], logits[i, y[i]] - z, rtol=1e-4, atol=1e-5)


def test_further_inputs_by_name(net):
    types = np.random.default_rng(1).integers(0, 2, IDS.shape)
    model = from_torch(net, example(token_type_ids=types), tokens=TOKENS, cache=False)
    with torch.no_grad():
        ids = torch.from_numpy(IDS)
        z = net(ids, (ids != PAD).long(), torch.from_numpy(types))["logits"].numpy()
    a = np.random.default_rng(2).normal(size=IDS.shape).astype(np.float32)
    wrapped, inputs = wrap_torch(net, tokens=TOKENS), {"token_type_ids": types}
    scores = [
        np.asarray(je.score(METRICS["suff"], m, IDS, z.argmax(1), a, inputs=inputs).score)
        for m in (model, wrapped)
    ]
    np.testing.assert_allclose(*scores, rtol=1e-4, atol=1e-5)
    maps = je.attribute(je.explain.InputXGradient(), model, IDS, z.argmax(1), inputs=inputs)
    assert np.isfinite(np.asarray(maps)).all()
    with pytest.raises(je.EvaluationError, match=r"give inputs=\{'token_type_ids': ...\}"):
        je.score(METRICS["suff"], model, IDS, a=a)


class Scores(nn.Module):
    """The reader with a tensor of logits, for a file."""

    def __init__(self, net: Any) -> None:
        super().__init__()
        self.net = net

    def forward(self, input_ids: Any, attention_mask: Any) -> Any:
        return self.net(input_ids, attention_mask)["logits"]


def test_a_file_of_ids(net, model, logits, tmp_path):
    path = tmp_path / "reader.onnx"
    rows = {0: "n"}
    torch.onnx.export(
        Scores(net).eval(), tuple(example().values()), path, dynamo=True,
        dynamic_shapes={"input_ids": rows, "attention_mask": rows},
    )  # fmt: skip
    table = "net.words.weight"
    read = from_onnx(str(path), tokens=je.Tokens("net.words", MASK, PAD, (CLS, SEP)))
    assert table in read.params["params"]
    np.testing.assert_allclose(np.asarray(read(IDS)), logits, rtol=1e-5, atol=1e-5)
    y, ig = logits.argmax(1), je.explain.IntegratedGradients(n_steps=4, baseline="mask")
    maps = [np.asarray(je.attribute(ig, m, IDS, y)) for m in (read, model)]
    np.testing.assert_allclose(*maps, rtol=1e-4, atol=1e-5)


def test_what_is_refused(net):
    with pytest.raises(TypeError, match="first input of the example must be the token ids"):
        from_torch(net, {"x": torch.ones(2, 3)}, tokens=TOKENS)
    with pytest.raises(TypeError, match="by keyword"):
        from_torch(net, tuple(example().values()), tokens=TOKENS)
    with pytest.raises(TypeError, match="takes no tokens"):
        wrap_torch(net, callback=True, tokens=TOKENS)
