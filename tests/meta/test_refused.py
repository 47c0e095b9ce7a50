"""What cannot be tested is refused by name, before anything is compiled; the rest is tested."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

import jaxeval as je
from jaxeval.meta.perturbations import InputNoise
from tests.meta.world import EXPLAINERS, FEATURES, METRICS, MODEL, PARAMS, N, P, X, draws_of_model

ONE = {
    "explainers": {"x grad": EXPLAINERS["x grad"]}, "metrics": {"flipping": METRICS["flipping"]},
    "n_perturbations": 2, "groups": 1, "progress": False,
}  # fmt: skip


def refused(match, kind=ValueError, model=MODEL, **given):
    with pytest.raises(kind, match=match):
        je.meta_evaluate(model, X, **{**ONE, **given})


def host_model():
    w = np.asarray(PARAMS["fc_1"]["weight"])[:3]
    return je.Model(lambda _, x: x @ w.T, {}, host=True, channel_axis=None)


def test_host_models_have_no_parameters_to_change():
    refused("test 'ModelNoise' changes the model's parameters, which a host", model=host_model())
    refused("but this model has none", model=lambda x: x @ jnp.ones((FEATURES, 3)))


def test_host_models_and_stored_maps_take_the_other_tests():
    meta = je.meta_evaluate(
        host_model(), X, explainers={"x": X, "other": np.abs(X)},
        metrics={"flipping": METRICS["flipping"]},
        tests=[je.InputNoise(disruptive=9.0), je.MapNoise(levels=(0, 1))], n_perturbations=2,
        groups=1, progress=False,
    )  # fmt: skip
    assert meta.asked["attribution"] == 0
    assert np.isfinite(meta.table()["MC"]).sum() == 3  # the metric and its controls
    x = np.asarray(meta.setup.tests["InputNoise"].inputs(
        X, None, meta.setup.root, np.arange(N), "minor", 0))  # fmt: skip
    assert np.abs(x - X).max() <= 0.001 * (1 + 1e-3)


def test_maps_that_cannot_be_made_anew():
    stored = {"x": X}
    refused("test 'ModelNoise' explains changed models, but explainer 'x'", explainers=stored)
    own = [je.InputNoise(maps="own")]
    refused("'InputNoise' explains changed inputs, but", explainers=stored, tests=own)

    def on_host(model, x, y, keys):
        return np.asarray(x)

    host = {"mine": je.Host(on_host)}
    refused("explainer 'mine' is a host callable", explainers=host)
    meta = je.meta_evaluate(MODEL, X, **{**ONE, "tests": own, "explainers": host})
    assert meta.scores["flipping", "InputNoise", "minor"].shape == (2, 1, N)


def test_numbers_names_and_tests():
    refused("must be a multiple of groups", n_perturbations=4, groups=3)
    refused("n_perturbations must be an integer", n_perturbations=0)
    refused("seeds='new'", seeds="new")
    refused("that of a control", metrics={"Random": je.Sparseness()})
    refused("more than one InputNoise: give a dict", tests=[je.InputNoise(), je.InputNoise()])
    refused("give an instance, ModelNoise", TypeError, tests=[je.ModelNoise])
    refused("must be a jaxeval.ModelNoise, InputNoise or MapNoise", TypeError, tests={"a": 3})
    refused("leaves no 32-bit ids", index=np.arange(N) + 2**31)
    for make in (
        lambda: je.ModelNoise(minor=-1), lambda: InputNoise(maps="new"),
        lambda: je.MapNoise(levels=(0,)), lambda: je.MapNoise(levels=(0.5, 0.2)),
        lambda: je.MapNoise(levels=(0, 2)),
    ):  # fmt: skip
        with pytest.raises(ValueError):  # noqa: PT011
            make()


def test_draws_that_do_not_fit():
    given = {**ONE, "n_perturbations": P}
    refused("hold 4 perturbations: give 2", tests=[je.ModelNoise(draws=draws_of_model())])
    refused("structure of the model's parameters", **{
        **given, "tests": [je.ModelNoise(draws={"fc_1": np.ones((P, 2))})]})  # fmt: skip
    flat = {k: {n: v[..., None] for n, v in d.items()} for k, d in draws_of_model().items()}
    refused("wanted those of the trained", **{**given, "tests": [je.ModelNoise(draws=flat)]})
    refused("draws of InputNoise must be u", tests=[je.InputNoise(draws=np.ones((2, N, 3)))])
    same = np.zeros((2, N, FEATURES), int)
    refused("must be permutations", tests=[je.MapNoise(draws=same)])
    refused("lack explainer 'x grad'", tests=[je.MapNoise(draws={"other": same})])


def test_padding():
    padding = np.zeros((N, FEATURES), bool)
    padding[:, -2:] = True
    tests = [je.InputNoise(disruptive=4.0)]
    meta = je.meta_evaluate(MODEL, X, **{**ONE, "padding": padding, "tests": tests})
    x = meta.setup.tests["InputNoise"].inputs(
        X, ~padding, meta.setup.root, np.arange(N), "disruptive", 0
    )
    np.testing.assert_array_equal(x[:, -2:], X[:, -2:])
    floor = X[:, :-2].min(1, keepdims=True)
    assert (x[:, :-2] >= floor).all()
    assert (x[:, :-2] == floor).any()


def test_few_samples_that_change_class_are_warned_of():
    with pytest.warns(UserWarning, match="give a larger disruptive=, now 1e-06"):
        meta = je.meta_evaluate(MODEL, X, **{**ONE, "tests": [je.InputNoise(disruptive=1e-6)]})
    row = meta.table().iloc[0]
    assert row["reason"] == "no disruptive perturbation changed a class"
    assert row[["MC", "IAC_AR", "react"]].isna().all()
    assert row["IEC_NR"] == 1


@je.pytree
class Brightness(je.Metric):
    """A metric without questions that reads the input all the same."""

    family = "complexity"
    direction = "higher"

    def reduce(self, sample, reference, measured, valid):
        return je.Outcome(score=sample.x.sum() + sample.a.sum())


def test_a_metric_without_questions_may_read_the_input():
    tests = [je.InputNoise(disruptive=4.0)]
    metrics = {"bright": Brightness(), "sparse": je.Sparseness()}
    meta = je.meta_evaluate(MODEL, X, **{**ONE, "tests": tests, "metrics": metrics})
    table = meta.table().set_index("metric")
    assert table.loc["bright", "reason"] == ""
    assert np.isfinite(table.loc["bright", "MC"])
    assert np.isnan(table.loc["sparse", "MC"])


def test_metrics_over_the_data_set_see_one_perturbation_at_a_time():
    metrics = {"consistency": je.Consistency()}
    tests = [je.InputNoise(draws=np.stack([np.zeros_like(X), np.ones_like(X)]), minor=0.5)]
    meta = je.meta_evaluate(MODEL, X, **{**ONE, "tests": tests, "metrics": metrics})
    same = meta.scores["consistency", "InputNoise", "minor"]
    np.testing.assert_array_equal(same[0], meta.clean["consistency"])


def test_tolerances_over_the_samples():
    metrics = {"gap": je.PGI(tolerance=je.Tolerance(absolute=0.1, per="mean"))}
    with pytest.raises(ValueError, match="give one per sample"):
        je.meta_evaluate(MODEL, X, **{**ONE, "metrics": metrics})
