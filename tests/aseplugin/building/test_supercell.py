"""Surface supercells."""

import numpy as np
import pytest

from voltase.aseplugin.building.supercell import parse_supercell, translations
from voltase.aseplugin.errors import InputError

SQUARE = 2.9 * np.eye(2)
HEXAGONAL = 2.8 * np.array([[1.0, 0.0], [0.5, 0.75**0.5]])


@pytest.mark.parametrize(
    ("text", "lattice", "size", "lengths", "angle"),
    [
        ("3x2", HEXAGONAL, 6, (3.0, 2.0), 60.0),
        ("(2x2)", SQUARE, 4, (2.0, 2.0), 90.0),
        ("p(2x1)", SQUARE, 2, (2.0, 1.0), 90.0),
        ("c(2x2)", SQUARE, 2, (2**0.5, 2**0.5), 90.0),
        ("root2xroot2R45", SQUARE, 2, (2**0.5, 2**0.5), 90.0),
        ("root3xroot3R30", HEXAGONAL, 3, (3**0.5, 3**0.5), 60.0),
        ("\N{SQUARE ROOT}3\N{MULTIPLICATION SIGN}\N{SQUARE ROOT}3R30\N{DEGREE SIGN}", HEXAGONAL, 3,
         (3**0.5, 3**0.5), 60.0),
        ("2root3x2root3R30", HEXAGONAL, 12, (12**0.5, 12**0.5), 60.0),
        ("root7xroot7R19.1", HEXAGONAL, 7, (7**0.5, 7**0.5), 60.0),
        ("2xroot3rect", HEXAGONAL, 4, (2.0, 3**0.5), 90.0),
        ("2,1,-1,1", HEXAGONAL, 3, (7**0.5, 1.0), 100.9),
        ([[2, 0], [0, 3]], SQUARE, 6, (2.0, 3.0), 90.0),
        ((4, 4), SQUARE, 16, (4.0, 4.0), 90.0),
    ],
)  # fmt: skip
def test_lengths_and_angle(
    text: str, lattice: np.ndarray, size: int, lengths: tuple[float, float], angle: float
) -> None:  # type: ignore[type-arg]
    matrix = parse_supercell(text, lattice)
    assert round(np.linalg.det(matrix)) == size
    vectors = matrix @ lattice
    found = np.linalg.norm(vectors, axis=1)
    np.testing.assert_allclose(found / np.linalg.norm(lattice[0]), lengths, atol=1e-6)
    cosine = vectors[0] @ vectors[1] / np.prod(found)
    assert np.degrees(np.arccos(cosine)) == pytest.approx(angle, abs=0.1)
    assert len(np.unique(translations(matrix), axis=0)) == size


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0x2", "singular"),
        ("1,1,2,2", "singular"),
        ("0,1,1,0", "left-handed"),
        ("root3xroot3R30", "does not fit"),
        ("2by2", "expected such as 3x2"),
        ("x2", "expected such as 3x2"),
        ("99x99", "at most"),
        ([1, 2, 3], "expected such as 3x2"),
        ([[1.5, 0], [0, 1]], "expected such as 3x2"),
    ],
)
def test_refused(text: str, message: str) -> None:
    with pytest.raises(InputError, match=f"^supercell: .*{message}"):
        parse_supercell(text, SQUARE)
