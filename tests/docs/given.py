"""What readers of pages have of their own: models, data and functions for the code of the pages."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jaxeval as je

SIDE = 16


def apply(params: Any, x: Any) -> Any:
    return jnp.tanh(x.reshape(len(x), -1)) @ params


def start() -> dict[str, Any]:
    """Of every page: a model of images N C H W, images, and the module's usual names."""
    rng = np.random.default_rng(0)
    w = rng.normal(size=(SIDE * SIDE, 3)).astype(np.float32)
    x = rng.normal(size=(6, 1, SIDE, SIDE)).astype(np.float32)
    y = np.zeros(len(x), np.int32)
    names = {"je": je, "jax": jax, "jnp": jnp, "np": np, "x": x, "y": y, "a": x}
    names |= {"model": je.Model(apply, w), "apply": apply, "params": w, "explainers": EXPLAINERS}
    return names


EXPLAINERS = {"Saliency": je.explain.Saliency(), "random": je.explain.Random()}


def readme() -> dict[str, Any]:
    """A Flax module of images N H W C, and maps of one's own."""
    import flax.linen as nn

    class Net(nn.Module):
        @nn.compact
        def __call__(self, x: Any) -> Any:
            x = nn.relu(nn.Conv(4, (3, 3))(x))
            x = nn.relu(nn.Conv(4, (3, 3))(x))
            return nn.Dense(3)(x.reshape(len(x), -1))

    names = start()
    module, w = Net(), names["params"]
    x = names["x"].transpose(0, 2, 3, 1)
    return {
        "module": module,
        "variables": module.init(jax.random.key(0), x),
        "my_numpy_function": lambda x: np.tanh(np.reshape(x, (len(x), -1))) @ w,
        "my_function": lambda model, x, y, keys: x,
        "metrics": {"flipping": je.PixelFlipping(n_steps=8)},
        "key": jax.random.key(0),
        "x_train": x,
        **dict.fromkeys(("x", "a", "attributions"), x),
    }


def flax() -> dict[str, Any]:
    """The Flax module as a model."""
    names = readme()
    return {**names, "model": je.from_flax(names["module"], names["variables"])}


def tokens() -> dict[str, Any]:
    """Embeddings [N, T, E] of texts of different lengths, and a model that ignores padding."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(6, 5, 4)).astype(np.float32)
    lengths = np.array([5, 4, 3, 5, 2, 5])
    x[np.arange(5) >= lengths[:, None]] = 0

    def apply(w: Any, x: Any) -> Any:
        return jnp.tanh(x).sum(1) @ w

    params = rng.normal(size=(4, 3)).astype(np.float32)
    return {"apply": apply, "params": params, "x": x, "T": 5, "lengths": lengths, "a": x.sum(-1)}


def settings() -> dict[str, Any]:
    """Results of several settings of a metric, of the start's model."""
    names = start()
    metrics: dict[str, Any] = {
        f"correlation ({n})": je.FaithfulnessCorrelation(n_runs=9, subset_size=n) for n in (2, 4)
    }
    metrics |= {"flipping": je.PixelFlipping(n_steps=4), "sparseness": je.Sparseness()}
    explainers = {**EXPLAINERS, "IG": je.explain.IntegratedGradients(n_steps=4)}
    model, x = names["model"], names["x"]
    found = je.evaluate(model, x, explainers=explainers, metrics=metrics, progress=False)
    return {"results": found}


def few() -> dict[str, Any]:
    """Two explainers and two metrics."""
    metrics = {"correlation": je.FaithfulnessCorrelation(n_runs=9, subset_size=4)}
    metrics |= {"sparseness": je.Sparseness()}
    return {**start(), "metrics": metrics}


def torch() -> dict[str, Any]:
    """A torch module with a layer of that name, and a model in a file."""
    import onnx
    import torch
    from torch import nn

    names = start()
    w = names["params"]

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer4 = nn.Conv2d(1, 2, 3)
            self.last = nn.Linear(2 * (SIDE - 2) ** 2, 3)

        def forward(self, x: Any) -> Any:
            return self.last(torch.relu(self.layer4(x)).flatten(1))

    nodes = [
        onnx.helper.make_node("Flatten", ["x"], ["h"]),
        onnx.helper.make_node("MatMul", ["h", "w"], ["y"]),
    ]
    kind = onnx.TensorProto.FLOAT
    graph = onnx.helper.make_graph(
        nodes,
        "net",
        [onnx.helper.make_tensor_value_info("x", kind, [None, 1, SIDE, SIDE])],
        [onnx.helper.make_tensor_value_info("y", kind, [None, 3])],
        [onnx.numpy_helper.from_array(w, "w")],
    )
    onnx.save(onnx.helper.make_model(graph), "model.onnx")
    return {**names, "module": Net().eval()}


def sweeps() -> dict[str, Any]:
    """Scores of a sweep in the folder output, readers of Parquet, and an explainer of one's own."""
    names = start()
    je.run(
        je.Sweep(
            data=(names["x"], names["y"]), model={"digits": names["model"]}, output="output",
            explainers=EXPLAINERS, metrics={"sparseness": je.Sparseness()},
        )
    )  # fmt: skip
    missing = SimpleNamespace(read_parquet=lambda path: None, sql=lambda text: None)
    readers: dict[str, Any] = {}
    for reader in ("pandas", "polars", "duckdb"):  # `make test-all` installs them
        try:
            readers[reader] = importlib.import_module(reader)
        except ImportError:
            readers[reader] = missing
    assert Path("output/parts").is_dir()
    return {**readers, "my_explainer": lambda model, x, y, keys: x}


def quantus() -> dict[str, Any]:
    """A torch network, and a metric of Quantus."""
    import jaxeval_quantus
    import torch
    from torch import nn

    x = start()["x"]
    net = nn.Sequential(nn.Flatten(), nn.Linear(SIDE * SIDE, 3)).eval()
    y = net(torch.from_numpy(x)).argmax(1).numpy()
    metric = jaxeval_quantus.Sparseness(disable_warnings=True)
    return {"net": net, "model": net, "y": y, "a": np.abs(x), "metric": metric}


def text() -> dict[str, Any]:
    """A torch module of token ids, what its tokenizer says, and five texts."""
    import torch
    from torch import nn

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.words, self.out = nn.Embedding(30, 8), nn.Linear(8, 3)

        def forward(self, input_ids: Any, attention_mask: Any) -> Any:
            there = attention_mask[:, :, None].float()
            return self.out((torch.tanh(self.words(input_ids)) * there).sum(1) / there.sum(1))

    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    lengths = np.array([6, 4, 5, 3, 6])[:, None]
    ids = np.where(np.arange(6) < lengths, rng.integers(5, 30, (5, 6)), 0)
    ids[:, 0] = 1
    counted = ~np.isin(ids, (0, 1, 2))

    class Tokenizer(SimpleNamespace):
        def __call__(self, texts: Any, padding: bool) -> Any:  # words of two pieces
            pieces = [[t // 2 if c else None for t, c in enumerate(row)] for row in counted]
            return [SimpleNamespace(word_ids=w, sequence_ids=[0] * len(w)) for w in pieces]

    tokenizer = Tokenizer(
        mask_token_id=4, pad_token_id=0, all_special_ids=[0, 1, 2, 4], unk_token_id=3
    )
    words = [[f"word{i}" for i in row] for row in ids]
    return {
        "net": Net().eval(), "tokenizer": tokenizer, "ids": ids, "mask": (ids != 0).astype(int),
        "tokens_of_texts": words, "maps": rng.normal(size=ids.shape), "counted": counted,
        "rationale": counted & (ids > 20), "sentences": ["five of them"] * 5,
    }  # fmt: skip


def digits() -> dict[str, Any]:
    """The two networks of digits, and digits."""
    data = je.data.digits()
    return {
        "model": je.data.digits_cnn(), "transformer": je.data.digits_transformer(),
        "x": data.x_test[:3], "y": data.y_test[:3],
    }  # fmt: skip


def tables() -> dict[str, Any]:
    """Data frames of two columns, labels as text, and SHAP values."""
    import pandas
    from sklearn.ensemble import RandomForestClassifier

    rng = np.random.default_rng(0)
    x = pandas.DataFrame({"age": rng.normal(size=40), "height": rng.normal(size=40)})
    y = np.where(x["age"] > x["height"], "old", "tall")
    return {
        "RandomForestClassifier": RandomForestClassifier, "x_train": x, "y_train": y,
        "x": x[:6], "y": y[:6], "shap_values": rng.normal(size=(6, 2, 2)),
    }  # fmt: skip


def several() -> dict[str, Any]:
    """A Flax module of an image and a table."""
    import flax.linen as nn

    class Net(nn.Module):
        @nn.compact
        def __call__(self, x: Any) -> Any:
            seen = nn.relu(nn.Conv(2, (3, 3))(x["image"])).mean((1, 2))
            return nn.Dense(3)(jnp.concatenate([seen, x["table"]], 1))

    rng = np.random.default_rng(0)
    image = rng.normal(size=(4, 6, 6, 1)).astype(np.float32)
    table = rng.normal(size=(4, 2)).astype(np.float32)
    net = Net()
    params = net.init(jax.random.key(0), {"image": image, "table": table})
    return {"net": net, "params": params, "image": image, "table": table, "y": np.zeros(4, int)}


def outputs() -> dict[str, Any]:
    """A network of images [N, 1, H, W] that segments, one that detects, and a box."""
    rng = np.random.default_rng(0)
    w = rng.normal(size=(3, 1, 3, 3)).astype(np.float32)

    def segment(p: Any, x: Any) -> Any:
        return jax.lax.conv(x, p, (1, 1), "SAME")

    def detect(p: Any, x: Any) -> Any:
        scores = segment(p, x)[:, :, ::8, ::8].reshape(len(x), 3, -1).swapaxes(1, 2)
        corners = jnp.array([[0, 0], [0, 8], [8, 0], [8, 8]], x.dtype)
        boxes = jnp.concatenate([corners, corners + 8], 1)
        return jnp.broadcast_to(boxes, (len(x), 4, 4)), scores

    def iou(boxes: Any, box: Any) -> Any:
        low, high = jnp.maximum(boxes, box)[..., :2], jnp.minimum(boxes, box)[..., 2:]
        both = jnp.maximum(high - low, 0).prod(-1)
        sizes = [(b[..., 2:] - b[..., :2]).prod(-1) for b in (boxes, box)]
        return both / (sizes[0] + sizes[1] - both)

    names = {"segment": segment, "detect": detect, "iou": iou, "params": w, "k": 1}
    return {**names, "explained": np.array([7.0, 7, 15, 15]), "x": start()["x"]}


OF_PAGES = {
    "README.md": readme,
    "sweeps.md": sweeps,
    "quantus.md": quantus,
    "text.md": text,
    "explainers.md": digits,
    "tolerance.md": readme,
}
OF_BLOCKS = {
    "flax": flax, "tokens": tokens, "settings": settings, "few": few, "torch": torch,
    "tables": tables, "several": several, "outputs": outputs, "images": start,
}  # fmt: skip
