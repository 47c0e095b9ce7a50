"""Attribution by the first principal component of a layer's activations."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp

from .. import check
from ..model import Model
from ..trace import Graph
from ..types import pytree, static
from .cam import SignedCam

SIGNS = ("activation", "svd")


@pytree
class EigenCAM(SignedCam):
    """A layer's activations, projected on their first right singular vector.

    ``a = A v``, for a layer's output A as a matrix [places, channels] and v its first right
    singular vector, resized to the input. The map has one channel, and does not depend on the class
    y or on `output`. The sign of v is chosen so that the map agrees with the sum of the channels,
    ``Σ_p a_p Σ_k A_kp >= 0``; after a ReLU, the map is then non-negative. If the two largest
    singular values are nearly equal, v is not determined well.

    Muhammad & Yeasin 2020, "Eigen-CAM: Class Activation Map using Principal Components". grad-cam's
    `EigenCAM` is the same with ``centred=True, sign="svd", normalise="minmax"``, which is another
    map, of arbitrary sign.

    Args:
      layer, upsample, layer_channel_axis, rectify, normalise: as for `HiResCAM`.
      centred: whether the mean of each channel over the places is subtracted first.
      sign: "activation" as above; "svd" keeps that of the linear algebra library.

    >>> import jax.numpy as jnp, numpy as np
    >>> from jaxeval import Model
    >>> def apply(p, x):
    ...     return jax.lax.conv(x, p["conv"], (1, 1), "SAME").sum((2, 3))
    >>> net = Model(apply, {"conv": jnp.ones((1, 1, 1, 1))})
    >>> a = EigenCAM()(net, jnp.arange(4.0).reshape(1, 1, 2, 2), jnp.array([0]))
    >>> print(np.asarray(a).round(3))
    [[[[0. 1.]
       [2. 3.]]]]
    """

    rectify: bool = static(default=False)
    centred: bool = static(default=False)
    sign: str = static(default="activation")

    def __post_init__(self) -> None:
        super().__post_init__()
        check.one_of(self, "sign", SIGNS)

    def attribute(self, model: Model, x: jax.Array, y: jax.Array, keys: Any) -> jax.Array:
        a = self.activation(Graph(model, x), model, x)
        axis = self.axis(model, a.shape)
        places = jnp.moveaxis(a, axis, -1)
        m = places.reshape(len(a), -1, a.shape[axis])
        m = m - m.mean(1, keepdims=True) if self.centred else m
        if self.sign == "svd":
            v = jnp.linalg.svd(m, full_matrices=False)[2][:, 0]
        else:
            v = first_right(m)
        cam = jnp.einsum("npk,nk->np", m, v)
        if self.sign == "activation":
            agreement = jnp.einsum("np,np->n", cam, m.sum(2))
            cam = cam * jnp.where(agreement < 0, -1, 1)[:, None]
        cam = cam.reshape(*places.shape[:-1], 1)
        return self.finished(model, x, jnp.moveaxis(cam, -1, axis), axis)


def first_right(m: jax.Array) -> jax.Array:
    """The first right singular vectors [N, K] of matrices [N, P, K], up to their signs.

    From the first eigenvectors of the smaller of `mᵀ m` and `m mᵀ`. They lose nothing by the
    squares, as their value is the largest.
    """
    m = m.astype(jnp.promote_types(m.dtype, jnp.float32))
    largest = jnp.abs(m).max((1, 2), keepdims=True)
    m = m / jnp.where(largest > 0, largest, 1)  # so that squares do not underflow
    wide = m.shape[2] > m.shape[1]
    v = first_eigenvector(jnp.einsum("npk,nqk->npq" if wide else "npk,npl->nkl", m, m))
    return unit(jnp.einsum("npk,np->nk", m, v)) if wide else v


def first_eigenvector(square: jax.Array) -> jax.Array:
    """Of symmetric matrices [N, K, K] whose eigenvalues are not negative.

    By squaring the matrix until no other eigenvector is left in it, four times if the second value
    is a fifth of the first: many times faster than all eigenvectors, most of all on accelerators,
    and not less accurate.
    """
    eps = float(jnp.finfo(square.dtype).eps)
    most = 5 - round(math.log2(eps))  # of equal values, both vectors stay

    def of_trace_one(m: jax.Array) -> tuple[jax.Array, jax.Array]:
        trace = jnp.trace(m, axis1=1, axis2=2)[:, None, None]
        return m / jnp.where(trace > 0, trace, 1), trace

    def squared(state: Any) -> Any:
        m, several, i = state
        square, left = of_trace_one(jnp.einsum("nij,njk->nik", m, m))
        going = several & (left > 0) & (left < 1 - math.sqrt(eps))
        return jnp.where(several, square, m), going, i + 1

    several = jnp.ones((len(square), 1, 1), bool)
    begun = of_trace_one(square)[0], several, 0
    m = jax.lax.while_loop(lambda s: s[1].any() & (s[2] < most), squared, begun)[0]
    column = jnp.argmax(jnp.diagonal(m, axis1=1, axis2=2), 1)
    v = jnp.take_along_axis(m, column[:, None, None], 2)[:, :, 0]
    return unit(jnp.einsum("nij,nj->ni", square, v))  # without the rounding of the squares


def unit(v: jax.Array) -> jax.Array:
    """v [N, K] over its length, where that is not 0."""
    length = jnp.linalg.norm(v, axis=1, keepdims=True)
    return v / jnp.where(length > 0, length, 1)
