"""The tasks by name: what `privacy.experts.TASKS` registers, `client/tasks/<name>.py` describes as its `TASK`."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from types import MappingProxyType

from client.tasks.task import Task
from privacy import experts

TASKS: Mapping[str, Task] = MappingProxyType(
    {name: import_module(f"client.tasks.{name}").TASK for name in experts.TASKS}
)
