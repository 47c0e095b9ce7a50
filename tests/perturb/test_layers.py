"""Layers in call order, and their randomisation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxeval as je
from jaxeval.perturb import RandomiseLayers
from jaxeval.perturb.layers import layers

SAMPLE = je.Sample(x=np.zeros(4, np.float32), y=0, key=None, position=0, features=(4,))


def dense(p, x):
    return x @ p["w"] + p["b"]


def params(*names, n=4):
    rng = np.random.default_rng(0)
    draw = lambda *shape: jnp.asarray(rng.normal(size=shape), jnp.float32)  # noqa: E731
    return {name: {"w": draw(n, n), "b": draw(n)} for name in names}


def names(apply, p):
    return [layer.name for layer in layers(je.Model(apply, p), SAMPLE.x)]


def test_call_order_is_not_dict_order():
    p = params("a", "b", "c")
    assert names(lambda p, x: dense(p["b"], dense(p["a"], dense(p["c"], x))), p) == ["c", "a", "b"]


def test_call_order_looks_into_calls_branches_and_loops():
    p = params("a", "b", "c", "d")

    def apply(p, x):
        x = jax.jit(dense)(p["d"], x)
        x = jax.lax.cond(x.sum() > 0, dense, lambda q, x: dense(q, -x), p["c"], x)
        x = jax.checkpoint(jax.nn.relu)(x)
        return jax.lax.scan(lambda x, _: (dense(p["b"], dense(p["a"], x)), None), x, None, 2)[0]

    assert names(apply, p) == ["d", "c", "a", "b"]


def test_preparing_parameters_is_not_using_them():
    p = params("a", "b")

    def apply(p, x):
        p = jax.tree.map(lambda v: v.astype(jnp.bfloat16).T.T / 2, p)  # all, in tree order
        return dense(p["a"], dense(p["b"], x.astype(jnp.bfloat16))).astype(jnp.float32)

    assert names(apply, p) == ["b", "a"]


def test_unused_parameters_are_no_layer():
    p = params("a", "b")
    assert names(lambda p, x: dense(p["b"], x), p) == ["b"]


def test_leaves_at_the_top_are_layers_of_their_own():
    p = {"w2": jnp.eye(4), "w1": jnp.eye(4)}
    assert names(lambda p, x: x @ p["w1"] @ p["w2"], p) == ["w1", "w2"]


@pytest.mark.parametrize(
    ("order", "changed"),
    [
        ("top_down", [{"b"}, {"a", "b"}]),
        ("bottom_up", [{"a"}, {"a", "b"}]),
        ("independent", [{"b"}, {"a"}]),
    ],
)
@pytest.mark.parametrize("randomise", ["normal", "permute"])
def test_cascades(order, changed, randomise):
    p = params("a", "b", "c")
    model = je.Model(lambda p, x: dense(p["b"], dense(p["a"], x)), p)
    question = RandomiseLayers(order=order, randomise=randomise, n_seeds=2).bind(model, SAMPLE)
    assert question.n_steps(SAMPLE) == 4
    new = [question.params(p, jax.random.key(0), step) for step in range(4)]
    for step in range(4):
        touched = {k for k in p if (new[step][k]["w"] != p[k]["w"]).any()}
        assert touched == changed[step % 2]
    # A layer keeps its random values as the cascade goes on, and gets others with another seed.
    first = changed[0] & changed[1]
    for k in first:
        np.testing.assert_array_equal(new[0][k]["w"], new[1][k]["w"])
    k = next(iter(changed[0]))
    assert (new[0][k]["w"] != new[2][k]["w"]).any()


def test_random_values_do_not_depend_on_the_order_of_leaves():
    p = params("a", "b")
    model = je.Model(lambda p, x: dense(p["b"], dense(p["a"], x)), p)
    question = RandomiseLayers().bind(model, SAMPLE)
    plain = question.params(p, jax.random.key(0), 1)
    swapped = question.params({k: p[k] for k in ("b", "a")}, jax.random.key(0), 1)
    traced = jax.jit(question.params)(p, jax.random.key(0), 1)
    for other in (swapped, traced):
        for k in p:
            np.testing.assert_allclose(plain[k]["w"], other[k]["w"], rtol=1e-5, atol=1e-6)


def test_normal_keeps_mean_and_standard_deviation():
    p = {"a": {"w": 3 + 2 * jax.random.normal(jax.random.key(1), (100, 100))}}
    model = je.Model(lambda p, x: x @ p["a"]["w"], p)
    sample = je.Sample(x=np.zeros(100, np.float32), y=0, key=None, position=0, features=(100,))
    new = RandomiseLayers().bind(model, sample).params(p, jax.random.key(0), 0)["a"]["w"]
    np.testing.assert_allclose([new.mean(), new.std()], [3, 2], atol=0.06)


def test_given_draws_are_taken():
    p = params("a", "b")
    model = je.Model(lambda p, x: dense(p["b"], dense(p["a"], x)), p)
    draws = jax.tree.map(lambda v: jnp.stack([v + 1, v + 2]), p)
    question = RandomiseLayers(n_seeds=2, draws=draws).bind(model, SAMPLE)
    new = question.params(p, jax.random.key(0), 3)
    np.testing.assert_allclose(new["a"]["w"], p["a"]["w"] + 2)
    with pytest.raises(ValueError, match="leading axis of n_seeds = 3"):
        RandomiseLayers(n_seeds=3, draws=draws).bind(model, SAMPLE)


def test_what_cannot_be_randomised_is_refused():
    p = params("conv", "dense")
    model = je.Model(lambda p, x: dense(p["dense"], dense(p["conv"], x)), p)
    with pytest.raises(ValueError, match="Did you mean 'dense'"):
        RandomiseLayers(names=("dence",)).bind(model, SAMPLE)
    with pytest.raises(ValueError, match="own initialisation"):
        RandomiseLayers(randomise="reinit").bind(model, SAMPLE)
    with pytest.raises(ValueError, match="no parameters"):
        RandomiseLayers().bind(je.Model(lambda p, x: x, {}), SAMPLE)
