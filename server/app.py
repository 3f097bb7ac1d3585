"""The ServerApp that Flower starts for a run: it opens the consortium's home and runs the campaign."""

from __future__ import annotations

from pathlib import Path

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from server.clock import SystemClock
from server.home import Home
from server.runner import evaluate_campaign_file, run_campaign_file

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Run the campaign file `campaign` of the consortium home `home`, both named by the run's configuration; or
    evaluate one point of it, where `evaluate` names one.
    """
    home = Home.open(Path(str(context.run_config["home"])))
    path = Path(str(context.run_config["campaign"]))
    if point := str(context.run_config["evaluate"]):
        evaluate_campaign_file(grid, home, path, point, SystemClock())
    else:
        run_campaign_file(grid, home, path, str(context.run_id), SystemClock())
