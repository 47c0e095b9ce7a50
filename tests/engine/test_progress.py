"""The progress bar: what it counts and what it shows."""

import io

import jax.numpy as jnp
import numpy as np
from rich.console import Console

import jaxeval as je
from jaxeval import api, progress

MODEL = je.Model(lambda p, x: x @ p, jnp.eye(6)[:, :3])
X = np.random.default_rng(0).normal(size=(10, 6)).astype(np.float32)


def test_every_question_is_counted_and_the_bar_ends_full(monkeypatch):
    bars = []

    class Counting(progress.NoProgress):
        def __init__(self):
            self.total = self.done = 0
            self.stopped = False
            bars.append(self)

        def start(self, total):
            self.total = total

        def advance(self, n):
            self.done += n

        def stop(self):
            self.stopped = True

    monkeypatch.setattr(api, "Bar", Counting)
    results = je.evaluate(
        MODEL,
        X,
        explainers={"gradient": je.explain.Gradient(), "stored": X},
        metrics={"deletion": je.Deletion(n_steps=3), "complexity": je.Complexity()},
        batch_size=4,
    )
    (bar,) = bars
    asked = results.asked["output"] + results.asked["attribution"]
    assert bar.total == bar.done == asked == 10 + 10 + 2 * 3 * 10
    assert bar.stopped


def test_the_bar_shows_questions_rate_and_time_left(monkeypatch):
    out = io.StringIO()
    screen = Console(file=out, force_terminal=True, width=120)
    monkeypatch.setattr("rich.console.Console", lambda **_: screen)
    bar = progress.Bar()
    bar.start(2000)
    bar.advance(500)
    bar.advance(500)
    bar._bar.refresh()
    bar.stop()
    assert "1,000 of 2,000 questions" in out.getvalue()
    assert "/s" in out.getvalue()


def test_no_bar_unless_asked(capfd):
    je.Deletion(n_steps=3)(MODEL, X, a=X)
    assert capfd.readouterr() == ("", "")
