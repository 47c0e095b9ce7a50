"""The same network, inputs, perturbations and random weights: the scores of Quantus and captum.

Only metrics that Quantus 0.6.0 implements soundly are here. Its own perturbation functions run,
recorded, and what they drew is handed to ours. Maps are normalised per sample on both sides
(Quantus's default divides by the largest value of the batch), and the output is the logit.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

import jaxeval as je
from jaxeval import ops
from tests import networks
from tests.close import EPS, MARGIN, reaction

torch = pytest.importorskip("torch", reason="parity needs torch")
captum = pytest.importorskip("captum.metrics", reason="parity needs captum")
quantus = pytest.importorskip("quantus", reason="parity needs quantus")

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.usefixtures("quiet")]

N, SHAPE = 6, (1, 28, 28)
F = 28 * 28

MASKED = (
    "PointingGame",
    "RelevanceRankAccuracy",
    "RelevanceMassAccuracy",
    "AUC",
    "AttributionLocalisation",
    "TopKIntersection",
)
EXPLAINERS = {
    "Gradient": je.explain.Gradient(),
    "Saliency": je.explain.Saliency(),
    "InputXGradient": je.explain.InputXGradient(),
    # The settings that Quantus has hard-wired.
    "IntegratedGradients": je.explain.IntegratedGradients(n_steps=10, method="riemann_trapezoid"),
}


@pytest.fixture
def quiet(monkeypatch):
    """No check of every perturbed sample for whether it changed, which takes most of the time."""
    name = "quantus.helpers.warn.warn_perturbation_caused_no_change"
    monkeypatch.setattr(name, lambda **_: None)


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Batches of a few samples: threads that wait for each other cost more than they bring."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@dataclasses.dataclass(frozen=True)
class Case:
    """One network, twice, and what it is asked about."""

    model: je.Model
    net: Any
    x: np.ndarray
    y: np.ndarray
    mask: np.ndarray

    def maps(self, method: str) -> np.ndarray:
        """captum's maps: both sides score the same numbers."""
        return quantus.explain(self.net, self.x, self.y, method=method)


@pytest.fixture(scope="module")
def case() -> Case:
    model, params = networks.lenet(seed=3)
    rng = np.random.default_rng(0)
    x = rng.uniform(0, 1, (N, *SHAPE)).astype(np.float32)
    mask = np.zeros((N, *SHAPE), bool)
    for i, (top, left) in enumerate(rng.integers(0, 12, (N, 2))):
        mask[i, 0, top : top + 10 + i, left : left + 14] = True
    return Case(model, networks.lenet_torch(params), x, rng.integers(0, 10, N), mask)


class Recorded:
    """A perturbation function of Quantus that keeps what it drew, one batch a step."""

    def __init__(self, name: str):
        self.function = getattr(quantus, name)
        self.indices: list[np.ndarray] = []
        self.noise: list[np.ndarray] = []

    def __call__(self, arr: np.ndarray, indices: np.ndarray, **kwargs: Any) -> np.ndarray:
        changed = self.function(arr=arr, indices=indices, **kwargs)
        self.indices.append(indices)
        self.noise.append((changed - arr).reshape(-1, *SHAPE))
        return changed

    def drawn(self, what: str) -> np.ndarray:
        """[N, S, ...]."""
        return np.stack(getattr(self, what), 1)


def theirs(case: Case, name: str, a: Any = None, explain: Any = quantus.explain, **fields: Any):
    """Quantus's scores of maps, or of an explainer that is called by `method`."""
    method, mosaic = fields.pop("method", "Gradient"), fields.pop("mosaic", None)
    softmax = fields.pop("softmax", False)
    fields = {
        "normalise": True,
        "normalise_func": quantus.normalise_by_max,
        "normalise_func_kwargs": {"normalise_axes": (1, 2, 3)},
        "return_aggregate": False,
        "disable_warnings": True,
        "display_progressbar": False,
    } | fields
    np.random.seed(7)
    return getattr(quantus, name)(**fields)(
        model=case.net,
        x_batch=case.x.copy(),
        y_batch=case.y,
        a_batch=None if a is None else a.copy(),  # some metrics write into it
        explain_func=explain,
        explain_func_kwargs={"method": method},
        channel_first=True,
        softmax=softmax,
        batch_size=N,
        **({"s_batch": case.mask} if name in MASKED else {}),
        **({} if mosaic is None else {"custom_batch": mosaic}),
    )


def ours(metric: je.Metric, case: Case, a: Any = None, **kwargs: Any) -> je.Outcome:
    """Our outcome, with logits as the output."""
    kwargs = {"output": "logit", "batch_size": 512} | kwargs
    return je.score(metric, case.model, case.x, case.y, a, **kwargs)


def assert_close(a: Any, b: Any, tol: float = 1e-5, reaction: Any = 0) -> None:
    """Equal to `tol` of the largest score, or to what the scores' reaction to rounding explains."""
    a, b = np.asarray(a, float), np.asarray(b, float)
    assert a.shape == b.shape
    assert np.isfinite(b).all()
    assert np.ptp(b) > 0
    atol = np.maximum(tol * np.abs(b).max(), MARGIN * np.asarray(reaction))
    np.testing.assert_array_less(np.abs(a - b), atol, err_msg=f"{a} is not {b}")


def assert_explains_alike(
    metric: je.Metric,
    case: Case,
    explainer: Any,
    want: Any,
    what: str = "score",
    tol: float = 1e-5,
    a: Any = None,
) -> None:
    """Each side explains for itself, in float32: maps differ by rounding before they are scored.

    Or they are given, and the score reacts to the rounding of the logits.
    """

    def answer(model: je.Model) -> Any:
        outcome = ours(metric, dataclasses.replace(case, model=model), a, explainer=explainer)
        return getattr(outcome, what)

    assert_close(answer(case.model), want, tol, reaction(answer, case.model))


maps = pytest.mark.parametrize("method", ["Gradient", "IntegratedGradients"])
explainers = pytest.mark.parametrize("method", EXPLAINERS)


# Faithfulness.


@maps
@pytest.mark.parametrize(("step", "baseline"), [(28, "black"), (56, 0.4)])
def test_pixel_flipping(case, method, step, baseline):
    a = case.maps(method)
    curves = theirs(case, "PixelFlipping", a, features_in_step=step, perturb_baseline=baseline)
    metric = je.PixelFlipping(features_in_step=step, baseline=baseline)
    assert_close(ours(metric, case, a).curve, curves)


def test_pixel_flipping_area(case, monkeypatch):
    """Quantus's helper needs a function under its name before NumPy 2, and has steps of 1."""
    monkeypatch.setattr(np, "trapz", np.trapezoid, raising=False)
    a, step = case.maps("Gradient"), 28
    areas = theirs(case, "PixelFlipping", a, features_in_step=step, return_auc_per_sample=True)
    score = ours(je.PixelFlipping(features_in_step=step), case, a).score
    assert_close(score, np.asarray(areas) / (F // step - 1))


@maps
@pytest.mark.parametrize(("patch", "regions"), [(4, 100), (7, 10)])
def test_region_perturbation(case, method, patch, regions):
    a = case.maps(method)
    drops = theirs(case, "RegionPerturbation", a, patch_size=patch, regions_evaluation=regions)
    metric = je.RegionPerturbation(patch_size=patch, n_regions=regions)
    assert_close(ours(metric, case, a).curve, drops)


@pytest.mark.parametrize("order", ["lerf", "random"])
def test_region_perturbation_in_other_orders(case, order, monkeypatch):
    """The random order is Quantus's own draw."""
    a, permutation, drawn = case.maps("Gradient"), np.random.permutation, []

    def recorded(n: int) -> np.ndarray:
        drawn.append(permutation(n))
        return drawn[-1]

    monkeypatch.setattr(np.random, "permutation", recorded)
    drops = theirs(case, "RegionPerturbation", a, patch_size=7, order=order)
    given = np.stack(drawn) if order == "random" else None
    metric = je.RegionPerturbation(patch_size=7, order=order, draws=given)
    assert_close(ours(metric, case, a).curve, drops)


def filling(values: np.ndarray) -> Any:
    """A perturbation function of Quantus that fills with given values [N, S], step by step."""
    steps = iter(values.T)

    def fill(arr: np.ndarray, indices: np.ndarray, **kwargs: Any) -> np.ndarray:
        changed = arr.copy()
        np.put_along_axis(changed, indices, next(steps)[:, None], 1)
        return changed

    return fill


@pytest.mark.parametrize(
    ("name", "ours_of", "fields"),
    [
        ("PixelFlipping", je.PixelFlipping, {"features_in_step": 56}),
        ("RegionPerturbation", je.RegionPerturbation, {"patch_size": 7}),
    ],
)
def test_one_uniform_value_a_step(case, name, ours_of, fields):
    """Quantus keeps what went before, and fills with one value a sample and step, as we do."""
    a, curves, values = case.maps("Gradient"), [], []
    for i in range(N):
        asked = []

        def spy(params: Any, x: np.ndarray, asked: list[np.ndarray] = asked) -> np.ndarray:
            asked.append(np.array(x).reshape(-1, F))
            return np.asarray(case.model(x))

        x, own = case.x[i : i + 1], slice(i, i + 1)
        metric = ours_of(baseline="uniform_value", **fields)
        host = je.Model(spy, {}, host=True)
        given = {"output": "logit", "key": 5, "index": [i]}
        curves.append(je.score(metric, host, x, case.y[own], a[own], **given).curve[0])
        queries = np.concatenate(asked)
        gone = queries != x.reshape(1, F)
        order = np.argsort(gone.sum(1), kind="stable")
        queries, gone = queries[order], gone[order]  # the clean sample, and step after step
        new = gone[1:] & ~gone[:-1]
        assert (new.sum(1) == F // len(new)).all()
        values.append([q[at][0] for q, at in zip(queries[1:], new, strict=True)])
    fill = filling(np.array(values))
    assert_close(np.stack(curves), theirs(case, name, a, perturb_func=fill, **fields))


@maps
@pytest.mark.parametrize("patch", [4, 7])
def test_selectivity(case, method, patch):
    a = case.maps(method)
    curves = theirs(case, "Selectivity", a, patch_size=patch)
    assert_close(ours(je.Selectivity(patch_size=patch), case, a).curve, curves)


@pytest.mark.parametrize(
    "share", [*(pytest.param(v, marks=pytest.mark.slow) for v in (0.05, 0.5)), 0.95]
)
def test_imputation(case, share):
    """Quantus solves the sparse system of one image directly."""
    gone = case.maps("Gradient").reshape(N, -1).argsort(1)[:, : int(share * F)]
    for x, indices in zip(case.x, gone, strict=True):
        want = quantus.noisy_linear_imputation(x, indices, noise=0.0)
        mask = np.zeros(F, bool)
        mask[indices] = True
        got = ops.impute(x, mask.reshape(SHAPE[1:]), 0)
        np.testing.assert_allclose(got, want, atol=1e-4)


def test_road(case):
    """Quantus gives the accuracy of each percentage; without noise there is nothing to draw."""
    a, percentages = case.maps("Gradient"), [1, 5, 15, 40, 70, 99]
    # Labels that the network agrees with, or there would be no accuracy to lose.
    case = dataclasses.replace(case, y=np.asarray(case.model(case.x)).argmax(-1))
    fields = {"percentages": percentages, "perturb_func_kwargs": {"noise": 0.0}}
    accuracies = theirs(case, "ROAD", a, **fields)
    held = ours(je.ROAD(percentages=percentages, noise=0.0), case, a)
    assert list(accuracies) == percentages
    assert_close(held.curve.mean(0), list(accuracies.values()))


@maps
@pytest.mark.parametrize("size", [224, 60])
def test_faithfulness_correlation(case, method, size):
    a, subsets = case.maps(method), Recorded("batch_baseline_replacement_by_indices")
    fields = {"nr_runs": 40, "subset_size": size, "perturb_func": subsets}
    scores = theirs(case, "FaithfulnessCorrelation", a, **fields)
    metric = je.FaithfulnessCorrelation(draws=subsets.drawn("indices"))
    assert_close(ours(metric, case, a).score, scores)


@maps
@pytest.mark.parametrize("step", [7, 28])
def test_faithfulness_estimate(case, method, step):
    a = case.maps(method)
    scores = theirs(case, "FaithfulnessEstimate", a, features_in_step=step)
    assert_close(ours(je.FaithfulnessEstimate(features_in_step=step), case, a).score, scores)


# Robustness: Quantus explains with captum, we with JAX.


@explainers
@pytest.mark.parametrize(
    ("name", "metric", "noise"),
    [
        ("LocalLipschitzEstimate", je.LocalLipschitz, "batch_gaussian_noise"),
        ("MaxSensitivity", je.MaxSensitivity, "batch_uniform_noise"),
        ("AvgSensitivity", je.AvgSensitivity, "batch_uniform_noise"),
    ],
)
def test_sensitivity(case, method, name, metric, noise):
    noise = Recorded(noise)
    scores = theirs(case, name, method=method, perturb_func=noise, nr_samples=6)
    metric = metric(draws=noise.drawn("noise"), normalise="max")
    assert_explains_alike(metric, case, EXPLAINERS[method], scores)


def lifted(model, x, y, keys):
    """A map that stays off zero, by which relative stability divides."""
    return EXPLAINERS["Gradient"](model, x, y) + 0.6


@pytest.mark.parametrize(
    ("name", "metric"), [("RelativeInputStability", je.RIS), ("RelativeOutputStability", je.ROS)]
)
def test_relative_stability(case, name, metric):
    """Where no draw changes the prediction: Quantus has NaN for the sample if one does."""
    noise = Recorded("batch_uniform_noise")
    scores = theirs(
        case,
        name,
        explain=lambda **kwargs: quantus.explain(**kwargs) + 0.6,
        perturb_func=noise,
        perturb_func_kwargs={"lower_bound": 0.2, "upper_bound": None},
        nr_samples=6,
        return_nan_when_prediction_changes=True,
    )
    metric = metric(draws=noise.drawn("noise"))
    assert_explains_alike(metric, case, lifted, scores)


def test_relative_representation_stability(case):
    """Of a layer without zeros; where no draw changes the prediction.

    The smallest logit, by which the score divides, is 1/260 of the largest: as many times the
    rounding of the logits is in the score.
    """
    noise = Recorded("batch_uniform_noise")
    scores = theirs(
        case,
        "RelativeRepresentationStability",
        explain=lambda **kwargs: quantus.explain(**kwargs) + 0.6,
        perturb_func=noise,
        perturb_func_kwargs={"lower_bound": 0.2, "upper_bound": None},
        nr_samples=6,
        layer_names=["fc_3"],
        return_nan_when_prediction_changes=True,
    )
    model = dataclasses.replace(case.model, hidden=logits_as_layer)
    case = dataclasses.replace(case, model=model)
    metric = je.RRS(draws=noise.drawn("noise"), layers=("fc_3",))
    assert_explains_alike(metric, case, lifted, scores)


def logits_as_layer(params, x):
    logits, hidden = networks.lenet_hidden(params, x)
    return logits, {**hidden, "fc_3": logits}


@explainers
def test_continuity(case, method):
    """Quantus's shifts by every second pixel, from -26 to 28, are ours of 29 steps."""
    scores = theirs(case, "Continuity", method=method, abs=True)
    got = ours(je.Continuity(n_steps=29), case, explainer=EXPLAINERS[method]).score
    assert_close(got, scores)


# Localisation and complexity: of maps alone.


@maps
def test_pointing_game(case, method):
    a = case.maps(method)
    scores = theirs(case, "PointingGame", a)
    assert list(ours(je.PointingGame(), case, a, mask=case.mask).score) == list(scores)


@maps
@pytest.mark.parametrize("name", ["RelevanceRankAccuracy", "AUC"])
def test_ranking_in_the_mask(case, method, name):
    a = case.maps(method)
    metric = getattr(je, name)()
    assert_close(ours(metric, case, a, mask=case.mask).score, theirs(case, name, a))


@maps
@pytest.mark.parametrize("influence", [False, True])
def test_top_k_intersection(case, method, influence):
    a, fields = case.maps(method), {"k": 90, "concept_influence": influence}
    got = ours(je.TopKIntersection(**fields), case, a, mask=case.mask).score
    assert_close(got, theirs(case, "TopKIntersection", a, **fields))


@maps
def test_attribution_localisation(case, method):
    """Unweighted: Quantus's weight multiplies by the object's share of the whole batch."""
    a, fields = case.maps(method), {"abs": False, "positive_attributions": True}
    got = ours(je.AttributionLocalisation(), case, a, mask=case.mask).score
    assert_close(got, theirs(case, "AttributionLocalisation", a, **fields))


@maps
def test_focus(case, method):
    """Quantus is told which tiles are the target's, we where they are."""
    a = case.maps(method)
    images = np.random.default_rng(0).uniform(size=(6, 1, 14, 14)).astype(np.float32)
    made = je.data.mosaic(images, [0, 0, 1, 1, 2, 2], n_per_class=2)
    tiles = [[int(made.mask[i, r, c]) for r in (0, 14) for c in (0, 14)] for i in range(N)]
    got = ours(je.Focus(), case, a, mask=made.mask).score
    assert_close(got, theirs(case, "Focus", a, mosaic=tiles, abs=False))


@maps
@pytest.mark.parametrize("name", ["Sparseness", "Complexity"])
def test_complexity(case, method, name):
    a = case.maps(method)
    # Quantus adds 1e-7 to every normalised magnitude before it sorts them.
    assert_close(ours(getattr(je, name)(), case, a).score, theirs(case, name, a, abs=True))


@maps
def test_effective_complexity(case, method):
    a = case.maps(method)
    scores = theirs(case, "EffectiveComplexity", a, abs=True)
    assert list(ours(je.EffectiveComplexity(), case, a).score) == list(scores)


@maps
def test_relevance_mass_of_magnitudes(case, method):
    """Of signed maps Quantus divides signed sums."""
    a = case.maps(method)
    scores = theirs(case, "RelevanceMassAccuracy", a, abs=True)
    metric = je.RelevanceMassAccuracy(absolute=True)
    assert_close(ours(metric, case, a, mask=case.mask).score, scores)


# Axioms.


@maps
def test_non_sensitivity(case, method):
    """Quantus counts, and replaces a feature once; rounding may tip one over the threshold."""
    a = case.maps(method)
    counts = theirs(case, "NonSensitivity", a, abs=True, eps=1e-2)
    metric = je.NonSensitivity(n_samples=1, baseline="black", eps=1e-2)
    apart = np.abs(F * np.asarray(ours(metric, case, a).score) - np.ravel(counts))
    assert apart.max() < 1.01
    assert np.median(apart) < 0.01


# Randomisation.


@pytest.fixture(scope="module")
def randomised(case) -> dict[str, dict[str, np.ndarray]]:
    """The weights that Quantus draws: {layer: {"weight", "bias"}}, with a leading seed axis."""
    wrapped = quantus.PyTorchModel(case.net)
    weights = {}
    for name, net in wrapped.get_random_layer_generator("independent", seed=5):
        layer = net.get_submodule(name)
        weights[name] = {
            k: getattr(layer, k).detach().numpy().copy()[None] for k in ("weight", "bias")
        }
    return weights


@pytest.mark.parametrize("method", ["Gradient", "InputXGradient"])
@pytest.mark.parametrize("order", ["top_down", "bottom_up", "independent"])
def test_mprt_per_layer(case, randomised, method, order):
    a = case.maps(method)
    by_layer = theirs(case, "MPRT", a, method=method, layer_order=order, seed=5)
    names = list(randomised) if order == "bottom_up" else list(randomised)[::-1]
    scores = np.stack([by_layer[name] for name in names], 1)
    metric = je.MPRT(order=order, draws=randomised)
    # Entries of a map that are equal but for rounding swap ranks between torch and JAX.
    assert_explains_alike(metric, case, EXPLAINERS[method], scores, "curve", 1e-4)
    assert_explains_alike(metric, case, EXPLAINERS[method], scores.mean(1), "score", 1e-4)


def test_mprt_mean(case, randomised):
    """Quantus counts the unrandomised model, whose similarity is 1, as a layer of the mean."""
    a, layers = case.maps("Gradient"), len(randomised)
    scores = theirs(case, "MPRT", a, return_average_correlation=True, seed=5)
    score = ours(je.MPRT(draws=randomised), case, explainer=EXPLAINERS["Gradient"]).score
    assert_close((layers * score + 1) / (layers + 1), scores, 1e-4)


def test_mprt_last(case, randomised):
    scores = theirs(case, "MPRT", case.maps("Gradient"), return_last_correlation=True, seed=5)
    metric = je.MPRT(draws=randomised, score="last")
    assert_close(ours(metric, case, explainer=EXPLAINERS["Gradient"]).score, scores, 1e-4)


def in_jax(case, explainer):
    """Our maps of the network that Quantus asks about: bins do not forgive rounding."""

    def explain(model, inputs, targets, **_):
        layers = {name: model.get_submodule(name) for name in networks.LENET}
        params = {
            name: {k: getattr(layer, k).detach().numpy() for k in ("weight", "bias")}
            for name, layer in layers.items()
        }
        model = dataclasses.replace(case.model, params=params)
        return np.array(je.attribute(explainer, model, np.asarray(inputs), targets))

    return explain


@pytest.mark.parametrize("method", ["Gradient", "InputXGradient"])
@pytest.mark.parametrize("n_bins", [30, 100])
def test_efficient_mprt(case, randomised, method, n_bins):
    explainer = EXPLAINERS[method]
    for absolute in (True, False):
        scores = theirs(
            case,
            "EfficientMPRT",
            explain=in_jax(case, explainer),
            complexity_func_kwargs={"n_bins": n_bins},
            softmax=True,  # it also takes the entropy of the outputs, and stops at negative ones
            seed=5,
            abs=absolute,
            normalise=False,
        )
        metric = je.EfficientMPRT(
            n_bins=n_bins, draws=randomised, absolute=absolute, normalise=None
        )
        # Ratios of entropies, less 1: the ratio, near 1, is what is rounded.
        assert_close(ours(metric, case, explainer=explainer).score, scores, reaction=EPS)


@pytest.mark.parametrize("method", ["Gradient", "InputXGradient"])
def test_input_invariance(case, method):
    """It is a yes or a no there, and the first layer's bias is what compensates."""
    scores = theirs(
        case,
        "InputInvariance",
        case.maps(method),
        method=method,
        input_shift=0.5,
        normalise=False,
    )
    metric = je.InputInvariance(shift=0.5, satisfied=True, normalise=None)
    got = ours(metric, case, explainer=EXPLAINERS[method]).score
    np.testing.assert_array_equal(got, np.ravel(scores))
    np.testing.assert_array_equal(got, method == "Gradient")


# captum's own metrics, on the same perturbations.


def perturbations(scale: float, steps: int = 8) -> np.ndarray:
    return np.random.default_rng(11).normal(0, scale, (N, steps, *SHAPE)).astype(np.float32)


def flat(draws: np.ndarray) -> Any:
    """[N S, ...], in captum's order: all steps of one sample after the other."""
    return torch.from_numpy(draws.reshape(-1, *SHAPE))


@maps
@pytest.mark.parametrize("normalised", [False, True])
def test_captum_infidelity(case, method, normalised):
    a, draws = case.maps(method), perturbations(0.2)
    scores = captum.infidelity(
        case.net,
        lambda x: (flat(draws), x - flat(draws)),
        torch.from_numpy(case.x),
        torch.from_numpy(a),
        target=torch.from_numpy(case.y),
        n_perturb_samples=draws.shape[1],
        normalize=normalised,
    )
    metric = je.Infidelity(draws=draws, normalised=normalised)
    assert_explains_alike(metric, case, None, scores, a=a)


@explainers
def test_captum_sensitivity_max(case, method):
    draws = perturbations(0.1)

    def explain(inputs: Any) -> Any:
        x = (inputs[0] if isinstance(inputs, tuple) else inputs).detach().numpy()
        y = np.repeat(case.y, len(x) // N)
        return (torch.from_numpy(quantus.explain(case.net, x, y, method=method)),)

    scores = captum.sensitivity_max(
        explain,
        torch.from_numpy(case.x),
        perturb_func=lambda x: x + flat(draws),
        n_perturb_samples=draws.shape[1],
    )
    metric = je.MaxSensitivity(draws=draws)
    assert_explains_alike(metric, case, EXPLAINERS[method], scores)
