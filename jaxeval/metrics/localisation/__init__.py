"""Localisation: does the attribution lie where the object is?"""

from .auc import AUC as AUC
from .auc import auc as auc
from .pointing_game import PointingGame as PointingGame
from .pointing_game import pointing_game as pointing_game
from .relevance_mass_accuracy import RelevanceMassAccuracy as RelevanceMassAccuracy
from .relevance_mass_accuracy import relevance_mass_accuracy as relevance_mass_accuracy
from .relevance_rank_accuracy import RelevanceRankAccuracy as RelevanceRankAccuracy
from .relevance_rank_accuracy import relevance_rank_accuracy as relevance_rank_accuracy
