"""The judged levels of evaluation: by what their metrics are averaged, and what is averaged (METHOD.md, section 6)."""

MASKING = (
    "probability",
    "probability_change",
    "logit",
    "logit_change",
    "masked_fraction",
    "masked_brightness",
)
# Measures of the metrics that the rows do not hold: of two columns, the first less the second.
DIFFERENCES = {"unmasked_probability": ("probability", "probability_change")}
SEARCH = tuple(
    f"{which}_{what}_{when}"
    for which in ("source", "target")
    for what in ("probability", "logit")
    for when in ("before", "after")
)
# Level → columns that tell its means apart, besides extractor and judge, and columns that are averaged over images.
LEVELS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "image_level": (("method", "n"), (*MASKING, *DIFFERENCES)),
    "concept_level": (("method", "list", "top_n", "area"), ("tokens", *MASKING, *DIFFERENCES)),
    "codebook_level": (("method",), SEARCH),
}
