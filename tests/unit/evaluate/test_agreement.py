"""Agreement (METHOD.md, section 9): against scipy and sets, pair by pair, and the jackknife by hand."""

from itertools import combinations

import numpy as np
import pyarrow as pa
import pytest
from scipy import stats

from cortex.core.errors import InputError
from cortex.core.tables import read_table, write_table
from cortex.data.shard_reader import Sample
from cortex.evaluate.agreement import measure_agreement, pseudo_values
from cortex.evaluate.estimates import over_trainings
from cortex.explain.rank_agreement import own_rank_correlation
from tests.tables import write_samples

WORDS = ["cnn/0", "cnn/1", "cnn/2", "wide/0"]
PAIRS = [("cnn/0", "cnn/1"), ("cnn/0", "cnn/2"), ("cnn/1", "cnn/2"), ("cnn/0", "wide/0")]


@pytest.fixture
def files(tmp_path, rng):
    """Scores of six images in two files and lists of seven tokens of two classes, by four trained extractors."""
    samples = [Sample(f"k{place}", place % 2, rng.integers(0, 30, (3, 3)).astype(np.uint16)) for place in range(6)]
    scores, lists, paths = {}, {}, {"scores": [], "tokens": []}
    for word in WORDS:
        scores[word] = rng.normal(size=(6, 9)).astype(np.float32)
        name = word.replace("/", "-")
        for shard, rows in enumerate((slice(4), slice(4, 6))):
            path = tmp_path / f"{name}-{shard}.parquet"
            paths["scores"].append(write_samples(path, samples[rows], importance=scores[word][rows]))
        lists[word] = {
            (kind, n, label): rng.permutation(12)[:7].tolist()
            for kind in ("contrast", "count")
            for n in (1, 4)
            for label in (0, 1)
        }
        rows = [
            {"label": label, "top_n": n, "list": kind, "rank": rank, "token": token, "count": 1}
            for (kind, n, label), tokens in lists[word].items()
            for rank, token in enumerate(tokens)
        ]
        paths["tokens"].append(tmp_path / f"{name}.tokens.parquet")
        write_table(paths["tokens"][-1], pa.Table.from_pylist(rows))
    return scores, lists, paths


def measured(folder, files, words=WORDS):
    places = [WORDS.index(word) for word in words]
    scores = [files["scores"][2 * place + shard] for place in places for shard in (0, 1)]
    tokens = [files["tokens"][place] for place in places]
    files = {"attributions": ["tis"] * len(words), "scores": scores, "tokens": tokens}
    measure_agreement(folder / "agreement.parquet", extractors=words, **files, resamples=300)
    found = {}
    for row in read_table(folder / "agreement.parquet").to_pylist():
        assert row["attribution"] == "tis"
        names = (row["extractor"], row["training"], row["other_extractor"], row["other_training"])
        assert found.setdefault((names, row["measure"], row["list"], row["top_n"], row["n"]), row) is row
    return found


def expected(scores, lists, one, other):
    """Values of every image or class, by measure, list, top_n and n."""
    mine, theirs = scores[one], scores[other]
    values = {
        ("correlation", None, None, None): [stats.spearmanr(a, b).statistic for a, b in zip(mine, theirs, strict=True)],
        ("own_correlation", None, None, None): own_rank_correlation(mine, theirs).tolist(),
    }
    for n in (1, 4):
        tops = [[set(np.argsort(-row)[:n]) for row in of] for of in (mine, theirs)]
        values["overlap", None, None, n] = [len(a & b) / n for a, b in zip(*tops, strict=True)]
        for kind in ("contrast", "count"):
            firsts = [[set(lists[word][kind, n, label][:5]) for label in (0, 1)] for word in (one, other)]
            values["token_overlap", kind, n, 5] = [len(a & b) / 5 for a, b in zip(*firsts, strict=True)]
    return values


def test_agreement_of_every_pair_is_that_of_its_images_and_classes(tmp_path, files):
    scores, lists, paths = files
    found = measured(tmp_path, paths)
    assert len(found) == (len(PAIRS) + 1) * 8  # pairs of trainings, one of extractors, and the mean over trainings
    for one, other in PAIRS:
        names = (one.split("/")[0], int(one[-1]), other.split("/")[0], int(other[-1]))
        for place, values in expected(scores, lists, one, other).items():
            row = found[names, *place]
            assert row["value"] == pytest.approx(np.mean(values))
            assert row["low"] <= row["value"] <= row["high"]
            assert row["units"] == len(values) == (2 if place[0] == "token_overlap" else 6)


def test_the_agreement_of_an_extractor_is_the_mean_over_pairs_with_an_interval_over_trainings(tmp_path, files):
    scores, lists, paths = files
    found = measured(tmp_path, paths)
    pairs = [expected(scores, lists, *pair) for pair in PAIRS[:3]]
    for place in pairs[0]:
        row = found[("cnn", None, "cnn", None), *place]
        values = np.array([of_pair[place] for of_pair in pairs])
        assert row["value"] == pytest.approx(values.mean())
        # Without training 2 the pair (0, 1) is left, without 1 the pair (0, 2), without 0 the pair (1, 2).
        (pooled,) = over_trainings((3 * values.mean(0) - 2 * values[::-1])[:, None]).rows()
        least = -1 if place[0].endswith("correlation") else 0
        ends = max(pooled["low"], least), min(pooled["high"], 1)
        assert (row["low"], row["high"]) == pytest.approx(ends, abs=1e-6)


def test_the_jackknife_of_pairs_is_unbiased_where_trainings_add_up():
    """Var(mean of all pairs of a_s + a_t) = 4 Var(a) / T; pseudo-values have it, pairs taken as independent do not."""
    rng, trainings, found, naive = np.random.default_rng(0), 4, [], []
    for _ in range(4000):
        level = rng.normal(size=trainings)
        pairs = {(s, t): np.array([[level[s] + level[t]]]) for s, t in combinations(range(trainings), 2)}
        values = pseudo_values(pairs)[:, 0, 0]
        assert values.mean() == pytest.approx(np.mean([pair.item() for pair in pairs.values()]))
        found.append(values.var(ddof=1) / trainings)
        naive.append(np.var([*pairs.values()], ddof=1) / len(pairs))
    assert np.mean(found) == pytest.approx(4 / trainings, rel=0.05)
    assert np.mean(naive) < 0.5 * 4 / trainings


def test_two_trainings_are_one_pair(tmp_path, files):
    scores, lists, paths = files
    found = measured(tmp_path, paths, ["cnn/1", "cnn/2"])
    assert {names for names, *_ in found} == {("cnn", 1, "cnn", 2), ("cnn", None, "cnn", None)}
    for place in expected(scores, lists, "cnn/1", "cnn/2"):
        alone, pooled = (found[names, *place] for names in (("cnn", 1, "cnn", 2), ("cnn", None, "cnn", None)))
        assert pooled["value"] == alone["value"]


def test_attributions_agree_apart(tmp_path, files):
    """Two trainings of one attribution, and of another, whose second training is the first."""
    *_, paths = files
    output, chosen = tmp_path / "both.parquet", (0, 1, 0, 0)
    measure_agreement(
        output,
        attributions=["tis", "tis", "occlusion", "occlusion"],
        extractors=["cnn/0", "cnn/1"] * 2,
        scores=[paths["scores"][2 * place + shard] for place in chosen for shard in (0, 1)],
        tokens=[paths["tokens"][place] for place in chosen],
        resamples=300,
    )
    rows = read_table(output).to_pylist()
    alone = measured(tmp_path, paths, ["cnn/0", "cnn/1"])
    assert [row for row in rows if row["attribution"] == "tis"] == [*alone.values()]
    same = [row for row in rows if row["attribution"] == "occlusion"]
    assert len(same) == len(alone) and all(row["value"] == pytest.approx(1) for row in same)


def test_short_and_empty_lists(tmp_path, files):
    """Class 0 has two contrast tokens by one training, three by the other, one in common; class 1 none by either."""
    *_, paths = files
    for place, tokens in ((0, [3, 5]), (1, [7, 8, 3])):
        rows = [row for row in read_table(paths["tokens"][place]).to_pylist() if row["list"] == "count"]
        of = {"label": 0, "list": "contrast", "count": 1}
        rows += [of | {"top_n": n, "rank": rank, "token": token} for n in (1, 4) for rank, token in enumerate(tokens)]
        write_table(paths["tokens"][place], pa.Table.from_pylist(rows))
    found = measured(tmp_path, paths, ["cnn/0", "cnn/1"])
    for n in (1, 4):
        row = found[("cnn", 0, "cnn", 1), "token_overlap", "contrast", n, 5]
        assert (row["units"], row["value"]) == (2, pytest.approx(1 / 3 / 2))


@pytest.mark.parametrize("short", [0, 1])
def test_all_pairs_compare_as_many_tokens_where_one_training_has_short_lists(tmp_path, files, short):
    scores, lists, paths = files
    rows = read_table(paths["tokens"][short]).to_pylist()
    write_table(paths["tokens"][short], pa.Table.from_pylist([row for row in rows if row["rank"] < 3]))
    lists[WORDS[short]] = {key: tokens[:3] for key, tokens in lists[WORDS[short]].items()}
    found = measured(tmp_path, paths)
    for one, other in PAIRS[:3]:
        for place, values in expected(scores, lists, one, other).items():
            assert found[("cnn", int(one[-1]), "cnn", int(other[-1])), *place]["value"] == pytest.approx(
                np.mean(values)
            )
    pairs = [expected(scores, lists, *pair) for pair in PAIRS[:3]]
    for place in pairs[0]:
        row = found[("cnn", None, "cnn", None), *place]
        assert row["value"] == pytest.approx(np.mean([of_pair[place] for of_pair in pairs]))


def test_files_that_do_not_go_together_are_refused(tmp_path, files):
    *_, paths = files
    output = tmp_path / "agreement.parquet"
    two = {"attributions": ["tis"] * 2, "extractors": WORDS[:2]}
    with pytest.raises(InputError, match="2 attributions, 2 extractors, 3 importance files, 2 files of concept tokens"):
        measure_agreement(output, **two, scores=paths["scores"][:3], tokens=paths["tokens"][:2])
    one = {"attributions": ["tis"], "extractors": WORDS[:1]}
    with pytest.raises(InputError, match=r"1 extractors, .* at least two extractors"):
        measure_agreement(output, **one, scores=paths["scores"][:2], tokens=paths["tokens"][:1])
    fewer = tmp_path / "fewer.parquet"
    write_table(fewer, read_table(paths["tokens"][1]).slice(0, 14))
    with pytest.raises(InputError, match=r"fewer.parquet: not the lists and classes of .*cnn-0.tokens.parquet"):
        measure_agreement(output, **two, scores=paths["scores"][:4], tokens=[paths["tokens"][0], fewer])
    swapped = [*paths["scores"][:2], *paths["scores"][3:1:-1]]
    with pytest.raises(InputError, match="not of the same images, in the same order"):
        measure_agreement(output, **two, scores=swapped, tokens=paths["tokens"][:2])
