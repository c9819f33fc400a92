"""Open-vocabulary detectors: the real loading code on tiny random models saved as published ones are."""

from __future__ import annotations

import json

import pytest
import torch
from PIL import Image

from taco_kd.errors import DataError, MissingResourceError, UsageError
from taco_kd.models.open_vocabulary import OpenVocabularyDetector, open_open_vocabulary

PHOTO = Image.effect_noise((96, 64), 80).convert("RGB")


@pytest.fixture(scope="module")
def owl(tmp_path_factory):
    """An OWLv2 of one layer with a tokenizer of single letters (id 0 means no query to it)."""
    from transformers import (
        CLIPTokenizer,
        Owlv2Config,
        Owlv2ForObjectDetection,
        Owlv2ImageProcessor,
        Owlv2Processor,
    )

    folder = tmp_path_factory.mktemp("owl")
    letters = [chr(c) for c in range(ord("a"), ord("z") + 1)]
    words = ["!", "<|startoftext|>", "<|endoftext|>", *letters, *(f"{c}</w>" for c in letters)]
    (folder / "vocab.json").write_text(json.dumps({w: i for i, w in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    tokenizer = CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=16)
    small = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    text = {**small, "vocab_size": len(words), "max_position_embeddings": 16, "bos_token_id": 1,
            "eos_token_id": 2, "pad_token_id": 0}  # fmt: skip
    torch.manual_seed(0)
    config = Owlv2Config(
        text_config=text, vision_config={**small, "image_size": 32, "patch_size": 8}, projection_dim=16
    )
    Owlv2ForObjectDetection(config).save_pretrained(folder)
    processor = Owlv2ImageProcessor(size={"height": 32, "width": 32})
    Owlv2Processor(processor, tokenizer).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def dino(tmp_path_factory):
    """A Grounding DINO with a Swin of one channel group and a BERT of letters."""
    from transformers import (
        BertTokenizer,
        GroundingDinoConfig,
        GroundingDinoForObjectDetection,
        GroundingDinoImageProcessor,
        GroundingDinoProcessor,
    )

    folder = tmp_path_factory.mktemp("dino")
    letters = [chr(c) for c in range(ord("a"), ord("z") + 1)]
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ".", "?", *letters, *(f"##{c}" for c in letters)]
    (folder / "vocab.txt").write_text("\n".join(words))
    tokenizer = BertTokenizer(str(folder / "vocab.txt"))
    torch.manual_seed(0)
    config = GroundingDinoConfig(
        backbone_config={"model_type": "swin", "image_size": 64, "embed_dim": 8, "depths": [1, 1, 1, 1],
                         "num_heads": [1, 1, 1, 1], "window_size": 2,
                         "out_features": ["stage2", "stage3", "stage4"]},
        text_config={"model_type": "bert", "vocab_size": len(words), "hidden_size": 16,
                     "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32},
        d_model=32, encoder_layers=1, decoder_layers=2, encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=32, decoder_ffn_dim=32, num_queries=10,
    )  # fmt: skip
    GroundingDinoForObjectDetection(config).save_pretrained(folder)
    processor = GroundingDinoImageProcessor(size={"shortest_edge": 64, "longest_edge": 96})
    GroundingDinoProcessor(processor, tokenizer).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("name", ["owl", "dino"])
def test_boxes_for_a_word_lie_in_the_photo(name, request):
    folder = request.getfixturevalue(name)
    detector = open_open_vocabulary(str(folder), 0.0)
    found = detector.find(PHOTO, "paper cup")
    assert len(found) > 0
    assert found.boxes_xyxy.min() >= 0
    assert found.boxes_xyxy[:, 2].max() <= 96
    assert found.boxes_xyxy[:, 3].max() <= 64
    assert (found.scores[:-1] >= found.scores[1:]).all()
    assert set(found.class_ids.tolist()) == {0}
    assert len(open_open_vocabulary(str(folder), 1.0).find(PHOTO, "paper cup")) == 0
    assert detector.name == folder.name


def test_folders_that_are_not_whole_are_refused(owl, tmp_path):
    (tmp_path / "config.json").write_text((owl / "config.json").read_text())
    with pytest.raises(DataError, match="cannot load this open-vocabulary detector"):
        OpenVocabularyDetector(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "detr"}')
    with pytest.raises(UsageError, match="unknown open-vocabulary model type 'detr'"):
        OpenVocabularyDetector(tmp_path)
    with pytest.raises(MissingResourceError, match="no such folder, and no hub name"):
        open_open_vocabulary(str(tmp_path / "none"), 0.2)


def test_a_hub_name_that_is_not_here_says_how_to_get_all_of_it():
    with pytest.raises(
        MissingResourceError, match=r"hf download google/owlv2-none --local-dir owlv2-none, then"
    ):
        open_open_vocabulary("google/owlv2-none", 0.2)
