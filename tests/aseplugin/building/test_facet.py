"""Miller indices."""

import pytest

from voltase.aseplugin.building.facet import parse_facet
from voltase.aseplugin.errors import InputError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("111", (1, 1, 1)),
        ("(110)", (1, 1, 0)),
        ("1-10", (1, -1, 0)),
        ("(-1-10)", (-1, -1, 0)),
        ("2,1,1", (2, 1, 1)),
        ("10 -1 2", (10, -1, 2)),
        ("222", (1, 1, 1)),
        ([2, 0, 0], (1, 0, 0)),
        ("1\N{MINUS SIGN}10", (1, -1, 0)),
    ],
)
def test_three_indices(text: str, expected: tuple[int, int, int]) -> None:
    assert parse_facet(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"), [("0001", (0, 0, 1)), ("10-10", (1, 0, 0)), ("11-20", (1, 1, 0))]
)
def test_four_indices_of_a_hexagonal_crystal(text: str, expected: tuple[int, int, int]) -> None:
    assert parse_facet(text, hexagonal=True) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("000", "not all zero"),
        ("11", "expected Miller indices"),
        ("1a1", "expected Miller indices"),
        ("", "expected Miller indices"),
        ("0001", "not hexagonal"),
        ("99,1,0", "at most 20"),
        ([1, 1], "three whole numbers"),
        ([1, 0.5, 0], "three whole numbers"),
    ],
)
def test_refused(text: str, message: str) -> None:
    with pytest.raises(InputError, match=f"^facet: .*{message}"):
        parse_facet(text)


def test_four_indices_must_add_up() -> None:
    with pytest.raises(InputError, match="h \\+ k \\+ i = 0"):
        parse_facet("1010", hexagonal=True)
