"""Pairs of folder and detector class that came up and that the table says nothing of, to fill in."""

from __future__ import annotations

import csv
import io
from collections.abc import Collection, Sequence
from pathlib import Path

from taco_kd.autolabel.audit import FolderAudit
from taco_kd.autolabel.compatibility import DETECTOR_COLUMN, WHY_COLUMN, Compatibility, Verdict
from taco_kd.evaluate.classes import same_name
from taco_kd.files import write_text

_CELLS = {Verdict.COMPATIBLE: "yes", Verdict.MISMATCH: "no", Verdict.UNKNOWN: "?"}


def write_unjudged(
    path: Path, folders: Sequence[FolderAudit], table: Compatibility, vocabulary: Collection[str]
) -> bool:
    """Write a table of one's own to begin with; returns whether there was anything to write."""
    open_pairs = {
        name
        for folder in folders
        for name in folder.seen
        if (same_name(folder.name), same_name(name)) not in table.verdicts
        and table.judge(folder.name, name, vocabulary) is Verdict.UNKNOWN
    }
    if not open_pairs:
        return False
    text = io.StringIO()
    text.write(
        "# Write yes, no or ? and give this file to --compatibility; see compatibility.csv for the meaning.\n"
    )
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow([DETECTOR_COLUMN, *(folder.name for folder in folders), WHY_COLUMN])
    for name in sorted(open_pairs):
        cells = [_CELLS[table.judge(folder.name, name, vocabulary)] for folder in folders]
        boxes = sum(folder.seen[name] for folder in folders)
        rows.writerow([name, *cells, f"{boxes} boxes seen"])
    write_text(path, text.getvalue())
    return True
