"""What models of token ids refuse, and what the errors say to do."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxeval as je
from tests.text.network import CLS, MASK, PAD, SEP, TOKENS, T, V, model, params, reference, texts

IDS, P = texts(), params()
Y = np.array([reference(P, row[row != PAD]).argmax() for row in IDS])
MAPS = np.random.default_rng(2).normal(size=IDS.shape).astype(np.float32)

REFUSED = {
    "float ids": (lambda: score_of(x=IDS.astype(float)), TypeError, "must be token ids, whole"),
    "ids without tokens": (
        lambda: je.score(je.Deletion(), lambda x: x, IDS, Y, MAPS),
        TypeError,
        r"Model\(tokens=jaxeval.Tokens",
    ),
    "a dict": (lambda: score_of(x={"input_ids": IDS}), TypeError, r'give x\["input_ids"\]'),
    "negative ids": (lambda: score_of(x=np.where(IDS, IDS, -1)), ValueError, "ids count from 0"),
    "ids outside of the table": (
        lambda: score_of(x=np.where(IDS == SEP, V, IDS)),
        ValueError,
        rf"token id {V}, in sample 0, but the model has embeddings for the ids 0..{V - 1}",
    ),
    "ids beyond int32": (
        lambda: score_of(x=IDS.astype(np.int64) + 2**32), ValueError, r"ids are below 2\*\*31",
    ),
    "removal by an id outside of the table": (
        lambda: score_of(je.Deletion(baseline=V)),
        ValueError,
        rf"metric '.*': baseline={V} is no id of a token.*0..{V - 1}",
    ),
    "a mask outside of the table": (
        lambda: score_of(je.Deletion(baseline="mask"), tokens=je.Tokens("words", mask=V)),
        ValueError,
        rf"baseline={V} is no id of a token",
    ),
    "an explainer's baseline outside of the table": (
        lambda: je.attribute(je.explain.FeatureAblation(baseline=V), model(), IDS, Y),
        ValueError,
        rf"explainer '.*': baseline={V} is no id of a token",
    ),
    "an explainer's mask outside of the table": (
        lambda: je.attribute(
            je.explain.FeatureAblation(), model(tokens=je.Tokens("words", mask=V)), IDS, Y
        ),
        ValueError,
        rf"explainer '.*': baseline={V} is no id of a token",
    ),
    "ids outside of the table, by itself": (
        lambda: je.explain.FeatureAblation()(model(), np.where(IDS == SEP, V, IDS), Y),
        ValueError,
        rf"FeatureAblation: x holds the token id {V}, in sample 0",
    ),
    "ids beyond int32, by itself": (
        lambda: je.explain.Saliency()(model(), IDS.astype(np.int64) + 2**32, Y),
        ValueError,
        r"Saliency: x holds the token id \d+: ids are below 2\*\*31",
    ),
    "ids of rows with inputs, by themselves": (
        lambda: je.explain.Saliency()(
            dataclasses.replace(model(), inputs={"attention_mask": np.ones_like(IDS)}),
            np.where(IDS == SEP, V, IDS), Y,
        ),
        ValueError,
        rf"Saliency: x holds the token id {V}",
    ),
    "a baseline outside of the table, by itself": (
        lambda: je.explain.IntegratedGradients(baseline=V)(model(), IDS, Y),
        ValueError,
        rf"IntegratedGradients: baseline={V} is no id",
    ),
    "a mask outside of the table, by itself": (
        lambda: je.explain.IntegratedGradients(baseline="mask")(
            model(tokens=je.Tokens("words", mask=V)), IDS, Y
        ),
        ValueError,
        rf"IntegratedGradients: baseline={V} is no id",
    ),
    "a function's ids outside of the table": (
        lambda: function_of()(np.where(IDS[0] == SEP, V, IDS[0]), 0, MAPS[0], 0),
        ValueError,
        rf"x holds the token id {V}",
    ),
    "a function's ids beyond int32": (
        lambda: function_of()(IDS[0].astype(np.int64) + 2**32, 0, MAPS[0], 0),
        ValueError,
        "ids are below 2",
    ),
    "a function's baseline outside of the table": (
        lambda: function_of(je.Deletion(baseline=V))(IDS[0], 0, MAPS[0], 0),
        ValueError,
        rf"Deletion: baseline={V} is no id",
    ),
    "a function's explainer outside of the table": (
        lambda: function_of(explainer=je.explain.FeatureAblation(baseline=V))(IDS[0], 0, None, 0),
        ValueError,
        rf"explainer: baseline={V} is no id",
    ),
    "nothing but special tokens": (
        lambda: score_of(x=np.where(np.arange(6)[:, None] == 4, CLS, IDS)),
        ValueError,
        "no token counts in 1 of 6 texts, the first of them sample 4.*Leave these",
    ),
    "noise": (lambda: score_of(je.PGI()), TypeError, r"jaxeval.embedded\(model, ids, inputs\)"),
    "patches": (lambda: score_of(je.Selectivity()), TypeError, r"jaxeval\.embedded"),
    "blur": (lambda: score_of(je.Insertion()), ValueError, "baseline='blur' is no way to remove"),
    "an array": (
        lambda: score_of(je.Deletion(baseline=np.ones(9))), ValueError, "no way to remove a token",
    ),
    "no mask": (
        lambda: score_of(je.Deletion(baseline="mask"), tokens=je.Tokens("words")),
        ValueError,
        r"needs the id of a mask token, and this model has Tokens\(mask=None\)",
    ),
    "no padding": (
        lambda: score_of(je.Deletion(baseline="delete"), tokens=je.Tokens("words", pad=None)),
        ValueError,
        "needs the id of padding",
    ),
    "images": (
        lambda: je.score(
            je.Deletion(baseline="mask"), lambda x: x, np.ones((2, 4), np.float32), [0, 1],
            np.ones((2, 4), np.float32),
        ),
        ValueError,
        "removes tokens, and these inputs are real-valued",
    ),
    "RISE": (
        lambda: je.attribute(je.explain.RISE(), model(), IDS, Y),
        je.EvaluationError,
        "RISE explains real-valued inputs",
    ),
    "a path to a deletion": (
        lambda: je.attribute(je.explain.IntegratedGradients(baseline="delete"), model(), IDS, Y),
        je.EvaluationError,
        "no path to a deleted token",
    ),
    "rows": (
        lambda: score_of(inputs={"token_type_ids": IDS[:2]}),
        ValueError,
        r"inputs\['token_type_ids'\] must have one row for each of the 6",
    ),
    "another layer": (
        lambda: je.attribute(
            je.explain.Gradient(), model(tokens=je.Tokens("out", MASK)), IDS, Y
        ),
        ValueError,
        "is a layer of the shape",
    ),
    "gradients of a host model": (
        lambda: je.attribute(
            je.explain.Gradient(), je.Model(lambda p, x: x, {}, tokens=TOKENS, host=True), IDS, Y
        ),
        je.EvaluationError,
        "needs the gradient with respect to the embeddings",
    ),
}  # fmt: skip


def function_of(metric: Any = None, explainer: Any = None) -> Any:
    return je.as_function(je.Deletion() if metric is None else metric, model(), explainer)


def score_of(metric: Any = None, x: Any = IDS, tokens: Any = TOKENS, **more: Any) -> Any:
    metric = je.Deletion() if metric is None else metric
    return je.score(metric, model(tokens=tokens), x, Y, MAPS, **more)


@pytest.mark.parametrize("what", REFUSED)
def test_refused(what):
    call, kind, message = REFUSED[what]
    with pytest.raises(kind, match=message):
        call()


def test_refused_settings():
    for given, message in (
        ({"mask": 1.5}, "must be the id of a token"),
        ({"special": ("a",)}, "must be the id of a token"),
        ({"mask": 1, "special": (1,)}, "also one of the special tokens"),
        ({"embed": len}, "go together"),
        ({"embedding": len}, "must be the name of a layer"),
    ):
        with pytest.raises((TypeError, ValueError), match=message):
            je.Tokens(**given)
    with pytest.raises(TypeError, match="Hugging Face tokenizer"):
        model(tokens="bert")


@pytest.mark.parametrize("call", ["score", "explainer", "as_function"])
@pytest.mark.parametrize("constant", [True, False])
def test_a_table_of_positions_that_is_shorter_than_the_texts(call, constant):
    """JAX would read its last row for all positions beyond it."""
    rng = np.random.default_rng(0)
    own = {k: jnp.asarray(rng.normal(size=(n, 3))) for k, n in (("words", V), ("places", T - 2))}
    places = own["places"]

    def apply(p, ids, at):
        table = places if constant else p["places"]
        return jnp.tanh(p["words"][ids] + table[at(ids.shape[1])]).sum(1)

    def net(at):
        return je.Model(lambda p, ids: apply(p, ids, at), own, tokens=model().tokens)

    def asked(net):
        if call == "score":
            return je.score(je.AOPCComprehensiveness(), net, IDS, Y, MAPS).score
        if call == "explainer":
            return je.explain.FeatureAblation()(net, IDS, Y)
        return je.as_function(je.AOPCComprehensiveness(), net)(
            IDS[0], Y[0], MAPS[0], jax.random.key(0)
        ).score

    with pytest.raises(ValueError, match=rf"row {T - 1} of a table with {T - 2} rows .*Cut them"):
        asked(net(jnp.arange))
    assert np.isfinite(asked(net(lambda t: jnp.minimum(jnp.arange(t), T - 3)))).all()
