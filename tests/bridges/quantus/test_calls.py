"""What scripts pass, now and in earlier versions; and who answers."""

from __future__ import annotations

import contextlib
import copy
import functools
import gc
import pickle
import warnings
import weakref

import numpy as np
import pytest

from tests.bridges.quantus.conftest import N, ours, theirs, torch

pytestmark = pytest.mark.filterwarnings("ignore")


def engines() -> list[str]:
    return [entry.engine for entry in ours.log()]


def whys() -> str:
    return "; ".join(entry.why for entry in ours.log())


def test_small_jobs_run_quantus_own_code(case):
    fields = {"nr_runs": 5}
    mine = case.run(ours, "FaithfulnessCorrelation", fields)
    assert mine == case.run(theirs, "FaithfulnessCorrelation", fields)
    assert engines() == ["quantus", "quantus"]
    assert "small" in whys()


def test_small_jobs_that_add_up_are_compiled(case, monkeypatch):
    monkeypatch.setattr(ours.work, "STEP", 0.2)
    monkeypatch.setattr(ours.work, "_forgone", {})
    monkeypatch.setattr(ours.work, "_compiled", {})
    for _ in range(6):
        case.run(ours, "FaithfulnessCorrelation", {"nr_runs": 7}, batch_size=N)
    assert engines()[0] == "quantus"
    assert engines()[-1] == "jaxeval"


def test_what_is_compiled_answers_from_then_on(case):
    """Also small jobs of the same shapes, as nothing has to be compiled any more."""
    fields = {"nr_runs": 41}
    case.run(ours, "FaithfulnessCorrelation", fields)
    with ours.engine("jaxeval"):
        case.run(ours, "FaithfulnessCorrelation", fields)
    case.run(ours, "FaithfulnessCorrelation", fields)
    assert engines() == ["quantus"] * 2 + ["jaxeval"] * 4
    case.run(ours, "FaithfulnessCorrelation", {"nr_runs": 43})
    assert engines()[6:] == ["quantus"] * 2


def test_the_last_batch_is_compiled_as_those_before_it(case, monkeypatch):
    import jaxeval as je

    rows, score = [], je.score
    monkeypatch.setattr(ours.work, "_compiled", {})
    monkeypatch.setattr(je, "score", lambda *a, **k: rows.append(k["rows"]) or score(*a, **k))
    for _ in range(2):
        case.both("FaithfulnessCorrelation", {"nr_runs": 12})
    assert rows == [4, 4] * 2  # of 4 samples and of 2


def test_padding_that_would_take_longer_than_compiling(case, monkeypatch):
    monkeypatch.setattr(ours.work, "_compiled", {})
    job = ours.work.Job(case.net, case.x[:2], 5, "Any", outputs=1)
    job.done(rows=1000)
    assert job.rows() == 1000
    job.done(rows=6)
    assert job.rows() == 6
    monkeypatch.setattr(ours.work, "OWN_ROW", 10.0)
    assert job.rows() == 2


def test_no_sample_is_padded_beyond_what_the_engine_takes_at_a_time(case, monkeypatch):
    monkeypatch.setattr(ours.work, "_compiled", {})
    job = ours.work.Job(case.net, case.x[:4], 5, "Any", outputs=1)
    job.done(rows=1000)
    assert job.rows(block=64) == 64
    assert job.rows(block=4) == 4
    assert job.rows(block=3) == 4


def test_large_networks_stay_in_torch_on_cpus(case, monkeypatch):
    """Where XLA's convolutions are no faster, whatever the size of the job."""
    monkeypatch.setattr(ours.work, "_compiled", {})
    monkeypatch.setattr(ours.work, "LARGE", 1.0)
    monkeypatch.setattr(ours.work, "SPEED", (1e7, 1e7))
    case.run(ours, "FaithfulnessCorrelation", {"nr_runs": 5})
    case.run(ours, "MaxSensitivity", {"nr_samples": 2})
    assert set(engines()) == {"quantus"}
    assert ours.log()[0].why == "torch is as fast at this network as JAX"
    assert "torch is about as fast" in ours.log()[-1].why


def test_the_engine_can_be_chosen(case):
    fields = {"nr_samples": 2}
    with ours.engine("quantus"):
        case.run(ours, "MaxSensitivity", fields)
    assert set(engines()) == {"quantus"}
    with pytest.raises(ValueError, match=r"engine\('jaxval'\).*Did you mean 'jaxeval'"):
        ours.engine("jaxval")


def test_one_sample_functions_of_tutorials(case):
    """Which fail in Quantus, for want of an argument that only it can give."""
    fields = {"nr_samples": 3, "perturb_func": theirs.uniform_noise, "perturb_radius": 0.1}
    now = {"nr_samples": 3, "perturb_func": theirs.batch_uniform_noise, "lower_bound": 0.1}
    mine = case.run(ours, "MaxSensitivity", fields)
    np.testing.assert_array_equal(mine, case.run(theirs, "MaxSensitivity", now))
    by_index = {"nr_runs": 4, "perturb_func": theirs.baseline_replacement_by_indices}
    mine = case.run(ours, "FaithfulnessCorrelation", by_index)
    assert mine == case.run(theirs, "FaithfulnessCorrelation", {"nr_runs": 4})


def test_calls_of_the_first_version(case):
    metric = ours.AvgSensitivity(
        nr_samples=3,
        norm_numerator=ours.fro_norm,
        norm_denominator=ours.fro_norm,
        perturb_func=ours.uniform_sampling,
        similarity_func=ours.difference,
        disable_warnings=True,
    )
    np.random.seed(7)
    mine = metric(
        model=case.net,
        x_batch=case.x,
        y_batch=case.y,
        a_batch=case.a,
        explain_func=ours.explain,
        method="Gradient",
        img_size=28,
        normalise=False,
        device="cpu",
    )
    want = case.run(theirs, "AvgSensitivity", {"nr_samples": 3}, batch_size=64)
    np.testing.assert_array_equal(mine, want)


def test_unknown_arguments_are_refused(case):
    with pytest.raises(ValueError, match="nr_sampels"):
        ours.MaxSensitivity(nr_sampels=3)
    with pytest.raises(ValueError, match="explain_fnc"):
        case.run(ours, "MaxSensitivity", {"nr_samples": 2}, explain_fnc=1)


def test_tensors_and_no_writing_into_arguments(case):
    kwargs = {"method": "Gradient"}
    a, given = case.a.copy(), copy.deepcopy(kwargs)
    metric = ours.Sparseness(abs=False, normalise=False, disable_warnings=True)
    call = {"explain_func": ours.explain, "explain_func_kwargs": kwargs, "device": "cpu"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scores = metric(
            model=None,
            x_batch=torch.from_numpy(case.x),
            y_batch=torch.from_numpy(case.y),
            a_batch=a,
            **call,
        )
    assert len(scores) == N
    np.testing.assert_array_equal(a, case.a)
    assert kwargs == given


REASONS = {
    "model_predict_kwargs": {"model_predict_kwargs": {"nothing": 1}},
    "explain_func makes maps (4, 1, 1, 28)": {"explain_func_kwargs": {"reduce_axes": [2]}},
}


@pytest.mark.parametrize("why", REASONS)
def test_what_falls_back_says_why(case, why):
    refused = contextlib.nullcontext()
    if "makes maps" in why:
        refused = pytest.raises(ValueError, match="broadcast")
    with ours.engine("jaxeval"), refused:
        case.run(ours, "MaxSensitivity", {"nr_samples": 2}, given=True, **REASONS[why])
    answers = {entry.engine for entry in ours.log() if entry.metric == "MaxSensitivity"}
    assert answers == {"quantus"}
    assert why in whys()


def unchanged(arr, **_):
    return 0.9 * arr


OTHERS = [
    ("IROF", {"perturb_func": unchanged}, {}, "perturb_func of IROF"),
    ("Infidelity", {"perturb_func": unchanged, "perturb_patch_sizes": [14], "n_perturb_samples": 1},
     {}, "perturb_func is the caller's own"),
    ("Monotonicity", {"perturb_func": unchanged, "features_in_step": 196}, {}, "perturb_func"),
    ("SensitivityN", {"similarity_func": theirs.correlation_spearman, "features_in_step": 196}, {},
     "similarity_func of SensitivityN"),
    ("Completeness", {"output_func": np.abs}, {}, "output_func"),
    ("NonSensitivity", {"features_in_step": 2}, {}, "features_in_step above 1"),
    ("RelativeOutputStability", {"nr_samples": 1}, {"softmax": True}, "softmax=True"),
    ("ROAD", {"percentages": [100]}, {}, "percentages that leave no pixel"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "fields", "call", "why"), OTHERS)
def test_arguments_without_a_counterpart(case, name, fields, call, why, monkeypatch):
    """Said once and logged; some of them fail in Quantus, too, which then says why."""
    monkeypatch.setattr(ours.settings, "_said", set())
    fails = name == "NonSensitivity"
    refused = pytest.raises((ValueError, TypeError)) if fails else contextlib.nullcontext()
    with ours.engine("jaxeval"), refused, warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        case.run(ours, name, fields, batch_size=N, **call)
    entries = [entry for entry in ours.log() if entry.metric == name]
    assert {entry.engine for entry in entries} == {"quantus"}
    assert why in entries[0].why
    assert any(f"Quantus's own code runs: {entries[0].why}" in str(w.message) for w in said)


def test_a_model_that_cannot_be_converted_runs_in_torch(case):
    class Branching(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.net = case.net

        def forward(self, x):
            return self.net(x) if x.sum() > 0 else self.net(-x)

    with ours.engine("jaxeval"):
        metric = ours.FaithfulnessCorrelation(nr_runs=3, return_aggregate=False)
        np.random.seed(0)
        mine = metric(Branching().eval(), case.x, case.y, case.a)
    np.random.seed(0)
    metric = theirs.FaithfulnessCorrelation(nr_runs=3, return_aggregate=False)
    assert mine == metric(Branching().eval(), case.x, case.y, case.a)
    assert set(engines()) == {"quantus"}
    assert "cannot be converted" in whys()


def test_what_jaxeval_refuses_runs_in_quantus(case):
    """A model whose rows depend on each other."""

    class Centred(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.net = case.net

        def forward(self, x):
            return self.net(x - x.mean(0, keepdim=True))

    net, scores = Centred().eval(), []
    for library in (ours, theirs):
        np.random.seed(0)
        with ours.engine("jaxeval"):
            metric = library.FaithfulnessCorrelation(nr_runs=3, return_aggregate=False)
            scores.append(metric(net, case.x, case.y, case.a))
    assert scores[0] == scores[1]
    assert "jaxeval refuses it" in whys()


def test_partial_functions_are_seen_through(case):
    explain = functools.partial(ours.explain, method="Gradient")
    with ours.engine("jaxeval"):
        mine = case.run(
            ours, "MaxSensitivity", {"nr_samples": 2}, explain_func=explain, explain_func_kwargs={}
        )
    assert set(engines()) == {"jaxeval"}
    np.testing.assert_allclose(
        mine, case.run(theirs, "MaxSensitivity", {"nr_samples": 2}), rtol=1e-4
    )


def test_training_mode_is_an_error_as_in_quantus(case):
    net = copy.deepcopy(case.net).train()
    metric = ours.FaithfulnessCorrelation(nr_runs=3)
    with pytest.raises(AttributeError, match="evaluation mode"):
        metric(net, case.x, case.y, case.a)


def test_changed_weights_are_seen(case):
    """Also those that torch does not count, and those of a copy."""
    net = copy.deepcopy(case.net)
    for change in (lambda w: w.data.mul_(1.5), lambda w: w.data.neg_()):
        change(net.fc_3.weight)
        maps = theirs.explain(net, case.x, case.y, method="Gradient")
        with ours.engine("jaxeval"):
            np.testing.assert_allclose(
                ours.explain(net, case.x, case.y, method="Gradient"), maps, atol=1e-5
            )
    assert set(engines()) == {"jaxeval"}


def test_modules_are_let_go(case):
    net = copy.deepcopy(case.net)
    net.append(torch.nn.Linear(10, 3))  # an architecture of its own
    with ours.engine("jaxeval"):
        ours.explain(net, case.x, case.y % 3, method="Gradient")
    assert ours.log()[-1].engine == "jaxeval"
    alive = weakref.ref(net)
    del net
    gc.collect()
    assert alive() is None


def test_a_softmax_is_taken_off_and_put_on(case):
    net = torch.nn.Sequential(case.net, torch.nn.Softmax(dim=-1)).eval()
    for softmax in (True, False):
        scores = []
        for library in (ours, theirs):
            with ours.engine("jaxeval"):
                metric = library.PixelFlipping(features_in_step=196, disable_warnings=True)
                scores.append(metric(net, case.x, case.y, case.a, softmax=softmax))
        np.testing.assert_allclose(*scores, atol=1e-5)
    assert set(engines()) == {"jaxeval"}


def test_tables_without_channels():
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(9, 8), torch.nn.Tanh(), torch.nn.Linear(8, 3)).eval()
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(5, 9)).astype(np.float32), rng.integers(0, 3, 5)
    scores = []
    for library in (ours, theirs):
        np.random.seed(0)
        with ours.engine("jaxeval"):
            metric = library.MaxSensitivity(nr_samples=4, disable_warnings=True)
            call = {"explain_func": library.explain, "explain_func_kwargs": {"method": "Saliency"}}
            scores.append(metric(net, x, y, **call))
    np.testing.assert_allclose(*scores, rtol=1e-5, atol=1e-6)
    assert set(engines()) == {"jaxeval"}


def test_subclasses_of_users(case):
    class Doubled(ours.MaxSensitivity):
        def evaluate_batch(self, *args, **kwargs):
            return 2 * np.asarray(super().evaluate_batch(*args, **kwargs))

    np.random.seed(7)
    call = {"explain_func": ours.explain, "explain_func_kwargs": {"method": "Gradient"}}
    mine = Doubled(nr_samples=2)(case.net, case.x, case.y, case.a, batch_size=4, **call)
    want = case.run(theirs, "MaxSensitivity", {"nr_samples": 2})
    np.testing.assert_allclose(mine, 2 * np.asarray(want))


def test_what_classes_keep(case):
    metric = ours.PixelFlipping(features_in_step=196, disable_warnings=True)
    own = theirs.PixelFlipping(features_in_step=196, disable_warnings=True)
    assert isinstance(metric, theirs.PixelFlipping)
    assert metric.get_params.keys() == own.get_params.keys()
    assert metric.name == own.name
    assert metric.default_plot_func is own.default_plot_func
    assert pickle.loads(pickle.dumps(metric)).features_in_step == 196
    scores = metric(case.net, case.x, case.y, case.a)
    assert metric.evaluation_scores == scores == metric.all_evaluation_scores
    assert np.isclose(metric.get_auc_score, np.mean([np.trapezoid(s) for s in scores]))
    assert ours.AVAILABLE_METRICS["Faithfulness"]["Pixel-Flipping"] is ours.PixelFlipping
    assert ours.available_metrics() == theirs.available_metrics()
    for name in ("helpers", "functions", "metrics", "evaluation", "perturb_func"):
        assert getattr(ours, name) is getattr(theirs, name)


def test_install_and_undo():
    before = theirs.MaxSensitivity
    with ours.install():
        from quantus.metrics.robustness import MaxSensitivity

        assert theirs.MaxSensitivity is MaxSensitivity is ours.MaxSensitivity
        assert theirs.explain is ours.explain
        assert theirs.helpers.constants.AVAILABLE_METRICS["Robustness"]["Max-Sensitivity"] is (
            ours.MaxSensitivity
        )
        assert theirs.fro_norm is ours.fro_norm
    assert theirs.MaxSensitivity is before
    assert not hasattr(theirs, "fro_norm")


def test_every_metric_of_quantus_has_a_row():
    every = {m.__name__ for table in theirs.AVAILABLE_METRICS.values() for m in table.values()}
    assert every <= set(ours.rows.ROWS)
    assert len(every) == 37


def test_compactness(case):
    """Which released versions of Quantus lack."""
    import jaxeval as je

    a = np.abs(case.a)
    want = [je.functional.mstc(v[0], 80, 20) for v in a]
    call = {"a_batch": a, "model": None, "x_batch": case.x, "y_batch": case.y}
    np.testing.assert_allclose(ours.MSTC(normalise=False)(**call), want, rtol=1e-6)
    plain = ours.MSTC(normalise=False, scale_score=False)(**call)
    np.testing.assert_allclose(np.multiply(plain, 100 * 28 * 2**0.5), want, rtol=1e-6)
    explained = {**call, "model": case.net, "a_batch": None, "explain_func": ours.explain}
    explained["explain_func_kwargs"] = {"method": "Gradient"}
    np.testing.assert_allclose(ours.MSTC()(**explained), want, rtol=1e-3)
    with pytest.raises(ValueError, match="MSTC scores maps"):
        ours.MSTC()(None, np.repeat(case.x, 3, 1), case.y, np.repeat(a, 3, 1), channel_first=True)
    with pytest.raises(ValueError, match="percentile"):
        ours.MSTC(threshold=101)
