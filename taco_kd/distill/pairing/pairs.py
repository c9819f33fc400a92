"""What every pairing hands to the losses, and what it is told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

Kind = Literal["index", "hungarian", "pseudo-gt", "assigned", "injected"]

GROUND_TRUTH = -1
"""in ``Pairs.teacher``: the counterpart is the ground truth"""

HARD_LOGIT = 10.0
"""logit of a class that is certain; that of the others is its negative"""


@dataclass(frozen=True)
class PairingSettings:
    """Settings of all pairings; each reads those that concern it.

    Attributes:
        kind: which pairing.
        min_score: teacher queries below this confidence are not paired (not read by ``index`` and
            ``assigned``).
        duplicate_iou: of two teacher boxes that overlap by more than this, the less confident one is dropped:
            both see one object (not read by ``index`` and ``assigned``).
        max_queries: at most so many teacher queries, and injected queries, an image; the best are kept.
        label_noise_ratio: half of this share of the injected queries begin with a random class, as in
            denoising.
        box_noise_scale: injected boxes begin with corners moved by up to this many half sides.
        beside_truth: inject also what the teacher sees confidently where no true object of that class is.
        answer_missed: inject the objects that the teacher does not see too, with the ground truth as answer.
    """

    kind: Kind = "hungarian"
    min_score: float = 0.3
    duplicate_iou: float = 0.7
    max_queries: int = 60
    label_noise_ratio: float = 0.5
    box_noise_scale: float = 1.0
    beside_truth: bool = True
    answer_missed: bool = False


@dataclass(frozen=True)
class Pairs:
    """P pairs of a student's and a teacher's query over S shared classes, without gradient.

    Attributes:
        image: [P] index in the batch.
        student: [P] query of the student's layer, or of the injected group.
        teacher: [P] query of the teacher, or ``GROUND_TRUTH``.
        score: [P] the teacher's confidence that something is there, 0..1.
        target_logits: [P, S] what the student's shared classes should be, before the sigmoid.
        target_boxes: [P, 4] cxcywh in 0..1, where the student's box should be.
    """

    image: Tensor
    student: Tensor
    teacher: Tensor
    score: Tensor
    target_logits: Tensor
    target_boxes: Tensor

    def __len__(self) -> int:
        return len(self.image)
