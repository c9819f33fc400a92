"""Runs the program in processes that kill themselves anywhere, and compares what a resume leaves.

``python tests/train/killing.py --points 20`` prints the outcomes of every case as a table.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SMALL = ["--image-size", "96", "--set", "train.batch_size=2", "--set", "train.warmup_steps=1"]
EVERY_STEP = ["--set", "train.checkpoint_seconds=1e-6"]
PRETRAIN = ["--set", "pretrain.batch_size=2"]
_RANDOM = re.compile(r"\.[a-z0-9_]{8}(?=\.tmp)|-[0-9a-f]{64}")
CHOOSING = ["--set", "train.hold_out=0.25", "--set", "train.keep=best"]
CHOOSING += ["--set", "train.evaluate_every=2 steps"]
LOGGED = ("step", "loss", "lr", "grad_norm", "terms", "raw", "weights", "pairs", "gradient_shares")
RECORDED = ("status", "kind", "steps", "steps_total", "init_hash", "final_hash", "selfcheck")


@dataclass(frozen=True)
class Case:
    """A command without its folders; ``cache`` puts a teacher cache beside the run."""

    name: str
    words: list[str]
    cache: bool = False

    def command(self, data: Path, folder: Path) -> list[str]:
        words = [*self.words, *SMALL, "--data", str(data), "--out", str(folder / "run")]
        return [*words, "--teacher-cache", str(folder / "cache")] if self.cache else words

    def resume(self, folder: Path) -> list[str]:
        return [self.words[0], "--resume", str(folder / "run")]


CASES = [
    Case("baseline, EMA", ["train", "--steps", "4", "--set", "train.ema_decay=0.5", *EVERY_STEP]),
    Case("baseline, one checkpoint", ["train", "--steps", "4", "--set", "train.ema_decay=0.5"]),
    Case(
        "distillation, calibrated, cache",
        ["distill", "--recipe", "nano-matched", "--steps", "4", "--no-gate", *EVERY_STEP],
        cache=True,
    ),
    Case(
        "two stages, DINOv3",
        ["distill", "--recipe", "nano-dinov3-convnext-paper", "--steps", "2", *EVERY_STEP, *PRETRAIN],
    ),
    Case(
        "baseline, the best of two evaluations",
        ["train", "--steps", "4", "--set", "train.ema_decay=0.5", *EVERY_STEP, *CHOOSING],
    ),
]


class Server:
    """A process that has imported everything and forks one child for each command."""

    def __init__(self) -> None:
        words = [sys.executable, __file__, "--serve"]
        root = str(Path(__file__).resolve().parents[2])
        environment = {**os.environ, "PYTHONPATH": root, "OMP_NUM_THREADS": "1"}
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(words, stdin=pipe, stdout=pipe, text=True, env=environment)

    def run(
        self,
        command: list[str],
        watch: Path,
        *,
        point: int = 0,
        seconds: float | None = None,
        file_bytes: int | None = None,
        signals: dict[str, str] | None = None,
    ) -> dict[str, Any]:
        """Run ``taco-kd`` on ``command``.

        Args:
            watch: folder whose file operations count as points, besides those of the steps.
            point: number, from 1, of the point at which the process kills itself; 0 for never.
            seconds: after which it is killed from outside.
            file_bytes: a limit on the size of files.
            signals: by name of the point (the first of that name) a signal that it sends itself there.

        Returns:
            ``code`` (negative: the signal), ``said`` on stderr, and the ``points`` it went through.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        job = {"command": command, "watch": str(watch), "point": point, "seconds": seconds}
        job |= {"file_bytes": file_bytes, "signals": signals or {}}
        print(json.dumps(job), file=self._process.stdin, flush=True)
        answer = self._process.stdout.readline()
        assert answer, "the server ended"
        found: dict[str, Any] = json.loads(answer)
        return found

    def close(self) -> None:
        self._process.communicate(timeout=30)


@dataclass
class Points:
    """Counts the points that a process passes, and kills it at one of them."""

    watch: str
    limit: int
    signals: dict[str, str] = field(default_factory=dict)
    names: list[str] = field(default_factory=list)
    sent: bool = False

    def passed(self, name: str) -> bool:
        """Note a point; whether it is the one to die at, for those that do something half before."""
        self.names.append(name)
        if (number := self.signals.pop(name, None)) is not None:
            time.sleep(0.6 if self.sent else 0)  # signals that come together count as one
            self.sent = True
            os.kill(os.getpid(), signal.Signals[number])
        return len(self.names) == self.limit

    def die(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def at(self, name: str) -> None:
        if self.passed(name):
            self.die()

    def place(self, path: object) -> str | None:
        """The path within the watched folder, without the random part of a temporary name."""
        text = os.fsdecode(path) if isinstance(path, str | bytes | os.PathLike) else ""
        if not text.startswith(self.watch):
            return None
        return _RANDOM.sub("", text[len(self.watch) :].strip("/"))


def _hook(points: Points) -> None:
    """Make points of file operations and of what happens in a step."""
    import torch
    from torch.optim.swa_utils import AveragedModel

    from taco_kd.distill import shards
    from taco_kd.models import weights
    from taco_kd.models.detector import Detector
    from taco_kd.train import checkpoint, log_file

    def audit(event: str, args: tuple[Any, ...]) -> None:
        writes = event == "open" and isinstance(args[2], int) and args[2] & (os.O_WRONLY | os.O_RDWR)
        changes = event in ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.chmod")
        if (writes or changes) and (place := points.place(args[0])) is not None:
            points.at(f"{event} {place}")

    def around(owner: Any, name: str, label: str) -> None:
        real = getattr(owner, name)

        def wrapped(*args: Any, **kwargs: Any) -> Any:
            points.at(f"before {label}")
            result = real(*args, **kwargs)
            points.at(f"after {label}")
            return result

        setattr(owner, name, wrapped)

    real_fsync, real_bytes = os.fsync, Path.write_bytes

    def fsync(handle: int) -> None:
        place = points.place(Path(f"/proc/self/fd/{handle}").readlink())
        if place is not None:
            points.at(f"before fsync {place}")
        real_fsync(handle)

    def write_bytes(path: Path, content: bytes) -> int:
        if (place := points.place(path)) is not None and points.passed(f"inside write {place}"):
            real_bytes(path, content[: len(content) // 2])
            points.die()
        return real_bytes(path, content)

    def halving(owner: Any) -> None:
        real = owner.save_file

        def save_file(tensors: Any, path: Any, *args: Any, **kwargs: Any) -> None:
            real(tensors, path, *args, **kwargs)
            if (place := points.place(str(path))) is not None and points.passed(f"inside write {place}"):
                os.truncate(path, os.path.getsize(path) // 2)  # noqa: PTH202 - no audited operation
                points.die()

        owner.save_file = save_file

    real_line = log_file.LogFile.write

    def write_line(log: log_file.LogFile, values: Any) -> None:
        if points.passed(f"inside write {points.place(log.path)}"):
            log._file.write(json.dumps(values).encode()[:30])
            points.die()
        real_line(log, values)

    os.fsync, Path.write_bytes = fsync, write_bytes  # type: ignore[method-assign,assignment]
    log_file.LogFile.write = write_line  # type: ignore[method-assign]
    for owner in (checkpoint, weights, shards):
        halving(owner)
    around(torch.Tensor, "backward", "backward")
    around(torch.optim.AdamW, "step", "optimizer.step")
    around(AveragedModel, "update_parameters", "EMA")

    def forward(module: torch.nn.Module, inputs: object) -> None:
        if isinstance(module, Detector) and module.training:
            points.at("before forward")

    torch.nn.modules.module.register_module_forward_pre_hook(forward)
    sys.addaudithook(audit)


def _child(job: dict[str, Any], said: Path) -> None:
    from taco_kd.cli.app import main

    with said.open("w") as stream:
        for number in (1, 2):
            os.dup2(stream.fileno(), number)
    if job["file_bytes"] is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (job["file_bytes"],) * 2)
    points = Points(job["watch"], job["point"], job["signals"])
    _hook(points)
    sys.argv = ["taco-kd", *job["command"]]
    code: object = 0
    try:
        main()
    except SystemExit as end:
        code = end.code or 0
    said.with_suffix(".points").write_text(json.dumps(points.names))
    sys.stdout.flush()
    os._exit(code if isinstance(code, int) else 1)


def _serve() -> None:
    import taco_kd.cli.training_run
    import taco_kd.models.dinov3
    import taco_kd.train.stage  # noqa: F401
    from taco_kd.progress import console

    said = Path(tempfile.mkdtemp()) / "said"
    answers = os.fdopen(os.dup(1), "w")
    for line in sys.stdin:
        job = json.loads(line)
        points = said.with_suffix(".points")
        points.unlink(missing_ok=True)
        child = os.fork()
        if child == 0:
            console.file = sys.stderr
            _child(job, said)
        if job["seconds"] is not None:
            time.sleep(job["seconds"])
            os.kill(child, signal.SIGKILL)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        names = json.loads(points.read_text()) if points.is_file() else []
        print(json.dumps({"code": code, "said": said.read_text(), "points": names}), file=answers, flush=True)
    shutil.rmtree(said.parent)


def left(run: Path) -> dict[str, Any]:
    """What a run leaves, without clock times: models, logs, records, scores and names of files."""
    found: dict[str, Any] = {"files": sorted(str(f.relative_to(run)) for f in run.rglob("*"))}
    for file in sorted(run.rglob("*")):
        name = str(file.relative_to(run))
        if file.name == "log.jsonl":
            lines = [json.loads(line) for line in file.read_text().splitlines()]
            found[name] = [{key: line.get(key) for key in LOGGED} for line in lines]
        elif file.name == "evaluations.jsonl":
            lines = [json.loads(line) for line in file.read_text().splitlines()]
            found[name] = [{**line, "seconds": None} for line in lines]
        elif file.name == "run.json":
            record = json.loads(file.read_text())
            found[name] = {key: record.get(key) for key in RECORDED}
        elif file.suffix == ".safetensors":
            found[name] = _weights(file)
        elif file.is_file():
            found[name] = hashlib.sha256(file.read_bytes()).hexdigest()
    return found


def sound(checkpoint: Path) -> bool:
    """Whether a checkpoint's bytes are those that its name promises."""
    return hashlib.sha256(checkpoint.read_bytes()).hexdigest() == checkpoint.stem.split("-")[1]


def _weights(file: Path) -> str:
    """Hash of the tensors; the order of the metadata in a safetensors file is not always the same."""
    from safetensors.numpy import load_file

    digest = hashlib.sha256()
    for name, values in sorted(load_file(file).items()):
        digest.update(f"{name} {values.dtype} {values.shape}".encode() + values.tobytes())
    return digest.hexdigest()


@dataclass(frozen=True)
class Outcome:
    """Of one or more kills and the run that went on after them."""

    where: str
    how: str
    good: bool
    why: str = ""


class Matrix:
    """Kills one case in many ways and compares with the undisturbed run."""

    def __init__(self, server: Server, case: Case, data: Path, folder: Path) -> None:
        self.server, self.case, self.data, self.folder = server, case, data, folder
        folder.mkdir(parents=True)
        began = time.monotonic()
        done = self.start()
        self.seconds = time.monotonic() - began
        assert done["code"] == 0, done["said"]
        self.undisturbed = left(folder / "run")
        self.points: list[str] = done["points"]

    def start(self, **kill: Any) -> dict[str, Any]:
        return self.server.run(self.case.command(self.data, self.folder), self.folder, **kill)

    def killed(self, kills: list[dict[str, Any]], *, by_flag: bool) -> Outcome:
        """Kill the run, and its resumptions, as ``kills`` says; then let it end and compare."""
        shutil.rmtree(self.folder)
        self.folder.mkdir()
        places = []
        for number, kill in enumerate(kills):
            done = self.go_on(by_flag, **kill) if number else self.start(**kill)
            places.append(self._named(kill, resumed=number > 0))
            if done["code"] != -signal.SIGKILL and done["code"] != 0:
                return Outcome(" then ".join(places), "", False, done["said"].splitlines()[-1])
        how = "--resume" if by_flag and (self.folder / "run/run.json").is_file() else "same command"
        done = self.go_on(by_flag)
        where = " then ".join(places)
        if done["code"] != 0:
            return Outcome(where, how, False, f"exit {done['code']}: {done['said'].splitlines()[-1]}")
        now = left(self.folder / "run")
        differ = sorted(
            key for key in now.keys() | self.undisturbed.keys() if now.get(key) != self.undisturbed.get(key)
        )
        beside = sorted(f.name for f in self.folder.rglob("*.tmp"))
        return Outcome(where, how, not differ and not beside, ", ".join([*differ, *beside]))

    def go_on(self, by_flag: bool, **kill: Any) -> dict[str, Any]:
        if by_flag and (self.folder / "run/run.json").is_file():
            return self.server.run(self.case.resume(self.folder), self.folder, **kill)
        return self.start(**kill)

    def _named(self, kill: dict[str, Any], *, resumed: bool) -> str:
        if "seconds" in kill:
            return f"after {kill['seconds']:.2f} s"
        if resumed:
            return f"point {kill['point']} of the resumed run"
        return f"{kill['point']}/{len(self.points)} {self.points[kill['point'] - 1]}"

    def chosen(self, count: int, seed: int = 0) -> list[int]:
        """Numbers of points: one of each kind as far as ``count`` goes, then at random."""
        draw = random.Random(seed)
        kinds: dict[str, list[int]] = {}
        for number, name in enumerate(self.points, start=1):
            kinds.setdefault(name, []).append(number)
        each = [draw.choice(numbers) for numbers in kinds.values()]
        draw.shuffle(each)
        others = [n for n in range(1, len(self.points) + 1) if n not in each]
        draw.shuffle(others)
        return sorted([*each, *others][:count])

    def outcomes(self, count: int, seed: int = 0) -> Iterator[Outcome]:
        """Of ``count`` points, and a quarter as many kills from outside and of resumed runs."""
        draw = random.Random(seed)
        for place, point in enumerate(self.chosen(count, seed)):
            yield self.killed([{"point": point}], by_flag=place % 2 == 1)
        for place in range(count // 4):
            seconds = draw.uniform(0, self.seconds)
            yield self.killed([{"seconds": seconds}], by_flag=place % 2 == 1)
        for place in range(count // 4):
            first = draw.randrange(1, len(self.points) + 1)
            second = draw.randrange(1, max(2, len(self.points) - first))
            yield self.killed([{"point": first}, {"point": second}], by_flag=place % 2 == 1)


def synthetic(folder: Path, seed: int = 11) -> Path:
    from taco_kd.config import PrepareConfig
    from taco_kd.data.prepare import prepare

    config = PrepareConfig(source="synthetic", scenes=12, size=96, seed=seed, workers=1, train_ratio=0.7)
    return prepare(config, folder).path


def _table(count: int, seed: int, only: str) -> int:
    server, bad = Server(), 0
    with tempfile.TemporaryDirectory() as folder:
        data = synthetic(Path(folder) / "data")
        for case in [case for case in CASES if only in case.name]:
            matrix = Matrix(server, case, data, Path(folder) / "matrix")
            print(f"\n## {case.name}\n\n| killed at | went on by | outcome |\n| --- | --- | --- |")
            outcomes = []
            for outcome in matrix.outcomes(count, seed):
                outcomes.append(outcome)
                said = "identical" if outcome.good else f"DIFFERS: {outcome.why}"
                print(f"| {outcome.where} | {outcome.how} | {said} |", flush=True)
            good = sum(o.good for o in outcomes)
            print(
                f"\n{good} of {len(outcomes)} identical; {len(matrix.points)} points in the undisturbed run."
            )
            bad += len(outcomes) - good
            shutil.rmtree(matrix.folder)
    server.close()
    return bad


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--serve", action="store_true")
    parser.add_argument("--points", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--case", default="", help="a part of the name")
    options = parser.parse_args()
    if options.serve:
        _serve()
    else:
        sys.exit(1 if _table(options.points, options.seed, options.case) else 0)
