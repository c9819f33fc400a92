"""A study's outcome as Markdown, for a repository or a pull request."""

from __future__ import annotations

from collections.abc import Sequence

from taco_kd.study.config import StudyConfig
from taco_kd.study.questions import Question
from taco_kd.study.status import CellStatus
from taco_kd.study.table import COLUMNS, Row


def markdown(
    study: StudyConfig, statuses: Sequence[CellStatus], rows: Sequence[Row], questions: Sequence[Question]
) -> str:
    """Table, verdicts in words, what spoils them, and what is missing."""
    done = sum(status.state == "finished" for status in statuses)
    hours = sum(status.seconds for status in statuses) / 3600
    lines = [f"# {study.name}", "", study.description, ""]
    lines += [
        f"{done} of {len(statuses)} cells are finished, {hours:.2f} hours of training. {design(study)}",
        "",
    ]
    lines += ["| " + " | ".join(COLUMNS) + " |", "|" + "---|" * len(COLUMNS)]
    lines += ["| " + " | ".join(row.cells()) + " |" for row in rows]
    lines += ["", f"AP x 100. The difference is from {study.reference} with the same initial weights.", ""]
    for question in questions:
        lines += [f"## {title(question)}", "", *(f"- {line}" for line in verdicts(question)), ""]
        if question.comparison is not None:
            lines += [f"- caution: {line}" for line in question.comparison.confounders]
            lines += ["", question.comparison.caveat, ""]
    broken = [status for status in statuses if status.state in ("failed", "changed")]
    if broken:
        lines += ["## Cells that are missing", ""]
        lines += [f"- {status.cell.id} ({status.state}): {status.reason}" for status in broken] + [""]
    return "\n".join(lines).replace("\n\n\n", "\n\n")


def design(study: StudyConfig) -> str:
    """One sentence on what was varied."""
    parts = [f"{len(study.arms)} arms"]
    if study.initialisations:
        parts.append(f"{len(study.initialisations)} initialisation{'s' * (len(study.initialisations) > 1)}")
    parts.append(f"{len(study.seeds)} seed{'s' * (len(study.seeds) > 1)}")
    text = " x ".join(parts)
    if study.folds is None:
        return f"Design: {text}."
    return (
        f"Design: {text}, {study.folds.count} folds: each image was predicted once, by a model that did not "
        "see it."
    )


def title(question: Question) -> str:
    """Heading of a question."""
    return "Verdict" if question.initialisation is None else f"Initial weights: {question.initialisation}"


def verdicts(question: Question) -> list[str]:
    """The verdicts of a question in words, or why there are none."""
    if question.comparison is None:
        return [f"no verdict: {question.reason}"]
    return [difference.words for difference in question.comparison.differences]
