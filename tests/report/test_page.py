"""The page of results: parsed, and, where there is one, in a browser."""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser

import numpy as np
import pytest

from jaxeval import cli
from jaxeval.report import html, tables
from jaxeval.results import Results
from jaxeval.types import Outcome

VOID = {"meta", "link", "img", "br", "input", "hr"}
ODD = 'odd <b>"name"</b> & $x$'


class Page(HTMLParser):
    """The elements of a page: (tag, attributes, path of open tags), and the texts in them."""

    def __init__(self, text):
        super().__init__()
        self.open, self.elements, self.texts = [], [], []
        self.feed(text.replace("<wbr>", ""))  # where a name may break
        self.close()
        assert self.open == [], f"not closed: {self.open}"

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes), tuple(self.open)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data):
        if data.strip():
            self.texts.append((data.strip(), tuple(self.open)))

    def of(self, tag):
        return [a for t, a, _ in self.elements if t == tag]

    def text(self, tag):
        return [text for text, path in self.texts if path and path[-1] == tag]


def study(explainers=4, n=24):
    """A metric under four settings, one with holes, and one of another family with layers."""
    rng = np.random.default_rng(0)
    names = [ODD, "IntegratedGradients", "Saliency", "Random", *map(str, range(9))][:explainers]
    described = {
        f"Flip(base={b}, k={k})": {"class": "Flip", "base": b, "k": k, "n_steps": 5}
        for b in ("black", "mean")
        for k in (1, 10)
    }
    directions = dict.fromkeys(described, "lower") | {"IROF": "higher", "MPRT": "lower"}
    families = dict.fromkeys(directions, "faithfulness") | {"MPRT": "randomisation"}
    outcomes = {}
    for i, e in enumerate(names):
        for m, direction in directions.items():
            score = (i if direction == "lower" else -i) + rng.normal(0, 2, n)
            if m == "IROF":
                score[:: i + 5] = np.nan
            curve = score[:, None] + np.arange(5.0) if m != "IROF" else None
            outcomes[e, m] = Outcome(score=score, curve=curve)
    return Results(
        outcomes, directions, families, np.arange(100, 100 + n), np.zeros(n, int),
        {"output": 1000, "attribution": 50, "hidden": 0,
         "naive": {"output": 5000, "attribution": 60, "hidden": 0}},
        {"metrics": {**described, "MPRT": {"class": "MPRT", "order": "top_down"}},
         "explainers": {e: {"class": "Saliency", "output": "logit"} for e in names},
         "points": {"MPRT": ["a", "b", "c", "d", "e"]}, "seconds": 12.5, "batch_size": 64,
         "versions": {"jax": "0.10.2"}, "devices": ["cpu: cpu"]},
    )  # fmt: skip


@pytest.fixture(scope="module")
def given():
    x = np.random.default_rng(1).uniform(size=(24, 3, 8, 8))
    return {"x": x, "attributions": {"Saliency": x[:, 0] - 0.5, ODD: x - 0.5}}


@pytest.fixture(scope="module")
def text(given):
    return html(study(), **given)


@pytest.fixture(scope="module")
def page(text):
    return Page(text)


pytestmark = pytest.mark.xdist_group("report")


def test_every_part_is_there(page):
    assert page.text("h1") == ["Evaluation of explanations"]
    assert page.text("h2") == [
        *("Scores", "Radar", "Curves", "Which explainers differ", "Whether metrics agree"),
        *("How much settings matter", "Best and worst samples", "Cost"),
        "Settings and environment",
    ]
    alts = [a["alt"] for a in page.of("img")]
    for word in ("Radar of 6", "curves of 4 explainers under Flip(base=black, k=1)",
                 "Critical-difference diagram over 6 metrics", "Spearman", "Stacked bars",
                 "Inputs and maps of Saliency: best samples"):  # fmt: skip
        assert any(word in alt for alt in alts), word
    texts = " ".join(text for text, _ in page.texts)
    for word in ("12.5 s", "5.0 ×", "jax 0.10.2", "base=black", "4 explainers under 6 metrics"):
        assert word in texts, word


def test_it_asks_for_nothing_from_anywhere(page, text):
    for tag, attributes, _ in page.elements:
        for name in ("src", "href", "srcset", "action", "data"):
            link = attributes.get(name) or "#"
            assert link.startswith(("#", "data:")), (tag, link)
        assert tag not in ("iframe", "object", "embed", "base")
    assert "@import" not in text
    assert "url(" not in text
    assert len(text) < 4e6
    for image in page.of("img"):
        kind, data = image["src"].split(",", 1)
        assert kind == "data:image/svg+xml;base64"
        svg = base64.b64decode(data).decode()
        links = re.findall(r'href="([^"]*)"', svg)
        assert all(link.startswith(("#", "data:image/png;base64,")) for link in links)


def test_it_is_well_formed_and_can_be_reached(page):
    ids = [a["id"] for _, a, _ in page.elements if "id" in a]
    assert len(ids) == len(set(ids))
    assert [a["href"][1:] for a in page.of("a")] == [a["id"] for a in page.of("section")]
    assert page.of("html")[0]["lang"] == "en"
    assert all(len(a["alt"]) > 20 for a in page.of("img"))
    levels = [tag for tag, *_ in page.elements if re.fullmatch("h[1-6]", tag)]
    assert levels == ["h1"] + ["h2"] * 9
    assert len(page.of("caption")) == len(page.of("table"))
    assert all("scope" in a for a in page.of("th"))
    for a in (a for _, a, path in page.elements if a.get("class") == "scroll"):
        assert a["tabindex"] == "0"  # what scrolls can be scrolled by keys
        assert a["aria-label"]


def test_names_are_text_whatever_they_contain(page, text):
    assert "<b>&#34;name" not in text
    assert ODD in page.text("th")
    assert not any(t == "b" and path[-1] == "th" for t, _, path in page.elements)


def test_tables_say_what_the_results_say(page, text):
    r = study()
    summary = r.summary()
    body = text.split('<section id="scores"')[1].split("</section>")[0]
    table = Page(body.split("</div>")[1].split('">', 1)[1])
    assert table.text("th")[0] == "explainer"
    cells = table.text("td")
    assert len(cells) == len(summary) * 6
    for row, own in enumerate(summary.itertuples()):
        mean, interval, std, n, undefined = cells[6 * row + 1 : 6 * row + 6]
        assert mean == tables.number(own.mean)
        assert interval == f"{tables.number(own.ci_low)} … {tables.number(own.ci_high)}"
        assert (std, n, undefined) == (tables.number(own.std), str(own.n), str(own.n_undefined))
    keys = [a["data-key"] for tag, a, _ in table.elements if tag == "td"]
    np.testing.assert_allclose([float(k) for k in keys[1::6]], summary["mean"])


def test_the_same_results_give_the_same_bytes(text, given):
    assert html(study(), **given) == text


@pytest.mark.parametrize(("explainers", "metrics"), [(1, 1), (1, 6), (2, 1), (12, 2)])
def test_small_and_large_results(explainers, metrics):
    r = study(explainers)
    chosen = r.metrics[:metrics]
    part = Results(
        {c: o for c, o in r.outcomes.items() if c[1] in chosen},
        {m: r.directions[m] for m in chosen}, r.families, r.index, r.y,
    )  # fmt: skip
    page = Page(html(part))
    assert page.text("h2")[0] == "Scores"
    assert ("Cost" in page.text("h2")) is False


def test_what_is_undefined_everywhere_is_a_dash():
    r = study(3)
    nothing = Outcome(score=np.full(24, np.nan))
    outcomes = {c: nothing if c[0] == "Saliency" or c[1] == "IROF" else o
                for c, o in r.outcomes.items()}  # fmt: skip
    page = Page(html(Results(outcomes, r.directions, r.families, r.index, r.y, r.asked)))
    assert "–" in page.text("td")
    assert "nan" not in " ".join(text for text, _ in page.texts)


def test_ranks_can_be_read_on_their_colours():
    def luminance(rgb):
        v = np.array(rgb) / 255
        linear = np.where(v <= 0.04045, v / 12.92, ((v + 0.055) / 1.055) ** 2.4)
        return linear @ [0.2126, 0.7152, 0.0722]

    for rank in np.linspace(1, 12, 56):
        background, text = tables._shade(rank, 12).split(";")
        rgb = [int(v) for v in re.findall(r"\d+", background)]
        dark = luminance([int(text.split("#")[1][i : i + 2], 16) for i in (0, 2, 4)])
        low, high = sorted([luminance(rgb), dark])
        assert (high + 0.05) / (low + 0.05) >= 4.5


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"x": np.ones((24, 8, 8))}, "both x and attributions"),
        ({"x": np.ones((24, 8, 8)), "attributions": {"Nobody": np.ones((24, 8, 8))}}, "'Nobody'"),
        ({"x": np.ones((2, 8, 8)), "attributions": {"Saliency": np.ones((2, 8, 8))}}, "24 samples"),
    ],
)
def test_what_does_not_fit_is_refused(given, words):
    with pytest.raises(ValueError, match=words):
        html(study(), **given)


def test_results_without_scores_are_refused():
    with pytest.raises(ValueError, match="no scores yet"):
        html(Results({}, {}, {}, np.arange(2), np.zeros(2, int)))


def test_missing_jinja_says_what_to_do(monkeypatch):
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(ImportError, match=r'pip install "jaxeval\[report\]"'):
        html(study())


# -- the command -----------------------------------------------------------------------------------


def test_the_command_reports_a_file(tmp_path, capsys, given, text):
    study().save(tmp_path / "r.parquet")
    maps = {"x": given["x"], **given["attributions"]}
    np.savez(tmp_path / "maps.npz", **maps)
    out = tmp_path / "new" / "page.html"
    arguments = ["report", str(tmp_path / "r.parquet"), "-o", str(out)]
    assert cli.main([*arguments, "--maps", str(tmp_path / "maps.npz")]) == 0
    assert out.read_text(encoding="utf-8") == text
    assert "4 explainers x 6 metrics" in capsys.readouterr().out


def test_the_command_reports_a_folder_of_parts(tmp_path):
    whole = study()
    for name, rows in {"b": slice(12, 24), "a": slice(0, 12)}.items():
        outcomes = {
            c: Outcome(
                score=o.score[rows],
                curve=None if o.curve is None else o.curve[rows],
                curve_std=None if o.curve is None else 0 * o.curve[rows] + 0.5,
            )
            for c, o in whole.outcomes.items()
        }
        part = Results(outcomes, whole.directions, whole.families, whole.index[rows],
                       whole.y[rows], whole.asked, whole.settings)  # fmt: skip
        part.save(tmp_path / "store" / "parts" / f"{name}.parquet")
    found = cli.report.read(tmp_path / "store")
    assert (found.explainers, found.metrics) == (whole.explainers, whole.metrics)
    np.testing.assert_array_equal(found.index, whole.index)
    for cell, outcome in whole.outcomes.items():
        np.testing.assert_allclose(found[cell].score, outcome.score)
        if outcome.curve is not None:
            assert (found[cell].curve_std[~np.isnan(outcome.curve)] == 0.5).all()
    assert found.asked["naive"]["output"] == 10_000
    assert found.settings["seconds"] == 25
    assert found.points == whole.points
    assert cli.main(["report", str(tmp_path / "store"), "-o", str(tmp_path / "r.html")]) == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nowhere.parquet"], "nowhere.parquet"),
        (["."], "holds no Parquet file"),
        (["r.parquet", "--metric", "Flop"], "no metric 'Flop'"),
        (["r.parquet", "--maps", "m.npz"], "has no array x"),
    ],
)
def test_the_command_says_what_is_wrong(tmp_path, capsys, monkeypatch, arguments, words):
    (tmp_path / "empty").mkdir()
    study(1).save(tmp_path / "r.parquet")
    np.savez(tmp_path / "m.npz", Saliency=np.ones(3))
    monkeypatch.chdir(tmp_path / "empty" if arguments == ["."] else tmp_path)
    assert cli.main(["report", *arguments]) == 1
    assert words in capsys.readouterr().err


# -- in a browser ----------------------------------------------------------------------------------

BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
CHECK = """<!doctype html><meta charset="utf-8"><iframe src="page.html" width="{width}" height="900"
style="border:0"></iframe><pre id="found"></pre><script>
const frame = document.querySelector("iframe");
frame.addEventListener("load", () => {{
  const page = frame.contentDocument, root = page.documentElement, found = {{}};
  for (const part of page.querySelectorAll("details")) part.open = true;
  found.overflow = root.scrollWidth - root.clientWidth;
  found.width = frame.contentWindow.innerWidth;
  const table = page.querySelectorAll("table")[1];
  const heading = [...table.tHead.rows[0].cells].find((c) => c.textContent === "mean");
  const key = (row) => Number(row.cells[heading.cellIndex].dataset.key);
  const read = () => [...table.tBodies[0].rows].map(key);
  heading.querySelector("button").click();
  found.up = read(); found.ascending = heading.ariaSort;
  heading.querySelector("button").click();
  found.down = read(); found.descending = heading.ariaSort;
  found.broken = [...page.images].filter((i) => i.complete && !i.naturalWidth).length;
  document.getElementById("found").textContent = JSON.stringify(found);
}});
</script>"""


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="no Chromium")
@pytest.mark.parametrize("width", [390, 1280])
def test_in_a_browser_it_fits_sorts_and_does_not_complain(tmp_path, text, width):
    (tmp_path / "page.html").write_text(text, encoding="utf-8")
    (tmp_path / "check.html").write_text(CHECK.format(width=width), encoding="utf-8")
    done = subprocess.run(
        [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--allow-file-access-from-files",
         "--enable-logging=stderr", f"--user-data-dir={tmp_path / 'profile'}",
         "--virtual-time-budget=10000", "--dump-dom", (tmp_path / "check.html").as_uri()],
        capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    found = json.loads(re.search(r'<pre id="found">(.*?)</pre>', done.stdout, re.DOTALL)[1])
    assert found["width"] == width
    assert found["overflow"] <= 0
    assert found["up"] == sorted(found["up"])
    assert found["down"] == sorted(found["up"], reverse=True)
    assert (found["ascending"], found["descending"]) == ("ascending", "descending")
    assert found["broken"] == 0
    assert "CONSOLE" not in done.stderr
