"""A hospital's slides and questions, opened as its home says: the one way in which agent and commands come to them."""

from __future__ import annotations

from dataclasses import dataclass

from client.home import Home
from client.slides.index import Looking, SlideIndex, index_slides
from client.slides.scales import FILE, Scales, read_scales
from client.tasks.manifest import Manifest, read_manifest


@dataclass(frozen=True)
class Data:
    """The slides that can serve, and what is asked of them."""

    index: SlideIndex
    manifest: Manifest


def open_slides(home: Home, looking: Looking | None = None) -> SlideIndex:
    """The home's slides, its catalogue brought up to date. Raises `ClientError`."""
    return index_slides(home.settings.slides, home.catalogue, home.pseudonyms, open_scales(home), looking)


def open_data(home: Home, looking: Looking | None = None, image_token: str | None = None) -> Data:
    """The home's slides, and its manifest as the policy has it read, for a base of this token. Raises `ClientError`,
    `PolicyError`.
    """
    skip_bad_rows = home.policy.skip_bad_rows
    index = open_slides(home, looking)
    return Data(index, read_manifest(home.settings.manifest, index, skip_bad_rows, image_token))


def open_scales(home: Home) -> Scales:
    """What the home's `mpp.csv` says, which lies beside the manifest. Raises `ScalesError`."""
    return read_scales(home.settings.manifest.with_name(FILE))
