"""Maps with their levels, for the tests of feature losses."""

import torch

from taco_kd.types import FeatureMap, FeatureSpec


def levels(*sizes):
    """(channels, stride) of each level."""
    return [FeatureSpec(f"C{i}", channels, stride) for i, (channels, stride) in enumerate(sizes)]


def maps(*tensors):
    return [FeatureMap(tensor, 8, "C") for tensor in tensors]


def identity(loss):
    """Make the projections of a loss hand on what they get."""
    with torch.no_grad():
        for projection in loss.projections:
            projection.weight.copy_(torch.eye(len(projection.weight))[..., None, None])
            projection.bias.zero_()
    return loss


def random(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)
