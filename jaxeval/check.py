"""Validation of fields: errors name the field, the given value and what is expected.

A wrong type is a TypeError, a wrong value a ValueError. Tracers pass, as their values are unknown.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import sys
import warnings
from collections.abc import Callable, Iterable
from typing import Any

import jax
import numpy as np
from jax.core import Tracer

from .shown import count

TOKEN_BASELINES = ("mask", "pad", "delete")
"""Names of baselines of token ids: the ways of removing a token."""


@functools.partial(jax.tree_util.register_dataclass, data_fields=[], meta_fields=["fn"])
@dataclasses.dataclass(frozen=True)
class Function:
    """A function as the value of a field that also takes numbers and arrays."""

    fn: Callable[..., Any]


class CallError(ValueError):
    """A model that cannot be called in the way that it was given; the message says what to do."""


def foreign(model: Any) -> str | None:
    """For a model of another library: its kind and how to pass it; None for any callable."""
    kinds = [f"{k.__module__}." for k in type(model).__mro__]

    def of(*names: str) -> bool:
        return any(kind.startswith(names) for kind in kinds)

    name = type(model).__name__
    if of("torch.nn."):
        return (
            f"a torch module ({name}): give jaxeval_torch.from_torch(module, example), which "
            "converts it, or jaxeval_torch.wrap_torch(module), which runs it in torch"
        )
    if of("flax."):
        return f"a Flax module ({name}): give jaxeval.from_flax(module, variables)"
    if of("equinox."):
        return f"an Equinox module ({name}): give jaxeval.from_equinox(module)"
    if of("keras.", "tf_keras.", "tensorflow."):
        return (
            f"a Keras model ({name}): give jaxeval.from_keras(model) where Keras runs on JAX, else "
            "jaxeval.Model(lambda _, x: np.asarray(model(x, "
            'training=False)), {}, host=True, channel_axis=-1, outputs="probabilities"), with '
            'outputs="logits" where it does not end in a softmax'
        )
    if callable(model):
        return None
    if hasattr(model, "predict_proba"):
        return (
            f"an estimator ({name}): give jaxeval.from_sklearn(estimator), or "
            "jaxeval.Model(lambda _, x: estimator.predict_proba(x), {}, "
            'host=True, channel_axis=None, outputs="probabilities")'
        )
    if hasattr(model, "predict"):
        return (
            f"an estimator ({name}): give jaxeval.from_sklearn(estimator), or "
            "jaxeval.Model(lambda _, x: estimator.predict(x), {}, "
            'host=True, channel_axis=None, outputs="values")'
        )
    return None


def did_you_mean(name: Any, options: Iterable[Any]) -> str:
    """The end of an error message about an unknown name: the closest known names, if any.

    That is a name that is written nearly so, those that have these initials, or that contain it.

    >>> did_you_mean("Salency", ["Saliency"]), did_you_mean("shap", ["BlurIG", "KernelShap"])
    (". Did you mean 'Saliency'?", ". Did you mean 'KernelShap'?")
    """
    known = {o: o.replace("_", "").casefold() for o in options if isinstance(o, str)}
    given = str(name).replace("_", "").casefold()
    plain = {v: o for o, v in known.items()}
    initials = [o for o in known if "".join(filter(str.isupper, o)).casefold() == given]
    parts = [o for o, v in known.items() if len(given) > 2 and given in v]

    def near(least: float) -> list[str]:
        return [plain[v] for v in difflib.get_close_matches(given, plain, 1, least)]

    found = near(0.8) or initials or sorted(parts, key=len)[:3] or near(0.5)
    *others, last = map(repr, found or [""])
    return f". Did you mean {', '.join(others)}{' or ' * bool(others)}{last}?" if found else ""


FEW = 12
"""Maximum number of names that an error message lists."""


def among(names: Iterable[str], every: str, near: str = "") -> str:
    """Names in an error message: all of a few; of many, the nearest, and how to list all.

    >>> among(["a", "b"], "list(net.layers(x))")
    'a, b'
    """
    names = list(names)
    if len(names) <= FEW:
        return ", ".join(names)
    found = difflib.get_close_matches(near, names, FEW // 2, 0.0) if near else names[: FEW // 2]
    return f"{', '.join(found)}, ... ({len(names)} in all: {every})"


LAYERS = "list(model.layers(x))"
"""How to list all layers that an explainer may name."""


def no_layer(name: str, known: Iterable[str], every: str = LAYERS) -> str:
    """The message about an unknown name of a layer."""
    known = list(known)
    return (
        f"the model has no layer {name!r}, only {among(known, every, name)}"
        f"{did_you_mean(name, known)}"
    )


def one_of(owner: Any, name: str, options: Iterable[Any]) -> None:
    """Check that the field is one of the options: names, True, False or None."""
    value, options = getattr(owner, name), list(options)
    if not any(value is o or (isinstance(value, str) and value == o) for o in options):
        kind = ValueError if isinstance(value, str) else TypeError
        wanted = f"one of {', '.join(map(repr, options))}"
        raise kind(_message(owner, name, wanted) + did_you_mean(value, options))


def integer(owner: Any, name: str, least: int = 1, optional: bool = False) -> None:
    """Check that the field is an integer >= `least` (or None if `optional`)."""
    value = getattr(owner, name)
    if isinstance(value, Tracer) or (optional and value is None):
        return
    _numbers(owner, name, value, f"a whole number, at least {least}", "iu", 0, least)


def integers(owner: Any, name: str, least: int = 1, optional: bool = False) -> None:
    """Check that the field is a sequence of integers >= `least` (or None if `optional`)."""
    value = getattr(owner, name)
    if isinstance(value, Tracer) or (optional and value is None):
        return
    _numbers(owner, name, value, f"a list of whole numbers, each at least {least}", "iu", 1, least)


def sides(owner: Any, name: str) -> None:
    """Check that the field is None, a whole number >= 1, or a tuple of them, one per axis."""
    value = getattr(owner, name)
    if value is None:
        return
    if isinstance(value, (list, tuple)):
        integers(owner, name)
        object.__setattr__(owner, name, tuple(int(v) for v in value))
    else:
        integer(owner, name)


def real(
    owner: Any,
    name: str,
    above: float | None = None,
    least: float | None = None,
    most: float | None = None,
) -> None:
    """Check that the field is a finite number within the bounds (`above` is exclusive)."""
    value = getattr(owner, name)
    if isinstance(value, Tracer):
        return
    wanted = "a finite number" + _limits(above, least, most)
    _numbers(owner, name, value, wanted, "iuf", 0, least, above, most)


def reals(
    owner: Any,
    name: str,
    above: float | None = None,
    least: float | None = None,
    most: float | None = None,
) -> None:
    """Check that the field is a sequence of finite numbers within the bounds."""
    value = getattr(owner, name)
    if isinstance(value, Tracer) or any(isinstance(v, Tracer) for v in jax.tree.leaves(value)):
        return
    wanted = "a list of finite numbers" + _limits(above, least, most)
    _numbers(owner, name, value, wanted, "iuf", 1, least, above, most)


def _limits(above: float | None, least: float | None, most: float | None) -> str:
    bounds = {"above": above, "at least": least, "at most": most}
    limits = [f"{word} {bound:g}" for word, bound in bounds.items() if bound is not None]
    return " " + " and ".join(limits) if limits else ""


def instance(owner: Any, name: str, kind: type) -> None:
    """Check that the field is None or an instance of a class."""
    if getattr(owner, name) is not None and not isinstance(getattr(owner, name), kind):
        raise TypeError(_message(owner, name, f"a {kind.__name__} or None"))


def array(owner: Any, name: str) -> None:
    """Hold a list as an array: JAX would take each of its numbers for a value of its own."""
    if isinstance(given := getattr(owner, name), (list, tuple)):
        object.__setattr__(owner, name, np.asarray(given))


def draws(owner: Any, name: str, given: Any) -> None:
    """What the caller gives in place of random draws is an array [S, ...] of at least one draw."""
    if given is not None and (np.ndim(given) < 2 or np.shape(given)[0] < 1):
        raise ValueError(
            f"{type(owner).__name__}({name}=...) must be an array [S, ...] of S draws in the shape "
            f"of one sample, got the shape {np.shape(given)}"
        )


def warn(message: str) -> None:
    """Issue a UserWarning that points to the caller's line outside of jaxeval."""
    frame, level = sys._getframe(1), 2
    while frame.f_back and frame.f_globals.get("__name__", "").partition(".")[0] == "jaxeval":
        frame, level = frame.f_back, level + 1
    warnings.warn(message, UserWarning, stacklevel=level)


def baseline(owner: Any, name: str, options: Iterable[str]) -> None:
    """Check that the field is a baseline's name, a finite number or array, or a `Background`.

    Functions of a sample are held as `Function`, lists of numbers as arrays.
    """
    value, options = getattr(owner, name), (*options, *TOKEN_BASELINES)
    if isinstance(value, Function):
        return
    if callable(value) and not isinstance(value, type):
        object.__setattr__(owner, name, Function(value))
        return
    if (rows := getattr(value, "rows", None)) is not None:
        if not isinstance(rows, Tracer) and (np.ndim(rows) < 2 or not len(rows)):
            raise ValueError(_message(owner, name, "Background(rows) of samples [B, ...]"))
        return
    if isinstance(value, str):
        one_of(owner, name, options)
    elif not isinstance(value, Tracer):
        wanted = f"one of {', '.join(map(repr, options))}, a finite number, or an array of them"
        if isinstance(value, (list, tuple)):
            try:
                value = np.asarray(value)
            except ValueError:
                raise TypeError(_message(owner, name, wanted)) from None
        _numbers(owner, name, value, wanted, "iuf", None)
        object.__setattr__(owner, name, value)


def one_array(model: Any, owner: str) -> None:
    """Check that the model takes a single floating-point array, if it has an `example`."""
    example = getattr(model, "example", None)
    if getattr(model, "tokens", None) is not None:
        return
    if isinstance(example, tuple):
        shapes = ", ".join(str(list(part.shape)) for part in example)
        raise TypeError(
            f"{owner}: this model takes a tuple or dict of inputs (of the shapes {shapes} in its "
            "example), but explainers need a single array x [N, ...]. Inputs that are not "
            "explained belong to the rows of x: je.Model(lambda p, x, inputs: model.apply(p, (x, "
            'inputs["second"])), model.params), with inputs={"second": array} to evaluate. Inputs '
            "that are explained together can be concatenated into x and split again: "
            "model.apply(p, (x[:, :k], x[:, k:]))"
        )
    if example is not None and np.dtype(example.dtype).kind in "iub":
        what = f"{list(example.shape)} in its example"
        raise TypeError(f"{owner}: {takes_numbers(example.dtype, what)}")


def takes_numbers(dtype: Any, what: str) -> str:
    """The error message for a model of integer inputs, such as token ids."""
    return (
        f"this model takes whole numbers ({dtype}; {what}), such as token ids, but explainers need "
        "continuous inputs. Say what the ids are: Model(tokens=jaxeval.Tokens(...)), or "
        "from_torch(module, example, tokens=tokenizer). Other categories: split the module at its "
        "embedding, convert the rest, and give x = embedding(ids) [N, T, E]"
    )


def at_most_features(owner: Any, name: str, sample: Any) -> None:
    """Check that a number of features, or None, is not above that of a sample's attribution."""
    value = getattr(owner, name)
    if value is not None and value > sample.n_features:
        raise ValueError(
            f"{name}={int(value)} is larger than the "
            f"{count(sample.n_features, 'feature')} of the attribution, shape "
            f"{tuple(sample.features)}"
        )


def _numbers(
    owner: Any,
    name: str,
    value: Any,
    wanted: str,
    kinds: str,
    ndim: int | None,
    least: float | None = None,
    above: float | None = None,
    most: float | None = None,
) -> None:
    numbers = np.asarray(value)
    kind = "f" if numbers.dtype.name == "bfloat16" else numbers.dtype.kind
    if kind not in kinds or (ndim is not None and numbers.ndim != ndim):
        raise TypeError(_message(owner, name, wanted))
    good = np.isfinite(numbers) & (numbers.size > 0)
    if least is not None:
        good &= numbers >= least
    if above is not None:
        good &= numbers > above
    if most is not None:
        good &= numbers <= most
    if not np.all(good):
        raise ValueError(_message(owner, name, wanted))


def _message(owner: Any, name: str, wanted: str) -> str:
    return f"{type(owner).__name__}({name}={getattr(owner, name)!r}): {name} must be {wanted}"
