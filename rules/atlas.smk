# The atlas: a folder of pages to look up tokens, classes and images.

from cortex.atlas import page_fingerprint as atlas_fingerprint


rule atlas:
    input:
        GENERATOR_FILES,
        codes=rules.describe_codes.output.codes,
        manifest=rules.manifest.output.manifest,
        dictionary=rules.dictionary.output.dictionary,
        codebook=CODEBOOK,
        tokens=of_shards(TOKENS, "test"),
        images=of_shards(IMAGES, "test") if PICTURES else [],
        scores=of_shards(expand(SCORES, attribution=METHODS, extractor=RANKED.values(), allow_missing=True), "test"),
        readings=expand(rules.judge_accuracy.output.rows, judge=JUDGES),
        masks=(
            of_shards(
                expand(
                    ROWS,
                    level="image_level",
                    attribution=METHODS,
                    extractor=RANKED.values(),
                    judge=JUDGES,
                    allow_missing=True,
                ),
                "test",
            )
            if LEVELS
            else []
        ),
        accuracy=f"{RUN}/metrics/extractor_accuracy.parquet",
        comparisons=f"{RUN}/metrics/comparisons.parquet" if LEVELS else [],
        searches=expand(rules.codebook_search.output.tokens, extractor=SHOWN if SPEC.decodes else []),
        searched=expand(SEARCH_ROWS, extractor=SHOWN, judge=JUDGES if "codebook_level" in LEVELS else []),
    output:
        page=f"{RUN}/atlas/index.html",
    log:
        log_of("atlas"),
    conda:
        ENVIRONMENT
    resources:
        mem_mb=growing(4000, 4, of=max),
        runtime=growing(60, 0.01),
        gpu=GPUS if SPEC.decodes and PICTURES else 0,
    params:
        options=options(
            {"run": RUN, "extractors": list(RANKED.values()), "methods": METHODS, "judges": JUDGES or None},
            (
                {"source": SOURCE, "images": CONFIG.data.images.test, "searched": SHOWN if SPEC.decodes else None}
                if PICTURES
                else {}
            ),
            CONFIG.atlas,
            CONFIG.dictionary.kinds,
            GENERATOR,
            DEVICE,
        ),
        bundled=BUNDLED_WEIGHTS,
        code=code_of("atlas", *FAMILIES, "cortex.generators.codebook_only:FAMILY"),
        page=atlas_fingerprint(),
    message:
        "Write the atlas of the codebook"
    shell:
        "python -m cortex atlas --output {output.page} {params.options} &> {log}"


# A run without extractors has no dictionary, and no atlas.
ATLAS = [rules.atlas.output, rules.atlas.input] if EXTRACTORS else []
