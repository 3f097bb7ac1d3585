"""What a courier reports of its confinement when it is started again and again."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from client.courier import courier
from tests.unit.client.conftest import House

MakeHouse = Callable[..., House]


def test_a_report_is_of_the_last_start_alone(house: MakeHouse, monkeypatch: pytest.MonkeyPatch) -> None:
    """Catches a report that grows, by old words or by the room that they took, each time a SuperNode is refused;
    a courier that is taken for dead while it lives, or for alive when it is gone.
    """
    starts: list[int] = []
    home = house().home

    def run(
        view: object, command: object, environment: object, say: Callable[[str], None], told: object
    ) -> int:
        if (child := os.fork()) == 0:  # as the confined process does
            say("own file system")
            os._exit(0)
        os.waitpid(child, 0)
        starts.append(child)
        assert home.courier_lives()
        if len(starts) == 3:
            raise KeyboardInterrupt
        return 1

    monkeypatch.setattr("client.courier.run", run)
    with pytest.raises(KeyboardInterrupt):
        courier(home, pause=lambda seconds: None)
    assert home.courier_report.read_text() == "own file system\n"
    assert not home.courier_lives()
