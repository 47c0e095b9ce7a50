"""One row a metric: small settings, an independent reference, and what it is given.

The contract tests run over `ROWS`. A new metric needs a row here and nothing else: its settings,
a NumPy function of `tests.reference.metrics`, other settings worth a comparison, and, if it draws
at random, draws to give it.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jaxeval as je
from jaxeval.metric import asks_of
from tests.reference import metrics as ref
from tests.reference.sample import Net, Sample

N, K, HIDDEN = 7, 5, 16
KEY = 3

# -- the model and its explainers ----------------------------------------------------------------


def apply(params: Any, x: Any) -> Any:
    """softplus(x W + b) V + c, as `tests.reference.sample.Net`."""
    h = jnp.reshape(x, (len(x), -1)) @ params["hidden"]["w"] + params["hidden"]["b"]
    return jax.nn.softplus(h) @ params["out"]["w"] + params["out"]["b"]


def hidden(params: Any, x: Any) -> Any:
    h = jnp.reshape(x, (len(x), -1)) @ params["hidden"]["w"] + params["hidden"]["b"]
    return apply(params, x), {"hidden": jax.nn.softplus(h)}


def init(key: Any, x: Any) -> Any:
    keys = jax.random.split(key, 4)
    d = int(np.prod(x.shape[1:]))
    shapes = {"hidden": {"b": (HIDDEN,), "w": (d, HIDDEN)}, "out": {"b": (K,), "w": (HIDDEN, K)}}
    flat, tree = jax.tree.flatten(shapes, is_leaf=lambda v: isinstance(v, tuple))
    draws = [jax.random.normal(k, s) / 4 for k, s in zip(keys, flat, strict=True)]
    return jax.tree.unflatten(tree, draws)


def entries(model: je.Model, x: Any, y: Any, keys: Any) -> Any:
    """The gradient of the logit."""

    def total(v: Any) -> Any:
        return jnp.take_along_axis(model(v), y[:, None], 1).sum()

    return jax.grad(total)(x)


def pixels(model: je.Model, x: Any, y: Any, keys: Any) -> Any:
    """The gradient, summed over the channels, without the channel axis."""
    return entries(model, x, y, keys).sum(model.channel_axis)


def pixels_with_axis(model: je.Model, x: Any, y: Any, keys: Any) -> Any:
    return entries(model, x, y, keys).sum(model.channel_axis, keepdims=True)


def margin(z: Any, y: Any) -> Any:
    """An output that is a function: the logit over the mean logit."""
    return z[y] - z.mean()


def closeness(u: Any, v: Any) -> Any:
    """A similarity that is a function."""
    return 1 - abs(u - v).mean()


# -- the data ------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class World:
    """A model, seven samples, and attributions of one shape; JAX and NumPy side by side."""

    name: str
    model: je.Model
    net: Net
    x: np.ndarray
    y: np.ndarray
    mask: np.ndarray
    features: tuple[int, ...]
    explainer: Callable[..., Any]
    reduce: Callable[[np.ndarray], np.ndarray]

    @property
    def channel_axis(self) -> int | None:
        axis = self.model.channel_axis
        return None if self.x.ndim < 3 else axis - 1 if axis > 0 else self.x.ndim - 1 + axis

    @property
    def pixelwise(self) -> bool:
        """Whether all channels of a pixel are one feature."""
        return self.features != self.x.shape[1:]

    @functools.cached_property
    def maps(self) -> dict[str, np.ndarray]:
        """Attributions [N, *features] of several kinds."""
        rng = np.random.default_rng(5)
        shape = (N, *self.features)
        smooth = [self.reduce(self.net.gradient(*v)) for v in zip(self.x, self.y, strict=True)]
        ties = rng.choice([0, 0, 0, 0, 0, 0, 0.25, -0.5, 1], shape)
        ties.reshape(N, -1)[:, :2] = 0.25, -0.5  # never a constant map
        edge = np.array(smooth)
        edge[0] = 0
        edge[1], edge[2] = 1.5, -0.25
        edge[3] = 0
        edge[3].flat[5] = 2  # the only feature
        edge[4] = 0
        edge[4].flat[-1] = -1
        edge[5] = -np.abs(edge[5])
        edge[6] *= 1e-12
        out = {"smooth": np.array(smooth), "ties": ties, "edge": edge}
        return {k: frozen(v.astype(np.float32)) for k, v in out.items()}

    @property
    def edge_mask(self) -> np.ndarray:
        """The mask with an empty and a full one."""
        mask = self.mask.copy()
        mask[4], mask[5] = True, False
        return frozen(mask)

    def fitted(self, mask: np.ndarray) -> np.ndarray:
        """A mask in the shape of the attributions."""
        if mask.ndim == len(self.features):
            mask = np.expand_dims(mask, self.channel_axis + 1)
        return np.broadcast_to(mask, (N, *self.features))

    def sample(self, i: int, a: Any, **given: Any) -> Sample:
        """Sample i for a reference, in float64."""
        return Sample(
            x=self.x[i].astype(np.float64),
            y=int(self.y[i]),
            a=np.asarray(a[i], np.float64),
            net=self.net,
            channel_axis=self.channel_axis,
            reduce=self.reduce,
            **given,
        )


def frozen(v: np.ndarray) -> np.ndarray:
    """A read-only array: nobody writes into what the caller gave."""
    v = np.ascontiguousarray(v)
    v.setflags(write=False)
    return v


def identity(g: np.ndarray) -> np.ndarray:
    return g


WORLDS = ("entries", "pixels", "pixels_1", "last", "last_pixels", "tabular", "tokens")


@functools.cache
def world(name: str = "entries") -> World:
    """Seven ways in which inputs and attributions may be laid out.

    "tokens" are embeddings [T, E] with an attribution for each token.
    """
    axis: int = -1 if name.startswith("last") or name == "tokens" else 1
    shapes = {"tabular": (12,), "last": (8, 8, 2), "last_pixels": (8, 8, 2), "tokens": (12, 4)}
    shape = shapes.get(name, (2, 8, 8))
    rng = np.random.default_rng(1)
    d = int(np.prod(shape))

    def draw(*size: int, scale: float) -> np.ndarray:
        return rng.normal(size=size, scale=scale).astype(np.float32)

    params = {
        "hidden": {"b": draw(HIDDEN, scale=0.3), "w": draw(d, HIDDEN, scale=2 / np.sqrt(d))},
        "out": {"b": draw(K, scale=0.3), "w": draw(HIDDEN, K, scale=0.7)},
    }
    x = rng.uniform(-1, 1, (N, *shape)).astype(np.float32)
    x[0].flat[3] = 0  # a zero among the inputs
    y = rng.integers(0, K, N).astype(np.int32)
    mask = np.zeros((N, *((12,) if name in ("tabular", "tokens") else (8, 8))), bool)
    for i in range(N):
        mask[(i, *(slice(1 + i // 2, 4 + i % 4),) * (mask.ndim - 1))] = True
    explainer, features, reduce = {
        "pixels": (pixels, (8, 8), lambda g: g.sum(0)),
        "pixels_1": (pixels_with_axis, (1, 8, 8), lambda g: g.sum(0, keepdims=True)),
        "last_pixels": (pixels, (8, 8), lambda g: g.sum(-1)),
        "tokens": (pixels, (12,), lambda g: g.sum(-1)),
    }.get(name, (entries, shape, identity))
    double = jax.tree.map(lambda v: v.astype(np.float64), params)
    return World(
        name=name,
        model=je.Model(apply, params, hidden=hidden, init=init, channel_axis=axis),
        net=Net(double),
        x=frozen(x),
        y=frozen(y),
        mask=frozen(mask),
        features=features,
        explainer=explainer,
        reduce=reduce,
    )


# -- draws to give, shared by all samples --------------------------------------------------------

Draws = Callable[[World, Any, np.random.Generator], Any]


def subsets(w: World, m: Any, rng: np.random.Generator) -> Any:
    """Feature indices [n_runs, subset_size]."""
    n = int(np.prod(w.features))
    return np.stack([rng.choice(n, m.subset_size, replace=False) for _ in range(m.n_runs)])


def sized_subsets(w: World, m: Any, rng: np.random.Generator) -> Any:
    """n_runs subsets of each size, size by size, filled up with -1."""
    n = int(np.prod(w.features))
    sizes = ref.subset_sizes(m, n)
    out = np.full((len(sizes) * m.n_runs, max(sizes)), -1)
    for row, size in zip(out, np.repeat(sizes, m.n_runs), strict=True):
        row[:size] = rng.choice(n, size, replace=False)
    return out


def noise(w: World, m: Any, rng: np.random.Generator) -> Any:
    scale = getattr(m, "radius", None) or m.std
    return rng.uniform(-scale, scale, (m.n_samples, *w.x.shape[1:])).astype(np.float32)


def infidelity_draws(w: World, m: Any, rng: np.random.Generator) -> Any:
    if m.perturbation == "patches":
        return None
    if m.perturbation == "gaussian":
        return noise(w, m, rng)
    space = [n for i, n in enumerate(w.x.shape[1:]) if i != w.channel_axis]
    return np.stack([rng.integers(0, n - m.patch_size + 1, m.n_samples) for n in space], 1)


def order(w: World, m: Any, rng: np.random.Generator) -> Any:
    return rng.permutation(int(np.prod(w.features))) if m.order == "random" else None


def patch_order(w: World, m: Any, rng: np.random.Generator) -> Any:
    space = [n for i, n in enumerate(w.x.shape[1:]) if i != w.channel_axis]
    n = int(np.prod([-(-n // m.patch_size) for n in space]))
    return rng.permutation(n) if m.order == "random" else None


def replacements(w: World, m: Any, rng: np.random.Generator) -> Any:
    return rng.uniform(size=int(np.prod(w.features)) * m.n_samples).astype(np.float32)


def imputation_noise(w: World, m: Any, rng: np.random.Generator) -> Any:
    shape = (len(m.percentages), *w.x.shape[1:])
    return rng.normal(scale=m.noise, size=shape).astype(np.float32)


def group_replacements(w: World, m: Any, rng: np.random.Generator) -> Any:
    groups = -(-int(np.prod(w.features)) // m.features_in_step)
    return rng.uniform(size=(groups * m.n_samples, *w.x.shape[1:])).astype(np.float32)


def cells(w: World, m: Any, rng: np.random.Generator) -> Any:
    """Indices of cells [n_runs, n]."""
    space = [n for i, n in enumerate(w.x.shape[1:]) if i != w.channel_axis]
    n = int(np.prod([min(m.grid_size, k) for k in space]))
    size = max(1, round(m.subset_percent * n))
    return np.stack([rng.choice(n, size, replace=False) for _ in range(m.n_runs)])


def other_class(w: World, m: Any, rng: np.random.Generator) -> Any:
    return np.int32(rng.integers(K))


def random_params(w: World, m: Any, rng: np.random.Generator) -> Any:
    return jax.tree.map(
        lambda p: rng.normal(size=(m.n_seeds, *p.shape), scale=0.4).astype(np.float32),
        w.model.params,
    )


def smooth_draws(w: World, m: Any, rng: np.random.Generator) -> Any:
    noise = rng.normal(size=(m.n_samples, *w.x.shape[1:])).astype(np.float32)
    return {"params": random_params(w, m, rng), "noise": noise}


# -- own draws, recovered from what was asked: (x [N, ...], y [N, S], queries [N, S, ...]) ---------


def gone(w: World, x: np.ndarray, q: np.ndarray) -> np.ndarray:
    """Which features differ [N, S, F]."""
    changed = q != x[:, None]
    if w.pixelwise:
        changed = changed.any(w.channel_axis + 2)
    return changed.reshape(*changed.shape[:2], -1)


def recover_subsets(w: World, x: Any, y: Any, q: Any) -> Any:
    """Feature indices [N, S, n], filled up with -1."""
    steps = gone(w, x, q)
    most = steps.sum(-1).max()
    features = np.where(steps, np.arange(steps.shape[-1]), -1)
    return np.sort(features, -1)[..., ::-1][..., :most]


def recover_noise(w: World, x: Any, y: Any, q: Any) -> Any:
    return q - x[:, None]


def recover_change(w: World, x: Any, y: Any, q: Any) -> Any:
    return x[:, None] - q


def recover_corners(w: World, x: Any, y: Any, q: Any) -> Any:
    changed = (q != x[:, None]).any(w.channel_axis + 2)
    return np.array([[np.argwhere(step).min(0) for step in row] for row in changed])


def recover_cells(w: World, x: Any, y: Any, q: Any) -> Any:
    """Cells of 2 x 2 pixels [N, S, n], filled up with -1."""
    steps = (q != x[:, None]).any(w.channel_axis + 2)[..., ::2, ::2]
    steps = steps.reshape(*steps.shape[:2], -1)
    most = steps.sum(-1).max()
    indices = np.where(steps, np.arange(steps.shape[-1]), -1)
    return np.sort(indices, -1)[..., ::-1][..., :most]


def recover_order(w: World, x: Any, y: Any, q: Any) -> Any:
    """An order in which features went; those of one step in any."""
    return np.argsort(gone(w, x, q).argmax(1), axis=1, kind="stable")


def recover_replacements(w: World, x: Any, y: Any, q: Any) -> Any:
    """The new value of feature floor(s / n_samples) in step s; none of them is what it was."""
    changed = q != x[:, None]
    n, s = changed.shape[:2]
    flat, values = changed.reshape(n, s, -1), q.reshape(n, s, -1)
    return np.take_along_axis(values, flat.argmax(2)[..., None], 2)[..., 0]


def recover_inputs(w: World, x: Any, y: Any, q: Any) -> Any:
    return q


def recover_imputation_noise(w: World, x: Any, y: Any, q: Any) -> Any:
    out = np.zeros_like(q)
    for i, s in np.ndindex(*q.shape[:2]):
        changed = (q[i, s] != x[i]).any(w.channel_axis)
        out[i, s] = q[i, s] - ref.imputed(x[i], changed, w.channel_axis)
    return out


def recover_class(w: World, x: Any, y: Any, q: Any) -> Any:
    return y[:, 0]


# -- the rows ------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Row:
    """What the tests need to know of one metric.

    Attributes:
      metric: small settings, cheap and with nothing at its default that hides a mistake.
      reference: (metric, sample) -> score, or (score, curve).
      variants: name -> fields that differ, each compared with the reference.
      draws: makes draws for all samples; None for a metric that takes none.
      per_sample_draws: draws may have a leading sample axis.
      recover: own draws from the questions asked.
      random: another key gives other scores.
      asked: the reference can judge questions as they were asked, without draws.
      numbers: fields whose change must not retrace, beside those that hold a number: (from, to).
      in_world: fields that differ in a world.
      skip: worlds for which it is not defined.
      same_bits: on any number of devices. False: XLA fuses it differently, and it is rounded so.
      rtol, atol: how close to the reference.
    """

    metric: Any
    reference: Callable[..., Any]
    variants: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)
    draws: Draws | None = None
    per_sample_draws: bool = True
    recover: Callable[..., Any] | None = None
    random: bool = False
    asked: bool = False
    numbers: Mapping[str, tuple[Any, Any]] = dataclasses.field(default_factory=dict)
    in_world: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)
    skip: frozenset[str] = frozenset()
    same_bits: bool = True
    rtol: float = 1e-4
    atol: float = 1e-5

    @property
    def explains(self) -> bool:
        """It explains changed inputs or models, so it needs an explainer."""
        return "attribution" in self.metric.asks

    @property
    def over_data(self) -> bool:
        """It is defined over a whole data set; its reference takes all samples at once."""
        return type(self.metric).aggregate is not je.Metric.aggregate

    @property
    def on_host(self) -> bool:
        """The host finishes its scores, so it is no function for a compiled program."""
        return type(self.metric).finish is not je.Metric.finish

    @property
    def changes_params(self) -> bool:
        return any(p.changes_params for p in asks_of(self.metric))


BASELINES: dict[str, Mapping[str, Any]] = {
    f"baseline {b}": {"baseline": b}
    for b in ("white", "mean", "channel_mean", "zero", "blur", 0.3, "per entry")
}
BASELINES["baseline per entry"] = {"baseline": np.linspace(-1, 1, 8, dtype=np.float32)}
WHITE = {"white": {"baseline": "white"}}

ROWS: dict[str, Row] = {
    # faithfulness
    "PixelFlipping": Row(
        je.PixelFlipping(n_steps=6),
        ref.pixel_flipping,
        variants={
            "lerf": {"order": "lerf"},
            "in steps of 30": {"features_in_step": 30},
            "one step": {"n_steps": 1},
            "more steps than features": {"n_steps": 1000},
            "every feature": {"n_steps": None},
            **BASELINES,
        },
    ),
    "PixelFlipping/random": Row(
        je.PixelFlipping(order="random", n_steps=6, baseline=-2.0),
        ref.pixel_flipping,
        variants={"in steps of 5": {"features_in_step": 5}},
        draws=order,
        recover=recover_order,
        random=True,
    ),
    "Deletion": Row(
        je.Deletion(n_steps=6),
        ref.deletion,
        variants={"in steps of 30": {"features_in_step": 30}, **WHITE},
    ),
    "Insertion": Row(
        je.Insertion(n_steps=6),
        ref.insertion,
        variants={"in steps of 30": {"features_in_step": 30}, "baseline 3": {"baseline": 3}},
    ),
    "RegionPerturbation": Row(
        je.RegionPerturbation(patch_size=4),
        ref.region_perturbation,
        variants={
            "patches that do not fit": {"patch_size": 3},
            "3 regions": {"patch_size": 3, "n_regions": 3},
            "all regions": {"patch_size": 1, "n_regions": None},
            "channel means": {"baseline": "channel_mean"},
            "lerf": {"order": "lerf", "patch_size": 3},
            "random": {"order": "random", "patch_size": 3},
        },
        draws=patch_order,
    ),
    "Selectivity": Row(
        je.Selectivity(patch_size=4),
        ref.selectivity,
        variants={
            "patches that do not fit": {"patch_size": 3},
            "patches of one": {"patch_size": 1},
            "channel means": {"baseline": "channel_mean"},
        },
    ),
    "SRG": Row(
        je.SRG(n_steps=6),
        ref.srg,
        variants={
            "in steps of 30": {"features_in_step": 30},
            "one step": {"n_steps": 1},
            **WHITE,
        },
    ),
    "Monotonicity": Row(
        je.Monotonicity(n_steps=12),
        ref.monotonicity,
        variants={
            "in steps of 30": {"features_in_step": 30},
            "strict": {"strict": True, "n_steps": 2},
            **WHITE,
        },
    ),
    "MonotonicityCorrelation": Row(
        je.MonotonicityCorrelation(features_in_step=16, n_samples=2),
        ref.monotonicity_correlation,
        variants={
            "last group smaller": {"features_in_step": 25},
            "one at a time, once": {"features_in_step": 1, "n_samples": 1},
        },
        draws=group_replacements,
        recover=recover_inputs,
        random=True,
        in_world={"tabular": {"features_in_step": 5}},
    ),
    "FaithfulnessCorrelation": Row(
        je.FaithfulnessCorrelation(n_runs=8, subset_size=5, baseline=-2.0),
        ref.faithfulness_correlation,
        variants={"black": {"baseline": "black"}, "channel means": {"baseline": "channel_mean"}},
        draws=subsets,
        recover=recover_subsets,
        random=True,
    ),
    "FaithfulnessEstimate": Row(
        je.FaithfulnessEstimate(features_in_step=16),
        ref.faithfulness_estimate,
        variants={
            "last group smaller": {"features_in_step": 5},
            "one at a time": {"features_in_step": 1},
            **WHITE,
        },
        in_world={"tabular": {"features_in_step": 5}, "tokens": {"features_in_step": 5}},
    ),
    "PGI": Row(
        je.PGI(n_samples=6, std=0.5),
        ref.pgi,
        variants={"0.3 of them": {"top_fraction": 0.3}, "all": {"top_fraction": 1.0}},
        draws=noise,
        recover=recover_noise,
        random=True,
    ),
    "PGU": Row(
        je.PGU(n_samples=6, std=0.5),
        ref.pgu,
        variants={"but 0.3 of them": {"top_fraction": 0.3}},
        draws=noise,
        recover=recover_noise,
        random=True,
    ),
    "AverageDrop": Row(je.AverageDrop(), ref.average_drop),
    "IncreaseInConfidence": Row(je.IncreaseInConfidence(), ref.increase_in_confidence),
    "ADCC": Row(je.ADCC(), ref.adcc),
    "MuFidelity": Row(
        je.MuFidelity(n_runs=8, grid_size=4, baseline=-2.0),
        ref.mu_fidelity,
        variants={"3 x 3": {"grid_size": 3}, "black": {"baseline": "black"}},
        draws=cells,
        recover=recover_cells,
        random=True,
        numbers={"subset_percent": (0.2, 0.4)},
    ),
    "ROAD": Row(
        je.ROAD(percentages=(10, 40, 75, 95), noise=0.5),
        ref.road,
        variants={
            "lerf": {"order": "lerf"},
            "hardly any noise": {"noise": 1e-3},
            "other percentages": {"percentages": (0.5, 29, 99)},
        },
        draws=imputation_noise,
        recover=recover_imputation_noise,
        random=True,
        numbers={"percentages": ((10, 40, 75, 95), (20, 30, 50, 90))},
    ),
    "Sufficiency": Row(
        je.Sufficiency(threshold=0.9),
        ref.sufficiency,
        variants={"all": {"threshold": 1.0}, "none": {"threshold": 0.0}},
        numbers={"threshold": (0.5, 0.9)},
    ),
    "IROF": Row(
        je.IROF(n_segments=10),
        ref.irof,
        variants={"more": {"n_segments": 20, "compactness": 1.0}, **WHITE},
        skip=frozenset({"tabular"}),
    ),
    "SIC": Row(
        je.SIC(n_steps=6),
        ref.sic,
        variants={"in steps of 30": {"features_in_step": 30}, "of white": {"baseline": 1.0}},
    ),
    "AIC": Row(
        je.AIC(n_steps=6),
        ref.aic,
        variants={"in steps of 30": {"features_in_step": 30}, "of white": {"baseline": 1.0}},
    ),
    "SensitivityN": Row(
        je.SensitivityN(n_runs=5, n_sizes=3, baseline=-2.0),
        ref.sensitivity_n,
        variants={
            "given sizes": {"sizes": (1, 3, 12)},
            "to half": {"n_max_percentage": 0.5, "n_sizes": 4},
        },
        draws=sized_subsets,
        recover=recover_subsets,
        random=True,
        asked=True,
        numbers={"sizes": ((2, 5, 9), (1, 4, 12))},
    ),
    "Infidelity": Row(
        je.Infidelity(n_samples=6),
        ref.infidelity,
        variants={
            "normalised": {"normalised": True},
            "patches": {"perturbation": "patches", "patch_size": 3},
            "patches, normalised": {"perturbation": "patches", "normalised": True},
        },
        draws=infidelity_draws,
        recover=recover_change,
        random=True,
    ),
    "Infidelity/square": Row(
        je.Infidelity(n_samples=6, perturbation="square", patch_size=3, baseline=-2.0),
        ref.infidelity,
        variants={"channel means": {"baseline": "channel_mean"}},
        draws=infidelity_draws,
        recover=recover_corners,
        random=True,
    ),
    # robustness
    "MaxSensitivity": Row(
        je.MaxSensitivity(n_samples=6),
        ref.max_sensitivity,
        draws=noise,
        recover=recover_noise,
        random=True,
    ),
    "AvgSensitivity": Row(
        je.AvgSensitivity(n_samples=6),
        ref.avg_sensitivity,
        draws=noise,
        recover=recover_noise,
        random=True,
    ),
    "LocalLipschitz": Row(
        je.LocalLipschitz(n_samples=6),
        ref.local_lipschitz,
        draws=noise,
        recover=recover_noise,
        random=True,
    ),
    "RIS": Row(
        je.RIS(n_samples=6, radius=0.3),
        ref.ris,
        rtol=1e-3,  # the smallest entry of a divides, and its rounding is not small
        variants={"large epsilon": {"eps": 0.5}, "every prediction changes": {"radius": 40.0}},
        draws=noise,
        recover=recover_noise,
        random=True,
    ),
    "ROS": Row(
        je.ROS(n_samples=6, radius=0.3),
        ref.ros,
        rtol=1e-3,  # the smallest entry of a divides, and its rounding is not small
        variants={"large epsilon": {"eps": 10.0}, "every prediction changes": {"radius": 40.0}},
        draws=noise,
        recover=recover_noise,
        random=True,
    ),
    "RRS": Row(
        je.RRS(n_samples=6, radius=0.3),
        ref.rrs,
        rtol=1e-3,  # the smallest entry of a divides, and its rounding is not small
        variants={
            "large epsilon": {"eps": 10.0},
            "every prediction changes": {"radius": 40.0},
            "a layer by name": {"layers": ("hidden",)},
        },
        draws=noise,
        recover=recover_noise,
        random=True,
    ),
    "AverageStability": Row(
        je.AverageStability(n_samples=6),
        ref.average_stability,
        variants={"l2": {"distance": "l2"}},
        draws=noise,
        recover=recover_noise,
        random=True,
        atol=1e-4,  # rounding may swap two ranks among 128
    ),
    "Continuity": Row(
        je.Continuity(n_steps=5),
        ref.continuity,
        variants={
            "every shift": {"n_steps": 17},
            "more steps than shifts": {"n_steps": 100},
            "two": {"n_steps": 2},
            "channel means": {"baseline": "channel_mean"},
            "zero": {"baseline": "zero"},
        },
    ),
    "Consistency": Row(
        je.Consistency(n=2),
        ref.consistency,
        variants={
            "top 1": {"n": 1},
            "top 5": {"n": 5},
            "signs": {"discretise": "sign"},
            "signs of magnitudes": {"discretise": "sign", "absolute": True},
            "ranks": {"discretise": "rank"},
            "rounded": {"discretise": "round", "decimals": 0},
            "finely": {"discretise": "round"},
        },
        numbers={"decimals": (1, 2)},
    ),
    # localisation
    "PointingGame": Row(
        je.PointingGame(),
        ref.pointing_game,
        variants={
            "tolerance 1": {"tolerance": 1},
            "tolerance 1.5": {"tolerance": 1.5},
            "weighted": {"weighted": True, "tolerance": 3},
        },
    ),
    "RelevanceMassAccuracy": Row(
        je.RelevanceMassAccuracy(),
        ref.relevance_mass_accuracy,
        variants={"signed": {"signed": True}},
    ),
    "RelevanceRankAccuracy": Row(je.RelevanceRankAccuracy(), ref.relevance_rank_accuracy),
    "AUC": Row(je.AUC(), ref.auc),
    "AttributionLocalisation": Row(
        je.AttributionLocalisation(),
        ref.attribution_localisation,
        variants={"weighted": {"weighted": True}},
    ),
    "TopKIntersection": Row(
        je.TopKIntersection(k=5),
        ref.top_k_intersection,
        variants={
            "a tenth": {"k": None},
            "all": {"k": 128},
            "concept influence": {"k": 20, "concept_influence": True},
        },
    ),
    "AveragePrecision": Row(je.AveragePrecision(), ref.average_precision),
    "IoU": Row(
        je.IoU(),
        ref.iou,
        variants={"threshold": {"threshold": 0.3}, "below zero": {"threshold": -0.5}},
        numbers={"threshold": (0.25, 0.5)},
    ),
    "Focus": Row(je.Focus(), ref.focus),
    # complexity
    "Sparseness": Row(je.Sparseness(), ref.sparseness),
    "Complexity": Row(je.Complexity(), ref.complexity),
    "EffectiveComplexity": Row(
        je.EffectiveComplexity(eps=0.1),
        ref.effective_complexity,
        variants={"default": {"eps": 1e-5}, "ties with a threshold": {"eps": 0.25}},
    ),
    "MSTC": Row(
        je.MSTC(),
        ref.mstc,
        variants={
            "half": {"percentile": 50.0},
            "all": {"percentile": 0},
            "few neighbours": {"percentile": 60, "n_neighbours": 1},
            "three points or none": {"percentile": 95.3},
        },
        skip=frozenset({"tabular", "tokens"}),
    ),
    # randomisation
    "MPRT": Row(
        je.MPRT(),
        ref.mprt,
        variants={
            "bottom up": {"order": "bottom_up"},
            "independent": {"order": "independent"},
            "two seeds, pearson": {"n_seeds": 2, "similarity": "pearson"},
            "last layer, ssim": {"score": "last", "similarity": "ssim"},
            "one layer": {"layers": ("hidden",), "similarity": closeness},
        },
        draws=random_params,
        per_sample_draws=False,
        random=True,
        atol=1e-3,  # rounding may swap two ranks among 128
    ),
    "SmoothMPRT": Row(
        je.SmoothMPRT(n_samples=3),
        ref.smooth_mprt,
        variants={
            "bottom up, ssim": {"order": "bottom_up", "similarity": "ssim"},
            "two seeds, more noise": {"n_seeds": 2, "noise_level": 0.5},
            "last layer": {"score": "last", "order": "independent"},
        },
        draws=smooth_draws,
        per_sample_draws=False,
        random=True,
        atol=1e-3,  # as MPRT
    ),
    "EfficientMPRT": Row(
        je.EfficientMPRT(n_bins=8),
        ref.efficient_mprt,
        variants={
            "100 bins, two seeds": {"n_bins": 100, "n_seeds": 2},
            **{rule: {"n_bins": rule} for rule in ("freedman_diaconis", "scott", "sqrt")},
            **{rule: {"n_bins": rule} for rule in ("sturges", "rice")},
        },
        draws=random_params,
        per_sample_draws=False,
        random=True,
    ),
    "ClassSensitivity": Row(
        je.ClassSensitivity(),
        ref.class_sensitivity,
        variants={"pearson": {"similarity": "pearson"}, "function": {"similarity": closeness}},
        draws=other_class,
        recover=recover_class,
        same_bits=False,
    ),
    "ClassSensitivity/top": Row(
        je.ClassSensitivity(similarity="spearman"),
        ref.class_sensitivity,
        variants={"ssim": {"similarity": "ssim"}},
        atol=1e-3,  # as MPRT
    ),
    "RandomLogit": Row(
        je.RandomLogit(),
        ref.random_logit,
        draws=other_class,
        recover=recover_class,
        random=True,
        same_bits=False,
    ),
    # axiomatic
    "Completeness": Row(
        je.Completeness(),
        ref.completeness,
        variants={
            "relative": {"relative": True},
            "satisfied": {"satisfied": True, "tolerance": 2.0},
            "relatively satisfied": {"satisfied": True, "relative": True, "tolerance": 0.9},
            "zero": {"baseline": "zero"},
            "channel means": {"baseline": "channel_mean"},
        },
    ),
    "InputInvariance": Row(
        je.InputInvariance(shift=0.5),
        ref.input_invariance,
        variants={
            "not normalised": {"normalise": None, "shift": -2.0},
            "satisfied": {"satisfied": True},
        },
    ),
    "NonSensitivity": Row(
        je.NonSensitivity(n_samples=1, eps=0.02),
        ref.non_sensitivity,
        variants={"3 times": {"n_samples": 3}, "other epsilon": {"eps": 0.1}},
        draws=replacements,
        recover=recover_replacements,
        random=True,
    ),
}


def class_name(row: str) -> str:
    """The metric of a row; a second row of the same one is "Name/what is special"."""
    return row.split("/")[0]


def metric_of(row: str, name: str = "entries", variant: str | None = None) -> Any:
    """The row's metric, as it is or in one of its variants, for a world."""
    r = ROWS[row]
    fields = {**r.in_world.get(name, {}), **(r.variants[variant] if variant else {})}
    return dataclasses.replace(r.metric, **fields)


def draws_of(row: str, m: Any, w: World, shared: bool = False) -> Any:
    """Draws for metric m of a row, [N, S, ...] or shared by all samples; None if it takes none."""
    r, rng = ROWS[row], np.random.default_rng(9)
    if r.draws is None or r.draws(w, m, rng) is None:
        return None
    if shared or not r.per_sample_draws:
        return r.draws(w, m, rng)
    return np.stack([r.draws(w, m, rng) for _ in range(N)])


# -- what is asked of a host model or explainer --------------------------------------------------


@dataclasses.dataclass(eq=False)
class Spy:
    """A NumPy model and a NumPy explainer that keep what they were asked."""

    world: World
    x: list[np.ndarray] = dataclasses.field(default_factory=list)
    y: list[np.ndarray] = dataclasses.field(default_factory=list)

    def logits(self, params: Any, x: Any) -> np.ndarray:
        self.x.append(np.array(x))
        return np.array([self.world.net.logits(v) for v in x.astype(np.float64)], np.float32)

    def explain(self, model: Any, x: Any, y: Any, keys: Any) -> np.ndarray:
        self.x.append(np.array(x))
        self.y.append(np.array(y))
        maps = [self.world.net.gradient(v, c) for v, c in zip(x.astype(np.float64), y, strict=True)]
        return np.array([self.world.reduce(g) for g in maps], np.float32)

    @property
    def model(self) -> je.Model:
        return je.Model(self.logits, {}, channel_axis=self.world.model.channel_axis, host=True)

    @property
    def queries(self) -> np.ndarray:
        """The inputs [N, S, ...] beside the clean ones, of a run in one block and one chunk."""
        assert len(self.x[0]) == N
        asked = np.concatenate(self.x[1:])
        return asked.reshape(N, -1, *asked.shape[1:])

    @property
    def classes(self) -> np.ndarray:
        """The classes [N, S] that were explained."""
        return np.concatenate(self.y[1:]).reshape(N, -1)


def ask_spy(row: str, m: Any, w: World, a: Any = None) -> tuple[Any, Spy]:
    """The outcome of a metric on a spy, and the spy; `a` for metrics that do not explain."""
    spy = Spy(w)
    explainer = je.Host(spy.explain) if ROWS[row].explains else None
    model = w.model if ROWS[row].explains else spy.model
    a = None if explainer else w.maps["smooth"] if a is None else a
    out = je.score(
        m, model, w.x, w.y, a, explainer=explainer, mask=w.mask, key=KEY, batch_size=8192
    )
    return out, spy
