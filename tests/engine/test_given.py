"""Data frames, labels and SHAP values as users have them; what is ambiguous is refused."""

from __future__ import annotations

import sys
import types

import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

import jaxeval as je

N, F, K = 5, 4, 3
RNG = np.random.default_rng(0)
X = RNG.normal(size=(N, F)).astype(np.float32)
Y = np.array([0, 2, 1, 0, 2])
ALL = RNG.normal(size=(N, F, K))
MAPS = np.take_along_axis(ALL, Y[:, None, None], -1)[..., 0]
MODEL = je.Model(lambda w, x: x @ w, jnp.ones((F, K)), channel_axis=None)
METRIC = je.Sparseness()
FRAME = pd.DataFrame(X, columns=list("abcd"))


def score(a, x=X, y=Y, model=MODEL):
    return np.asarray(je.score(METRIC, model, x, y, a).score)


WANT = score(MAPS)


def explanation(values, data=X, names=None):
    """As shap's: recognised by its module, so that shap need not be installed."""
    module = sys.modules.get("shap") or types.ModuleType("shap")
    cls = type("Explanation", (), {"__module__": module.__name__})
    made = cls()
    made.values, made.data, made.feature_names = values, data, names
    made.shape = values.shape
    return made


@pytest.mark.parametrize(
    "a",
    [
        ALL,
        list(np.moveaxis(ALL, -1, 0)),
        list(MAPS),
        pd.DataFrame(MAPS, columns=FRAME.columns),
        explanation(ALL),
        explanation(MAPS, names=list("abcd")),
        MAPS[..., None],
    ],
    ids=["NFK", "list of K", "list of N", "frame", "Explanation NFK", "Explanation NF", "NF1"],
)
def test_shap_values_of_all_shapes_are_read(a):
    given = a if not isinstance(a, list) else {"SHAP": a}
    if isinstance(given, dict):
        r = je.evaluate(MODEL, X, Y, explainers=given, metrics=[METRIC], progress=False)
        np.testing.assert_array_equal(r["SHAP", "Sparseness"].score, WANT)
    else:
        np.testing.assert_array_equal(score(given, x=FRAME), WANT)


def test_shap_itself():
    shap = pytest.importorskip("shap")
    values = shap.Explanation(ALL, data=X, feature_names=list("abcd"))
    np.testing.assert_array_equal(score(values, x=FRAME), WANT)


INTERACTIONS = np.ones((N, F, F)) + np.eye(F)


@pytest.mark.parametrize(
    ("a", "given", "words"),
    [
        (ALL[..., :2], {}, r"maps of 2 classes, but the model has 3"),
        (ALL, {"y": None}, "one map per class: give y="),
        (INTERACTIONS, {}, "SHAP interaction values"),
        (explanation(MAPS, data=X[::-1]), {}, "of other samples"),
        (explanation(MAPS, names=list("abdc")), {"x": FRAME}, "another order"),
        (MAPS[:3], {}, "one row for each of the 5 samples"),
        (MAPS[:, :3], {}, r"wanted \[N, 4\]"),
    ],
)
def test_maps_that_do_not_fit_are_refused(a, given, words):
    with pytest.raises(ValueError, match=words):
        score(a, **given)


def test_one_output_explains_class_1():
    """SHAP values of a logit have the sign of class 1."""
    model = je.Model(lambda w, x: x @ w, jnp.ones((F, 1)), channel_axis=None, outputs="binary")
    with pytest.raises(ValueError, match=r"np.where\(y == 1, v, -v\)"):
        score(explanation(MAPS), y=Y % 2, model=model)
    np.testing.assert_array_equal(score(explanation(MAPS), y=np.ones(N, int), model=model), WANT)


NAMED = je.Model(lambda w, x: x @ w, jnp.ones((F, K)), channel_axis=None, classes=["x", "y", "z"])


@pytest.mark.parametrize(
    ("y", "model"),
    [
        (np.eye(K)[Y], MODEL),
        (np.eye(K, dtype=bool)[Y], MODEL),
        (Y[:, None], MODEL),
        (pd.Series(Y, index=range(7, 12)), MODEL),
        (np.array(["x", "y", "z"])[Y], NAMED),
        (pd.Series(np.array(["x", "y", "z"])[Y]), NAMED),
        (pd.Series(np.array(["x", "y", "z"])[Y], dtype="category"), NAMED),
        (np.eye(K)[Y], NAMED),
    ],
)
def test_labels_are_read(y, model):
    r = je.evaluate(model, X, y, explainers={"A": MAPS}, metrics=[METRIC], progress=False)
    np.testing.assert_array_equal(r.y, Y)


@pytest.mark.parametrize(
    ("y", "model", "words"),
    [
        (np.array(["x", "y", "z"])[Y], MODEL, r"give Model\(classes=\[...\]\)"),
        (np.full((N, K), 1 / K), MODEL, r"not one-hot: sample 0.*y.argmax\(1\)"),
        (np.ones((N, K)), MODEL, "do not exclude each other"),
        (np.eye(4)[Y], MODEL, "4 columns, but the model has 3 classes"),
        (Y.astype(float), MODEL, r"y.astype\(int\) for classes"),
        (Y, NAMED, "y holds 0 for sample 0"),
        (["x", "y", "z", "w", "x"], NAMED, "y holds 'w' for sample 3"),
    ],
)
def test_labels_that_cannot_be_read_are_refused(y, model, words):
    with pytest.raises((TypeError, ValueError), match=words):
        score(MAPS, y=y, model=model)


@pytest.mark.parametrize(
    ("x", "words"),
    [
        (FRAME.assign(city="Ulm"), r"not numbers: 'city'.*get_dummies"),
        (pd.concat([FRAME, FRAME], axis=1), "several columns of the name"),
        (FRAME.assign(a=np.nan), "NaN"),
    ],
)
def test_frames_that_cannot_be_read_are_refused(x, words):
    with pytest.raises((TypeError, ValueError), match=words):
        score(np.ones((N, len(x.columns))), x=x)


def test_frames_and_their_background():
    r = je.evaluate(
        MODEL,
        FRAME.astype({"a": int}).assign(b=[True, False] * 2 + [True]),
        Y,
        explainers={"A": MAPS},
        metrics={"m": je.PixelFlipping(baseline="background mean", n_steps=2)},
        background=FRAME,
        progress=False,
    )
    assert r.settings["feature_names"] == list("abcd")
    with pytest.raises(ValueError, match="the columns of background are in another order"):
        je.evaluate(MODEL, FRAME, Y, explainers={"A": MAPS}, metrics=[METRIC],
                    background=FRAME[list("abdc")])  # fmt: skip


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"classes": "abc"}, "a list of names"),
        ({"classes": ["a", "a"]}, "a name twice"),
        ({"feature_names": [1.5]}, "text or whole numbers"),
    ],
)
def test_names_of_a_model_are_checked(given, words):
    with pytest.raises((TypeError, ValueError), match=words):
        je.Model(jnp.dot, jnp.ones((F, K)), **given)
