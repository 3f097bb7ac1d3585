"""What the hospital's page tells of values that are given: tables of cases, no home."""

from __future__ import annotations

import math
from dataclasses import fields
from datetime import UTC, datetime, timedelta

import pytest

from client.errors import SlideError, slide_error
from client.findings import Finding
from client.health import Health
from client.page.policy_words import WORDS as POLICY_WORDS
from client.page.spending import Spending, Spent
from client.page.views import curves, verdicts
from client.page.views.now import now
from client.page.views.policy import keys, shown
from client.page.views.slides import cohort, scale_words
from client.page.views.verdicts import Verdict
from client.slides.catalogue import Entry
from client.slides.examine import Facts
from client.slides.quality import Quality
from privacy.codes import Refusal, SecaggFault
from privacy.enrolment.expiry import Expiry
from privacy.ledger.account import Account, Selftest
from privacy.policy import Policy
from privacy.refusal_words import WORDS as REFUSAL_WORDS

_NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)


def test_each_code_and_each_key_has_its_sentence() -> None:
    """Catches a code or a key that came later and of which the page says nothing."""
    assert set(REFUSAL_WORDS) == {*map(str, Refusal), *map(str, SecaggFault)}
    assert set(POLICY_WORDS) >= {field.name for field in fields(Policy)}


@pytest.mark.parametrize(
    ("verdict", "level"),
    [
        (verdicts.of_health(Health(live=True, ready=True)), "fine"),
        (verdicts.of_health(Health(live=True, ready=False)), "busy"),
        (verdicts.of_health(Health(live=False, ready=False)), "bad"),
        (verdicts.of_courier(True, "own file system"), "fine"),
        (verdicts.of_courier(True, ""), "fine"),
        (verdicts.of_courier(False, "own file system"), "bad"),
        (verdicts.of_courier(False, ""), "off"),
        (verdicts.of_pause(_NOW), "warn"),
        (verdicts.of_end(Expiry.of("kit", _NOW + timedelta(days=90), _NOW)), "fine"),
        (verdicts.of_end(Expiry.of("kit", _NOW + timedelta(days=20), _NOW)), "warn"),
        (verdicts.of_end(Expiry.of("kit", _NOW + timedelta(days=2), _NOW)), "bad"),
        (verdicts.of_end(Expiry.of("kit", _NOW - timedelta(days=1), _NOW)), "bad"),
        (verdicts.of_finding(Finding("disk", "much")), "fine"),
        (verdicts.of_finding(Finding("disk", "little", advice="make room")), "warn"),
        (verdicts.of_finding(Finding("disk", "none", advice="make room", grave=True)), "bad"),
        (verdicts.of_selftest(None), "warn"),
        (verdicts.of_selftest(Selftest(True, "c0", (), _NOW.isoformat())), "fine"),
        (verdicts.of_selftest(Selftest(False, "c0", ("noise",), _NOW.isoformat())), "bad"),
        (verdicts.of_budget(Spending((Spent("in all", 1.0, 8.0),), (), None), 1e-5), "fine"),
        (verdicts.of_budget(Spending((Spent("in all", 1.0, 8.0),), (), 3), 1e-5), "fine"),
        (verdicts.of_budget(Spending((Spent("in all", 7.9, 8.0),), (), 0), 1e-5), "warn"),
        (verdicts.of_slides(0, 0, False), "warn"),
        (verdicts.of_slides(0, 2, True), "bad"),
        (verdicts.of_slides(9, 2, True), "warn"),
        (verdicts.of_slides(9, 0, True), "fine"),
    ],
    ids=str,
)
def test_each_state_has_its_verdict_and_what_is_wrong_has_a_cure(verdict: Verdict, level: str) -> None:
    assert verdict.level == level
    if level in ("bad", "warn"):
        assert verdict.cure


@pytest.mark.parametrize(
    ("levels", "worst"),
    [
        (["fine", "off", "busy"], "fine"),
        (["fine", "warn"], "warn"),
        (["warn", "bad", "fine"], "bad"),
        ([], "fine"),
    ],
)
def test_the_worst_part_is_the_whole(levels: list[str], worst: str) -> None:
    given = [Verdict(str(n), level, "") for n, level in enumerate(levels)]
    assert verdicts.worst(given).level == worst
    assert sorted(verdicts.gravest_first(given), key=lambda one: one.what) == given


FACTS = Facts("aperio", 40_000, 20_000, (1.0, 4.0), 0.25, "", 40.0, "", "f0")
NO_MPP = Facts("generic-tiff", 900, 900, (1.0,), None, "no-mpp", None, "", "f1")
GOOD = Quality(0.25, 40.0, 0.3, 0.0, 0.3)
BLURRED = Quality(0.25, 40.0, 0.3, 0.2, 0.9)


def entry(name: str, **values: object) -> Entry:
    given = {"facts": FACTS, "quality": GOOD, **values}
    return Entry(name, f"key-{name}", 1, 1, "stamp", "2/x", **given)  # type: ignore[arg-type]


def test_a_slide_serves_or_is_skipped_for_a_reason_never_both_and_never_neither() -> None:
    """Catches a slide without a scale that is told to serve, one that mpp.csv mended and is told to be skipped, and one that
    the agent skips and the catalogue does not know of.
    """
    entries = [
        entry("good.svs"),
        entry("blurred.svs", quality=BLURRED),
        entry("unscaled.tiff", facts=NO_MPP, quality=None),
        entry("mended.tiff", facts=NO_MPP, quality=None),
        entry("cut.svs", facts=None, quality=None, reason="truncated"),
        entry("gone.svs", gone=True),
        entry("late.svs"),
        entry("unseen.svs", facts=None, quality=None),
    ]
    found = cohort(
        {one.name: one for one in entries},
        {"mended.tiff": 0.5},
        {"late.svs": "damaged", "<b>.svs": "no-such-reason"},
    )
    assert [slide.name for slide in found.serving] == ["good.svs", "blurred.svs", "mended.tiff"]
    assert found.serving[2].mpp == 0.5
    assert {group.reason: group.names for group in found.skipped} == {
        "no-mpp": ("unscaled.tiff",),
        "truncated": ("cut.svs",),
        "unreadable": ("unseen.svs",),
        "damaged": ("late.svs",),
        "no-such-reason": ("<b>.svs",),
    }
    assert found.out == 5
    assert dict(found.by_vendor) == {"aperio": 2, "generic-tiff": 1}
    assert dict(found.by_flag) == {"ink": 1, "out-of-focus": 1}
    assert found.measured == 2


def test_each_reason_says_what_to_do() -> None:
    """Catches a reason for which a hospital is left alone."""

    def below(kind: type[SlideError]) -> list[type[SlideError]]:
        return [one for sub in kind.__subclasses__() for one in (sub, *below(sub))]

    reasons = {kind.reason for kind in below(SlideError)}
    assert len(reasons) > 10
    for reason in reasons:
        (group,) = cohort({"a": entry("a", facts=None, reason=reason)}, {}, {}).skipped
        assert (group.what, group.advice) == (slide_error(reason, "").what, slide_error(reason, "").advice)


@pytest.mark.parametrize(
    ("mpp", "words"), [(0.25, "40x"), (0.2999, "40x"), (0.5, "20x"), (1.0, "10x"), (8.0, "coarser")]
)
def test_scales_have_the_names_that_pathologists_give_them(mpp: float, words: str) -> None:
    assert words in scale_words(mpp)


STATUS = {"phase": "training", "since": 1.7e9, "step": 2, "of": 5, "bytes_sent": 7, "releases_sent": 1}


@pytest.mark.parametrize(
    "status",
    [
        {},
        {**STATUS, "since": "x"},
        {**STATUS, "since": 1e300},
        {**STATUS, "since": math.nan},
        {**STATUS, "step": None},
        {key: value for key, value in STATUS.items() if key != "phase"},
        {**STATUS, "round": "first"},
    ],
    ids=str,
)
def test_a_status_of_another_kind_is_none(status: dict[str, object]) -> None:
    """Catches a page that fails beside an agent of another version."""
    assert now(status, Account()) is None


def test_a_status_is_told() -> None:
    found = now(STATUS, None)
    assert found is not None
    assert (found.phase, found.step, found.of, found.idle, found.campaign) == ("training", 2, 5, False, None)


@pytest.mark.parametrize("count", [0, 1, 2, 99, 100, 101, 2000])
def test_a_long_curve_keeps_its_ends(count: int) -> None:
    """Catches a curve whose last point, the one that counts, was thinned away."""
    points = [(float(n), float(n)) for n in range(count)]
    kept = curves.thinned(points)
    assert len(kept) == min(count, 100)
    assert kept[:1] + kept[-1:] == points[:1] + points[-1:]


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (None, "not set"),
        (True, "yes"),
        (False, "no"),
        ((), "none"),
        (("a", "b"), "a, b"),
        (0.5, "0.5"),
        (0, "0"),
        (1, "1"),
    ],
)
def test_values_are_shown_as_people_write_them(value: object, words: str) -> None:
    assert shown(value) == words


def test_a_file_that_differs_from_the_ledger_shows() -> None:
    """Catches a page that tells a policy in force which is not, or the other way round."""
    told = keys({"delta": 1e-5, "hours": ("mon",)}, {"delta": 1e-5, "hours": ["tue"]})
    assert [(key.name, key.recorded) for key in told] == [("delta", None), ("hours", "tue")]
    assert [key.recorded for key in keys({"delta": 1e-5}, None)] == [None]
