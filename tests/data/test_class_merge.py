"""Coarser classes, by name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from taco_kd.classes.spaces import space
from taco_kd.config import PrepareConfig
from taco_kd.data.class_merge import merge_classes
from taco_kd.data.prepare import prepare
from taco_kd.data.records import Annotation, Category, ImageRecord, RawDataset
from taco_kd.data.synthetic import write_scenes
from taco_kd.errors import DataError, UsageError


def dataset(names: list[str], supercategory: str = "Thing") -> RawDataset:
    """One image with a box of each class; ids are not places."""
    categories = tuple(Category(10 + 3 * k, name, supercategory) for k, name in enumerate(names))
    boxes = tuple(Annotation(k, c.id, (0, 0, 5, 5), (), 25, 0) for k, c in enumerate(categories))
    return RawDataset((ImageRecord(0, "a.jpg", Path("a"), 10, 10, boxes),), categories, Path("a.json"))


@pytest.mark.parametrize(("name", "classes"), [("taco-1", 1), ("taco-10", 10), ("taco-28", 28)])
def test_tacos_own_maps(name: str, classes: int) -> None:
    raw = dataset([*reversed(space("taco-60"))])  # by name: the order does not matter
    merged = merge_classes(raw, name)
    assert [c.id for c in merged.categories] == list(range(classes))
    assert len(merged.merged) == 60
    assert {row.target for row in merged.merged} == {c.name for c in merged.categories}
    names = [c.name for c in merged.categories]
    expected = {"taco-1": "Litter", "taco-10": "Bottle", "taco-28": "Bottle"}[name]
    place = [c.name for c in raw.categories].index("Clear plastic bottle")
    assert names[merged.images[0].annotations[place].category_id] == expected


def test_supercategories_of_any_dataset() -> None:
    raw = dataset(["cat", "dog"], "animal")
    assert [c.name for c in merge_classes(raw, "supercategories").categories] == ["animal"]
    with pytest.raises(DataError, match="gives none for 'cat'"):
        merge_classes(dataset(["cat"], ""), "supercategories")


def test_a_users_table_merges_and_drops(tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    table.write_text("from,to\ncup,vessel\nGlass,vessel\nbag,-\n")
    merged = merge_classes(dataset(["bag", "cup", "glass"]), str(table))
    assert [(c.id, c.name) for c in merged.categories] == [(0, "vessel")]
    assert [(r.source, r.target, r.boxes) for r in merged.merged] == [
        ("bag", None, 1),
        ("cup", "vessel", 1),
        ("glass", "vessel", 1),
    ]
    assert [a.category_id for a in merged.images[0].annotations] == [0, 0]


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ("from,to\ncup,vessel\n", "no row for class 'bag' .and 1 more.; give each a class, or - to drop it"),
        ("from,to\ncup,a\ncup,b\nbag,a\nglass,a\n", "class 'cup' goes to 'a' and to 'b'"),
        ("from,to\ncup,-\nbag,-\nglass,-\n", "not one box is left"),
    ],
)
def test_table_that_does_not_fit_is_refused(tmp_path: Path, table: str, expected: str) -> None:
    (tmp_path / "t.csv").write_text(table)
    with pytest.raises(DataError, match=expected):
        merge_classes(dataset(["bag", "cup", "glass"]), str(tmp_path / "t.csv"))


def test_unknown_names_are_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="unknown class map 'taco-9': choose one of taco-1, taco-10"):
        merge_classes(dataset(["cup"]), "taco-9")
    (tmp_path / "t.csv").write_text("from,to\ncupp,vessel\n")
    with pytest.raises(UsageError, match=r"t\.csv:2: from = 'cupp' is no class; did you mean 'cup'"):
        merge_classes(dataset(["cup"]), str(tmp_path / "t.csv"))
    with pytest.raises(DataError, match="taco-60-to-taco-10: no row for class 'cat'"):
        merge_classes(dataset(["cat"]), "taco-10")


def test_prepare_applies_and_records_it(tmp_path: Path) -> None:
    root = write_scenes(tmp_path / "raw", count=10, seed=1)
    plain = prepare(PrepareConfig(root=root, size=64), tmp_path / "plain").record()["counts"]
    data = prepare(PrepareConfig(root=root, size=64, class_map="taco-10"), tmp_path / "ten")
    assert data.class_names == space("taco-10")
    counts = data.record()["counts"]
    bottles = [
        plain[s]["boxes_per_class"][c]
        for s in ("train", "val")
        for c in ("Clear plastic bottle", "Glass bottle")
    ]
    assert sum(counts[s]["boxes_per_class"]["Bottle"] for s in ("train", "val")) == sum(bottles)
    rows = {row["source"]: row["target"] for row in data.record()["class_map_table"]}
    assert rows["Glass bottle"] == "Bottle"
    assert "| Glass bottle | Bottle |" in data.card_file.read_text()
    document = json.loads(data.annotations_file("val").read_text())
    assert [c["id"] for c in document["categories"]] == list(range(10))
    # A changed table is another dataset; the same one is not.
    table = tmp_path / "t.csv"
    table.write_text("from,to\n" + "".join(f"{name},{'a' if k else 'b'}\n" for k, name in enumerate(rows)))
    config = PrepareConfig(root=root, size=64, class_map=str(table))
    first = prepare(config, tmp_path / "csv")
    assert prepare(config, tmp_path / "csv") == first
    table.write_text(table.read_text().replace(",b", ",a"))
    with pytest.raises(UsageError, match="already holds another dataset"):
        prepare(config, tmp_path / "csv")
