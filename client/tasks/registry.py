"""The tasks by name."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from client.tasks.classification import Classification
from client.tasks.detection import Detection
from client.tasks.segmentation import Segmentation
from client.tasks.task import Task
from client.tasks.vqa import Vqa

_ALL: tuple[Task, ...] = (Classification(), Detection(), Segmentation(), Vqa())
TASKS: Mapping[str, Task] = MappingProxyType({task.name: task for task in _ALL})
