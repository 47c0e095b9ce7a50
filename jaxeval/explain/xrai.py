"""Attribution by regions of an image, added in the order of their mean attribution."""

from __future__ import annotations

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.core import Tracer

from .. import check
from ..lifetime import jit
from ..model import Model
from ..types import pytree, static
from .base import Explainer, is_traced
from .grouped import Segmenter
from .integrated_gradients import RULES, IntegratedGradients
from .smoothed import check_explainer

ALGORITHMS = ("full", "fast")
SIDE = 224
"""The side of the images for which the settings of the segmentation were chosen."""
SCALES = (50, 100, 150, 250, 500, 1200)
SIGMA, LEAST = 0.8, 150
"""The smoothing of the segmentation, and the least size of a segment."""
RADIUS, NEW = 5, 50
"""The radius by which segments are dilated, and the fewest new pixels of a region."""
MOST = 512
"""The largest number of regions that are found within `jax.jit`."""


@pytree
class XRAI(Explainer):
    """Regions of an image, added in the order of the mean attribution of their new pixels.

    Starting with no region, the one whose pixels that are not yet covered have the largest mean
    attribution is added, and these pixels get that mean; regions with fewer than `min_pixels` new
    ones are dropped. Pixels that are never covered get their own mean. The attribution of pixels is
    integrated gradients, averaged over two baselines (a black and a white image: the sample's least
    and largest value), and the largest over channels. Signed; the map has one channel, and the sum
    of the pixels' attributions.

    Kapishnikov et al. 2019, "XRAI: Better Attributions Through Regions". Equal to saliency's `XRAI`
    with ``method="endpoints", min_pixels=50, dilation=5`` (or the same segments).

    Args:
      segments: the regions, which may overlap: masks (booleans) [M, H, W] for all samples, or
        [N, M, H, W] where the explainer is called itself (`evaluate` takes its maps); the number of
        each pixel's segment (whole numbers) [H, W]; or a JAX function of one sample that returns
        masks [M, H, W]. None: six segmentations of each sample by Felzenszwalb's algorithm, as in
        the paper (needs scikit-image), which runs on the host.
      dilation: the radius of the disk by which these segments are dilated; None: 5 pixels for
        images of 224 x 224, as in the paper, and in proportion for others.
      explainer: of the pixels' attributions, an explainer or a JAX function
        ``(model, x, y, keys) -> a``, instead of integrated gradients.
      n_steps: number of quadrature nodes for each baseline; each costs one gradient of the batch.
      method: quadrature rule; see `IntegratedGradients`.
      min_pixels: the fewest new pixels of a region; None: 50 for images of 224 x 224, and in
        proportion for others.
      area: regions are added until they cover more than this share of the image.
      algorithm: "full" as above; "fast" adds regions in the order of their own mean attribution.

    >>> import jax.numpy as jnp
    >>> from jaxeval import Model
    >>> net = Model(lambda p, x: x.reshape(len(x), -1) @ jnp.array([[1.0], [2], [3], [4]]))
    >>> e = XRAI(segments=jnp.array([[0, 0], [1, 1]]), explainer=lambda m, x, y, keys: x)
    >>> e(net, jnp.arange(4.0).reshape(1, 1, 2, 2), jnp.array([0]))
    Array([[[[0.5, 0.5],
             [2.5, 2.5]]]], dtype=float32)
    """

    compiles_itself: ClassVar[bool] = True

    segments: Any = None
    dilation: int | None = static(default=None)
    explainer: Any = None
    n_steps: int = static(default=100)
    method: str = static(default="gausslegendre")
    min_pixels: Any = None
    area: Any = 1.0
    algorithm: str = static(default="full")

    def __post_init__(self) -> None:
        super().__post_init__()
        check.one_of(self, "method", RULES)
        check.one_of(self, "algorithm", ALGORITHMS)
        check.integer(self, "n_steps", 2 if self.method == "riemann_trapezoid" else 1)
        check.integer(self, "min_pixels", optional=True)
        check.integer(self, "dilation", least=0, optional=True)
        check.real(self, "area", least=0, most=1)
        if self.explainer is not None:
            check_explainer(self)
        given = self.segments
        if given is None or isinstance(given, (Segmenter, Tracer)):
            return
        if callable(given):
            object.__setattr__(self, "segments", Segmenter(fn=given))
            return
        given = np.asarray(given)
        if given.dtype.kind in "iu" and given.size:
            numbers = np.arange(given.min(), given.max() + 1)
            given = given == numbers.reshape(-1, *(1,) * given.ndim)
        if given.dtype.kind != "b" or given.ndim < 2:
            raise TypeError(
                f"{type(self).__name__}(segments=...) must be masks (booleans) [M, H, W] or "
                f"[N, M, H, W], whole numbers [H, W], or a function; got {given.dtype}"
                f"{list(given.shape)}"
            )
        object.__setattr__(self, "segments", given)

    def unchecked(self, model: Model, x: Any, y: Any, keys: Any) -> jax.Array:
        masks = self.masks(model, x)
        a = self.pixels(model, x, y, keys)
        return _regions(self, model, a, masks).astype(x.dtype)

    def attribute(self, model: Model, x: jax.Array, y: jax.Array, keys: Any) -> jax.Array:
        return self.unchecked(model, x, y, keys)

    def pixels(self, model: Model, x: Any, y: Any, keys: Any) -> jax.Array:
        """The attribution of pixels."""
        if self.explainer is not None:
            explain = getattr(self.explainer, "unchecked", self.explainer)
            return explain(model, x, y, keys)
        maps = [
            IntegratedGradients(
                output=self.output, n_steps=self.n_steps, method=self.method, baseline=b
            ).unchecked(model, x, y, keys)
            for b in ("black", "white")
        ]
        return (maps[0] + maps[1]) / 2

    def masks(self, model: Model, x: Any) -> Any:
        """The regions [N, M, H, W]."""
        channel = model.sample_channel_axis(x.ndim - 1)
        space = tuple(n for i, n in enumerate(x.shape[1:]) if i != channel)
        given = self.segments
        if given is None:
            if is_traced(x):
                return self._called_back(jnp.asarray(x), channel, space)
            given = segmented(np.asarray(x, np.float32), channel, self.dilation)
        elif isinstance(given, Segmenter):
            given = jax.vmap(given.fn)(jnp.asarray(x))
        if given.ndim == len(space) + 1:
            given = jnp.broadcast_to(given, (len(x), *given.shape))
        if given.shape[0] != len(x) or given.shape[2:] != space:
            raise ValueError(
                f"{type(self).__name__}(segments=...) must have the shape [M, "
                f"{', '.join(map(str, space))}], or [{len(x)}, M, ...] for {len(x)} samples, got "
                f"{list(given.shape)}. Segments of each sample go with a call of the explainer "
                "itself, explainer(model, x, y), whose maps `evaluate` takes"
            )
        return given

    def _called_back(self, x: jax.Array, channel: int | None, space: tuple[int, ...]) -> jax.Array:
        """The regions [N, MOST, H, W] of traced inputs."""

        def found(x: Any) -> np.ndarray:
            masks = segmented(np.asarray(x, np.float32), channel, self.dilation)
            if masks.shape[1] > MOST:
                raise ValueError(f"XRAI found over {MOST} segments in an image: give segments=")
            return np.pad(masks, ((0, 0), (0, MOST - masks.shape[1]), (0, 0), (0, 0)))

        shape = jax.ShapeDtypeStruct((len(x), MOST, *space), bool)
        return jax.pure_callback(found, shape, x, vmap_method="sequential")


@jit()
def _regions(xrai: XRAI, model: Model, a: jax.Array, masks: jax.Array) -> jax.Array:
    """The maps for attributions a of pixels, and masks [N, M, H, W]."""
    channel = model.sample_channel_axis(a.ndim - 1)
    a = a.astype(jnp.promote_types(a.dtype, jnp.float32))
    a = a if channel is None else a.max(channel + 1, keepdims=True)
    size = a[0].size
    least = xrai.min_pixels
    least = max(1, round(NEW * size / SIDE**2)) if least is None else least

    def one(a: jax.Array, masks: jax.Array) -> jax.Array:
        m = masks.reshape(len(masks), -1).astype(a.dtype)
        order = _own(a.ravel(), m) if xrai.algorithm == "fast" else None
        return _added(a.ravel(), m, least, xrai.area, order).reshape(a.shape)

    return jax.vmap(one)(a, masks)


def _own(a: jax.Array, masks: jax.Array) -> jax.Array:
    """The masks in the order of their own mean attribution, largest first."""
    counts = masks.sum(1)
    means = jnp.where(counts > 0, masks @ a / jnp.maximum(counts, 1), -jnp.inf)
    return jnp.argsort(-means, stable=True)


def _added(a: jax.Array, masks: jax.Array, least: Any, area: Any, order: Any) -> jax.Array:
    """The means [P] of new pixels, for masks [M, P] that are added one by one."""

    def add(i: Any, state: Any) -> Any:
        out, covered, left = state
        new = 1 - covered
        if order is None:
            counts = masks @ new
            left = left & (counts >= least)
            gains = jnp.where(left, masks @ (a * new) / jnp.maximum(counts, 1), -jnp.inf)
            which = gains.argmax()
            open_ = left[which] & (covered.mean() <= area)
        else:
            which = order[i]
            open_ = masks[which] @ new >= least
        pixels = masks[which] * new * open_
        mean = (a * pixels).sum() / jnp.maximum(pixels.sum(), 1)
        return jnp.where(pixels > 0, mean, out), covered + pixels, left.at[which].set(False)

    zeros = jnp.zeros_like(a)
    start = zeros, zeros, jnp.ones(len(masks), bool)
    out, covered, _ = lax.fori_loop(0, len(masks), add, start)
    rest = 1 - covered
    mean = (a * rest).sum() / jnp.maximum(rest.sum(), 1)
    return jnp.where(rest > 0, mean, out)


def segmented(x: np.ndarray, channel: int | None, dilation: int | None) -> np.ndarray:
    """The regions of each image of x [N, ...], as masks [N, M, H, W], the last of them empty."""
    found = [_segments(image, channel, dilation) for image in x]
    most = 2 ** (max(map(len, found)) - 1).bit_length()  # few shapes, so few compiled programs
    return np.stack([np.pad(m, ((0, most - len(m)), (0, 0), (0, 0))) for m in found])


def _segments(image: Any, channel: int | None, dilation: int | None) -> np.ndarray:
    """The regions of an image, from six segmentations."""
    try:
        from skimage.segmentation import felzenszwalb
        from skimage.transform import resize
    except ImportError as e:
        raise ImportError(
            "XRAI finds segments with scikit-image, which is not installed: "
            'pip install "jaxeval[image]", or give segments='
        ) from e
    from scipy.ndimage import binary_dilation

    image = image[..., None] if channel is None else np.moveaxis(image, channel, -1)
    if image.ndim != 3:
        raise ValueError(f"XRAI finds segments in images, and a sample has {image.ndim - 1} axes")
    space, width = image.shape[:2], np.ptp(image)
    image = (image - image.min()) / (width or 1) * 2 - 1
    shown: Any = resize(
        image, (SIDE, SIDE), order=3, mode="constant", preserve_range=True, anti_aliasing=True
    )
    masks = []
    for scale in SCALES:
        ids = felzenszwalb(shown, scale=scale, sigma=SIGMA, min_size=LEAST, channel_axis=-1)
        back: Any = resize(
            *(ids, space), order=0, preserve_range=True, mode="constant", anti_aliasing=False
        )
        ids = back.astype(int)
        masks += [ids == i for i in np.unique(ids)]
    if dilation is None:
        dilation = max(1, round(RADIUS * (space[0] * space[1]) ** 0.5 / SIDE))
    at = np.arange(-dilation, dilation + 1)
    disk = at[:, None] ** 2 + at**2 <= dilation**2
    return np.stack([binary_dilation(m, disk) for m in masks])
