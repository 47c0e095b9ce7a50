"""Arrays between JAX and torch: values, types, and memory that nobody else writes to."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

torch = pytest.importorskip("torch")

from jaxeval_torch.tensors import in_evaluation, to_jax, to_torch  # noqa: E402

import jaxeval as je  # noqa: E402


@pytest.mark.parametrize("make", [np.asarray, jnp.asarray])
@pytest.mark.parametrize("dtype", ["float32", "float16", "int32", "uint8", "bool"])
def test_values_and_types_arrive(make, dtype):
    given = make(np.arange(12).reshape(3, 4) % 5).astype(dtype)
    t = to_torch(given)
    assert str(t.dtype) == f"torch.{dtype}"
    np.testing.assert_array_equal(t.numpy(), given)
    back = to_jax(t)
    assert back.dtype == dtype
    np.testing.assert_array_equal(back, given)


def test_bfloat16_arrives():
    x = jnp.linspace(-1, 1, 7, dtype=jnp.bfloat16)
    t = to_torch(x)
    assert t.dtype == torch.bfloat16
    assert to_jax(t).dtype == jnp.bfloat16
    np.testing.assert_array_equal(to_jax(t).astype(np.float32), x.astype(np.float32))


@pytest.mark.parametrize("make", [np.asarray, jnp.asarray])
def test_torch_writes_to_its_own_copy(make):
    given = make(np.arange(64, dtype=np.float32))
    to_torch(given).fill_(-1)
    np.testing.assert_array_equal(given, np.arange(64))


def test_an_array_does_not_follow_the_tensor():
    t = torch.arange(64, dtype=torch.float32)
    x = to_jax(t)
    t.fill_(-1)
    np.testing.assert_array_equal(x, np.arange(64))
    whole = torch.arange(64, dtype=torch.float32)
    part = to_jax(whole[:8])
    whole.zero_()
    np.testing.assert_array_equal(part, np.arange(8))


@pytest.mark.parametrize(
    "change",
    [
        lambda t: t.T,
        lambda t: t[:, ::2],
        lambda t: t[:, :1].expand(4, 6),
        lambda t: t.flip(0),
        lambda t: t[1:, 1:],
        lambda t: t.to(memory_format=torch.contiguous_format).permute(1, 0),
        lambda t: t.to_sparse(),
        lambda t: t[0, 0],
        lambda t: t[:0],
    ],
)
def test_any_layout_arrives(change):
    t = change(torch.arange(24, dtype=torch.float32).reshape(4, 6))
    dense = t.to_dense() if t.is_sparse else t
    np.testing.assert_array_equal(to_jax(t), dense.numpy())


def test_labels_beyond_32_bits_are_refused():
    np.testing.assert_array_equal(
        to_jax(torch.tensor([2**31 - 1, -(2**31)])), [2**31 - 1, -(2**31)]
    )
    for value in (2**31, 2**40, -(2**31) - 1):
        with pytest.raises(ValueError, match="beyond 32 bits"):
            to_jax(torch.tensor([0, value]))
    with jax.enable_x64(True):
        assert to_jax(torch.tensor([2**40])).dtype == jnp.int64
        assert int(to_jax(torch.tensor([2**40]))[0]) == 2**40


def test_float64_stays_where_jax_has_it():
    t = torch.tensor([1 / 3], dtype=torch.float64)
    assert to_jax(t).dtype == jnp.float32
    with jax.enable_x64(True):
        assert to_jax(t).dtype == jnp.float64
        assert float(to_jax(t)[0]) == 1 / 3


def test_evaluate_takes_tensors_and_leaves_them_as_they_are():
    model = je.Model(lambda p, v: v @ p, jnp.arange(12.0).reshape(4, 3))
    x, a, y = torch.randn(5, 4), torch.randn(5, 4), torch.tensor([0, 1, 2, 1, 0])
    given = [t.clone() for t in (x, a, y)]
    metric = je.PixelFlipping(n_steps=2)
    right = metric(model, x.numpy(), y.numpy(), a.numpy())
    np.testing.assert_array_equal(metric(model, x, y, a), right)
    for t, before in zip((x, a, y), given, strict=True):
        assert torch.equal(t, before)
    with pytest.raises(TypeError, match=r"x must be an array, got Tensor .*detach\(\)"):
        metric(model, x.clone().requires_grad_(), y, a)
    with pytest.raises(ValueError, match=f"y holds {2**40}"):
        metric(model, x, torch.full((5,), 2**40), a)


def test_a_tensor_with_a_gradient_arrives_and_keeps_it():
    t = torch.ones(3, requires_grad=True)
    np.testing.assert_array_equal(to_jax(t * 2), [2, 2, 2])
    np.testing.assert_array_equal(to_jax(t), [1, 1, 1])
    assert t.requires_grad


def test_a_traced_array_cannot_leave():
    with pytest.raises(jax.errors.TracerArrayConversionError):
        jax.jit(lambda x: to_jax(to_torch(x)))(jnp.ones(3))


def test_a_sharded_array_arrives(two_devices):
    from jax.sharding import NamedSharding, PartitionSpec

    x = jax.device_put(
        np.arange(8.0, dtype=np.float32), NamedSharding(two_devices, PartitionSpec("data"))
    )
    np.testing.assert_array_equal(to_torch(x).numpy(), np.arange(8))


def test_a_module_gets_back_its_mode_and_its_gradients():
    net = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Dropout(), torch.nn.Linear(2, 2))
    net.train()
    net[1].eval()
    net[0].weight.requires_grad_(False)
    net[2].bias.grad = kept = torch.ones(2)

    def fail():
        with in_evaluation(net):
            assert not any(m.training for m in net.modules())
            net[0].weight.requires_grad_(True)
            net(torch.ones(1, 2)).sum().backward()
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert [m.training for m in net.modules()] == [True, True, False, True]
    assert [p.requires_grad for p in net.parameters()] == [False, True, True, True]
    assert net[0].weight.grad is None
    assert net[0].bias.grad is None
    assert net[2].bias.grad is kept
