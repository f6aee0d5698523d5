"""Figures of runs and series: what they show, and that they appear whole."""

import math
from pathlib import Path

import numpy as np

from voltase.cli.md_averages import RunLog
from voltase.cli.md_plots import RunLabels, plot_run, plot_series, save_figure
from voltase.cli.md_series import SeriesPoint, finite_differences


def test_the_figure_of_a_run(tmp_path: Path) -> None:
    steps = np.arange(40.0)
    names = ("time_fs", "n_e", "U_V", "target_U_V", "T_K", "conserved_eV")
    log = RunLog({"step": steps} | {name: steps * (k + 1) for k, name in enumerate(names)})
    figure = plot_run(log, RunLabels("Pt", "V vs SHE", 330.0, 2, averaged_from_fs=8.0))
    electrons, potential, temperature, conserved = figure.axes
    np.testing.assert_array_equal(electrons.lines[0].get_ydata(), log["n_e"])
    np.testing.assert_array_equal(potential.lines[-1].get_ydata(), log["target_U_V"])
    assert potential.get_ylabel() == "potential $U$ (V vs SHE)"
    assert {*temperature.lines[-1].get_ydata()} == {330.0}
    # meV for each of two atoms, from the start
    np.testing.assert_allclose(conserved.lines[0].get_ydata(), 3000.0 * steps)
    save_figure(figure, tmp_path / "md.png")
    assert (tmp_path / "md.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert [path.name for path in tmp_path.iterdir()] == ["md.png"]


def test_the_figure_of_a_series() -> None:
    points = [
        SeriesPoint(u, u, 0.01, -u, 0.01, 20 * u, 0.5, capacitance, 1.0, 330.0)
        for u, capacitance in ((-0.5, 18.0), (0.0, math.nan), (0.5, 21.0))
    ]
    figure = plot_series(points, finite_differences(points), "V vs SHE", "title")
    charge, capacitance = figure.axes
    np.testing.assert_allclose(charge.lines[0].get_xydata(), [[-0.5, -10], [0, 0], [0.5, 10]])
    legend = capacitance.get_legend()
    assert legend is not None
    assert len(legend.get_texts()) == 2
    assert capacitance.get_xlabel() == "potential $U$ (V vs SHE)"
