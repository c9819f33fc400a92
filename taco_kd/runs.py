"""``DataDir`` and ``RunDir``: the only module that knows the names of files on disk.

A folder is complete when its record (``dataset.json``, ``run.json``) says so; records are written last.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from taco_kd.errors import DataError, UsageError, chosen
from taco_kd.files import read_json, sweep, write_json, written_aside

Split = Literal["train", "val"]
SPLITS: tuple[Split, ...] = ("train", "val")

PRETRAIN = "pretrain"
"""Folder of the first stage within a run of two."""

BEGINNING = "beginning"
"""Status of a run whose folder is being cleared for it; nothing else there is its own."""


def split_named(name: str) -> Split:
    """``name`` as a split; UsageError names the valid ones."""
    return chosen("split", name, SPLITS)


@dataclass(frozen=True)
class DataDir:
    """A prepared dataset: square images and COCO files of a train and a val split.

    Layout: ``dataset.json`` (the record), ``annotations/{split}.json`` (COCO), ``images/{split}/*.jpg``,
    ``labels/{split}/*.txt`` and ``data.yaml`` (YOLO), ``duplicates.json``, ``hashes.json`` (of all
    of these files), ``README.md`` (the dataset card), ``examples.jpg`` (the contact sheet),
    ``duplicates.html`` and ``review/`` (pictures of compared images), ``gates/*.json`` (answers of teacher
    gates, kept).
    """

    path: Path

    @classmethod
    def open(cls, path: Path) -> DataDir:
        """The dataset in ``path``.

        Raises:
            DataError: there is none, or it was not finished.
        """
        data = cls(path)
        if not data.record_file.is_file():
            raise DataError(f"{path}: not a prepared dataset (no dataset.json); make one: taco-kd prepare")
        return data

    @property
    def record_file(self) -> Path:
        return self.path / "dataset.json"

    @property
    def duplicates_file(self) -> Path:
        return self.path / "duplicates.json"

    @property
    def duplicates_page(self) -> Path:
        return self.path / "duplicates.html"

    def review_file(self, image_id: int) -> Path:
        return self.path / "review" / f"{image_id:06d}.jpg"

    @property
    def hashes_file(self) -> Path:
        """What the content hash is made of, so that a change since is found."""
        return self.path / "hashes.json"

    def annotations_file(self, split: Split) -> Path:
        return self.path / "annotations" / f"{split}.json"

    @property
    def yaml_file(self) -> Path:
        return self.path / "data.yaml"

    @property
    def card_file(self) -> Path:
        return self.path / "README.md"

    @property
    def examples_file(self) -> Path:
        return self.path / "examples.jpg"

    def labels_dir(self, split: Split) -> Path:
        return self.path / "labels" / split

    def images_dir(self, split: Split) -> Path:
        return self.path / "images" / split

    def image_file(self, split: Split, file_name: str) -> Path:
        return self.images_dir(split) / file_name

    def gate_file(self, key: str) -> Path:
        """Where the answer of a teacher gate is kept, so that the runs of a study ask once."""
        return self.path / "gates" / f"{key}.json"

    def record(self) -> dict[str, Any]:
        """Settings, counts, class names, hashes and environment of the preparation."""
        record: dict[str, Any] = read_json(self.record_file)
        return record

    @property
    def class_names(self) -> tuple[str, ...]:
        return tuple(self.record()["class_names"])

    @property
    def content_hash(self) -> str:
        """sha256 over the annotation files and image hashes: equal for equal data."""
        return str(self.record()["content_hash"])

    def coco(self, split: Split) -> dict[str, Any]:
        """The split's COCO dictionary; its categories are in the order of ``class_names``."""
        coco: dict[str, Any] = read_json(self.annotations_file(split))
        return coco


@dataclass(frozen=True)
class RunDir:
    """One training run.

    Layout: ``run.json`` (the record), ``log.jsonl`` (a line a step), ``model.safetensors`` (the result),
    ``checkpoint/`` (what a resume needs), ``trouble/`` (batches whose loss was not finite),
    ``metrics/{split}.json``, ``predictions/{split}.json``, ``bench.json``; of evaluations during the run
    ``evaluations.jsonl`` and, while it goes on, ``best/{step}.safetensors``; ``tracking/`` (files of
    TensorBoard and the like); ``ultralytics/`` (what that trainer wrote).
    """

    path: Path

    @classmethod
    def open(cls, path: Path) -> RunDir:
        """The finished run in ``path``.

        Raises:
            DataError: there is none, or it was not finished.
        """
        run = cls(path)
        if not run.record_file.is_file():
            raise DataError(f"{path}: not a run folder (no run.json); make one with taco-kd train")
        if run.record().get("status") != "finished":
            raise DataError(f"{path}: this run is not finished; go on: taco-kd train --resume {path}")
        return run

    @property
    def record_file(self) -> Path:
        return self.path / "run.json"

    @property
    def log_file(self) -> Path:
        return self.path / "log.jsonl"

    @property
    def model_file(self) -> Path:
        return self.path / "model.safetensors"

    @property
    def pretrain(self) -> RunDir:
        """The first stage of a run of two, a run of its own inside it."""
        return RunDir(self.path / PRETRAIN)

    @property
    def trouble_dir(self) -> Path:
        """Batches whose loss was not finite, kept when the run ended because of them."""
        return self.path / "trouble"

    @property
    def checkpoint_dir(self) -> Path:
        return self.path / "checkpoint"

    @property
    def evaluations_file(self) -> Path:
        return self.path / "evaluations.jsonl"

    @property
    def best_dir(self) -> Path:
        return self.path / "best"

    def best_file(self, step: int) -> Path:
        """Weights after that step, kept while the run goes on because no others were better."""
        return self.best_dir / f"{step:08d}.safetensors"

    @property
    def tracking_dir(self) -> Path:
        return self.path / "tracking"

    @property
    def vendor_dir(self) -> Path:
        return self.path / "ultralytics"

    def metrics_file(self, split: Split) -> Path:
        return self.path / "metrics" / f"{split}.json"

    def predictions_file(self, split: Split) -> Path:
        return self.path / "predictions" / f"{split}.json"

    @property
    def bench_file(self) -> Path:
        return self.path / "bench.json"

    @property
    def name(self) -> str:
        return self.path.name

    def record(self) -> dict[str, Any]:
        """Recipe, data hash, environment, status and counts of the run."""
        record: dict[str, Any] = read_json(self.record_file)
        return record

    def write_record(self, record: Mapping[str, Any]) -> None:
        write_json(self.record_file, record)

    def check_claim(self, overwrite: bool) -> None:
        """Raise UsageError where the folder holds something that must not be lost."""
        check_claim(self.path, record_name=self.record_file.name, overwrite=overwrite, what="run")

    def begin(self, record: Mapping[str, Any]) -> None:
        """Write the record of a run that begins here, and remove all that an earlier one left.

        The record comes first and says so: a process that is killed meanwhile leaves neither a folder that
        nobody knows nor a checkpoint of other settings.
        """
        self.write_record({**record, "status": BEGINNING})
        for path in self.path.iterdir():
            if path == self.record_file:
                continue
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
        self.write_record(record)

    def sweep(self) -> None:
        """Remove what killed processes had not finished writing."""
        for folder in (
            self.path,
            self.checkpoint_dir,
            self.best_dir,
            self.path / "metrics",
            self.path / "predictions",
        ):
            sweep(folder)

    def log(self) -> Iterator[dict[str, Any]]:
        """The steps of the log, oldest first; a line cut off by a crash is left out."""
        return _json_lines(self.log_file)

    def evaluations(self) -> Iterator[dict[str, Any]]:
        """The evaluations during the run, oldest first, likewise."""
        return _json_lines(self.evaluations_file)


def _json_lines(file: Path) -> Iterator[dict[str, Any]]:
    if not file.is_file():
        return
    with file.open(encoding="utf-8") as lines:
        for line in lines:
            try:
                yield json.loads(line)
            except json.JSONDecodeError:
                continue


def claim(path: Path, *, record_name: str, overwrite: bool, what: str) -> None:
    """Make sure that ``path`` may be written: it is empty, absent, or ours and ``overwrite`` is set.

    Raises:
        UsageError: the folder holds something that must not be lost.
    """
    check_claim(path, record_name=record_name, overwrite=overwrite, what=what)
    if path.is_dir() and any(path.iterdir()):
        shutil.rmtree(path)


def check_claim(path: Path, *, record_name: str, overwrite: bool, what: str) -> None:
    """Raise as ``claim`` would, and change nothing."""
    if path.exists() and not path.is_dir():
        raise UsageError(f"{path}: is a file; choose another --out")
    if not path.is_dir() or all(written_aside(each) == record_name for each in path.iterdir()):
        return  # nothing, or killed before its record was written
    ours = (path / record_name).is_file()
    if ours and overwrite:
        return
    if ours:
        raise UsageError(f"{path}: already holds another {what}; choose another --out or add --overwrite")
    raise UsageError(f"{path}: is not empty and holds no {what} of ours; choose another --out")


def find_runs(folder: Path) -> list[RunDir]:
    """Finished runs directly under ``folder``, oldest first."""
    found = []
    for record in sorted(folder.glob("*/run.json"), key=lambda f: f.stat().st_mtime):
        run = RunDir(record.parent)
        if run.record().get("status") == "finished":
            found.append(run)
    return found
