"""Models of token ids: what counts, what removal means, and that padding does not matter."""

from __future__ import annotations

from math import ceil
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import softmax
from scipy.stats import kendalltau

import jaxeval as je
from tests.text.network import (
    CLS,
    MASK,
    PAD,
    SEP,
    TOKENS,
    V,
    apply,
    left,
    model,
    params,
    reference,
    texts,
)

IDS, P = texts(), params()
Y = np.array([reference(P, row[row != PAD]).argmax() for row in IDS])
MAPS = np.random.default_rng(2).normal(size=IDS.shape).astype(np.float32)
WAYS = ("mask", "pad", "delete", 7)


def probability(i: int, ids: Any, attended: Any = None) -> float:
    return float(softmax(reference(P, ids, attended))[Y[i]])


def without(i: int, gone: Any, way: Any) -> float:
    """p of text i without the tokens at these places: in plain lists."""
    ids = IDS[i]
    if way == "delete":
        return probability(i, [t for k, t in enumerate(ids) if k not in gone and t != PAD])
    new = {"mask": MASK, "pad": PAD}.get(way, way)
    changed = np.array([new if k in gone else t for k, t in enumerate(ids)])
    attended = [t != PAD and not (way == "pad" and k in gone) for k, t in enumerate(ids)]
    if way == "pad":  # in place: positions stay, as the model counts them over what is attended to
        return probability(i, changed, attended)
    return probability(i, changed, attended)


def words(i: int) -> list[int]:
    return [k for k, t in enumerate(IDS[i]) if t not in (PAD, CLS, SEP)]


def ranked(i: int) -> list[int]:
    return sorted(words(i), key=lambda k: (-MAPS[i, k], k))


def shifted(maps: Any) -> np.ndarray:
    """Maps of the texts with their padding on the left."""
    return np.stack([np.roll(a, int((r == PAD).sum())) for a, r in zip(maps, IDS, strict=True)])


def score(metric: Any, **more: Any) -> np.ndarray:
    return np.asarray(je.score(metric, model(), IDS, Y, MAPS, **more).score)


def test_the_network_is_its_reference():
    got = np.asarray(model()(IDS))
    want = [reference(P, row[row != PAD]) for row in IDS]
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(np.asarray(model()(left(IDS))), want, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("way", WAYS)
def test_removal(way):
    """By mask, padding, deletion and an id, against texts changed by hand."""
    bins = (0.01, 0.05, 0.1, 0.2, 0.5)
    want: dict[str, list[float]] = {"comp": [], "suff": [], "odds": [], "loo": [], "flip": []}
    for i in range(len(IDS)):
        order, n, p = ranked(i), len(words(i)), probability(i, IDS[i][IDS[i] != PAD])
        top = [order[: ceil(b * n)] for b in bins]
        want["comp"].append(np.mean([p - without(i, t, way) for t in top]))
        rest = [set(order) - set(t) for t in top]
        want["suff"].append(np.mean([p - without(i, t, way) for t in rest]))
        want["odds"].append(np.log(without(i, order[: ceil(0.2 * n)], way)) - np.log(p))
        drops = [p - without(i, [k], way) for k in words(i)]
        want["loo"].append(kendalltau(MAPS[i, words(i)], drops).statistic if n > 1 else np.nan)
        curve = [without(i, order[:k], way) for k in range(1, n + 1)]
        area = (np.sum(curve) - (curve[0] + curve[-1]) / 2) / (n - 1) if n > 1 else curve[0]
        want["flip"].append(area)
    metrics = {
        "comp": je.AOPCComprehensiveness(baseline=way),
        "suff": je.AOPCSufficiency(baseline=way),
        "odds": je.LogOdds(baseline=way),
        "loo": je.LOOCorrelation(baseline=way),
        "flip": je.PixelFlipping(n_steps=None, baseline=way),
    }
    results = je.evaluate(
        model(), IDS, Y, explainers={"a": MAPS}, metrics=metrics, progress=False, batch_size=7
    )
    for name in metrics:
        got = results["a", name].score
        np.testing.assert_allclose(got, want[name], rtol=2e-5, atol=2e-6, err_msg=name)
    recorded = {m: s["baseline"] for m, s in results.settings["metrics"].items()}
    assert set(recorded.values()) == {way}


@pytest.mark.parametrize("side", ["right", "left"])
def test_a_text_without_padding_gets_it_on_the_side_of_the_tokenizer(side):
    """A network that reads the last position, as causal ones do of texts padded on the left."""
    tokens = je.Tokens(mask=MASK, pad=PAD, padding_side=side)
    net = je.Model(
        lambda p, ids, inputs: jnp.eye(V)[ids[:, -1]] * 5, {}, tokens=tokens, channel_axis=None
    )
    ids = np.array([[4, 5, 6, 7], [PAD, 5, 6, 7], [5, 6, 7, PAD]])
    y, a = np.array([7, 7, PAD]), np.array([[1.0, 9, 2, 3]] * 3)
    got = je.score(je.AOPCComprehensiveness(bins=(0.01,), baseline="delete"), net, ids, y, a)
    own = np.exp(5) / (np.exp(5) + V - 1)
    rest = 1 / (np.exp(5) + V - 1)
    want = [0 if side == "left" else own - rest, 0, 0]
    np.testing.assert_allclose(got.score, want, atol=1e-6)


def test_the_default_removal_is_the_mask_token_or_else_padding():
    assert score(je.Deletion()).tolist() == score(je.Deletion(baseline="mask")).tolist()
    plain = model(tokens=je.Tokens("words", None, PAD, (CLS, SEP)))
    metric = je.Deletion(baseline="pad")
    got = je.score(je.Deletion(), plain, IDS, Y, MAPS).score
    assert got.tolist() == score(metric).tolist()


EXPLAINERS = {
    "saliency": je.explain.Saliency(),
    "ig": je.explain.IntegratedGradients(n_steps=4, baseline="mask"),
    "input": je.explain.InputXGradient(),
    "smooth": je.explain.SmoothGrad(n_samples=3),
    "deep": je.explain.DeepLift(baseline="pad"),
    "lrp": je.explain.LRP(),
    "ablation": je.explain.FeatureAblation(),
    "deleted": je.explain.FeatureAblation(baseline="delete"),
    "kernel": je.explain.KernelShap(n_samples=40),
    "lime": je.explain.Lime(n_samples=40),
    "shapley": je.explain.ShapleyValueSampling(n_samples=3),
}


@pytest.mark.parametrize("name", EXPLAINERS)
def test_a_padded_text_has_the_map_of_the_text_cut_to_its_length(name):
    explainer, net = EXPLAINERS[name], model()
    a = np.asarray(je.attribute(explainer, net, IDS, Y))
    for i in (0, 2, 3):
        n = int((IDS[i] != PAD).sum())
        cut = je.attribute(explainer, net, IDS[i : i + 1, :n], Y[i : i + 1], index=[i])
        np.testing.assert_allclose(a[i, :n], np.asarray(cut)[0], rtol=2e-4, atol=2e-5)
        assert not a[i, n:].any()
    if name != "smooth":  # its noise on embeddings follows their places
        moved = np.asarray(je.attribute(explainer, net, left(IDS), Y))
        np.testing.assert_allclose(shifted(a), moved, rtol=2e-4, atol=2e-5)


def test_scores_do_not_depend_on_padding_or_batch():
    metrics = {
        "flip": je.PixelFlipping(n_steps=4),
        "delete": je.Deletion(baseline="delete"),
        "corr": je.FaithfulnessCorrelation(n_runs=12, subset_size=1),
        "soft": je.SoftComprehensiveness(n_samples=3, output="logit"),
        "sparse": je.Sparseness(),
    }

    def run(ids: Any, a: Any, **more: Any) -> Any:
        r = je.evaluate(
            model(), ids, Y, explainers={"a": a}, metrics=metrics, progress=False, **more
        )
        return {m: r["a", m].score for m in metrics}

    base = run(IDS, MAPS)
    for m, v in run(IDS, MAPS, batch_size=3).items():
        np.testing.assert_allclose(v, base[m], rtol=1e-5, atol=1e-6, err_msg=m)
    for m, v in run(left(IDS), shifted(MAPS)).items():
        if m not in ("corr", "soft"):  # draws follow places
            np.testing.assert_allclose(v, base[m], rtol=2e-5, atol=2e-6, err_msg=m)
    again = je.score(metrics["flip"], model(), IDS[2:], Y[2:], MAPS[2:])
    np.testing.assert_allclose(again.score, base["flip"][2:], rtol=1e-5, atol=1e-6)


def test_path_methods_start_from_the_tokens_of_the_baseline():
    """Completeness: a sums to f(x) - f(x with every word replaced)."""
    explainer = je.explain.IntegratedGradients(n_steps=60, baseline="mask")
    a = np.asarray(je.attribute(explainer, model(), IDS, Y))
    for i, row in enumerate(IDS):
        text = row[row != PAD]
        blank = np.where(np.isin(text, (CLS, SEP)), text, MASK)
        change = reference(P, text)[Y[i]] - reference(P, blank)[Y[i]]
        np.testing.assert_allclose(a[i].sum(), change, rtol=1e-3, atol=1e-4)
        assert not a[i][np.isin(row, (PAD, CLS, SEP))].any()


def test_gradients_of_embeddings():
    """Against differences of the reference, in float64."""
    a = np.asarray(je.attribute(je.explain.Saliency(), model(), IDS, Y))
    table, step = P["words"]["table"].astype(np.float64), 1e-5
    for i in (0, 2):
        text = IDS[i][IDS[i] != PAD]
        x = table[text]
        g = np.zeros_like(x)
        for at in np.ndindex(*x.shape):
            up, down = x.copy(), x.copy()
            up[at], down[at] = x[at] + step, x[at] - step
            ends = [reference(P, text, x=v)[Y[i]] for v in (up, down)]
            g[at] = (ends[0] - ends[1]) / (2 * step)
        np.testing.assert_allclose(a[i, : len(text)], np.linalg.norm(g, axis=1), rtol=1e-3)
    summed = je.explain.Gradient(reduce_channels="l1")
    b = np.asarray(je.attribute(summed, model(), IDS, Y))
    assert (b >= a - 1e-5).all()


def test_leave_one_out_is_feature_ablation():
    a = np.asarray(je.attribute(je.explain.FeatureAblation(), model(), IDS, Y))
    for i in range(len(IDS)):
        for k in words(i):
            changed = IDS[i].copy()
            changed[k] = MASK
            drop = reference(P, IDS[i], IDS[i] != PAD) - reference(P, changed, IDS[i] != PAD)
            np.testing.assert_allclose(a[i, k], drop[Y[i]], rtol=1e-4, atol=1e-5)


def test_shapley_values_of_texts():
    """KernelSHAP with both sets of one word, of a text of two, is exact."""
    two = np.array([[CLS, 5, 9, SEP, PAD, PAD]])
    y = [1]

    def value(gone: Any) -> float:
        return reference(P, [MASK if k in gone else t for k, t in enumerate(two[0][:4])])[1]

    first = (value({2}) - value({1, 2}) + value(()) - value({1})) / 2
    second = value(()) - value({1, 2}) - first
    draws = np.array([[1, 0, 0, 0, 0, 0], [0, 1, 0, 0, 0, 0]])  # of the first two features, evenly
    kernel = je.explain.KernelShap(draws=draws)
    for explainer, off in ((kernel, 1e-4), (je.explain.ShapleyValueSampling(n_samples=80), 0.1)):
        a = np.asarray(je.attribute(explainer, model(), two, y))[0]
        np.testing.assert_allclose(a[1:3], [first, second], atol=off)
        assert not a[[0, 3, 4, 5]].any()


def test_inputs_travel_with_their_texts():
    rng = np.random.default_rng(3)
    types = rng.integers(0, 2, IDS.shape)
    metric = je.AOPCComprehensiveness(bins=(0.5,), baseline="delete")
    given: dict[str, Any] = {"inputs": {"token_type_ids": types}}
    got = je.score(metric, model(), IDS, Y, MAPS, batch_size=5, **given).score
    for i in range(len(IDS)):
        gone = ranked(i)[: ceil(0.5 * len(words(i)))]
        keep = [k for k, t in enumerate(IDS[i]) if t != PAD]
        left_over = [k for k in keep if k not in gone]
        p, q = (
            softmax(reference(P, IDS[i][k], types=types[i][k]))[Y[i]] for k in (keep, left_over)
        )
        np.testing.assert_allclose(got[i], p - q, rtol=2e-5, atol=2e-6)
    order = rng.permutation(len(IDS))
    moved = je.score(
        metric, model(), IDS[order], Y[order], MAPS[order], inputs={"token_type_ids": types[order]}
    )
    np.testing.assert_allclose(moved.score, got[order], rtol=1e-5, atol=1e-6)


def test_special_tokens_by_position():
    """A text may itself hold a [SEP], and count it."""
    ids = np.array([[CLS, 5, SEP, 9, SEP, PAD]])
    a = np.array([[0, 1.0, 3.0, 2.0, 0, 0]], np.float32)
    metric = je.AOPCComprehensiveness(bins=(0.1,))
    by_id = je.score(metric, model(), ids, [0], a).score[0]
    mask = np.array([[1, 0, 0, 0, 1, 1]])
    by_place = je.score(metric, model(), ids, [0], a, inputs={"special_tokens_mask": mask}).score[0]
    text = ids[0][:5]

    def gone(k: int) -> float:
        changed = text.copy()
        changed[k] = MASK
        return softmax(reference(P, text))[0] - softmax(reference(P, changed))[0]

    np.testing.assert_allclose([by_id, by_place], [gone(3), gone(2)], rtol=1e-4, atol=1e-6)
    fewer = je.score(metric, model(), ids, [0], a, padding=[[0, 0, 0, 1, 0, 0]]).score[0]
    np.testing.assert_allclose(fewer, gone(1), rtol=1e-4, atol=1e-6)


def test_the_embedded_model_is_the_model():
    net, x, inputs, padding = je.embedded(model(), IDS)
    assert x.shape == (*IDS.shape, P["words"]["table"].shape[1])
    zero = np.asarray(jnp.zeros(x.shape[2]))
    metrics: dict[str, Any] = {"soft": je.SoftSufficiency(n_samples=3), "sparse": je.Sparseness()}
    here = je.evaluate(model(), IDS, Y, explainers={"a": MAPS}, metrics=metrics, progress=False)
    there = je.evaluate(
        net, x, Y, explainers={"a": MAPS}, inputs=inputs, padding=padding, progress=False,
        metrics={**metrics, "noise": je.Deletion(baseline=zero)},
    )  # fmt: skip
    for m in metrics:
        np.testing.assert_allclose(here["a", m].score, there["a", m].score, rtol=1e-5, atol=1e-6)
    table = P["words"]["table"]
    mask = je.score(
        je.Deletion(baseline=table[MASK]), net, x, Y, MAPS, inputs=inputs, padding=padding
    ).score
    np.testing.assert_allclose(mask, score(je.Deletion()), rtol=1e-5, atol=1e-6)
    noise = je.MaxSensitivity(n_samples=2, radius=0.1)
    explainer = je.explain.InputXGradient(reduce_channels="sum")
    got = je.score(noise, net, x, Y, explainer=explainer, inputs=inputs, padding=padding)
    assert np.isfinite(np.asarray(got.score)).all()


def test_questions_are_shared():
    one = {"comp": je.AOPCComprehensiveness(), "odds": je.LogOdds()}
    n = len(IDS)

    def asked(**metrics: Any) -> int:
        r = je.evaluate(model(), IDS, Y, explainers={"a": MAPS}, metrics=metrics, progress=False)
        return r.asked["output"] - n

    sizes = [len(words(i)) for i in range(n)]
    bins = [len({ceil(b * k) for b in (0.01, 0.05, 0.1, 0.2, 0.5)}) for k in sizes]
    assert asked(odds=one["odds"]) == n
    assert asked(**one) == sum(bins)  # the fifth that log-odds removes is one of the bins
    every = {"flip": je.PixelFlipping(n_steps=None), "deletion": je.Deletion(n_steps=None)}
    assert asked(**one, **every) == sum(sizes)
    singles = {"loo": je.LOOCorrelation(), "fe": je.FaithfulnessEstimate()}
    assert asked(**singles) == sum(sizes)


def test_as_function():
    for metric in (je.AOPCComprehensiveness(baseline="delete"), je.SoftSufficiency(n_samples=2)):
        want = score(metric)
        f = jax.jit(je.as_function(metric, model()))
        got = [f(IDS[i], Y[i], MAPS[i], jax.random.key(0), i).score for i in range(len(IDS))]
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


def test_randomised_parameters_are_the_embeddings_too():
    """MPRT in one step: every layer, the table included, from the draws that are given."""
    new = jax.tree.map(lambda v: jnp.asarray(v)[None], params(9))
    metric = je.MPRT(order="bottom_up", draws=new, similarity="pearson", score="last")
    explainer = je.explain.InputXGradient()
    got = np.asarray(je.score(metric, model(), IDS[1:], Y[1:], explainer=explainer).score)
    other = je.Model(apply, jax.tree.map(lambda v: v[0], new), tokens=TOKENS, channel_axis=None)
    a, b = (np.asarray(je.attribute(explainer, m, IDS[1:], Y[1:])) for m in (model(), other))
    for i, row in enumerate(IDS[1:]):
        counts = ~np.isin(row, (PAD, CLS, SEP))
        u, v = np.abs(a[i][counts]), np.abs(b[i][counts])
        if counts.sum() > 2:
            np.testing.assert_allclose(got[i], np.corrcoef(u, v)[0, 1], rtol=1e-3, atol=1e-4)


def test_a_host_model_of_tokens():
    host = je.Model(
        lambda _, ids, inputs: np.asarray(apply(params(), jnp.asarray(ids), inputs)),
        {}, tokens=TOKENS, host=True,
    )  # fmt: skip
    metric = je.AOPCComprehensiveness(baseline="delete")
    got = je.score(metric, host, IDS, Y, MAPS).score
    np.testing.assert_allclose(got, score(metric), rtol=1e-5, atol=1e-6)
    explainer = je.explain.FeatureAblation()
    a, b = (np.asarray(je.attribute(explainer, m, IDS, Y)) for m in (host, model()))
    np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_a_model_that_reads_padding_off_its_ids():
    """It takes no attention mask, and sees the same texts."""

    def own(p: Any, ids: Any) -> Any:
        return apply(p, ids, {"attention_mask": (ids != PAD).astype(jnp.int32)})

    net = je.Model(own, model().params, tokens=TOKENS, channel_axis=None)
    for metric in (je.Deletion(), je.Deletion(baseline="delete"), je.Deletion(baseline="pad")):
        got = je.score(metric, net, IDS, Y, MAPS).score
        np.testing.assert_allclose(got, score(metric), rtol=1e-5, atol=1e-6)
    a, b = (
        np.asarray(je.attribute(je.explain.InputXGradient(), m, IDS, Y)) for m in (net, model())
    )
    np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_the_embedding_by_functions_and_found():
    def embed(p: Any, ids: Any) -> Any:
        return p["words"]["table"][ids]

    def rest(p: Any, e: Any, ids: Any, inputs: Any) -> Any:
        words = {"words": {"table": jnp.eye(ids.shape[1])}}  # each token reads its own row

        def one(e: Any, mask: Any) -> Any:
            own = {**p, **words, "words": {"table": e}}
            place = jnp.arange(len(e))[None]
            return apply(own, place, {"attention_mask": mask[None]})[0]

        return jax.vmap(one)(e, inputs["attention_mask"])

    want = np.asarray(je.attribute(je.explain.InputXGradient(), model(), IDS, Y))
    own = je.Tokens(None, MASK, PAD, (CLS, SEP), embed=embed, apply=rest)
    found = je.Tokens(None, MASK, PAD, (CLS, SEP))
    for tokens in (own, found):
        a = je.attribute(je.explain.InputXGradient(), model(tokens=tokens), IDS, Y)
        np.testing.assert_allclose(np.asarray(a), want, rtol=1e-4, atol=1e-5)


def test_a_text_of_one_token():
    ids, a = np.array([[5]]), np.ones((1, 1), np.float32)
    got = je.score(je.AOPCComprehensiveness(), model(), ids, [0], a).score
    p, q = (softmax(reference(P, [t]))[0] for t in (5, MASK))
    np.testing.assert_allclose(got, [p - q], rtol=1e-4, atol=1e-6)
    assert np.isnan(je.score(je.LOOCorrelation(), model(), ids, [0], a).score).all()
