"""Concept-level tokens (METHOD.md, section 4) against collections.Counter and fractions, and by hand."""

from collections import Counter, defaultdict
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cortex.core.errors import InputError
from cortex.core.tables import read_table
from cortex.data.packed import pack_grids
from cortex.data.shard_reader import Sample
from cortex.explain.concept_tokens import TokenCounts, count_frequent, count_important, covering
from cortex.explain.settings import ConceptTokens
from tests.tables import write_samples

CODES = 9
IMAGES = st.lists(
    st.lists(st.tuples(st.integers(0, 5), st.lists(st.integers(0, 8), min_size=3, max_size=3)), min_size=1), max_size=4
)


def ranked(values, above=None):
    """Items by value, the highest first, ties to the lower token; those above a value alone."""
    kept = [item for item in values.items() if above is None or item[1] > above]
    return sorted(kept, key=lambda item: (-item[1], item[0]))


def lists_of(counters, images):
    """By kind and label, tokens in order: from exact fractions.

    Args:
        counters: by label, how often every token was counted.
        images: by label, the number of images.
    """
    found = {}
    for label, counter in counters.items():
        found["count", label] = [token for token, _ in ranked(counter)]
        others = [other for other in images if other != label]
        contrast = {}
        for token, count in counter.items():
            rates = [Fraction(counters[other][token], images[other]) for other in others]
            contrast[token] = Fraction(count, images[label]) - (sum(rates) / len(rates) if rates else 0)
        found["contrast", label] = [token for token, _ in ranked(contrast, above=0)]
    return found


@given(IMAGES)
def test_lists_are_those_of_counters_and_fractions(parts):
    ours, theirs, images = TokenCounts(CODES), defaultdict(Counter), Counter()
    for part in parts:
        ours.add(np.array([label for label, _ in part]), np.array([codes for _, codes in part]))
        for label, codes in part:
            theirs[label].update(codes)
            images[label] += 1
    expected = lists_of(theirs, images)
    for kind, columns in ours.lists():
        rows = list(zip(*(columns[name].tolist() for name in ("label", "rank", "token", "count")), strict=True))
        assert rows == [
            (label, rank, token, theirs[label][token])
            for label in sorted(theirs)
            for rank, token in enumerate(expected[kind, label])
        ]


def test_contrast_by_hand():
    """Three classes of unlike numbers of images: rates in the class less the mean rate of the two others."""
    counter = TokenCounts(5)
    counter.add(np.array([0, 0]), np.array([[1, 2], [1, 3]]))  # rates of class 0: 1 → 1, 2 → ½, 3 → ½
    counter.add(np.array([2]), np.array([[1, 1]]))  # of class 2: 1 → 2
    counter.add(np.array([4, 4, 4, 4]), np.array([[2, 2], [2, 2], [1, 4], [3, 4]]))  # 1 → ¼, 2 → 1, 3 → ¼, 4 → ½
    found = {(label, token): value for (label, token), value in zip(pairs(counter), counter.contrasts(), strict=True)}
    assert found == pytest.approx(
        {
            (0, 1): 1 - (2 + 1 / 4) / 2,
            (0, 2): 1 / 2 - (0 + 1) / 2,
            (0, 3): 1 / 2 - (0 + 1 / 4) / 2,
            (2, 1): 2 - (1 + 1 / 4) / 2,
            (4, 1): 1 / 4 - (1 + 2) / 2,
            (4, 2): 1 - (1 / 2 + 0) / 2,
            (4, 3): 1 / 4 - (1 / 2 + 0) / 2,
            (4, 4): 1 / 2,
        }
    )
    contrast = dict(counter.lists())["contrast"]
    assert list(zip(contrast["label"], contrast["token"], strict=True)) == [(0, 3), (2, 1), (4, 2), (4, 4)]


def pairs(counter):
    labels, tokens = np.divmod(counter.pairs, counter.codes)
    return list(zip(labels.tolist(), tokens.tolist(), strict=True))


def test_a_single_class_has_nothing_to_be_contrasted_with():
    counter = TokenCounts(5)
    counter.add(np.array([3, 3]), np.array([[1, 2], [1, 4]]))
    lists = dict(counter.lists())
    assert lists["contrast"]["token"].tolist() == lists["count"]["token"].tolist() == [1, 2, 4]


def prefix(shares, area):
    """The shortest beginning that covers an area, by adding one token after another; exact in tenths."""
    kept, covered = [], 0
    for share in shares:
        if covered >= area:
            break
        kept.append(share)
        covered += share
    return len(kept)


@given(st.lists(st.lists(st.integers(0, 6), min_size=1, max_size=6), min_size=1, max_size=4), st.integers(0, 10))
def test_a_beginning_covers_its_area_and_no_shorter_one_does(lists, area):
    """Shares and areas in tenths, whose sums in floating point differ from whole tenths."""
    labels = np.repeat(np.arange(len(lists)) * 3, [len(shares) for shares in lists])
    found = covering(labels, np.concatenate(lists) / 10, area / 10)
    expected = [place < prefix(shares, area) for shares in lists for place in range(len(shares))]
    assert found.tolist() == expected


@pytest.fixture
def explained(tmp_path):
    rng = np.random.default_rng(0)
    files, samples, scores = [], [], []
    for shard in range(3):
        part = [
            Sample(
                f"train-{label:04d}-{shard * 5 + index:06d}", label, rng.integers(0, CODES, (4, 4)).astype(np.uint16)
            )
            for index in range(5)
            for label in (0, 3)
        ]
        score = rng.normal(size=(len(part), 16)).astype(np.float32)
        files.append(write_samples(tmp_path / f"{shard:06d}.parquet", part, importance=score))
        samples += part
        scores.append(score)
    return tmp_path, files, samples, np.concatenate(scores)


def expected_rows(counters, everywhere, tokens, cover):
    """Both lists of every label as the files have them, in their order, with shares of 15 images of 16 positions."""
    lists = lists_of(counters, {0: 15, 3: 15})
    rows = []
    for kind in ("count", "contrast"):
        for label in (0, 3):
            covered = 0
            for rank, token in enumerate(lists[kind, label]):
                if rank < tokens or covered < cover * 15 * 16:
                    row = {"label": label, "list": kind, "rank": rank, "token": token}
                    row |= {"count": counters[label][token], "share": everywhere[label][token] / (15 * 16)}
                    rows.append(row)
                covered += everywhere[label][token]
    return rows


def everywhere_in(samples):
    found = defaultdict(Counter)
    for sample in samples:
        found[sample.label].update(sample.grid.ravel().tolist())
    return found


@pytest.mark.parametrize("cover", [0.0, 0.8])
def test_concept_tokens_are_counted_among_the_top_positions(explained, cover):
    folder, files, samples, scores = explained
    settings = ConceptTokens(top_n=[1, 5, 16], tokens=2)
    count_important(folder / "tokens.parquet", files, codes=CODES, settings=settings, cover=cover)
    table = read_table(folder / "tokens.parquet")
    assert table.column_names == ["label", "top_n", "list", "rank", "token", "count", "share"]
    expected = []
    for n in (1, 5, 16):
        counters = defaultdict(Counter)
        for sample, score in zip(samples, scores, strict=True):
            positions = sorted(range(16), key=lambda position: -score[position])[:n]
            counters[sample.label].update(int(sample.grid.ravel()[position]) for position in positions)
        expected += [{**row, "top_n": n} for row in expected_rows(counters, everywhere_in(samples), 2, cover)]
    assert table.to_pylist() == expected
    longest = max(row["rank"] for row in expected)
    assert longest == 1 if cover == 0 else longest > 3, "longer lists where an area is to be covered"


@pytest.mark.parametrize("cover", [0.0, 0.8])
def test_frequency_ignores_importance(explained, cover):
    folder, files, samples, _ = explained
    pack_grids(folder / "grids.npy", files, codes=CODES)
    count_frequent(folder / "frequency.parquet", folder / "grids.npy", codes=CODES, tokens=2, cover=cover)
    table = read_table(folder / "frequency.parquet")
    counters = everywhere_in(samples)
    assert table.to_pylist() == expected_rows(counters, counters, 2, cover)


def test_files_without_scores_or_of_other_grids_are_refused(explained):
    folder, files, samples, _ = explained
    write_samples(files[1], samples[:2])
    with pytest.raises(InputError, match=r"000001.parquet: no column 'importance'"):
        count_important(folder / "tokens.parquet", files, codes=CODES, settings=ConceptTokens(top_n=[5]))
    other = Sample("train-0000-000099", 0, np.zeros((2, 8), np.uint16))
    write_samples(files[1], [other], importance=np.zeros((1, 16), np.float32))
    with pytest.raises(InputError, match=r"000001.parquet: grids of 2×8 tokens; those of .*000000.parquet are of 4×4"):
        count_important(folder / "tokens.parquet", files, codes=CODES, settings=ConceptTokens(top_n=[5]))
    assert not (folder / "tokens.parquet").exists()


def test_more_positions_than_a_grid_has_are_refused(explained):
    folder, files = explained[:2]
    with pytest.raises(InputError, match=r"^--top-n = 17: the grids have 16 positions$"):
        count_important(folder / "tokens.parquet", files, codes=CODES, settings=ConceptTokens(top_n=[1, 17]))


def test_a_token_out_of_the_codebook_is_refused(explained):
    folder, files, *_ = explained
    with pytest.raises(InputError, match=r"000000.parquet.*token 8; allowed: 0 to 7"):
        count_important(folder / "tokens.parquet", files, codes=8, settings=ConceptTokens(top_n=[1]))
