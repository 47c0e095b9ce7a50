"""A fingerprint covers all that decides a score, says what changed, and refuses what it cannot see.

Each kind is a pair of things that compute different numbers; what is made twice alike is equal,
in another process, too.
"""

from __future__ import annotations

import collections
import dataclasses
import enum
import functools
import json
import os
import re
import sys
import threading
import types
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import things

import jaxeval as je
from jaxeval.content import Described, OpaqueError, content
from jaxeval.content.values import text
from jaxeval.sweep import ChangedError, Plan, SweepError
from jaxeval.sweep.fingerprint import changes

W = np.arange(6, dtype=np.float32)


def module(source: str, name: str = "users_own") -> types.ModuleType:
    """A module of the user's own."""
    made = types.ModuleType(name)
    exec(source, vars(made))
    return made


def net(scale: float = 1.0, body: str = "x @ w"):
    return module(f"import numpy as np\nw = {scale} * np.ones(3)\ndef net(x): return {body}").net


def closure(w):
    return lambda model, x, y, keys: x * w


def default(w):
    def explain(model, x, y, keys, w=w, *, more=w):
        return x * w + more

    return explain


class Callable:
    def __init__(self, w, **more):
        self.w, self.more = w, more

    def __call__(self, model, x, y, keys):
        return x * self.w


class Slots:
    __slots__ = ("_hidden", "w")

    def __init__(self, w):
        self.w, self._hidden = w, 2 * w

    def explain(self, model, x, y, keys):
        return x * self.w


@dataclasses.dataclass
class Settings:
    inner: object
    names: tuple = ("a",)


class Kind(enum.Enum):
    ONE = 1
    TWO = 2


Pair = collections.namedtuple("Pair", "a b")


class Registry(dict):
    pass


def chained(w):
    return module(
        f"w = {w}\ndef g(x): return x * w\ndef f(x): return g(x) if x else h(x)\n"
        "def h(x): return f(x - 1)"
    ).f


def through_a_module(w):
    helpers = module(f"w = {w}\nrest = open('/dev/null')\ndef scale(x): return x * w", "helpers")
    made = module("def f(x): return helpers.scale(x)")
    made.helpers = helpers
    return made.f


def own_class(body):
    return module(f"class Own:\n    def __call__(self, x): return {body}").Own()


def cyclic(w):
    made = Callable(w)
    made.more["self"] = made
    return made


def linen(features):
    nn = pytest.importorskip("flax.linen")
    made = nn.Sequential([nn.Dense(features), nn.relu])
    return je.from_flax(made, made.init(jax.random.key(0), jnp.ones((1, 3))))


KINDS = {
    "a closure": (lambda: closure(W), lambda: closure(2 * W), "closure.w.digest"),
    "a closure over a number": (lambda: closure(2), lambda: closure(2.0), "closure.w: 2 -> 2.0"),
    "a default": (lambda: default(1.0), lambda: default(3.0), r"defaults.0|defaults: \[1"),
    "a partial's argument": (
        lambda: functools.partial(things.mine, keys=W),
        lambda: functools.partial(things.mine, keys=2 * W),
        "keywords.keys.digest",
    ),
    "a callable object": (lambda: Callable(W), lambda: Callable(2 * W), "w.digest"),
    "what is inside a callable object": (
        lambda: Callable(1, cfg={"max": [50.0]}),
        lambda: Callable(1, cfg={"max": [10.0]}),
        r"more.cfg.max.list: \[50.0\] -> \[10.0\]",
    ),
    "a method of an object with slots": (
        lambda: Slots(1).explain, lambda: Slots(2).explain, "of._hidden: 2 -> 4",
    ),
    "a function in a dataclass": (
        lambda: Settings(closure(1)), lambda: Settings(closure(2)), "inner.closure.w: 1 -> 2",
    ),
    "a global": (lambda: net(1.0), lambda: net(2.0), "globals.w.digest"),
    "code": (lambda: net(body="x @ w"), lambda: net(body="x @ w + 1"), "code: "),
    "a global of a function's function": (
        lambda: chained(1), lambda: chained(2), "globals.g.globals.w: 1 -> 2",
    ),
    "a function of a module": (
        lambda: through_a_module(1), lambda: through_a_module(2),
        "globals.helpers.scale.globals.w: 1 -> 2",
    ),
    "the code of a class": (lambda: own_class("x"), lambda: own_class("-x"), "members.__call__"),
    "an object that holds itself": (lambda: cyclic(1), lambda: cyclic(2), "w: 1 -> 2"),
    "jax.jit": (lambda: jax.jit(net(1.0)), lambda: jax.jit(net(2.0)), "of.globals.w"),
    "jax.vmap": (lambda: jax.vmap(closure(1)), lambda: jax.vmap(closure(2)), "closure.w: 1 -> 2"),
    "functools.cache": (
        lambda: functools.cache(closure(1)), lambda: functools.cache(closure(2)), "closure.w",
    ),
    "two lambdas": (lambda: lambda z, y: z[y], lambda: lambda z, y: 2 * z[y], "code"),
    "a constant of a lambda": (lambda: lambda z: z * 0.0, lambda: lambda z: z * -0.0, "code"),
    "a metric's output": (
        lambda: je.PixelFlipping(output=closure(1)), lambda: je.PixelFlipping(output=closure(2)),
        "output.closure.w: 1 -> 2",
    ),
    "an explainer's array": (
        lambda: je.explain.Occlusion(baseline=W), lambda: je.explain.Occlusion(baseline=2 * W),
        "baseline.digest",
    ),
    "a host explainer": (
        lambda: je.Host(closure(1)), lambda: je.Host(closure(2)), "fn.closure.w: 1 -> 2",
    ),
    "a model's params": (
        lambda: je.Model(things.apply, {"a": W}), lambda: je.Model(things.apply, {"a": -W}),
        "params.a.digest",
    ),
    "a model's hidden layers": (
        lambda: je.Model(things.apply, W, hidden=closure(1)),
        lambda: je.Model(things.apply, W, hidden=closure(2)), "hidden.closure.w: 1 -> 2",
    ),
    "a model's initialisation": (
        lambda: je.Model(things.apply, W, init=closure(1)),
        lambda: je.Model(things.apply, W, init=closure(2)), "init.closure.w: 1 -> 2",
    ),
    "a flax module": (lambda: linen(3), lambda: linen(4), "apply.module.layers"),
    "a type of number": (lambda: closure(W), lambda: closure(W.astype(np.float16)), "array: "),
    "a shape": (lambda: closure(W), lambda: closure(W.reshape(2, 3)), "array: "),
    "a JAX array": (lambda: closure(jnp.array(W)), lambda: closure(jnp.array(-W)), "digest"),
    "a key": (lambda: closure(jax.random.key(0)), lambda: closure(jax.random.key(1)), "digest"),
    "an array of objects": (
        lambda: closure(np.array([1, "a"], object)), lambda: closure(np.array([1, "b"], object)),
        "items",
    ),
    "a structured array": (
        lambda: closure(np.zeros(2, "i4,f8")), lambda: closure(np.ones(2, "i4,f8")), "digest",
    ),
    "a masked array": (
        lambda: closure(np.ma.array([1, 2], mask=[0, 1])),
        lambda: closure(np.ma.array([1, 2], mask=[1, 0])), "mask",
    ),
    "a random stream": (
        lambda: closure(np.random.default_rng(0)), lambda: closure(np.random.default_rng(1)),
        "closure.w",
    ),
    "a list or a tuple": (lambda: closure([1]), lambda: closure((1,)), "closure.w"),
    "a set": (lambda: closure({"a", "b"}), lambda: closure({"a", "c"}), "closure.w.set"),
    "a dict with other keys": (lambda: closure({1: 2}), lambda: closure({1: 3}), "closure.w.items"),
    "an enum": (lambda: closure(Kind.ONE), lambda: closure(Kind.TWO), "enum"),
    "a named tuple": (lambda: Pair(1, 2), lambda: Pair(1, 3), "holds: "),
    "a subclass of dict": (lambda: Registry(a=1), lambda: Registry(a=2), "holds.a: 1 -> 2"),
    "bytes": (lambda: closure(b"ab"), lambda: closure(b"ac"), "closure.w.bytes"),
    "a pandas table": (
        lambda: closure(pytest.importorskip("pandas").DataFrame({"a": [1.0, 2.0]})),
        lambda: closure(pytest.importorskip("pandas").DataFrame({"a": [1.0, 3.0]})), "digest",
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_different_things_have_different_content_and_the_path_is_named(kind):
    one, other, path = KINDS[kind]
    assert text(content(one())) == text(content(one()))
    lines = list(changes(content(one()), content(other())))
    assert lines
    assert re.search(path, "\n".join(lines)), lines


def test_what_does_not_decide_is_left_out():
    class Kept:
        @functools.cached_property
        def slow(self):
            return np.random.default_rng().random()

    one = Kept()
    before = text(content(one))
    _ = one.slow
    assert text(content(one)) == before
    assert text(content(closure({"a": 1, "b": 2}))) == text(content(closure({"b": 2, "a": 1})))
    assert content(closure(threading.Lock()))
    # A package's function is known by its name, and its version by the package's.
    assert content(np.linalg.norm) == "numpy.linalg.norm"


def generator():
    yield 1


@pytest.mark.parametrize(
    "hold",
    [Path(os.devnull).open, generator, sys._getframe, lambda: jax.devices()[0].client],
    ids=["a file", "a generator", "a frame", "an object of C++"],
)
def test_what_cannot_be_read_is_refused_with_its_path(hold):
    held = hold()
    with pytest.raises(
        OpaqueError, match=r"^mine.closure.w is of the type .*je.Described\(fn, fing"
    ):
        content(closure(held), "mine")
    if hasattr(held, "close"):
        held.close()


def test_a_text_of_the_users_stands_for_what_cannot_be_read(tmp_path):
    with open(os.devnull) as file:
        explain = closure(1)

        def mine(model, x, y, keys):
            file.readable()
            return explain(model, x, y, keys)

        with pytest.raises(SweepError, match=r"explainers.m.is.closure.file is of the type _io"):
            Plan(things.sweep(tmp_path, explainers={"m": mine})).begin()
        assert not list(tmp_path.iterdir())

        def sweep(fingerprint):
            explainers = {"m": Described(mine, fingerprint=fingerprint)}
            return things.sweep(tmp_path, explainers=explainers)

        assert je.run(sweep("v1"), progress=False).complete
        assert je.run(sweep("v1"), progress=False).found == 5
        with pytest.raises(ChangedError, match=r'explainers.m.is.fingerprint: "v1" -> "v2"'):
            Plan(sweep("v2")).begin()
    np.testing.assert_array_equal(
        je.Store(tmp_path).results().scores["m", "sparse"],
        np.asarray(je.Sparseness()(things.linear(), things.data()["x"], a=things.data()["x"])),
    )
    with pytest.raises(TypeError, match="takes a callable, got int"):
        Described(3, fingerprint="v1")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="a text that is not empty, got ''"):
        Described(mine, fingerprint="")


def test_a_class_may_say_what_it_is():
    class Remote:
        def __init__(self, version):
            self.version, self.connection = version, generator()

        def __fingerprint__(self):
            return {"version": self.version}

    assert list(changes(content(Remote(1)), content(Remote(2)))) == ["version: 1 -> 2"]


SWEEPS = {
    "an explainer's closure": (
        lambda w: {"explainers": {"mine": closure(w)}}, r"explainers.mine.is.closure.w: 1 -> 2",
    ),
    "a plain function as the model": (
        lambda w: {"model": net(w, "np.asarray(x)[:, :3] * w")}, "models.model.globals.w.digest",
    ),
    "a closure in the model": (
        lambda w: {"model": je.Model(lambda p, x: w * x, {})},
        "models.model.apply.closure.w: 1 -> 2",
    ),
    "a metric's closure": (
        lambda w: {"metrics": {"f": je.PixelFlipping(n_steps=2, output=lambda z, y: w * z[y])}},
        "metrics.f.is.output.closure.w: 1 -> 2",
    ),
    "the class score": (
        lambda w: {"class_score": lambda z, y: w * z[y]}, "class_score.closure.w: 1 -> 2",
    ),
    "the data's transform": (
        lambda w: {
            "data": je.data.open_source(
                (things.data()["x"], things.data()["y"]), transform=lambda x: w * x
            )
        },
        "data.columns.transform.closure.w: 1 -> 2",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SWEEPS)
def test_a_sweep_with_another_is_refused(name, tmp_path):
    given, message = SWEEPS[name]
    Plan(things.sweep(tmp_path, **given(1))).begin()
    Plan(things.sweep(tmp_path, **given(1))).begin()
    with pytest.raises(ChangedError, match=message):
        Plan(things.sweep(tmp_path, **given(2))).begin()


def test_a_package_of_another_version_is_another_sweep(tmp_path, monkeypatch):
    sweep = things.sweep(tmp_path)
    Plan(sweep).begin()
    monkeypatch.setattr("jaxeval.sweep.fingerprint.version", lambda name: f"{name} 2")
    with pytest.raises(ChangedError, match=r'any-code.*\n.*\n  code.libraries.jax: .* -> "jax 2"'):
        Plan(sweep).begin()
    Plan(sweep).begin(any_code=True)


def test_a_folder_that_an_older_jaxeval_began_is_refused_and_can_be_read(tmp_path):
    sweep = things.sweep(tmp_path)
    assert je.run(sweep, progress=False).complete
    file = tmp_path / "manifest.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "version": 1}))
    for any_code in (False, True):
        with pytest.raises(SweepError, match=r"begun by an older jaxeval.*give another output"):
            Plan(sweep).begin(any_code)
    assert len(je.Store(tmp_path).results().index) == things.N
