"""Functions that fail in Quantus with the NumPy of today."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from tests.bridges.quantus.conftest import ours, theirs


@pytest.mark.parametrize("axes", [None, (1,), (1, 2)])
@pytest.mark.parametrize("sign", ["both", "positive", "negative", "zero"])
def test_normalise_by_negative(axes, sign):
    a = np.random.default_rng(0).normal(size=(3, 4, 5))
    a = {"both": a, "positive": abs(a), "negative": -abs(a), "zero": 0 * a}[sign]
    got, over = ours.normalise_by_negative(a, axes), axes or (0, 1, 2)
    np.testing.assert_array_equal(np.sign(got), np.sign(a))
    if sign == "both" and axes != (1,):  # four of a kind may have one sign
        top, bottom = a.max(axis=over, keepdims=True), -a.min(axis=over, keepdims=True)
        np.testing.assert_allclose(got, np.maximum(a, 0) / top + np.minimum(a, 0) / bottom)
    elif sign in ("positive", "negative"):
        np.testing.assert_allclose(got, a / abs(a).max(axis=over, keepdims=True))


def test_area_under_a_curve():
    curves = np.array([[1.0, 0.5, 0.0], [2.0, 2.0, 2.0]])
    assert ours.calculate_auc(curves, batched=True).tolist() == [1.0, 4.0]
    assert theirs.helpers.utils.calculate_auc(curves[0]) == 1.0


def test_rank_correlation_of_rows():
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 9, (2, 5, 40)).astype(np.float32)  # with ties
    b[3] = 1
    with np.errstate(invalid="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        want = theirs.correlation_spearman(a, b, batched=True)
    got = ours.correlation_spearman(a, b, batched=True)
    np.testing.assert_allclose(got, want, atol=1e-12)
    assert np.isnan(got[3])
    assert ours.correlation_spearman(a[0], b[0]) == theirs.correlation_spearman(a[0], b[0])


@pytest.mark.parametrize("method", sorted(ours.explainers.METHODS))
@pytest.mark.parametrize("axes", [[1], []])
def test_explain(case, method, axes):
    kwargs = {"method": method, "reduce_axes": axes}
    if method == "Occlusion":
        kwargs["window"] = (1, 9, 9)
    x, y = case.x[:2], case.y[:2]
    with ours.engine("jaxeval"):
        got = ours.explain(case.net, x, y, **kwargs)
    assert [entry.engine for entry in ours.log()] == ["jaxeval"]
    want = theirs.explain(case.net, x, y, **kwargs)
    np.testing.assert_allclose(got, want, atol=2e-5 * np.abs(want).max())


def test_explain_without_a_channel_axis(case):
    with ours.engine("jaxeval"):
        got = ours.explain(case.net, case.x, case.y, method="Saliency", keepdims=False)
    want = theirs.explain(case.net, case.x, case.y, method="Saliency", keepdims=False)
    assert got.shape == want.shape == case.x[:, 0].shape
    np.testing.assert_allclose(got, want, atol=1e-5 * want.max())


@pytest.mark.parametrize(
    "a",
    [
        np.arange(24.0).reshape(2, 1, 3, 4),
        np.arange(24.0).reshape(2, 1, 4, 3),  # the axes of x in another order
        np.arange(8.0).reshape(2, 1, 1, 4),
        np.arange(12.0).reshape(1, 1, 3, 4),  # of one sample too few
        np.arange(12.0).reshape(2, 6),
        np.zeros((2, 1, 3, 4)),
        np.ones((2, 1, 3, 4)),
        np.full((2, 1, 3, 4), 0.3),
        np.full((2, 1, 3, 4), np.nan),
        -np.arange(1.0, 25.0).reshape(2, 1, 3, 4),
        np.where(np.arange(24).reshape(2, 1, 3, 4) == 5, np.nan, 0.0),
        np.where(np.arange(24).reshape(2, 1, 3, 4) == 5, -0.0, 0.0),
        np.arange(24).reshape(2, 1, 3, 4).tolist(),
    ],
)
def test_the_quick_check_of_maps_is_that_of_quantus(a):
    import quantus.helpers.asserts as asserts

    x, slow = np.zeros((2, 1, 3, 4)), asserts.assert_attributions

    def said() -> str | None:
        try:
            return asserts.assert_attributions(x_batch=x, a_batch=a)
        except AssertionError as e:
            return str(e)

    want = said()
    with ours.mended.quick_checks():
        assert asserts.assert_attributions is not slow
        with ours.mended.quick_checks():
            assert said() == want
    assert asserts.assert_attributions is slow
