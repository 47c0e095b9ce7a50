"""Words as features: their pieces are removed and scored together."""

from __future__ import annotations

from itertools import permutations
from math import ceil
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import softmax
from scipy.stats import kendalltau

import jaxeval as je
from tests.text.network import CLS, MASK, PAD, SEP, T, left, model, params, reference, texts

IDS, P = texts(), params()
Y = np.array([reference(P, row[row != PAD]).argmax() for row in IDS])
MAPS = np.random.default_rng(2).normal(size=IDS.shape).astype(np.float32)
WAYS = ("mask", "pad", "delete", 7)
BINS = (0.01, 0.05, 0.1, 0.2, 0.5)


def pieces(row: np.ndarray, seed: int) -> np.ndarray:
    """The words of a text, of one to three pieces each."""
    counts = ~np.isin(row, (PAD, CLS, SEP))
    begins = np.random.default_rng(seed).random(len(row)) < 0.5
    return np.where(counts, np.cumsum(begins) + 3, -1)  # their numbers have no meaning


WORDS = np.stack([pieces(row, i + 4) for i, row in enumerate(IDS)])
ALONE = np.where(np.isin(IDS, (PAD, CLS, SEP)), -1, np.arange(T))


def places(i: int) -> list[list[int]]:
    """The positions of the pieces of each word of text i."""
    return [[k for k in range(T) if WORDS[i, k] == w] for w in np.unique(WORDS[i]) if w >= 0]


def probability(i: int, ids: Any, attended: Any = None) -> float:
    return float(softmax(reference(P, ids, attended))[Y[i]])


def without(i: int, gone: Any, way: Any) -> float:
    """p of text i without some words, in plain lists."""
    gone = {k for word in gone for k in word}
    if way == "delete":
        return probability(i, [t for k, t in enumerate(IDS[i]) if k not in gone and t != PAD])
    new = {"mask": MASK, "pad": PAD}.get(way, way)
    changed = np.array([new if k in gone else t for k, t in enumerate(IDS[i])])
    attended = [t != PAD and not (way == "pad" and k in gone) for k, t in enumerate(IDS[i])]
    return probability(i, changed, attended)


def test_the_texts_have_words_of_several_pieces():
    sizes = [len(word) for i in range(len(IDS)) for word in places(i)]
    assert {1, 2, 3} <= set(sizes)
    assert 1 in [len(places(i)) for i in range(len(IDS))]


@pytest.mark.parametrize("way", WAYS)
def test_removal(way):
    want: dict[str, list[float]] = {k: [] for k in ("comp", "suff", "odds", "loo", "flip", "fe")}
    for i in range(len(IDS)):
        own, p = places(i), probability(i, IDS[i][IDS[i] != PAD])
        values = [MAPS[i, word].sum() for word in own]
        order = [own[k] for k in sorted(range(len(own)), key=lambda k: (-values[k], k))]
        n = len(own)
        top = [order[: ceil(b * n)] for b in BINS]
        want["comp"].append(np.mean([p - without(i, t, way) for t in top]))
        want["suff"].append(np.mean([p - without(i, order[len(t) :], way) for t in top]))
        want["odds"].append(np.log(without(i, order[: ceil(0.2 * n)], way)) - np.log(p))
        drops = [p - without(i, [word], way) for word in own]
        want["loo"].append(kendalltau(values, drops).statistic if n > 1 else np.nan)
        curve = [without(i, order[:k], way) for k in range(1, n + 1)]
        area = (np.sum(curve) - (curve[0] + curve[-1]) / 2) / (n - 1) if n > 1 else curve[0]
        want["flip"].append(area)
        single = [p - without(i, [word], way) for word in own]
        want["fe"].append(np.corrcoef(values, single)[0, 1] if n > 1 else np.nan)
    metrics = {
        "comp": je.AOPCComprehensiveness(baseline=way),
        "suff": je.AOPCSufficiency(baseline=way),
        "odds": je.LogOdds(baseline=way),
        "loo": je.LOOCorrelation(baseline=way),
        "flip": je.PixelFlipping(n_steps=None, baseline=way),
        "fe": je.FaithfulnessEstimate(baseline=way),
    }
    given: dict[str, Any] = {"explainers": {"a": MAPS}, "metrics": metrics, "progress": False}
    results = je.evaluate(model(), IDS, Y, features=WORDS, batch_size=7, **given)
    assert results.settings["words"] is True
    for name in metrics:
        got = results["a", name].score
        np.testing.assert_allclose(got, want[name], rtol=2e-4, atol=4e-6, err_msg=name)
    given["explainers"] = {"a": shifted(MAPS)}
    moved = je.evaluate(model(), left(IDS), Y, features=shifted(WORDS), **given)
    for name in metrics:
        got, base = moved["a", name].score, results["a", name].score
        np.testing.assert_allclose(got, base, rtol=2e-4, atol=4e-6, err_msg=name)


def shifted(rows: np.ndarray) -> np.ndarray:
    """Rows of the texts with their padding on the left."""
    return np.stack([np.roll(v, int((r == PAD).sum())) for v, r in zip(rows, IDS, strict=True)])


METRICS: dict[str, je.Metric] = {
    "comp": je.AOPCComprehensiveness(baseline="delete"),
    "suff": je.AOPCSufficiency(),
    "loo": je.LOOCorrelation(baseline="pad"),
    "flip": je.PixelFlipping(n_steps=4),
    "subsets": je.FaithfulnessCorrelation(n_runs=9, subset_size=1),
    "n": je.SensitivityN(n_runs=4),
    "soft": je.SoftComprehensiveness(n_samples=3),
    "sparse": je.Sparseness(),
    "f1": je.RationaleF1(),
}
EXPLAINERS: dict[str, Any] = {
    "ig": je.explain.IntegratedGradients(n_steps=3, baseline="mask"),
    "ablation": je.explain.FeatureAblation(),
    "shapley": je.explain.ShapleyValueSampling(n_samples=2),
    "kernel": je.explain.KernelShap(n_samples=12),
    "lime": je.explain.Lime(n_samples=12),
}
RATIONALE = np.random.default_rng(4).random(IDS.shape) < 0.4


def test_words_of_one_piece_are_tokens():
    """Bit for bit, whatever is asked."""
    ids, maps, y = IDS[1:], MAPS[1:], Y[1:]
    mprt: dict[str, Any] = {"mprt": je.MPRT(similarity="pearson", score="last")}
    for explainers, metrics in (({"a": maps}, METRICS), (EXPLAINERS, mprt)):
        given: dict[str, Any] = {"explainers": explainers, "metrics": metrics, "progress": False}
        plain, words = (
            je.evaluate(model(), ids, y, mask=RATIONALE[1:], features=f, **given)
            for f in (None, ALONE[1:])
        )
        assert plain.asked == words.asked
        assert plain.settings["words"] is False
        for cell, outcome in plain.outcomes.items():
            np.testing.assert_array_equal(outcome.score, words.outcomes[cell].score, str(cell))
    for name, explainer in EXPLAINERS.items():
        a, b = (
            np.asarray(je.attribute(explainer, model(), ids, y, features=f))
            for f in (None, ALONE[1:])
        )
        np.testing.assert_array_equal(a, b, err_msg=name)


def logit(i: int, gone: Any) -> float:
    changed = [MASK if any(k in word for word in gone) else t for k, t in enumerate(IDS[i])]
    return reference(P, changed, IDS[i] != PAD)[Y[i]]


def test_methods_that_remove_words():
    """Leave-one-out exactly, Shapley values from all orders; values stand at the first pieces."""
    one = np.asarray(je.attribute(je.explain.FeatureAblation(), model(), IDS, Y, features=WORDS))
    sampled = np.asarray(je.attribute(
        je.explain.ShapleyValueSampling(n_samples=400), model(), IDS, Y, features=WORDS
    ))  # fmt: skip
    for i in range(len(IDS)):
        own = places(i)
        want = np.zeros(T)
        for word in own:
            want[word[0]] = logit(i, []) - logit(i, [word])
        np.testing.assert_allclose(one[i], want, rtol=1e-4, atol=1e-5)
        assert not sampled[i][[k for k in range(T) if k not in {w[0] for w in own}]].any()
        if len(own) > 4:
            continue
        shares = np.zeros(len(own))
        orders = list(permutations(range(len(own))))
        for order in orders:
            for k, at in enumerate(order):
                before, after = order[k:], order[k + 1 :]
                shares[at] += logit(i, [own[j] for j in after]) - logit(i, [own[j] for j in before])
        exact = shares / len(orders)
        scale = np.abs(exact).max() + 0.1
        np.testing.assert_allclose(
            sampled[i][[w[0] for w in own]], exact, atol=0.15 * scale, err_msg=str(i)
        )


def test_kernel_shap_of_two_words():
    """Both sets of one word, evenly, give Shapley values exactly; Lime removes words as well."""
    ids = np.array([[CLS, 5, 9, 11, SEP, PAD, PAD, PAD, PAD]])
    features = np.array([[-1, 0, 1, 1, -1, -1, -1, -1, -1]])

    def value(gone: Any) -> float:
        return reference(P, [MASK if k in gone else t for k, t in enumerate(ids[0][:5])])[1]

    whole, second = value(()) - value({1, 2, 3}), value({1}) - value({1, 2, 3})
    first = (value({2, 3}) - value({1, 2, 3}) + value(()) - value({1})) / 2
    second = whole - first
    draws = np.zeros((2, T), int)
    draws[0, 0] = draws[1, 1] = 1
    kernel = je.explain.KernelShap(draws=draws)
    a = np.asarray(je.attribute(kernel, model(), ids, [1], features=features))[0]
    np.testing.assert_allclose(a[[1, 2]], [first, second], rtol=1e-3, atol=1e-4)
    assert not np.delete(a, [1, 2]).any()

    # Of all four sets once, with equal weights, ordinary least squares.
    sets = np.zeros((4, T), int)
    sets[1, 0] = sets[2, 1] = 1
    sets[3, :2] = 1
    lime = je.explain.Lime(draws=sets, alpha=0.0, width=1e6)
    a = np.asarray(je.attribute(lime, model(), ids, [1], features=features))[0]
    kept = np.array([[0, 0], [1, 0], [0, 1], [1, 1]])
    scores = [value({1, 2, 3}), value({2, 3}), value({1}), value(())]
    fit = np.linalg.lstsq(np.c_[np.ones(4), kept], np.array(scores), rcond=None)[0][1:]
    np.testing.assert_allclose(a[[1, 2]], fit, rtol=1e-3, atol=1e-4)


def test_maps_are_summed_and_stay_summed():
    explainer = je.explain.InputXGradient()
    a = np.asarray(je.attribute(explainer, model(), IDS, Y))
    b = np.asarray(je.attribute(explainer, model(), IDS, Y, features=WORDS))
    for i in range(len(IDS)):
        for word in places(i):
            np.testing.assert_allclose(b[i, word[0]], a[i, word].sum(), rtol=1e-5, atol=1e-6)
            assert not b[i, word[1:]].any()
    metric = je.AOPCComprehensiveness()
    given: dict[str, Any] = {"features": WORDS}
    scores = [np.asarray(je.score(metric, model(), IDS, Y, m, **given).score) for m in (a, b)]
    np.testing.assert_allclose(*scores, rtol=1e-5, atol=1e-6)
    made = je.score(metric, model(), IDS, Y, explainer=explainer, **given).score
    np.testing.assert_allclose(made, scores[0], rtol=1e-5, atol=1e-6)
    host = je.Host(lambda m, x, y, keys: explainer(m, x, y, keys))
    made = je.score(metric, model(), IDS, Y, explainer=host, **given).score
    np.testing.assert_allclose(made, scores[0], rtol=1e-5, atol=1e-6)


def test_rationales_are_joined_by_any():
    """Precision and recall of the top words, in plain lists."""
    want: dict[str, list[float]] = {"f1": [], "iou": []}
    for i in range(len(IDS)):
        own = places(i)
        marked = {k for k, word in enumerate(own) if RATIONALE[i, word].any()}
        values = [MAPS[i, word].sum() for word in own]
        top = set(sorted(range(len(own)), key=lambda k: (-values[k], k))[: len(marked)])
        both = len(top & marked)
        want["f1"].append(both / len(marked) if marked else np.nan)
        want["iou"].append(both / len(top | marked) if marked else np.nan)
    metrics: dict[str, Any] = {"f1": je.RationaleF1(), "iou": je.IoU()}
    results = je.evaluate(
        model(), IDS, Y, explainers={"a": MAPS}, metrics=metrics, mask=RATIONALE, features=WORDS,
        progress=False,
    )  # fmt: skip
    for name in metrics:
        np.testing.assert_allclose(
            results["a", name].score, want[name], rtol=1e-6, atol=1e-6, err_msg=name
        )


def test_soft_removal_keeps_the_entries_of_a_word_alike():
    """Against embeddings erased by hand, with given draws."""
    table = P["words"]["table"].astype(np.float64)
    u = np.random.default_rng(5).random((2, T, table.shape[1])).astype(np.float32)
    metric = je.SoftComprehensiveness(n_samples=2, draws=u)
    got = np.asarray(je.score(metric, model(), IDS, Y, MAPS, features=WORDS).score)
    for i in range(len(IDS)):
        own = places(i)
        values = np.array([MAPS[i, word].sum() for word in own])
        if len(own) < 2:
            assert np.isnan(got[i])
            continue
        share = (values - values.min()) / np.ptp(values)
        n = int((IDS[i] != PAD).sum())

        def p_of(keep: Any, i: int = i, n: int = n) -> float:
            x = table[IDS[i][:n]] * keep[:n]
            return float(softmax(reference(P, IDS[i][:n], x=x))[Y[i]])

        whole, none, drops = np.ones((T, table.shape[1])), np.ones((T, table.shape[1])), []
        for word in own:
            none[word] = 0
        limit = max(0.0, p_of(whole) - p_of(none))
        for draw in u:
            keep = whole.copy()
            for word, s in zip(own, share, strict=True):
                keep[word] = draw[word] < 1 - s
            drops.append(np.clip(max(0.0, p_of(whole) - p_of(keep)) / limit, 0, 1)
                         if limit else np.nan)  # fmt: skip
        np.testing.assert_allclose(got[i], np.mean(drops), rtol=1e-3, atol=1e-5)


def test_as_function():
    for metric in (
        je.AOPCComprehensiveness(baseline="delete"), je.SoftSufficiency(n_samples=2),
        je.RationaleF1(),
    ):  # fmt: skip
        given: dict[str, Any] = {"features": WORDS, "mask": RATIONALE}
        want = np.asarray(je.score(metric, model(), IDS, Y, MAPS, **given).score)
        f = je.as_function(metric, model())

        def one(ids: Any, y: Any, a: Any, i: Any, mask: Any, words: Any, f: Any = f) -> Any:
            return f(ids, y, a, jax.random.key(0), i, mask=mask, features=words).score

        rows = (IDS, Y, MAPS, np.arange(len(IDS)), RATIONALE, WORDS)
        got = jax.jit(jax.vmap(one))(*map(jnp.asarray, rows))
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)
    metric, explainer = je.AOPCSufficiency(), je.explain.FeatureAblation()
    want = np.asarray(je.score(metric, model(), IDS, Y, explainer=explainer, features=WORDS).score)
    f = je.as_function(metric, model(), explainer)
    got = f(IDS[1], Y[1], None, jax.random.key(0), 1, features=WORDS[1]).score
    np.testing.assert_allclose(got, want[1], rtol=1e-5, atol=1e-6)
    apart = np.where(IDS[1] > SEP, np.arange(T) % 2, -1)
    with pytest.raises(ValueError, match="stands in two places"):
        f(IDS[1], Y[1], None, jax.random.key(0), 1, features=apart)


def test_tokens_without_a_word_never_count():
    features = WORDS.copy()
    features[1, 2] = -1  # in the middle of a text
    features[1, 3:] = np.where(features[1, 3:] >= 0, features[1, 3:] + 20, -1)
    kept = np.zeros(IDS.shape, bool)
    kept[1, 2] = True
    metric = je.AOPCComprehensiveness(bins=(0.5, 1.0))
    got = je.score(metric, model(), IDS, Y, MAPS, features=features).score
    names = np.where(kept, -1, features)
    want = je.score(metric, model(), IDS, Y, MAPS, features=names, padding=kept).score
    np.testing.assert_array_equal(got, want)
    changed = MAPS.copy()
    changed[1, 2] = 100.0
    again = je.score(metric, model(), IDS, Y, changed, features=features).score
    np.testing.assert_array_equal(got, again)


def test_a_ranking_of_texts_with_words_and_inputs():
    """Samples that are taken out of a data set keep their inputs and their words."""
    types = np.random.default_rng(6).integers(0, 2, IDS.shape)
    given: dict[str, Any] = {
        "explainers": {"a": MAPS, "b": -MAPS}, "inputs": {"token_type_ids": types},
        "metrics": {"subsets": je.FaithfulnessCorrelation(n_runs=8, subset_size=1)},
        "progress": False,
    }  # fmt: skip
    rows = slice(1, None)
    given["explainers"] = {k: v[rows] for k, v in given["explainers"].items()}
    given["inputs"] = {"token_type_ids": types[rows]}
    results = je.evaluate(
        model(), IDS[rows], Y[rows], features=ALONE[rows], tolerance=0.3, per="ranking",
        budget=16, **given,
    )  # fmt: skip
    scores = np.stack([results[e, "subsets"].score for e in "ab"])
    known = np.isfinite(scores).all(0)
    assert known.any()
    np.testing.assert_allclose(scores[0][known], -scores[1][known], rtol=1e-4, atol=1e-5)


class Encoding:
    """One text as the package tokenizers returns it."""

    def __init__(self, word_ids: Any, sequence_ids: Any):
        self.word_ids, self.sequence_ids = word_ids, sequence_ids


def test_words_of_a_tokenizer():
    one = Encoding([None, 0, 0, 1, None, None], [None, 0, 0, 0, None, None])
    pair = Encoding([None, 0, 1, None, 0, None], [None, 0, 0, None, 1, None])
    assert je.words([one, pair]).tolist() == [[-1, 0, 0, 1, -1, -1], [-1, 0, 1, -1, 2, -1]]
    close = Encoding([0, 0], [0, 1])  # two texts of a word each, nothing between them
    assert je.words([close]).tolist() == [[0, 1]]
    with pytest.raises(ValueError, match="different lengths, 2 to 6 tokens"):
        je.words([one, close])
    with pytest.raises(TypeError, match="fast tokenizer"):
        je.words({"input_ids": [[1, 2]]})


WRONG = {
    "shape": (WORDS[:, 1:], ValueError, r"features must be \[6, 9\], as the token ids, got"),
    "dtype": (WORDS.astype(float), TypeError, "whole numbers, the word of each token"),
    "None": (  # as word_ids() has it
        [[None if w < 0 else w for w in row] for row in WORDS],
        TypeError,
        r"give jaxeval.words\(encoding\)",
    ),
    "apart": (
        np.where(WORDS < 0, -1, np.arange(T) % 2), ValueError, "of sample 1 stands in two places"
    ),
    "mixed": (
        np.where(WORDS < 0, 0, 0), ValueError, "word 0 of sample 0 has tokens that count and tokens"
    ),
    "none": (np.full_like(WORDS, -1), ValueError, r"or of no word \(features= -1\)"),
}  # fmt: skip


@pytest.mark.parametrize("what", WRONG)
def test_refused(what):
    features, kind, message = WRONG[what]
    with pytest.raises(kind, match=message):
        je.score(je.Deletion(), model(), IDS, Y, MAPS, features=features)


def test_other_models_have_no_words():
    x = np.ones((2, 4), np.float32)
    with pytest.raises(ValueError, match="this model has no tokens"):
        je.score(je.Deletion(), lambda x: x, x, [0, 1], x, features=np.zeros((2, 4), int))
    f = je.as_function(je.Deletion(), je.Model(lambda p, x: x, channel_axis=None))
    with pytest.raises(ValueError, match="for models of tokens"):
        f(x[0], 0, x[0], jax.random.key(0), features=np.zeros(4, int))
