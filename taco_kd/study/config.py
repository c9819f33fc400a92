"""The settings of a study: a grid of arms, initial weights, seeds and folds in one TOML file.

Names resolve as those of recipes do: one of the package's studies, or a path that ends in ``.toml``. Paths
inside the file are relative to the folder the program runs in, as everywhere else.
"""

from __future__ import annotations

import sys
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from taco_kd.config import PrepareConfig, Settings, validate
from taco_kd.errors import UsageError, one_of
from taco_kd.study.check import check

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9.+-]*$")]
"""Part of a folder name. Never an underscore, which separates the parts."""


class StudyData(Settings):
    """The dataset of all cells: give one of the two."""

    path: Path | None = None
    """a prepared dataset"""
    prepare: PrepareConfig | None = None
    """how to make it, in the study's own folder"""


class ArmConfig(Settings):
    """One system of the study: a recipe and what is changed in it."""

    name: Name
    recipe: str
    """a recipe's name or a .toml file"""
    description: str = ""
    set: dict[str, Any] = Field(default_factory=dict)
    """settings that replace the recipe's, the study's and the initialisation's"""
    initialisations: tuple[Name, ...] | None = None
    """which of the study's initialisations it is run with; all by default"""
    student_from: Name | None = None
    """start the student from this arm's run with the same seed and fold: a second stage"""
    teacher_from: Name | None = None
    """take this arm's run with the same seed and fold as the teacher; in both, the run with the same
    initialisation is meant, or that with the only one the arm has"""
    compared: bool = True
    """false for an arm that only serves others, as a first stage or a teacher"""


class InitialisationConfig(Settings):
    """Initial weights of the student; what is not given stays as the recipe has it."""

    name: Name
    weights: str | None = None
    """packaged, random, or the path of a .safetensors file or a run folder"""
    backbone_from: str | None = None
    """take only the backbone from this .safetensors file or run folder"""
    set: dict[str, Any] = Field(default_factory=dict)
    """settings that replace the recipe's and the study's, such as more steps for random weights"""


class FoldsConfig(Settings):
    """Cross-validation over train and val together."""

    count: int = Field(ge=2, le=20)
    """how many folds; each image is in the val split of exactly one"""
    seed: int = Field(0, ge=0)
    """seed of the assignment"""


class SlurmConfig(Settings):
    """What a cell asks of the cluster; see submitit for the meaning."""

    cluster: Literal["slurm", "local"] = "slurm"
    """local is submitit's stand-in for a cluster, to try the jobs on this machine"""
    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    timeout_min: int = Field(240, ge=1)
    """a cell that takes longer is put in the queue again and goes on from its checkpoint"""
    gpus: int = Field(1, ge=0)
    cpus: int = Field(4, ge=1)
    mem_gb: int = Field(16, ge=1)
    setup: tuple[str, ...] = ()
    """shell lines before the job, for example: module load cuda"""


class StudyConfig(Settings):
    """A grid of runs and the question that it answers."""

    name: Name
    description: str
    reference: Name
    """the arm that the others are compared with"""
    data: StudyData
    arms: tuple[ArmConfig, ...] = Field(min_length=1)
    initialisations: tuple[InitialisationConfig, ...] = ()
    """one grid for each; without any, each arm starts as its recipe says"""
    seeds: tuple[Annotated[int, Field(ge=0)], ...] = Field((0,), min_length=1)
    """training seeds"""
    folds: FoldsConfig | None = None
    group_by: str | None = None
    """images that belong together stay in one fold and are resampled together; as in taco-kd compare"""
    set: dict[str, Any] = Field(default_factory=dict)
    """settings that replace those of every arm's recipe"""
    slurm: SlurmConfig = SlurmConfig()

    def arm(self, name: str) -> ArmConfig:
        return next(arm for arm in self.arms if arm.name == name)

    def initialisations_of(self, arm: ArmConfig) -> list[InitialisationConfig | None]:
        """What ``arm`` starts from; ``[None]`` when the study leaves that to the recipes."""
        if not self.initialisations:
            return [None]
        return [
            i for i in self.initialisations if arm.initialisations is None or i.name in arm.initialisations
        ]


def study_names() -> list[str]:
    """Names of the studies in the package."""
    folder = resources.files("taco_kd") / "studies"
    return sorted(f.name.removesuffix(".toml") for f in folder.iterdir() if f.name.endswith(".toml"))


def study_text(name_or_path: str) -> str:
    """The TOML text of a study.

    Raises:
        UsageError: there is none of that name.
    """
    path = Path(name_or_path)
    if path.suffix == ".toml":
        if not path.is_file():
            raise UsageError(f"{path}: no such study file")
        try:
            return path.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise UsageError(f"{path}: not UTF-8 text ({error.reason} at byte {error.start})") from None
    if name_or_path in study_names():
        return (resources.files("taco_kd") / "studies" / f"{name_or_path}.toml").read_text(encoding="utf-8")
    raise UsageError(one_of("study", name_or_path, [*study_names(), "a path ending in .toml"]))


def load_study(name_or_path: str) -> StudyConfig:
    """The study of that name or in that TOML file.

    >>> load_study("table1-nano").reference
    'baseline'

    Raises:
        UsageError: no such study, TOML that does not parse, an unknown key, names that do not agree.
    """
    try:
        values = tomllib.loads(study_text(name_or_path))
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{name_or_path}: not valid TOML ({error})") from None
    where = f"study {name_or_path}"
    study = validate(StudyConfig, values, where=where)
    check(study, where)
    return study
