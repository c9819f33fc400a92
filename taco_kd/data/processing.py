"""All images of a dataset through ``process_image``: squares on the disk, fingerprints, and what was odd."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from taco_kd.config import PrepareConfig
from taco_kd.data.audit_pixels import label_findings
from taco_kd.data.dedup import Fingerprint
from taco_kd.data.identity import file_hash
from taco_kd.data.images import ImageJob, ImageResult, Unusable, process_image, process_or_say_why
from taco_kd.data.near import Embed, near_pairs
from taco_kd.data.output import output_name
from taco_kd.data.parallel import ordered_map
from taco_kd.data.records import Finding, ImageRecord
from taco_kd.errors import DataError
from taco_kd.progress import Tick
from taco_kd.runs import DataDir


@dataclass(frozen=True)
class Processed:
    """The images that can be used, by id, with what was seen of each; ``findings`` about these and others."""

    images: dict[int, ImageRecord]
    results: dict[int, ImageResult]
    prints: list[Fingerprint]
    findings: list[Finding]

    def hashes_of(self, images: Sequence[ImageRecord]) -> list[str]:
        """sha256 of the file of each of ``images``, those in quarantine too."""
        known = self.results
        return [known[i.id].sha256 if i.id in known else file_hash(i.path) for i in images]


def process_images(
    images: Mapping[int, ImageRecord], data: DataDir, config: PrepareConfig, on_progress: Tick | None
) -> Processed:
    """Every image decoded once, written to ``images/`` and fingerprinted.

    Raises:
        DataError: an image cannot be used, and ``config`` does not ask for a quarantine; or none can be used.
    """
    folder = data.path / "images"
    folder.mkdir()
    jobs = [
        ImageJob(
            image.path,
            image.width,
            image.height,
            config.size,
            folder / output_name(image.id),
            mode=config.mode,
            hash_name=config.hash,
            hash_size=config.hash_size,
            labels=image.annotations if config.check_labels else (),
        )
        for image in images.values()
    ]
    work: Callable[[ImageJob], ImageResult | Unusable]
    work = process_or_say_why if config.quarantine else process_image
    done = ordered_map(work, jobs, workers=config.workers, on_progress=on_progress, note="reading images")
    results: dict[int, ImageResult] = {}
    quarantined = []
    for image, result in zip(images.values(), done, strict=True):
        if isinstance(result, Unusable):
            quarantined.append(Finding("quarantined", result.reason, image.file_name))
        else:
            results[image.id] = result
    if not results:
        raise DataError(f"not one of {len(images)} images can be used; the first: {quarantined[0].line}")
    usable = {i: image for i, image in images.items() if i in results}
    prints = [_fingerprint(image, results[i]) for i, image in usable.items()]
    turned = label_findings({i: (image, results[i].label_turn) for i, image in usable.items()})
    return Processed(usable, results, prints, [*quarantined, *_seen(usable, results), *turned])


def embedded_pairs(
    images: Mapping[int, ImageRecord],
    data: DataDir,
    config: PrepareConfig,
    on_progress: Tick | None,
    embed: Embed | None,
) -> list[tuple[int, int, float]]:
    """Candidates by embeddings of the prepared images, where ``config`` asks for them."""
    if embed is None or config.near != "embeddings":
        return []
    vectors = embed([data.path / "images" / output_name(i) for i in images], on_progress)
    return near_pairs(list(images), vectors, threshold=config.near_threshold)


def _fingerprint(image: ImageRecord, result: ImageResult) -> Fingerprint:
    return Fingerprint(
        image_id=image.id,
        sha256=result.sha256,
        phash=result.phash,
        thumbnail=result.thumbnail,
        pixel_count=image.width * image.height,
        box_count=len(image.annotations),
    )


def _seen(images: Mapping[int, ImageRecord], results: Mapping[int, ImageResult]) -> Iterator[Finding]:
    for image_id, image in images.items():
        result = results[image_id]
        if (size := result.stored_size) is not None:
            sizes = f"{size[0]}x{size[1]} pixels for {image.width}x{image.height} in the annotation file"
            yield Finding(
                "other_scale", f"{image.file_name}: {sizes}; boxes follow the scale", image.file_name
            )
        if result.unconfirmed is not None:
            kind = "square" if image.width == image.height else "half turn or mirror"
            line = (
                f"{image.file_name}: turned by EXIF orientation {result.unconfirmed}, a {kind} that its size "
            )
            yield Finding(
                "unconfirmed_turn",
                f"{line}in the annotation file can neither confirm nor deny",
                image.file_name,
            )
