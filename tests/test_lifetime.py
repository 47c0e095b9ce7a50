"""Nothing keeps a model alive after the caller has dropped it, nor what was compiled of it."""

from __future__ import annotations

import functools
import gc
import weakref

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxeval as je
from jaxeval import lifetime
from jaxeval.engine import TRACES
from jaxeval.lifetime import Weak, weakly

N = 6
X = np.random.default_rng(0).random((N, 1, 8, 8)).astype(np.float32)
Y = np.arange(N) % 3
KEYS = jax.random.split(jax.random.key(0), N)
METRICS = {"flip": je.PixelFlipping(n_steps=4), "max": je.MaxSensitivity(n_samples=2)}


def closure(i: int, dtype=np):
    w = dtype.asarray(np.random.default_rng(i).normal(size=(64, 3)).astype(np.float32))
    return lambda params, x: x.reshape(len(x), -1) @ w


def convolution(i: int):
    """Rewritten where it runs on a CPU."""
    kernel = jnp.asarray(np.random.default_rng(i).normal(size=(3, 1, 3, 3)), jnp.float32)

    def apply(params, x):
        y = jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME")
        return jax.nn.relu(y).mean((2, 3))

    return apply


class Net:
    def __init__(self, i: int):
        self.fn = closure(i)

    def __call__(self, params, x):
        return self.fn(params, x)

    def forward(self, params, x):
        return self.fn(params, x)


def evaluate(model):
    je.evaluate(
        model,
        X,
        Y,
        explainers={
            "g": je.explain.Gradient(),
            "o": je.explain.Occlusion(window=(1, 4, 4), stride=4),
            "host": je.Host(lambda model, x, y, keys: x * np.asarray(model(x)).sum()),
        },
        metrics=METRICS,
        progress=False,
    )


def score(model):
    je.score(METRICS["flip"], model, X, Y, a=X)


def attribute(model):
    je.attribute(je.explain.SmoothGrad(n_samples=2), model, X, Y)


def explain(model):
    for name in ("Saliency", "IntegratedGradients", "Occlusion", "RISE", "KernelShap"):
        je.explain.get(name)(model, X, Y, KEYS)


def function(model):
    f = je.as_function(METRICS["flip"], model)
    jax.jit(f)(X[0], Y[0], X[0], KEYS[0])


def with_an_output(model):
    output = lambda z, y: z[y] + 0 * model(X[:1])[0, 0]  # noqa: E731
    je.score(METRICS["flip"], model, X, Y, a=X, output=output)


@pytest.mark.parametrize(
    ("make", "use"),
    [
        (closure, evaluate),
        (closure, score),
        (closure, attribute),
        (closure, explain),
        (closure, function),
        (closure, with_an_output),
        (lambda i: closure(i, jnp), score),
        (convolution, evaluate),
        (Net, score),
    ],
)
def test_models_go_when_they_are_dropped(make, use):
    gone = []
    for i in range(2):
        model = je.Model(make(i), {})
        gone += [weakref.ref(model), weakref.ref(model.apply)]
        cells = getattr(model.apply, "__closure__", None) or ()
        gone += [weakref.ref(cell.cell_contents) for cell in cells]
        use(model)
        del model, cells
    gc.collect()
    assert [ref() for ref in gone] == [None] * len(gone)
    assert all(owner.living or owner.lasts for _, owners in Weak.made for owner in owners)


def test_many_closures_leave_no_programs():
    for i in range(3):
        score(je.Model(closure(i), {}))
    gc.collect()
    before = len(Weak.made), len(Weak.by_id), len(jax.live_arrays())
    for i in range(10):
        score(je.Model(closure(i), {}))
    gc.collect()
    assert (len(Weak.made), len(Weak.by_id), len(jax.live_arrays())) == before


def marked(i: int):
    w = np.full((1, 8, 8), i, np.float32)
    return lambda model, x, y, keys: x * w


def test_explainers_go_too_and_the_model_keeps_its_programs():
    model, gone = je.Model(closure(0), {}), []
    score(model)
    for i in range(2):
        mine = marked(i)
        gone.append(weakref.ref(mine))
        je.evaluate(model, X, Y, explainers={"m": mine}, metrics=METRICS, progress=False)
        je.attribute(mine, model, X, Y)
        del mine
    gc.collect()
    assert [ref() for ref in gone] == [None, None]
    before = dict(TRACES)
    score(model)
    assert dict(TRACES) == before


def test_a_bare_function_and_a_bound_method_are_compiled_once():
    net = Net(0)
    bare = functools.partial(net, None)
    for method in (False, True):
        for again in (False, True):
            before = dict(TRACES)
            score(je.Model(net.forward, {}) if method else bare)
            gc.collect()
            assert (dict(TRACES) == before) is again
    gone = weakref.ref(net)
    del net, bare
    gc.collect()
    assert gone() is None


def test_flax_modules():
    nn = pytest.importorskip("flax.linen")
    from flax import nnx

    net = nn.Sequential([lambda x: x.reshape(len(x), -1), nn.Dense(3)])
    values = [net.init(jax.random.key(i), jnp.ones((1, 1, 8, 8))) for i in range(2)]
    for again, v in enumerate(values):
        before = dict(TRACES)
        score(je.from_flax(net, v))
        gc.collect()
        assert (dict(TRACES) == before) is bool(again)
    bound = net.bind(values[0])
    gone = [weakref.ref(bound), weakref.ref(values[0]["params"]["layers_1"]["kernel"])]
    score(je.Model(lambda params, x, bound=bound: bound(x), {}))
    gone.append(weakref.ref(net))
    del net, values, v, bound

    class Own(nnx.Module):
        def __init__(self):
            self.dense = nnx.Linear(64, 3, rngs=nnx.Rngs(0))

        def __call__(self, x):
            return self.dense(x.reshape(len(x), -1))

    for again in range(2):  # of an equal module, too
        own = Own()
        before = dict(TRACES)
        score(je.from_flax(own))
        gc.collect()
        assert (dict(TRACES) == before) is bool(again)
    gone.append(weakref.ref(own))
    del own
    gc.collect()
    assert [ref() for ref in gone] == [None] * len(gone)


def test_equal_functions_share_what_stands_for_them():
    class Value:
        def __init__(self, v):
            self.v = v

        def __eq__(self, other):
            return isinstance(other, Value) and self.v == other.v

        def __hash__(self):
            return hash(self.v)

        def __call__(self, x):
            return x + self.v

    one, two, other = Value(1), Value(1), Value(2)
    assert weakly(one) is weakly(two)
    assert weakly(one) is not weakly(other)
    held = weakly(one)
    del one
    gc.collect()
    assert held(1) == 2  # the equal one stands in
    del two
    gc.collect()
    with pytest.raises(ReferenceError, match=r"Value is gone: keep the model or explainer"):
        held(1)
    assert weakly(len) is len or weakly(len)([1]) == 1


def test_what_is_remembered_goes_with_the_function():
    fn = closure(0)
    lifetime.remembered(fn)["fact"] = value = np.zeros(3)
    assert lifetime.remembered(fn)["fact"] is value
    gone = weakref.ref(value)
    del fn, value
    gc.collect()
    assert gone() is None
