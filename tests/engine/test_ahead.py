"""What is done for the next block, and fetched of the last one, while the devices work."""

from __future__ import annotations

import threading
import time
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

import jaxeval as je
from jaxeval.engine import image_memo
from jaxeval.engine.run import with_next

X = np.random.default_rng(0).normal(size=(7, 6)).astype(np.float32)
Y = np.zeros(7, int)
MODEL = je.Model(lambda p, x: x @ p, np.eye(6, 3, dtype=np.float32), channel_axis=None)


class Halves:
    """The first half of the entries; remembers who called it."""

    in_threads = True

    def __init__(self):
        self.threads: list[str] = []

    def __call__(self, x, channel_axis):
        self.threads.append(threading.current_thread().name)
        return np.arange(x.size) < x.size // 2


@je.pytree
class HideHalf(je.Perturbation):
    make: Any = je.static()

    @property
    def reads(self):
        return frozenset({"half"})

    def host_extras(self):
        return {"half": self.make}

    def n_steps(self, sample):
        return 1

    def apply(self, sample, plan, step):
        return je.Query(x=jnp.where(sample.extras["half"], 0.0, sample.x), y=sample.y)


@je.pytree
class HalfGone(je.Metric):
    family, direction, asks, reference = "faithfulness", "lower", frozenset({"output"}), "none"
    make: Any = je.static(None)

    def questions(self):
        return HideHalf(make=self.make)

    def measure(self, sample, reference, query, answer):
        return jnp.abs(query.x).sum()

    def reduce(self, sample, reference, measured, valid):
        return je.Outcome(score=measured[0])


def evaluate(metric, **given):
    given = {"explainers": {"x": X}, "batch_size": 2} | given
    return je.evaluate(MODEL, X, Y, metrics={"m": metric}, progress=False, **given)


def test_functions_of_images_run_in_threads_once_an_image():
    make = Halves()
    got = evaluate(HalfGone(make=make))["x", "m"].score
    np.testing.assert_allclose(got, np.abs(X[:, 3:]).sum(1), rtol=1e-6)
    assert len(make.threads) == len(X)
    assert all(name.startswith("jaxeval-images") for name in make.threads)


@pytest.mark.parametrize("fails", [False, True])
def test_an_image_that_is_being_computed_is_awaited(fails):
    class Slow(Halves):
        def __call__(self, x, channel_axis):
            super().__call__(x, channel_axis)
            time.sleep(0.1)
            if fails:
                raise OSError("no such image")
            return x > 0

    make = Slow()
    begun = image_memo.begin(make, [X[0]] * 4, None)
    if fails:
        for future in begun:
            with pytest.raises(OSError, match="no such image"):
                future.result()
        with pytest.raises(OSError, match="no such image"):  # an error is not remembered
            image_memo.once_per_image(make, X[0], None)
    else:
        got = image_memo.once_per_image(make, X[0], None)
        assert len(make.threads) == 1
        assert all(future.result() is got for future in begun)


def test_errors_of_threads_are_raised():
    class Broken(Halves):
        def __call__(self, x, channel_axis):
            raise OSError("no such image")

    with pytest.raises(OSError, match="no such image"):
        evaluate(HalfGone(make=Broken()))


def test_given_extras_are_not_computed():
    make = Halves()
    evaluate(HalfGone(make=make), extras={"half": np.ones(X.shape, bool)})
    assert not make.threads


@pytest.mark.parametrize("bad", [2, 5])
def test_all_finished_blocks_are_in_what_is_partial(bad):
    def explain(model, x, y, keys):
        if (x == X[bad]).all(1).any():
            raise RuntimeError("no map")
        return np.array(x)

    with pytest.raises(je.EvaluationError, match="no map") as caught:
        evaluate(je.Sparseness(), explainers={"e": je.Host(explain)})
    got = caught.value.partial["e", "m"].score
    want = je.Sparseness()(MODEL, X, Y, X)
    np.testing.assert_array_equal(got, np.asarray(want)[: bad // 2 * 2])


def test_hidden_layers_that_nobody_looks_at_are_not_kept():
    from jaxeval.engine.kernels import layers_of

    some, more = je.RRS(layers=("a",)), je.RRS(layers=("b", "a"))
    assert layers_of([je.PixelFlipping()]) is False
    assert layers_of([some]) == ("a",)
    assert layers_of([some, more, je.PixelFlipping()]) == ("a", "b")
    assert layers_of([some, je.RRS()]) is True


def test_pairs_of_blocks():
    assert list(with_next(iter([1, 2, 3]))) == [(1, 2), (2, 3), (3, None)]
    assert list(with_next(iter([]))) == []
