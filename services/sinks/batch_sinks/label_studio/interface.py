"""A task schema as Label Studio's labelling interface: what a reviewer sees, and is asked."""

from typing import Final
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from batch_common.task_schema import Input, Question, TaskSchema
from batch_common.task_schema_text import plain, writable
from batch_sinks.label_studio.columns import ANSWER, column_names

SHOWN_ANSWER: Final = "model-answer"
"""The tag that shows the model's answer; every question belongs to it. No question has a `-`."""

YES, NO = "yes", "no"

CONTROLS: Final = {
    "choice": "Choices",
    "choices": "Choices",
    "boolean": "Choices",
    "rating": "Rating",
    "number": "Number",
    "text": "TextArea",
}
"""Label Studio's tag for each type of question."""

_OBJECTS: Final = {
    "text": ("Text", {"valueType": "text"}),
    "json": ("Text", {"valueType": "text"}),
    "html": ("HyperText", {"valueType": "text"}),
    "image": ("Image", {}),
    "chat": (
        "Paragraphs",
        {"valueType": "json", "layout": "dialogue", "nameKey": "role", "textKey": "content"},
    ),
}


def make_interface(schema: TaskSchema) -> str:
    """XML; the same for the same schema."""
    view = Element("View")
    columns = column_names(schema)
    for shown in schema.inputs:
        _show(view, shown, columns[shown.name])
    _title(view, "Answer")
    SubElement(view, "Text", name=SHOWN_ANSWER, value=f"${ANSWER}", valueType="text")
    for question in schema.questions:
        _ask(view, question)
    indent(view)
    return tostring(view, encoding="unicode")


def options_of(question: Question) -> tuple[str, ...]:
    """What can be chosen, as Label Studio has it. Empty: nothing is chosen but entered."""
    if question.type == "boolean":
        return (YES, NO)
    return tuple(writable(option) for option in question.options)


def _show(view: Element, shown: Input, column: str) -> None:
    _title(view, shown.title)
    tag, attributes = _OBJECTS[shown.show]
    SubElement(view, tag, {"name": f"shown-{column}", "value": f"${column}", **attributes})


def _ask(view: Element, question: Question) -> None:
    _title(view, question.title)
    tag = CONTROLS[question.type]
    control = SubElement(view, tag, name=question.name, toName=SHOWN_ANSWER)
    if question.required:
        control.set("required", "true")
    if question.type == "rating":
        control.set("maxRating", str(question.max))
    elif question.type == "text":
        control.attrib |= {"rows": "4", "maxSubmissions": "1", "editable": "true"}
    elif tag == "Choices":
        control.attrib |= {
            "choice": "multiple" if question.type == "choices" else "single",
            "showInline": "true",
        }
        for option in options_of(question):
            _option(control, option)


def _option(control: Element, option: str) -> None:
    """An alias is what stands in results; it is taken as it is."""
    choice = SubElement(control, "Choice", value=plain(option))
    if choice.get("value") != option:
        choice.set("alias", option)


def _title(view: Element, title: str) -> None:
    SubElement(view, "Header", value=plain(writable(title)), size="4")
