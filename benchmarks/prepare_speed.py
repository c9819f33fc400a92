"""Decode, hash, resize and write photographs of native size: the preparation against a plain Pillow loop.

    python benchmarks/prepare_speed.py [--images FOLDER] [--count 24] [--rounds 3] [--cores 2]

Without ``--images`` it draws its own photographs of 3264x2448 pixels. The plain loop is ``Image.open``,
``imagehash.phash``, ``resize``, ``save``; the preparation also takes the sha256 and a thumbnail and turns by
EXIF; "with labels" looks for turned labels too, as it does by default. All run in this process in turn, on
one core, and must find the same duplicates: copies planted at another scale, brightness and quality. Then:
speed on more processes, and memory at two numbers of images.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import statistics
import tempfile
import time
from dataclasses import replace
from multiprocessing.synchronize import Barrier
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import imagehash
import numpy as np
from PIL import Image, ImageEnhance

from taco_kd.data.dedup import Fingerprint, find_duplicates
from taco_kd.data.images import ImageJob, process_image
from taco_kd.data.parallel import ordered_map
from taco_kd.data.records import Annotation

SIZE = 640
THRESHOLD = 4


def draw(folder: Path, count: int, planted: int) -> list[Path]:
    """``count`` photographs and copies of the first ``planted``: noise at all scales, as outdoors."""
    files = []
    for number in range(count):
        rng = np.random.default_rng(number)
        pixels = np.zeros((2448, 3264, 3), dtype=np.float32)
        for cells, weight in ((6, 60), (24, 40), (96, 25), (400, 14), (1600, 9)):
            noise = rng.integers(0, 256, (cells * 3 // 4, cells, 3), dtype=np.uint8)
            layer = Image.fromarray(noise).resize((3264, 2448), Image.Resampling.BICUBIC)
            pixels += (np.asarray(layer, dtype=np.float32) / 255 - 0.5) * 2 * weight
        image = Image.fromarray(np.clip(pixels + 128, 0, 255).astype(np.uint8))
        files.append(folder / f"{number:04d}.jpg")
        image.save(files[-1], quality=92)
        if number < planted:
            copy = ImageEnhance.Brightness(image.resize((3200, 2400))).enhance(1.05)
            files.append(folder / f"{number:04d}_copy.jpg")
            copy.save(files[-1], quality=75)
    return files


def plain(source: Path, target: Path) -> np.ndarray:
    with Image.open(source) as image:
        bits = imagehash.phash(image).hash.ravel()
        image.convert("RGB").resize((SIZE, SIZE), Image.Resampling.BICUBIC).save(target, quality=95)
    return bits


def job(source: Path, folder: Path) -> ImageJob:
    with Image.open(source) as image:
        width, height = image.size
    return ImageJob(source, width, height, SIZE, folder / source.name)


def outlines(one: ImageJob) -> tuple[Annotation, ...]:
    """Four outlines of 24 corners, about as many as a photo of TACO has, for the check of turned labels."""
    turn = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    found = []
    for number in range(4):
        x, y = (0.2 + 0.2 * number) * one.width, (0.3 + 0.1 * number) * one.height
        corners = np.stack([x + 300 * np.cos(turn), y + 200 * np.sin(turn)], axis=1)
        box = (x - 300, y - 200, 600.0, 400.0)
        found.append(Annotation(number, 0, box, (tuple(corners.ravel().tolist()),), 240_000.0, 0))
    return tuple(found)


def pairs_of(hashes: list[np.ndarray], threshold: int = THRESHOLD) -> set[tuple[int, int]]:
    return {
        (i, j)
        for i in range(len(hashes))
        for j in range(i + 1, len(hashes))
        if (hashes[i] != hashes[j]).sum() <= threshold
    }


def peak_mb(files: list[Path], folder: str, answer) -> None:
    """In a process of its own: the peak memory of the preparation's loop, as Linux counts it."""
    jobs = [job(file, Path(folder)) for file in files]
    ordered_map(process_image, jobs, workers=1)
    status = Path("/proc/self/status").read_text()  # getrusage would count what the parent had before exec
    answer.put(int(status.split("VmHWM:")[1].split()[0]) / 1024)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=Path, help="folder of JPEGs instead of drawn ones")
    parser.add_argument("--count", type=int, default=24)
    parser.add_argument("--planted", type=int, default=6)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cores", type=int, default=len(os.sched_getaffinity(0)), help="1: no scaling")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        (folder / "out").mkdir()
        if options.images:
            files = sorted(f for f in options.images.rglob("*") if f.suffix.lower() in (".jpg", ".jpeg"))
            files = files[: options.count]
        else:
            files = draw(folder, options.count, options.planted)
        measure(files, folder, options)


def measure(files: list[Path], folder: Path, options: argparse.Namespace) -> None:
    out = folder / "out"
    jobs = [job(file, out) for file in files]
    megabytes = sum(file.stat().st_size for file in files) / 1e6
    print(
        f"{len(files)} JPEGs, {megabytes / len(files):.1f} MB each, "
        f"the first {jobs[0].width}x{jobs[0].height}"
    )
    seconds: dict[str, list[float]] = {"plain loop": [], "taco-kd": []}
    labelled = [replace(one, labels=outlines(one)) for one in jobs]
    seconds["with labels"] = []
    hashes, results = [], []
    for round_number in range(options.rounds):
        for name in list(seconds) if round_number % 2 == 0 else list(seconds)[::-1]:
            began = time.process_time()
            if name == "plain loop":
                hashes = [plain(file, out / "plain.jpg") for file in files]
            else:
                results = [process_image(one) for one in (jobs if name == "taco-kd" else labelled)]
            seconds[name].append(time.process_time() - began)
    rates = {name: len(files) / statistics.median(times) for name, times in seconds.items()}
    for name, rate in rates.items():
        print(f"{name:11} {rate:6.1f} images/s and core (median of {options.rounds} rounds)")
    for name in ("taco-kd", "with labels"):
        print(f"{name} / plain loop: {rates[name] / rates['plain loop']:.2f}")
    ours, theirs = pairs_of([r.phash for r in results]), pairs_of(hashes)
    differ = [int((a.phash != b).sum()) for a, b in zip(results, hashes, strict=True)]
    print(
        f"pairs within {THRESHOLD} bits: {len(theirs)} by the plain loop, {len(ours)} by taco-kd, "
        f"equal: {ours == theirs}; hashes differ by {max(differ)} bits at most"
    )
    prints = [
        Fingerprint(k, r.sha256, r.phash, r.thumbnail, one.width * one.height, 0)
        for k, (one, r) in enumerate(zip(jobs, results, strict=True))
    ]
    found = find_duplicates(prints, hash_threshold=THRESHOLD)
    print(f"confirmed by pixels: {len(found.pairs)} (planted: {0 if options.images else options.planted})")

    if options.cores > 1:
        scaling(jobs * max(1, -(-480 // len(jobs))), options.cores)
    context = multiprocessing.get_context("spawn")
    peaks = []
    for times in (2, 8):
        answer = context.Queue()
        process = context.Process(target=peak_mb, args=(files[:12] * times, str(out), answer))
        process.start()
        peaks.append((len(files[:12]) * times, answer.get()))
        process.join()
    print("peak memory of one process: " + ", ".join(f"{n} images {mb:.0f} MB" for n, mb in peaks))


def scaling(many: list[ImageJob], cores: int) -> None:
    """Images/s on the clock with one process and with ``cores``, and what the machine itself gives.

    The ceiling: as many independent processes, each of which does all the work alone, at the same time.
    """
    context = multiprocessing.get_context("spawn")
    clock = {}
    for count in (1, cores):
        barrier, answer = context.Barrier(count), context.Queue()
        alone = [context.Process(target=_all_alone, args=(many, barrier, answer)) for _ in range(count)]
        for process in alone:
            process.start()
        clock[count] = sum(len(many) / answer.get() for _ in alone)
        for process in alone:
            process.join()
    print(f"1 process: {clock[1]:.1f} images/s; {cores} that know nothing of each other: {clock[cores]:.1f}")
    began = time.perf_counter()
    ordered_map(process_image, many[:cores], workers=cores)
    start = time.perf_counter() - began
    began = time.perf_counter()
    ordered_map(process_image, many, workers=cores)
    ours = len(many) / (time.perf_counter() - began)
    print(
        f"preparation with {cores} processes: {ours:.1f} images/s, {ours / clock[1]:.2f} of one process and "
        f"{ours / clock[cores]:.2f} of the ceiling, their start ({start:.1f} s) included"
    )


def _all_alone(many: list[ImageJob], barrier: Barrier, answer: multiprocessing.Queue) -> None:
    process_image(many[0])
    barrier.wait()
    began = time.perf_counter()
    for one in many:
        process_image(one)
    answer.put(time.perf_counter() - began)


if __name__ == "__main__":
    main()
