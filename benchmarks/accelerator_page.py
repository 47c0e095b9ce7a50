"""The page that `accelerator.py` writes."""

from __future__ import annotations

from typing import Any

TARGETS = (
    "Targets: ours at most 1.1 of the floor; at least 50 times Quantus on LeNet; on ResNet-50 at "
    'least 3 times, and 10 times with precision="fast".'
)


def page(about: dict[str, Any], found: dict[str, Any], todo: list[str]) -> str:
    """Markdown."""
    versions = ", ".join(f"{k} {v}" for k, v in about["versions"].items() if v)
    size = " Small sizes (`--quick`), which say nothing about speed." if about["quick"] else ""
    lines = [
        "# On an accelerator",
        "",
        f"`python benchmarks/accelerator.py` on {about['device']} ({about['platform']}; "
        f"{gib(about['memory'])} for programs); {versions}.{size}",
        "",
    ]
    good = {k: v for k, v in found.items() if "error" not in v}
    lines += metrics(good) + sweeps(good) + parity(good) + tables(good) + profiles(good)
    left = [name for name in todo if name not in found]
    failed = {k: v["error"] for k, v in found.items() if "error" in v}
    if failed:
        lines += ["", "## Failed", "", *(f"- {k}: {v}" for k, v in failed.items())]
    if left:
        lines += ["", "## Not done", "", *(f"- {name}" for name in left)]
    return "\n".join(lines) + "\n"


def gib(n: float | None) -> str:
    return "memory unknown" if n is None else f"{n / 2**30:.1f} GiB"


def number(v: Any, digits: int = 3) -> str:
    return "–" if v is None else f"{v:.{digits}g}"


def table(head: list[str], rows: list[list[str]]) -> list[str]:
    lines = ["| " + " | ".join(row) + " |" for row in (head, ["---"] * len(head), *rows)]
    return [*lines, ""]


def under(good: dict[str, Any], prefix: str) -> dict[str, Any]:
    return {k.removeprefix(prefix): v for k, v in good.items() if k.startswith(prefix)}


def metrics(good: dict[str, Any]) -> list[str]:
    rows = []
    for name, v in under(good, "metric/").items():
        net, metric = name.split("/")
        floor = v["ours"] / v["floor"] if v["floor"] else None
        times = None if not v.get("quantus") else v["quantus"] / v["ours"]
        rows.append([
            net, metric, number(1e3 * v["ours"]), number(floor),
            number(times), number(v.get("apart")), str(v["batch"]), number(v["first s"]),
            gib(v["peak"]) if v["peak"] else "–",
        ])  # fmt: skip
    head = [
        "network", "metric", "ms a sample", "times the floor", "times faster than Quantus",
        "median difference", "batch", "first call, s", "peak memory",
    ]  # fmt: skip
    return ["## Metrics", "", TARGETS, "", *table(head, rows)] if rows else []


def sweeps(good: dict[str, Any]) -> list[str]:
    rows = [
        [
            name, number(1e3 * v["ours"]), number(v["ours"] / v["floor"] if v["floor"] else None),
            f"{v['evaluations']:,}", f"{v['naive'] / max(1, v['evaluations']):.1f}",
            number(v["first s"]),
        ]
        for name, v in under(good, "sweep/").items()
    ]  # fmt: skip
    head = [
        "network", "ms a sample", "times the floor", "evaluations", "one at a time, times as many",
        "first call, s",
    ]  # fmt: skip
    return ["## Sweeps", "", *table(head, rows)] if rows else []


def parity(good: dict[str, Any]) -> list[str]:
    rows, refused = [], {}
    for v in under(good, "parity/").values():
        refused |= v["refused"]
        for r in v["table"]:
            rows.append([
                r["name"], number(r["largest"], 2), number(r["median"], 2),
                f"{r['differ']} of {r['of']}", str(r["nan"]), number(r.get("ranks"), 6),
            ])  # fmt: skip
    if not rows:
        return []
    head = [
        "metric or explainer", "largest difference", "median", "above 0.001", "NaN on one side",
        "least rank correlation of a map",
    ]  # fmt: skip
    said = [f"- {k}: {v}" for k, v in refused.items()]
    text = "Scores and entries of maps beside those of the CPU, relative to the largest."
    notes = ["Not for these images:", "", *said, ""] if said else []
    return ["## Parity with the CPU", "", text, "", *table(head, rows), *notes]


def tables(good: dict[str, Any]) -> list[str]:
    lines = []
    for prefix, title in (
        ("sizes/", "Time of a row against the batch size, bare model"),
        ("automatic/", "Throughput of PixelFlipping; the first is the automatic batch size"),
        ("fast/", 'precision="fast": how many times as fast, and rank correlation with "highest"'),
    ):
        for name, v in under(good, prefix).items():
            head = list(v["table"][0])
            rows = [[cell(k, r[k]) for k in head] for r in v["table"]]
            lines += [f"## {title}: {name}", "", *table(head, rows)]
    return lines


def cell(name: str, v: Any) -> str:
    if name == "peak":
        return gib(v) if v else "–"
    return number(v, 4) if isinstance(v, float) else "–" if v is None else str(v)


def profiles(good: dict[str, Any]) -> list[str]:
    lines = []
    for name, v in under(good, "profile/").items():
        if v["idle"] is None:
            lines += [f"- {name}: {v['why']}"]
            continue
        lines.append(f"- {name}: the {v['of']} idle {v['idle']:.0%} of {v['ms']:.1f} ms. Longest:")
        lines += [
            f"  - {g['ms']:.2f} ms after `{g['after']}`, before `{g['before']}`" for g in v["gaps"]
        ]
    return ["## When the device idles", "", *lines, ""] if lines else []
