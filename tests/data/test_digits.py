"""The digits: their split, the network and its training."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import jax
import numpy as np
import pytest

import jaxeval as je
from jaxeval.data import DigitsCNN, digits, digits_cnn
from jaxeval.data.digit_images import N_HELD_OUT
from jaxeval.data.digit_network import WEIGHTS, load
from tests.close import EPS, MARGIN


@pytest.fixture(scope="module")
def data():
    return digits()


@pytest.fixture(scope="module")
def model():
    return digits_cnn()


def test_shapes_types_and_range(data):
    assert data.x_train.shape == (1797 - N_HELD_OUT, 8, 8, 1)
    assert data.x_test.shape == (N_HELD_OUT, 8, 8, 1)
    assert N_HELD_OUT >= 500
    for x, y in ((data.x_train, data.y_train), (data.x_test, data.y_test)):
        assert x.dtype == np.float32
        assert y.dtype == np.int32
        assert (x.min(), x.max()) == (0, 1)
        assert len(x) == len(y)
        assert set(y) == set(range(10))


def test_split_is_the_same_every_time(data):
    for first, second in zip(data, digits(), strict=True):
        np.testing.assert_array_equal(first, second)
    # Fixed for good: a change would let the network be tested on what it was trained on.
    assert data.y_test[:12].tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 5, 9]
    assert data.y_test.sum() == 2678


def test_split_is_a_partition_of_the_whole(data):
    from sklearn.datasets import load_digits

    whole = load_digits(return_X_y=True)[0] / 16
    parts = np.concatenate([data.x_train, data.x_test]).reshape(-1, 64)
    order = np.lexsort(parts.T), np.lexsort(whole.T)
    np.testing.assert_allclose(parts[order[0]], whole[order[1]])
    # No image is in both parts, not even as a copy of itself.
    train = {x.tobytes() for x in data.x_train}
    assert not any(x.tobytes() in train for x in data.x_test)


def test_split_is_stratified(data):
    for label in range(10):
        held_out, rest = (data.y_test == label).sum(), (data.y_train == label).sum()
        assert abs(held_out / (held_out + rest) - 1 / 3) < 0.01


def test_no_prediction_of_the_network_hangs_on_rounding(data, model):
    """So its accuracy is the same on every processor."""
    logits = np.sort(model(data.x_test), axis=1)
    lead = logits[:, -1] - logits[:, -2]
    assert lead.min() > 100 * MARGIN * EPS * np.abs(logits).max()


def test_network_reads_98_percent_without_being_too_sure(data, model):
    probabilities = np.asarray(jax.nn.softmax(model(data.x_test)))
    accuracy = (probabilities.argmax(-1) == data.y_test).mean()
    assert round(100 * accuracy, 1) == 98.5  # as its docstring says
    assert abs(probabilities.max(-1).mean() - accuracy) < 0.01
    # A blank image is of no class.
    blank = np.asarray(jax.nn.softmax(model(np.zeros((1, 8, 8, 1), np.float32))))
    assert blank.max() < 0.3


def test_network_is_ready_for_evaluation(data, model):
    assert isinstance(model, je.Model)
    assert model.channel_axis == -1
    assert model.hidden is not None
    assert model.init is not None
    assert digits_cnn().apply == model.apply  # equal calls share compiled programs
    a = je.attribute(je.explain.Saliency(), model, data.x_test[:3])
    assert a.shape == (3, 8, 8, 1)
    assert WEIGHTS.stat().st_size < 300_000


def test_training_learns_and_writes_what_is_loaded(data, tmp_path, capsys):
    from jaxeval.data import train_digits

    path = tmp_path / "weights.npz"
    train_digits.main(["--epochs", "2", "--out", str(path)])
    printed = capsys.readouterr().out
    assert "test accuracy" in printed
    accuracy = float((load(path)(data.x_test).argmax(-1) == data.y_test).mean())
    assert accuracy > 0.5
    assert f"{accuracy:.2%}" in printed


def test_augmented_images_stay_images(data):
    from jaxeval.data.train_digits import augment

    keys = jax.random.split(jax.random.key(0), 32)
    changed = np.asarray(jax.vmap(augment)(keys, data.x_train[:32]))
    assert changed.shape == (32, 8, 8, 1)
    assert np.isfinite(changed).all()
    erased = ((changed == 0) & (data.x_train[:32] > 0)).mean()
    assert 0.02 < erased < 0.4


def test_network_class_is_exported():
    assert DigitsCNN().channels == (8, 16)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        je.data.nothing  # noqa: B018


@pytest.mark.parametrize(
    ("missing", "call"),
    [("sklearn", "digits()"), ("flax", "digits_cnn()"), ("flax", "DigitsCNN")],
)
def test_missing_extras_are_named(missing, call):
    """The module imports without them; what needs them says how to get them."""
    program = f"""
        import sys
        sys.modules[{missing!r}] = None
        import jaxeval.data
        try:
            jaxeval.data.{call}
        except ImportError as e:
            print(e)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, check=True
    )
    assert 'pip install "jaxeval[demo]"' in done.stdout
