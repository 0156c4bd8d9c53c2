import pytest
from pydantic import ValidationError

from glmplan.hardware.fact import BandwidthFact, Figure, SizeFact


def test_a_quantity_is_si_inside_and_text_outside():
    fact = SizeFact.model_validate({"value": "80 GiB", "source": "x"})
    assert fact.value == 80 * 2**30
    assert SizeFact.model_validate(fact.model_dump(mode="json")) == fact


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("-5 GB/s", "must not be negative"),
        ("0 GB/s", "must be greater than zero"),
        ("5 GB", "expected a bandwidth with a unit"),
        (5, "expected a bandwidth with a unit"),
    ],
)
def test_a_bandwidth_without_sense_is_refused(value, message):
    with pytest.raises(ValidationError, match=message):
        BandwidthFact.model_validate({"value": value, "source": "x"})


@pytest.mark.parametrize("missing", [{}, {"source": ""}])
def test_a_fact_without_a_source_is_refused(missing):
    with pytest.raises(ValidationError, match="source"):
        BandwidthFact.model_validate({"value": "5 GB/s", **missing})


def test_a_figure_needs_a_unit():
    assert Figure.model_validate({"value": "3 TB/s", "source": "x"}).text() == "3 TB/s"
    assert Figure.model_validate({"value": 148, "unit": "count", "source": "x"}).text() == "148 count"
    with pytest.raises(ValidationError, match="missing unit"):
        Figure.model_validate({"value": 148, "source": "x"})
    with pytest.raises(ValidationError, match="expected a quantity"):
        Figure.model_validate({"value": "148 sm", "source": "x"})
