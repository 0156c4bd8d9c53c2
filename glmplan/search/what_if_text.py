"""A what-if as rows and sentences."""

from glmplan.plan.comparison import Row, Subject, difference_sentences, option_rows, row_of
from glmplan.search.what_if import WhatIf

BEFORE = "the plan as it is"
AFTER = "The changed plan"
REPLANNED = "The best plan after the change"
COLUMNS = {BEFORE: "before", AFTER: "after", REPLANNED: "re-planned"}
"""What an option is called in a sentence, and above its column."""
NOT_MEASURED = "The changed machine or stack was not measured, so that what was calibrated before is transferred now."


def what_if_rows(result: WhatIf) -> tuple[list[str], list[Row]]:
    """The options' names, and their layouts and figures side by side."""
    subjects = _subjects(result)
    layouts = row_of("layout", "layout", [subject.option.layout.label() for subject in subjects])
    return [COLUMNS[subject.name] for subject in subjects], [layouts, *option_rows(subjects)]


def what_if_sentences(result: WhatIf) -> list[str]:
    """What the change does, and what is taken for granted."""
    first, *others = _subjects(result)
    sentences = [f"The same layout cannot run after the change: {result.obstacle}."] if result.obstacle else []
    for subject in others:
        sentences += difference_sentences(first, subject, same_machine=True)
    if result.after is not None:
        estimate = result.after.estimate
        if estimate.peak_memory_high90_bytes > estimate.memory_capacity_bytes:
            sentences.append(f"After the change the same layout {estimate.memory_verdict}.")
    if result.after is not None and result.replanned is not None and result.replanned.layout == result.after.layout:
        sentences.append("The best layout after the change is the same.")
    if any(subject.option.estimate.grade != first.option.estimate.grade for subject in others):
        sentences.append(NOT_MEASURED)
    assumed: dict[str, str] = {}
    for change in result.changes:
        if change.assumption:
            assumed[change.assumption] = f"{assumed.get(change.assumption, '')}, {change.name}".lstrip(", ")
    return sentences + [f"Assumed for {names}: {text}." for text, names in assumed.items()]


def _subjects(result: WhatIf) -> list[Subject]:
    base_tokens = result.base.request.job.tokens_per_step
    tokens = result.problem.request.job.tokens_per_step
    subjects = [Subject(name=BEFORE, option=result.before, tokens_per_step=base_tokens)]
    if result.after is not None:
        subjects.append(Subject(name=AFTER, option=result.after, tokens_per_step=tokens))
    if result.replanned is not None:
        subjects.append(Subject(name=REPLANNED, option=result.replanned, tokens_per_step=tokens))
    return subjects
