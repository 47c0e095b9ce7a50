"""Every operator against the node tests that ONNX ships, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

onnx = pytest.importorskip("onnx")

from jaxeval_torch import ConversionError, Node, from_onnx, operator  # noqa: E402
from jaxeval_torch.graph import OPERATORS  # noqa: E402
from onnx import TensorProto, helper  # noqa: E402

import jaxeval as je  # noqa: E402
from jaxeval.content import content  # noqa: E402
from tests.bridges.onnx_nodes import assert_right, node_tests, run  # noqa: E402

# What our operators refuse, and the word that says why.
REFUSED = {
    "test_gridsample_bicubic": "bilinear",
    "test_gridsample_reflection_padding": "bilinear",
    "test_gridsample_volumetric": "images",
    "test_maxpool_with_argmax": "indices",
}
WHY = {
    "bilinear": "of images, GridSample knows bilinear and nearest, padded with zeros or the border",
    "images": "GridSample knows images, not volumes",
    "indices": "MaxPool gives no indices",
}
# Operators that have no node test of their own there.
UNTESTED = {"ConcatFromSequence", "GlobalLpPool", "SequenceErase"}
TRIED = ("Conv", "Gelu", "GroupNormalization", "LSTM", "Resize", "Slice", "Softmax")


def refusal(name):
    return next((why for start, why in REFUSED.items() if name.startswith(start)), None)


def check(test):
    if (why := refusal(test.name)) is None:
        assert_right(test, run(test))
        return True
    with pytest.raises(ConversionError, match=why):
        run(test)
    return False


@pytest.mark.slow
def test_every_operator(record):
    tests = node_tests()
    wrong, right = {}, 0
    for test in tests.tried:
        try:
            right += check(test)
        except Exception as e:
            wrong[test.name] = str(e)
    refused = {t.name: WHY[w] for t in tests.tried if (w := refusal(t.name)) is not None}
    record(
        "nodes",
        "onnx",
        version=onnx.__version__,
        all=len(tests.tried) + tests.left.total(),
        tried=len(tests.tried),
        right=right,
        refused=refused,
        left=dict(tests.left),
        unknown=dict(tests.unknown),
    )
    assert not wrong
    assert right == len(tests.tried) - len(refused) >= 1190
    assert set(OPERATORS) - set().union(*(t.operators for t in tests.tried)) == UNTESTED


@pytest.mark.parametrize("operator", TRIED)
def test_some_operators(operator):
    tests = node_tests(operator).tried
    assert tests
    for test in tests[:6]:
        assert check(test)


def classifier(*nodes, opset=20, weights=()):
    """x [N, 4] -> "out" [N, 3], by the given nodes."""
    graph = helper.make_graph(
        list(nodes),
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 4])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, [None, 3])],
        [onnx.numpy_helper.from_array(v, k) for k, v in weights],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])


def test_global_lp_pooling():
    v = np.random.default_rng(2).normal(size=(2, 3, 4, 5)).astype(np.float32)
    node = Node("GlobalLpPool", ("x",), ("y",), {"p": 3})
    right = (np.abs(v) ** 3).sum((2, 3), keepdims=True) ** (1 / 3)
    np.testing.assert_allclose(OPERATORS["GlobalLpPool"](node, jnp.asarray(v)), right, rtol=1e-5)


@pytest.mark.parametrize("position", [None, 1])
def test_sequences_lose_an_entry_and_are_joined(position):
    at = [] if position is None else ["at"]
    proto = classifier(
        helper.make_node("SequenceConstruct", ["x", "w", "x"], ["all"]),
        helper.make_node("SequenceErase", ["all", *at], ["left"]),
        helper.make_node("ConcatFromSequence", ["left"], ["out"], axis=0),
        weights=[("w", 2 * np.ones((1, 4), np.float32)), ("at", np.array(1, np.int64))],
    )
    x = np.arange(8, dtype=np.float32).reshape(2, 4)
    right = [x, np.full((1, 4), 2)] if position is None else [x, x]
    np.testing.assert_array_equal(from_onnx(proto)(x), np.concatenate(right))


W = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
PRODUCT = helper.make_node("MatMul", ["x", "w"], ["h"])


def test_unknown_operators_are_all_named_before_anything_runs():
    proto = classifier(
        PRODUCT,
        helper.make_node("Frobnicate", ["h"], ["i"]),
        helper.make_node("Other", ["i"], ["out"], domain="com.example"),
        weights=[("w", W)],
    )
    with pytest.raises(ConversionError, match=r"Frobnicate, com\.example::Other") as e:
        from_onnx(proto)
    assert "wrap_torch" in str(e.value)
    assert "@jaxeval_torch.operator" in str(e.value)


@pytest.fixture
def operators():
    """The table of operators, which is as before afterwards."""
    before = dict(OPERATORS)
    yield
    OPERATORS.clear()
    OPERATORS.update(before)


SWISH = classifier(
    PRODUCT,
    helper.make_node("Swish", ["h"], ["out"], domain="com.example", beta=2.0),
    weights=[("w", W)],
)


def swish_of(factor):
    @operator("com.example::Swish")
    def swish(node, h):
        return factor * h * jax.nn.sigmoid(node.get("beta", 1.0) * h)

    return from_onnx(SWISH)


def test_an_operator_of_ones_own(operators):
    x = np.random.default_rng(1).normal(size=(5, 4)).astype(np.float32)
    h = x @ W
    model = swish_of(1.0)
    right = h / (1 + np.exp(-2 * h))
    np.testing.assert_allclose(model(x), right, rtol=1e-5, atol=1e-6)
    a = je.attribute(je.explain.InputXGradient(), model, x, np.zeros(5, int))
    assert np.abs(a).max() > 0.1


def test_a_function_that_is_defined_again_serves_models_from_then_on(operators):
    """Compiled programs are those of the function that the model was made with."""
    x = np.random.default_rng(1).normal(size=(5, 4)).astype(np.float32)
    y, gradient = np.zeros(5, int), je.explain.Gradient()
    once, twice = swish_of(1.0), swish_of(2.0)
    assert once.apply != twice.apply
    maps = [np.asarray(je.attribute(gradient, model, x, y)) for model in (once, twice, once)]
    np.testing.assert_allclose(maps[1], 2 * maps[0], rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(maps[2], maps[0])
    assert content(once) != content(twice)
    assert content(once) == content(swish_of(1.0))


def test_an_operator_inside_a_branch(operators):
    @operator("com.example::Negated")
    def negated(node, h):
        return -h

    def branch(name, op, domain):
        out = helper.make_tensor_value_info(name, TensorProto.FLOAT, None)
        node = helper.make_node(op, ["h"], [name], domain=domain)
        return helper.make_graph([node], name, [], [out])

    proto = classifier(
        PRODUCT,
        helper.make_node(
            "If",
            ["yes"],
            ["out"],
            then_branch=branch("then", "Negated", "com.example"),
            else_branch=branch("else", "Relu", ""),
        ),
        weights=[("w", W), ("yes", np.array(True))],
    )
    x = np.random.default_rng(1).normal(size=(5, 4)).astype(np.float32)
    np.testing.assert_allclose(from_onnx(proto)(x), -(x @ W), rtol=1e-5, atol=1e-6)


def test_an_operator_that_is_taken(operators):
    conv = OPERATORS["Conv"]
    with pytest.raises(
        ValueError, match=r"Conv is already registered to jaxeval_torch.*: .*mine, too"
    ):

        @operator("com.example::Mine", "Conv")
        def mine(node, *inputs):
            return inputs[0]

    assert OPERATORS["Conv"] is conv
    assert "com.example::Mine" not in OPERATORS
    operator("com.example::Mine")(lambda node, x: x)
    with pytest.raises(ValueError, match=r"com\.example::Mine is already registered"):
        operator("com.example::Mine")(lambda node, x: -x)
    for given in ((), (conv,)):
        with pytest.raises(TypeError, match=r"@operator\(\"Name\"\)"):
            operator(*given)


def test_a_file_and_its_bytes_are_the_model(tmp_path):
    proto = classifier(PRODUCT, helper.make_node("Relu", ["h"], ["out"]), weights=[("w", W)])
    onnx.save(proto, tmp_path / "m.onnx")
    x = np.random.default_rng(1).normal(size=(5, 4)).astype(np.float32)
    for given in (proto, tmp_path / "m.onnx", str(tmp_path / "m.onnx"), proto.SerializeToString()):
        model = from_onnx(given)
        np.testing.assert_allclose(model(x), np.maximum(x @ W, 0), rtol=1e-6, atol=1e-6)
        assert list(model.params["params"]) == ["w"]
    assert from_onnx(proto).apply == from_onnx(proto).apply
    assert hash(from_onnx(proto).apply) == hash(from_onnx(proto).apply)


@pytest.mark.parametrize(
    ("given", "error", "says"),
    [
        (3, TypeError, "onnx.ModelProto"),
        ("nowhere.onnx", FileNotFoundError, "nowhere.onnx"),
    ],
)
def test_what_is_no_model_is_refused(given, error, says):
    with pytest.raises(error, match=says):
        from_onnx(given)


def test_an_unknown_output_is_refused():
    proto = classifier(PRODUCT, helper.make_node("Relu", ["h"], ["out"]), weights=[("w", W)])
    with pytest.raises(ValueError, match="no output 'logits', only out"):
        from_onnx(proto, output="logits")


def test_a_shape_that_depends_on_data_is_refused():
    proto = classifier(
        PRODUCT,
        helper.make_node("NonZero", ["h"], ["at"]),
        helper.make_node("Cast", ["at"], ["out"], to=TensorProto.FLOAT),
        weights=[("w", W)],
    )
    with pytest.raises(ConversionError, match="depends on the data") as e:
        from_onnx(proto)(np.ones((2, 4), np.float32))
    assert "NonZero" in str(e.value)


def branching():
    """out = relu(x w) if sum(x) > 0 else -x w."""

    def branch(node):
        out = helper.make_tensor_value_info(node.output[0], TensorProto.FLOAT, None)
        return helper.make_graph([node], node.output[0], [], [out])

    return classifier(
        PRODUCT,
        helper.make_node("ReduceSum", ["x"], ["sum"], keepdims=0),
        helper.make_node("Greater", ["sum", "zero"], ["more"]),
        helper.make_node(
            "If",
            ["more"],
            ["out"],
            then_branch=branch(helper.make_node("Relu", ["h"], ["a"])),
            else_branch=branch(helper.make_node("Neg", ["h"], ["b"])),
        ),
        weights=[("w", W), ("zero", np.float32(0).reshape(()))],
    )


def test_a_branch_on_data_is_taken_when_it_runs():
    model = from_onnx(branching())
    x = np.random.default_rng(1).normal(size=(5, 4)).astype(np.float32)
    x = x * np.sign(x.sum())
    apply = jax.jit(model.apply)
    np.testing.assert_allclose(apply(model.params, x), np.maximum(x @ W, 0), atol=1e-6)
    np.testing.assert_allclose(apply(model.params, -x), x @ W, atol=1e-6)
    g = jax.grad(lambda v: model.apply(model.params, v).sum())(jnp.asarray(-x))
    np.testing.assert_allclose(g, np.tile(-W.sum(1), (5, 1)), atol=1e-6)
