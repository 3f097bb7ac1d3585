"""Answers kept as they come, so that an evaluation that was killed goes on where it stopped.

    answers.jsonl      first line: what is being evaluated; then one line an answer: {"sample": ..., "said": ...}

A file of another evaluation (other experts, mode, code) is begun anew. A line that a crash cut short is dropped.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType

from privacy import durable

FILE = "answers.jsonl"


class KeptAnswers:
    """The answers of one evaluation in a folder of the hospital's own; use it in a `with` block.

    `subject` says all that answers depend on beside the sample; `said` holds what is there already, by sample.
    """

    def __init__(self, folder: Path, subject: str) -> None:
        self._path = folder / FILE
        self._subject = subject
        self.said: dict[str, str] = {}

    def __enter__(self) -> KeptAnswers:
        self.said = self._read()
        lines = [{"evaluating": self._subject}, *({"sample": k, "said": v} for k, v in self.said.items())]
        durable.replace(self._path, "".join(json.dumps(line) + "\n" for line in lines).encode())
        self._file = self._path.open("a", encoding="utf-8")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def keep(self, answers: Iterable[tuple[str, str]]) -> None:
        """Add answers (sample, what was said); they survive this process from here on."""
        for sample, said in answers:
            self.said[sample] = said
            self._file.write(json.dumps({"sample": sample, "said": said}) + "\n")
        self._file.flush()

    def _read(self) -> dict[str, str]:
        try:
            lines = self._path.read_text("utf-8").splitlines()
            if not lines or json.loads(lines[0]) != {"evaluating": self._subject}:
                return {}
        except (FileNotFoundError, ValueError):
            return {}
        found = {}
        for line in lines[1:]:
            try:
                value = json.loads(line)
                found[str(value["sample"])] = str(value["said"])
            except (ValueError, KeyError, TypeError):
                break  # cut short: nothing after it was written
        return found
