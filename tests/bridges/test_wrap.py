"""Modules that stay in torch: outputs, gradients, the engine, and callbacks."""

import subprocess
import sys
import textwrap

import jax
import jax.numpy as jnp
import numpy as np
import pytest

torch = pytest.importorskip("torch")

from jaxeval_torch import wrap_torch  # noqa: E402

import jaxeval as je  # noqa: E402
from tests import networks  # noqa: E402
from tests.bridges.nets import Answers, Branches, build  # noqa: E402
from tests.close import MARGIN, reaction  # noqa: E402


@pytest.fixture(scope="module")
def case():
    model, params = networks.smooth_cnn(seed=3)
    x = np.random.default_rng(0).uniform(-1, 1, (5, 3, 18, 18)).astype(np.float32)
    return model, networks.smooth_cnn_torch(params), x, np.array([0, 1, 2, 3, 4], np.int32)


def test_logits_are_the_modules(case):
    model, net, x, _ = case
    wrapped = wrap_torch(net)
    with torch.no_grad():
        np.testing.assert_array_equal(wrapped(x), net(torch.from_numpy(x)).numpy())
    np.testing.assert_allclose(wrapped(x), model(x), rtol=1e-5, atol=1e-5)


def test_gradients_are_autograds(case):
    _, net, x, y = case
    wrapped = wrap_torch(net)
    t = torch.from_numpy(x.copy()).requires_grad_()
    net(t)[range(5), y.tolist()].sum().backward()
    ours = jax.grad(lambda v: wrapped(v)[jnp.arange(5), y].sum())(jnp.asarray(x))
    np.testing.assert_allclose(ours, t.grad.numpy(), rtol=1e-6, atol=1e-6)
    out, pull = jax.vjp(wrapped, jnp.asarray(x))
    np.testing.assert_array_equal(out, wrapped(x))
    (pulled,) = pull(jax.nn.one_hot(y, 5))
    np.testing.assert_allclose(pulled, t.grad.numpy(), rtol=1e-6, atol=1e-6)


EXPLAINERS = [
    je.explain.Gradient(),
    je.explain.Saliency(output="probability"),
    je.explain.InputXGradient(),
    je.explain.IntegratedGradients(n_steps=5),
    je.explain.SmoothGrad(n_samples=3),
    je.explain.Occlusion(window=6, stride=6),
]


def quick(e):
    return type(e).__name__ in ("Saliency", "IntegratedGradients", "Occlusion")


@pytest.mark.parametrize(
    "explainer",
    [pytest.param(e, marks=() if quick(e) else pytest.mark.slow) for e in EXPLAINERS],
    ids=lambda e: type(e).__name__,
)
def test_explainers_give_what_they_give_for_the_jax_model(case, explainer):
    model, net, x, y = case
    keys = jax.random.split(jax.random.key(0), 5)

    def maps(m):
        return np.asarray(explainer(m, x, y, keys))

    # Differences of logits are as far off as the logits, however small they are themselves.
    atol = np.maximum(1e-5 * np.abs(maps(model)).max(), MARGIN * reaction(maps, model).max())
    np.testing.assert_allclose(maps(wrap_torch(net)), maps(model), rtol=0, atol=atol)


def test_metrics_give_what_they_give_for_the_jax_model(case):
    model, net, x, y = case

    def scores(m):
        return je.evaluate(
            m,
            x,
            y,
            explainers={"IG": je.explain.IntegratedGradients(n_steps=4), "stored": np.abs(x)},
            metrics={
                "flip": je.PixelFlipping(n_steps=4),
                "infidelity": je.Infidelity(n_samples=4),
                "sparse": je.Sparseness(),
            },
            key=0,
            progress=False,
            batch_size=4,
        ).to_dataframe()

    metrics = scores(model), scores(wrap_torch(net))
    for a, b in zip(metrics[0]["score"], metrics[1]["score"], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_metrics_that_explain_anew_give_what_they_give_for_the_jax_model(case):
    model, net, x, y = case
    for metric in (je.MaxSensitivity(n_samples=2), je.RandomLogit()):
        ours, theirs = (
            metric(m, x, y, explainer=je.explain.Saliency(), key=0)
            for m in (wrap_torch(net), model)
        )
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-5)


def test_one_call_of_the_module_for_a_batch_and_its_gradient(case):
    _, net, x, _ = case
    calls = []
    handle = net.register_forward_hook(lambda m, given, out: calls.append(len(given[0])))
    wrapped = wrap_torch(net)
    try:
        wrapped(x)
        assert calls == [5]
        jax.grad(lambda v: wrapped(v).sum())(jnp.asarray(x))
        assert calls == [5, 5]
    finally:
        handle.remove()


def test_a_module_that_branches_on_data():
    net, x = Branches().eval(), np.random.default_rng(0).normal(size=(3, 5)).astype(np.float32)
    wrapped = wrap_torch(net)
    for sign in (1, -1):
        given = sign * np.abs(x)
        with torch.no_grad():
            np.testing.assert_array_equal(wrapped(given), net(torch.from_numpy(given)).numpy())
    flip = je.PixelFlipping(n_steps=2)(wrapped, x, np.zeros(3, int), x)
    assert np.isfinite(flip).all()


def test_the_module_is_left_as_it_was():
    net, inputs = build("residual")
    net.train()
    net[5].weight.requires_grad_(False)
    before = {k: v.clone() for k, v in net.state_dict().items()}
    wrapped = wrap_torch(net)
    given = jnp.asarray(inputs.numpy())
    first = wrapped(given)
    jax.grad(lambda v: wrapped(v).sum())(given)
    assert all(m.training for m in net.modules())
    assert not net[5].weight.requires_grad
    assert all(p.grad is None for p in net.parameters())
    for k, v in net.state_dict().items():
        assert torch.equal(v, before[k]), k
    # It answers in evaluation mode, and one row as among others.
    np.testing.assert_allclose(wrapped(given[:1]), first[:1], rtol=1e-5, atol=1e-6)


class Overwrites(torch.nn.Module):
    def forward(self, x):
        return x.flatten(1).mul_(2.0)[:, :3]


def test_a_module_that_writes_to_its_input_changes_no_array():
    x = np.ones((2, 4), np.float32)
    given = jnp.asarray(x)
    wrapped = wrap_torch(Overwrites())
    np.testing.assert_array_equal(wrapped(given), np.full((2, 3), 2))
    np.testing.assert_array_equal(jax.grad(lambda v: wrapped(v).sum())(given), [[2, 2, 2, 0]] * 2)
    np.testing.assert_array_equal(given, x)


def test_other_precisions_and_answers():
    x = np.random.default_rng(0).normal(size=(3, 5)).astype(np.float32)
    net = Answers(lambda z: {"a": z * 2, "b": z}).double()
    wrapped = wrap_torch(net, output="b")
    right = net.fc(torch.from_numpy(x).double()).detach().numpy()
    assert wrapped(x).dtype == np.float32
    np.testing.assert_allclose(wrapped(x), right, rtol=1e-6, atol=1e-6)
    g = jax.grad(lambda v: wrapped(v)[:, 1].sum())(jnp.asarray(x))
    assert g.dtype == np.float32
    np.testing.assert_allclose(
        g, np.tile(net.fc.weight[1].detach().numpy(), (3, 1)), rtol=1e-6, atol=1e-6
    )


def test_another_device_is_a_copy():
    net = torch.nn.Linear(4, 3)
    model = wrap_torch(net, device="meta")
    assert model.apply.module is not net
    assert {p.device.type for p in model.apply.module.parameters()} == {"meta"}
    assert {p.device.type for p in net.parameters()} == {"cpu"}
    assert wrap_torch(net, device="cpu").apply.module is net


# What is refused.


def test_what_it_cannot_do_is_refused(case):
    _, net, x, y = case
    wrapped = wrap_torch(net)
    with pytest.raises(TypeError, match=r"torch\.nn\.Module, got function"):
        wrap_torch(lambda x: x)
    with pytest.raises(TypeError, match="host"):
        jax.jit(wrapped)(x)
    with pytest.raises(TypeError, match="host"):
        je.as_function(je.PixelFlipping(), wrapped)
    with pytest.raises((TypeError, ValueError), match=r"MPRT|parameters"):
        je.MPRT()(wrapped, x, y, explainer=je.explain.Gradient())


def test_a_numpy_callable_still_has_no_gradients(case):
    model, _, x, y = case
    host = je.Model(lambda p, v: np.asarray(model(v)), {}, host="numpy")
    with pytest.raises(TypeError, match="host callable"):
        je.explain.Gradient()(host, x, y)
    host = je.Model(lambda p, v: np.asarray(model(v)), {}, host="jax")
    with pytest.raises(TypeError, match="host callable"):
        je.explain.Gradient()(host, x, y)


# Callbacks.


def test_a_callback_that_would_deadlock_is_refused(case):
    if not jax.config.read("jax_cpu_enable_async_dispatch"):
        pytest.skip("this process dispatches synchronously")
    with pytest.raises(RuntimeError, match="jax_cpu_enable_async_dispatch"):
        wrap_torch(case[1], callback=True)


SCRIPT = """
import jax
jax.config.update("jax_cpu_enable_async_dispatch", False)
import jax.numpy as jnp, numpy as np, torch
import jaxeval as je
from jaxeval_torch import wrap_torch

torch.manual_seed(0)
net = torch.nn.Sequential(torch.nn.Linear(6, 16), torch.nn.Tanh(), torch.nn.Linear(16, 3))
x = np.random.default_rng(0).normal(size=(64, 6)).astype(np.float32)
y = np.arange(64) % 3
plain, inside = wrap_torch(net), wrap_torch(net, callback=True)
f = jax.jit(inside.apply)
for _ in range(20):  # the trap closes on one run in a few
    out = f({}, x)
np.testing.assert_allclose(out, plain(x), rtol=1e-6, atol=1e-6)
score = lambda m: lambda v: m(v)[jnp.arange(64), y].sum()
np.testing.assert_allclose(
    jax.jit(jax.grad(score(inside)))(x),
    jax.grad(score(plain))(jnp.asarray(x)),
    rtol=1e-6,
    atol=1e-6,
)
stacked = x.reshape(4, 16, 6)
np.testing.assert_allclose(
    jax.vmap(inside)(stacked).reshape(64, 3), plain(x), rtol=1e-6, atol=1e-6
)
one = je.as_function(je.PixelFlipping(n_steps=3), inside)
a = one(x[0], y[0], x[0], jax.random.key(0)).score
b = je.PixelFlipping(n_steps=3)(plain, x[:1], y[:1], x[:1])[0]
np.testing.assert_allclose(a, b, rtol=1e-5)

# What JAX compiled of it does not keep it.
import gc, weakref
je.attribute(je.explain.Gradient(), inside, x, y)
gone = [weakref.ref(v) for v in (inside.apply, net)]
del f, score, one, plain, inside, net
gc.collect()
assert [ref() for ref in gone] == [None, None]
print("done")
"""


@pytest.mark.slow
def test_callbacks_in_a_process_without_asynchronous_dispatch():
    command = [sys.executable, "-c", textwrap.dedent(SCRIPT)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.stdout.strip() == "done", done.stderr[-2000:]
