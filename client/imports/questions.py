"""How annotations are asked about: one template a kind of question, in words that the hospital may change."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from client.imports.found import ImportProblem, ImportSourceError
from client.imports.toml_file import ADVICE, read_toml

DEFAULTS: Mapping[str, str] = {
    "detection": "Box every {label}.",
    "segmentation": "Outline every {label}.",
    "count": "Count every {label}.",
}


@dataclass(frozen=True)
class Questions:
    """Templates by kind, those of single classes, and the word for each class of the source.

    A template or word that is "" asks nothing. The source's unclassified objects have the class "".
    """

    templates: Mapping[str, str] = field(default_factory=lambda: DEFAULTS)
    of_word: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    words: Mapping[str, str] = field(default_factory=dict)
    file: str = "questions"

    def word(self, label: str) -> str:
        """What a class is called in questions; "" where it is left out."""
        return self.words.get(label, label)

    def ask(self, kind: str, word: str) -> str:
        """The question; "" where it is not asked."""
        template = self.of_word.get(word, {}).get(kind, self.templates[kind])
        return template.replace("{label}", word)

    def idle(self, labels: Iterable[str]) -> list[ImportProblem]:
        """What the file says of classes or words that the source, with these classes, does not know."""
        classes = set(labels)
        words = {self.word(label) for label in classes}
        named = [("names", name, classes) for name in self.words if name and name not in classes]
        asked = [("questions", word, words) for word in self.of_word if word not in words]
        return [
            ImportProblem(f"{self.file}, {table}.{name}", "no class is called so", near(name, known))
            for table, name, known in (*named, *asked)
        ]


def near(name: str, known: Iterable[str]) -> str:
    """Advice for a name that is none of the known ones."""
    alike = {other.casefold(): other for other in sorted(known) if other}
    closest = get_close_matches(name.casefold(), alike, 1)
    if closest:
        return f"write {alike[closest[0]]!r}"
    return f"leave it out, or write one of {', '.join(map(repr, alike.values()))}"


def read_questions(path: Path) -> Questions:
    """Read a TOML file with the tables [questions], [questions.<word>] and [names], each optional.

    Raises ImportSourceError with everything that is wrong.
    """
    document = read_toml(path)
    problems = [
        ImportProblem(f"{path.name}, {key}", "there is no such table", ADVICE)
        for key in document.keys() - {"questions", "names"}
    ]
    templates: dict[str, str] = dict(DEFAULTS)
    of_word: dict[str, Mapping[str, str]] = {}
    for key, value in _table(document, "questions").items():
        where = f"{path.name}, questions.{key}"
        if isinstance(value, dict):
            of_word[key] = value
            problems += [
                _wrong(f"{where}.{kind}") for kind, text in value.items() if not _is_template(kind, text)
            ]
        elif _is_template(key, value):
            templates[key] = value
        else:
            problems.append(_wrong(where))
    names = _table(document, "names")
    problems += [
        ImportProblem(f"{path.name}, names.{key}", "it is no text", ADVICE)
        for key, value in names.items()
        if not isinstance(value, str)
    ]
    if problems:
        raise ImportSourceError(problems)
    return Questions(templates, of_word, names, path.name)


def _table(document: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The table, {} where it is absent; what is no table becomes an entry that no check lets pass."""
    value = document.get(name, {})
    return value if isinstance(value, dict) else {"": None}


def _is_template(kind: str, text: object) -> bool:
    return kind in DEFAULTS and isinstance(text, str)


def _wrong(where: str) -> ImportProblem:
    return ImportProblem(where, f"it is no template of {', '.join(DEFAULTS)}", ADVICE)
