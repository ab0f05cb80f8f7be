"""The report: every number that goes in can be read, in a file that needs nothing else and that a browser shows."""

import builtins
import csv
import io
import json
import re
from html.parser import HTMLParser

import browser
import numpy as np
import pytest
from matplotlib import image as decoder
from matplotlib.figure import Figure

from dcejax.evaluation.figures import panels
from dcejax.evaluation.report.html_report import FigureBlock, Report, Section, render, to_csv
from dcejax.evaluation.tables.result_table import Column, Table, columns, interval_columns

HOSTILE = '</script><script>alert(1)</script><img src=x onerror="alert(2)"> & \'"'
MOST_BYTES_WITHOUT_FIGURES = 300_000

COLUMNS = (
    Column("region", "Region"),
    Column("arm", "Arm"),
    Column("n", "Patients"),
    Column("bias", "Bias (95 % CI)", 2, ("low", "high"), "n"),
    Column("p", "p", 2),
)
ROWS = [
    {"region": "tumour", "arm": "network", "n": 102, "bias": 0.684, "low": 0.541, "high": 0.7702, "p": None},
    {"region": "tumour", "arm": "reader 1", "n": 7, "bias": -0.0123, "low": -0.04, "high": 0.0149, "p": 3.04e-7},
    {"region": "rim", "arm": "network", "n": 99, "bias": None, "low": None, "high": None, "p": 0.00052},
]
TABLE = Table("errors", "Errors", "How they came about.", COLUMNS, ROWS, grouped=1)
LONG = Table(
    "patients",
    "All patients",
    "One row a patient.",
    [Column("case", "Patient"), *(Column(f"v{i}", f"Value {i} (1/min)", 3) for i in range(12))],
    [{"case": f"sub-{k:03d}"} | {f"v{i}": (k + 1) / (i + 7) for i in range(12)} for k in range(200)],
)


def picture(width=4.0):
    figure = Figure(figsize=(width, 2))
    figure.subplots().plot([0, 1])
    return panels.png(figure)


@pytest.fixture(scope="module")
def document():
    blocks = [FigureBlock(f"Picture {i}", "What is drawn.", "a line", picture(4 + 8 * i)) for i in range(2)]
    return Report(
        "A title",
        "a subtitle",
        "Simulated patients. Not clinical evidence.",
        ["One sentence.", "Another."],
        [Section("Errors", "First.\n\nSecond.", [TABLE], blocks[:1]), Section("Patients", "", [LONG], blocks[1:])],
        {"dcejax": "0.1.0", "weights": {"name": "tiny", "layers": [4, 1]}, "seed": 0},
        {"errors": ROWS, "auc": np.float32(0.5), "none": np.nan, "name": HOSTILE},
    )


class Reader(HTMLParser):
    """Tables as text, and every attribute that could load something."""

    def __init__(self, page):
        super().__init__()
        self.tables, self.headings, self.addresses, self.scripts, self.ids = [], [], [], [], []
        self.words, self._inside, self.handlers = "", [], []
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.ids += [found["id"]] if "id" in found else []
        self.handlers += [name for name in found if name.startswith("on")]
        self.addresses += [found[name] for name in ("src", "href", "srcset", "action", "data") if name in found]
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")
        elif tag == "script":
            self.scripts.append([found, ""])
        self._inside.append(tag)

    def handle_endtag(self, tag):
        while self._inside and self._inside.pop() != tag:
            pass

    def handle_data(self, data):
        if "script" in self._inside:
            self.scripts[-1][1] += data
        elif "td" in self._inside or "th" in self._inside:
            self.tables[-1][-1][-1] = f"{self.tables[-1][-1][-1]} {data.strip()}".strip()
        elif "style" not in self._inside:
            self.words += data


@pytest.fixture(scope="module")
def page(document):
    return render(document)


@pytest.fixture(scope="module")
def read(page):
    return Reader(page)


def test_tables_hold_every_row_and_number(read):
    assert read.tables[0] == [
        ["Arm", "Patients", "Bias (95 % CI)", "p"],
        ["Region: tumour"],
        ["network", "102", "0.68 (0.54 to 0.77)", "–"],
        ["reader 1", "7", "−0.012 (−0.040 to 0.015)*", "3.0×10⁻⁷"],
        ["Region: rim"],
        ["network", "99", "–", "0.00052"],
    ]
    assert len(read.tables) == 2
    assert [row[0] for row in read.tables[1][1:]] == [row["case"] for row in LONG.rows]
    for shown, given in zip(read.tables[1][1:], LONG.rows, strict=True):
        np.testing.assert_allclose([float(text) for text in shown[1:]], list(given.values())[1:], rtol=5.1e-3)


def test_numbers_stand_right_and_groups_over_their_rows(page):
    assert page.count('<th scope="rowgroup" colspan="4">') == 2
    row = re.search(r"<tr>(?:(?!</tr>).)*reader 1.*?</tr>", page, re.DOTALL)[0]
    assert row.count('class="number"') == 3
    assert page.count('<th scope="col" class="number">') == 3 + 12


def test_everything_that_is_told_is_there(read):
    for text in (
        "A title",
        "a subtitle",
        "Simulated patients. Not clinical evidence.",
        "One sentence.",
        "Table 1. Errors",
        "How they came about.",
        "Table 2. All patients",
        "Figure 1. Picture 0",
        "Figure 2. Picture 1",
        "What is drawn.",
        "Second.",
        "weights · layers",
        "4, 1",
    ):
        assert text in read.words
    assert "region,arm,n,bias,low,high,p" in read.words


def test_the_file_needs_nothing_else(page, read):
    inside = {address[1:] for address in read.addresses if address.startswith("#")}
    assert inside
    assert inside <= set(read.ids)
    assert len(read.ids) == len(set(read.ids))
    assert all(address.startswith(("#", "data:image/png;base64,")) for address in read.addresses)
    assert sum(address.startswith("data:") for address in read.addresses) == 2
    assert not re.search(r"url\(|@import|<link|<iframe|<object", page)
    assert not read.handlers


def test_numbers_for_machines_are_valid_json(read, document):
    ((attributes, content),) = read.scripts
    assert attributes == {"type": "application/json", "id": "results"}
    assert json.loads(content) == {"errors": ROWS, "auc": 0.5, "none": None, "name": HOSTILE}


def test_hostile_text_stays_text():
    table = Table(HOSTILE, HOSTILE, HOSTILE, [Column("a", HOSTILE)], [{"a": HOSTILE}])
    block = FigureBlock(HOSTILE, HOSTILE, HOSTILE, picture())
    hostile = Report(
        HOSTILE, HOSTILE, HOSTILE, [HOSTILE], [Section(HOSTILE, HOSTILE, [table], [block])], {HOSTILE: HOSTILE}
    )
    page = render(hostile)
    found = Reader(page)
    assert not found.scripts
    assert not found.handlers
    assert found.tables == [[[HOSTILE], [HOSTILE]]]
    assert page.count("<img") == 1
    assert "<script" not in page


def test_size_is_that_of_the_figures(page, document):
    pictures = sum(len(figure.base64) for section in document.sections for figure in section.figures)
    assert len(page.encode()) - pictures < MOST_BYTES_WITHOUT_FIGURES


def test_the_same_report_is_the_same_bytes(page, document):
    assert render(document) == page


def test_a_report_of_nothing(tmp_path):
    page = render(Report("A title", "", "", [], []))
    assert "<script" not in page
    assert "Provenance" not in page
    assert not Reader(page).tables
    empty = Table("a", "Nothing", "No patients.", [Column("a", "A"), Column("b", "B", 2)], [])
    assert Reader(render(Report("A title", "", "", [], [Section("S", "", [empty])]))).tables == [[["A", "B"]]]


def test_csv_holds_all_values():
    rows = list(csv.DictReader(io.StringIO(to_csv(TABLE))))
    assert list(rows[0]) == TABLE.keys
    assert rows[1] == {
        "region": "tumour",
        "arm": "reader 1",
        "n": "7",
        "bias": "-0.0123",
        "low": "-0.04",
        "high": "0.0149",
        "p": "3.04e-07",
    }
    assert rows[2]["bias"] == ""
    extra = Table("a", "", "", [Column("a", "A")], [{"a": 1, "not shown": 2}])
    assert to_csv(extra) == "a\n1\n"


def test_what_is_no_png_is_refused():
    with pytest.raises(ValueError, match="expected the content of a PNG file"):
        FigureBlock("A picture", "", "", b"<svg>")


def test_without_jinja2_the_remedy_is_named(monkeypatch, document):
    load = builtins.__import__

    def refuse(name, *rest, **options):
        if name == "jinja2":
            raise ImportError(name)
        return load(name, *rest, **options)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(ImportError, match=r"pip install 'dcejax\[report\]'"):
        render(document)


@pytest.fixture
def saved(tmp_path, page):
    path = tmp_path / "report.html"
    path.write_text(page, encoding="utf-8")
    return path


def brightness(path):
    """Mean of each edge pixel of the first rows, where there is only background."""
    return float(decoder.imread(path)[:4, :, :3].mean())


def test_a_browser_shows_it_all(saved):
    shown = browser.open_page(saved, width=1280, height=2000)
    assert shown.console_errors == []
    assert shown.requests == []
    assert (shown.images_loaded, shown.images_total) == (2, 2)
    assert (shown.width, shown.content_width) == (1280, 1280)
    found = Reader(shown.dom)
    assert [len(table) for table in found.tables] == [6, 201]
    assert found.tables[0][2][2] == "0.68 (0.54 to 0.77)"
    assert decoder.imread(shown.screenshot).shape[:2] == (2000, 1280)
    assert brightness(shown.screenshot) > 0.99


SCROLLED = """
[...document.querySelectorAll(".long")].map(box => {
  box.scrollTo(500, 700);
  const place = element => element.getBoundingClientRect(), edge = place(box);
  const rows = [...box.querySelectorAll("tbody tr:not(.group)")].map(place);
  const seen = rows.filter(row => row.top < edge.bottom - 2 && row.bottom > edge.top);
  return {
    sideways: box.scrollLeft,
    cut: seen.filter(row => row.bottom > edge.bottom + 1).length,
    last: edge.bottom - Math.max(...seen.map(row => row.bottom)),
    rows: seen.length,
    head: place(box.querySelector("thead th")).top - edge.top,
    first: place(box.querySelector("thead th")).left - edge.left,
    names: [...box.querySelectorAll("tbody th[scope=row]")].map(name => place(name).left - edge.left),
  };
})
"""


def test_a_wide_table_keeps_its_names_in_sight_and_cuts_no_row(tmp_path):
    wide = interval_columns(**{f"v{i}": f"Error {i} of the map, in a long heading" for i in range(12)})
    rows = [
        {"map": k // 4, "arm": f"arm {k}"} | {f"v{i}{end}": 0.1 * k for i in range(12) for end in ("", "_low", "_high")}
        for k in range(60)
    ]
    table = Table("wide", "Wide", "Many columns.", [*columns(map="Map", arm="Arm"), *wide], rows, grouped=1)
    path = tmp_path / "wide.html"
    path.write_text(render(Report("A title", "", "", [], [Section("Tables", "", [table, LONG])])), encoding="utf-8")
    shown = browser.open_page(path, width=1400, height=1200, measure=SCROLLED)
    assert shown.content_width == 1400
    assert len(shown.measured) == 2
    for found in shown.measured:
        assert found["cut"] == 0
        assert abs(found["last"]) < 3
        assert found["rows"] > 10
        assert abs(found["head"]) < 2
    assert shown.measured[0]["sideways"] > 100
    assert abs(shown.measured[0]["first"]) < 2
    assert max(map(abs, shown.measured[0]["names"])) < 2


def test_a_telephone_in_the_dark_shows_it_all(saved):
    shown = browser.open_page(saved, width=400, height=1200, dark=True)
    assert shown.console_errors == []
    assert (shown.width, shown.content_width) == (400, 400)
    assert brightness(shown.screenshot) < 0.2


def test_the_browser_tells_of_what_is_wrong(tmp_path):
    path = tmp_path / "bad.html"
    path.write_text(
        '<!DOCTYPE html><body style="margin: 0"><div style="width: 3000px">wide</div>'
        '<img src="http://127.0.0.1:9/none.png">'
        "<script>no_such_name</script></body>",
        encoding="utf-8",
    )
    shown = browser.open_page(path, width=600, height=400)
    assert any("no_such_name" in line for line in shown.console_errors)
    assert (shown.images_loaded, shown.images_total) == (0, 1)
    assert shown.requests == ["http://127.0.0.1:9/none.png"]
    assert (shown.width, shown.content_width) == (600, 3000)
