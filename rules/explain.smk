# Explain: token importance of every image and concept tokens of every class by every attribution; codebook search.


rule importance:
    input:
        tokens=TOKENS,
        extractor=MODEL,
        codebook=CODEBOOK,
    output:
        scores=SCORES,
    log:
        log_of("importance", "{attribution}/{extractor}/{split}/{shard}"),
    group:
        "importance"
    conda:
        ENVIRONMENT
    resources:
        mem_mb=growing(4000, 1),
        runtime=growing(60, 0.1),
        gpu=GPUS,
    params:
        options=options(CONFIG.importance.scores(), SEED, DEVICE),
        code=code_of("importance", network_of, attribution_of),
    message:
        "Compute token importance by {wildcards.attribution} and {wildcards.extractor}:"
        " shard {wildcards.shard} of the {wildcards.split} split"
    shell:
        "python -m cortex importance --output {output.scores} --tokens {input.tokens} --extractor {input.extractor}"
        " --codebook {input.codebook} --method {wildcards.attribution} {params.options} &> {log}"


# Lists of tokens are long enough to mask the largest area.
COVER = {"cover": max(CONFIG.evaluation.concept_level.areas, default=0.0)}


rule average_importance:
    input:
        scores=lambda wildcards: [
            SCORES.replace("{extractor}", extractor)
            for extractor in EXTRACTORS
            if extractor.startswith(f"{wildcards.name}/")
        ],
    output:
        scores=SCORES.replace("{extractor}", "{name}/average"),
    log:
        log_of("average_importance", "{attribution}/{name}/{split}/{shard}"),
    wildcard_constraints:
        name=of_package.one_of(CONFIG.extractors),
    group:
        "importance"
    conda:
        ENVIRONMENT
    resources:
        mem_mb=growing(2000, 4),
        runtime=growing(20, 0.01),
    params:
        code=code_of("average-importance"),
    message:
        "Average token importance by {wildcards.attribution} over the trainings of {wildcards.name}:"
        " shard {wildcards.shard} of the {wildcards.split} split"
    shell:
        "python -m cortex average-importance --output {output.scores} --scores {input.scores} &> {log}"


rule concept_tokens:
    input:
        scores=of_shards(SCORES, "train"),
    output:
        tokens=CONCEPT_TOKENS,
    log:
        log_of("concept_tokens", "{attribution}/{extractor}"),
    wildcard_constraints:
        extractor=EXPLAINER,
    conda:
        ENVIRONMENT
    resources:
        mem_mb=growing(2000, 4, of=max),
        runtime=growing(30, 0.001),
    params:
        scores=lambda wildcards, input: in_words(input.scores),
        options=options(CODES, CONFIG.concept_tokens, COVER),
        code=code_of("concept-tokens"),
    message:
        "Find the concept tokens of every class by {wildcards.attribution} and {wildcards.extractor}"
    shell:
        "python -m cortex concept-tokens --output {output.tokens} --scores {params.scores} {params.options} &> {log}"


rule frequent_tokens:
    input:
        grids=f"{RUN}/data/train/grids.npy",
    output:
        tokens=f"{RUN}/tokens/frequency.parquet",
    log:
        log_of("frequent_tokens"),
    conda:
        ENVIRONMENT
    resources:
        mem_mb=growing(1500, 4),
        runtime=growing(30, 0.1),
    params:
        options=options(CODES, {"tokens": CONFIG.concept_tokens.tokens}, COVER),
        code=code_of("frequent-tokens"),
    message:
        "Find the most frequent tokens of every class"
    shell:
        "python -m cortex frequent-tokens --output {output.tokens} --grids {input.grids} {params.options} &> {log}"


rule codebook_search:
    input:
        tokens=of_shards(TOKENS, "test"),
        extractor=MODEL,
        codebook=CODEBOOK,
    output:
        tokens=f"{RUN}/codebook/{{extractor}}.parquet",
    log:
        log_of("codebook_search", "{extractor}"),
    priority: 1  # long, and others wait for it
    conda:
        ENVIRONMENT
    resources:
        mem_mb=growing(4000, 1, of=max),
        runtime=growing(480),
        gpu=GPUS,
    params:
        options=options(CONFIG.codebook_search, SEED, DEVICE),
        code=code_of("codebook-search", network_of),
    message:
        "Search the codebook with {wildcards.extractor}"
    shell:
        "python -m cortex codebook-search --output {output.tokens} --tokens {input.tokens}"
        " --extractor {input.extractor} --codebook {input.codebook} {params.options} &> {log}"
