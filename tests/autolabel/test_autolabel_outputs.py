"""The datasets, the gallery and the reviews, from the stage to the files."""

from __future__ import annotations

import json
import re

import pytest
from fake_detector import FakeDetector
from PIL import Image

from taco_kd.autolabel.find import Finders
from taco_kd.autolabel.review import add_reviews, photos_of
from taco_kd.autolabel.stage import AutolabelOptions, autolabel
from taco_kd.config import PrepareConfig
from taco_kd.data.prepare import prepare
from taco_kd.errors import DataError, UsageError
from taco_kd.report.gallery import write_gallery

FOUND = [("person", 0.9, (10.0, 10.0, 60.0, 50.0)), ("bottle", 0.6, (2.0, 2.0, 30.0, 30.0))]


@pytest.fixture
def folders(make_folders):
    """Photos with enough in them that none is taken for another."""
    root = make_folders({"paper": 3, "plastic": 3})
    for number, path in enumerate(sorted(root.rglob("*.png"))):
        Image.effect_noise((80, 60), 60 + 15 * number).convert("RGB").save(path)
    return root


def test_the_datasets_are_read_by_prepare_and_hold_what_the_filter_kept(folders, tmp_path):
    out = tmp_path / "out"
    result = autolabel(folders, FakeDetector(FOUND), out)
    assert result.kept.key == "table"
    naive, filtered = (json.loads((out / d / "annotations.json").read_text()) for d in ("naive", "filtered"))
    assert len(naive["annotations"]) == 12
    assert len(filtered["annotations"]) == 3  # a bottle may be plastic; paper photos have no label left
    assert {i["file_name"].split("/")[0] for i in filtered["images"]} == {"plastic"}
    lines = sorted((out / "filtered/labels/train").rglob("*.txt"))
    assert [p.parent.name for p in lines] == ["plastic"] * 3
    class_id, *box = lines[0].read_text().split()
    assert (class_id, [float(v) for v in box]) == (
        "1",
        pytest.approx([0.2, 16 / 60, 0.35, 28 / 60], abs=1e-6),
    )
    text = (out / "filtered/data.yaml").read_text()
    assert "train: images/train" in text
    assert '  1: "plastic"' in text

    config = PrepareConfig(
        source="coco",
        images=out / "naive/images/train",
        annotations=out / "naive/annotations.json",
        size=64,
        workers=1,
        train_ratio=0.5,
    )
    data = prepare(config, tmp_path / "data")
    assert data.class_names == ("paper", "plastic")
    assert sum(len(data.coco(s)["annotations"]) for s in ("train", "val")) == 12


def test_the_originals_are_copied_and_never_linked(folders, tmp_path):
    autolabel(folders, FakeDetector(FOUND), tmp_path / "out")
    copy = tmp_path / "out/naive/images/train/plastic/00.png"
    assert copy.read_bytes() == (folders / "plastic/00.png").read_bytes()
    assert not copy.samefile(folders / "plastic/00.png")


def test_photos_of_one_stem_keep_their_own_labels(make_folders, tmp_path):
    root = make_folders({"plastic": 1})
    Image.new("RGB", (80, 60)).save(root / "plastic" / "00.jpg")
    autolabel(root, FakeDetector(FOUND), tmp_path / "out")
    names = sorted(p.name for p in (tmp_path / "out/naive/images/train/plastic").iterdir())
    assert names == ["00.jpg", "00_png.png"]
    assert sorted(p.name for p in (tmp_path / "out/naive/labels/train/plastic").iterdir()) == [
        "00.txt",
        "00_png.txt",
    ]


def test_another_filter_and_no_export(folders, tmp_path):
    options = AutolabelOptions(keep="agreement", export=False)
    finders = Finders(FakeDetector(FOUND[:1], name="other"))
    result = autolabel(folders, FakeDetector(FOUND), tmp_path / "out", options=options, finders=finders)
    assert not (tmp_path / "out/naive").exists()
    rows = {score.key: score for score in result.scores}
    assert rows["agreement"].labels == 6
    assert rows["agreement"].text == "other sees the same"
    with pytest.raises(UsageError, match="unknown remedy"):
        autolabel(folders, FakeDetector(FOUND), tmp_path / "b", options=AutolabelOptions(keep="magic"))
    assert not (tmp_path / "b").exists()


def test_a_folder_that_matches_nothing_is_named_and_its_classes_listed(make_folders, tmp_path):
    root = make_folders({"battery acid": 1, "paper": 1})
    result = autolabel(root, FakeDetector(FOUND), tmp_path / "out")
    (warning,) = result.warnings
    assert "folder 'battery acid' is no column of the table" in warning
    text = (tmp_path / "out/unjudged.csv").read_text()
    assert "detector_class,battery acid,paper,why" in text
    assert "person,?,no,2 boxes seen" in text


def test_the_gallery_stands_alone_escapes_names_and_sorts_by_harm(make_folders, tmp_path):
    root = make_folders({"paper": 2, "<b>x": 1})
    out = tmp_path / "out"
    autolabel(root, FakeDetector(FOUND), out, finish=write_gallery)
    html = (out / "gallery.html").read_text()
    assert "<b>x" not in html
    assert "&lt;b&gt;x" in html
    assert not re.search(r'(src|href)="(?!#|data:)', html)  # nothing is loaded
    assert html.count("<symbol") == 3  # each photo once
    gallery = html.partition('id="cards"')[2]
    ranks = [int(r) for r in re.findall(r'data-rank="(\d)"', gallery)]
    assert ranks == sorted(ranks)
    assert len(ranks) == 6
    sample = html.partition('id="sample"')[2].partition('id="gallery"')[0]
    assert sample.count('data-answer="wrong"') == 6
    assert "detector saw" not in sample  # a reviewer is not led


def test_reviews_come_back_into_the_record_and_the_page(folders, tmp_path):
    out = tmp_path / "out"
    autolabel(folders, FakeDetector(FOUND), out, finish=write_gallery)
    audit = json.loads((out / "audit.json").read_text())
    naive = json.loads((out / "naive.json").read_text())
    answers = [
        {"box": a["id"], "answer": "wrong" if a["verdict"] == "mismatch" else "right"}
        for a in naive["annotations"]
    ]
    file = tmp_path / "reviews.json"
    file.write_text(
        json.dumps({"format": "taco-kd reviews 1", "labels": audit["labels"], "reviews": answers})
    )
    review = add_reviews(out, file)
    assert review["agreement"]["kappa"] == 1.0
    assert review["remedies"]["naive"]["reviewed"] == 12
    assert photos_of(out) == folders.resolve()
    write_gallery(out, photos_of(out))
    assert (
        "Cohen&#39;s kappa" in (out / "gallery.html").read_text()
        or "Cohen's kappa 1.00" in (out / "gallery.html").read_text()
    )
    with pytest.raises(DataError, match="holds no auto-labelling"):
        add_reviews(tmp_path, file)


def test_a_page_is_made_although_the_photos_are_gone(folders, tmp_path):
    out = tmp_path / "out"
    autolabel(folders, FakeDetector(FOUND), out)
    assert 'class="gone"' in write_gallery(out, tmp_path / "nowhere").read_text()
