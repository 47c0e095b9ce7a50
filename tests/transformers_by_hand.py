"""A small transformer, written in JAX, in torch, and as relevance rules in NumPy.

Of images (a class token and patches, normalised before each part, as ViT) and of embeddings
(normalised after each part, as BERT). Parameters are those of torch: weights [out, in].
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxeval.model import Model

D, HEADS, HIDDEN, LAYERS, CLASSES = 8, 2, 12, 2, 4
PATCH, SIDE = 2, 8
"""Images [1, 8, 8], of 4 x 4 patches."""
TOKENS = 5
"""Embeddings [5, 8]."""


def draw(images: bool, seed: int = 0, bias: float = 0.3) -> dict[str, Any]:
    rng = np.random.default_rng(seed)

    def fc(out: int, into: int) -> dict[str, np.ndarray]:
        return {"w": rng.normal(size=(out, into)) / into**0.5, "b": bias * rng.normal(size=out)}

    def norm() -> dict[str, np.ndarray]:
        return {"w": rng.uniform(0.5, 1.5, D), "b": bias * rng.normal(size=D)}

    layers = [
        {
            **{name: fc(D, D) for name in ("q", "k", "v", "o")},
            "up": fc(HIDDEN, D),
            "down": fc(D, HIDDEN),
            "norm_1": norm(),
            "norm_2": norm(),
        }
        for _ in range(LAYERS)
    ]
    params: dict[str, Any] = {"layers": layers, "norm": norm(), "head": fc(CLASSES, D)}
    if images:
        params["patch"] = fc(D, PATCH**2)
        params["token"] = rng.normal(size=(1, D))
        params["place"] = rng.normal(size=(1 + (SIDE // PATCH) ** 2, D))
    return jax.tree.map(np.float32, params)


def patches(x: Any) -> Any:
    n, s = len(x), SIDE // PATCH
    x = x.reshape(n, s, PATCH, s, PATCH)
    return x.transpose(0, 1, 3, 2, 4).reshape(n, s * s, PATCH**2)


# -- in JAX ------------------------------------------------------------------------------------


def fc(p: Any, x: jax.Array) -> jax.Array:
    return x @ p["w"].T + p["b"]


def normed(p: Any, x: jax.Array) -> jax.Array:
    mean = x.mean(-1, keepdims=True)
    var = jnp.square(x - mean).mean(-1, keepdims=True)
    return (x - mean) / jnp.sqrt(var + 1e-5) * p["w"] + p["b"]


def split(x: jax.Array) -> jax.Array:
    n, t, _ = x.shape
    return x.reshape(n, t, HEADS, -1).transpose(0, 2, 1, 3)


def attended(p: Any, x: jax.Array) -> jax.Array:
    q, k, v = (split(fc(p[name], x)) for name in "qkv")
    a = jax.nn.softmax(q @ k.mT * (D // HEADS) ** -0.5)
    return fc(p["o"], (a @ v).transpose(0, 2, 1, 3).reshape(x.shape))


def apply(params: Any, x: jax.Array, attended: Any = attended) -> jax.Array:
    first = "patch" in params
    if first:
        x = fc(params["patch"], patches(x))
        token = jnp.broadcast_to(params["token"], (len(x), 1, D))
        x = jnp.concatenate([token, x], 1) + params["place"]
    for p in params["layers"]:
        if first:
            x = x + attended(p, normed(p["norm_1"], x))
            x = x + fc(p["down"], jax.nn.gelu(fc(p["up"], normed(p["norm_2"], x)), False))
        else:
            x = normed(p["norm_1"], x + attended(p, x))
            x = normed(p["norm_2"], x + fc(p["down"], jax.nn.gelu(fc(p["up"], x), False)))
    return fc(params["head"], (normed(params["norm"], x) if first else x)[:, 0])


def model(images: bool, seed: int = 0, bias: float = 0.3) -> Model:
    params = jax.tree.map(jnp.asarray, draw(images, seed, bias))
    return Model(apply, params, channel_axis=1 if images else -1)


def inputs(images: bool, n: int = 3) -> np.ndarray:
    shape = (n, 1, SIDE, SIDE) if images else (n, TOKENS, D)
    return np.random.default_rng(1).normal(size=shape).astype(np.float32)


# -- in torch ----------------------------------------------------------------------------------


def in_torch(params: dict[str, Any], how: str = "product") -> Any:
    """An nn.Module. `how` attention is computed: "product", "sdpa", or "module"."""
    import torch
    from torch import nn
    from torch.nn import functional as F

    def linear(p: Any) -> Any:
        made = nn.Linear(*p["w"].shape[::-1])
        with torch.no_grad():
            made.weight.copy_(torch.from_numpy(np.array(p["w"])))
            made.bias.copy_(torch.from_numpy(np.array(p["b"])))
        return made

    def norm(p: Any) -> Any:
        made = nn.LayerNorm(D)
        with torch.no_grad():
            made.weight.copy_(torch.from_numpy(np.array(p["w"])))
            made.bias.copy_(torch.from_numpy(np.array(p["b"])))
        return made

    class Attention(nn.Module):
        def __init__(self, p: Any) -> None:
            super().__init__()
            self.seen: Any = None
            for name in "qkvo":
                setattr(self, name, linear(p[name]))
            if how == "module":
                self.whole = nn.MultiheadAttention(D, HEADS, batch_first=True)
                with torch.no_grad():
                    given = (getattr(self, name) for name in "qkv")
                    weights, biases = zip(*((m.weight, m.bias) for m in given), strict=True)
                    self.whole.in_proj_weight.copy_(torch.cat(weights))
                    self.whole.in_proj_bias.copy_(torch.cat(biases))
                    self.whole.out_proj.weight.copy_(self.o.weight)
                    self.whole.out_proj.bias.copy_(self.o.bias)

        def forward(self, x: Any) -> Any:
            if how == "module":
                return self.whole(x, x, x, need_weights=False)[0]
            n, t, _ = x.shape
            q, k, v = (
                getattr(self, name)(x).reshape(n, t, HEADS, -1).transpose(1, 2) for name in "qkv"
            )
            if how == "sdpa":
                h = F.scaled_dot_product_attention(q, k, v)
            else:
                self.seen = ((q @ k.transpose(2, 3)) * (D // HEADS) ** -0.5).softmax(-1)
                h = self.seen @ v
            return self.o(h.transpose(1, 2).reshape(n, t, D))

    class Block(nn.Module):
        def __init__(self, p: Any) -> None:
            super().__init__()
            self.attention, self.up, self.down = Attention(p), linear(p["up"]), linear(p["down"])
            self.norm_1, self.norm_2 = norm(p["norm_1"]), norm(p["norm_2"])

        def forward(self, x: Any, first: bool) -> Any:
            if first:
                x = x + self.attention(self.norm_1(x))
                return x + self.down(F.gelu(self.up(self.norm_2(x))))
            x = self.norm_1(x + self.attention(x))
            return self.norm_2(x + self.down(F.gelu(self.up(x))))

    class Transformer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.ModuleList(map(Block, params["layers"]))
            self.norm, self.head = norm(params["norm"]), linear(params["head"])
            self.images = "patch" in params
            if self.images:
                self.patch = nn.Conv2d(1, D, PATCH, PATCH)
                with torch.no_grad():
                    w = np.array(params["patch"]["w"]).reshape(D, 1, PATCH, PATCH)
                    self.patch.weight.copy_(torch.from_numpy(w))
                    self.patch.bias.copy_(torch.from_numpy(np.array(params["patch"]["b"])))
                self.token = nn.Parameter(torch.from_numpy(np.array(params["token"])))
                self.place = nn.Parameter(torch.from_numpy(np.array(params["place"])))

        def forward(self, x: Any) -> Any:
            if self.images:
                x = self.patch(x).flatten(2).transpose(1, 2)
                x = torch.cat([self.token.expand(x.shape[0], 1, D), x], 1) + self.place
            for layer in self.layers:
                x = layer(x, self.images)
            return self.head((self.norm(x) if self.images else x)[:, 0])

    return Transformer().eval()


# -- as relevance, in NumPy --------------------------------------------------------------------


class Rules:
    """Relevance rules of AttnLRP, for one sample in float64."""

    epsilon = 1e-6

    def ratio(self, r: Any, z: Any) -> Any:
        return r / (z + self.epsilon * np.where(z >= 0, 1, -1))

    def fc(self, p: Any, x: Any, r: Any) -> Any:
        return x * (self.ratio(r, x @ p["w"].T + p["b"]) @ p["w"])

    def product(self, a: Any, b: Any, r: Any) -> Any:
        s = self.ratio(r, a @ b)
        return a * (s @ b.swapaxes(-1, -2)) / 2, b * (a.swapaxes(-1, -2) @ s) / 2

    def softmax(self, z: Any, a: Any, r: Any) -> Any:
        return z * (r - a * r.sum(-1, keepdims=True))

    def norm(self, p: Any, n: Any, r: Any) -> Any:
        z = n * p["w"]
        return z * self.ratio(r, z + p["b"])

    def add(self, a: Any, b: Any, r: Any) -> Any:
        s = self.ratio(r, a + b)
        return a * s, b * s

    def shift(self, z: Any, b: Any, r: Any) -> Any:
        return z * self.ratio(r, z + b)


class CheferRules(Rules):
    """Those of Chefer et al. 2021 (CVPR)."""

    def ratio(self, r: Any, z: Any) -> Any:
        return np.where(z == 0, 0, r / (z + 1e-9))

    def fc(self, p: Any, x: Any, r: Any) -> Any:
        up, down = np.maximum(p["w"], 0), np.minimum(p["w"], 0)
        s = self.ratio(r, np.maximum(x, 0) @ up.T + np.minimum(x, 0) @ down.T)
        return np.maximum(x, 0) * (s @ up) + np.minimum(x, 0) * (s @ down)

    def softmax(self, z: Any, a: Any, r: Any) -> Any:
        return r

    def norm(self, p: Any, n: Any, r: Any) -> Any:
        return r

    def add(self, a: Any, b: Any, r: Any) -> Any:
        parts = Rules.add(self, a, b, r)
        sums = [v.sum() for v in parts]
        shares = [self.ratio(abs(s), sum(map(abs, sums))) * r.sum() for s in sums]
        return tuple(v * self.ratio(c, s) for v, c, s in zip(parts, shares, sums, strict=True))


def relevance(params: Any, x: np.ndarray, seed: Any, rules: Rules) -> tuple[Any, list[Any]]:
    """The relevance of one sample, and of its attention matrices [heads, T, T].

    `seed`: of the logits, a function of them.
    """
    from scipy.special import erf, softmax

    params = jax.tree.map(np.float64, params)
    kept: list[Any] = []

    def fc(p: Any, v: Any) -> Any:
        return v @ p["w"].T + p["b"]

    def scaled(v: Any) -> Any:
        c = v - v.mean(-1, keepdims=True)
        return c / np.sqrt((c**2).mean(-1, keepdims=True) + 1e-5)

    def norm(p: Any, v: Any) -> Any:
        return scaled(v) * p["w"] + p["b"]

    def heads(v: Any) -> Any:
        return v.reshape(len(v), HEADS, -1).swapaxes(0, 1)

    def merged(v: Any) -> Any:
        return v.swapaxes(0, 1).reshape(v.shape[1], -1)

    def attention(p: Any, v: Any) -> tuple[Any, Any]:
        q, k, w = (heads(fc(p[name], v)) for name in "qkv")
        z = q @ k.swapaxes(1, 2) * (D // HEADS) ** -0.5
        a = softmax(z, -1)
        h = merged(a @ w)

        def back(r: Any) -> Any:
            r_a, r_v = rules.product(a, w, heads(rules.fc(p["o"], h, r)))
            kept.insert(0, r_a)
            r_q, r_k = rules.product(q, k.swapaxes(1, 2), rules.softmax(z, a, r_a))
            parts = zip("qkv", (r_q, r_k.swapaxes(1, 2), r_v), strict=True)
            return sum(rules.fc(p[name], v, merged(r)) for name, r in parts)

        return fc(p["o"], h), back

    def mlp(p: Any, v: Any) -> tuple[Any, Any]:
        u = fc(p["up"], v)
        g = u * (1 + erf(u / 2**0.5)) / 2
        return fc(p["down"], g), lambda r: rules.fc(p["up"], v, rules.fc(p["down"], g, r))

    first, x, backs = "patch" in params, x.astype(np.float64), []
    if first:
        parts = patches(x[None])[0]
        embedded = fc(params["patch"], parts)
        x = np.concatenate([params["token"], embedded]) + params["place"]

        def embed(r: Any) -> Any:
            whole = np.concatenate([params["token"], embedded])
            r = rules.fc(params["patch"], parts, rules.shift(whole, params["place"], r)[1:])
            s = SIDE // PATCH
            r = r.reshape(s, s, PATCH, PATCH).transpose(0, 2, 1, 3)
            return r.reshape(1, SIDE, SIDE)

        backs.append(embed)
    for p in params["layers"]:
        for part, name in ((attention, "norm_1"), (mlp, "norm_2")):
            before = x
            out, back = part(p, norm(p[name], before) if first else before)
            x = before + out
            total = x
            x = x if first else norm(p[name], x)

            def through(
                r: Any,
                p: Any = p[name],
                before: Any = before,
                out: Any = out,
                back: Any = back,
                total: Any = total,
            ) -> Any:
                r = r if first else rules.norm(p, scaled(total), r)
                stays, goes = rules.add(before, out, r)
                goes = back(goes)
                return stays + (rules.norm(p, scaled(before), goes) if first else goes)

            backs.append(through)
    last = norm(params["norm"], x) if first else x
    z = fc(params["head"], last[0])
    r = np.zeros_like(last)
    r[0] = rules.fc(params["head"], last[0], seed(z))
    r = rules.norm(params["norm"], scaled(x), r) if first else r
    for back in reversed(backs):
        r = back(r)
    return r, kept
