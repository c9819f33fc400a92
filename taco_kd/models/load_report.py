"""What happened to each key of a load: one line for the user, the whole for the record of a run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

MIN_MATCHED = 0.9
"""A load that fills less than this share of the model's values is an error."""


@dataclass
class LoadReport:
    """What happened to each key of a load.

    ``matched``, ``missing`` and ``reshaped`` are names of the model's, ``unexpected`` of the source's.
    ``matched_share`` counts model values (not keys), class layers apart: those are filled row by row, for
    the classes in ``rows_by_name``; the rows of ``rows_at_random`` stay as they were drawn.
    """

    source: str
    kind: str = ""
    origin: dict[str, str] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)
    matched: list[str] = field(default_factory=list)
    by_class: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    reshaped: list[str] = field(default_factory=list)
    rows_by_name: list[str] = field(default_factory=list)
    rows_at_random: list[str] = field(default_factory=list)
    matched_share: float = 0.0
    hint: str = ""

    @property
    def keys(self) -> int:
        """How many keys the model wanted."""
        return len(self.matched) + len(self.missing) + len(self.reshaped)

    @property
    def enough(self) -> bool:
        return self.matched_share >= MIN_MATCHED

    def line(self) -> str:
        """One line for the user."""
        text = (
            f"{self.source}: {len(self.matched)} keys matched of {self.keys} "
            f"({_percent(self.matched_share)} of the values), "
            f"{len(self.missing)} missing, {len(self.unexpected)} unexpected, "
            f"{len(self.reshaped)} of another shape"
        )
        if self.by_class:
            known, drawn = self.rows_by_name, self.rows_at_random
            text += f"; {len(self.by_class)} class layers by name: {len(known)} classes copied"
            if drawn:
                text += f" ({some(known)}), {len(drawn)} at random ({some(drawn)})"
        for remark in self.remarks:
            text += f"; {remark}"
        return text


def _percent(share: float) -> str:
    """Never 100 % while something is missing."""
    return "100 %" if share == 1.0 else f"{min(share, 0.999):.1%}".replace(".0%", "%").replace("%", " %")


def some(names: Sequence[str], most: int = 6) -> str:
    """The first ``most`` of the names, and how many more there are."""
    shown = ", ".join(names[:most]) or "none"
    return shown + (f" and {len(names) - most} more" if len(names) > most else "")
