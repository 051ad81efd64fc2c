"""The words of a report."""

from deeprec.evals.suites.report import p_text


def test_no_p_value_is_written_as_zero() -> None:
    assert [p_text(value) for value in (1 / 20_001, 0.0001, 0.04, 1.0)] == ["< .0001", "0.0001", "0.0400", "1.0000"]
    assert p_text(float("nan")) == "–"
