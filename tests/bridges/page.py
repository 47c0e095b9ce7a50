"""docs/conversion.md, from what the tests of a full run record.

A test calls ``record(group, name, column=value, ...)``, a fixture; what several tests record of
one name makes one row. The page is written with ``pytest --conversion=FILE``, as `make test-all`
does, and only when all that record have passed: no row is missing silently.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

KEY = "conversion"
PACKAGES = ("jax", "torch", "onnx", "onnxscript", "torchvision", "transformers")
GROUPS = {
    "torchvision": "Families of torchvision, random weights",
    "transformers": "Transformers, small and random; a padding mask",
    "photographs": "ImageNet weights, on scikit-image's photographs",
    "small": "Small networks",
    "refused": "What is not converted",
}
COLUMNS = ("input", "converts", "logits", "gradients", "seconds")

TOP = """# What converts

Of PyTorch modules, by `jaxeval_torch.from_torch`; written by `make test-all`. Logits are compared
with torch's in float32, relative to the largest, compiled, for three batch sizes and under `vmap`;
input gradients in float64, of torchvision's families at half the side where that is allowed.
Seconds are the processor time of the conversion: the export to ONNX, and the comparison with torch
on the example with its compilation.
"""

BOTTOM = """
## When a module does not convert

The error says why. A forward pass that branches on the values of its input cannot be exported:
write the branch with `torch.where` or `torch.cond`. Operators that are not in the table are all
named. Where neither can be helped, `wrap_torch` runs the module in torch: every metric that asks
for outputs takes it, and every explainer that asks for input gradients, which come from autograd.
What looks at hidden layers or changes parameters needs a converted model. Attribution methods in
torch (captum, zennit, shap, LIME) need no conversion.
"""


@pytest.fixture
def record(record_property: Callable[[str, Any], None]) -> Callable[..., None]:
    record_property(KEY, None)  # even where it fails before it has anything to say

    def add(group: str, name: str, **columns: Any) -> None:
        record_property(KEY, {"group": group, "name": name, **columns})

    return add


class Page:
    """Gathers the records of all workers and writes the page at the end."""

    def __init__(self, file: Path):
        self.file = file
        self.rows: dict[tuple[str, str], dict[str, Any]] = {}
        self.missing: list[str] = []
        self.said = ""

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        rows = [row for key, row in report.user_properties if key == KEY]
        if rows and report.outcome != "passed":
            self.missing.append(report.nodeid)
        for row in filter(None, rows if report.when == "call" else ()):
            self.rows.setdefault((row["group"], row["name"]), {}).update(row)

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if hasattr(session.config, "workerinput") or not self.rows:
            return
        if self.missing:
            self.said = f"{self.file} is left as it was; not passed: {', '.join(self.missing)}"
            return
        self.file.write_text(text(self.rows))
        self.said = f"{self.file} is written"

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        if self.said:
            terminalreporter.write_line(self.said)


def text(rows: dict[tuple[str, str], dict[str, Any]]) -> str:
    """The page, in an order that does not depend on when which test ran."""
    from benchmarks.timing import machine

    lines = [TOP, f"Measured on {machine(PACKAGES)}."]
    for group, title in GROUPS.items():
        found = sorted((name.lower(), row) for (g, name), row in rows.items() if g == group)
        if not found:
            continue
        lines += [
            f"\n## {title}\n",
            "| family | input | converts | logits off by | input gradients off by | seconds |",
            "|---|---|---|---|---|---|",
        ]
        lines += [
            f"| {row['name']} | {' | '.join(_cell(row.get(c)) for c in COLUMNS)} |"
            for _, row in found
        ]
    lines += [_nodes(row) for (g, _), row in rows.items() if g == "nodes"]
    return "\n".join(lines) + "\n" + BOTTOM


def _cell(v: Any) -> str:
    if isinstance(v, bool):
        return "yes" if v else "no"
    if isinstance(v, float):
        return f"{v:.0e}" if v < 1e-2 else f"{v:.1f}"
    return "" if v is None else str(v)


def _nodes(row: dict[str, Any]) -> str:
    """The paragraph on ONNX's own tests."""
    left, refused = row["left"], row["refused"]
    lines = [
        "\n## ONNX's node tests\n",
        f"Of the {row['all']} tests of single operators that onnx {row['version']} ships, "
        f"{row['tried']} use operators of the table and types that JAX has; {row['right']} of "
        f"these pass, and {len(refused)} are refused with a message:\n",
        *(f"* {name}: {why}" for name, why in sorted(refused.items())),
        "\nThe others are not tried:\n",
        *(f"* {n}: {why}" for why, n in sorted(left.items(), key=lambda v: (-v[1], v[0]))),
        "\nOperators that are not in the table, with their tests: "
        + ", ".join(f"{k} {n}" for k, n in sorted(row["unknown"].items()))
        + ".",
    ]
    return "\n".join(lines)
