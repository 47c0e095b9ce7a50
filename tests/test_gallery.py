"""The picture of every explainer."""

from __future__ import annotations

import numpy as np
import pytest

from jaxeval import data, explain, gallery

PNG = b"\x89PNG\r\n\x1a\n"
FEW = ("Saliency", "LRP", "GradCAM", "LayerActivation", "Random")


def drawn(tmp_path, monkeypatch, names):
    every = gallery.explainers(data.digits().x_train[:3])
    monkeypatch.setattr(gallery, "explainers", lambda _: {n: every[n] for n in names})
    out = tmp_path / "maps.png"
    return gallery.run(out, progress=False), out.read_bytes()


def test_some_maps(tmp_path, monkeypatch):
    maps, picture = drawn(tmp_path, monkeypatch, FEW)
    assert picture.startswith(PNG)
    assert len(picture) > 20_000
    assert tuple(maps) == FEW
    assert maps["Saliency"].shape == (3, 8, 8, 1)
    assert maps["LayerActivation"].shape[0] == 3
    assert maps["LayerActivation"].shape[1:3] != (8, 8)  # it has the layer's size


def test_every_explainer_has_its_place():
    methods = gallery.explainers(np.zeros((2, 8, 8, 1), np.float32))
    assert {name: type(e) for name, e in methods.items()} == explain.EXPLAINERS


@pytest.mark.slow
def test_every_map(tmp_path, monkeypatch):
    maps, picture = drawn(tmp_path, monkeypatch, explain.EXPLAINERS)
    assert picture.startswith(PNG)
    for name, a in maps.items():
        assert np.isfinite(a).all(), name
        assert name == "Constant" or np.abs(a).max() > 0, name
