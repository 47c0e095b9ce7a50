"""`Sweep`: the configuration of a sweep, from a file or in Python."""

from __future__ import annotations

import dataclasses
import functools
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from .. import data as embedded
from ..check import did_you_mean
from ..data.files import check_options
from ..data.sources import Columns, Source, open_source
from ..engine.options import PRECISIONS
from ..explain import EXPLAINERS
from ..metric import Metric
from ..metrics import METRICS
from ..ops import OUTPUTS
from .grid import SPEC, Grid, Setting, imported, load, named, value_of
from .lines import Find, Keys, SweepError, read_settings
from .meta_table import as_table, read_table


def _digits() -> dict[str, Any]:
    found = embedded.digits()
    return {"x": found.x_test, "y": found.y_test}


def _mosaics() -> dict[str, Any]:
    found = embedded.digits()
    made = embedded.mosaic(found.x_test, found.y_test, channel_axis=-1)
    return {"x": made.x, "y": made.y, "mask": made.mask}


MODELS: dict[str, Callable[[], Any]] = {"digits": embedded.digits_cnn}
DATA: dict[str, Callable[[], Any]] = {"digits": _digits, "digit mosaics": _mosaics}

REQUIRED = ("data", "explainers", "metrics", "output")


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Sweep:
    """Models x explainers x metrics x their settings x seeds, over a data set of any size.

    Args:
      data: what `jaxeval.data.open_source` takes: arrays (x, y), a dict of arrays, a path, a
        data set, an iterable; or the source that it returns.
      model: a `Model` or a function, "digits", ``"package.module:function"`` for a function that
        returns a model, a `Grid` of such a function; or {name: one of these} for several models.
      explainers: {name: explainer}; an explainer as for `evaluate`, its class, or a `Grid`.
      metrics: {name: metric}, likewise.
      output: the folder for the scores.
      seeds: random seeds; each is a separate run.
      batch_size: as for `evaluate`. It may change when a sweep is resumed.
      shard_size: number of samples computed and written together.
      class_score: the score of class y, `evaluate`'s `output`. A metric's own `output` takes
        precedence.
      precision, background, reduce_channels: as for `evaluate`.
      meta: by which perturbations ``jaxeval meta`` tests the metrics: a dict with arguments of
        `meta_evaluate` (tests, n_perturbations, groups, seeds, controls).

    A folder can only be resumed with the sweep that began it: everything that scores depend on is
    compared, including closures, defaults and globals of functions and the state of objects. Wrap
    functions with unreadable state as ``je.Described(fn, fingerprint="v1")``.

    Raises:
      SweepError: an invalid configuration, before anything runs.

    >>> import jaxeval as je, numpy as np
    >>> sweep = Sweep(
    ...     data=np.zeros((8, 4), np.float32), model=lambda x: x, output="scores",
    ...     explainers={"x": je.explain.InputXGradient()},
    ...     metrics={"flip": je.Grid(je.PixelFlipping, n_steps=[2, 4])},
    ... )
    >>> list(sweep.metric_settings)
    ['flip(n_steps=2)', 'flip(n_steps=4)']
    """

    data: Any
    model: Any
    explainers: Any
    metrics: Any
    output: str | os.PathLike[str]
    seeds: Any = (0,)
    batch_size: int | None = None
    shard_size: int = 256
    class_score: Any = None
    precision: str = "highest"
    background: Any = None
    reduce_channels: str | None = None
    meta: Any = None
    find: Find | None = dataclasses.field(default=None, repr=False)
    """Finds the line of a setting, for a sweep from a file."""
    file: Path | None = None

    def __post_init__(self) -> None:
        seeds = self.seeds
        if isinstance(seeds, int) and not isinstance(seeds, bool):
            seeds = (seeds,)
        if not isinstance(seeds, (tuple, list, range)) or not seeds or not all(map(_seed, seeds)):
            raise SweepError(f"seeds must be integers >= 0, got {seeds!r}", ("seeds",))
        if len(set(seeds)) < len(seeds):
            raise SweepError(f"seeds has duplicates: {list(seeds)}", ("seeds",))
        object.__setattr__(self, "seeds", tuple(map(int, seeds)))
        object.__setattr__(self, "output", Path(self.output))
        for name in ("batch_size", "shard_size"):
            value = getattr(self, name)
            whole = isinstance(value, int) and not isinstance(value, bool) and value >= 1
            if not whole and not (name == "batch_size" and value is None):
                raise SweepError(f"{name} must be an integer >= 1, got {value!r}", (name,))
        if self.class_score is not None and not callable(self.class_score):
            _one_of("class_score", self.class_score, OUTPUTS)
        _one_of("precision", self.precision, PRECISIONS)
        object.__setattr__(self, "meta", as_table(self.meta))
        _ = self.explainer_settings, self.metric_settings  # raises errors now

    @functools.cached_property
    def explainer_settings(self) -> dict[str, Setting]:
        """{name: explainer}, one for every combination of settings."""

        def fits(made: Any) -> str | None:
            good = callable(made) or (hasattr(made, "shape") and hasattr(made, "dtype"))
            return None if good else "an explainer: a callable or an array of attributions"

        return _expanded("explainers", self.explainers, fits)

    @functools.cached_property
    def metric_settings(self) -> dict[str, Setting]:
        """{name: metric}, one for every combination of settings."""

        def fits(made: Any) -> str | None:
            return None if isinstance(made, Metric) else "a jaxeval metric"

        return _expanded("metrics", self.metrics, fits)

    @functools.cached_property
    def models(self) -> dict[str, Any]:
        """{name: model}, loaded."""
        given = self.model
        if not isinstance(given, Mapping):
            name = given if isinstance(given, str) else "model"
            given = {name: given}
        found: dict[str, Any] = {}
        for name, one in given.items():
            path = ("models", name) if isinstance(self.model, Mapping) else ("model",)
            if isinstance(one, str):
                one = Grid(named(one, MODELS, path, "model"))
            if not isinstance(one, Grid):
                found[name] = one
                continue
            for own, setting in one.expand(name, path).items():
                found[own] = setting.made
        for name, made in found.items():
            if not callable(made):
                raise SweepError(
                    f"model {name!r} must be a jaxeval.Model or a function, got "
                    f"{type(made).__name__}",
                    ("models", name) if isinstance(self.model, Mapping) else ("model",),
                )
        if not found:
            raise SweepError("models is empty: give at least one", ("models",))
        return found

    @functools.cached_property
    def source(self) -> Source:
        """The data set, opened."""
        given = self.data
        if isinstance(given, str) and given in DATA:
            given = DATA[given]
        try:
            return open_source(given)
        except SweepError:
            raise
        except (TypeError, ValueError, OSError) as e:
            raise SweepError(f"data: {e}", ("data",)) from e

    def located(self, e: SweepError) -> SweepError:
        """The error with its line in the file, for a sweep from a file."""
        if self.file is None or self.find is None:
            return e
        return e.at(self.file, self.find(e.path))

    @classmethod
    def from_file(cls, path: str | os.PathLike[str]) -> Sweep:
        """Read a sweep from a TOML or YAML file; paths in it are relative to its folder.

        Raises:
          SweepError: an invalid configuration; the message gives the line.
          FileNotFoundError: there is no such file.
        """
        path = Path(path)
        settings, find = read_settings(path)
        folder = str(path.resolve().parent)
        for place in (folder, os.getcwd()):  # the user's modules with models and data
            if place not in sys.path:
                sys.path.append(place)
        try:
            return cls(**_arguments(settings, Path(folder)), find=find, file=path)
        except SweepError as e:
            raise e.at(path, find(e.path)) from e


def _arguments(settings: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    known = [f.name for f in dataclasses.fields(Sweep) if f.name not in ("find", "file")]
    known += ["models", "import"]
    for key in settings:
        if key not in known:
            raise SweepError(f"a sweep has no key {key!r}{did_you_mean(key, known)}", (key,))
    for key in REQUIRED:
        if key not in settings:
            raise SweepError(f"the key {key!r} is missing")
    _import(settings.get("import", []))
    if ("model" in settings) == ("models" in settings):
        raise SweepError("give either 'model' (one) or 'models' (several)")
    rest = {
        k: v
        for k, v in settings.items()
        if k not in ("import", "data", "model", "models", "explainers", "metrics", "output")
    }
    if not isinstance(settings["output"], str):
        raise SweepError("output must be the name of a folder", ("output",))
    if isinstance(score := rest.get("class_score"), dict):
        rest["class_score"] = value_of(score, folder, ("class_score",))
    if "background" in rest:
        rest["background"] = value_of(rest["background"], folder, ("background",))
    if "meta" in rest:
        rest["meta"] = read_table(rest["meta"], folder)
    return {
        **rest,
        "output": (folder / settings["output"]).resolve(),
        "data": _read_data(settings["data"], folder),
        "model": _read_models(settings, folder),
        "explainers": _read_grids(settings["explainers"], EXPLAINERS, "explainers", folder),
        "metrics": _read_grids(settings["metrics"], METRICS, "metrics", folder),
    }


def _import(given: Any) -> None:
    """Import modules, which registers their classes with `@jaxeval.register`."""
    modules = [given] if isinstance(given, str) else given
    if not isinstance(modules, list) or not all(isinstance(m, str) for m in modules):
        raise SweepError(f"import must be a list of module names, got {given!r}", ("import",))
    for module in modules:
        imported(module, ("import",))


def _read_grids(given: Any, known: Mapping[str, Any], what: str, folder: Path) -> dict[str, Any]:
    if isinstance(given, list):
        for i, name in enumerate(given):
            if not isinstance(name, str):
                raise SweepError(f"{what} must be names or a table, got {name!r}", (what, i))
            if given.count(name) > 1:
                raise SweepError(f"{what} has {name!r} twice", (what, i))
        given = {name: {} for name in given}
    if not isinstance(given, dict) or not given:
        raise SweepError(f"{what} must be a list of names or a table of tables", (what,))
    found = {}
    for name, settings in given.items():
        path = (what, name)
        if isinstance(settings, str):
            settings = {"class": settings}
        if not isinstance(settings, dict):
            raise SweepError(f"{name} must be a table of its settings, got {settings!r}", path)
        if ("import" in settings or "file" in settings) and "class" not in settings:
            found[name] = value_of(settings, folder, path)
            continue
        spec = settings.get("class", name)
        make = named(spec, known, (*path, "class"), what.removesuffix("s"))
        found[name] = Grid(make, **_read_values(settings, folder, path))
    return found


def _read_values(settings: Mapping[str, Any], folder: Path, path: Keys) -> dict[str, Any]:
    """The settings in a table; the outermost list of each stays a list, i.e. a grid."""

    def read(key: str, value: Any) -> Any:
        if isinstance(value, list):
            return [value_of(v, folder, (*path, key, i)) for i, v in enumerate(value)]
        return value_of(value, folder, (*path, key))

    return {k: read(k, v) for k, v in settings.items() if k not in ("class", "factory")}


def _read_models(settings: Mapping[str, Any], folder: Path) -> Any:
    def one(given: Any, path: Keys) -> Any:
        if isinstance(given, str):
            if given not in MODELS and not SPEC.fullmatch(given):
                named(given, MODELS, path, "model")
            return given
        if not isinstance(given, dict) or "factory" not in given:
            raise SweepError(
                'a model must be a name, model = "package.module:function", or a table with the '
                "key factory and the function's arguments",
                path,
            )
        make = named(given["factory"], MODELS, (*path, "factory"), "model")
        return Grid(make, **_read_values(given, folder, path))

    if "model" in settings:
        return one(settings["model"], ("model",))
    if not isinstance(settings["models"], dict) or not settings["models"]:
        raise SweepError("models must be a table with a name for each", ("models",))
    return {name: one(given, ("models", name)) for name, given in settings["models"].items()}


def _read_data(given: Any, folder: Path) -> Any:
    options: dict[str, Any] = {}
    if isinstance(given, dict):
        options = {k: v for k, v in given.items() if k != "source"}
        given = given.get("source")
    if not isinstance(given, str):
        raise SweepError(
            'data must be a name or path, data = "digits", or a table with the key source',
            ("data",),
        )
    for key, value in options.items():
        if isinstance(value, list):
            options[key] = tuple(value)
    if isinstance(transform := options.get("transform"), str):
        options["transform"] = load(transform, ("data", "transform"))
    columns = [f.name for f in dataclasses.fields(Columns)]
    if given in DATA or SPEC.fullmatch(given):
        make = DATA[given] if given in DATA else load(given, ("data", "source"))
        known = [*columns, "limit", "batched"]
        for key in options:
            if key not in known:
                raise SweepError(
                    f"data has no option {key!r}{did_you_mean(key, known)}", ("data", key)
                )
        return functools.partial(open_source, make, **options)
    path = folder / given
    if not path.exists():
        raise SweepError(
            f"there is no data {given!r}: neither {path}, nor one of {', '.join(DATA)}"
            f"{did_you_mean(given, DATA)}",
            ("data", "source"),
        )
    try:
        check_options(path, options)
    except ValueError as e:
        unknown = next(k for k in options if repr(k) in str(e))
        raise SweepError(str(e), ("data", unknown)) from e
    return functools.partial(open_source, path, **options)


def _expanded(what: str, given: Any, refuse: Callable[[Any], str | None]) -> dict[str, Setting]:
    if not isinstance(given, Mapping) or not given:
        raise SweepError(f"{what} must be a dict {{name: {what.removesuffix('s')}}}", (what,))
    found: dict[str, Setting] = {}
    for name, one in given.items():
        path = (what, name)
        grid = Grid(one) if isinstance(one, type) else one
        if isinstance(grid, Grid):
            settings = grid.expand(name, path)
        else:
            settings = {name: Setting(name, name, {}, one)}
        for own, setting in settings.items():
            if own in found:
                raise SweepError(f"{what} has the name {own!r} twice", path)
            if (wanted := refuse(setting.made)) is not None:
                raise SweepError(
                    f"{own!r} must be {wanted}, got {type(setting.made).__name__}", path
                )
            found[own] = setting
    return found


def _one_of(name: str, value: Any, options: Any) -> None:
    if value not in options:
        raise SweepError(
            f"{name}={value!r}: must be one of {', '.join(map(repr, options))}"
            f"{did_you_mean(value, options)}",
            (name,),
        )


def _seed(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**32
