"""A hospital's network is cut in mid-round, for longer than the round's deadline: two network namespaces and a cable between."""

from __future__ import annotations

import threading

import pytest

from tests.e2e.conftest import started, until
from tests.e2e.federation import build
from tests.e2e.network import HERE, cable
from tests.e2e.test_e2e_faults import contributors, ledger_of
from tests.e2e.test_e2e_resume import _spent

pytestmark = [pytest.mark.nightly, pytest.mark.e2e, pytest.mark.timeout(1800)]


def test_a_hospital_whose_network_is_cut_misses_rounds_and_comes_back(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """Catches a round that waits past its deadline, a hospital that pays for a round twice or is lost for good, and a courier
    that has to be started again by hand.
    """
    with cable() as line:
        federation = build(tmp_path_factory.mktemp("cut"), host=HERE)
        north, south = (federation.hospitals[name] for name in ("north", "south"))
        with started(federation, {"north": line.within}) as running:
            campaign = federation.campaign("cut", quorum=1, deadline=60.0, sft_rounds=2)
            done: list[int] = []
            runner = threading.Thread(target=lambda: done.append(federation.run(campaign).returncode))
            runner.start()
            until(lambda: ledger_of(north).summary().reserved == 1, "north trained")
            line.pull()
            until(lambda: ledger_of(north).summary().spent == 1, "north's answer was ready")
            until(
                lambda: federation.status("cut")["rounds_committed"] >= 1, "the round went on without north"
            )
            line.plug_in()
            runner.join()
            assert done == [0], federation.status("cut")["failure"]
            assert contributors(federation, "cut")[0] == {"south"}
            assert _spent(south, "cut") == {1: 1, 2: 1, 3: 1}
            assert set(_spent(north, "cut").values()) == {1}

            again = federation.run(federation.campaign("mended"))
            assert again.returncode == 0, again.stdout + again.stderr
            assert contributors(federation, "mended") == [{"north", "south"}] * 2
            assert running.couriers["north"].process.poll() is None
