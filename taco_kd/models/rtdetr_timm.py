"""RT-DETRv2 on any feature backbone of timm: students smaller than R18."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import torch
from torch import Tensor

from taco_kd.errors import UsageError
from taco_kd.models.detector import IDENTITY_MEAN, IDENTITY_STD
from taco_kd.models.entry import Family, ModelEntry
from taco_kd.models.rtdetr import NANO, SIZES, RTDetr
from taco_kd.models.timm_names import to_timm_names
from taco_kd.types import FeatureSpec

STRIDES = (8, 16, 32)
_PREFIX = "model.backbone.model._backbone."

LITE0 = "tf_efficientnet_lite0"
"""timm's variant with TensorFlow's padding and batch-norm epsilon, for which Lite0's weights were trained."""


@dataclass(frozen=True)
class Size:
    """Encoder and decoder that go with a backbone, and the input side in pixels."""

    settings: Mapping[str, Any]
    image_size: int


R18 = {k: v for k, v in SIZES[18].items() if k != "encoder_in_channels"}
PREFIXES = {"rtdetr-timm:": Size(R18, 640), "rtdetr-timm-nano:": Size(NANO, 192)}
"""``PREFIX + name of a timm model`` is a model name."""


class RTDetrTimm(RTDetr):
    """RT-DETRv2 whose backbone is timm's; normalises as that backbone's own training did.

    Its batch norms are trained: transformers' frozen ones would drop the activation that timm keeps inside
    its batch norms, and have another epsilon.
    """

    family = "rtdetr-timm"

    def rename_backbone(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """``state`` under this network's names, where it is a classifier of timm or of its ancestors.

        What does not belong to the backbone (the classifier) keeps its name.
        """
        own = {k.removeprefix(_PREFIX) for k in self.network.state_dict() if k.startswith(_PREFIX)}
        named = to_timm_names(state, own)
        return {_PREFIX + k if k in own else k: v for k, v in named.items()}


@dataclass(frozen=True)
class Backbone:
    """What is known of a timm model before it is built: places and channels of its maps of stride 8 to 32."""

    out_indices: tuple[int, ...]
    channels: tuple[int, ...]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


@lru_cache(maxsize=64)
def look_up(name: str, image_size: int) -> Backbone:
    """The timm model of that name as a backbone; nothing is downloaded, no weight is drawn.

    Raises:
        UsageError: timm has no such model, or it hands out no maps of strides 8, 16 and 32 at this size.
    """
    import timm

    check_name(name)
    try:
        with torch.device("meta"):
            network = timm.create_model(name, pretrained=False, features_only=True)
            maps = network(torch.empty(1, 3, image_size, image_size))
    except Exception as error:  # timm and its models raise whatever they like
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UsageError(
            f"{name}: not usable as a backbone at {image_size} px ({reason}); take one with maps of strides "
            "8, 16 and 32 for any input, such as a MobileNet, an EfficientNet or a ResNet of timm"
        ) from None
    shapes = [(k.shape[1], k.shape[2], k.shape[3]) for k in maps]
    wanted = {image_size // stride: stride for stride in STRIDES}
    # the last map of each stride: VGG hands out several of one
    found = {wanted[h]: index for index, (_, h, w) in enumerate(shapes) if h == w and h in wanted}
    if tuple(sorted(found)) != STRIDES:
        strides = ", ".join(str(image_size / h) for _, h, _ in shapes)
        raise UsageError(f"{name}: its maps have strides {strides}; a backbone needs 8, 16 and 32")
    indices = tuple(found[stride] for stride in STRIDES)
    config = timm.get_pretrained_cfg(name)
    return Backbone(
        indices,
        tuple(shapes[index][0] for index in indices),
        config.mean if config is not None else IDENTITY_MEAN,
        config.std if config is not None else IDENTITY_STD,
    )


def check_name(name: str) -> None:
    """UsageError with near matches unless timm has a model of that name (a tag may follow a dot)."""
    import timm

    if not timm.is_model(name):
        near = difflib.get_close_matches(name, timm.list_models(), n=5, cutoff=0.5)
        hint = f"nearest: {', '.join(near)}" if near else "see timm.list_models()"
        raise UsageError(f"timm has no model {name!r}; {hint}")


def build(
    class_names: Sequence[str], *, backbone: str, size: Size, model_name: str, image_size: int | None = None
) -> RTDetrTimm:
    """RT-DETRv2 on the timm model ``backbone``, random weights throughout."""
    from transformers import RTDetrV2Config, RTDetrV2ForObjectDetection, TimmBackboneConfig

    side = image_size or size.image_size
    found = look_up(backbone, side)
    config = RTDetrV2Config(
        backbone_config=TimmBackboneConfig(backbone=backbone, out_indices=list(found.out_indices)),
        freeze_backbone_batch_norms=False,
        encoder_in_channels=list(found.channels),
        num_labels=len(class_names),
        **size.settings,
    )
    return RTDetrTimm(
        RTDetrV2ForObjectDetection(config),
        model_name=model_name,
        class_names=class_names,
        image_size=side,
        features_spec=_levels(config),
        mean=found.mean,
        std=found.std,
    )


def rebuild(
    architecture: Mapping[str, Any], class_names: Sequence[str], *, model_name: str, image_size: int
) -> RTDetrTimm:
    """The network that a checkpoint describes; its normalisation travels beside the architecture."""
    from transformers import RTDetrV2Config, RTDetrV2ForObjectDetection

    settings = dict(architecture)
    refinement = settings.pop("refinement", "detached")
    # a stranger's file must not make timm fetch a model from a hub ("hf-hub:...")
    check_name(str(settings.get("backbone_config", {}).get("backbone")))
    config = RTDetrV2Config(**settings, num_labels=len(class_names))
    model = RTDetrTimm(
        RTDetrV2ForObjectDetection(config),
        model_name=model_name,
        class_names=class_names,
        image_size=image_size,
        features_spec=_levels(config),
    )
    model.refinement = refinement
    return model


def _levels(config: Any) -> list[FeatureSpec]:
    names = ("C3", "C4", "C5")
    levels = zip(names, config.encoder_in_channels, config.feat_strides, strict=True)
    return [FeatureSpec(*level) for level in levels]


def entry(name: str) -> ModelEntry | None:
    """The entry of a name such as ``rtdetr-timm:mobilenetv3_small_100``; None for other names.

    Raises:
        UsageError: timm has no such model, or it is no backbone.
    """
    for prefix, size in PREFIXES.items():
        if name.startswith(prefix):
            backbone = name.removeprefix(prefix)
            look_up(backbone, size.image_size)
            make = partial(build, backbone=backbone, size=size, model_name=name)
            return ModelEntry(name, "RT-DETRv2", make, size.image_size, f"on timm's {backbone}")
    return None


ENTRIES = (
    ModelEntry(
        "rtdetr-lite0",
        "RT-DETRv2",
        partial(build, backbone=LITE0, size=PREFIXES["rtdetr-timm:"], model_name="rtdetr-lite0"),
        640,
        "EfficientNet-Lite0; smaller than R18. Any other timm backbone: rtdetr-timm:NAME",
    ),
    ModelEntry(
        "rtdetr-lite0-nano",
        "RT-DETRv2",
        partial(build, backbone=LITE0, size=PREFIXES["rtdetr-timm-nano:"], model_name="rtdetr-lite0-nano"),
        192,
        "EfficientNet-Lite0 with the nano decoder. Any other timm backbone: rtdetr-timm-nano:NAME",
    ),
)

FAMILY = Family(RTDetrTimm.family, ENTRIES, rebuild, model_types=("rt_detr_v2/timm_backbone",))
