"""One self-contained HTML page with every pair of images that was compared: ``duplicates_page(data)``."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from taco_kd import __version__
from taco_kd.errors import DataError
from taco_kd.files import read_json, write_text
from taco_kd.report.templates import own_text, template
from taco_kd.runs import DataDir

REASONS = {"sha256": "equal bytes", "hash": "close hashes", "embedding": "close embeddings"}


@dataclass(frozen=True)
class Side:
    """One image of a pair; ``uri`` is None where no picture of it was kept."""

    file_name: str
    uri: str | None
    kept: bool


@dataclass(frozen=True)
class Pair:
    """Two images side by side, and what was decided: ``same`` or not."""

    sides: tuple[Side, Side]
    same: bool
    reason: str
    hash_distance_bits: int
    pixel_difference: float
    similarity: float | None
    kept: str


def duplicates_page(data: DataDir, out: Path | None = None) -> Path:
    """Write the page of a prepared dataset to ``out``, by default into its folder.

    Raises:
        DataError: the dataset has no record of its duplicates.
    """
    out = out or data.duplicates_page
    found: Mapping[str, Any] = read_json(data.duplicates_file)
    try:
        pairs = [_pair(data, entry, same=True) for entry in found["pairs"]]
        pairs += [_pair(data, entry, same=False) for entry in found.get("rejected_pairs", [])]
    except (KeyError, TypeError) as error:
        raise DataError(f"{data.duplicates_file}: not a list of compared pairs ({error})") from None
    html = template("duplicates.html").render(
        name=data.path.resolve().name,
        version=__version__,
        style=own_text("style.css") + own_text("audit.css"),
        found=found,
        hash_name=f"{found.get('hash_bits', 64)}-bit {found.get('hash', 'phash')}",
        pixel_threshold=found.get("pixel_threshold", 20.0),
        same=[pair for pair in pairs if pair.same],
        different=[pair for pair in pairs if not pair.same],
        groups=_groups(found["pairs"]),
    )
    write_text(out, html.lstrip())
    return out


def _pair(data: DataDir, entry: Mapping[str, Any], *, same: bool) -> Pair:
    kept = str(entry.get("kept", ""))
    first, second = (
        Side(str(name), _uri(data.review_file(int(number))), str(name) == kept)
        for name, number in zip(entry["file_names"], entry["image_ids"], strict=True)
    )
    return Pair(
        sides=(first, second),
        same=same,
        reason=REASONS.get(entry.get("found_by", "hash"), "close hashes"),
        hash_distance_bits=int(entry["hash_distance_bits"]),
        pixel_difference=float(entry["pixel_difference"]),
        similarity=entry.get("similarity"),
        kept=kept,
    )


def _uri(file: Path) -> str | None:
    if not file.is_file():
        return None
    return "data:image/jpeg;base64," + base64.b64encode(file.read_bytes()).decode()


def _groups(pairs: Sequence[Mapping[str, Any]]) -> int:
    return len({str(pair["kept"]) for pair in pairs})
