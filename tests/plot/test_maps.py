import numpy as np
import pytest

from jaxeval import plot


def grid_of(figure, columns):
    """The axes of the grid [rows, columns], and those of the colour bar."""
    *cells, bar = figure.axes
    return np.array(cells, object).reshape(-1, columns), bar


def draw(shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


@pytest.mark.parametrize(
    ("shape", "axis"),
    [((4, 3, 8, 9), 1), ((4, 8, 9, 3), -1), ((4, 8, 9, 3), 3), ((4, 1, 8, 9), 1)],
)
def test_channels_are_summed_and_rows_are_samples(shape, axis):
    x, a = draw(shape), draw(shape, 1)
    pixels = a.sum(axis=axis)
    given = {"full": a, "pixels": pixels, "one channel": np.expand_dims(pixels, axis)}
    figure = plot.attributions(
        x, given, titles=["cat", "dog", "emu", "fox"], channel_axis=axis, n=3
    )
    cells, bar = grid_of(figure, 4)
    assert cells.shape == (3, 4)
    assert [c.get_title() for c in cells[0]] == ["input", "full", "pixels", "one channel"]
    assert [c.get_ylabel() for c in cells[:, 0]] == ["cat", "dog", "emu"]
    for row in range(3):
        reach = np.percentile(np.abs(pixels[row]), 99.5)
        for column in (1, 2, 3):
            (image,) = cells[row, column].images
            np.testing.assert_allclose(image.get_array(), pixels[row] / reach)
            assert image.get_clim() == (-1, 1)
    assert "attribution" in bar.get_xlabel()


def test_signed_and_positive_maps_have_their_scales():
    x, signed = draw((2, 8, 8)), draw((2, 8, 8), 1)
    figure = plot.attributions(x, {"signed": signed, "positive": np.abs(signed)})
    cells, bar = grid_of(figure, 3)
    assert cells[0, 1].images[0].get_clim() == (-1, 1)
    assert cells[0, 2].images[0].get_clim() == (0, 1)
    # White is zero and the largest is the same red in both, so that one bar explains both.
    diverging, sequential = (cells[0, i].images[0] for i in (1, 2))
    for value in (0.0, 0.5, 1.0):
        np.testing.assert_allclose(diverging.to_rgba(value), sequential.to_rgba(value), atol=0.02)
    assert [t.get_text() for t in bar.get_xticklabels()] == ["−1", "0", "1"]
    _, bar = grid_of(plot.attributions(x, {"positive": np.abs(signed)}), 2)
    assert [t.get_text() for t in bar.get_xticklabels()] == ["0", "1"]


def test_a_column_has_one_scale_even_if_a_sample_has_no_negative_value():
    a = np.abs(draw((2, 8, 8)))
    a[1] *= -1
    cells, _ = grid_of(plot.attributions(draw((2, 8, 8)), {"A": a}), 2)
    assert cells[0, 1].images[0].get_clim() == cells[1, 1].images[0].get_clim() == (-1, 1)


def test_inputs_are_shown_in_colour_or_grey_within_their_range():
    rgb = np.random.default_rng(0).random((2, 3, 8, 8))
    a = draw((2, 8, 8))
    show = lambda x: plot.attributions(x, {"A": a}).axes[0].images[0]  # noqa: E731
    np.testing.assert_allclose(show(rgb).get_array(), np.moveaxis(rgb[0], 0, -1))
    image = np.asarray(show(rgb * 4 - 2).get_array())
    assert (image.min(), image.max()) == (0, 1)
    bytes_ = (rgb * 255).astype(np.uint8)
    np.testing.assert_allclose(show(bytes_).get_array(), np.moveaxis(bytes_[0], 0, -1) / 255)
    grey = show(rgb[:, 0])
    np.testing.assert_allclose(grey.get_array(), rgb[0, 0])
    assert grey.get_clim() == (0, 1)
    assert grey.get_cmap().name == "gray"


@pytest.mark.parametrize(
    ("x", "a", "lines"),
    [((3, 50), (3, 50), 1), ((3, 1, 50), (3, 1, 50), 1), ((3, 1, 50), (3, 50), 1)],
)
def test_series_are_lines_over_bands(x, a, lines):
    x, a = draw(x), draw(a, 1)
    cells, _ = grid_of(plot.attributions(x, {"A": a}), 2)
    assert not cells[0, 0].images
    for row in range(3):
        assert len(cells[row, 0].lines) == len(cells[row, 1].lines) == lines
        np.testing.assert_allclose(cells[row, 1].lines[0].get_ydata(), x.reshape(3, -1, 50)[row, 0])
        band = cells[row, 1].images[0]
        assert band.get_array().shape == (1, 50)
        left, right, low, high = band.get_extent()
        assert (left, right) == (-0.5, 49.5)  # one band an entry, centred on it
        assert low < x[row].min()
        assert high > x[row].max()


@pytest.mark.parametrize(
    ("shape", "axis"),
    [((4, 3, 8, 9), 1), ((4, 8, 9, 3), -1), ((4, 13, 8, 9), 1), ((4, 8, 9, 13), -1),
     ((4, 3, 50), 1), ((4, 50, 3), -1), ((4, 20, 50), 1), ((4, 50, 20), -1)],
)  # fmt: skip
def test_channels_are_found(shape, axis):
    """As few entries, or as what the map lacks: the same picture as with channel_axis."""
    x, pixels = draw(shape), draw(np.delete(shape, axis), 1)
    found, said = (plot.attributions(x, {"A": pixels}, **g) for g in ({}, {"channel_axis": axis}))
    for a, b in zip(found.axes[:-1], said.axes[:-1], strict=True):
        assert len(a.images) == len(b.images)
        for one, other in zip(a.images, b.images, strict=True):
            np.testing.assert_array_equal(one.get_array(), other.get_array())
        assert len(a.lines) == len(b.lines)


@pytest.mark.parametrize(
    ("x", "a", "axis"),
    [
        ((2, 3, 50), (2, 3, 50), 1),
        ((2, 50, 3), (2, 50, 3), -1),
        ((2, 3, 50), (2, 50), 1),
        ((2, 3, 50), (2, 1, 50), 1),
        ((2, 3, 50), (2, 3, 1), 1),
        ((2, 50, 3), (2, 1, 3), -1),
        ((2, 12, 50), (2, 50), 1),
    ],
)
def test_channels_of_a_series_are_below_each_other(x, a, axis):
    """Maps per entry, per time step or per channel."""
    x, a = draw(x), draw(a, 1)
    cells, _ = grid_of(plot.attributions(x, {"A": a}), 2)
    n = x.shape[axis]
    full = np.expand_dims(a, axis) if a.ndim == 2 else a
    full = np.moveaxis(np.broadcast_to(full, x.shape), axis, 1)
    for row in range(2):
        assert len(cells[row, 0].lines) == len(cells[row, 1].lines) == n
        reach = np.percentile(np.abs(a[row]), 99.5)
        (image,) = cells[row, 1].images
        np.testing.assert_allclose(image.get_array(), full[row] / reach)
        for c, line in enumerate(cells[row, 1].lines):  # each within its own row of the map
            assert c < line.get_ydata().min() < line.get_ydata().max() < c + 1
    named = plot.attributions(x, {"A": a}, names=[f"ch {c}" for c in range(n)], channel_axis=axis)
    assert [t.get_text() for t in named.axes[0].get_yticklabels()][-1] == f"ch {n - 1}"


def test_volumes_are_slices_with_the_colours_of_the_whole():
    x, a = draw((1, 2, 9, 6, 7)), draw((1, 9, 6, 7), 1)
    figure = plot.attributions(x, {"A": a}, slices=[1, 7], titles=["scan"])
    cells, _ = grid_of(figure, 2)
    reach = np.percentile(np.abs(a[0]), 99.5)
    for row, depth in enumerate((1, 7)):
        np.testing.assert_allclose(cells[row, 1].images[0].get_array(), a[0, depth] / reach)
        assert cells[row, 0].get_ylabel().replace("\n", " ") == f"scan, slice {depth}"
    grey = plot.attributions(x[:, 0], {"A": a}, channel_axis=None)
    assert len(grey.axes) == 3 * 2 + 1
    with pytest.raises(ValueError, match="indices of the 9 slices"):
        plot.attributions(x, {"A": a}, slices=[9])


def test_normalised_images_are_shown_as_they_were():
    image = np.random.default_rng(0).random((2, 3, 8, 8))
    mean, std = np.array([0.4, 0.5, 0.6]), np.array([0.2, 0.3, 0.25])
    x = (image - mean[:, None, None]) / std[:, None, None]
    cells, _ = grid_of(plot.attributions(x, {"A": x}, denormalise=(mean, std)), 2)
    np.testing.assert_allclose(cells[0, 0].images[0].get_array(), np.moveaxis(image[0], 0, -1))
    with pytest.raises(ValueError, match="one per channel"):
        plot.attributions(x, {"A": x}, denormalise=(mean[:2], std))


@pytest.mark.parametrize("shape", [(4, 3, 8, 9), (4, 8, 9, 3)])
def test_channels_of_entry_maps_are_found(shape):
    axis = 1 if shape[1] == 3 else -1
    a = draw(shape, 1)
    figure = plot.attributions(draw(shape), {"A": a}, n=1)
    (image,) = figure.axes[1].images
    reach = np.percentile(np.abs(a.sum(axis)[0]), 99.5)
    np.testing.assert_allclose(np.ravel(image.get_array()), np.ravel(a.sum(axis)[0] / reach))


@pytest.mark.parametrize("shape", [(2, 13, 64, 64), (2, 64, 64, 13), (2, 3, 4, 4), (2, 3, 4)])
def test_channels_that_cannot_be_told_are_refused(shape):
    with pytest.raises(ValueError, match=r"give one of channel_axis=.*channel_axis=-1"):
        plot.attributions(draw(shape), {"A": draw(shape)})
    assert plot.attributions(draw(shape), {"A": draw(shape)}, channel_axis=-1)


def test_three_axes_are_a_grey_image_unless_they_have_few_channels():
    cells, _ = grid_of(plot.attributions(draw((2, 12, 50)), {"A": draw((2, 12, 50))}), 2)
    assert cells[0, 0].images[0].get_array().shape == (12, 50)


@pytest.mark.parametrize("values", [0.0, np.nan])
def test_a_map_without_values_is_drawn(values):
    figure = plot.attributions(draw((1, 8, 8)), {"A": np.full((1, 8, 8), values)})
    figure.draw_without_rendering()


def test_a_map_of_one_pixel_is_scaled_by_it():
    a = np.zeros((1, 40, 40))
    a[0, 3, 4] = 7
    cells, _ = grid_of(plot.attributions(draw((1, 40, 40)), {"A": a}), 2)
    assert np.max(cells[0, 1].images[0].get_array()) == 1


def test_nothing_of_the_caller_changes_and_nothing_is_clipped():
    x, a = draw((2, 3, 8, 8)), draw((2, 8, 8))
    before = x.copy(), a.copy()
    names = ["IntegratedGradients", "a $name_ that is longer than its column"]
    figure = plot.attributions(x, dict.fromkeys(names, a), titles=["a $ b", "a very long title"])
    figure.draw_without_rendering()
    np.testing.assert_array_equal(x, before[0])
    np.testing.assert_array_equal(a, before[1])
    drawn = figure.get_tightbbox()
    assert (drawn.min >= -0.01).all()
    assert (drawn.max <= figure.get_size_inches() + 0.01).all()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"attributions": {}}, "attributions is empty"),
        ({"attributions": {"A": np.zeros((2, 4, 4))}}, r"attributions\['A'\].*\(2, 4, 4\)"),
        ({"attributions": {"A": np.zeros((1, 8, 8))}}, r"attributions\['A'\]"),
        ({"x": np.zeros(4)}, "x must be images"),
        ({"channel_axis": None}, "channel_axis=None"),
        ({"channel_axis": 4}, "channel_axis=4"),
        ({"channel_axis": 0}, "axis 0 is the samples"),
        ({"titles": ["one"]}, "titles must name 2"),
        ({"n": 0}, "n=0"),
    ],
)
def test_what_does_not_fit_is_named(change, words):
    given = {"x": np.zeros((2, 3, 8, 8)), "attributions": {"A": np.zeros((2, 8, 8))}}
    with pytest.raises(ValueError, match=words):
        plot.attributions(**{**given, **change})
