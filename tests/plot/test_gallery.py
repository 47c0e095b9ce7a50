"""Bands of maps."""

from __future__ import annotations

import numpy as np
import pytest

from jaxeval import plot

X = np.random.default_rng(0).uniform(size=(2, 3, 8, 8))
A = np.random.default_rng(1).normal(size=(2, 3, 8, 8))


def test_bands_of_maps():
    maps = {f"Explainer{i}": A for i in range(5)} | {"Layer": A[:, :, :4, :4], "Grey": A[:, 0] ** 2}
    figure = plot.gallery(X, maps, titles=["cat", "dog"], columns=3)
    titles = [axes.get_title() for axes in figure.axes if axes.get_title()]
    names = [t.replace("\n", "") for t in titles]
    assert names == ["input", *list(maps)[:3], "input", *list(maps)[3:6], "input", "Grey"]
    assert [a.get_ylabel() for a in figure.axes if a.get_ylabel()] == ["cat", "dog"] * 3
    drawn = {a.get_title(): a.images[0] for a in figure.axes if a.get_title()}
    assert drawn["Layer"].get_array().shape == (4, 4)
    assert drawn["Grey"].get_clim() == (0, 1)
    assert drawn["Layer"].get_clim() == (-1, 1)


@pytest.mark.parametrize(
    ("maps", "message"),
    [
        ({}, "attributions is empty"),
        ({"A": A[:1]}, r"'A'.*\[2, ...\] of images"),
        ({"A": A[0]}, "'A'"),
    ],
)
def test_what_is_no_image_is_refused(maps, message):
    with pytest.raises(ValueError, match=message):
        plot.gallery(X, maps)
