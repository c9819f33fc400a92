"""Distillation losses, one file each. They return unweighted scalars; who sums them applies the weights.

Legend of shapes: B images, K channels, H x W places of a map, P pairs of queries, C classes in common.
"""
