"""The shipped table of costs is what measuring gives."""

import dataclasses
import json

import pytest

from taco_kd.bench.model_table import measure, measure_all, write_costs
from taco_kd.errors import UsageError
from taco_kd.models.costs import shipped_costs
from taco_kd.models.zoo import MODELS

NANO = [entry for entry in MODELS.values() if entry.packaged]


def test_every_model_has_its_figures():
    assert set(shipped_costs()) >= set(MODELS)
    assert all(shipped_costs()[entry.name].image_size == entry.image_size for entry in MODELS.values())


@pytest.mark.parametrize("entry", NANO, ids=lambda entry: entry.name)
def test_shipped_figures_are_measured_ones(entry):
    assert measure(entry) == shipped_costs()[entry.name]


@pytest.mark.slow
@pytest.mark.parametrize("entry", MODELS.values(), ids=lambda entry: entry.name)
def test_shipped_figures_of_all_models(entry):
    assert measure(entry) == shipped_costs()[entry.name]


def test_the_paper_row_of_rt_detr():
    cost = shipped_costs()["rtdetr-r50"]
    assert cost.parameters == 42_850_272
    assert round(cost.paper_parameters_m, 2) == 40.92
    assert round(cost.paper_gflops, 2) == 136.06


def test_fewer_classes_are_fewer_parameters():
    assert measure(NANO[0], classes=2).parameters < measure(NANO[0], classes=20).parameters


def test_round_trip(tmp_path, monkeypatch):
    costs = list(measure_all(NANO[:2]))
    write_costs(tmp_path / "costs.csv", costs)
    monkeypatch.setattr("taco_kd.models.costs.resources.files", lambda _: tmp_path)
    assert list(shipped_costs().values()) == costs


def test_list_models_shows_and_measures(capsys, tmp_path):
    from taco_kd.cli.listing import list_

    list_("models", only="rtdetr-nano", measure=True, out=tmp_path / "c.csv", as_json=True)
    (row,) = json.loads(capsys.readouterr().out)
    assert row["cost"] == dataclasses.asdict(shipped_costs()["rtdetr-nano"])
    assert row["licence"] == "Apache-2.0"
    assert (tmp_path / "c.csv").read_text().count("\n") == 2
    list_("models")
    shown = capsys.readouterr().out
    assert "42.85" in shown
    assert "40.92" in shown
    for wrong in ({"what": "recipes", "measure": True}, {"out": tmp_path / "c.csv"}, {"only": "nothing*"}):
        with pytest.raises(UsageError):
            list_(**{"what": "models", **wrong})
