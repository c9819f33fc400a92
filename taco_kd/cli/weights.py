"""``taco-kd inspect-weights``."""

from __future__ import annotations

from typing import Annotated, Any, Optional

import typer

from taco_kd.cli.common import AsJson, print_json, print_table, say
from taco_kd.cli.model_options import AddPrefix, StripPrefix, WeightsClasses


def inspect_weights(
    source: Annotated[
        str,
        typer.Argument(
            help="A run or transformers folder, a .safetensors, .pth, .pt or .onnx file, or a hub name "
            "(OWNER/REPO@REVISION).",
            metavar="SOURCE",
        ),
    ],
    model: Annotated[
        Optional[str],
        typer.Option(help="Show how it would load into this model.", show_default="the one it says it holds"),
    ] = None,
    weights_classes: WeightsClasses = None,
    strip_prefix: StripPrefix = None,
    add_prefix: AddPrefix = None,
    keys: Annotated[
        bool, typer.Option("--keys", help="List every key, and what would become of it.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """What weights hold and how they would load: format, model, classes, input, and every key.

    [bold]Examples[/bold]

    taco-kd inspect-weights runs/teacher

    taco-kd inspect-weights rtdetrv2_r50vd.pth --model rtdetr-r50 --weights-classes coco-80 --keys
    """
    from taco_kd.models.inspect import inspect

    found = inspect(
        source,
        model=model,
        strip_prefix=strip_prefix or "",
        add_prefix=add_prefix or "",
        classes=weights_classes,
    )
    if as_json:
        print_json(found)
        return
    print_table(["what", "found"], _facts(found))
    if keys:
        print_table(["key", "shape", "load"], _key_rows(found))
    if "load_line" in found:
        say(f"Loading it: {found['load_line']}")
        if not found["loads"]:
            hint = f" {found['load_hint']}." if found["load_hint"] else ""
            say(f"That is too little: train and distill would refuse it.{hint}")
    else:
        say("It does not say which model it holds: name one with --model to see how it would load.")


def _facts(found: dict[str, Any]) -> list[list[str]]:
    classes = found["classes"]
    if classes is None:
        named = "not named"
    else:
        space = f" = {found['label_space']}" if found["label_space"] else ""
        more = " …" if len(classes) > 6 else ""
        named = f"{len(classes)}{space}: {', '.join(classes[:6])}{more}"
    rows = [
        ["source", found["source"]],
        ["format", found["format"]],
        ["model", found.get("model", "not named")],
        ["family", found.get("family", "not named")],
        ["parameters", f"{found['parameters']:,} in {found['tensors']} tensors"],
        ["classes", named],
    ]
    if "image_size" in found:
        rows.append(["input", f"{found['image_size']} px, mean {found['mean']}, std {found['std']}"])
    rows += [[key, value] for key, value in found["origin"].items() if key != "model"]
    return rows + [["note", remark] for remark in found["remarks"]]


def _key_rows(found: dict[str, Any]) -> list[list[str]]:
    """Every key of the source and every key that the model misses."""
    shapes = {key: "x".join(map(str, shape)) or "scalar" for key, shape in found["keys"].items()}
    if "load" not in found:
        return [[key, shape, ""] for key, shape in shapes.items()]
    load = found["load"]
    rows = []
    for fate in ("matched", "reshaped", "missing", "unexpected"):
        rows += [[key, shapes.get(key, ""), fate] for key in load[fate]]
    return rows
