"""How much of a naive labelling contradicts itself, folder by folder."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from scipy.stats import binomtest

from taco_kd.autolabel.compatibility import Compatibility, Verdict
from taco_kd.autolabel.naive import LabelledPhoto
from taco_kd.autolabel.truth import Fact, Truth, check


def wilson_interval(count: int, total: int) -> tuple[float, float]:
    """95 % interval of a share, by Wilson (JASA 1927), which behaves at 0, at 1 and for small totals.

    It takes the boxes as independent draws; boxes of one photo are not quite, so it is on the narrow side.
    """
    interval = binomtest(count, total).proportion_ci(confidence_level=0.95, method="wilson")
    return float(interval.low), float(interval.high)


@dataclass
class FolderAudit:
    """The counts of one folder, or of all of them together.

    Attributes:
        photos, unreadable, photos_with_box: photos looked at, photos that could not be decoded (not among
            the former), photos in which the detector found a box.
        seen: boxes by the detector's class.
        verdicts: boxes by what the compatibility table says of them.
        facts: boxes by what they really are; empty where the truth is not known.
    """

    name: str
    photos: int = 0
    unreadable: int = 0
    photos_with_box: int = 0
    seen: Counter[str] = field(default_factory=Counter)
    verdicts: Counter[Verdict] = field(default_factory=Counter)
    facts: Counter[Fact] = field(default_factory=Counter)

    @property
    def boxes(self) -> int:
        return self.seen.total()

    @property
    def mismatched(self) -> int:
        return self.verdicts[Verdict.MISMATCH]

    @property
    def judged(self) -> int:
        """Boxes on which the table has an opinion."""
        return self.mismatched + self.verdicts[Verdict.COMPATIBLE]

    @property
    def mismatch_interval(self) -> tuple[float, float] | None:
        """Wilson 95 % interval of mismatched / judged; none where nothing was judged."""
        return wilson_interval(self.mismatched, self.judged) if self.judged else None

    @property
    def checked(self) -> int:
        """Boxes whose truth is known."""
        return self.facts.total()

    @property
    def wrong(self) -> int:
        """Boxes whose label is known to be wrong: around another object, or around none."""
        return self.checked - self.facts[Fact.RIGHT]

    def add(self, other: FolderAudit) -> None:
        self.photos += other.photos
        self.unreadable += other.unreadable
        self.photos_with_box += other.photos_with_box
        self.seen += other.seen
        self.verdicts += other.verdicts
        self.facts += other.facts

    def record(self) -> dict[str, Any]:
        """The counts as JSON; shares are 0..1, and null where they would divide by nothing."""
        return {
            "folder": self.name,
            "photos": self.photos,
            "unreadable": self.unreadable,
            "photos_with_box": self.photos_with_box,
            "boxes": self.boxes,
            "seen": dict(self.seen.most_common()),
            **{verdict.value: self.verdicts[verdict] for verdict in Verdict},
            "mismatch_share": self.mismatched / self.judged if self.judged else None,
            "mismatch_interval_95": self.mismatch_interval,
            "truth": {fact.value: self.facts[fact] for fact in Fact} if self.facts else None,
            "wrong_share": self.wrong / self.checked if self.checked else None,
        }


def audit_folders(
    photos: Sequence[LabelledPhoto],
    compatibility: Compatibility,
    vocabulary: Collection[str],
    *,
    unreadable: Mapping[str, int] | None = None,
    truth: Truth | None = None,
) -> tuple[list[FolderAudit], FolderAudit]:
    """Each folder's counts, by name, and their sum.

    Args:
        vocabulary: all class names of the detector.
        unreadable: how many photos of a folder could not be decoded.
        truth: the real objects, where they are known.
    """
    folders: dict[str, FolderAudit] = {}
    for label, count in (unreadable or {}).items():
        folders[label] = FolderAudit(label, unreadable=count)
    for labelled in photos:
        label = labelled.photo.label
        folder = folders.setdefault(label, FolderAudit(label))
        folder.photos += 1
        folder.photos_with_box += bool(labelled.boxes)
        for box in labelled.boxes:
            folder.seen[box.detector_class] += 1
            folder.verdicts[compatibility.judge(label, box.detector_class, vocabulary)] += 1
        objects = (truth or {}).get(labelled.photo.file_name)
        if objects is not None:
            folder.facts.update(check(labelled.boxes, objects))
    overall = FolderAudit("all")
    for folder in folders.values():
        overall.add(folder)
    return [folders[name] for name in sorted(folders)], overall
