"""Pseudo-labels: a trained detector labels images nobody labelled, at thresholds measured on others."""
