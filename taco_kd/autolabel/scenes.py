"""Synthetic classification folders, for when there are no photos: drawn scenes, whose truth is known."""

from __future__ import annotations

from pathlib import Path

from taco_kd.autolabel.truth import TrueBox, Truth
from taco_kd.data.synthetic import draw_scene
from taco_kd.progress import Tick


def draw_folders(root: Path, count: int, *, on_progress: Tick | None = None) -> Truth:
    """Draw ``count`` scenes into ``root/<class>/``, each under the class of its largest object.

    That is how classification sets are made: one name for a picture, whatever else lies in it.

    Returns:
        every object of every photo, by the photo's file name.
    """
    truth: Truth = {}
    for seed in range(count):
        scene = draw_scene(seed)
        if scene.objects:
            largest = max(scene.objects, key=lambda item: item.bbox[2] * item.bbox[3])
            file_name = f"{largest.class_name}/{seed:04d}.jpg"
            (root / largest.class_name).mkdir(parents=True, exist_ok=True)
            scene.image.save(root / file_name, quality=92)
            truth[file_name] = tuple(
                TrueBox(item.class_name, (x, y, x + w, y + h))
                for item in scene.objects
                for x, y, w, h in [item.bbox]
            )
        if on_progress is not None:
            on_progress(seed + 1, count, "drawing scenes")
    return truth
