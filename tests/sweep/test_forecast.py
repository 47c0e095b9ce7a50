"""Estimates for devices that are not there: counts of a run, and the work of its model."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

import jaxeval as je
from jaxeval.sweep.devices import DEVICES, Device, find_device
from jaxeval.sweep.plan import Plan
from jaxeval.sweep.roofline import forecast, rows_of
from tests.sweep import things

EXPLAINERS = {"g": je.explain.Gradient(), "x": je.explain.InputXGradient()}
METRICS = {
    "deletion": je.Deletion(n_steps=3, baseline=0.0),
    "lipschitz": je.LocalLipschitz(n_samples=4),
}


def planned(folder, **given):
    return Plan(things.sweep(folder, explainers=EXPLAINERS, metrics=METRICS, **given))


@pytest.mark.parametrize("name", ["h100", "tpu-v5e"])
def test_evaluations_are_those_of_a_run(tmp_path, name):
    plan = planned(tmp_path, batch_size=8)
    found = forecast(plan, DEVICES[name])
    real = plan.results(plan.shards()[0], plan.first, plan.options(batch_size=8), 0)
    asked = sum(v for k, v in real.asked.items() if k != "naive")
    assert found.evaluations == asked
    assert found.batch_size == 8
    assert found.shards == len(plan.shards())
    assert not (tmp_path / "parts").exists()


def test_work_grows_with_the_model_and_time_with_the_device(tmp_path):
    found = {name: forecast(planned(tmp_path), d) for name, d in DEVICES.items()}
    least = 2 * things.F * things.K * found["h100"].evaluations
    assert least <= found["h100"].flops < 100 * least
    assert {f.flops for f in found.values()} == {found["h100"].flops}
    assert all(f.seconds > 0 and f.hours > 0 for f in found.values())
    assert found["a100"].seconds >= found["h100"].seconds
    assert found["h100"].own < found["h100"].bytes


def test_several_devices_share_the_samples_of_a_shard(tmp_path):
    one, four = (forecast(planned(tmp_path), find_device(d)) for d in ("h100", "h100:4"))
    assert four.rows == -(-one.rows // 4)
    assert four.devices == 4
    assert forecast(planned(tmp_path), find_device("h100"), world=2).shards == -(-one.shards // 2)


def test_a_cpu_gets_the_batch_size_of_a_run(tmp_path):
    plan = planned(tmp_path, batch_size=None)
    real = plan.results(plan.shards()[0], plan.first, plan.options(), 0)
    cpu = Device("cpu", find_device("cpu").memory, 1e9, 1e9, 1e9)
    assert forecast(plan, cpu).batch_size == real.settings["batch_size"]


def test_what_is_printed_has_readable_units(tmp_path):
    found = dataclasses.replace(
        forecast(planned(tmp_path), find_device("h100:4")),
        flops=1.12e16, bytes=1.27e14, seconds=167.0, shards=4,
    )  # fmt: skip
    rows = dict(rows_of(found, "h100:4", str))
    assert rows["work of a shard"].startswith("11.2 PFLOP, 127 TB moved")
    assert rows["time of a shard"] == "2.8 min at best"
    assert rows["the sweep"] == "4 shards: 11.1 min at best on each of 4 devices"


def test_names_of_devices():
    assert find_device("TPU-v5e:2x4").count == 8
    assert find_device("a100:3").count == 3
    with pytest.raises(ValueError, match="Did you mean 'h100'"):
        find_device("h1000")
    with pytest.raises(ValueError, match="must be a number or a shape"):
        find_device("h100:0")


def test_this_cpu_is_measured():
    found = find_device("cpu")
    assert np.isfinite([found.bandwidth, found.highest]).all()
