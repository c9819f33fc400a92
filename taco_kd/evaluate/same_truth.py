"""Whether two COCO ground truths are the same, in whatever order."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from taco_kd.errors import DataError
from taco_kd.evaluate.truth import TruthColumns, check_ground_truth


def require_same_truth(ours: Mapping[str, Any], theirs: Mapping[str, Any], *, where: str) -> None:
    """Refuse a ground truth with other images, classes or boxes than the one runs were evaluated on.

    Raises:
        DataError: says what differs and names ``where`` the other one is.
    """
    if ours is theirs:
        return
    one, other = check_ground_truth(ours), check_ground_truth(theirs, where=where)
    order = np.argsort(one.category_ids), np.argsort(other.category_ids)
    same = {
        "images": np.array_equal(one.image_ids, other.image_ids),
        "image sizes": np.array_equal(one.sizes, other.sizes, equal_nan=True),
        "classes": [(one.category_ids[k], one.names[k]) for k in order[0]]
        == [(other.category_ids[k], other.names[k]) for k in order[1]],
        "boxes": np.array_equal(_box_table(one), _box_table(other)),
    }
    for what, equal in same.items():
        if not equal:
            raise DataError(
                f"the annotations given and {where} have different {what}: runs and files must be evaluated "
                "on the same ground truth"
            )


def _box_table(truth: TruthColumns) -> Any:
    table = np.column_stack(
        [truth.box_image_ids, truth.box_category_ids, truth.crowd, truth.boxes_xywh.round(2)]
    )
    return table[np.lexsort(table.T)]
