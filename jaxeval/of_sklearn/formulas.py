"""Estimators that are a formula of x other than layers or trees: support vectors, naive Bayes."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax.numpy as jnp
import numpy as np

from .parts import NotConvertible, Part, f32


@dataclasses.dataclass(frozen=True)
class Kernel:
    """``sum_v dual[v] k(x, v) + bias`` over support vectors v: decision values [N, D].

    k(x, v) is <x, v> ("linear"), (gamma <x, v> + add)^degree ("poly"), tanh(gamma <x, v> + add)
    ("sigmoid") or exp(-gamma |x - v|^2) ("rbf").
    """

    kernel: str
    degree: int

    def __call__(self, p: Any, x: Any) -> Any:
        x, v = x - p["centre"], p["vectors"] - p["centre"]
        if self.kernel == "rbf":
            squares = (x * x).sum(1)[:, None] - 2 * x @ v.T + (v * v).sum(1)
            k = jnp.exp(-p["gamma"] * jnp.maximum(squares, 0))
        else:
            k = x @ v.T
            if self.kernel != "linear":
                k = p["gamma"] * k + p["add"]
                k = k**self.degree if self.kernel == "poly" else jnp.tanh(k)
        return k @ p["dual"] + p["bias"]


@dataclasses.dataclass(frozen=True)
class Votes:
    """Decision values of K classes from those of all K (K - 1) / 2 pairs, as scikit-learn's.

    The number of pairs that a class wins, and the sum c of its margins as c / (3 (|c| + 1)).
    """

    k: int

    def __call__(self, p: Any, pairs: Any) -> Any:
        first, second = np.triu_indices(self.k, 1)
        wins = jnp.where(pairs > 0, 1.0, 0.0)
        votes = jnp.zeros((len(pairs), self.k), pairs.dtype)
        votes = votes.at[:, first].add(wins).at[:, second].add(1 - wins)
        sums = jnp.zeros_like(votes).at[:, first].add(pairs).at[:, second].add(-pairs)
        return votes + sums / (3 * (jnp.abs(sums) + 1))


@dataclasses.dataclass(frozen=True)
class Quadratic:
    """``bias - sum_f (x_f - mean_f)^2 scale_f`` for each class: Gaussian log-densities."""

    def __call__(self, p: Any, x: Any) -> Any:
        away = x[:, None] - p["mean"]
        return p["bias"] - (away * away * p["scale"]).sum(-1)


def support_vectors(estimator: Any) -> list[Part]:
    """Decision values of SVC and NuSVC, predictions of SVR and NuSVR."""
    kernel = estimator.kernel
    if kernel not in ("linear", "poly", "rbf", "sigmoid"):
        shown = repr(kernel) if isinstance(kernel, str) else "a function"
        raise NotConvertible(f"its kernel is {shown}")
    vectors, dual = np.asarray(_dense(estimator.support_vectors_)), _dense(estimator.dual_coef_)
    classes = len(estimator.classes_) if hasattr(estimator, "classes_") else 0
    if classes > 2:
        if getattr(estimator, "break_ties", False) or estimator.decision_function_shape != "ovr":
            raise NotConvertible("it compares pairs of classes")
        dual = _of_pairs(dual, estimator.n_support_)
    else:
        dual = dual.T
    values = {
        "vectors": vectors,
        "centre": vectors.mean(0) if kernel == "rbf" else np.zeros(vectors.shape[1]),
        "dual": dual,
        "bias": estimator.intercept_,
        "gamma": estimator._gamma,
        "add": estimator.coef0,
    }
    state = {k: f32(v) for k, v in values.items()}
    trained = {k: state.pop(k) for k in ("dual", "bias")}
    part = Part("kernel", Kernel(kernel, estimator.degree), trained, state)
    return [part, Part("votes", Votes(classes), {})] if classes > 2 else [part]


def _dense(v: Any) -> np.ndarray:
    return np.asarray(v.toarray() if hasattr(v, "toarray") else v, np.float64)


def _of_pairs(dual: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Coefficients [V, pairs] of each pair of classes, from libsvm's [K - 1, V]."""
    k, of = len(counts), np.repeat(np.arange(len(counts)), counts)
    pairs = []
    for i in range(k):
        for j in range(i + 1, k):
            pairs.append(np.where(of == i, dual[j - 1], 0) + np.where(of == j, dual[i], 0))
    return np.stack(pairs, 1)


def gaussian_bayes(estimator: Any) -> list[Part]:
    """GaussianNB: the logarithms of prior times density, whose softmax are the probabilities."""
    mean, var = (np.asarray(v, np.float64) for v in (estimator.theta_, estimator.var_))
    bias = np.log(estimator.class_prior_) - 0.5 * np.log(2 * np.pi * var).sum(1)
    trained = {"mean": f32(mean), "scale": f32(0.5 / var), "bias": f32(bias)}
    return [Part("density", Quadratic(), trained)]
