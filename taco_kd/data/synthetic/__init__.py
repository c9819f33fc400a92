"""Synthetic litter scenes in TACO's layout: the dataset that is always there."""

from taco_kd.data.synthetic.classes import SCENE_CLASSES
from taco_kd.data.synthetic.scene import Scene, SceneObject, draw_scene
from taco_kd.data.synthetic.write import write_scenes

__all__ = ["SCENE_CLASSES", "Scene", "SceneObject", "draw_scene", "write_scenes"]
