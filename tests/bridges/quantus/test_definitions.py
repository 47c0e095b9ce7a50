"""Where Quantus departs from the paper: the paper's number in Quantus's shape."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from jaxeval_torch import from_torch

import jaxeval as je
from tests.bridges.quantus.conftest import N, ours, theirs

DEPARTING = {
    "Monotonicity": {"features_in_step": 196},
    "SensitivityN": {"features_in_step": 196},
    "IROF": {},
    "Infidelity": {"perturb_patch_sizes": [7], "n_perturb_samples": 2},
    "Sufficiency": {},
    "Consistency": {},
    "Completeness": {},
    "InputInvariance": {},
    "SmoothMPRT": {"nr_samples": 4},
}


def test_these_are_all():
    found = {name for name, row in ours.rows.ROWS.items() if row.paper}
    assert found == set(DEPARTING)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", [n for n in DEPARTING if n != "SmoothMPRT"])
def test_quantus_definitions_are_quantus_code(case, name):
    """SmoothMPRT draws in NumPy's generator, but jaxeval explains the copies."""
    call = {"softmax": name == "IROF"}
    want = case.run(theirs, name, DEPARTING[name], **call)
    ours.clear_log()
    with ours.definitions("quantus"):
        mine = case.run(ours, name, DEPARTING[name], **call)
    assert {e.engine for e in ours.log() if e.metric == name} == {"quantus"}
    np.testing.assert_array_equal(mine, want)


def test_one_warning_with_a_link(case, monkeypatch):
    monkeypatch.setattr(ours.settings, "_said", set())
    with pytest.warns(UserWarning, match=r"Completeness: a sum .* See docs/quantus.md"):
        case.run(ours, "Completeness")
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        case.run(ours, "Completeness")


@pytest.mark.filterwarnings("ignore")
def test_complete_maps_are_complete(case):
    """Input x gradient of a linear network sums to f(x) - f(0)."""
    import torch

    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(784, 3)).eval()
    y = case.y % 3
    a = theirs.explain(net, case.x, y, method="InputXGradient")
    fields = {"normalise": False, "perturb_baseline": 0.0, "disable_warnings": True}
    scores = ours.Completeness(**fields)(net, case.x, y, a)
    assert all(scores)
    assert not any(ours.Completeness(**fields)(net, case.x, y, 1.01 * a))


@pytest.fixture(scope="module")
def model(case):
    return from_torch(case.net, case.x[:2])


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("engine", ["auto", "jaxeval"])
@pytest.mark.parametrize(
    ("name", "metric"),
    [
        ("Infidelity", je.Infidelity(perturbation="patches", patch_size=7, normalise=None)),
        ("Monotonicity", je.Monotonicity(strict=True, features_in_step=196, absolute=False)),
    ],
)
def test_the_number_is_that_of_jaxeval(case, model, name, metric, engine):
    """Of maps with one largest magnitude for all, as Quantus normalises.

    The outputs of small jobs are torch's.
    """
    a = case.a / np.abs(case.a).max()
    a = a if name == "Infidelity" else case.a
    with ours.engine(engine):
        fields = {**DEPARTING[name], "normalise": False}
        mine = case.run(ours, name, fields, softmax=False, a_batch=a)
    assert {bool(e.why) for e in ours.log()} == {engine == "auto"}
    want = metric(model, case.x, case.y, a, output="logit")
    assert {e.engine for e in ours.log()} == {"jaxeval"}
    np.testing.assert_allclose(np.asarray(mine, float), want, rtol=1e-4)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("engine", ["auto", "jaxeval"])
def test_irof_of_quantus_segments(case, model, engine):
    from quantus.helpers.utils import get_superpixel_segments

    segments = [
        get_superpixel_segments(x.transpose(1, 2, 0).astype("double"), "slic") for x in case.x
    ]
    with ours.engine(engine):
        mine = case.run(ours, "IROF", softmax=True)
    metric = je.IROF(n_segments=64)
    want = metric(model, case.x, case.y, case.a, extras={"segments": np.stack(segments)})
    np.testing.assert_allclose(mine, want, rtol=1e-4)
    assert len(case.run(ours, "IROF", {"return_aggregate": True})) == 1


@pytest.mark.filterwarnings("ignore")
def test_sensitivity_n_gives_a_number_a_size(case):
    first, again = (case.run(ours, "SensitivityN", DEPARTING["SensitivityN"]) for _ in range(2))
    assert 1 < len(first) <= 8
    assert np.isfinite(first).all()
    np.testing.assert_array_equal(first, again)  # NumPy's seed holds
    mean = case.run(ours, "SensitivityN", {"return_aggregate": True})
    assert len(mean) == 1


@pytest.mark.filterwarnings("ignore")
def test_whole_data_sets_are_one_batch(case):
    """Six copies of one map in batches of 4 and 2 are six alike."""
    same = np.repeat(case.a[:1], N, 0)
    scores = case.run(ours, "Consistency", a_batch=same, softmax=True)
    predicted = theirs.PyTorchModel(case.net).predict(case.x).argmax(1)
    want = [(np.delete(predicted, i) == predicted[i]).mean() for i in range(N)]
    np.testing.assert_allclose(scores, want)


@pytest.mark.filterwarnings("ignore")
def test_smooth_mprt_smooths_the_given_explainer(case):
    """Its noise is the same for every model: the unchanged model is similar to itself."""
    calls = []

    def explain(model, inputs, targets, **kwargs):
        calls.append(len(inputs))
        return theirs.explain(model, inputs, targets, method="Saliency")

    fields = {"nr_samples": 3, "return_average_correlation": False}
    scores = case.run(ours, "SmoothMPRT", fields, given=False, explain_func=explain)
    np.testing.assert_allclose(scores["original"], 1, atol=1e-6)
    assert len(scores) == 6
    assert set(calls) == {12, 6}


@pytest.mark.filterwarnings("ignore")
def test_other_distances_are_quantus_own(case):
    """Which SciPy refuses there: they do not take the variances that Quantus passes."""
    fields = {"distance_func": "cityblock"}
    for library in (ours, theirs):
        with pytest.raises(TypeError, match="cityblock"), ours.engine("jaxeval"):
            case.run(library, "Sufficiency", fields, batch_size=N)
    assert [(e.engine, e.why) for e in ours.log()] == [("quantus", "distance_func='cityblock'")]
