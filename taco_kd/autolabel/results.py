"""What an auto-labelling found, as files, as a table and in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from taco_kd.autolabel.audit import FolderAudit
from taco_kd.autolabel.remedies import Remedy
from taco_kd.autolabel.scores import RemedyScore
from taco_kd.autolabel.truth import Fact

RECORD = "audit.json"
LABELS = "naive.json"
FIGURE = "mismatch.png"
GALLERY = "gallery.html"
UNJUDGED = "unjudged.csv"
NAIVE, FILTERED = "naive", "filtered"
"""the exported datasets"""
SCENES = "photos"
"""where synthetic scenes are drawn"""
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
    scores: tuple[RemedyScore, ...]
    """the naive labels and the ways out, on the same photos"""
    kept: Remedy
    """the way out whose labels are the dataset ``filtered``"""
    warnings: tuple[str, ...] = ()
    notices: list[str] = field(default_factory=list)

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
    def gallery_file(self) -> Path:
        return self.out / GALLERY

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

    def remedies_table(self) -> tuple[list[str], list[list[str]]]:
        """Header and rows for people: what is left of the labels, and how good that is."""
        return remedies_table(self.scores)


def remedies_table(scores: Sequence[RemedyScore]) -> tuple[list[str], list[list[str]]]:
    """Header and rows: with the truth precision, recall and AP, else what the table says of what is left."""
    known = any(score.checked is not None for score in scores)
    header = ["labels kept", "how", "labels", "photos"]
    header += ["right (95 %)", "objects found", "AP", "AP50"] if known else ["contradict / judged"]
    rows = []
    for score in scores:
        row = [score.key]
        if score.absent:
            rows.append([*row, f"not available: {score.absent}", *[""] * (len(header) - 2)])
            continue
        row += [score.text, str(score.labels), str(score.photos)]
        if known:
            row += [_share(score.right, score.checked, score.right_interval)]
            row += [f"{score.found} / {score.objects}", _points(score.ap), _points(score.ap50)]
        else:
            row += ["n/a" if score.judged is None else f"{score.contradicted} / {score.judged}"]
        rows.append(row)
    return header, rows


def _share(count: int | None, total: int | None, interval: tuple[float, float] | None) -> str:
    if count is None or not total or interval is None:
        return "n/a"
    return f"{_percent(count / total)} ({_percent(interval[0])} to {_percent(interval[1])})"


def _points(value: float | None) -> str:
    return "n/a" if value is None else f"{100 * value:.1f}"


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
    share = _share(folder.mismatched, folder.judged, interval)
    saw = ", ".join(f"{name} {count}" for name, count in folder.seen.most_common(4))
    cells = [folder.name, str(folder.photos), str(folder.photos_with_box), str(folder.boxes)]
    cells += [f"{folder.mismatched} / {folder.judged}", share]
    if known:
        cells.append(f"{folder.wrong} / {folder.checked}")
    return [*cells, saw + (", ..." if len(folder.seen) > 4 else "")]


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"
