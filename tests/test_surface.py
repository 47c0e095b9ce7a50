"""What a user meets first: what `import jaxeval` loads, what `dir` lists, how models print."""

from __future__ import annotations

import functools
import json
import subprocess
import sys
import textwrap

import jax
import jax.numpy as jnp
import pytest

import jaxeval as je

HEAVY = (
    *("captum", "etils.epy", "flax", "jinja2", "matplotlib", "onnx", "optax", "pandas", "pyarrow"),
    *("rich", "scipy", "skimage", "sklearn", "torch", "tqdm"),
)
"""Packages that cost as much to import as JAX, or a good part of it."""
LATER = tuple(
    f"jaxeval.{room}" for room in ("data", "explain", "meta", "metrics", "plot", "report", "sweep")
)

PUBLIC = """
ABPC ADCC AIC AOPCComprehensiveness AOPCSufficiency AUC Answer AttributionLocalisation AverageDrop
AveragePrecision AverageStability AvgSensitivity Background ClassSensitivity Completeness
Complexity Consistency Continuity Deletion Described EffectiveComplexity EfficientMPRT
EvaluationError FaithfulnessCorrelation FaithfulnessEstimate Focus Grid Host IROF
IncreaseInConfidence Infidelity InputInvariance InputNoise Insertion IoU LOOCorrelation
LocalLipschitz LocalLipschitzEstimate LogOdds METRICS MPRT MSTC MapNoise MaxSensitivity
MetaResults Metric Model ModelNoise Monotonicity MonotonicityCorrelation MuFidelity Noise
NonSensitivity Outcome PGI PGU Perturbation PixelFlipping PointingGame QGE Query RIS ROAD ROS RRS
RandomLogit RationaleF1 RegionPerturbation RelativeInputStability RelativeOutputStability
RelativeRepresentationStability RelevanceMassAccuracy RelevanceRankAccuracy Results SIC SRG Sample
Selectivity SensitivityN SmoothMPRT SoftComprehensiveness SoftSufficiency Sparseness Store
Sufficiency Sweep SweepError Tokens Tolerance TopKIntersection __version__ as_function attribute
data embedded evaluate explain from_equinox from_flax from_keras from_sklearn functional
join_inputs layer_names meta meta_evaluate metrics ops perturb plot pytree register report results
run score static sweep use_compilation_cache words
"""


def loaded(program: str) -> set[str]:
    """The modules that a program loads in a fresh process, beyond those of ``import jax``."""
    script = "import sys, jax, json\nbefore = set(sys.modules)\n" + textwrap.dedent(program)
    script += "\nprint(json.dumps(sorted(set(sys.modules) - before)))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert not done.returncode, done.stderr
    return set(json.loads(done.stdout.splitlines()[-1]))


SCORE = """
    import numpy as np
    import jaxeval as je

    x = np.ones((2, 1, 3, 3), np.float32)
    model = je.Model(lambda p, x: x.reshape(len(x), -1) @ p, np.ones((9, 2), np.float32))
    out = je.score(je.PixelFlipping(n_steps=2), model, x, np.zeros(2, int), x)
    assert np.isfinite(out.score).all()
"""
EVALUATE = """
    je.evaluate(
        model, x, explainers={"saliency": je.explain.Saliency()},
        metrics={"sparseness": je.Sparseness(), "deletion": je.Deletion(n_steps=2)}, progress=False,
    )
"""


@pytest.mark.parametrize(
    ("program", "without"),
    [
        ("import jaxeval", (*HEAVY, *LATER)),
        (SCORE, (*HEAVY, "jaxeval.explain", "jaxeval.sweep")),
        (SCORE + EVALUATE, (*HEAVY, "jaxeval.sweep")),
        ("import jaxeval.cli; jaxeval.cli.parser()", tuple(set(HEAVY) - {"rich"})),
    ],
    ids=["import", "score", "evaluate", "command"],
)
def test_heavy_packages_load_when_they_are_used(program, without):
    assert not loaded(program) & set(without)


def test_rooms_are_attributes_and_modules():
    lines = []
    for room in LATER:
        name = room.partition(".")[2]
        lines += [f"first = jaxeval.{name}", f"import {room}", f"from jaxeval import {name}"]
        lines += [f"assert first is {room} is {name} is sys.modules[{room!r}]"]
    assert set(LATER) <= loaded("\n".join(["import jaxeval", *lines]))


def test_dir_shows_the_public_names_alone():
    names = PUBLIC.split()
    assert dir(je) == names
    for name in names:
        assert getattr(je, name) is getattr(je, name)
    assert set(je.METRICS) <= set(names)


def test_star_imports_the_public_names():
    found: dict[str, object] = {}
    exec("from jaxeval import *", found)
    assert set(PUBLIC.split()) <= found.keys()
    assert found["MPRT"] is je.MPRT
    assert "api" not in found


def test_an_unknown_name_is_refused_with_the_nearest():
    with pytest.raises(AttributeError, match=r"'PixelFliping'\. Did you mean 'PixelFlipping'"):
        je.PixelFliping  # noqa: B018
    assert not hasattr(je, "__wrapped__")


def test_a_models_repr_says_what_it_is_and_holds_no_numbers():
    assert repr(je.data.digits_cnn()).splitlines()[:3] == [
        "Model(apply=DigitsCNN, params=<18,346 numbers in 8 arrays>, hidden=DigitsCNN, "
        "init=DigitsCNN, channel_axis=-1)",
        "  params/Conv_0/bias     float32[8]",
        "  params/Conv_0/kernel   float32[3, 3, 1, 8]",
    ]
    partial = functools.partial(jnp.dot, precision="highest")
    assert repr(je.Model(partial, jnp.ones((3, 2)))) == (
        "Model(apply=dot, params=float32[3, 2], channel_axis=1)"
    )
    host = je.Model(jnp.dot, None, host=True, channel_axis=None, outputs="values")
    assert repr(host) == (
        "Model(apply=dot, params=None, channel_axis=None, host=True, outputs='values')"
    )


def test_a_models_repr_fits_on_a_screen_and_prints_while_traced():
    params = {f"layer {i:03}": jnp.ones(3) for i in range(500)}
    model = je.Model(lambda p, x: x @ p["layer 000"], params)
    lines = repr(model).splitlines()
    assert len(lines) == 22
    assert lines[11] == "  ... 480 more ..."
    assert lines[-1] == "  layer 499  float32[3]"
    seen = []
    jax.jit(lambda m: seen.append(repr(m)))(model)
    assert seen == [repr(model)]
