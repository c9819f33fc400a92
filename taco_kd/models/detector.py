"""What every model is to the rest of the program: an image goes in once, everything needed comes out."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from taco_kd.models.decode import decode
from taco_kd.types import Detections, DetectorOutput, FeatureMap, FeatureSpec, Targets

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
IDENTITY_MEAN = (0.0, 0.0, 0.0)
IDENTITY_STD = (1.0, 1.0, 1.0)


class ImageModel(nn.Module):
    """A network with the input it wants. Images are [B, 3, H, W] RGB in 0..1; it normalises them itself.

    So a teacher and a student with different conventions can be fed the same batch, and the convention
    travels with the checkpoint.

    Args:
        network: the library's module; its ``state_dict`` is what a checkpoint holds.
        model_name: its name in the zoo; travels with the checkpoint.
        image_size: side in pixels of the square input it is trained and evaluated on.
        features_spec: the maps it hands out, fine to coarse.
        mean, std: normalisation of its input.
    """

    family: ClassVar[str]
    """which file of ``taco_kd.models`` can rebuild it; travels with the checkpoint"""

    class_layers: ClassVar[tuple[str, ...]] = ()
    """parts of the names of layers with one row per class (loaded row by row, by class name)"""

    class_names: tuple[str, ...] = ()
    """one per logit, in order; none for a backbone"""

    def __init__(
        self,
        network: Any,
        *,
        model_name: str,
        image_size: int,
        features_spec: Sequence[FeatureSpec],
        mean: Sequence[float] = IDENTITY_MEAN,
        std: Sequence[float] = IDENTITY_STD,
    ) -> None:
        super().__init__()
        self.network: Any = network
        self.model_name = model_name
        self.image_size = image_size
        self.features_spec = tuple(features_spec)
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1), persistent=False)
        self._takes_images_as_they_are = _is_identity(mean, std)

    def normalised(self, images: Tensor) -> Tensor:
        """``images`` [B, 3, H, W] in 0..1 as the network wants them."""
        return images if self._takes_images_as_they_are else (images - self.mean) / self.std

    def set_normalisation(self, mean: Sequence[float], std: Sequence[float]) -> None:
        """Expect images normalised so, as weights from elsewhere were trained on."""
        self.mean.copy_(torch.tensor(mean).view(1, 3, 1, 1))
        self.std.copy_(torch.tensor(std).view(1, 3, 1, 1))
        self._takes_images_as_they_are = _is_identity(mean, std)

    def architecture(self) -> Mapping[str, Any]:
        """JSON values from which the family rebuilds the network, whatever its size; weights apart."""
        raise NotImplementedError

    def adapt_to(self, state: Mapping[str, Tensor]) -> list[str]:
        """Take over what the layout of ``state`` decides, before its values are copied; in words.

        Most families have one layout, and nothing to take over.
        """
        return []

    def metadata(self) -> Mapping[str, str]:
        """What a checkpoint must say so that the model can be rebuilt from it."""
        return {
            "format": "taco-kd/1",
            "family": self.family,
            "model": self.model_name,
            "architecture": json.dumps(self.architecture()),
            "image_size": str(self.image_size),
            "mean": json.dumps([round(v, 6) for v in self.mean.flatten().tolist()]),
            "std": json.dumps([round(v, 6) for v in self.std.flatten().tolist()]),
            "class_names": json.dumps(self.class_names),
        }


def _is_identity(mean: Sequence[float], std: Sequence[float]) -> bool:
    return tuple(mean) == IDENTITY_MEAN and tuple(std) == IDENTITY_STD


class Detector(ImageModel):
    """An object detector behind one ``forward``; subclasses are the families.

    Args:
        class_names: one per logit, in order.
    """

    backbone_parts: ClassVar[tuple[str, ...]] = (".backbone.",)
    """parts of the names of parameters that belong to the backbone"""

    dense: ClassVar[bool] = False
    """whether a query is a place in the image, of which several find one object, and not one of a set"""

    divides_by_predictions: ClassVar[bool] = False
    """whether only the predictions tell what the detection loss is divided by (``DetectorOutput.divisor``)"""

    offers: ClassVar[frozenset[str]] = frozenset({"features"})
    """what ``forward`` hands out on request besides predictions: features, encoder, attention"""

    encoder_spec: tuple[FeatureSpec, ...] = ()
    """the maps after the encoder, fine to coarse; none where the family does not offer them"""

    def __init__(self, network: Any, *, class_names: Sequence[str], **kwargs: Any) -> None:
        super().__init__(network, **kwargs)
        self.class_names = tuple(class_names)

    def forward(
        self,
        images: Tensor,
        targets: Sequence[Targets] | None = None,
        *,
        with_features: bool = False,
        with_encoder: bool = False,
        with_attention: bool = False,
    ) -> DetectorOutput:
        """One pass over ``images`` [B, 3, H, W] in 0..1; with ``targets`` also the detection loss.

        With ``with_features`` the backbone's maps are taken on their way, with ``with_encoder`` the encoder's
        maps, with ``with_attention`` its last self-attention: never a second forward. What the family does
        not offer (``offers``) stays empty.
        """
        raise NotImplementedError

    def backbone_output(self, images: Tensor) -> DetectorOutput:
        """The backbone's maps of ``images`` [B, 3, H, W] alone; families that can leave out the rest."""
        return DetectorOutput(
            images.new_zeros(len(images), 0, len(self.class_names)),
            images.new_zeros(len(images), 0, 4),
            self(images, with_features=True).features,
        )

    @property
    def takes_queries(self) -> bool:
        """Whether ``forward`` takes a ``QueryGroup`` in training, as ``queries``."""
        return False

    def decode(
        self, output: DetectorOutput, *, width: float, height: float, top_k: int = 100
    ) -> list[Detections]:
        """Final boxes of each image, best first, in pixels of a ``width`` x ``height`` image.

        The ``top_k`` best (query, class) pairs; a family that needs NMS overrides this.
        """
        return decode(output, width=width, height=height, top_k=top_k)

    def as_queries(self, output: DetectorOutput) -> DetectorOutput:
        """``output`` with at most one confident query for an object, as of a DETR; dense families choose."""
        return output

    def normaliser(self, targets: Sequence[Targets]) -> float:
        """What the detection loss of a batch with ``targets`` is divided by (or by 1 where this is 0).

        Here its boxes. So the loss of a large batch can be put together from those of its parts.
        """
        return float(sum(len(each.class_ids) for each in targets))

    def compiled_parts(self) -> list[nn.Module]:
        """Modules without branches on data, which ``torch.compile`` takes as they are; none by default."""
        return []

    def is_backbone(self, parameter_name: str) -> bool:
        """Whether a name from ``named_parameters`` belongs to the backbone."""
        return any(part in f".{parameter_name}" for part in self.backbone_parts)

    def rename_backbone(self, state: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Weights of a backbone alone, as others publish them, under this network's names."""
        return state


class FeatureModel(ImageModel):
    """A backbone that teaches by its maps alone: no classes, no boxes (DINOv3)."""

    def forward(self, images: Tensor) -> list[FeatureMap]:
        """Maps of ``images`` [B, 3, H, W] in 0..1 of any size, as ``features_spec`` says, fine to coarse."""
        raise NotImplementedError
