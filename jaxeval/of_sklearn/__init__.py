"""Estimators of scikit-learn, XGBoost and their like as models."""

from .convert import from_sklearn as from_sklearn
