"""Layers in call order, and their randomisation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxeval as je
from jaxeval.perturb import RandomiseLayers
from jaxeval.perturb.layers import parameter_layers
from jaxeval.perturb.layers import paths as layer_paths

SAMPLE = je.Sample(x=np.zeros(4, np.float32), y=0, key=None, position=0, features=(4,))


def dense(p, x):
    return x @ p["w"] + p["b"]


def params(*names, n=4):
    rng = np.random.default_rng(0)
    draw = lambda *shape: jnp.asarray(rng.normal(size=shape), jnp.float32)  # noqa: E731
    return {name: {"w": draw(n, n), "b": draw(n)} for name in names}


def names(apply, p):
    return [layer.name for layer in parameter_layers(je.Model(apply, p), SAMPLE.x)]


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


# -- Flax and other trees ------------------------------------------------------------------------


def linen():
    """Names in another order than the calls; one layer is there but not called."""
    import flax.linen as nn

    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            head = nn.Dense(3, name="a_head")  # made first, called last
            x = nn.relu(nn.Conv(4, (3, 3), name="z_stem")(x))
            x = nn.BatchNorm(use_running_average=True, name="norm")(x)
            x = jax.checkpoint(nn.relu)(nn.Conv(4, (3, 3), name="m_body")(x))
            if self.is_initializing():
                nn.Dense(2, name="unused")(x)
            return head(x.mean((1, 2)))

    x = jnp.ones((1, 6, 6, 2))
    return je.from_flax(Net(), Net().init(jax.random.key(0), x)), x


def nnx():
    from flax import nnx

    class Net(nnx.Module):
        def __init__(self):
            rngs = nnx.Rngs(0)
            self.a_head = nnx.Linear(4, 3, rngs=rngs)
            self.z_stem = nnx.Conv(2, 4, (3, 3), rngs=rngs)
            self.norm = nnx.BatchNorm(4, rngs=rngs)
            self.m_body = nnx.Conv(4, 4, (3, 3), rngs=rngs)
            self.drop = nnx.Dropout(0.5, rngs=rngs)

        def __call__(self, x):
            x = self.norm(nnx.relu(self.z_stem(x)))
            x = nnx.relu(self.m_body(x))
            return self.a_head(self.drop(x.mean((1, 2))))

    return je.from_flax(Net()), jnp.ones((1, 6, 6, 2))


FLAX = {"linen": linen, "nnx": nnx}
CALLED = ("z_stem", "norm", "m_body", "a_head")


@pytest.mark.parametrize("kind", FLAX)
def test_flax_layers_in_call_order(kind):
    model, x = FLAX[kind]()
    assert je.layer_names(model, x) == CALLED


@pytest.mark.parametrize("kind", FLAX)
def test_flax_layers_are_randomised_in_call_order(kind):
    """Of the state nothing changes; the last layer called is the first to go."""
    model, x = FLAX[kind]()
    sample = je.Sample(x=x[0], y=0, key=None, position=0, features=x.shape[1:])
    question = RandomiseLayers(randomise="normal").bind(model, sample)
    before = dict(zip(layer_paths(model.params), jax.tree.leaves(model.params), strict=True))
    gone = set()
    for step, name in enumerate(question.stages):
        new = question.params(model.params, jax.random.key(1), step)
        assert jax.tree.structure(new) == jax.tree.structure(model.params)
        after = dict(zip(layer_paths(new), jax.tree.leaves(new), strict=True))
        gone.add(name)
        assert all(after[p] is before[p] for p in before if not p.startswith("params/"))
        trained = [p for p in before if p.startswith("params/")]
        changed = {p for p in trained if not np.array_equal(before[p], after[p])}
        # The norm's ones and zeros stay: they have no spread to draw from.
        assert {p.split("/")[1] for p in changed} == gone - {"norm"}
    assert question.stages == CALLED[::-1]


def test_flax_reinit_makes_new_parameters():
    model, x = linen()
    sample = je.Sample(x=x[0], y=0, key=None, position=0, features=x.shape[1:])
    question = RandomiseLayers(order="all", randomise="reinit").bind(model, sample)
    assert question.n_steps(sample) == 1
    new = question.params(model.params, jax.random.key(1), 0)
    want = model.init(jax.random.key(1), x)
    seeded = model.init(jax.random.fold_in(jax.random.key(1), 0), x)
    for name in ("z_stem", "m_body", "a_head"):
        np.testing.assert_array_equal(
            new["params"][name]["kernel"], seeded["params"][name]["kernel"]
        )
        assert (want["params"][name]["kernel"] != new["params"][name]["kernel"]).any()
    np.testing.assert_array_equal(
        new["params"]["unused"]["kernel"], model.params["params"]["unused"]["kernel"]
    )


def test_an_init_that_makes_other_parameters_is_refused():
    p = params("a", "b")
    model = je.Model(
        lambda p, x: dense(p["b"], dense(p["a"], x)), p, init=lambda key, x: {"a": p["a"]}
    )
    with pytest.raises(ValueError, match=r"wanted 'b/b' of shape \(4,\), and it makes none"):
        RandomiseLayers(randomise="reinit").bind(model, SAMPLE)


def test_layers_of_lists_and_tuples():
    p = [{"w": jnp.eye(4)}, (jnp.eye(4), jnp.ones(4))]
    assert names(lambda p, x: (x @ p[1][0] + p[1][1]) @ p[0]["w"], p) == ["1", "0"]


def test_all_at_once_is_the_end_of_a_cascade():
    p = params("a", "b", "c")
    model = je.Model(lambda p, x: dense(p["b"], dense(p["a"], dense(p["c"], x))), p)
    for randomise in ("normal", "permute"):
        cascade = RandomiseLayers(randomise=randomise, n_seeds=2).bind(model, SAMPLE)
        at_once = RandomiseLayers(order="all", randomise=randomise, n_seeds=2).bind(model, SAMPLE)
        assert (cascade.n_steps(SAMPLE), at_once.n_steps(SAMPLE)) == (6, 2)
        for seed in range(2):
            want = cascade.params(p, jax.random.key(0), 3 * seed + 2)
            got = at_once.params(p, jax.random.key(0), seed)
            jax.tree.map(np.testing.assert_array_equal, got, want)


def test_a_host_model_has_no_layers_to_show():
    with pytest.raises(TypeError, match="host model"):
        je.layer_names(je.Model(lambda p, x: x, {}, host=True), np.ones((1, 4)))


def twice(p, x):
    return dense(p["b"], jax.nn.relu(dense(p["a"], jax.nn.relu(dense(p["a"], x)))))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("a/relu", r"no layer 'a/relu', only a, b \(those with parameters\)\. .* comes after 'a'"),
        ("a/relu@2", r"'a/relu@2' comes after 'a' and has nothing to randomise: give that"),
        ("a@2", r"'a@2' is another call of 'a', whose parameters it shares: give that"),
        ("bb", r"no layer 'bb', only a, b \(those with parameters\)\. Did you mean 'b'\?"),
    ],
)
def test_layers_that_have_no_parameters_of_their_own_are_refused_with_the_one_to_give(
    name, message
):
    """Explainers take them: `Model.layers` has them, `layer_names` has not."""
    model = je.Model(twice, params("a", "b"), channel_axis=None)
    x = np.ones((2, 4), np.float32)
    assert je.layer_names(model, x) == ("a", "b")
    if name != "bb":
        assert name in model.layers(x)
    with pytest.raises(ValueError, match=message):
        je.score(je.MPRT(layers=("a", name)), model, x, None, explainer=je.explain.Saliency())
