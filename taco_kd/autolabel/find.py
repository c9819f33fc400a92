"""One pass over the photos: what the detector found, and the detectors of the remedies."""

from __future__ import annotations

from dataclasses import dataclass

from taco_kd.autolabel.folders import ClassFolders, UnreadableImageError
from taco_kd.autolabel.naive import LabelledPhoto, label_photo
from taco_kd.autolabel.remedies import Second
from taco_kd.models.open_vocabulary import OpenVocabularyDetector
from taco_kd.models.ultralytics_file import BoxDetector
from taco_kd.progress import Tick
from taco_kd.types import Detections

NO_SECOND = "no second detector (--second-detector)"
NO_WORDS = "no open-vocabulary detector (--open-vocabulary FOLDER or OWNER/REPO)"


@dataclass(frozen=True)
class Finders:
    """The detectors of the remedies; a text says why there is none.

    Attributes:
        second: agrees with the detector, or not.
        words: is asked for the folder's name.
    """

    second: BoxDetector | str = NO_SECOND
    words: OpenVocabularyDetector | str = NO_WORDS


@dataclass(frozen=True)
class Sight:
    """Labelled photos, (folder, message) of those that could not be decoded, and other detectors' finds."""

    photos: list[LabelledPhoto]
    bad: list[tuple[str, str]]
    second: Second | str
    words: Second | str


def look(
    data: ClassFolders, detector: BoxDetector, finders: Finders, min_score: float, on_progress: Tick | None
) -> Sight:
    """Run all detectors over all photos; a photo that cannot be decoded is set aside with the reason."""
    photos: list[LabelledPhoto] = []
    bad: list[tuple[str, str]] = []
    second: list[Detections] = []
    words: list[Detections] = []
    for done, photo in enumerate(data.photos, start=1):
        try:
            image = data.read(photo)
        except UnreadableImageError as error:
            bad.append((photo.label, str(error)))
        else:
            found = detector.detect(image).above(min_score)
            photos.append(label_photo(photo, image.size, found, detector.class_names))
            if not isinstance(finders.second, str):
                second.append(finders.second.detect(image).above(min_score))
            if not isinstance(finders.words, str):
                words.append(finders.words.find(image, " ".join(photo.label.replace("_", " ").split("-"))))
        if on_progress is not None:
            on_progress(done, len(data.photos), photo.label)
    return Sight(
        photos,
        bad,
        finders.second
        if isinstance(finders.second, str)
        else Second(finders.second.name, finders.second.class_names, second),
        finders.words if isinstance(finders.words, str) else Second(finders.words.name, (), words),
    )
