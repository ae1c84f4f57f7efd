"""The page: parsed, it loads nothing, and is one that every reader can walk through."""

import re
import shutil
import subprocess
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise

import pytest

from fsrcache.reports.page import page
from fsrcache.reports.sections import sections, shown_faces
from fsrcache.training.run.features import SCORED_FACES

VOID = {"meta", "img", "br", "link", "input", "hr"}
NAMES = ["table", "accuracy", "faces", "enlarged", "confusion", "movement", "convergence", "calibration", "changes",
         "cost", "settings", "commands"]  # fmt: skip


class Page(HTMLParser):
    """The elements of a page in their order, and its text; what is not closed is an error."""

    def __init__(self, html):
        super().__init__()
        self.elements, self.open, self.text = [], [], []
        self.feed(html)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)

    def attributes(self, name):
        return [attributes[name] for _, attributes in self.elements if name in attributes]

    def of(self, *tags):
        return [(tag, attributes) for tag, attributes in self.elements if tag in tags]


@pytest.fixture(scope="module")
def html(data):
    return page(data, sections(data))


@pytest.fixture(scope="module")
def parsed(html):
    return Page(html)


def test_every_section_is_there_and_linked(parsed):
    assert [attributes["id"] for _, attributes in parsed.of("section")] == NAMES
    assert [attributes["href"] for _, attributes in parsed.of("a")] == [f"#{name}" for name in NAMES]


def test_nothing_is_loaded_and_nothing_runs(html, parsed):
    assert not parsed.of("script", "link", "iframe", "object", "embed", "base", "form")
    assert not [name for _, attributes in parsed.elements for name in attributes if name.startswith("on")]
    for target in (*parsed.attributes("href"), *parsed.attributes("xlink:href")):
        assert target.startswith("#")
    assert all(source.startswith("data:image/png;base64,") for source in parsed.attributes("src"))
    assert "@import" not in html
    assert all(target.startswith("#") for target in re.findall(r"url\(['\"]?([^)]*)", html))
    policy = next(one["content"] for _, one in parsed.of("meta") if "http-equiv" in one)
    assert policy.startswith("default-src 'none'")


def test_ids_are_unique_and_references_lead_to_one(html, parsed):
    ids = Counter(parsed.attributes("id"))
    assert max(ids.values()) == 1
    targets = [*parsed.attributes("href"), *parsed.attributes("xlink:href"), *re.findall(r"url\((#[^)]*)\)", html)]
    assert len(targets) > len(NAMES)
    assert {target[1:] for target in targets} <= ids.keys()


def test_every_picture_says_what_it_is(parsed):
    pictures, figures = parsed.of("img"), parsed.of("svg")
    assert len(pictures) == 3 * 3 + 3 * 2 + 2 + 8  # examples; enlarged by bicubic, by rcan; helped, and none harmed
    assert len(figures) == 7
    assert all(attributes["alt"] for _, attributes in pictures)
    assert all(attributes["aria-label"] and attributes["role"] == "img" for _, attributes in figures)


def test_headings_are_in_order(parsed):
    levels = [int(tag[1]) for tag, _ in parsed.of("h1", "h2", "h3", "h4")]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(level <= above + 1 for above, level in pairwise(levels))


def test_names_are_text_and_no_markup(html, parsed):
    assert not parsed.of("b")
    assert "<b>'sad" not in html
    text = "".join(parsed.text)
    assert "/<b>'sad\" & x</b>" in text
    assert any("<b>'sad\" & x</b>" in alt for alt in parsed.attributes("alt"))


def test_figures_have_the_colours_of_the_page(html):
    figures = re.findall(r"<svg.*?</svg>", html, re.DOTALL)
    for figure in figures:
        assert "currentColor" in figure
        assert not re.search(r"#000000|#333333|#ffffff|DejaVu", figure)


def test_a_section_without_its_data_is_left_out(data):
    nothing = {"pictures": {}, "enlarged": {}, "probabilities": {}, "trainings": (), "facts": {}, "commands": ()}
    bare = replace(data, **nothing, features=lambda *_: None, table=replace(data.table, cost=()))
    assert [one.id for one in sections(bare)] == ["table", "accuracy", "confusion"]
    Page(page(bare, sections(bare)))


def test_without_a_training_the_page_is_of_bicubic(data):
    bare = replace(data, row="bicubic", trainings=())
    made = [one.id for one in sections(bare)]
    assert {"table", "faces", "confusion"} <= set(made)
    assert not {"movement", "calibration", "changes"} & set(made)
    Page(page(bare, sections(bare)))


def test_faces_that_are_shown_are_those_that_are_read(data, html):
    numbers = shown_faces(data)
    assert set(numbers) == {0, 1, 2, *range(20, 28)}  # helped from 20 on, none harmed
    only = replace(data, pictures={number: data.pictures[number] for number in numbers})
    assert page(only, sections(only)) == html


def test_calibration_errors_stand_before_and_after_the_temperature(data, html):
    section = html.partition('id="calibration"')[2].partition("</section>")[0]
    for row in ("bicubic", "FSR-FER"):
        for what, value in (("as it is", "12.3"), ("at the temperature", "5.7"), ("temperature", "1.25")):
            line = re.search(rf'<tr><th scope="row">{row}, {what}</th>(.*?)</tr>', section)
            assert re.findall(r">([\d.–]+)<", line[1]) == [value] * 3
    assert "temperatures fitted on 7 faces" in section
    rows = tuple(replace(score, temperature=None) for score in data.table.rows)
    bare = replace(data, table=replace(data.table, rows=rows))
    assert "1.25" not in page(bare, sections(bare)).partition('id="calibration"')[2].partition("</section>")[0]


def test_with_and_without_reweighting_is_said(data, html):
    text = "The same settings with and without re-weighting."
    assert text in html
    first, other = data.trainings
    for trainings in ([first], [first, replace(other, seed=1)], [first, other, replace(other, scales=(1, 4))]):
        changed = replace(data, trainings=trainings)
        assert text not in page(changed, sections(changed))


def test_the_faces_that_a_training_scores_on_its_way_are_said(html):
    assert f"On the held-out tenth of the training split, its first {SCORED_FACES} faces at most" in html


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("chromium") is None, reason="a browser is no dependency")
@pytest.mark.parametrize("width", [390, 1280])
def test_a_browser_shows_it_within_its_width(html, width, tmp_path):
    measured = "<script>onload = () => parent.postMessage(document.documentElement.scrollWidth, '*')</script></body>"
    inside, outside = tmp_path / "report.html", tmp_path / "frame.html"
    inside.write_text(re.sub(r"<meta http-equiv[^>]*>", "", html).replace("</body>", measured))
    frame = f'<iframe src="report.html" style="width: {width}px; height: 900px; border: 0"></iframe>'
    outside.write_text(f"<title></title><script>onmessage = one => document.title = one.data</script>{frame}")
    command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking",
               "--disable-component-update", "--disable-sync", f"--user-data-dir={tmp_path / 'browser'}",
               "--hide-scrollbars", "--virtual-time-budget=5000", "--dump-dom", outside.as_uri()]  # fmt: skip
    shown = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout
    assert int(re.search(r"<title>(\d+)</title>", shown)[1]) == width
