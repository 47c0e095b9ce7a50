import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import log_softmax

from jaxeval import ops

K = 10
value = jax.jit(ops.value, static_argnums=2)
difference = jax.jit(ops.difference, static_argnums=3)


def reference_log_p(z, y):
    """In float64, and accurate near 0: the plain log_softmax is 1e-16 off there."""
    z = np.asarray(z, np.float64)
    gaps = np.delete(z - z[..., y, None], y, axis=-1)
    return -np.log1p(np.exp(gaps).sum(-1))


def reference_difference(z, z2, y):
    log_p, log_p2 = reference_log_p(z, y), reference_log_p(z2, y)
    return np.where(
        log_p > log_p2,
        -np.exp(log_p) * np.expm1(np.minimum(log_p2 - log_p, 0)),
        np.exp(log_p2) * np.expm1(np.minimum(log_p - log_p2, 0)),
    )


def confident(rng, gap, n):
    """Clean logits with class 3 ahead by gap, n perturbed versions, and attribution sums."""
    z = rng.normal(size=K).astype(np.float32)
    z[3] = np.delete(z, 3).max() + gap
    shrink = rng.uniform(0, 0.2, n)
    z2 = np.tile(z, (n, 1))
    z2[:, 3] -= (gap * shrink).astype(np.float32)
    return z, z2, shrink + rng.normal(0, 0.02, n)


def test_log_probability_is_log_softmax(rng):
    z = rng.normal(0, 3, (20, K)).astype(np.float32)
    y = rng.integers(0, K, 20)
    got = jax.jit(jax.vmap(ops.log_probability))(z, y)
    want = log_softmax(z.astype(np.float64), axis=-1)[np.arange(20), y]
    np.testing.assert_allclose(got, want, rtol=2e-6)


@pytest.mark.parametrize("gap", [20.0, 50.0, 80.0, -50.0, -1000.0])
def test_log_probability_keeps_its_digits(rng, gap):
    z = rng.normal(size=K).astype(np.float32)
    z[3] = np.delete(z, 3).max() + gap
    with np.errstate(over="ignore"):
        want = reference_log_p(z, 3) if gap > -700 else gap - np.log(np.exp(z - z.max()).sum())
    np.testing.assert_allclose(ops.log_probability(z, 3), want, rtol=2e-5)


EDGES = [[1e4, 0, 0], [0, 1e4, 1e4], [3e38, -3e38, 0], [0, 0, 0], [0, -np.inf, 1], [90, 0, 0]]


@pytest.mark.parametrize("output", ops.OUTPUTS)
@pytest.mark.parametrize("z", [np.float32(EDGES), np.float32([[5]])], ids=["edges", "one class"])
def test_gradients_are_finite_at_the_edges(z, output):
    if output == "log_odds" and z.shape[1] == 1:
        return  # infinite by definition
    assert np.isfinite(jax.vmap(jax.grad(lambda z: value(z, 0, output)))(z)).all()
    for z2 in (z, z - np.float32([2, 0, 0])[: z.shape[1]], 0 * np.nan_to_num(z)):
        both = jax.vmap(jax.value_and_grad(difference, (0, 1)), (0, 0, None, None))
        got, gradients = both(z, z2, 0, output)
        assert np.isfinite(got).all()
        assert np.isfinite(gradients).all()


def test_value_names():
    z = jnp.array([1.0, 2.0, 4.0])
    p = np.exp([1, 2, 4]) / np.exp([1, 2, 4]).sum()
    np.testing.assert_allclose(ops.value(z, 1, "probability"), p[1], rtol=1e-6)
    np.testing.assert_allclose(ops.value(z, 1, "log_probability"), np.log(p[1]), rtol=1e-6)
    assert ops.value(z, 1, "logit") == 2
    assert ops.value(z, 1, lambda z, y: z[y] * 3) == 6
    assert ops.difference(z, 2 * z, 1, lambda z, y: z[y] * 3) == -6
    assert ops.difference(z, 2 * z, 1, "logit") == -2


def test_unknown_name_is_refused():
    for call in (ops.value, lambda z, y, o: ops.difference(z, z, y, o)):
        with pytest.raises(ValueError, match=r"output must be one of.*did you mean 'probability'"):
            call(jnp.zeros(3), 0, "probabilty")


@pytest.mark.parametrize("gap", [20.0, 30.0, 50.0, 80.0, 100.0])
def test_difference_on_confident_samples(rng, gap):
    z, z2, sums = confident(rng, gap, 200)
    want = reference_difference(z, z2, 3)
    got = jax.vmap(lambda w: difference(z, w, 3, "probability"))(z2)
    got = np.asarray(got, np.float64)
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=2e-38)
    back = jax.vmap(lambda w: difference(w, z, 3, "probability"))(z2)
    np.testing.assert_allclose(back, -want, rtol=1e-4, atol=2e-38)

    # What it is for: correlations of such drops, which a plain softmax gets wrong.
    true = np.corrcoef(sums, want)[0, 1]
    assert abs(np.corrcoef(sums, got)[0, 1] - true) < 1e-4
    assert abs(ops.pearson(np.float32(sums), np.float32(got)) - true) < 1e-4
    naive = np.asarray(jax.nn.softmax(z)[3] - jax.nn.softmax(z2)[:, 3], np.float64)
    with np.errstate(invalid="ignore"):
        wrong = np.corrcoef(sums, naive)[0, 1]
    assert not abs(wrong - true) < 0.1


def test_difference_everywhere(rng):
    z = rng.normal(0, 20, (300, K)).astype(np.float32)
    z2 = rng.normal(0, 20, (300, K)).astype(np.float32)
    got = jax.vmap(lambda u, v: difference(u, v, 3, "probability"))(z, z2)
    np.testing.assert_allclose(got, reference_difference(z, z2, 3), rtol=2e-5, atol=2e-38)


def test_gradient_of_difference_is_that_of_the_probabilities(rng):
    z = rng.normal(0, 2, K).astype(np.float32)
    others = [z.copy(), rng.normal(0, 2, K).astype(np.float32), z + np.eye(K, dtype=np.float32)[3]]
    for z2 in others:
        got = jax.grad(difference, (0, 1))(z, z2, 3, "probability")
        want = jax.grad(lambda u, v: jax.nn.softmax(u)[3] - jax.nn.softmax(v)[3], (0, 1))(z, z2)
        np.testing.assert_allclose(got, want, atol=1e-6)


def test_relative_drop_where_probabilities_round_or_underflow(rng):
    drop = jax.jit(ops.relative_drop, static_argnums=3)
    z, z2 = (rng.normal(size=(2, 20, K)) * 3).astype(np.float32)
    # In the last, p is 0 in float32, and of its logarithm, -210, a rounding is 1.5e-5.
    for raised, atol in ((0, 1e-5), (30, 1e-17), (-200, 1e-4)):
        a, b = z.copy(), z2.copy()
        a[:, 3] += raised
        b[:, 3] += raised - 1
        got = jax.vmap(lambda u, v: drop(u, v, 3, "probability"))(a, b)
        want = -np.expm1(reference_log_p(b, 3) - reference_log_p(a, 3))
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=atol)


def test_relative_drop_of_other_outputs():
    z, z2 = np.array([4.0, -2.0], np.float32), np.array([1.0, 3.0], np.float32)
    assert ops.relative_drop(z, z2, 0, "logit") == 0.75
    assert ops.relative_drop(z, z2, 0, lambda v, y: 2 * v[y]) == 0.75
    for z_y in (-2.0, 0.0):  # no share of what is not above 0
        assert np.isnan(ops.relative_drop(np.array([4.0, z_y]), z2, 1, "logit"))
    with pytest.raises(ValueError, match="did you mean 'logit'"):
        ops.relative_drop(z, z2, 0, "logits")
