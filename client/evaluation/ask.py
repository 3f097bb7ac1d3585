"""One question about one slide, region or image, answered by the experts that serve it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from client.data import open_scales
from client.errors import MissingMppError
from client.evaluation.answers import Mode, answer_in, ends
from client.evaluation.drawing import Outline, at_level_0, outlines
from client.evaluation.house import EvaluationError
from client.home import Home
from client.model import router
from client.model.experts import Experts
from client.model.forward import Query
from client.model.inputs import InputLoader
from client.model.slide_features import SlideFeatures
from client.slides.examiners import outlive
from client.slides.files import list_slides
from client.slides.names import FileNames
from client.slides.slide import IMAGES, Slide, open_slide
from client.tasks.prompt import asked_to_think, direct
from client.tasks.registry import TASKS
from client.tasks.sample import Region, Sample
from client.training import rollout
from privacy.experts import tasks_at


@dataclass(frozen=True)
class Asked:
    """A question whose answer nobody knows. `region` None asks about the whole slide, `task` None leaves it open."""

    slide: str
    region: Region | None
    task: str | None
    question: str

    @property
    def scale(self) -> str:
        """`roi` or `wsi`."""
        return "wsi" if self.region is None else "roi"


@dataclass(frozen=True)
class Shape:
    """A box or an outline in level-0 pixels; `box` is the smallest around it: x1, y1, x2, y2."""

    box: tuple[float, float, float, float]
    points: Outline


@dataclass(frozen=True)
class Reply:
    """What came of a question. `answer` is None where the model broke the form; `said` is all that it said.

    `gates` gives the weight of each expert that served (none: the base alone); `frame` holds the shapes' outlines in the
    region's frame.
    """

    asked: Asked
    said: str
    answer: str | None
    gates: Mapping[str, float]
    frame: tuple[Outline, ...]
    shapes: tuple[Shape, ...]

    @property
    def thought(self) -> str | None:
        """What stood in the thinking block, if there was one."""
        before, end, _ = self.said.partition("</think>")
        return before.replace("<think>", "").strip() if end else None


def find_asked(home: Home, written: Path) -> tuple[Path, float | None]:
    """The file that is meant, by a path or by a name as in the manifest, and what `mpp.csv` says of its pixels, if
    anything. Raises `EvaluationError` for a name that several slides bear, and `ClientError`.
    """
    folder = home.settings.slides
    inside = written.resolve().is_relative_to(folder.resolve())
    if written.exists() and not inside:
        return written, None
    listing = list_slides(folder)
    names = [file.name for file in listing.files]
    name = written.resolve().relative_to(folder.resolve()).as_posix() if inside else written.as_posix()
    meant = FileNames([*names, *listing.refused]).find(name)
    if len(meant) > 1:
        raise EvaluationError(
            f"{written}: may be any of {', '.join(meant)}: give its path in the slide folder"
        )
    for refused in meant:
        if refused in listing.refused:
            raise listing.refused[refused]
    if not meant:
        return written if written.exists() else folder / written, None
    return folder / meant[0], open_scales(home).of(names).get(meant[0])


def open_asked(path: Path, mpp: float | None) -> Slide:
    """The slide or image to ask about; `mpp` says what its pixels measure, whatever it states. Another process opens it
    first: there are files that kill whoever opens them.

    Raises `SlideError`; `EvaluationError`, which says how to give mpp, where the file has none.
    """
    if mpp is not None and not 0 < mpp < 1000:
        raise EvaluationError(f"--mpp {mpp}: microns per pixel lie above 0 and below 1000")
    outlive(path)
    try:
        with open_slide(path, mpp) as reader:
            reader.probe()
            return reader.slide
    except MissingMppError:
        raise EvaluationError(
            f"{path.name}: it states no pixel size: give microns per level-0 pixel with --mpp, if you know them"
        ) from None


def region_of(slide: Slide, text: str | None) -> Region | None:
    """The region "X,Y,W,H" in level-0 pixels; None for the whole slide. A plain image is a region by itself.

    Raises `EvaluationError` where it is no such text, or does not lie in the slide.
    """
    if text is None:
        return Region(0, 0, slide.width, slide.height) if slide.path.suffix.lower() in IMAGES else None
    try:
        x, y, width, height = (int(part) for part in text.split(","))
    except ValueError:
        raise EvaluationError(f"--region {text}: give X,Y,W,H in whole level-0 pixels") from None
    inside = x >= 0 and y >= 0 and width > 0 and height > 0
    if not (inside and x + width <= slide.width and y + height <= slide.height):
        raise EvaluationError(
            f"--region {text}: it must lie in {slide.name}, which has {slide.width} x {slide.height} level-0 pixels"
        )
    return Region(x, y, width, height)


def ask(experts: Experts, slide: Slide, asked: Asked, features: Path, mode: Mode, most_tokens: int) -> Reply:
    """The model's greedy answer, of at most `most_tokens`, and where its shapes lie on the slide.

    Slide features are cached in `features`. Raises `EvaluationError` for a task that can't be asked at this scale, and for
    an open question where no router was trained; `SlideError` where the slide can't be read.
    """
    if not asked.question.strip():
        raise EvaluationError("the question is empty: ask something, as a manifest would")
    try:
        asked.question.encode()
    except UnicodeEncodeError:
        raise EvaluationError("the question is not UTF-8: type it in a terminal that is") from None
    if asked.task is not None and asked.task not in tasks_at(asked.scale):
        possible = ", ".join(tasks_at(asked.scale))
        raise EvaluationError(f"--task {asked.task}: can't be asked at scale {asked.scale}; {possible} can")
    question = cast("Sample", asked)  # inputs and prompts look at place, task and question alone
    (visual,) = InputLoader({slide.name: slide}, SlideFeatures(experts.base, features))([question])
    words = asked.question if asked.task is None else direct(question)
    if mode == "thinking":
        words = asked_to_think(words)
    query = Query(experts.prompts.prompt(words, visual), visual)
    with serving(experts, query, asked) as tasks:
        gates = dict(experts.serves(0))
        (ids,) = rollout.greedy(experts, [query], most_tokens, ends(experts, mode))
    said = experts.prompts.text(ids)
    answer = answer_in(said, mode)
    frame = () if answer is None else _shapes(answer, tasks)
    shapes = () if asked.region is None else tuple(_shape(at_level_0(line, asked.region)) for line in frame)
    return Reply(asked, said, answer, gates, frame, shapes)


@contextmanager
def serving(experts: Experts, query: Query, asked: Asked) -> Iterator[Sequence[str]]:
    """The experts that serve a question, those of them that are attached, active for the block; yields the tasks that it may
    be of, the likeliest first, whether they have experts here or not.

    A declared task has its own expert, at gate 1; for an open question the router chooses. Raises `EvaluationError` where
    it can't, for want of training.
    """
    if asked.task is not None:
        with experts.only(asked.scale, asked.task):
            yield (asked.task,)
        return
    if not experts.router.weight.any():  # as at its public start: whether it was received so, or not at all
        possible = ", ".join(tasks_at(asked.scale))
        raise EvaluationError(
            f"no trained router is among these experts, so none can be chosen by the question: name a --task: {possible}"
        )
    gates = router.gates_for(experts, [query], router.TOP_K)
    with experts.gated(asked.scale, gates):
        shares = sorted(zip(gates.weights[0].tolist(), gates.tasks, strict=True), reverse=True)
        yield [task for share, task in shares if share > 0]


def _shapes(answer: str, tasks: Sequence[str]) -> tuple[Outline, ...]:
    """The shapes of the first task as whose answer it has any: as words any text can be read."""
    read = (outlines(TASKS[task].parse(answer)) for task in tasks)
    return next(filter(None, read), ())


def _shape(points: Outline) -> Shape:
    xs, ys = zip(*points, strict=True)
    return Shape((min(xs), min(ys), max(xs), max(ys)), points)
