"""`from_sklearn` of categories: encoders and splits by category decide as the estimator does."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest

import jaxeval as je

pytest.importorskip("sklearn")
from sklearn import compose, ensemble, feature_selection, impute, linear_model, neural_network
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    OneHotEncoder,
    OrdinalEncoder,
    StandardScaler,
    TargetEncoder,
)

RNG = np.random.default_rng(0)
N = 300
X = np.stack(
    [
        RNG.normal(size=N),
        RNG.choice([-2, 0, 1, 5, 7.5, 40], N, p=[0.3, 0.3, 0.2, 0.1, 0.07, 0.03]),
        RNG.integers(0, 2, N),
        RNG.choice([3, 4, np.nan], N),
    ],
    1,
).astype(np.float32)
Y = X[:, 0] + np.isin(X[:, 1], [0, 7.5]) * 2 + X[:, 2] + np.isnan(X[:, 3])
UNKNOWN = np.float32(
    [
        [0, 0.5, 0.5, 3.5],
        [0, 6, 2, 5],
        [0, np.nan, np.nan, np.nan],
        [0, 100, -1, -3],
        [0, 1e9, 1e9, 1e9],
        [0, -0.5, -0.5, -0.5],
        [0, 1, 1, 3],
    ]
)
"""Between categories, missing where none was, beyond them."""


def frame(x: Any) -> pd.DataFrame:
    return pd.DataFrame(x, columns=list("abcd")).astype(float)


def same(estimator: Any, x: Any, **given: Any) -> je.Model:
    """The converted model, whose outputs are the estimator's."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Found unknown categories")
        warnings.filterwarnings("ignore", ".*are none of a column's categories")
        model = je.from_sklearn(estimator, **given)
        assert not model.host
        named = hasattr(estimator, "feature_names_in_")
        own = getattr(estimator, "predict_proba", estimator.predict)
        want = own(frame(x) if named else np.float64(x))
    z = np.asarray(model(x), np.float64)
    if model.outputs == "binary":
        z = np.concatenate([1 / (1 + np.exp(z)), 1 / (1 + np.exp(-z))], 1)
    want = want[:, None] if want.ndim == 1 else want
    np.testing.assert_allclose(z, want, rtol=1e-5, atol=1e-5)
    return model


def columns(encoder: Any) -> compose.ColumnTransformer:
    return compose.make_column_transformer(
        (encoder, [3, 1, 2]), (StandardScaler(), [0]), verbose_feature_names_out=False
    )


IGNORED = {"handle_unknown": "ignore"}
FEW = {"handle_unknown": "infrequent_if_exist"}
ENCODERS = {
    "ignore": OneHotEncoder(**IGNORED),
    "first": OneHotEncoder(drop="first", **IGNORED),
    "if_binary": OneHotEncoder(drop="if_binary", sparse_output=False, **IGNORED),
    "chosen": OneHotEncoder(drop=[3, 5, 1], **IGNORED),
    "frequency": OneHotEncoder(min_frequency=40, **FEW),
    "share": OneHotEncoder(min_frequency=0.2, drop="first", **FEW),
    "most": OneHotEncoder(max_categories=2, **FEW),
    "most, ignore": OneHotEncoder(max_categories=3, **IGNORED),
    "given": OneHotEncoder(
        categories=[np.array([3.0, 4.0]), np.arange(-2.0, 8.0), np.array([0.0, 1.0])], **IGNORED
    ),
    "ordinal": OrdinalEncoder(
        handle_unknown="use_encoded_value", unknown_value=-1, encoded_missing_value=-2
    ),
    "ordinal, infrequent": OrdinalEncoder(
        handle_unknown="use_encoded_value",
        unknown_value=9,
        encoded_missing_value=8,
        min_frequency=40,
    ),
    "target": TargetEncoder(random_state=0),
}


def converted_gives(want, model, x, kind):
    """What the estimator predicts, in JAX; probabilities as logits of this kind."""
    assert (bool(model.host), model.outputs) == (False, kind)
    z = np.asarray(model(x), np.float64)
    if kind == "binary":
        z = np.concatenate([0 * z, z], 1)
    if kind != "values":
        z = np.exp(z) / np.exp(z).sum(1, keepdims=True)
    np.testing.assert_allclose(z, want.reshape(z.shape), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("named", [False, True], ids=["array", "frame"])
@pytest.mark.parametrize("encoder", ENCODERS.values(), ids=ENCODERS)
def test_encoders_of_pipelines(encoder, named):
    pipeline = make_pipeline(columns(encoder), linear_model.Ridge())
    pipeline.fit(frame(X) if named else np.float64(X), Y)
    same(pipeline, np.concatenate([X, UNKNOWN]))


def test_encoders_in_other_places():
    """As the first step, before steps that mix columns, after an imputer, and before trees."""
    x = np.concatenate([X, UNKNOWN])
    net = neural_network.MLPClassifier((4,), max_iter=20, random_state=0)
    encoder = OneHotEncoder(**IGNORED)
    chosen = feature_selection.SelectKBest(feature_selection.f_classif, k=3)
    scaled = StandardScaler(with_mean=False)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=UserWarning)
        first = make_pipeline(encoder, scaled, chosen, net).fit(X[:, 1:], Y > 1)
    same(first, x[:, 1:])
    within = make_pipeline(impute.SimpleImputer(strategy="most_frequent"), encoder)
    forest = ensemble.RandomForestRegressor(5, random_state=0)
    same(make_pipeline(columns(within), forest).fit(X, Y), x)


@pytest.mark.parametrize("last", [linear_model.Ridge(), ensemble.RandomForestRegressor(5)], ids=str)
@pytest.mark.parametrize("encoder", [OneHotEncoder(), OrdinalEncoder(encoded_missing_value=5)])
def test_rows_that_an_encoder_refuses_are_nan(encoder, last):
    """Also where trees would send NaN some way, or the columns are not selected."""
    steps = columns(encoder), feature_selection.SelectKBest(feature_selection.f_regression, k=1)
    pipeline = make_pipeline(*steps, last).fit(X, Y)
    same(pipeline, X)
    with pytest.warns(UserWarning, match=r"outputs are NaN.*\"background\".*handle_unknown"):
        model = je.from_sklearn(pipeline)
    assert np.isnan(model(UNKNOWN)).ravel().tolist() == [True] * 6 + [False]
    with pytest.raises(ValueError, match="unknown categories"):
        pipeline.predict(UNKNOWN[:1])
    whole = X[~np.isnan(X).any(1)]
    metric = je.PixelFlipping(baseline="zero", n_steps=None, output="logit")
    with pytest.warns(UserWarning, match="answered NaN about"):
        out = je.score(metric, model, whole[:3], np.zeros(3, int), np.float32([[3, 2, 1, 0]] * 3))
    assert out.n_undefined == 3
    drawn = je.PixelFlipping(baseline="background", n_steps=None, output="logit")
    out = je.score(
        drawn, model, whole[:3], np.zeros(3, int), np.float32([[3, 2, 1, 0]] * 3), background=whole
    )
    assert out.n_undefined == 0


@pytest.mark.parametrize("name", ["Gradient", "IntegratedGradients", "LRP", "DeepLift"])
def test_encoded_columns_have_no_gradients(name):
    whole = X[~np.isnan(X).any(1)]
    pipeline = make_pipeline(columns(OneHotEncoder(**IGNORED)), linear_model.Ridge()).fit(
        whole, Y[~np.isnan(X).any(1)]
    )
    model = je.from_sklearn(pipeline, whole)
    with pytest.raises(je.EvaluationError, match=r"categories are encoded.*KernelShap"):
        je.attribute(name, model, whole[:2])
    a = je.attribute(je.explain.FeatureAblation(baseline="zero"), model, whole[:2])
    assert a.shape == (2, 4)


@pytest.mark.parametrize("values", [["f", "m"], [0.1, 0.7]], ids=["text", "of float64"])
def test_categories_that_are_no_float32_numbers_stay_on_the_host(values):
    x = pd.DataFrame(
        {
            "a": X[:, 0],
            "b": np.array(values, object if values[0] == "f" else float)[X[:, 2].astype(int)],
        }
    )
    pipeline = make_pipeline(
        compose.make_column_transformer((OneHotEncoder(), ["b"])), linear_model.Ridge()
    )
    pipeline.fit(x, Y)
    with pytest.warns(
        UserWarning, match="runs on the host, once per batch, as (its step|step) 'onehot"
    ):
        assert je.from_sklearn(pipeline).host


# -- splits by category --------------------------------------------------------------------------

CODES = X.copy()
CODES[:, 1] = RNG.integers(0, 30, N)
CODES[::9, 1] = np.nan
CODES[:, 3] = RNG.integers(0, 4, N) * 3
TARGET = X[:, 0] + 3 * np.isin(CODES[:, 1], [2, 3, 11, 17, 29]) + np.isin(CODES[:, 3], [0, 9])
ODD = np.float32(
    [[0, v, 1, w] for v, w in zip([2.7, -0.5, -1, 30, 31.9, 64, 300, 1e9, np.nan, 2],
                                  [np.nan, -0.5, -3, 1, 1.5, 12, 256, 2.0**24, 9, 9], strict=True)]
)  # fmt: skip
"""Between categories, unknown ones, and those that were not among the rows of the training."""


@pytest.mark.parametrize("kind", ["binary", "logits", "values"])
@pytest.mark.parametrize("form", ["array", "names", "category"])
def test_histograms(kind, form):
    y = {"binary": TARGET > 1, "logits": np.digitize(TARGET, [0, 2]), "values": TARGET}[kind]
    cls = ensemble.HistGradientBoostingRegressor
    cls = cls if kind == "values" else ensemble.HistGradientBoostingClassifier
    given: Any = CODES if form == "array" else frame(CODES)
    of: Any = {"array": [1, 3], "names": ["b", "d"], "category": "from_dtype"}[form]
    if form == "category":
        given = given.astype({"d": "category", "b": "category"})
    estimator = cls(max_iter=6, min_samples_leaf=3, categorical_features=of).fit(given, y)
    assert any(p.nodes["is_categorical"].any() for stage in estimator._predictors for p in stage)
    model = je.from_sklearn(estimator)
    x = np.concatenate([CODES, ODD])
    own = frame(x) if form != "array" else np.float64(x)
    want = estimator.predict(own) if kind == "values" else estimator.predict_proba(own)
    converted_gives(want, model, x, kind)


def test_histograms_of_text_stay_on_the_host():
    x = frame(CODES).assign(d=pd.Series(CODES[:, 3]).map("k{}".format).astype("category"))
    estimator = ensemble.HistGradientBoostingRegressor(max_iter=3, categorical_features=["d"])
    with pytest.warns(UserWarning, match="it splits by categories that are no numbers"):
        assert je.from_sklearn(estimator.fit(x, TARGET)).host


@pytest.mark.parametrize("one_hot", [1, 100], ids=["partitions", "one against the rest"])
@pytest.mark.parametrize("kind", ["binary", "logits", "values"])
@pytest.mark.parametrize("form", ["array", "frame", "booster"])
def test_xgboost(form, kind, one_hot):
    xgboost = pytest.importorskip("xgboost")
    y = {"binary": TARGET > 1, "logits": np.digitize(TARGET, [0, 2]), "values": TARGET}[kind]
    cls = xgboost.XGBRegressor if kind == "values" else xgboost.XGBClassifier
    types = ["q", "c", "q", "c"]
    given: Any = CODES
    if form == "frame":
        types, given = None, frame(CODES)
        for c in "bd":
            words = given[c].map("k{:02.0f}".format, na_action="ignore")
            given[c] = words.astype("category")
    settings = {"n_estimators": 5, "max_cat_to_onehot": one_hot, "enable_categorical": True}
    estimator = cls(**settings, feature_types=types).fit(given, y.astype(float))
    x = np.concatenate([CODES, ODD])
    if form == "frame":  # the codes of 0, 3, 6, 9
        x[:, 3] = np.where(np.isin(x[:, 3], [3, 6, 9]), x[:, 3] / 3, x[:, 3])
    want = (estimator.predict if kind == "values" else estimator.predict_proba)(x)
    model = je.from_sklearn(estimator.get_booster() if form == "booster" else estimator)
    converted_gives(want, model, x, kind)


def test_zeros_of_sparse_matrices_are_missing_values_of_xgboost():
    xgboost = pytest.importorskip("xgboost")
    for sparse in (True, False):
        encoder = OneHotEncoder(sparse_output=sparse, **IGNORED)
        last = xgboost.XGBRegressor(n_estimators=5, max_depth=4)
        one = compose.make_column_transformer(
            (encoder, [1, 2, 3]), remainder="passthrough", sparse_threshold=1.0
        )
        given = np.where(RNG.random(X.shape) < 0.3, 0, X)
        pipeline = make_pipeline(one, last).fit(given, TARGET)
        same(pipeline, np.concatenate([given, UNKNOWN]).astype(np.float32))
