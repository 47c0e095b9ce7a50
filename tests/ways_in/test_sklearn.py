"""`from_sklearn`: predictions are the estimator's, decisions exactly; what cannot be is refused."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest

import jaxeval as je

pytest.importorskip("sklearn")
from sklearn import (
    cluster,
    compose,
    ensemble,
    impute,
    linear_model,
    multiclass,
    multioutput,
    naive_bayes,
    neural_network,
    preprocessing,
    svm,
    tree,
)
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris
from sklearn.decomposition import PCA
from sklearn.feature_selection import SelectKBest
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KNeighborsClassifier, RadiusNeighborsClassifier
from sklearn.pipeline import make_pipeline

CANCER, IRIS, DIABETES = (
    f(return_X_y=True) for f in (load_breast_cancer, load_iris, load_diabetes)
)
MLP = {"hidden_layer_sizes": (8,), "max_iter": 30, "random_state": 0}
FEW = {"n_estimators": 7, "random_state": 0}
scaled = preprocessing.StandardScaler

CASES = {
    "logistic, 2": (make_pipeline(scaled(), linear_model.LogisticRegression()), CANCER, "binary"),
    "logistic, 3": (linear_model.LogisticRegression(max_iter=500), IRIS, "logits"),
    "one against the rest": (
        make_pipeline(preprocessing.MinMaxScaler(), linear_model.SGDClassifier(loss="log_loss")),
        *(IRIS, "probabilities"),
    ),
    "support vectors": (svm.LinearSVC(), IRIS, "values"),
    "kernel, 2": (make_pipeline(scaled(), svm.SVC()), CANCER, "values"),
    "kernel, 3": (svm.SVC(kernel="poly", coef0=1.0), IRIS, "values"),
    "nu, 3": (svm.NuSVC(kernel="sigmoid", gamma=0.01), IRIS, "values"),
    "kernel": (make_pipeline(scaled(), svm.SVR(C=100.0)), DIABETES, "values"),
    "nu": (svm.NuSVR(kernel="linear"), DIABETES, "values"),
    "naive Bayes": (naive_bayes.GaussianNB(), IRIS, "logits"),
    "poisson": (linear_model.PoissonRegressor(), DIABETES, "values"),
    "gamma": (linear_model.GammaRegressor(), DIABETES, "values"),
    "tweedie": (linear_model.TweedieRegressor(power=1.5), DIABETES, "values"),
    "tweedie, identity": (linear_model.TweedieRegressor(power=0), DIABETES, "values"),
    "descent": (make_pipeline(scaled(), linear_model.SGDRegressor()), DIABETES, "values"),
    "ridge, 3": (linear_model.RidgeClassifier(), IRIS, "values"),
    "ridge": (GridSearchCV(linear_model.Ridge(), {"alpha": [1, 2]}, cv=2), DIABETES, "values"),
    "perceptron, 2": (
        make_pipeline(scaled(), neural_network.MLPClassifier(**MLP)), CANCER, "binary"
    ),
    "perceptron, 3": (neural_network.MLPClassifier(activation="tanh", **MLP), IRIS, "logits"),
    "perceptron": (neural_network.MLPRegressor(activation="logistic", **MLP), DIABETES, "values"),
    "components": (
        make_pipeline(scaled(), PCA(3, whiten=True), linear_model.LogisticRegression()),
        *(CANCER, "binary"),
    ),
    "tree": (tree.DecisionTreeClassifier(random_state=0), CANCER, "probabilities"),
    "chosen columns": (
        make_pipeline(SelectKBest(k=5), ensemble.RandomForestClassifier(**FEW)),
        *(CANCER, "probabilities"),
    ),
    "forest": (ensemble.RandomForestRegressor(max_depth=5, **FEW), DIABETES, "values"),
    "extra trees": (ensemble.ExtraTreesClassifier(**FEW), IRIS, "probabilities"),
    "boosting, 2": (ensemble.GradientBoostingClassifier(**FEW), CANCER, "binary"),
    "boosting, 3": (ensemble.GradientBoostingClassifier(**FEW), IRIS, "logits"),
    "boosting": (ensemble.GradientBoostingRegressor(**FEW), DIABETES, "values"),
    "histograms, 3": (ensemble.HistGradientBoostingClassifier(max_iter=4), IRIS, "logits"),
    "histograms": (
        ensemble.HistGradientBoostingRegressor(max_iter=4, loss="poisson"), DIABETES, "values"
    ),
}  # fmt: skip


def probabilities(model, x):
    z = np.asarray(model(x), np.float64)
    if model.outputs == "binary":
        p = 1 / (1 + np.exp(-z))
        return np.concatenate([1 - p, p], 1)
    if model.outputs == "logits":
        e = np.exp(z - z.max(1, keepdims=True))
        return e / e.sum(1, keepdims=True)
    return z


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("case", CASES)
def test_predictions_are_the_estimators(case):
    estimator, (x, y), outputs = CASES[case]
    estimator.fit(x[::2], y[::2])
    model = je.from_sklearn(estimator)
    assert (model.outputs, bool(model.host)) == (outputs, False)
    x = x[1::2].astype(np.float32)
    own = getattr(estimator, "predict_proba", getattr(estimator, "decision_function", None))
    want = (own or estimator.predict)(x)
    want = want[:, None] if want.ndim == 1 else want
    np.testing.assert_allclose(probabilities(model, x), want, rtol=1e-4, atol=1e-5 * want.max())


def test_decisions_at_thresholds_are_exact():
    """Thresholds between two float32 numbers, and on one; x on them and next to them."""
    x, y = CANCER
    estimator = tree.DecisionTreeClassifier(random_state=0).fit(x, y)
    rows = np.tile(x[:1].astype(np.float32), (3 * len(estimator.tree_.feature), 1))
    for i, (column, at) in enumerate(
        zip(estimator.tree_.feature, estimator.tree_.threshold, strict=True)
    ):
        near = np.float32(at)
        rows[3 * i : 3 * i + 3, column] = [
            np.nextafter(near, -np.inf),
            near,
            np.nextafter(near, 1e9),
        ]
    np.testing.assert_array_equal(je.from_sklearn(estimator)(rows), estimator.predict_proba(rows))


def forest():
    data = load_breast_cancer(as_frame=True)
    names = data.target_names[data.target]
    return ensemble.RandomForestClassifier(**FEW).fit(data.data, names), data.data, names


def test_trees_have_no_gradients_and_other_methods_run_in_the_engine():
    estimator, x, y = forest()
    model = je.from_sklearn(estimator)
    for name in (
        "Saliency",
        "IntegratedGradients",
        "SmoothGrad",
        "LRP",
        "DeepLift",
        "GuidedBackprop",
    ):
        with pytest.raises(je.EvaluationError, match="piecewise constant"):
            je.attribute(je.explain.get(name), model, x[:2], y[:2])
    baseline = x.mean().to_numpy(np.float32)
    rows, column = x[:3].to_numpy(np.float32), 7
    a = je.attribute(je.explain.FeatureAblation(baseline=baseline), model, x[:3], y[:3])
    gone = rows.copy()
    gone[:, column] = baseline[column]
    at = np.searchsorted(estimator.classes_, y[:3])[:, None]
    p, q = (np.take_along_axis(estimator.predict_proba(pd.DataFrame(v, columns=x.columns)), at, 1)
            for v in (rows, gone))  # fmt: skip
    np.testing.assert_allclose(a[:, column], (p - q)[:, 0], atol=1e-6)
    with pytest.raises(ValueError, match="no parameters"):
        je.score(je.MPRT(), model, x[:2], y[:2], explainer=je.explain.Occlusion(window=1))


def test_labels_and_columns_are_the_estimators():
    estimator, x, y = forest()
    model = je.from_sklearn(estimator, x)
    assert model.classes == ("benign", "malignant")
    assert model.feature_names == tuple(x.columns)
    given = {"explainers": {"A": np.ones((4, 30))}, "metrics": {"m": je.PixelFlipping(n_steps=2)}}
    given["metrics"]["m"] = je.PixelFlipping(n_steps=2, baseline="zero")
    r = je.evaluate(model, x[:4], y[:4], **given, progress=False)
    assert r.y.tolist() == [1, 1, 1, 1]
    assert r.settings["feature_names"] == list(x.columns)
    assert r.settings["classes"] == ["benign", "malignant"]
    numbers = je.evaluate(model, x[:4].to_numpy(np.float32), y[:4], **given, progress=False)
    np.testing.assert_array_equal(r["A", "m"].score, numbers["A", "m"].score)
    with pytest.raises(ValueError, match="another order"):
        je.evaluate(model, x[:4][x.columns[::-1]], y[:4], **given)
    with pytest.raises(ValueError, match="lacks 'mean radius'"):
        je.evaluate(model, x[:4].drop(columns="mean radius"), y[:4], **given)
    with pytest.raises(ValueError, match=r"y holds 'bening' for sample 1.*Did you mean 'benign'"):
        je.evaluate(model, x[:4], ["benign", "bening", "benign", "benign"], **given)


def test_whole_labels_are_the_estimators_too():
    """Labels 3 and 7: the numbers 0 and 1 would be a guess."""
    x, y = CANCER
    model = je.from_sklearn(linear_model.LogisticRegression(max_iter=5000).fit(x, 3 + 4 * y))
    explain = je.explain.Gradient()
    seven = je.attribute(explain, model, x[:2], [7, 7])
    np.testing.assert_allclose(
        seven, -je.attribute(explain, model, x[:2], [3, 3]), rtol=1e-6, atol=1e-6
    )
    with pytest.raises(ValueError, match="y holds 1 for sample 0"):
        je.attribute(explain, model, x[:2], [1, 0])


@pytest.mark.parametrize(
    "estimator",
    [
        svm.SVC(break_ties=True),
        KNeighborsClassifier(),
        RadiusNeighborsClassifier(),
        ensemble.AdaBoostClassifier(n_estimators=3),
    ],
    ids=lambda e: type(e).__name__,
)
def test_others_run_on_the_host_and_say_so(estimator):
    x, y = IRIS
    estimator.fit(x, y)
    with pytest.warns(UserWarning, match=f"{type(estimator).__name__} runs on the host"):
        model = je.from_sklearn(estimator)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert je.from_sklearn(estimator, host=True).host
    own = getattr(estimator, "predict_proba", None) or estimator.decision_function
    np.testing.assert_allclose(model(x[:9]), own(x[:9]), rtol=1e-6, atol=1e-6)


@pytest.mark.filterwarnings("ignore:.*runs on the host")
@pytest.mark.parametrize(
    "estimator",
    [
        ensemble.VotingClassifier([("tree", tree.DecisionTreeClassifier(max_depth=2))]),
        cluster.KMeans(3, n_init=1, random_state=0),
    ],
    ids=lambda e: type(e).__name__,
)
def test_labels_alone_have_the_probability_1(estimator):
    x, y = IRIS
    model = je.from_sklearn(estimator.fit(x, y))
    assert model.outputs == "probabilities"
    np.testing.assert_array_equal(model(x), np.eye(3)[estimator.predict(x)])


@pytest.mark.filterwarnings("ignore:.*runs on the host")
def test_labels_that_do_not_exclude_each_other_are_values():
    x, y = IRIS
    several = np.stack([y > 0, y < 2], 1)
    for kind in (multioutput.ClassifierChain, multiclass.OneVsRestClassifier):
        estimator = kind(linear_model.LogisticRegression(max_iter=500)).fit(x, several)
        model = je.from_sklearn(estimator)
        assert model.outputs == "values"
        np.testing.assert_allclose(
            model(x[:9]), estimator.predict_proba(x[:9]), rtol=1e-6, atol=1e-6
        )


def test_a_formula_that_does_not_hold_is_not_used():
    class Other(linear_model.Ridge):
        def predict(self, x):
            return super().predict(x) ** 2

    with pytest.warns(UserWarning, match="predictions are not those of the formula"):
        model = je.from_sklearn(Other().fit(*DIABETES))
    assert model.host


@pytest.mark.parametrize(
    ("given", "kind", "words"),
    [
        (linear_model.Ridge, TypeError, r"the class Ridge: give Ridge\(...\).fit"),
        (linear_model.Ridge(), ValueError, "Ridge is not fitted"),
        (scaled(), TypeError, "predict_proba, decision_function or predict"),
    ],
)
def test_what_is_no_fitted_estimator_is_refused(given, kind, words):
    with pytest.raises(kind, match=words):
        je.from_sklearn(given)


@pytest.mark.parametrize(
    ("settings", "data", "outputs"),
    [
        ({}, CANCER, "binary"),
        ({}, IRIS, "logits"),
        ({"early_stopping_rounds": 2, "n_estimators": 60}, IRIS, "logits"),
        ({"objective": "count:poisson"}, DIABETES, "values"),
        ({"objective": "reg:squarederror"}, DIABETES, "values"),
        ({"booster": "dart", "rate_drop": 0.5}, CANCER, "binary"),
        ({"booster": "dart", "rate_drop": 0.5}, DIABETES, "values"),
        ({"rate_drop": 0.5, "one_drop": True}, IRIS, "logits"),
        ({"booster": "gblinear", "max_depth": None}, IRIS, "logits"),
    ],
)
def test_xgboost(settings, data, outputs):
    xgboost = pytest.importorskip("xgboost")
    x, y = data
    kind = xgboost.XGBRegressor if outputs == "values" else xgboost.XGBClassifier
    estimator = kind(**{"n_estimators": 6, "max_depth": 3, **settings})
    extra = {"eval_set": [(x[1::2], y[1::2])]} if "early_stopping_rounds" in settings else {}
    estimator.fit(x[::2], y[::2], verbose=False, **extra)
    model = je.from_sklearn(estimator)
    assert (model.outputs, bool(model.host)) == (outputs, False)
    own = estimator.predict if outputs == "values" else estimator.predict_proba
    want = own(x)[:, None] if outputs == "values" else own(x)
    np.testing.assert_allclose(
        probabilities(model, x.astype(np.float32)), want, rtol=1e-4, atol=1e-6
    )


MISSING = np.random.default_rng(0).uniform(size=DIABETES[0].shape) < 0.2


@pytest.mark.parametrize("kind", ["xgboost", "histograms", "forest"])
def test_missing_values_go_the_estimators_way(kind):
    x, y = np.where(MISSING, np.nan, DIABETES[0]).astype(np.float32), DIABETES[1]
    if kind == "xgboost":
        estimator = pytest.importorskip("xgboost").XGBRegressor(n_estimators=5, max_depth=4)
    elif kind == "forest":
        estimator = ensemble.RandomForestRegressor(max_depth=5, **FEW)
    else:
        estimator = ensemble.HistGradientBoostingRegressor(max_iter=4)
    model = je.from_sklearn(estimator.fit(x, y))
    assert not model.host
    np.testing.assert_allclose(model(x)[:, 0], estimator.predict(x), rtol=1e-5, atol=1e-6)


@pytest.mark.filterwarnings("ignore:.*runs on the host")
def test_xgboosts_own_kinds_of_outputs():
    xgboost = pytest.importorskip("xgboost")
    x, y = IRIS
    data = xgboost.DMatrix(x, y)
    labels = xgboost.train({"objective": "multi:softmax", "num_class": 3}, data, 3)
    model = je.from_sklearn(labels)
    assert model.outputs == "logits"
    want = labels.predict(data, output_margin=True)
    np.testing.assert_allclose(model(x.astype(np.float32)), want, rtol=1e-5, atol=1e-6)
    raw = xgboost.XGBClassifier(n_estimators=3, objective="binary:logitraw").fit(x, y > 0)
    model = je.from_sklearn(raw)
    assert model.outputs == "binary"
    want = raw.predict(x, output_margin=True)
    np.testing.assert_allclose(model(x.astype(np.float32))[:, 0], want, rtol=1e-5, atol=1e-6)
    zero = xgboost.XGBRegressor(n_estimators=2, missing=0.0).fit(np.round(x), y)
    model = je.from_sklearn(zero)
    assert model.host
    np.testing.assert_allclose(
        model(np.round(x))[:, 0], zero.predict(np.round(x)), rtol=1e-6, atol=1e-6
    )


@pytest.mark.filterwarnings("ignore:.*runs on the host")
def test_what_was_fitted_on_text_says_what_to_do():
    frame = pd.DataFrame({"n": DIABETES[0][:, 0], "sex": np.where(DIABETES[0][:, 1] > 0, "f", "m")})
    encode = compose.make_column_transformer(
        (preprocessing.OneHotEncoder(), ["sex"]), remainder="passthrough"
    )
    pipeline = make_pipeline(encode, linear_model.Ridge()).fit(frame, DIABETES[1])
    with pytest.raises(ValueError, match=r"must hold numbers.*pipeline\[:-1\].transform"):
        je.from_sklearn(pipeline, frame)
    model = je.from_sklearn(pipeline)
    with pytest.raises(ValueError, match="failed on rows of numbers"):
        model(np.zeros((2, 2), np.float32))
    x = np.asarray(pipeline[:-1].transform(frame), np.float32)
    model = je.from_sklearn(pipeline[-1], x)
    np.testing.assert_allclose(model(x)[:, 0], pipeline.predict(frame), rtol=1e-4)


def test_xgboosts_labels_that_do_not_exclude_each_other_are_values():
    xgboost = pytest.importorskip("xgboost")
    x, y = IRIS
    several = np.stack([y > 0, y < 2, x[:, 0] > 6], 1).astype(int)
    estimator = xgboost.XGBClassifier(n_estimators=3).fit(x, several)
    model = je.from_sklearn(estimator)
    assert (model.outputs, bool(model.host)) == ("values", False)
    want = estimator.predict_proba(x)
    np.testing.assert_allclose(model(x.astype(np.float32)), want, rtol=1e-5, atol=1e-6)


def test_columns_are_transformed_beside_each_other():
    """Names in another order, a pipeline within, columns left out, and the remainder."""
    frame = pd.DataFrame(np.where(MISSING, np.nan, DIABETES[0])[:, :6], columns=list("abcdef"))
    frame["f"] = DIABETES[0][:, 5]
    inner = make_pipeline(impute.SimpleImputer(strategy="median"), scaled())
    columns = compose.ColumnTransformer(
        [
            ("last", preprocessing.MinMaxScaler(), ["f"]),
            ("inner", inner, ["c", "a"]),
            ("without", "drop", ["b"]),
            ("none", scaled(), []),
        ],
        remainder="passthrough",
    )
    pipeline = make_pipeline(columns, impute.SimpleImputer(), linear_model.Ridge())
    pipeline.fit(frame, DIABETES[1])
    model = je.from_sklearn(pipeline, frame)
    assert (bool(model.host), model.feature_names) == (False, tuple("abcdef"))
    x = frame.to_numpy(np.float32)
    np.testing.assert_allclose(model(x)[:, 0], pipeline.predict(frame), rtol=1e-4)
    with pytest.raises(ValueError, match=r"fill in missing ones.*x\.fillna"):
        je.attribute("Gradient", model, frame[:3])
    a = je.attribute("Gradient", model, frame.fillna(0.0)[:3])
    assert a[:, 5].all()
    assert not a[:, 1].any()


@pytest.mark.filterwarnings("ignore:.*runs on the host")
@pytest.mark.parametrize(
    "step",
    [
        compose.make_column_transformer((preprocessing.Binarizer(), [1]), remainder=scaled()),
        impute.SimpleImputer(add_indicator=True),
        impute.SimpleImputer(missing_values=0),
    ],
    ids=str,
)
def test_steps_that_are_more_than_formulas_run_on_the_host(step):
    x = np.where(MISSING[:, :4], np.nan, DIABETES[0][:, :4])
    x[:, 1] = DIABETES[0][:, 1] > 0
    x = np.nan_to_num(x) if not getattr(step, "add_indicator", False) else x
    pipeline = make_pipeline(step, linear_model.Ridge()).fit(x, DIABETES[1])
    model = je.from_sklearn(pipeline, x)
    assert model.host
    np.testing.assert_allclose(model(np.float32(x))[:, 0], pipeline.predict(x), rtol=1e-4)


def test_a_booster_that_was_stopped_predicts_by_all_of_its_trees():
    xgboost = pytest.importorskip("xgboost")
    x, y = CANCER
    train, test = (xgboost.DMatrix(x[i::2], label=y[i::2]) for i in (0, 1))
    booster = xgboost.train(
        *({"objective": "binary:logistic", "eta": 1.0}, train, 60),
        evals=[(test, "test")], early_stopping_rounds=3, verbose_eval=False,
    )  # fmt: skip
    assert booster.best_iteration + 1 < booster.num_boosted_rounds()
    model = je.from_sklearn(booster)
    assert (model.outputs, bool(model.host)) == ("binary", False)
    want = booster.predict(xgboost.DMatrix(x))
    got = probabilities(model, x.astype(np.float32))[:, 1]
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-6)


def test_rows_at_the_thresholds_of_scaled_trees_warn():
    """XGBoost's and histograms' thresholds may be values of rows, which scaling rounds."""
    rng = np.random.default_rng(0)
    x = rng.normal(40, 10, (300, 2)).round(1)
    y = x[:, 0] + rng.normal(size=300) > 40
    x[:, 1] = np.round(x[:, 1])
    at = ensemble.RandomForestClassifier(20, random_state=0)
    pipeline = make_pipeline(scaled(), at).fit(x[::3], y[::3])
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        je.from_sklearn(pipeline, x)
    said = [str(w.message) for w in seen if "in float32, in which" in str(w.message)]
    want, rounded = (pipeline.predict_proba(v) for v in (x[:256], np.float64(np.float32(x[:256]))))
    n = int((np.abs(want - rounded) > 1e-4).any(1).sum())
    assert n > 0
    assert len(said) == 1
    assert f"for {n} of the first 256 rows" in said[0]
    given = pipeline[:-1].transform(x)
    model = je.from_sklearn(pipeline[-1], given)
    np.testing.assert_allclose(model(np.float32(given)), pipeline.predict_proba(x), atol=1e-6)
