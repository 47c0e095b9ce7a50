"""`from_sklearn`: converted where that is exact, called on the host elsewhere."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..check import warn
from ..model import KINDS, Model
from . import formulas, trees
from .estimator import OF_NUMBERS, Estimator
from .lightgbm import lightgbm
from .parts import Chain, Link, NotConvertible, OneVersusRest, Part, linear, mlp
from .steps import drawn, preprocessing
from .xgboost import Absent, xgboost

TOLERANCE = 1e-4
"""Largest difference to the estimator's own predictions, relative to the largest of them."""
ROWS = 256
"""Number of rows on which a converted estimator is compared with the estimator."""

FORESTS = {
    f"{kind}{task}"
    for kind in ("DecisionTree", "ExtraTree", "RandomForest", "ExtraTrees")
    for task in ("Classifier", "Regressor")
}
BOOSTING: dict[str, Callable[[Any], list[Part]]] = {
    "GradientBoostingClassifier": trees.gradient_boosting,
    "GradientBoostingRegressor": trees.gradient_boosting,
    "HistGradientBoostingClassifier": trees.hist_gradient_boosting,
    "HistGradientBoostingRegressor": trees.hist_gradient_boosting,
}


LINEAR = {
    *("LinearModel", "LinearClassifierMixin", "BaseSGDRegressor", "_GeneralizedLinearRegressor")
}
LOG_LINKS = ("PoissonRegressor", "GammaRegressor", "TweedieRegressor")
SUPPORT_VECTORS = ("SVC", "NuSVC", "SVR", "NuSVR")


def from_sklearn(
    estimator: Any, x: Any = None, *, outputs: str | None = None, host: bool = False
) -> Model:
    """A `Model` of tabular x [N, F] from a fitted estimator of scikit-learn, XGBoost or LightGBM.

    Linear and generalised linear models, support vector machines, Gaussian naive Bayes, multi-layer
    perceptrons, decision trees, random forests, gradient boosting (also XGBoost's and LightGBM's)
    become JAX functions, also as the last step of a `Pipeline` of scalers, PCA, encoders of
    categories and selection of columns, or as the best estimator of a search. Predictions are
    compared with the estimator's own on random rows and on `x`. Trees decide exactly as the
    estimator does for float32 inputs, also by categories, which are numbers. Trees and encoded
    columns have no gradients, and explainers that need them raise an error. All other estimators
    are called on the host, once per batch, and a warning says so. One that gives nothing but labels
    has the probability 1 for that of a row.

    Args:
      estimator: fitted; anything with `predict_proba`, `decision_function` or `predict`.
      x: rows on which predictions are compared, too, an array [N, F] or a data frame.
      outputs: what the model returns; by default
        "logits" or "binary" for linear models, perceptrons and boosting with probabilities (their
        softmax or sigmoid is what `predict_proba` returns);
        "probabilities" for other classifiers with `predict_proba`;
        "values" for regression, for the decision values of classifiers without probabilities, and
        for probabilities of labels that do not exclude each other.
        "logits" or "binary" takes those decision values as logits.
      host: True: call the estimator on the host without trying to convert it.

    Returns:
      A model with `classes` and `feature_names` as the estimator has them: y may hold the
      estimator's labels, and data frames must have its columns.

    Raises:
      TypeError, ValueError: not an estimator, or not fitted.

    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import LogisticRegression
    >>> x, y = load_iris(return_X_y=True)
    >>> model = from_sklearn(LogisticRegression(max_iter=500).fit(x, y), x)
    >>> model.outputs, model(x[:2]).shape
    ('logits', (2, 3))
    """
    if outputs is not None and outputs not in KINDS:
        raise ValueError(f"from_sklearn(outputs={outputs!r}): must be one of {', '.join(KINDS)}")
    estimator = getattr(estimator, "best_estimator_", estimator)
    own = Estimator(_checked(estimator))
    names, classes = own.feature_names, own.classes
    rows = _rows(x, names)
    if rows is not None:
        _warn_of_rounding(own, rows)
        rows = rows.astype(np.float32)
    model = None
    if not host:
        try:
            model = _converted(own, rows, outputs)
        except NotConvertible as e:
            warn(
                f"{own.name} runs on the host, once per batch, as {e}; it has outputs but no "
                "gradients. from_sklearn(..., host=True) says so without this warning"
            )
    if model is not None and model.apply.strict:
        warn(
            f"{own.name} refuses values that are none of a column's categories, and its outputs "
            "are NaN for rows with one: remove features by baselines that are categories, such as "
            '"background", or fit its encoder with handle_unknown="ignore"'
        )
    if model is None:
        kind = outputs or own.kind
        if (kind in ("logits", "binary")) and own.kind == "probabilities":
            raise ValueError(f"{own.name} gives probabilities: leave out outputs={kind!r}")
        model = Model(own, {}, host=True, channel_axis=None, outputs=kind)
    n = own.n_features
    example = None if n is None else jax.ShapeDtypeStruct((1, n), jnp.dtype(jnp.float32))
    return dataclasses.replace(
        model,
        example=example,
        feature_names=names,
        classes=classes if model.outputs != "values" else None,
    )


def _checked(estimator: Any) -> Any:
    """A fitted estimator."""
    if isinstance(estimator, type):
        raise TypeError(
            f"from_sklearn takes a fitted estimator, got the class {estimator.__name__}: give "
            f"{estimator.__name__}(...).fit(x, y)"
        )
    if not any(hasattr(estimator, m) for m in ("predict_proba", "decision_function", "predict")):
        raise TypeError(
            "from_sklearn takes an estimator with predict_proba, decision_function or predict, got "
            f"{type(estimator).__name__}"
        )
    if hasattr(estimator, "fit") and not type(estimator).__module__.startswith("xgboost."):
        try:
            from sklearn.exceptions import NotFittedError
            from sklearn.utils.validation import check_is_fitted
        except ImportError:
            return estimator
        try:
            check_is_fitted(estimator)
        except NotFittedError as e:
            raise ValueError(f"from_sklearn: {type(estimator).__name__} is not fitted") from e
        except TypeError:  # not scikit-learn's
            pass
    return estimator


def _rows(x: Any, names: tuple[str, ...] | None) -> np.ndarray | None:
    """Rows to compare predictions on."""
    if x is None:
        return None
    if names is not None and hasattr(x, "columns"):
        x = x[list(names)]
    try:
        found = np.asarray(x, np.float64)
    except (TypeError, ValueError) as e:
        raise ValueError(f"from_sklearn(x=...) must hold numbers ({e}). {OF_NUMBERS}") from e
    if found.ndim != 2:
        raise ValueError(f"from_sklearn(x=...) must be rows [N, F], got shape {list(found.shape)}")
    return found[:ROWS]


def _warn_of_rounding(own: Estimator, rows: np.ndarray) -> None:
    """Warn if rows in float32 have other predictions."""
    wanted, found = own.predict(rows), own.predict(rows.astype(np.float32))
    far = np.abs(found - wanted) > TOLERANCE * (np.abs(wanted).max(initial=0) or 1.0)
    if not far.any():
        return
    instead = (
        "explain what its last step is given: x = pipeline[:-1].transform(x), and "
        "from_sklearn(pipeline[-1], x)"
        if hasattr(own.of, "steps")
        else "fit it on x.astype(numpy.float32)"
    )
    warn(
        f"{own.name} has other predictions for {int(far.any(1).sum())} of the first {len(rows)} "
        f"rows in float32, in which models are explained: they lie at its thresholds; {instead}"
    )


def _converted(own: Estimator, rows: np.ndarray | None, outputs: str | None) -> Model:
    """The first of the candidate conversions whose predictions are the estimator's.

    Raises:
      NotConvertible: there is none.
    """
    before: list[Part] = []
    for name, step in getattr(own.of, "steps", [])[:-1]:
        before += preprocessing(name, step)
    candidates = _candidates(own, outputs)
    given = _trial(own, before, candidates[0][0], rows)
    try:
        wanted = own.predict(given)
    except ValueError as e:
        raise NotConvertible("it does not take the rows that jaxeval would compare it on") from e
    if before and own.booster is not None and own.hands_on_sparse(given[:1]):
        before.append(Part("absent", Absent(), {}))
    for parts, kind in candidates:
        every = [*before, *parts]
        params = {part.name: part.params for part in every if part.params}
        state = {part.name: part.state for part in every if part.state}
        apply = Chain(tuple((part.name, part.fn) for part in every))
        model = Model(
            apply,
            jax.tree.map(jnp.asarray, {"params": params, "state": state}),
            channel_axis=None,
            outputs=kind,
        )
        if _agree(model, given, wanted, own):
            return model
    raise NotConvertible(
        "its predictions are not those of the formula that jaxeval knows, in float32"
    )


def _candidates(own: Estimator, outputs: str | None) -> list[tuple[list[Part], str]]:
    """Parts, and the kind of their outputs."""
    last, kind = own.last, type(own.last).__name__
    probable = hasattr(own.of, "predict_proba")
    bases = {k.__name__ for k in type(last).__mro__}
    if own.booster is not None:
        if not np.isnan(missing := getattr(last, "missing", np.nan)):
            raise NotConvertible(f"it takes {missing:g} for a missing value")
        parts, objective = xgboost(own.booster, own.is_booster)
        if own.n_targets > 1 and objective == "binary:logistic":
            return [([*parts, Part("sigmoid", Link("sigmoid"), {})], outputs or "values")]
        if objective.startswith(("binary:logi", "multi:")):
            logits = "binary" if objective.startswith("binary") else "logits"
            return [(parts, outputs or logits)]
        return [(parts, outputs or ("logits" if probable else "values"))]
    if own.lightgbm is not None:
        parts, logits = lightgbm(own.lightgbm)
        return [(parts, outputs or logits)]
    if kind in FORESTS:
        return [(trees.forest(last), outputs or own.kind)]
    if kind in BOOSTING:
        parts = BOOSTING[kind](last)
    elif kind in ("MLPClassifier", "MLPRegressor"):
        parts = mlp(last)
        if last.out_activation_ == "logistic" and len(last.coefs_[-1].T) > 1:
            return [([*parts, Part("sigmoid", Link("sigmoid"), {})], outputs or "values")]
        if last.out_activation_ == "exp":
            parts = [*parts, Part("exp", Link("exp"), {})]
    elif kind in SUPPORT_VECTORS:
        if probable:
            raise NotConvertible("its probabilities are fitted to its decision values")
        parts = formulas.support_vectors(last)
    elif kind == "GaussianNB":
        parts = formulas.gaussian_bayes(last)
        return [(parts, outputs or "logits")]
    elif bases & LINEAR and hasattr(last, "coef_"):
        parts = linear(last)
        if kind in LOG_LINKS and (kind != "TweedieRegressor" or _has_log_link(last)):
            parts = [*parts, Part("exp", Link("exp"), {})]
    else:
        raise NotConvertible("jaxeval has no conversion of it")
    if not probable:
        return [(parts, outputs or "values")]
    several = len(own.last.classes_) > 2
    if outputs == "probabilities":
        raise ValueError(f"{own.name} is converted to logits: leave out outputs={outputs!r}")
    found = [(parts, outputs or ("logits" if several else "binary"))]
    if several and outputs is None and "LinearClassifierMixin" in bases:
        found.append(([*parts, Part("rest", OneVersusRest(), {})], "probabilities"))
    return found


def _has_log_link(tweedie: Any) -> bool:
    return tweedie.link == "log" or (tweedie.link == "auto" and tweedie.power > 0)


def _trial(
    own: Estimator, before: list[Part], parts: list[Part], rows: np.ndarray | None
) -> np.ndarray:
    """Rows to compare on: random ones, with values that trees decide by, and those given."""
    rng = np.random.default_rng(0)
    n = own.n_features or (rows.shape[1] if rows is not None else 0)
    x = drawn([*before, *parts], rng, rng.normal(size=(ROWS, n)).astype(np.float32))
    if not before:
        x = _at_thresholds(own, parts, x, rng)
    x = x.astype(np.float32)
    return x if rows is None else np.concatenate([rows, x])


def _at_thresholds(own: Estimator, parts: list[Part], x: np.ndarray, rng: Any) -> np.ndarray:
    """x with most values at a threshold of the trees, or just above it; and with categories."""
    state = next((p.state for p in parts if "threshold" in p.state), None)
    if state is None:
        return x
    for column in range(x.shape[1]):
        inner = (state["feature"] == column) & np.isfinite(state["threshold"])
        if (at := state["threshold"][inner]).size:
            chosen = rng.choice(at, len(x))
            chosen = np.where(rng.random(len(x)) < 0.5, chosen, np.nextafter(chosen, np.inf))
            x[:, column] = np.where(rng.random(len(x)) < 0.9, chosen, x[:, column])
    if "members" in state and parts[0].draw is None:
        of = np.unique(state["feature"][state["members"].any(2)])
        numbers = rng.integers(-1, state["members"].shape[2] + 1, (len(x), len(of)))
        between = rng.uniform(-0.9, 0.9, numbers.shape)
        x[:, of] = np.where(rng.random(numbers.shape) < 0.2, numbers + between, numbers)
    if own.takes_missing:
        x[rng.random(x.shape) < 0.1] = np.nan
    return x


def _agree(model: Model, x: np.ndarray, wanted: np.ndarray, own: Estimator) -> bool:
    """Whether the model's predictions are the estimator's."""
    with jax.default_matmul_precision("highest"):
        z = np.asarray(model(jnp.asarray(x)), np.float64)
    if (margins := own.margins(x)) is not None and model.outputs != "values":
        wanted = margins
    elif hasattr(own.of, "predict_proba") or (own.is_booster and model.outputs != "values"):
        if model.outputs == "binary":
            p = 1 / (1 + np.exp(-np.clip(z, -700, 700)))
            z = p if wanted.shape[1] == 1 else np.concatenate([1 - p, p], 1)
        elif model.outputs == "logits":
            z = np.exp(z - z.max(1, keepdims=True))
            z = z / z.sum(1, keepdims=True)
    if z.shape != wanted.shape:
        return False
    scale = np.abs(wanted).max(initial=0) or 1.0
    return bool(np.abs(z - wanted).max() <= TOLERANCE * scale)
