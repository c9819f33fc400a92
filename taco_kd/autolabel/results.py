"""What an auto-labelling found, as files, as a table and in words."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from taco_kd.autolabel.audit import FolderAudit
from taco_kd.autolabel.truth import Fact

RECORD = "audit.json"
LABELS = "naive.json"
FIGURE = "mismatch.png"
CAVEAT = (
    "Either such a box is around something else, or the detector misnamed the item and the label is right by "
    "luck: the pipeline cannot tell."
)


@dataclass(frozen=True)
class AutolabelResult:
    """What an auto-labelling left in ``out``, and what is wrong with it."""

    out: Path
    detector: str
    folders: tuple[FolderAudit, ...]
    overall: FolderAudit
    unreadable: tuple[str, ...]
    """one line for each photo that could not be decoded"""

    @property
    def labels_file(self) -> Path:
        return self.out / LABELS

    @property
    def audit_file(self) -> Path:
        return self.out / RECORD

    @property
    def figure_file(self) -> Path:
        return self.out / FIGURE

    @property
    def one_line(self) -> str:
        return summary(self.overall)

    @property
    def caveat(self) -> str | None:
        """What the figures cannot say, where only the truth could."""
        return CAVEAT if self.overall.mismatched and not self.overall.checked else None

    def table(self) -> tuple[list[str], list[list[str]]]:
        """Header and rows for people: one row a folder and a last one for all."""
        known = self.overall.checked > 0
        header = ["folder", "photos", "with a box", "boxes", "contradict / judged", "share (95 %)"]
        header += [*(["really wrong"] if known else []), "detector saw"]
        return header, [_row(folder, known=known) for folder in (*self.folders, self.overall)]


def summary(overall: FolderAudit) -> str:
    """The finding in one sentence or three."""
    said = f"{overall.boxes} boxes in {overall.photos_with_box} of {overall.photos} photos."
    interval = overall.mismatch_interval
    if interval is None:
        said += " None of them can be judged by the names of the classes."
    else:
        share = overall.mismatched / overall.judged
        said += (
            f" Of the {overall.judged} that can be judged by name, {overall.mismatched} ({_percent(share)}, "
            f"95 % interval {_percent(interval[0])} to {_percent(interval[1])}) got a label that contradicts "
            f"what the detector saw."
        )
    if overall.checked:
        facts = overall.facts
        said += (
            f" The truth is known: {overall.wrong} of {overall.checked} labels "
            f"({_percent(overall.wrong / overall.checked)}) are wrong, {facts[Fact.OTHER_OBJECT]} around "
            f"another object and {facts[Fact.NOTHING]} around none."
        )
    return said


def _row(folder: FolderAudit, *, known: bool) -> list[str]:
    interval = folder.mismatch_interval
    share = "n/a"
    if interval is not None:
        low, high = interval
        share = f"{_percent(folder.mismatched / folder.judged)} ({_percent(low)} to {_percent(high)})"
    saw = ", ".join(f"{name} {count}" for name, count in folder.seen.most_common(4))
    cells = [folder.name, str(folder.photos), str(folder.photos_with_box), str(folder.boxes)]
    cells += [f"{folder.mismatched} / {folder.judged}", share]
    if known:
        cells.append(f"{folder.wrong} / {folder.checked}")
    return [*cells, saw + (", ..." if len(folder.seen) > 4 else "")]


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"
