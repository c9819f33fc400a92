"""Weights by hub name: from the cache, from a hub on this machine, and one clear line without either."""

import json
import os
import subprocess
import sys

import pytest
from fake_hub import COMMIT, cache_layout, serving

from taco_kd.errors import MissingResourceError, UsageError
from taco_kd.models import hub, zoo
from taco_kd.models.checkpoint_files import INDEX, shards
from taco_kd.models.entry import ModelEntry, Published
from taco_kd.models.weights import weights_hash

REPO = "acme/tiny_rtdetr"


@pytest.fixture(scope="module")
def trained():
    return zoo.load(zoo.packaged_file(zoo.find("rtdetr-nano")))


@pytest.fixture(scope="module")
def repository(trained, tmp_path_factory):
    """What a hub repository of a transformers detector holds."""
    folder = tmp_path_factory.mktemp("repository")
    trained.network.config.id2label = dict(enumerate(trained.class_names))
    trained.network.save_pretrained(folder)
    processor = {"size": {"height": 192, "width": 192}, "do_normalize": False}
    (folder / "preprocessor_config.json").write_text(json.dumps(processor))
    (folder / "README.md").write_text("not needed")
    return folder


@pytest.fixture
def cache(tmp_path, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.mark.parametrize("name", [REPO, f"hub:{REPO}", f"{REPO}@main", f"{REPO}@{COMMIT}"])
def test_a_cached_repository_is_loaded_without_a_network(trained, repository, cache, name):
    cache_layout(cache, REPO, repository)
    model, report = zoo.load_reported(name)
    assert weights_hash(model.network) == weights_hash(trained.network)
    assert model.class_names == trained.class_names
    assert model.image_size == 192
    assert report.origin["repository"] == REPO
    assert report.origin["commit"] == COMMIT
    assert report.line().startswith(f"{REPO}@{COMMIT[:12]}: 443 keys matched of 443")


def test_a_cache_that_lacks_a_file_does_not_count(repository, cache):
    (cache_layout(cache, REPO, repository) / "model.safetensors").unlink()
    assert hub.cached(hub.HubName(REPO)) is None
    with pytest.raises(MissingResourceError, match="is not on this machine"):
        zoo.load(REPO)


def test_offline_is_one_line_that_says_what_to_fetch_and_where_to_put_it(cache):
    with pytest.raises(MissingResourceError) as raised:
        hub.fetch(hub.HubName(REPO, "v1"), wanted_by="--teacher")
    assert str(raised.value) == (
        "acme/tiny_rtdetr@v1: is not on this machine and HF_HUB_OFFLINE is set. Where there is a network: "
        "`hf download acme/tiny_rtdetr --revision v1 config.json preprocessor_config.json model.safetensors "
        "--local-dir tiny_rtdetr`, copy that folder here and give --teacher tiny_rtdetr"
    )


@pytest.mark.parametrize(
    ("word", "found"),
    [
        ("PekingU/rtdetr_v2_r50vd", hub.HubName("PekingU/rtdetr_v2_r50vd")),
        ("hub:a/b@refs/pr/1", hub.HubName("a/b", "refs/pr/1")),
        ("facebook/dinov3-vitb16-pretrain-lvd1689m", hub.HubName("facebook/dinov3-vitb16-pretrain-lvd1689m")),
        ("runs/a/b", None),
        ("/tmp/x", None),
        ("../x/y", None),
        ("./x", None),
        ("packaged", None),
        ("", None),
    ],
)
def test_what_is_a_hub_name(word, found):
    assert hub.parse(word) == found


def test_a_word_that_says_hub_and_is_none_is_usage():
    with pytest.raises(UsageError, match="a hub name is written hub:OWNER/REPO"):
        hub.parse("hub:just-a-name")


def test_an_index_cannot_name_files_outside_its_folder(tmp_path):
    from taco_kd.errors import DataError

    index = tmp_path / INDEX
    index.write_text(json.dumps({"weight_map": {"a": "../../etc/passwd"}}))
    with pytest.raises(DataError, match="outside its own folder"):
        shards(index)
    index.write_text("{}")
    with pytest.raises(DataError, match="names no shards"):
        shards(index)


def test_status_of_weights_in_words_without_torch(repository, cache):
    published = Published(REPO, COMMIT, "Apache-2.0")
    entry = ModelEntry("x", "X", lambda names: None, 64, "", published=published)
    assert hub.weights_status(entry) == f"published, not here: hf download {REPO} --revision {COMMIT}"
    snapshot = cache_layout(cache, REPO, repository)
    assert hub.weights_status(entry) == f"published, in {snapshot}"
    assert hub.weights_status(zoo.find("rtdetr-nano")) == "packaged"
    code = "import sys, taco_kd.models.hub; print('torch' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "False"


def run(tmp_path, address, *words, timeout=300):
    """The program with an empty cache and a hub of its own."""
    environment = {
        **os.environ,
        "HF_HUB_OFFLINE": "0",
        "HF_ENDPOINT": address,
        "HF_HOME": str(tmp_path / "hf"),
    }
    return subprocess.run(
        [sys.executable, "-m", "taco_kd", *map(str, words)],
        capture_output=True,
        text=True,
        env=environment,
        cwd=tmp_path,
        timeout=timeout,
        check=False,
    )


def test_the_program_downloads_by_name_and_records_the_commit(repository, small_data, tmp_path):
    words = ("train", "--data", small_data.path, "--model", f"hub:{REPO}@v1", "--steps", 1, "--out", "run")
    with serving(REPO, repository) as (address, asked):
        found = run(tmp_path, address, *words)
    assert found.returncode == 0, found.stderr
    assert f"{REPO}@{COMMIT[:12]}: 443 keys matched of 443 (100 % of the values)" in found.stderr
    assert any(line.startswith(f"GET /api/models/{REPO}/revision/v1") for line in asked)
    assert not any("README" in line for line in asked)
    record = json.loads((tmp_path / "run/run.json").read_text())
    assert record["loads"][0]["origin"]["commit"] == COMMIT
    assert len(record["loads"][0]["origin"]["sha256"]) == 64
    # what was fetched is used without asking again; the pinned commit is known to be the one
    again = run(tmp_path, "http://127.0.0.1:9", *words[:3], "--model", f"{REPO}@{COMMIT}", "--steps", 1)
    assert again.returncode == 0, again.stderr


@pytest.mark.parametrize(
    ("status", "says"),
    [(403, "accepted the licence"), (500, "the hub answered 500")],
)
def test_a_hub_that_refuses_is_one_line(repository, small_data, tmp_path, status, says):
    with serving(REPO, repository, status=status) as (address, _):
        found = run(tmp_path, address, "distill", "--data", small_data.path, "--teacher", REPO)
    assert found.returncode == 4, found.stderr
    last = found.stderr.strip().splitlines()
    assert len(last) == 1
    assert says in last[0]
    assert not (tmp_path / "taco-kd-out").exists()


def test_no_network_is_one_line_and_does_not_hang(tmp_path):
    """Port 9 refuses; nothing is prepared or written before the weights are known to be there."""
    found = run(tmp_path, "http://127.0.0.1:9", "distill", "--teacher", f"{REPO}@v1", timeout=120)
    assert found.returncode == 4, found.stderr
    (line,) = found.stderr.strip().splitlines()
    assert "the hub cannot be reached" in line
    assert "hf download acme/tiny_rtdetr --revision v1" in line
    assert "give --teacher tiny_rtdetr" in line
    assert not (tmp_path / "taco-kd-out").exists()
