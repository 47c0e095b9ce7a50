"""What a caller gives, checked before anything is compiled: each error says what to mend."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.sharding import Mesh

from ..check import did_you_mean
from ..classes import check_classes
from ..metric import Metric, asks_of, bind, check_class
from ..model import Model
from ..ops import OUTPUTS
from .ask import Source, as_model, as_source
from .run import NO_PREDICTION, Data

PRECISIONS = ("highest", "fast")


def read_x(x: Any) -> np.ndarray:
    """The inputs [N, ...]: finite floating-point numbers."""
    if isinstance(x, Mapping) or (isinstance(x, tuple) and any(np.ndim(v) > 1 for v in x)):
        raise TypeError(
            f"x must be one array [N, ...], got a {type(x).__name__} of {len(x)}: stack samples; "
            "what else the model takes belongs into the model, a function of x alone"
        )
    x = _array("x", x)
    if x.ndim < 2 or 0 in x.shape:
        raise ValueError(f"x must be a batch [N, ...] with N >= 1, got shape {list(x.shape)}")
    if not jnp.issubdtype(x.dtype, jnp.floating):
        raise TypeError(
            f"x must be floating-point, got {x.dtype}: convert numbers that mean amounts (pixels, "
            "columns of a table), x.astype('float32'); of categories, such as token ids, explain "
            "the embeddings that the model looks up, x = embedding(ids) [N, T, E]"
        )
    x = x.astype(jax.dtypes.canonicalize_dtype(x.dtype), copy=False)
    _finite("x", x)
    return x


def read_y(y: Any, n: int) -> np.ndarray | None:
    """The classes to explain [N], or None for the predicted ones."""
    if y is None:
        return None
    y = _array("y", y)
    if y.shape != (n,):
        raise ValueError(f"y must have one class for each of the {n} samples, got {list(y.shape)}")
    if y.dtype.kind not in "iu":
        raise TypeError(f"y must hold integer classes, got {y.dtype}")
    if y.min() < 0:
        raise ValueError(f"y must hold classes from 0 on, got {y.min()}")
    if y.max() > np.iinfo(np.int32).max:
        raise ValueError(f"y holds {y.max()}, which is no class")
    return y.astype(np.int32)


def read_data(x: Any, y: Any, mask: Any, index: Any, extras: Any, padding: Any = None) -> Data:
    """The whole data set."""
    x = read_x(x)
    n = len(x)
    if index is None:
        index = np.arange(n)
    index = _array("index", index)
    if index.shape != (n,) or index.dtype.kind not in "iu":
        raise ValueError(
            f"index must be one integer id for each of the {n} samples, got "
            f"{index.dtype}{list(index.shape)}"
        )
    if index.min() < 0 or index.max() >= 2**32:
        raise ValueError(f"index must lie in 0..2**32 - 1, got {index.min()}..{index.max()}")
    return Data(
        x=x,
        y=read_y(y, n),
        index=index.astype(np.uint32),
        mask=None if mask is None else _read_mask("mask", mask, n),
        padding=None if padding is None else _read_padding(padding, n),
        extras={k: _rows(f"extras[{k!r}]", v, n) for k, v in (extras or {}).items()},
    )


def _read_padding(padding: Any, n: int) -> np.ndarray:
    padding = _read_mask("padding", padding, n)
    full = padding.reshape(n, -1).all(1)
    if full.any():
        raise ValueError(
            f"padding is all that {int(full.sum())} samples have, the first of them sample "
            f"{int(full.argmax())}: it must be True at padding and False at features"
        )
    return padding


def _read_mask(name: str, mask: Any, n: int) -> np.ndarray:
    mask = _rows(name, mask, n)
    if mask.dtype.kind == "b":
        return mask
    if mask.dtype.kind in "iuf" and np.isin(mask, (0, 1)).all():
        return mask.astype(bool)
    raise ValueError(f"{name} must be boolean (or hold only 0 and 1), got {mask.dtype}")


def _rows(name: str, v: Any, n: int) -> np.ndarray:
    v = _array(name, v)
    if v.ndim < 1 or len(v) != n:
        raise ValueError(
            f"{name} must have one row for each of the {n} samples, got {list(v.shape)}"
        )
    return v


def _array(name: str, v: Any) -> np.ndarray:
    if isinstance(v, Tracer):
        raise TypeError(
            f"{name} is a tracer: this function drives whole data sets from the host; inside jit, "
            "vmap or grad use jaxeval.as_function"
        )
    try:
        v = np.asarray(v)
    except Exception as e:
        raise TypeError(f"{name} must be an array, got {type(v).__name__} ({e})") from e
    if v.dtype.kind not in "biufV":  # V: bfloat16 and its kin
        raise TypeError(f"{name} must be a numeric array, got dtype {v.dtype}")
    return v


def _finite(name: str, v: np.ndarray) -> None:
    bad = ~np.isfinite(v.astype(np.float32) if v.dtype.kind == "V" else v)
    if bad.any():
        row = int(np.argwhere(bad)[0][0])
        raise ValueError(
            f"{name} holds {int(bad.sum())} NaN or infinite values, the first in sample {row}"
        )


def read_output(output: Any, kind: str) -> Any:
    """What a "score of the class" is by default: a probability, or the value of a model of values.

    Args:
      kind: what the model's outputs are.
    """
    if output is None:
        return "value" if kind == "values" else "probability"
    if not callable(output) and output not in OUTPUTS:
        raise ValueError(
            f"output={output!r}: must be one of {', '.join(map(repr, OUTPUTS))} or a function "
            f"(outputs, y) -> value{did_you_mean(output, OUTPUTS)}"
        )
    return output


def bind_all(metrics: Mapping[str, Metric], output: Any, model: Model, x: Any) -> dict[str, Metric]:
    """The metrics for the model and the run's output."""
    n = None if model.host else model.traced(x).shape[-1]
    bound = {}
    for name, metric in metrics.items():
        if metric.of_classes and (model.outputs == "values" or (n == 1 == model.n_classes(x))):
            raise ValueError(
                f"metric {name!r} ({type(metric).__name__}) looks at the predicted class, and "
                + (
                    "a model of plain values predicts none"
                    if model.outputs == "values"
                    else 'the model has one output: give Model(outputs="binary") where it is the '
                    "logit of class 1"
                )
            )
        try:
            bound[name] = bind(metric, output, model.outputs, n)
        except ValueError as e:
            raise ValueError(f"metric {name!r}: {e}") from e
    return bound


def read_metrics(metrics: Any, masked: bool) -> dict[str, Metric]:
    """{name: metric}."""
    out = {}
    for name, metric in named("metrics", metrics).items():
        if isinstance(metric, type) and issubclass(metric, Metric):
            raise TypeError(
                f"metric {name!r} is the class {metric.__name__}: give an instance, "
                f"{metric.__name__}()"
            )
        if not isinstance(metric, Metric):
            raise TypeError(
                f"metric {name!r} must be a jaxeval metric, got {type(metric).__name__}"
            )
        if "mask" in metric.needs and not masked:
            raise ValueError(
                f"metric {name!r} compares attributions with where the object is: give mask=, "
                "bool [N, ...] in the attributions' shape"
            )
        try:
            check_class(metric)
        except (TypeError, ValueError) as e:
            raise type(e)(f"metric {name!r}: {e}") from e
        out[name] = metric
    return out


def named(what: str, given: Any) -> dict[str, Any]:
    """A mapping as it is; a list under its items' class names."""
    if isinstance(given, Mapping):
        given = dict(given)
    elif isinstance(given, (list, tuple)):
        names = [v.__name__ if isinstance(v, type) else type(v).__name__ for v in given]
        twice = sorted({n for n in names if names.count(n) > 1})
        if twice:
            raise ValueError(f"{what} has more than one {twice[0]}: give a dict with a name each")
        given = dict(zip(names, given, strict=True))
    else:
        raise TypeError(
            f"{what} must be a dict {{name: {what.rstrip('s')}}}, got {type(given).__name__}"
        )
    if not given:
        raise ValueError(f"{what} is empty")
    for name in given:
        _check_name(what, name)
    return given


def _check_name(what: str, name: Any) -> None:
    """A name is text that a file can hold."""
    if not isinstance(name, str):
        raise TypeError(
            f"{what} must be named by text, which results are saved under, got the name {name!r} "
            f"({type(name).__name__}): give {str(name)!r}, say"
        )
    if not name.strip():
        raise ValueError(f"{what} has the empty name {name!r}: give it one")
    try:
        name.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{what} has the name {name!r}, which is no valid Unicode text") from None


def read_sources(
    explainers: Any, model: Model, data: Data, stored: Mapping[str, Any] | None = None
) -> dict[str, Source]:
    """{name: source}; `stored` gives clean maps of explainers that are otherwise asked."""
    x, n = data.x, len(data.x)
    sources = {}
    for name, given in named("explainers", explainers).items():
        source = as_source(name, given, model, jax.ShapeDtypeStruct(x.shape[1:], x.dtype))
        maps = (stored or {}).get(name, source.stored)
        if maps is not None:
            label = f"the attributions of explainer {name!r}"
            maps = _rows(label, maps, n)
            if source.features is not None and source.features != maps.shape[1:]:
                raise ValueError(
                    f"{label} have the shape {list(maps.shape)}, but the explainer makes maps of "
                    f"shape {list(source.features)}"
                )
            maps = maps.astype(jnp.promote_types(x.dtype, jnp.float32))
            source = dataclasses.replace(source, stored=maps, features=maps.shape[1:])
        sources[name] = source
    return sources


def refuse_padding(name: str, metric: Metric) -> None:
    """A metric and its questions can leave out padding."""
    for what in (metric, *asks_of(metric)):
        if not what.takes_padding:
            raise ValueError(
                f"metric {name!r} takes no padding: with these settings "
                f"{type(what).__name__} cannot leave it out, and would count it"
            )


def check_pairs(
    metrics: Mapping[str, Metric], sources: Mapping[str, Source], model: Model, data: Data
) -> None:
    """Each metric can be had of each explainer, the model and the data set."""
    for m, metric in metrics.items():
        if data.padding is not None:
            refuse_padding(m, metric)
        if "hidden" in metric.asks and (model.host or model.hidden is None):
            raise ValueError(
                f"metric {m!r} looks at hidden layers: give Model(hidden=...), a function "
                "(params, x) -> (logits, {layer: activations})"
            )
        changes = any(p.changes_params for p in asks_of(metric))
        if changes and model.host:
            raise ValueError(
                f"metric {m!r} changes the model's parameters, which a host model does not show"
            )
        for e, source in sources.items():
            if "attribution" in metric.asks and source.explainer is None:
                raise ValueError(
                    f"metric {m!r} explains changed inputs or models, but explainer {e!r} is an "
                    "array of attributions: give the explainer itself"
                )
            if changes and source.eager:
                raise ValueError(
                    f"metric {m!r} changes the model's parameters, but explainer {e!r} is a host "
                    "callable, which may go on explaining the unchanged model: give a traceable "
                    "explainer"
                )


def read_key(key: Any) -> Any:
    """A typed JAX key, from a seed or a key of either kind."""
    if isinstance(key, (int, np.integer)):
        return jax.random.key(int(key))
    if isinstance(key, (jax.Array, np.ndarray)):
        if jnp.issubdtype(key.dtype, jax.dtypes.prng_key) and key.shape == ():
            return key
        if key.dtype == jnp.uint32 and key.ndim == 1:
            return jax.random.wrap_key_data(jnp.asarray(key))
    raise TypeError(f"key must be an integer seed or one JAX random key, got {key!r}")


def read_batch_size(batch_size: Any) -> int | None:
    """A positive integer, or None."""
    if batch_size is None:
        return None
    if (
        isinstance(batch_size, bool)
        or not isinstance(batch_size, (int, np.integer))
        or batch_size < 1
    ):
        raise ValueError(f"batch_size must be a positive integer or None, got {batch_size!r}")
    return int(batch_size)


def read_mesh(mesh: Any) -> Mesh:
    """A mesh of one axis over the given one's devices; the default device where none is given."""
    if mesh is None:
        default = getattr(jax.config, "jax_default_device", None)
        device = (
            default if isinstance(default, jax.Device) else jax.local_devices(backend=default)[0]
        )
        devices = np.array([device])
    elif isinstance(mesh, Mesh):
        devices = mesh.devices.reshape(-1)
    else:
        raise TypeError(f"mesh must be a jax.sharding.Mesh, got {type(mesh).__name__}")
    return Mesh(devices, ("data",))


def read_precision(precision: str) -> str:
    if precision not in PRECISIONS:
        raise ValueError(
            f"precision={precision!r}: must be one of {', '.join(map(repr, PRECISIONS))}"
            f"{did_you_mean(precision, PRECISIONS)}"
        )
    return precision


def read_model(
    model: Any, x: np.ndarray, y: np.ndarray | None, outputs: str | None = None
) -> Model:
    """The model; its number of classes covers y, where tracing tells it.

    Args:
      outputs: what a function gives.
    """
    spec = jax.ShapeDtypeStruct(x.shape[1:], x.dtype)
    model = as_model(model, spec, outputs)
    if not model.host:
        k = model.n_classes(spec)
        if y is not None:
            check_classes(y, k)
        elif model.outputs == "values" and k > 1:
            raise ValueError(NO_PREDICTION.format(k))
    return model
