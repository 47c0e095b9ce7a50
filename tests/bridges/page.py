"""Writes docs/conversion.md from the records of a full test run.

Tests call the fixture ``record(group, name, column=value, ...)``; records of one name are merged
into one row. The page is written by ``pytest --conversion=FILE``, as in `make test-all`, only if
all recording tests have passed, so that no row is missing silently.
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

PyTorch modules that `jaxeval_torch.from_torch` converts. This page is written by `make test-all`.
Logits are compared with torch in float32, relative to the largest logit, compiled, for three batch
sizes and under `vmap`; input gradients in float64, for torchvision models with images of half the
side if the model allows it. Seconds are the CPU time of the conversion: the export to ONNX, and the
comparison with torch on the example, including compilation.
"""

BOTTOM = """
## When a module does not convert

The error says why. A forward pass that branches on the values of its input cannot be exported:
write the branch with `torch.where` or `torch.cond`. Unsupported operators are all listed in the
error. If neither can be fixed, `wrap_torch` runs the module in torch: it works with every metric
that needs only outputs, and with every explainer that needs input gradients, which come from
autograd. Metrics that use hidden layers or change parameters require a converted model. Attribution
methods in torch (captum, zennit, shap, LIME) need no conversion.
"""


@pytest.fixture
def record(record_property: Callable[[str, Any], None]) -> Callable[..., None]:
    record_property(KEY, None)  # marks the test, even if it fails before its first record

    def add(group: str, name: str, **columns: Any) -> None:
        record_property(KEY, {"group": group, "name": name, **columns})

    return add


class Page:
    """Collects the records of all workers and writes the page at the end."""

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
    """The page, in an order independent of the order of the tests."""
    from benchmarks.timing import machine

    lines = [TOP, f"Measured on {machine(PACKAGES)}."]
    for group, title in GROUPS.items():
        found = sorted((name.lower(), row) for (g, name), row in rows.items() if g == group)
        if not found:
            continue
        lines += [
            f"\n## {title}\n",
            "| family | input | converts | error of logits | error of input gradients | seconds |",
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
        f"{row['tried']} use supported operators and types that JAX has; {row['right']} of "
        f"these pass, and {len(refused)} are refused with an error:\n",
        *(f"* {name}: {why}" for name, why in sorted(refused.items())),
        "\nThe others are not run:\n",
        *(f"* {n}: {why}" for why, n in sorted(left.items(), key=lambda v: (-v[1], v[0]))),
        "\nUnsupported operators, with the number of their tests: "
        + ", ".join(f"{k} {n}" for k, n in sorted(row["unknown"].items()))
        + ".",
    ]
    return "\n".join(lines)
