"""The images that an annotation file names by their addresses, fetched in parallel into its layout."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from taco_kd.data.audit import read_document
from taco_kd.data.audit_document import stays_inside
from taco_kd.data.fetch import Fetched, FetchOptions, fetch
from taco_kd.data.images import orientation_to_apply, stored_size
from taco_kd.data.taco import ANNOTATIONS
from taco_kd.errors import DataError, UsageError
from taco_kd.files import replacing, sha256_file, write_json
from taco_kd.progress import Tick

MANIFEST = "manifest.jsonl"
FAILED = "failed.json"
URL_KEYS = ("flickr_url", "flickr_640_url", "coco_url", "url")
"""Keys of a COCO image that hold an address, in the order in which they are tried."""


@dataclass(frozen=True)
class Wanted:
    """An image to fetch: ``urls`` in the order in which they are tried."""

    image_id: int
    file_name: str
    width: int
    height: int
    urls: tuple[str, ...]


@dataclass(frozen=True)
class Downloaded:
    """How a download ended.

    Attributes:
        fetched: images that this run brought.
        present: images that were there already.
        failed: reasons by file name.
    """

    out: Path
    fetched: int
    present: int
    failed: Mapping[str, list[str]]

    @property
    def failed_file(self) -> Path:
        return self.out / FAILED


def download(
    annotations: Path,
    out: Path,
    *,
    jobs: int = 8,
    small: bool = False,
    limit: int | None = None,
    options: FetchOptions | None = None,
    on_progress: Tick | None = None,
) -> Downloaded:
    """Fetch every image that ``annotations`` names into ``out``, with the annotation file beside them.

    A second run fetches what is missing and goes on with what is half there. Each file is decoded and its
    size compared with the record before it takes its name; ``manifest.jsonl`` gets a line for each at once,
    so that nothing is fetched twice after a crash; ``failed.json`` lists what could not be had and why.

    Args:
        small: prefer the address of the small picture (``flickr_640_url``).
        limit: only the first so many images.

    Raises:
        DataError: the annotation file cannot be used.
        UsageError: ``out`` cannot be written, or holds another annotation file.
    """
    document = read_document(annotations)
    wanted = wanted_images(document, annotations, small=small)[:limit]
    _place_annotations(annotations, out)
    known = read_manifest(out)
    missing = [image for image in wanted if not _is_there(image, out, known)]
    failed: dict[str, list[str]] = {}
    done = len(wanted) - len(missing)
    if on_progress is not None:
        on_progress(done, len(wanted), "")
    for image, result in _fetched(missing, out, jobs, options or FetchOptions()):
        if isinstance(result, Fetched):
            _note(out, image, result)
        else:
            failed[image.file_name] = result
        done += 1
        if on_progress is not None:
            on_progress(done, len(wanted), f"{len(failed)} failed" if failed else "")
    rows = [{"image_id": i.image_id, "file_name": i.file_name, "reasons": failed[i.file_name]}
            for i in missing if i.file_name in failed]  # fmt: skip
    write_json(out / FAILED, rows)
    return Downloaded(out, len(missing) - len(failed), len(wanted) - len(missing), failed)


def wanted_images(document: Mapping[str, Any], where: Path, *, small: bool = False) -> list[Wanted]:
    """The images of a COCO dictionary with their addresses, in the order of the file.

    Raises:
        DataError: an entry has no name, size or address, or a name that leaves its folder.
    """
    keys = sorted(URL_KEYS, key=lambda key: key != "flickr_640_url") if small else URL_KEYS
    found: dict[str, Wanted] = {}
    for number, entry in enumerate(document["images"]):
        if not isinstance(entry, dict):
            raise DataError(f"{where}: images[{number}] is not an object")
        name, width, height = entry.get("file_name"), entry.get("width"), entry.get("height")
        if not isinstance(name, str) or not stays_inside(name):
            raise DataError(
                f"{where}: image id {entry.get('id')!r}: file_name {name!r} does not stay in the folder"
            )
        if not (isinstance(width, int) and isinstance(height, int) and width > 0 and height > 0):
            raise DataError(f"{where}: image id {entry.get('id')!r}: no whole width and height")
        urls = [entry[key] for key in keys if isinstance(entry.get(key), str) and entry[key]]
        if not urls:
            raise DataError(f"{where}: image id {entry.get('id')!r}: no address ({', '.join(URL_KEYS)})")
        if name in found:
            continue
        found[name] = Wanted(int(entry.get("id", number)), name, width, height, tuple(dict.fromkeys(urls)))
    return list(found.values())


def check_image(path: Path, image: Wanted) -> str | None:
    """Why a file is not the image that was wanted; None: it is."""
    try:
        stored, orientation = stored_size(path)
    except DataError as error:
        return str(error).removeprefix(f"{path}: ")
    if orientation_to_apply(stored, orientation, (image.width, image.height)) is None:
        return f"{stored[0]}x{stored[1]} pixels, but the annotation file says {image.width}x{image.height}"
    return None


def read_manifest(out: Path) -> dict[str, dict[str, Any]]:
    """What earlier runs fetched, by file name; a line that a crash cut off is left out."""
    found: dict[str, dict[str, Any]] = {}
    try:
        lines = (out / MANIFEST).read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return found
    for line in lines:
        try:
            entry = json.loads(line)
            found[entry["file_name"]] = entry
        except (ValueError, KeyError, TypeError):
            continue
    return found


def _fetched(
    images: Sequence[Wanted], out: Path, jobs: int, options: FetchOptions
) -> Iterator[tuple[Wanted, Fetched | list[str]]]:
    """Each image with its result, as they come; at most ``2 * jobs`` are under way."""
    import httpx

    stop = threading.Event()
    limits = httpx.Limits(max_connections=jobs, max_keepalive_connections=jobs)
    agent = {"User-Agent": "taco-kd (dataset download)"}
    timeout = httpx.Timeout(options.timeout_s, pool=None)
    waiting = iter(images)
    with httpx.Client(limits=limits, timeout=timeout, headers=agent) as client:
        pool = ThreadPoolExecutor(jobs)
        running: dict[Future[Fetched | list[str]], Wanted] = {}

        def start() -> None:
            for image in waiting:

                def check(path: Path, image: Wanted = image) -> str | None:
                    return check_image(path, image)

                job = pool.submit(
                    fetch,
                    client,
                    list(image.urls),
                    out / image.file_name,
                    check=check,
                    options=options,
                    stop=stop,
                )
                running[job] = image
                if len(running) >= 2 * jobs:
                    return

        try:
            start()
            while running:
                for job in wait(running, return_when=FIRST_COMPLETED).done:
                    yield running.pop(job), job.result()
                start()
        finally:
            stop.set()
            pool.shutdown(wait=True, cancel_futures=True)


def _is_there(image: Wanted, out: Path, known: Mapping[str, Mapping[str, Any]]) -> bool:
    """By its length where the manifest knows it, else by a look at it; what is not right is fetched anew."""
    path = out / image.file_name
    try:
        size = path.stat().st_size
    except OSError:
        return False
    entry = known.get(image.file_name)
    if entry is not None:
        return bool(entry.get("size_bytes") == size)
    if check_image(path, image) is not None:
        return False
    _note(out, image, Fetched("", size, sha256_file(path), 0))
    return True


def _note(out: Path, image: Wanted, fetched: Fetched) -> None:
    line = json.dumps({"image_id": image.image_id, "file_name": image.file_name, **asdict(fetched)})
    file = out / MANIFEST
    cut = file.is_file() and file.stat().st_size > 0 and not _ends_line(file)
    with file.open("a", encoding="utf-8") as stream:
        stream.write(("\n" if cut else "") + line + "\n")


def _ends_line(file: Path) -> bool:
    with file.open("rb") as stream:
        stream.seek(-1, 2)
        return stream.read(1) == b"\n"


def _place_annotations(annotations: Path, out: Path) -> None:
    target = out / ANNOTATIONS
    try:
        out.mkdir(parents=True, exist_ok=True)
        if target.is_file():
            if sha256_file(target) != sha256_file(annotations):
                raise UsageError(f"{target}: belongs to another annotation file; choose another --out")
            return
        with replacing(target) as aside:
            aside.write_bytes(annotations.read_bytes())
    except OSError as error:
        raise UsageError(f"{out}: cannot be written ({error.strerror}); choose another --out") from None
