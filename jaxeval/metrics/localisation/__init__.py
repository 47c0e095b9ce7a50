"""Localisation: does the attribution lie where the object is?"""

from .attribution_localisation import AttributionLocalisation as AttributionLocalisation
from .attribution_localisation import attribution_localisation as attribution_localisation
from .auc import AUC as AUC
from .auc import auc as auc
from .average_precision import AveragePrecision as AveragePrecision
from .average_precision import average_precision as average_precision
from .focus import Focus as Focus
from .focus import focus as focus
from .iou import IoU as IoU
from .iou import iou as iou
from .pointing_game import PointingGame as PointingGame
from .pointing_game import pointing_game as pointing_game
from .rationale_f1 import RationaleF1 as RationaleF1
from .rationale_f1 import rationale_f1 as rationale_f1
from .relevance_mass_accuracy import RelevanceMassAccuracy as RelevanceMassAccuracy
from .relevance_mass_accuracy import relevance_mass_accuracy as relevance_mass_accuracy
from .relevance_rank_accuracy import RelevanceRankAccuracy as RelevanceRankAccuracy
from .relevance_rank_accuracy import relevance_rank_accuracy as relevance_rank_accuracy
from .top_k_intersection import TopKIntersection as TopKIntersection
from .top_k_intersection import top_k_intersection as top_k_intersection
