"""The table: how each of Quantus's metrics is asked of the engine, a row a metric."""

from .axiomatic import ROWS as _axiomatic
from .faithfulness import ROWS as _faithfulness
from .randomisation import ROWS as _randomisation
from .robustness import ROWS as _robustness
from .row import Row as Row

BY_CHOICE = (
    "PointingGame",
    "AttributionLocalisation",
    "TopKIntersection",
    "RelevanceRankAccuracy",
    "RelevanceMassAccuracy",
    "AUC",
    "Focus",
    "Sparseness",
    "Complexity",
    "EffectiveComplexity",
)
"""Metrics of maps alone, which take milliseconds: Quantus's own code runs."""

ROWS: dict[str, Row] = {
    **_faithfulness,
    **_robustness,
    **_randomisation,
    **_axiomatic,
    **dict.fromkeys(BY_CHOICE, Row()),
}
