"""The demo's closing report: one HTML file that needs nothing else, drawn from `result.json` alone."""

from __future__ import annotations

import html
import io
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

INK, BASE, SFT, FEDERATED, GRID = "#1b2733", "#9aa5b1", "#d98e2b", "#1f6f8b", "#e3e7eb"
NAMES = {
    "classification": "classification",
    "detection": "detection",
    "segmentation": "segmentation",
    "vqa": "questions",
}
STYLE = """
:root{color-scheme:light}body{font:16px/1.5 system-ui,sans-serif;color:#1b2733;max-width:60rem;margin:2.5rem auto;padding:0 1rem}
h1{font-size:1.6rem;margin:0}h2{font-size:1.15rem;margin:2.2rem 0 .6rem}p{max-width:44rem}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}caption{text-align:left;color:#52606d;padding:.3rem 0}
th,td{padding:.35rem .6rem;border-bottom:1px solid #e3e7eb;text-align:right}th:first-child,td:first-child{text-align:left}
td{white-space:nowrap}
.scroll{overflow-x:auto}svg{max-width:100%;height:auto}
.verdict{font-size:1.05rem;border-left:4px solid #1f6f8b;padding-left:.8rem}
code{background:#f3f5f7;padding:.1em .3em;border-radius:3px}@media print{body{margin:0}}
"""


def write_report(result: dict[str, Any], out: Path) -> None:
    """Writes the report of one demo run (`result` as in build/demo/result.json)."""
    rows, hospitals = result["rows"], result["hospitals"]
    better = sum(row["federated"] > row["base"] for row in rows)
    spent = max(h["epsilon"] for h in hospitals)
    verdict = (
        f"Federated training beat the base on {better} of {len(rows)} rows; no hospital spent more than "
        f"&epsilon; = {spent:.2f} at &delta; = {hospitals[0]['delta']:g}, per patient. "
        f"The whole run took {result['seconds'] / 60:.1f} minutes."
    )
    body = [
        "<h1>FedPath demo: three hospitals, one model</h1>",
        f'<p class="verdict">{verdict}</p>',
        "<h2>Does it learn?</h2>",
        "<p>Public validation patients from all three hospitals' organs and stains, none of them in training. "
        "Bars are 95&nbsp;% bootstrap intervals of the final model.</p>",
        _svg(_scores(rows)),
        _table(
            ("scale, task", "metric", "base", "after SFT", "after GRPO", "95 % interval", "questions"),
            [
                (
                    f"{row['scale'].upper()}, {NAMES[row['task']]}",
                    row["metric"],
                    f"{row['base']:.3f}",
                    f"{row['sft']:.3f}",
                    f"{row['federated']:.3f}",
                    f"{row['ci95'][0]:.3f} to {row['ci95'][1]:.3f}",
                    str(row["n"]),
                )
                for row in rows
            ],
        ),
        "<h2>What did it cost in privacy?</h2>",
        "<p>Each hospital's own ledger, one accountant (PLD), patient-level, add or remove one patient. "
        "Every charge was written before anything was sent.</p>",
        _svg(_epsilons(result["epsilon_by_round"], hospitals[0]["epsilon_budget"])),
        _table(
            (
                "hospital",
                "epsilon",
                "budget",
                "delta",
                "patients (nominal)",
                "releases",
                "bytes that left",
                "slides skipped",
            ),
            [
                (
                    h["name"],
                    f"{h['epsilon']:.3f}",
                    f"{h['epsilon_budget']:g}",
                    f"{h['delta']:g}",
                    f"{h['patients_nominal']:,}",
                    str(h["releases"]),
                    f"{h['bytes_out']:,}",
                    str(h["slides_skipped"]),
                )
                for h in hospitals
            ],
        ),
        "<p>What left is nothing but signed int8 expert deltas; each message's hash stands in the hospital's egress "
        f"log (<code>fedpath-hospital egress</code>). The agents' network: {html.escape(result['network'])}.</p>",
        "<h2>Rounds</h2>",
        _table(
            ("round", "stage", "seconds", "releases taken", "refused or missing"),
            [
                (
                    str(r["round"]),
                    r["stage"].upper(),
                    f"{r['seconds']:.0f}",
                    ", ".join(f"{name} {count}" for name, count in r["accepted"].items()),
                    ", ".join(r["refused"]) or "none",
                )
                for r in result["rounds"]
            ],
        ),
        "<p>Drawn tissue, a tiny base, a demonstration: not for clinical use.</p>",
    ]
    page = "\n".join(body)
    out.write_text(
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>FedPath demo</title>'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<style>{STYLE}</style></head><body>{page}</body></html>\n"
    )


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = ["".join(f"<td>{html.escape(cell)}</td>" for cell in row) for row in rows]
    titles = "".join(f'<th scope="col">{html.escape(name)}</th>' for name in head)
    body = "".join(f"<tr>{line}</tr>" for line in lines)
    return f'<div class="scroll"><table><thead><tr>{titles}</tr></thead><tbody>{body}</tbody></table></div>'


def _svg(figure: Figure) -> str:
    text = io.StringIO()
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "fedpath"}):
        figure.savefig(text, format="svg", bbox_inches="tight", metadata={"Date": None})
    drawing = text.getvalue()
    return f'<div role="img" aria-label="{html.escape(str(figure.get_label()))}">{drawing[drawing.index("<svg") :]}</div>'


def _plot(width: float, height: float, label: str) -> tuple[Figure, Any]:
    figure = Figure(figsize=(width, height))
    figure.set_label(label)
    axes = figure.add_subplot()
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(length=0, labelcolor=INK)
    axes.set_axisbelow(True)
    return figure, axes


def _scores(rows: list[dict[str, Any]]) -> Figure:
    """One line a task row, three marks on it: base, after SFT, after GRPO (with its interval)."""
    figure, axes = _plot(8.4, 0.55 * len(rows) + 1, "scores of base, SFT and federated model by task")
    for at, row in enumerate(rows):
        y = len(rows) - 1 - at
        axes.plot(row["ci95"], (y, y), color=FEDERATED, alpha=0.3, linewidth=7, solid_capstyle="round")
        for key, colour, mark, size in (
            ("base", BASE, "o", 7),
            ("sft", SFT, "D", 6),
            ("federated", FEDERATED, "o", 9),
        ):
            axes.plot(row[key], y, mark, color=colour, markersize=size, label=None if at else key)
    names = [f"{r['scale'].upper()} {NAMES[r['task']]} ({r['metric']})" for r in rows]
    axes.set_yticks(range(len(rows) - 1, -1, -1), names)
    axes.set_xlim(-0.02, 1.02)
    axes.grid(axis="x", color=GRID)
    handles, _ = axes.get_legend_handles_labels()
    axes.legend(
        handles,
        ["base", "after SFT", "after GRPO"],
        loc="lower center",
        bbox_to_anchor=(0.5, 1),
        ncols=3,
        frameon=False,
    )
    return figure


def _epsilons(by_round: dict[str, list[float]], budget: float) -> Figure:
    """Epsilon spent after each round, one step line a hospital, against the budget."""
    figure, axes = _plot(8.4, 2.6, "epsilon of each hospital after each round, against its budget")
    for (name, values), colour, dash in zip(
        by_round.items(), (FEDERATED, SFT, INK), ("-", "--", ":"), strict=False
    ):
        axes.step(
            range(len(values) + 1),
            [0.0, *values],
            where="post",
            color=colour,
            linestyle=dash,
            linewidth=2.2,
            label=name,
        )
    axes.axhline(budget, color="#b3261e", linewidth=1.2)
    axes.annotate("budget", (0, budget), xytext=(2, 3), textcoords="offset points", color="#b3261e")
    axes.set_ylim(0, budget * 1.15)
    axes.set_xticks(range(max(map(len, by_round.values())) + 1))
    axes.set_xlabel("round")
    axes.set_ylabel("epsilon")
    axes.grid(axis="y", color=GRID)
    axes.legend(frameon=False, ncols=3, loc="lower right")
    return figure
