"""Quantus's scores, on the same seed, from jaxeval's engine."""

from __future__ import annotations

import copy

import numpy as np
import pytest

from tests.bridges.quantus.conftest import N, ours, theirs, torch

pytestmark = pytest.mark.filterwarnings("ignore")

slow = pytest.mark.slow


def flat(scores) -> np.ndarray:
    values = list(scores.values()) if isinstance(scores, dict) else scores
    return np.asarray(values, float)


def laplace(arr, indices, **_):
    return (arr + np.random.laplace(scale=0.05, size=arr.shape)).astype(arr.dtype)


def largest_change(a, b):
    return np.abs(a - b).max(-1, keepdims=True)


def scrambled(arr, indices, **_):
    """Replaces entries by others, and those where it was called before by new ones."""
    arr[np.arange(len(arr))[:, None], indices] = np.random.uniform(size=indices.shape)
    return arr


UNIFORM = {"perturb_baseline": "uniform"}
MAPS = {"normalise": True, "abs": True}
HALF = {"perturb_func_kwargs": {"uniform_low": 0.5, "uniform_high": 0.8}, **UNIFORM}

OUTPUTS = [
    ("FaithfulnessCorrelation", {"nr_runs": 12}),
    ("FaithfulnessCorrelation", {"nr_runs": 12, **HALF}),
    (
        "FaithfulnessCorrelation",
        {"nr_runs": 12, "similarity_func": theirs.correlation_spearman, "perturb_baseline": "mean"},
    ),
    ("FaithfulnessEstimate", {"features_in_step": 28}),
    ("FaithfulnessEstimate", {"features_in_step": 28, "abs": True, **UNIFORM}),
    ("PixelFlipping", {"features_in_step": 28}),
    ("PixelFlipping", {"features_in_step": 28, "return_auc_per_sample": True, **UNIFORM}),
    ("RegionPerturbation", {"patch_size": 8, "regions_evaluation": 5}),
    ("RegionPerturbation", {"patch_size": 7, "order": "random"}),
    ("RegionPerturbation", {"patch_size": 7, "order": "lerf", "perturb_baseline": 0.3}),
    ("Selectivity", {"patch_size": 8, "perturb_baseline": "white"}),
    ("Selectivity", {"patch_size": 9, "perturb_baseline": "mean"}),
    ("RegionPerturbation", {"patch_size": 5, "regions_evaluation": 7, "perturb_baseline": "mean"}),
    ("PixelFlipping", {"features_in_step": 98, "perturb_baseline": "mean"}),
    ("FaithfulnessCorrelation", {"nr_runs": 5, "perturb_func": scrambled}),
    ("FaithfulnessEstimate", {"features_in_step": 196, "perturb_func": scrambled}),
    ("PixelFlipping", {"features_in_step": 98, "perturb_func": scrambled}),
    ("PixelFlipping", {"features_in_step": 98, "perturb_func": theirs.batch_gaussian_noise}),
    ("RegionPerturbation", {"patch_size": 5, "regions_evaluation": 4, "perturb_func": scrambled}),
    ("Selectivity", {"patch_size": 14, "perturb_func": scrambled}),
    pytest.param("MonotonicityCorrelation", {"features_in_step": 112, "nr_samples": 5}, marks=slow),
]


@pytest.mark.parametrize(("name", "fields"), OUTPUTS)
def test_of_outputs(case, name, fields):
    mine, want = map(flat, case.both(name, fields, softmax=False))
    assert {entry.engine for entry in ours.log()} == {"jaxeval"}
    assert [entry.samples for entry in ours.log()] == [4, 2]
    np.testing.assert_allclose(mine, want, atol=1e-5 * np.abs(want).max())


@pytest.mark.parametrize(
    ("name", "fields", "shape"),
    [
        ("FaithfulnessCorrelation", {"nr_runs": 32, "subset_size": 50}, (N, 50)),
        ("PixelFlipping", {"features_in_step": 98}, (N, 98)),
        ("RegionPerturbation", {"patch_size": 14}, (N, 196)),
    ],
)
def test_arrays_as_baselines(case, name, fields, shape):
    """One value for each of the entries that a step removes."""
    values = np.random.default_rng(1).uniform(size=shape)
    fields = {**fields, "perturb_baseline": values}
    mine, want = map(flat, case.both(name, fields, batch_size=N))
    assert {entry.engine for entry in ours.log()} == {"jaxeval"}
    np.testing.assert_allclose(mine, want, atol=1e-5 * np.abs(want).max())


def test_of_probabilities(case):
    mine, want = map(flat, case.both("PixelFlipping", {"features_in_step": 28}))
    assert (want >= 0).all()
    assert {entry.engine for entry in ours.log()} == {"jaxeval"}
    np.testing.assert_allclose(mine, want, atol=1e-5)


@slow
@pytest.mark.parametrize(
    "removed",
    [{}, UNIFORM, {"perturb_func": scrambled}],
    ids=["black", "uniform", "own"],
)
def test_counts(case, removed):
    """Of features that are not both used and attributed; rounding may tip one over `eps`."""
    fields = {"eps": 1e-2, **removed}
    mine, want = map(flat, case.both("NonSensitivity", fields, softmax=False))
    assert {entry.engine for entry in ours.log()} == {"jaxeval"}
    assert np.ptp(want) > 10
    assert np.abs(mine - want).max() < 2


@slow
@pytest.mark.parametrize("eps", [1e-2, 1e-5])
def test_counts_differ_where_changes_are_the_threshold(case, eps):
    """By no more than the changes that are `eps` to the rounding of an output in float32."""
    mine, want = map(flat, case.both("NonSensitivity", {"eps": eps}, softmax=False))
    net = copy.deepcopy(case.net).double()
    for i, x in enumerate(case.x):
        rows = np.repeat(x.reshape(1, -1).astype(float), x.size + 1, 0)
        rows[np.arange(x.size), np.arange(x.size)] = x.min()  # the last row is x
        with torch.no_grad():
            f = net(torch.from_numpy(rows.reshape(-1, *x.shape))).numpy()[:, case.y[i]]
        near = np.abs(np.abs(f[:-1] - f[-1]) - eps) <= 8 * np.finfo(np.float32).eps * np.abs(f[-1])
        assert np.abs(mine[i] - want[i]) <= near.sum()


@slow
def test_imputation(case):
    """In one batch, as Quantus scores the first only."""
    fields = {"percentages": [5, 29, 60]}
    mine, want = case.both("ROAD", fields, batch_size=N, softmax=True)
    assert {entry.engine for entry in ours.log()} == {"jaxeval"}
    assert mine == want
    batched, _ = case.both("ROAD", fields, batch_size=4)
    assert set(batched) == set(want)
    assert all(round(share * N, 6) % 1 == 0 for share in batched.values())


def test_imputation_by_the_callers_function(case):
    def filled(arr, indices, **_):
        arr = arr.copy()
        arr.reshape(-1)[indices] = np.random.uniform()
        return arr

    fields = {"percentages": [20, 60], "perturb_func": filled}
    mine, want = case.both("ROAD", fields, batch_size=N)
    assert {entry.engine for entry in ours.log()} == {"jaxeval"}
    assert mine == want


def test_imputation_of_colour_images():
    """Quantus's function imputes all channels of a pixel; its metric gives it entries instead."""
    rng = np.random.default_rng(0)
    x = rng.uniform(size=(8, 3, 7, 7)).astype(np.float32)
    y, a = rng.integers(0, 3, 8), rng.normal(size=(8, 1, 7, 7)).astype(np.float32)
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(147, 3)).eval()
    np.random.seed(3)
    with ours.engine("jaxeval"):
        found = ours.ROAD(percentages=[15, 70], noise=0.3)(net, x, y, a)
    assert {entry.engine for entry in ours.log()} == {"jaxeval"}
    np.random.seed(3)
    for percentage, score in found.items():
        order = np.argsort(-a.reshape(8, -1), 1)[:, : int(49 * percentage / 100)]
        of = [
            theirs.noisy_linear_imputation(row, at, noise=0.3)
            for row, at in zip(x, order, strict=True)
        ]
        predicted = theirs.PyTorchModel(net).predict(np.stack(of)).argmax(1)
        assert score == np.mean(predicted == y)


EXPLAINED = [
    ("MaxSensitivity", {"nr_samples": 4}, "Gradient"),
    ("MaxSensitivity", {"nr_samples": 4, **MAPS}, "Gradient"),
    (
        "MaxSensitivity",
        {"nr_samples": 4, "perturb_func": laplace, "similarity_func": largest_change},
        "Saliency",
    ),
    ("AvgSensitivity", {"nr_samples": 4, "lower_bound": 0.02, "abs": True}, "InputXGradient"),
    (
        "AvgSensitivity",
        {"nr_samples": 4, "return_nan_when_prediction_changes": True, "lower_bound": 0.05},
        "Gradient",
    ),
    ("LocalLipschitzEstimate", {"nr_samples": 4}, "Gradient"),
    pytest.param(
        "LocalLipschitzEstimate",
        {
            "nr_samples": 4,
            "normalise": False,
            "norm_denominator": theirs.distance_manhattan,
            "perturb_std": 0.02,
        },
        "IntegratedGradients",
        marks=slow,
    ),
    ("Continuity", {"nr_steps": 7}, "Gradient"),
]


@pytest.mark.parametrize(("name", "fields", "method"), EXPLAINED)
@pytest.mark.parametrize("given", [True, False])
def test_of_maps(case, name, fields, method, given):
    call = {"explain_func_kwargs": {"method": method}}
    if given:
        call["a_batch"] = theirs.explain(case.net, case.x, case.y, method=method)
    mine, want = map(flat, case.both(name, fields, given, **call))
    assert {entry.engine for entry in ours.log()} == {"jaxeval"}
    np.testing.assert_allclose(mine, want, atol=1e-5 * np.nanmax(np.abs(want)))


def rounding(case, noise, layers):
    """How far roundings of the last layer move a score, relative to it, [N].

    Scores divide by the distance of the outputs for an input and its neighbours: by ||h - h'||
    (`layers` False), or by ||(h - h') / h||. h is known to four roundings of the largest value.
    """
    ulps = 4 * np.finfo(np.float32).eps
    np.random.seed(7)
    moved = np.zeros(N)
    for rows in (slice(0, 4), slice(4, 6)):  # the batches
        x = case.x[rows]
        h = theirs.PyTorchModel(case.net, softmax=False).predict(x).astype(float)
        by = h if layers else np.ones_like(h)
        error = np.linalg.norm(ulps * np.abs(h).max(1, keepdims=True) / by, axis=1)
        for _ in range(4):
            indices = np.tile(np.arange(784), (len(x), 1))
            xs = theirs.batch_uniform_noise(x.reshape(len(x), -1), indices, **noise)
            far = h - theirs.PyTorchModel(case.net, softmax=False).predict(xs.reshape(x.shape))
            moved[rows] = np.maximum(moved[rows], error / np.linalg.norm(far / by, axis=1))
    return moved


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("RelativeInputStability", {}),
        ("RelativeInputStability", {"normalise": True, "abs": True}),
        ("RelativeOutputStability", {"return_aggregate": True}),
        pytest.param("RelativeRepresentationStability", {"layer_names": ["fc_3"]}, marks=slow),
        pytest.param("RelativeRepresentationStability", {"layer_indices": [1]}, marks=slow),
    ],
)
@pytest.mark.parametrize("strict", [False, True])
def test_of_relative_changes(case, name, fields, strict):
    """To 1e-5, and what `rounding` says where outputs of neighbours are subtracted."""
    noise = {"lower_bound": 0.02, "upper_bound": 0.2 if strict else None}
    fields = {
        "nr_samples": 4,
        "return_nan_when_prediction_changes": strict,
        "perturb_func_kwargs": noise,
    } | fields
    mine, want = map(flat, case.both(name, fields))
    assert {entry.engine for entry in ours.log()} == {"jaxeval"}
    np.testing.assert_array_equal(np.isnan(mine), np.isnan(want))
    off = np.full(len(mine), 1e-5)
    if "Output" in name or "layer_names" in fields:
        moved = rounding(case, noise, "layer_names" in fields)
        off += moved.max() if len(mine) == 1 else moved
    assert (np.abs(mine / want - 1) <= off)[~np.isnan(want)].all()


RANDOMISED = [
    ("MPRT", {}),
    ("MPRT", {"layer_order": "bottom_up", "similarity_func": theirs.correlation_pearson}),
    ("MPRT", {"layer_order": "independent", "return_average_correlation": True}),
    ("MPRT", {"return_last_correlation": True, "skip_layers": True, "seed": 5}),
    ("RandomLogit", {"num_classes": 10}),
    ("RandomLogit", {"num_classes": 10, "similarity_func": theirs.distance_euclidean, "seed": 3}),
]


@pytest.mark.parametrize(("name", "fields"), RANDOMISED)
@pytest.mark.parametrize("method", ["Gradient", pytest.param("IntegratedGradients", marks=slow)])
def test_of_randomised_models(case, name, fields, method):
    call = {"explain_func_kwargs": {"method": method}}
    call["a_batch"] = theirs.explain(case.net, case.x, case.y, method=method)
    mine, want = case.both(name, fields, **call)
    assert {entry.engine for entry in ours.log()} == {"jaxeval"}
    assert ours.log()[-1].metric == name
    if isinstance(want, dict):
        assert list(mine) == list(want)
    np.testing.assert_allclose(flat(mine), flat(want), atol=1e-4)


def test_of_complexities_of_randomised_models(case):
    """Histograms do not forgive rounding; the mean of a sample moves by what one entry does."""
    mine, want = map(flat, case.both("EfficientMPRT", {"complexity_func": theirs_gini}))
    assert {entry.engine for entry in ours.log()} == {"jaxeval"}
    np.testing.assert_allclose(mine, want, atol=1e-4)


def theirs_gini(a, x=None, **_):
    """A complexity that is continuous in the map."""
    a = np.sort(np.abs(a).ravel())
    rank = 2 * np.arange(1, len(a) + 1) - len(a) - 1
    return float((rank * a).sum() / (len(a) * a.sum()))


@pytest.mark.parametrize("name", ours.rows.BY_CHOICE)
def test_metrics_of_maps_alone_are_quantus_own(case, name):
    mask = np.zeros((N, *case.x.shape[1:]), bool)
    mask[..., 4:12, 6:20] = True
    fields = {"k": 90} if name == "TopKIntersection" else {}
    call = {"custom_batch": [[1, 0, 0, 1]] * N} if name == "Focus" else {"s_batch": mask}
    mine, want = case.both(name, fields, **call)
    assert {entry.engine for entry in ours.log()} == {"quantus"}
    np.testing.assert_array_equal(mine, want)
