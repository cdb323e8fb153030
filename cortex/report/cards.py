"""Classes in pictures: an image, the importance of its tokens, and the class's concept tokens as patches."""

import base64
import io
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cortex.core.tables import read_table
from cortex.data.decoded import decoded_of
from cortex.data.layout import Layout
from cortex.data.shard_reader import read_shard
from cortex.data.tokens import read_tokens
from cortex.dictionary.kinds import KINDS, MARKS, SURE
from cortex.explain import IMPORTANCE
from cortex.extractors.names import AVERAGE, split_name
from cortex.report.figures.images import overlay
from cortex.report.figures.style import Images
from cortex.report.levels import span, typical_n
from cortex.report.patches import typical_patches
from cortex.report.results import FEW_RIGHT, ListName, Lists, RunFiles, shown_list
from cortex.report.rows import Row, mean, select

FEW = 6  # classes on the first screen
MOST = 30  # classes on the page
OUTLINED = 5  # positions of highest importance in an image
FIRST = 5  # tokens on a card
LISTED = 10  # tokens of a list
EQUAL_AREA = "random_area"
EVERY = -1  # all images of a class, in place of a token


@dataclass(frozen=True)
class Token:
    """A token of a list.

    Args:
        number: of the code.
        patch: its picture as a data URI; None where the images that were read do not hold it; empty without images.
        found_by: how many trainings have it among as many first tokens.
        frequent: whether it is among the class's most frequent tokens.
        images: test images of the class that hold it.
        kind: of the dictionary, such as "marks a class", which rests on frequencies alone.
        most: name of the class of highest share, of a token that marks a class or that classes share; else None.
        share: of this class.
        own: whether this class is that of the list; True where there is none.
        weak: whether the label has a low probability (:data:`~cortex.dictionary.kinds.SURE`).
    """

    number: int
    patch: str | None
    found_by: int = 0
    frequent: bool = True
    images: int = 0
    kind: str = ""
    most: str | None = None
    share: float = 0.0
    own: bool = True
    weak: bool = False

    @property
    def marks(self) -> str | None:
        """Name of another class that it marks, by the dictionary."""
        return self.most if self.kind == KINDS[MARKS] and not self.own else None


@dataclass(frozen=True)
class Example:
    """An image and the importance of its tokens.

    Args:
        image, heat: the image, and the importance laid over it, as data URIs.
        size: width and height in pixels.
        boxes: left, top, width and height of the positions of highest importance, the highest first.
        predicted: the classes that the shown trainings of the extractor read.
    """

    image: str
    heat: str
    size: tuple[int, int]
    boxes: list[tuple[float, float, float, float]]
    predicted: list[int]


@dataclass(frozen=True)
class Card:
    """A class.

    Args:
        label: its index.
        name: its name.
        tokens: its first concept tokens.
        lists: its tokens by list: extractor, kind of list.
        images: its test images.
        example: its first test image; None in a run without images.
        misread: other classes that the extractor takes the example for: their names, with the number of trainings.
        judged: lowest and highest share of the test images of the class that a judge assigns to it; None without them.
        masked, random: at the image level, what masks of the important tokens, and random masks of equal area, change:
            probability_change, masked_fraction; None where nothing was judged.
    """

    label: int
    name: str
    tokens: list[Token]
    lists: dict[str, list[Token]]
    images: int
    example: Example | None = None
    misread: Mapping[str, int] = field(default_factory=dict)
    judged: tuple[float, float] | None = None
    masked: Row | None = None
    random: Row | None = None

    @property
    def seldom_recognized(self) -> bool:
        """Whether a judge assigns few of the class's images to it."""
        return self.judged is not None and self.judged[0] < FEW_RIGHT


@dataclass(frozen=True)
class Cards:
    """The classes, and what they show.

    Args:
        files: of the run.
        names: of the classes.
        top_n: the lists of concept tokens to show.
        shard: tar of images for the patches; None in a run without images.
        scales: rows and columns of every scale of tokens; empty: they have one.
    """

    files: RunFiles
    names: Sequence[str]
    top_n: int
    shard: Path | None
    scales: tuple[int, ...] = ()

    @cached_property
    def extractor(self) -> str:
        """The extractor of highest accuracy on test images, as its training or its averaged scores."""
        return self.files.shown(self.files.best)

    @property
    def averaged(self) -> bool:
        """Whether scores averaged over trainings are shown."""
        return split_name(self.extractor)[1] == AVERAGE

    @cached_property
    def trainings(self) -> list[str]:
        """Trainings of the extractor."""
        return self.files.trainings(split_name(self.extractor)[0])

    @cached_property
    def shown(self) -> ListName:
        """Kind and top_n of the concept tokens on the cards."""
        return shown_list(self.files.lists(self.extractor), self.top_n)

    @cached_property
    def n(self) -> int | None:
        """Number of masked codes of the cards' sentences; None where nothing was judged."""
        return typical_n(self.files.metrics["image_level"]) if "image_level" in self.files.levels else None

    @cached_property
    def labels(self) -> list[int]:
        """The classes on the page."""
        return sorted(self.files.frequent)[:MOST]

    @cached_property
    def all(self) -> list[Card]:
        """A card for every class."""
        lists = self._lists()
        concept = self.files.lists(self.extractor)[self.shown]
        tokens = {
            number
            for of in (concept, *lists.values())
            for label in self.labels
            for number in of.get(label, ())[:LISTED]
        }
        patches = self._patches(tokens)
        examples = self._examples()
        changes = self.files.changes_by_class(self.extractor, self.n) if self.n is not None else {}
        own = [self.files.lists(training).get(self.shown, {}) for training in self.trainings]
        found = []
        for label in self.labels:
            example = examples.get(label)
            misread = Counter(self.name(read) for read in example.predicted if read != label) if example else {}
            frequent = self.files.frequent.get(label, ())
            first = [of.get(label, ())[:FIRST] for of in own]
            found.append(
                Card(
                    label,
                    self.name(label),
                    self._with_classes(label, tokens_of(concept.get(label, ())[:FIRST], patches, first, frequent)),
                    {
                        title: self._with_classes(label, tokens_of(of.get(label, ())[:LISTED], patches, [], frequent))
                        for title, of in lists.items()
                    },
                    self._held[label][EVERY],
                    example,
                    misread,
                    self._judged(label),
                    changes.get((label, IMPORTANCE)),
                    changes.get((label, EQUAL_AREA)),
                )
            )
        return found

    def name(self, label: int) -> str:
        """The name of a class."""
        return self.names[label] if label < len(self.names) else f"class {label}"

    @cached_property
    def _held(self) -> Mapping[int, Counter[int]]:
        """By class, how many test images hold a token, and how many there are (:data:`EVERY`)."""
        found: dict[int, Counter[int]] = defaultdict(Counter)
        for path in self.files.scores(self.extractor):
            shard = read_tokens(path)
            for label, tokens in zip(shard.labels.tolist(), shard.tokens, strict=True):
                found[label].update([EVERY, *np.unique(tokens).tolist()])
        return found

    def _judged(self, label: int) -> tuple[float, float] | None:
        """Lowest and highest share of the class's test images that a judge assigns to it."""
        of_judges = [select(rows, label=label) for rows in self.files.readings.values()]
        return span(mean(row["predicted"] == label for row in rows) for rows in of_judges) if of_judges else None

    def _with_classes(self, label: int, tokens: Sequence[Token]) -> list[Token]:
        """The tokens of a class, with the test images that hold them and what the dictionary says of them."""
        found = []
        for one in tokens:
            code = self.files.codes.get(one.number, {"kind": "", "classes": [], "sure": 1.0})
            most = code["classes"][0] if code["classes"] else None
            said = {} if most is None else {"most": self.name(most), "share": code["class_share"], "own": most == label}
            found.append(
                replace(one, images=self._held[label][one.number], kind=code["kind"], weak=code["sure"] < SURE, **said)
            )
        return found

    def _lists(self) -> dict[str, Lists]:
        """Lists of concept tokens by a title, of every method and extractor, and the most frequent tokens."""
        methods = self.files.methods
        found: dict[str, Lists] = {}
        for method in methods:
            files = replace(self.files, methods=(method,))
            for name in dict.fromkeys(split_name(one)[0] for one in self.files.extractors):
                lists = files.lists(files.shown(name))
                for kind in dict.fromkeys(kind for kind, top_n in lists if top_n == self.top_n):
                    words = [name, kind, *([method] if len(methods) > 1 else [])]
                    found[", ".join(words)] = lists[kind, self.top_n]
        return found | {"most frequent": self.files.frequent}

    def _patches(self, tokens: set[int]) -> dict[int, str] | None:
        shard = self.shard
        if shard is None:
            return None
        patches = typical_patches(lambda: read_shard(shard, images="any"), tokens, self.scales)
        return {token: data_uri(patch) for token, patch in patches.items()}

    def _examples(self) -> dict[int, Example]:
        if self.shard is None:
            return {}
        scores = self.files.scores(self.extractor)
        folder = self.files.run / "data" / "test" / "images"
        trainings = self.trainings if self.averaged else [self.extractor]
        read_by = [self.files.scores(training) for training in trainings]
        return first_examples(scores, [folder / f"{path.stem}.npy" for path in scores], self.labels, read_by)


def first_examples(
    scores: Sequence[Path], images: Sequence[Path], labels: Sequence[int], read_by: Sequence[Sequence[Path]] = ()
) -> dict[int, Example]:
    """The first test image of every label with its importance; files after the last of them are not read.

    Args:
        scores: importance files, a shard each.
        images: decoded images of these shards.
        labels: of the classes.
        read_by: importance files of the trainings whose readings of an image count, of each as ``scores``.
    """
    found: dict[int, Example] = {}
    for place, (path, decoded) in enumerate(zip(scores, images, strict=True)):
        shard = read_tokens(path, [IMPORTANCE])
        pixels = decoded_of(shard, decoded)
        reads = [_readings(files[place]) for files in read_by]
        for row, label in enumerate(shard.labels.tolist()):
            if label in labels and label not in found:
                read = [of_training[shard.keys[row]] for of_training in reads]
                found[label] = example(np.asarray(pixels[row]), shard.scores[IMPORTANCE][row], shard.layout, read)
        if len(found) == len(labels):
            break
    return found


def _readings(path: Path) -> dict[str, int]:
    """The class that a training reads, by the key of the image."""
    rows = read_table(path, ["key", "predicted"])
    return dict(zip(rows["key"].to_pylist(), rows["predicted"].to_pylist(), strict=True))


def example(image: Images, scores: NDArray[np.floating], layout: Layout, predicted: list[int]) -> Example:
    """An image with the importance ``[P]`` of its tokens."""
    height, width = image.shape[:2]
    highest = np.argsort(-scores, kind="stable")[:OUTLINED]
    of_image = layout.boxes((height, width))[highest].tolist()
    boxes = [(left, top, wide, tall) for top, left, tall, wide in of_image]
    return Example(data_uri(image), data_uri(overlay(image, layout.heat(scores))), (width, height), boxes, predicted)


def tokens_of(
    tokens: Sequence[int],
    patches: Mapping[int, str] | None,
    trainings: Sequence[Sequence[int]],
    frequent: Sequence[int],
) -> list[Token]:
    """The tokens of a list.

    Args:
        tokens: their numbers.
        patches: their pictures by token, as data URIs; None in a run without images.
        trainings: the first tokens of the same list by every training.
        frequent: the class's most frequent tokens.
    """
    pictures: Mapping[int, str | None] = dict.fromkeys(tokens, "") if patches is None else patches
    return [Token(one, pictures.get(one), sum(one in of for of in trainings), one in frequent) for one in tokens]


def data_uri(image: Images) -> str:
    """A picture ``[H, W, 3]`` as a PNG in a data URI."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format="PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
