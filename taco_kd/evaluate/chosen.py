"""Runs whose weights, or length, were chosen on the very images that their results are reported on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from taco_kd.runs import Split


def chosen_on(record: Mapping[str, Any], split: Split) -> bool:
    """Whether the record of a run says that something was chosen by looking at ``split``."""
    return bool(record.get("chosen_on") == split)


def words(name: str, split: Split) -> str:
    """What every report says of such a run."""
    return f"{name} was chosen on the split it is reported on ({split}): its figures there are too high"
