"""The report: what it must say, that nothing from an export becomes markup, and that it needs nothing from outside."""

from __future__ import annotations

import hashlib
import math
import re
import zlib
from dataclasses import replace
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path

import pytest

from privacy import accounting
from privacy.audit.accounting import Point
from privacy.audit.findings import Code, Finding, Note
from privacy.audit.report import html
from privacy.audit.report.chart import chart
from privacy.audit.report.pages import pages
from privacy.audit.report.pdf import render
from privacy.audit.sources import read_source
from privacy.audit.verify import Audit, audit
from tests.audit_books import World

AT = datetime(2031, 1, 1, tzinfo=UTC)
HOSTILE = "</style><script>alert('x')</script><img src=http://evil.example/>\u202e\u00e9"


@pytest.fixture(scope="module")
def audited(tmp_path_factory: pytest.TempPathFactory) -> Audit:
    """An audit of honest books."""
    world = World.create(tmp_path_factory.mktemp("world"))
    world.live()
    sources = [read_source(path) for path in world.exports().values()]
    return audit(sources, world.trusted(), accounting.epsilon)


class _Tags(HTMLParser):
    """Every tag and attribute of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}


def test_a_report_says_who_what_when_and_at_which_price(audited: Audit) -> None:
    """Catches a report that leaves out a release, a total, a policy, a self-test, a withdrawal, or a refusal."""
    page = html.render(pages(audited, AT))
    north = audited.hospitals[0]
    for payment in north.payments:
        assert all(digest[:16] in page for digest in payment.releases.values())
    for total in audited.figures[0].totals:
        assert f"{total.epsilon:.3f}" in page
    for words in (
        "Hospital: north",
        "Hospital: south",
        "self-test passed",
        "withdrawn by now: 2 patients",
        "busy",
    ):
        assert words in page
    for words in (
        "measured epsilon at least 1.25, claimed 4.00",
        "another request was at work",
        "by the second accountant",
        "All hospitals",
    ):
        assert words in page
    for words in ("epsilon in all", "1e-05", "accepted", "not yet", "The coordinator", "polyline"):
        assert words in page


def test_the_hashes_to_compare_are_the_files_own(audited: Audit) -> None:
    """Catches a hash that nobody else comes to: `sha256sum` of the file, and the last entry's."""
    page = html.render(pages(audited, AT))
    for book in (*audited.hospitals, *audited.journals):
        assert hashlib.sha256(Path(book.source.name).read_bytes()).hexdigest() in page
        assert book.source.entries[-1].hash in page


def test_both_accountants_have_a_curve(audited: Audit) -> None:
    """Catches a second curve that is the first one's copy, or that stands still."""
    doubled = replace(
        audited,
        figures=tuple(
            replace(f, curve=tuple(replace(p, second=2 * p.epsilon) for p in f.curve))
            for f in audited.figures
        ),
    )
    drawn = [section.chart for section in pages(doubled, AT).sections if section.chart is not None]
    assert len(drawn) == 2
    for each in drawn:
        assert [y for _, y in each.second] == pytest.approx([2 * y for _, y in each.epsilon])
        assert each.second[-1][1] > 0


def test_a_long_list_is_folded_and_whole(audited: Audit) -> None:
    """Catches rows that are left out, and a page that begins with the hundreds before the last ones."""
    north = audited.hospitals[0]
    entries = tuple(entry for entry in north.entries if entry.kind == "release") * 60
    long = replace(
        audited, hospitals=(replace(north, entries=(*north.entries, *entries)), audited.hospitals[1])
    )
    document = pages(long, AT)
    (left,) = (
        s.table for s in document.sections if s.title == "What left" and s.table and len(s.table.rows) > 50
    )
    folded, shown = left.parts
    assert (*folded, *shown) == left.rows
    assert len(shown) == 25
    page = html.render(document)
    assert page.count("<details>") == 1
    inside = page.split("<details>")[1].split("</details>")[0]
    assert inside.count("<tr>") == len(folded) + 1


def test_only_a_clean_audit_is_green(audited: Audit) -> None:
    """Catches a report whose first line reassures where something was found."""
    clean = html.render(pages(audited, AT))
    assert 'class="verdict clean"' in clean
    assert "Nothing was found" in clean
    found = replace(audited, findings=(Finding(Code.NOT_PAID, "north", 7, "no one paid"),))
    page = html.render(pages(found, AT))
    assert 'class="verdict found"' in page
    assert "verdict clean" not in page
    assert "no one paid" in page
    assert page.index("no one paid") < page.index(">What the figures mean</h2>")


def test_nothing_from_an_export_becomes_markup(audited: Audit) -> None:
    """Catches a hospital's or coordinator's text that runs, loads or restyles anything in the auditor's browser."""
    north, south = audited.hospitals
    source = replace(north.source, name=HOSTILE)
    policy = {**(north.account.policy or {}), "hospital": HOSTILE}
    hostile = replace(
        north,
        source=source,
        account=replace(north.account, policy=policy),
        payments=tuple(replace(payment, campaign=HOSTILE) for payment in north.payments),
    )
    figures = audited.figures[0]
    totals = tuple(replace(total, scope=HOSTILE) for total in figures.totals)
    journal = audited.journals[0]
    rounds = tuple(replace(held, campaign=HOSTILE) for held in journal.rounds)
    spoiled = replace(
        audited,
        hospitals=(hostile, south),
        figures=(replace(figures, totals=totals), audited.figures[1]),
        journals=(replace(journal, rounds=rounds, enrolled={HOSTILE: ()}),),
        findings=(Finding(Code.CHANGED, HOSTILE, 1, HOSTILE),),
        notes=(Note(HOSTILE, HOSTILE),),
    )
    page = html.render(pages(spoiled, AT))
    plain, hurt = _Tags(html.render(pages(audited, AT))), _Tags(page)
    assert (hurt.tags, hurt.attributes) == (plain.tags, plain.attributes)
    assert page.count("<style>") == page.count("</style>") == 1
    assert render(pages(spoiled, AT)).startswith(b"%PDF-")


def test_a_report_asks_nothing_of_the_network(audited: Audit) -> None:
    """Catches a font, script, style or picture from elsewhere: an auditor's machine may be offline, or watched."""
    page = html.render(pages(audited, AT))
    tags = _Tags(page)
    assert not {"script", "link", "img", "iframe", "object"} & tags.tags
    assert not {"src", "onload"} & tags.attributes
    assert all(target.startswith("#part-") for target in re.findall(r'href="([^"]*)"', page))
    assert not re.search(r"url\(|@import|https?://", page)
    assert "default-src 'none'" in page


def test_the_pdf_is_whole(audited: Audit, tmp_path: Path) -> None:
    """Catches a file that no reader opens, and letters that the font lacks."""
    data = render(pages(audited, AT))
    assert data.startswith(b"%PDF-")
    assert data.rstrip().endswith(b"%%EOF")
    assert (pages_in := data.count(b"/Type /Page\n")) >= 2
    assert b"/Outlines" in data
    assert b"Hospital: north" in data.replace(b"\x00", b""), "the outline names what is in it"
    streams = [
        zlib.decompress(part.split(b"endstream")[0].strip())
        for part in data.split(b"stream\n")[1::2]
        if part[:1] == b"x"
    ]
    assert any(f"(1 of ) Tj ({pages_in}) Tj".encode() in text for text in streams)


@pytest.mark.parametrize(
    ("epsilons", "budget"),
    [
        ([0.5], 8.0),
        ([1.0, 2.0, 1.5], 8.0),
        ([9.0, 10.0], 8.0),
        ([math.inf], 8.0),
        ([1e-6], 1e-3),
        ([700.0], 1000.0),
    ],
    ids=["one", "a void", "over the budget", "infinite", "tiny", "huge"],
)
def test_a_curve_stays_in_its_frame(epsilons: list[float], budget: float) -> None:
    """Catches a curve that leaves the drawing, has no ticks, or ends before the ledger does."""
    points = [
        Point(f"2030-01-0{n}T00:00:00+00:00", value, value * 0.98, budget)
        for n, value in enumerate(epsilons, 1)
    ]
    drawn = chart(points, datetime(2030, 2, 1, tzinfo=UTC))
    assert drawn is not None
    for x, y in (*drawn.epsilon, *drawn.second, *drawn.budget):
        assert 0 <= x <= 1
        assert 0 <= y <= 1
    assert drawn.epsilon[-1][0] == drawn.second[-1][0] == drawn.budget[-1][0] == 1.0
    assert 3 <= len(drawn.up) <= 10
    assert drawn.budget[-1][1] < 1.0
    assert chart([], AT) is None
