"""Distillation losses, one file each. They return unweighted scalars; the weights are in ``recipe.py``."""
