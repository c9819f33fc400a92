"""How much of a naive labelling contradicts itself, folder by folder."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from taco_kd.autolabel.compatibility import Compatibility, Verdict
from taco_kd.autolabel.naive import LabelledPhoto
from taco_kd.autolabel.truth import Fact, Truth, check

_Z95 = 1.959963984540054


def wilson_interval(count: float, total: float) -> tuple[float, float]:
    """95 % interval of a share, by Wilson (JASA 1927), which behaves at 0, at 1 and for small totals."""
    share, z2 = count / total, _Z95**2
    centre = (share + z2 / (2 * total)) / (1 + z2 / total)
    half = _Z95 / (1 + z2 / total) * math.sqrt(share * (1 - share) / total + z2 / (4 * total**2))
    return max(0.0, centre - half), min(1.0, centre + half)


def clustered_interval(clusters: Sequence[tuple[int, int]]) -> tuple[float, float] | None:
    """95 % interval of a share over boxes that come in photos, whose boxes are alike.

    Wilson's interval at the effective number of boxes: their number over the design effect, the variance of
    the share over photos (as a ratio) relative to that of independent boxes (Rao and Scott, 1992); never more
    than the boxes there are. Where all boxes agree that variance is not seen, and the photos are counted.

    Args:
        clusters: (boxes that count, boxes) of each photo.

    Returns:
        None where there is no box.
    """
    used = [(count, total) for count, total in clusters if total]
    boxes = sum(total for _, total in used)
    if not boxes:
        return None
    share, photos = sum(count for count, _ in used) / boxes, len(used)
    if share in (0.0, 1.0) or photos < 2:
        return wilson_interval(share * photos, photos)
    residuals = sum((count - share * total) ** 2 for count, total in used)
    variance = photos / (photos - 1) * residuals / boxes**2
    effect = max(1.0, variance / (share * (1 - share) / (boxes - 1)))
    effective = boxes / effect
    return wilson_interval(share * effective, effective)


@dataclass
class FolderAudit:
    """The counts of one folder, or of all of them together.

    Attributes:
        photos, unreadable, photos_with_box: photos looked at, photos that could not be decoded (not among
            the former), photos in which the detector found a box.
        seen: boxes by the detector's class.
        verdicts: boxes by what the compatibility table says of them.
        facts: boxes by what they really are; empty where the truth is not known.
        by_photo: (mismatched, judged) of each photo with a judged box: boxes of one photo are alike.
    """

    name: str
    photos: int = 0
    unreadable: int = 0
    photos_with_box: int = 0
    seen: Counter[str] = field(default_factory=Counter)
    verdicts: Counter[Verdict] = field(default_factory=Counter)
    facts: Counter[Fact] = field(default_factory=Counter)
    by_photo: list[tuple[int, int]] = field(default_factory=list)

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
        """95 % interval of mismatched / judged, see ``clustered_interval``; none where nothing was judged."""
        return clustered_interval(self.by_photo)

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
        self.by_photo += other.by_photo

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
        verdicts = Counter(
            compatibility.judge(label, box.detector_class, vocabulary) for box in labelled.boxes
        )
        folder.seen.update(box.detector_class for box in labelled.boxes)
        folder.verdicts += verdicts
        mismatched = verdicts[Verdict.MISMATCH]
        if judged := mismatched + verdicts[Verdict.COMPATIBLE]:
            folder.by_photo.append((mismatched, judged))
        objects = (truth or {}).get(labelled.photo.file_name)
        if objects is not None:
            folder.facts.update(check(labelled.boxes, objects))
    overall = FolderAudit("all")
    for folder in folders.values():
        overall.add(folder)
    return [folders[name] for name in sorted(folders)], overall
