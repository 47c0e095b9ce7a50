"""What a meta-evaluation costs, against the same work by plain calls of `evaluate` and `score`.

``python benchmarks/meta.py`` tests 9 metrics of 4 explainers on 40 digits, with 6 perturbations of
each kind. It first checks that both sides give the same scores.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

import jaxeval as je

GONE = {"baseline": 0.0}
N, P, RADIUS = 40, 6, 0.1
EXPLAINERS = {
    "Saliency": je.explain.Saliency(),
    "InputXGradient": je.explain.InputXGradient(),
    "IG": je.explain.IntegratedGradients(n_steps=16, **GONE),
    "SmoothGrad": je.explain.SmoothGrad(n_samples=8),
}
METRICS = {
    "PixelFlipping": je.PixelFlipping(n_steps=16, **GONE),
    "Deletion": je.Deletion(n_steps=16, **GONE),
    "SRG": je.SRG(n_steps=16, **GONE),
    "FaithfulnessCorrelation": je.FaithfulnessCorrelation(n_runs=50, subset_size=16, **GONE),
    "MaxSensitivity": je.MaxSensitivity(radius=RADIUS, n_samples=8),
    "AvgSensitivity": je.AvgSensitivity(radius=RADIUS, n_samples=8),
    "Sparseness": je.Sparseness(),
    "Complexity": je.Complexity(),
    "Completeness": je.Completeness(**GONE),
}
TESTS = [je.ModelNoise(), je.InputNoise()]
KINDS = ("minor", "disruptive")


def whole(x: Any) -> je.MetaResults:
    return je.meta_evaluate(
        je.data.digits_cnn(), x, explainers=EXPLAINERS, metrics=METRICS, tests=TESTS,
        n_perturbations=P, progress=False,
    )  # fmt: skip


def alone(meta: je.MetaResults, x: Any) -> tuple[dict[Any, np.ndarray], dict[str, int]]:
    """The scores that a loop over metrics, explainers, kinds and perturbations gives, and its cost.

    The perturbed models and inputs are those of `meta`; making them is not part of the work.
    """
    asked: dict[str, int] = {"output": 0, "attribution": 0}
    found: dict[Any, list[Any]] = {}
    setup = meta.setup
    model, y, root = setup.job.model, meta.y.astype(np.int32), setup.root

    def score(m: str, e: str, model: Any, x: Any, ids: np.ndarray, **given: Any) -> Any:
        results = je.evaluate(
            model, x, y, metrics={m: METRICS[m]}, index=ids, progress=False,
            explainers={e: given.get("a", EXPLAINERS[e])},
        )  # fmt: skip
        for kind in asked:
            asked[kind] += results.asked[kind]
        return results[e, m].score

    for test in TESTS:
        name = type(test).__name__
        for kind in KINDS:
            for m, metric in METRICS.items():
                for e in EXPLAINERS:
                    score(m, e, model, x, np.arange(N))  # each test scores the clean samples again
                    for p in range(P):
                        ids = np.arange(N) + N * (1 + p)
                        key = jax.random.fold_in(root, TESTS.index(test))
                        if isinstance(test, je.ModelNoise):
                            got = score(m, e, test.model(model, key, kind, p), x, ids)
                        else:
                            noisy = test.inputs(x, None, key, np.arange(N), kind, p)
                            a = np.asarray(je.attribute(EXPLAINERS[e], model, x, y))
                            asked["attribution"] += N
                            if "attribution" in metric.asks:
                                out = je.score(
                                    metric, model, noisy, y, a, explainer=EXPLAINERS[e], index=ids
                                )
                                got = np.asarray(out.score)
                                asked["attribution"] += N * 8
                            else:
                                got = score(m, e, model, noisy, ids, a=a)
                        found.setdefault((m, name, kind), []).append(got)
    shape = (len(EXPLAINERS), P, N)
    return {k: np.stack(v).reshape(shape).swapaxes(0, 1) for k, v in found.items()}, asked


def timed(run: Callable[[], Any]) -> tuple[float, Any]:
    """(processor seconds of all threads, result): others on the machine do not count."""
    began = time.process_time()
    found = run()
    return time.process_time() - began, found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--repeats", type=int, default=1)
    given = parser.parse_args()
    x = je.data.digits().x_test[:N]
    first, meta = timed(lambda: whole(x))
    theirs_first, (scores, asked) = timed(lambda: alone(meta, x))
    for k, v in scores.items():
        np.testing.assert_allclose(meta.scores[k], v, rtol=1e-3, atol=1e-3, err_msg=str(k))
    again = min(timed(lambda: whole(x))[0] for _ in range(given.repeats))
    theirs = min(timed(lambda: alone(meta, x))[0] for _ in range(given.repeats))
    print(f"scores agree: {sum(v.size for v in scores.values()):,}")
    print("| | one metric and explainer at a time | meta_evaluate | ratio |")
    print("|---|---|---|---|")
    for kind in asked:
        print(f"| {kind}s | {asked[kind]:,} | {meta.asked[kind]:,} "
              f"| {asked[kind] / meta.asked[kind]:.1f} |")  # fmt: skip
        print(f"| {kind}s by the formula | {meta.asked['metaquantus'][kind]:,} | | |")
    print(f"| processor time, with compilation | {theirs_first:.1f} s | {first:.1f} s "
          f"| {theirs_first / first:.1f} |")  # fmt: skip
    print(f"| processor time, compiled | {theirs:.1f} s | {again:.1f} s | {theirs / again:.1f} |")


if __name__ == "__main__":
    main()
