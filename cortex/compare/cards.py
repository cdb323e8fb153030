"""Shared classes in pictures: of every run an image, the importance of its tokens, and concept tokens as patches."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from cortex.compare.runs import ComparedRun
from cortex.compare.shared import Shared
from cortex.data.shard_reader import read_shard
from cortex.extractors.names import split_name
from cortex.report.cards import LISTED, MOST, Example, Token, data_uri, first_examples, tokens_of
from cortex.report.patches import typical_patches
from cortex.report.results import ListName, Lists, shown_list

FIRST = 5  # tokens of a card


@dataclass(frozen=True)
class Side:
    """A class in one run.

    Args:
        run: its name.
        example: its first test image; None in a run without decoded images.
        lists: its concept tokens by extractor.
        again: by extractor, tokens that another run of the same codebook has among its first ones.
    """

    run: str
    example: Example | None
    lists: Mapping[str, list[Token]]
    again: Mapping[str, frozenset[int]]


@dataclass(frozen=True)
class Gallery:
    """Pictures of the shared classes.

    Args:
        shared: what the runs share.
        extractor: whose importance and tokens the cards show.
    """

    shared: Shared
    extractor: str

    @property
    def names(self) -> list[str]:
        """The classes on the page."""
        return [*self.shared.classes][:MOST]

    @cached_property
    def sides(self) -> dict[str, list[Side]]:
        """By class, the runs side by side."""
        of_runs = [_sides(self.shared, run, self.extractor) for run in self.shared.runs]
        found = {}
        for number, name in enumerate(self.names):
            sides = [of_run[number] for of_run in of_runs]
            found[name] = [replace(side, again=self._again(sides, place)) for place, side in enumerate(sides)]
        return found

    def _again(self, sides: Sequence[Side], place: int) -> dict[str, frozenset[int]]:
        """First tokens of the other runs of the same codebook, by extractor."""
        codebooks = [run.codebook for run in self.shared.runs]
        others = [n for n, codebook in enumerate(codebooks) if n != place and codebook == codebooks[place]]
        return {
            name: frozenset(token.number for n in others for token in sides[n].lists[name][:FIRST])
            for name in self.shared.extractors
        }

    def note(self, run: ComparedRun) -> str:
        """What the cards show of a run."""
        shown = run.files(self.shared.attributions).shown(self.extractor)
        (kind, top_n), count = list_name(run, self.shared, shown), len(run.extractors[self.extractor])
        scores = f"averaged over {count} trainings" if split_name(shown)[1] < 0 else f"training {split_name(shown)[1]}"
        return f"{run.name}: {kind} list of the {top_n} highest positions, {scores}"


def list_name(run: ComparedRun, shared: Shared, trained: str) -> ListName:
    """Kind and top_n of the concept tokens to show of a run."""
    return shown_list(run.files(shared.attributions).lists(trained), run.shown_top_n)


def _sides(shared: Shared, run: ComparedRun, extractor: str) -> list[Side]:
    """A run's side of the classes on the page."""
    files, labels = run.files(shared.attributions), shared.labels(run)[:MOST]
    lists: dict[str, Lists] = {}
    first: dict[str, list[Lists]] = {}
    for name in shared.extractors:
        trained = files.shown(name)
        place = list_name(run, shared, trained)
        lists[name] = files.lists(trained)[place]
        first[name] = [files.lists(training).get(place, {}) for training in files.trainings(name)]
    patches = _patches(
        run, [token for of in lists.values() for label in labels for token in of.get(label, ())[:LISTED]]
    )
    scores = files.scores(files.shown(extractor))
    images = [run.run.folder / "data" / "test" / "images" / f"{path.stem}.npy" for path in scores]
    decoded = all(path.is_file() for path in images)
    examples = first_examples(scores, images, labels) if decoded else {}
    return [
        Side(
            run.name,
            examples.get(label),
            {
                name: tokens_of(
                    of.get(label, ())[:LISTED], patches, [each.get(label, ())[:FIRST] for each in first[name]], ()
                )
                for name, of in lists.items()
            },
            {},
        )
        for label in labels
    ]


def _patches(run: ComparedRun, tokens: Sequence[int]) -> dict[int, str] | None:
    """Pictures of tokens from the run's own images, as data URIs; None where it kept none."""
    shard = run.shard
    if shard is None:
        return None
    found = typical_patches(lambda: read_shard(shard, images="any"), tokens, run.spec.scales)
    return {token: data_uri(patch) for token, patch in found.items()}
