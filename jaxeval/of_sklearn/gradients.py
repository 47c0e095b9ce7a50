"""Functions whose gradients say nothing: derivatives of them are refused."""

from __future__ import annotations

from typing import Any

from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

INSTEAD = (
    "use an explainer that needs outputs only, such as KernelShap, ShapleyValueSampling, "
    "FeatureAblation, Occlusion or Lime, or stored SHAP values"
)


# A primitive rather than `jax.custom_jvp`: methods that follow a traced model operation by
# operation (LRP, DeepLift) see it, too.
_opaque = Primitive("without_gradients")
_opaque.def_impl(lambda x, why: x)
_opaque.def_abstract_eval(lambda x, why: x)
mlir.register_lowering(_opaque, lambda _, x, why: [x])
batching.defvectorized(_opaque)


def _refused(*_: Any, why: str) -> Any:
    raise TypeError(why)


ad.primitive_jvps[_opaque] = _refused


def without_gradients(x: Any, why: str) -> Any:
    """x itself, whose derivatives are refused."""
    return _opaque.bind(x, why=f"{why}: {INSTEAD}")
