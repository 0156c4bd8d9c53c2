"""Expected errors and their exit codes."""

import pytest

from glmplan.errors import DocumentError, DoesNotFit, Fault, GlmplanError, InputError, NoData


@pytest.mark.parametrize(("error", "code"), [(InputError, 2), (DocumentError, 2), (DoesNotFit, 3), (NoData, 4)])
def test_each_kind_of_error_has_its_exit_code(error: type[GlmplanError], code: int) -> None:
    assert error.exit_code == code
    assert issubclass(error, GlmplanError)


def test_a_document_error_has_one_line_for_each_fault() -> None:
    faults = [
        Fault(field="a.b", reason="missing", line=3),
        Fault(field="", reason="empty"),
        Fault(field="c", reason="x"),
    ]
    error = DocumentError("file.yaml", faults)
    assert str(error).splitlines() == ["file.yaml:3: a.b: missing", "file.yaml: empty", "file.yaml: c: x"]
