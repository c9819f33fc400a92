"""The options of ``taco-kd prepare``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

Out = Annotated[Path, typer.Option(help="Folder of the prepared dataset.")]

Source = Annotated[str, typer.Option(help="auto, synthetic, taco, coco, yolo or voc")]
Root = Annotated[
    Optional[Path],
    typer.Option(help="Folder of a dataset in TACO's, YOLO's, Pascal VOC's or COCO's layout."),
]
Images = Annotated[Optional[Path], typer.Option(help="Folder of images of a COCO dataset.")]
Annotations = Annotated[Optional[Path], typer.Option(help="COCO annotation file.")]
ClassMap = Annotated[
    Optional[str],
    typer.Option(help="Coarser classes: taco-1, taco-10, taco-28, supercategories or a CSV file (from,to)."),
]
Size = Annotated[int, typer.Option(help="Side in pixels of the square output images.")]
Mode = Annotated[
    str,
    typer.Option(help="stretch to the square (the paper), or letterbox: keep proportions, pad with grey."),
]
TruncateBoxes = Annotated[
    bool,
    typer.Option(
        "--truncate-boxes", help="Cut boxes to whole pixels of the output, as the paper's authors did."
    ),
]
ClipBoxes = Annotated[
    bool,
    typer.Option("--clip-boxes", help="Clip boxes that leave their image instead of refusing the file."),
]
HashThreshold = Annotated[
    int, typer.Option(help="Perceptual hashes at most this many bits apart are candidate duplicates.")
]
Hash = Annotated[str, typer.Option("--hash", help="Perceptual hash: phash, dhash or whash.")]
HashSize = Annotated[int, typer.Option(help="Side of the hash in bits; 8 makes 64 bits.")]
Near = Annotated[
    str, typer.Option(help="embeddings: candidate duplicates by the vectors of a backbone too, besides hash.")
]
NearModel = Annotated[
    str, typer.Option(help="That backbone: a listed model, a run or transformers folder, a weights file.")
]
NearThreshold = Annotated[float, typer.Option(help="Vectors with at least this cosine are candidates.")]
Quarantine = Annotated[
    bool, typer.Option("--quarantine", help="Keep unusable images out, each listed, instead of stopping.")
]
CheckLabels = Annotated[
    bool, typer.Option("--check-labels/--no-check-labels", help="Look for labels that are turned.")
]
Ratio = Annotated[float, typer.Option(help="Share of the images that goes to train.")]
TrainRatio = Annotated[Optional[float], typer.Option(hidden=True, help="The former name of --ratio.")]
Seed = Annotated[int, typer.Option(help="Seed of the split, and of synthetic scenes.")]
Stratify = Annotated[
    bool,
    typer.Option("--stratify", help="Give both parts the same share of each class, as nearly as can be."),
]
GroupBy = Annotated[
    Optional[str],
    typer.Option(
        help="Keep together in the split: duplicates, batch (folders), time (shots in a row) or scene."
    ),
]
KFold = Annotated[
    Optional[int], typer.Option("--kfold", help="Cut into this many parts; one of them is val.")
]
Fold = Annotated[int, typer.Option(help="Which part of --kfold is val, from 0.")]
Ids = Annotated[
    Optional[str],
    typer.Option(help="Images of val: taco-paper-225, or a file with an image id or file name a line."),
]
KeepSplit = Annotated[
    bool, typer.Option("--keep-split", help="Keep the train and val parts of a YOLO, VOC or COCO source.")
]
Scenes = Annotated[int, typer.Option(help="How many scenes the synthetic source draws.")]
Workers = Annotated[int, typer.Option(help="Processes; 0 means one per core.")]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Print counts, time and disk space as estimated, and write nothing.")
]
