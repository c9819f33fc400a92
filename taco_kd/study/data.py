"""The folder of a study, and the dataset its cells are trained on."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from taco_kd.config import PrepareConfig
from taco_kd.data.prepare import prepare
from taco_kd.errors import DataError, UsageError
from taco_kd.files import write_text
from taco_kd.progress import Tick
from taco_kd.runs import DataDir, claim
from taco_kd.study.cells import Cell
from taco_kd.study.config import StudyConfig, load_study
from taco_kd.study.fold_data import make_folds

RECORD_NAME = "study.toml"
"""The file of a study's folder that says which study it is: the settings it was last called with."""

Task = Callable[[str], AbstractContextManager[Tick]]


@dataclass(frozen=True)
class StudyData:
    """The dataset of a study: the whole, and one for each fold (or the whole again)."""

    whole: DataDir
    folds: tuple[DataDir, ...] | None

    def of(self, cell: Cell) -> DataDir:
        return self.whole if self.folds is None or cell.fold is None else self.folds[cell.fold]


def claim_folder(study: StudyConfig, out: Path) -> None:
    """Refuse a folder that is not this study's.

    Raises:
        UsageError: it holds another study, or something else.
    """
    record = out / RECORD_NAME
    if not record.is_file():
        claim(out, record_name=RECORD_NAME, overwrite=False, what="study")
        return
    try:
        name = load_study(str(record)).name
    except UsageError as error:
        raise UsageError(f"{error} (choose another --out)") from None
    if name != study.name:
        raise UsageError(f"{out}: holds the study {name}, not {study.name}; choose another --out")


def make_data(study: StudyConfig, text: str, out: Path, data_path: Path | None, task: Task) -> StudyData:
    path = data_path or study.data.path
    if path is not None and not path.exists():
        raise DataError(
            f"{path}: the study's dataset is not there; make it with taco-kd prepare --out {path}, or name "
            "yours with --data"
        )
    if not (out / RECORD_NAME).is_file():
        write_text(out / RECORD_NAME, text)
    if path is not None:
        whole = DataDir.open(path)
    else:
        with task("prepare") as tick:
            whole = prepare(study.data.prepare or PrepareConfig(), out / "data", on_progress=tick)
    if study.folds is None:
        return StudyData(whole, None)
    with task("folds") as tick:
        return StudyData(
            whole, make_folds(whole, out / "folds", study.folds, group_by=study.group_by, on_progress=tick)
        )


def data_there(study: StudyConfig, out: Path, data_path: Path | None) -> StudyData | None:
    whole = DataDir(data_path or study.data.path or out / "data")
    if not whole.record_file.is_file():
        return None
    if study.folds is None:
        return StudyData(whole, None)
    folds = tuple(DataDir(out / "folds" / f"fold{index}") for index in range(study.folds.count))
    return StudyData(whole, folds) if all(fold.record_file.is_file() for fold in folds) else None
