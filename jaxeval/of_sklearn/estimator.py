"""A fitted estimator as a function on the host, and what is known of it."""

from __future__ import annotations

import dataclasses
import importlib
import json
from typing import Any, ClassVar

import numpy as np

from ..lifetime import Wrapper

OF_NUMBERS = (
    "If it was fitted on text or categories, explain what it makes of them: encode first, "
    "x = pipeline[:-1].transform(frame), and give from_sklearn(pipeline[-1], x); for LightGBM's "
    "and XGBoost's own categories of a data frame, give their codes, frame[column].cat.codes; or "
    "give a function of numbers, jaxeval.Model(lambda _, x: ..., {}, host=True, channel_axis=None, "
    "outputs=...)"
)


@dataclasses.dataclass(frozen=True, eq=False)
class Estimator(Wrapper):
    """A fitted estimator as a host function of x [N, F] -> outputs [N, K]."""

    HOLDS: ClassVar[str] = "of"
    of: Any

    @property
    def name(self) -> str:
        return type(self.last).__name__

    @property
    def last(self) -> Any:
        """The last step of a pipeline; else the estimator."""
        return self.of.steps[-1][1] if hasattr(self.of, "steps") else self.of

    @property
    def booster(self) -> Any:
        """An XGBoost booster, of XGBoost's own or of its estimators; or None."""
        if not type(self.last).__module__.startswith("xgboost."):
            return None
        return self.last.get_booster() if hasattr(self.last, "get_booster") else self.last

    @property
    def lightgbm(self) -> Any:
        """A LightGBM booster, of LightGBM's own or of its estimators; or None."""
        if not type(self.last).__module__.startswith("lightgbm."):
            return None
        return getattr(self.last, "booster_", self.last)

    @property
    def is_booster(self) -> bool:
        """Whether it is a booster itself, and no estimator."""
        return self.of is self.booster or self.of is self.lightgbm

    @property
    def kind(self) -> str:
        if self.method == "predict" and self.labels is not None:
            return "probabilities"
        several = isinstance(getattr(self.of, "classes_", None), list)
        several = several or getattr(self.last, "multilabel_", False) or self.n_targets > 1
        return "probabilities" if hasattr(self.of, "predict_proba") and not several else "values"

    @property
    def labels(self) -> np.ndarray | None:
        """All that `predict` may return [K], if it returns labels."""
        found = getattr(self.of, "classes_", None)
        if found is None and (centres := getattr(self.of, "cluster_centers_", None)) is not None:
            found = np.arange(len(centres))
        return None if found is None or np.ndim(found) != 1 else np.asarray(found)

    @property
    def feature_names(self) -> tuple[str, ...] | None:
        found = getattr(self.of, "feature_names_in_", None)
        if self.of is self.booster:
            found = self.booster.feature_names
        elif self.of is self.lightgbm:
            found = self.lightgbm.feature_name()
        names = None if found is None else tuple(map(str, found))
        # LightGBM makes names for arrays.
        made = self.lightgbm is not None and names == tuple(
            f"Column_{i}" for i in range(len(names or ()))
        )
        return None if made else names

    @property
    def n_features(self) -> int | None:
        found = getattr(self.of, "n_features_in_", None)
        if self.of is self.booster:
            return int(self.booster.num_features())
        if self.of is self.lightgbm:
            return int(self.lightgbm.num_feature())
        return None if found is None else int(found)

    @property
    def classes(self) -> tuple[Any, ...] | None:
        found = getattr(self.of, "classes_", None)
        if found is None or isinstance(found, list) or np.ndim(found) != 1:
            return None
        found = [v.item() if isinstance(v, np.generic) else v for v in found]
        whole = [int(v) if isinstance(v, float) and v.is_integer() else v for v in found]
        if any(not isinstance(v, (str, int)) for v in whole):
            return None
        return None if whole == list(range(len(whole))) else tuple(whole)

    def __call__(self, params: Any, x: Any) -> np.ndarray:
        return self.predict(x)

    def predict(self, x: Any) -> np.ndarray:
        """Its own predictions [N, K], in float32.

        Raises:
          ValueError: it does not take the rows, which are numbers.
        """
        # Steps before it compute in float64 then, as for the rows that it was fitted on.
        x = np.asarray(x, np.float64)
        try:
            found = self._predict(x)
        except Exception as e:
            raise ValueError(
                f"{self.name} failed on rows of numbers [{len(x)}, {x.shape[1]}]: "
                f"{type(e).__name__}: {str(e).strip().splitlines()[0] if str(e) else ''}. "
                f"{OF_NUMBERS}"
            ) from e
        if isinstance(found, list):
            raise ValueError(
                f"{self.name} has several classifications as outputs: explain one at a time, with "
                "jaxeval.Model(lambda _, x: estimator.predict_proba(x)[0], {}, host=True, "
                'channel_axis=None, outputs="probabilities")'
            )
        found = np.asarray(found, np.float32)
        return found[:, None] if found.ndim == 1 else found

    def _predict(self, x: Any) -> Any:
        if self.booster is self.of:
            xgboost: Any = importlib.import_module("xgboost")
            names = self.booster.feature_names
            found = self.booster.predict(xgboost.DMatrix(x, feature_names=names))
        else:
            found = getattr(self.of, self.method)(self._given(x))
            if self.method == "predict" and self.labels is not None:
                found = np.ravel(found)[:, None] == self.labels
        return found

    def _given(self, x: Any) -> Any:
        """Rows as the estimator takes them."""
        # LightGBM and XGBoost take the numbers of categories from arrays alone.
        boosted = self.lightgbm is not None or self.booster is not None
        if self.feature_names is None or (boosted and self.of is self.last):
            return x
        import pandas as pd

        return pd.DataFrame(x, columns=list(self.feature_names))

    def hands_on_sparse(self, x: Any) -> bool:
        """Whether the last step of a pipeline is given a sparse matrix."""
        return hasattr(self.of[:-1].transform(self._given(np.asarray(x, np.float64))), "tocsr")

    @property
    def takes_missing(self) -> bool:
        """Whether trees take missing values of any column."""
        return self.lightgbm is not None or self.booster is not None or "Hist" in self.name

    @property
    def n_targets(self) -> int:
        """How many numbers or labels an XGBoost booster predicts at once; 1 for others."""
        if self.booster is None:
            return 1
        config = json.loads(self.booster.save_config())["learner"]
        return int(config["learner_model_param"].get("num_target", 1))

    def margins(self, x: np.ndarray) -> np.ndarray | None:
        """The sums of the trees of an XGBoost booster that returns labels or the sums [N, K]."""
        if self.booster is None:
            return None
        xgboost: Any = importlib.import_module("xgboost")
        config = json.loads(self.booster.save_config())["learner"]
        if config["objective"]["name"] not in ("binary:logitraw", "multi:softmax"):
            return None
        names = self.booster.feature_names
        given = xgboost.DMatrix(x, feature_names=names)
        return np.asarray(self.booster.predict(given, output_margin=True)).reshape(len(x), -1)

    @property
    def method(self) -> str:
        if hasattr(self.of, "predict_proba"):
            return "predict_proba"
        regressor = not (hasattr(self.of, "classes_") or hasattr(self.of, "fit_predict"))
        if hasattr(self.of, "predict") and regressor:
            return "predict"
        if hasattr(self.of, "decision_function"):
            return "decision_function"
        if hasattr(self.of, "predict") and self.labels is not None:
            return "predict"
        raise TypeError(
            f"from_sklearn: {self.name} gives neither probabilities nor numbers, but labels. Give "
            "a function of x: jaxeval.Model(lambda _, x: ..., {}, host=True, channel_axis=None)"
        )
