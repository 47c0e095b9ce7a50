"""`from_sklearn` of LightGBM: predictions are its own, for missing values and categories, too."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

import jaxeval as je

lightgbm: Any = pytest.importorskip("lightgbm")
pytest.importorskip("sklearn")

RNG = np.random.default_rng(0)
X = RNG.normal(size=(300, 4)).astype(np.float32)
X[:, 3] = RNG.integers(0, 40, len(X))  # categories
SCORE = X[:, 0] + np.where(np.isin(X[:, 3], [2, 7, 31]), 2, 0) + 0.3 * RNG.normal(size=len(X))
MISSING = np.where(RNG.uniform(size=X.shape) < 0.2, np.nan, X).astype(np.float32)
ODD = np.float32(
    [
        [0, 0, 0, 0],
        [np.nan] * 4,
        [np.inf] * 4,
        [1e-36] * 4,
        [0, -0.5, 9, 40],
        [1, 1, 1, -1],
        [1, 1, 1, 2.7],
    ]
)
"""What is not among the rows that it was fitted on."""
FEW = {"n_estimators": 6, "min_child_samples": 5, "min_data_per_group": 5, "verbose": -1}
TARGETS = {"binary": SCORE > 0, "multiclass": np.digitize(SCORE, [-0.5, 0.5]), "values": SCORE}


def probabilities(model: je.Model, x: Any) -> np.ndarray:
    z = np.asarray(model(x), np.float64)
    if model.outputs == "binary":
        z = np.concatenate([0 * z, z], 1)
    e = np.exp(z - z.max(1, keepdims=True))
    return z if model.outputs == "values" else e / e.sum(1, keepdims=True)


@pytest.mark.parametrize("x", [X, MISSING], ids=["complete", "missing"])
@pytest.mark.parametrize("categories", [[], [3]], ids=["numbers", "categories"])
@pytest.mark.parametrize("kind", TARGETS)
def test_predictions_are_lightgbms(kind, categories, x):
    cls = lightgbm.LGBMRegressor if kind == "values" else lightgbm.LGBMClassifier
    estimator = cls(**FEW).fit(x, TARGETS[kind], categorical_feature=categories)
    model = je.from_sklearn(estimator)
    outputs = {"multiclass": "logits"}.get(kind, kind)
    assert (model.outputs, bool(model.host), model.feature_names) == (outputs, False, None)
    given = np.concatenate([x, ODD])
    want = estimator.predict(given)[:, None]
    want = want if kind == "values" else estimator.predict_proba(given)
    np.testing.assert_allclose(probabilities(model, given), want, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("settings", "converted"),
    [
        ({"objective": "poisson"}, True),
        ({"objective": "gamma"}, True),
        ({"objective": "quantile"}, True),
        ({"boosting_type": "rf", "subsample": 0.6, "subsample_freq": 1}, True),
        ({"boosting_type": "dart"}, True),
        ({"use_missing": False}, True),
        ({"reg_sqrt": True}, False),
        ({"linear_tree": True}, False),
    ],
    ids=str,
)
@pytest.mark.filterwarnings("ignore:.*runs on the host")
def test_kinds_of_boosting(settings, converted):
    estimator = lightgbm.LGBMRegressor(**FEW, **settings).fit(MISSING, np.exp(SCORE))
    model = je.from_sklearn(estimator, MISSING)
    assert bool(model.host) is not converted
    given = np.concatenate([MISSING, ODD])
    np.testing.assert_allclose(model(given)[:, 0], estimator.predict(given), rtol=1e-5, atol=1e-6)


@pytest.mark.filterwarnings("ignore:.*runs on the host")
def test_zeros_that_are_missing_values():
    x = np.where(RNG.uniform(size=X.shape) < 0.3, 0, X)
    estimator = lightgbm.LGBMRegressor(zero_as_missing=True, **FEW).fit(x, SCORE)
    model = je.from_sklearn(estimator, x)
    np.testing.assert_allclose(model(x)[:, 0], estimator.predict(x), rtol=1e-5, atol=1e-6)


def test_boosters_names_and_early_stopping():
    frame = pd.DataFrame(MISSING, columns=["mean radius", "b", "c", "d"])
    data = lightgbm.Dataset(frame, label=SCORE > 0)
    noisy = RNG.uniform(size=100) < 1 / (1 + np.exp(-SCORE[::3]))
    later = lightgbm.Dataset(frame[::3], label=noisy, reference=data)
    settings = {"objective": "binary", "sigmoid": 2.0, "verbose": -1, "num_leaves": 4}
    stop = lightgbm.early_stopping(3, verbose=False)
    booster = lightgbm.train(settings, data, 80, valid_sets=[later], callbacks=[stop])
    assert booster.num_trees() < 80
    model = je.from_sklearn(booster)
    assert (model.outputs, bool(model.host)) == ("binary", False)
    want = booster.predict(frame)
    np.testing.assert_allclose(probabilities(model, MISSING)[:, 1], want, rtol=1e-5)
    a = je.attribute("FeatureAblation", model, frame.fillna(0.0)[:3], np.ones(3, int))
    assert a.shape == (3, 4)


def test_categories_of_data_frames_are_given_by_their_codes():
    names = pd.Series(X[:, 3].astype(int)).map("k{:02}".format).astype("category")
    frame = pd.DataFrame(X[:, :3], columns=["a", "b", "c"]).assign(kind=names)
    labels = np.where(SCORE > 0, "yes", "no")
    estimator = lightgbm.LGBMClassifier(**FEW).fit(frame, labels)
    codes = frame.assign(kind=frame.kind.cat.codes)
    model = je.from_sklearn(estimator, codes)
    assert (bool(model.host), model.classes) == (False, ("no", "yes"))
    want = estimator.predict_proba(frame)
    np.testing.assert_allclose(
        probabilities(model, np.asarray(codes, np.float32)), want, rtol=1e-5, atol=1e-6
    )
    with pytest.raises(ValueError, match=r"cat\.codes"):
        je.from_sklearn(estimator, frame)
    with pytest.raises(TypeError, match=r"cat\.codes"):
        je.attribute("FeatureAblation", model, frame[:2], labels[:2])
    host = je.from_sklearn(estimator, codes, host=True)
    np.testing.assert_allclose(host(np.asarray(codes, np.float32)), want, rtol=1e-5)
