"""Rows of metrics to report on, and what is expected of them."""

EXTRACTORS, JUDGES = ["cnn", "resnet"], ["vit", "<b>judge"]
NOTHING = "no difference found"
EVIL = "<script>alert('cat')</script> $1_{2$"


def with_intervals(measures):
    """Measures, each with the ends of an interval."""
    ends = {"": 0, "_low": -0.0625, "_high": 0.03125}
    return {name + end: value + off for name, value in measures.items() for end, off in ends.items()}


def image_row(extractor, judge, method, n, change, fraction=0.1, brightness=0.2):
    measures = {
        "probability": 0.9 + change,
        "probability_change": change,
        "logit": 4 + change,
        "logit_change": change,
        "masked_fraction": fraction,
        "masked_brightness": brightness,
    }
    of = {"attribution": "tis", "extractor": extractor, "training": None, "judge": judge}
    of |= {"method": method, "n": n, "samples": 12}
    return of | with_intervals(measures)


def compared(level, rows, verdict_of):
    """A comparison with every baseline that the method's rows stand beside, with the verdict of ``verdict_of(row)``."""
    setting = {"image_level": "n", "concept_level": "top_n"}.get(level)
    method = "token_selection" if level == "codebook_level" else "importance"
    found = []
    for row in rows:
        for baseline in dict.fromkeys(other["method"] for other in rows if other["method"] != method):
            if row["method"] == method:
                value = row[setting] if setting else None
                of = {"level": level, "attribution": row["attribution"], "extractor": row["extractor"]}
                of |= {"judge": row["judge"], "method": method, "list": row.get("list"), "area": row.get("area")}
                verdict = verdict_of(row["extractor"], row["judge"], baseline, value)
                numbers = {"pairs": 12, "difference": -0.1, "low": -0.15, "high": -0.04, "effect_size": None, "p": 0.01}
                found.append(
                    {**of, "baseline": baseline, "setting": value, "label": None, **numbers}
                    | {"p_corrected": 0.03125, "verdict": verdict}
                )
    return found


def concept_row(extractor, judge, method, top_n, change, fraction):
    of_list = {"list": "count", "top_n": top_n, "area": None, **with_intervals({"tokens": 5})}
    return image_row(extractor, judge, method, None, change, fraction) | of_list


def codebook_row(extractor, judge, method, before, after):
    both = {f"{which}_logit_{when}": 1.0 for which in ("source", "target") for when in ("before", "after")}
    source = {"source_probability_before": 0.8, "source_probability_after": 0.1}
    target = {"target_probability_before": before, "target_probability_after": after}
    of = {"attribution": None, "extractor": extractor, "judge": judge, "method": method, "samples": 4}
    return of | with_intervals(both | source | target)


IMAGE_LEVEL = [
    image_row(extractor, judge, method, n, change * n, fraction=0.05 * n, brightness=hidden * n)
    for extractor in EXTRACTORS
    for judge in JUDGES
    for method, change, hidden in (
        ("importance", -0.1, 0.02),
        ("random", -0.05, 0.01),
        ("random_area", -0.15, 0.05),
    )
    for n in (1, 4)
]


def image_verdict(extractor, judge, baseline, n):
    """Worse than random for cnn and the second judge at n = 4; no different from random_area for resnet."""
    if baseline == "random":
        return "worse" if (extractor, judge, n) == ("cnn", JUDGES[1], 4) else "better"
    return NOTHING if extractor == "resnet" else "better"


CONCEPT_LEVEL = [
    concept_row("cnn", JUDGES[0], "importance", 5, -0.3, 0.2),
    concept_row("cnn", JUDGES[0], "importance", 10, -0.25, 0.3),
    concept_row("cnn", JUDGES[0], "frequency", None, -0.2, 0.25),
    concept_row("resnet", JUDGES[0], "importance", 5, -0.1, 0.2),
    concept_row("resnet", JUDGES[0], "importance", 10, -0.2, 0.2),
    concept_row("resnet", JUDGES[0], "frequency", None, -0.2, 0.25),
]
CODEBOOK_LEVEL = [
    codebook_row("cnn", JUDGES[0], "token_selection", 0.1, 0.7),
    codebook_row("cnn", JUDGES[0], "embedding", 0.1, 0.3),
    codebook_row("resnet", JUDGES[0], "token_selection", 0.1, 0.05),
    codebook_row("resnet", JUDGES[0], "embedding", 0.1, 0.2),
]
COMPARISONS = [
    *compared("image_level", IMAGE_LEVEL, image_verdict),
    *compared("concept_level", CONCEPT_LEVEL, lambda extractor, *_: "better" if extractor == "cnn" else NOTHING),
    *compared("codebook_level", CODEBOOK_LEVEL, lambda extractor, *_: "better" if extractor == "cnn" else "worse"),
]


def accuracy_rows(column, values):
    return [
        {column: name, "split": "test", "k": k, **with_intervals({"accuracy": accuracy}), "samples": 12}
        for name, accuracies in values.items()
        for k, accuracy in zip((1, 2), accuracies, strict=True)
    ]


# What figures and findings leave out, and full tables have: another attribution, contrast lists, equal areas.
OTHERS = {
    "image_level": [row | {"attribution": "occlusion", "probability_change": 0.71} for row in IMAGE_LEVEL],
    "concept_level": [
        row | changes
        for row in CONCEPT_LEVEL
        for changes in (
            {"list": "contrast", "probability_change": 0.72},
            {"area": 0.2, "probability_change": 0.73},
            {"attribution": "occlusion", "probability_change": 0.74},
        )
    ],
    "comparisons": [
        row | changes
        for row in COMPARISONS
        for changes in ({"list": "contrast", "difference": 0.75}, {"area": 0.2, "difference": 0.76})
        if row["level"] == "concept_level"
    ],
}
