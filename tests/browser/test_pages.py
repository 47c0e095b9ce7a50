"""The report and the site in a browser: what is shown, sorted and folded, on every screen."""

from __future__ import annotations

import functools
import http.server
import io
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import jaxeval as je

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
EVIL = "<script>window.bad=1</script>"
QUOTES = "\"both\" 'kinds' & <b>"
WIDE, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}
SITE = (
    "",
    "guide/",
    "metrics/",
    "explainer-reference/",
    "api/evaluate/",
    "choosing/",
    "changelog/",
)
SITE += ("reference-results/", "tutorials/vision/")


@pytest.fixture(scope="session")
def report(tmp_path_factory):
    """A report with all its sections, of explainers and metrics with evil names."""
    for package in ("jinja2", "matplotlib"):
        pytest.importorskip(package)
    rng = np.random.default_rng(0)
    x = rng.uniform(size=(12, 1, 6, 6)).astype(np.float32)
    w = rng.normal(size=(36, 3)).astype(np.float32)
    model = je.Model(lambda w, x: x.reshape(len(x), -1) @ w, w)
    explainers = {
        "Saliency": je.explain.Saliency(),
        EVIL: je.explain.InputXGradient(),
        QUOTES: je.explain.Random(),
    }
    metrics = {
        EVIL: je.PixelFlipping(n_steps=6, baseline=0.0),
        QUOTES: je.SRG(n_steps=6, baseline=0.0),
        **{
            f"correlation(subset_size={n})": je.FaithfulnessCorrelation(n_runs=9, subset_size=n)
            for n in (2, 4)
        },
        "sparseness": je.Sparseness(),
    }
    results = je.evaluate(model, x, explainers=explainers, metrics=metrics, progress=False)
    meta = je.meta_evaluate(
        model, x, explainers=explainers, metrics=metrics, tests=[je.MapNoise(levels=(0, 0.5, 1))],
        n_perturbations=2, groups=1, progress=False,
    )  # fmt: skip
    maps = {name: je.attribute(e, model, x, results.y) for name, e in explainers.items()}
    folder = tmp_path_factory.mktemp("report")
    return results.report(
        folder / "report.html", title=f"A report of {EVIL}", x=x, attributions=maps, meta=meta
    )


@pytest.fixture(scope="session")
def site(tmp_path_factory):
    """The site as `make docs-quick` builds it."""
    for package in ("material", "mkdocstrings_handlers", "jupytext", "latex2mathml"):
        pytest.importorskip(package)
    folder = tmp_path_factory.mktemp("site")
    build = [sys.executable, "-m", "mkdocs", "build", "--strict", "-q", "-d", str(folder)]
    own = {"JAXEVAL_TUTORIALS": "skip", "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(
        build, cwd=ROOT, env=os.environ | own, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    # By HTTP, as browsers let no page that is a file read another, which search does.
    handler = functools.partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/"
        server.shutdown()


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Writes no log."""

    def log_message(self, format: str, *args: Any) -> None: ...


class Opened:
    """A page, what it wrote to the console, and what it asked for elsewhere."""

    def __init__(self, browser: Any, address: str, **given: Any) -> None:
        self.context = browser.new_context(**{"viewport": WIDE, **given})
        self.page = self.context.new_page()
        self.errors: list[str] = []
        self.asked: list[str] = []
        self.page.on("console", lambda m: self._heard(m))
        self.page.on("pageerror", lambda e: self.errors.append(str(e)))
        self.page.on("request", lambda r: self.asked.append(r.url))
        self.page.goto(address)
        if folder := os.environ.get("JAXEVAL_SCREENSHOTS"):
            kind = f"{given.get('color_scheme', 'light')}-{self.page.viewport_size['width']}"
            name = "-".join(Path(address.removeprefix("file://")).parts[-2:]).replace(".html", "")
            Path(folder).mkdir(parents=True, exist_ok=True)
            self.page.screenshot(path=f"{folder}/{name}-{kind}.png")

    def _heard(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.errors.append(message.text)

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *_: Any) -> None:
        self.context.close()

    def too_wide(self) -> int:
        """By how many pixels the page is wider than the screen."""
        root = "document.scrollingElement"
        return self.page.evaluate(f"{root}.scrollWidth - {root}.clientWidth")


def address(file: Path) -> str:
    return file.resolve().as_uri()


@pytest.mark.parametrize("screen", [WIDE, PHONE], ids=["wide", "phone"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_report_is_quiet_and_as_wide_as_the_screen(browser, report, screen, scheme):
    with Opened(browser, address(report), viewport=screen, color_scheme=scheme) as opened:
        assert not opened.errors
        assert opened.asked[0].startswith("file:")
        assert all(a.startswith(("file:", "data:")) for a in opened.asked)
        assert opened.too_wide() <= 0
        for details in opened.page.query_selector_all("summary"):
            details.click()
        assert opened.too_wide() <= 0
        page = "getComputedStyle(document.body)"
        dark = opened.page.evaluate(f"{page}.backgroundColor") == "rgb(22, 23, 27)"
        assert dark == (scheme == "dark")


def test_names_are_text(browser, report):
    with Opened(browser, address(report)) as opened:
        assert opened.page.evaluate("window.bad === undefined")
        text = opened.page.inner_text("body")
        assert f"A report of {EVIL}" in text
        assert QUOTES in text
        assert EVIL in opened.page.title()
        assert len(opened.page.query_selector_all("script")) == 1
        assert not opened.page.query_selector_all("td b, th b")


def test_tables_sort_up_and_down_with_what_is_undefined_last(browser, report):
    with Opened(browser, address(report)) as opened:
        for table in opened.page.query_selector_all("#scores table, #trust table"):
            buttons = table.query_selector_all("thead button")
            assert buttons
            for column, button in enumerate(buttons):
                for order in ("ascending", "descending"):
                    button.evaluate("b => b.click()")
                    head = table.query_selector_all("thead th")[column]
                    assert head.get_attribute("aria-sort") == order
                    keys = [
                        row.query_selector_all("th, td")[column].get_attribute("data-key")
                        for row in table.query_selector_all("tbody tr")
                    ]
                    given = [k for k in keys if k]
                    assert keys == given + [""] * (len(keys) - len(given))
                    try:
                        numbers = [float(k) for k in given]
                    except ValueError:
                        continue
                    assert numbers == sorted(numbers, reverse=order == "descending")


def test_sections_fold_and_maps_show(browser, report):
    with Opened(browser, address(report)) as opened:
        details = opened.page.query_selector_all("details")
        assert len(details) > 2
        for one in details:
            inside = one.query_selector("figure, table, dl")
            assert inside
            assert not inside.is_visible()
            one.query_selector("summary").click()
            assert inside.is_visible()
        for link in opened.page.query_selector_all("nav a"):
            target = link.get_attribute("href")
            assert opened.page.query_selector(target), target
        images = opened.page.query_selector_all("img")
        assert len(opened.page.query_selector_all("#gallery img")) == 3
        for image in images:
            image.scroll_into_view_if_needed()
            assert image.evaluate("i => i.complete && i.naturalWidth > 0")
            assert image.get_attribute("alt")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_shadow_says_that_a_picture_goes_on(browser, report, scheme):
    pyplot = pytest.importorskip("matplotlib.pyplot")
    with Opened(browser, address(report), viewport=PHONE, color_scheme=scheme) as opened:
        inside = opened.page.query_selector("#curves figure .scroll")
        ends = []
        for place in (0, 9999):
            inside.evaluate("(s, x) => { s.scrollLeft = x }", place)
            image = pyplot.imread(io.BytesIO(inside.screenshot()))
            ends.append(np.median(image[:, -3, :3]))
        assert ends[0] < 0.9 < 0.99 < ends[1]


def test_the_report_reads_without_javascript(browser, report):
    with Opened(browser, address(report), java_script_enabled=False) as opened:
        assert opened.page.query_selector("#scores table").is_visible()
        assert not opened.page.query_selector_all("thead button")
        opened.page.query_selector("summary").click()
        assert opened.page.query_selector("details[open]")


@pytest.mark.parametrize("screen", [WIDE, PHONE], ids=["wide", "phone"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("page", SITE, ids=lambda p: p.strip("/") or "home")
def test_the_site_is_quiet_and_as_wide_as_the_screen(browser, site, page, screen, scheme):
    with Opened(browser, site + page, viewport=screen, color_scheme=scheme) as opened:
        assert not opened.errors
        assert all(a.startswith((site, "data:", "blob:")) for a in opened.asked)
        assert opened.too_wide() <= 0
        assert opened.page.query_selector("h1").is_visible()
        for image in opened.page.query_selector_all("article img"):
            image.scroll_into_view_if_needed()
            assert image.evaluate("i => i.complete && i.naturalWidth > 0")


def test_formulas_are_drawn_by_the_browser(browser, site):
    with Opened(browser, site + "metrics/") as opened:
        formulas = opened.page.query_selector_all('math[display="block"]')
        assert len(formulas) >= len(je.METRICS)
        for formula in formulas:
            box = formula.bounding_box()
            assert box["width"] > 20
            assert box["height"] > 10
        assert not opened.page.query_selector_all("merror, .arithmatex")


def test_search_finds_a_metric(browser, site):
    with Opened(browser, site) as opened:
        opened.page.wait_for_load_state("networkidle")
        opened.page.click(".md-search__input")
        opened.page.keyboard.type("MaxSensitivity", delay=30)
        opened.page.wait_for_selector(".md-search-result__item a")
        links = opened.page.query_selector_all(".md-search-result__item a")
        assert any("metrics" in link.get_attribute("href") for link in links)


def test_the_site_reads_without_javascript(browser, site):
    with Opened(browser, site + "guide/", java_script_enabled=False) as opened:
        assert opened.page.query_selector("article pre").is_visible()
        assert opened.too_wide() <= 0
