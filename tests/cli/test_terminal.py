"""What commands say of their progress where there is no terminal."""

import pytest

from voltase.cli import terminal
from voltase.cli.terminal import progress_bar


@pytest.mark.parametrize("shown", [True, False])
def test_lines_now_and_then_without_a_terminal(
    shown: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(terminal, "SAID_EVERY", 0.0)
    with progress_bar("step", 20, shown=shown) as bar:
        bar(5, text="2 steps/s")
        bar(10)
    said = capsys.readouterr().err
    assert said == ("2 steps/s: 5 of 20\nstep: 10 of 20\n" if shown else "")


def test_nothing_of_what_is_over_soon(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bar("step", 20) as bar:
        bar(20)
    assert capsys.readouterr().err == ""
