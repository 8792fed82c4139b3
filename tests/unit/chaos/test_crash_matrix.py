"""The matrix of crash points knows every point there is in the code, and no other."""

from chaos.crash_matrix import EXEMPT, covered
from chaos.known_points import known_points


def test_every_point_is_reached_or_exempt_with_a_reason() -> None:
    assert sorted(known_points() - covered() - EXEMPT.keys()) == []


def test_no_point_is_listed_that_is_gone() -> None:
    assert sorted((covered() | EXEMPT.keys()) - known_points()) == []
    assert sorted(covered() & EXEMPT.keys()) == []
