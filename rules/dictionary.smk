# The dictionary of the codebook: a row for every code, and a row for every code and class, with its causes.

MEAN_IMPORTANCE = f"{RUN}/dictionary/{{attribution}}/{{name}}.parquet"
CAUSES = f"{RUN}/evaluation/{{intervention}}/{{judge}}.parquet"
# Patches need test images, masks judges, and replacements a decoder and images of another class, too. A token of one of
# several scales is no part of an image: its contribution is removed instead, by the study scales.
INTERVENTIONS = []
IMAGES_PER_PAIR = {"images_per_pair": CONFIG.dictionary.causes.images_per_pair}
if JUDGES and CONFIG.dictionary.causes.pairs and not SPEC.scales:
    INTERVENTIONS = ["mask_codes", "place_codes"] if SPEC.decodes and len(CLASSES) > 1 else ["mask_codes"]


rule mean_importance:
    input:
        scores=lambda wildcards: [
            path
            for extractor in EXTRACTORS
            if extractor.startswith(f"{wildcards.name}/")
            for path in of_shards(SCORES.replace("{extractor}", extractor), "train")
        ],
    output:
        importance=MEAN_IMPORTANCE,
    log:
        log_of("mean_importance", "{attribution}/{name}"),
    wildcard_constraints:
        name=of_package.one_of(CONFIG.extractors),
    group:
        "dictionary"
    conda:
        ENVIRONMENT
    resources:
        mem_mb=growing(2000, 8, of=max),
        runtime=growing(30, 0.01),
    params:
        scores=lambda wildcards, input: in_words(input.scores),
        options=options(CODES),
        code=code_of("mean-importance"),
    message:
        "Average the importance of every code by {wildcards.attribution} and {wildcards.name}"
    shell:
        "python -m cortex mean-importance --output {output.importance} --scores {params.scores} {params.options} &> {log}"


rule describe_patches:
    input:
        tokens=of_shards(TOKENS, "test"),
        images=of_shards(IMAGES, "test"),
    output:
        patches=f"{RUN}/dictionary/patches.parquet",
    log:
        log_of("describe_patches"),
    group:
        "dictionary"
    conda:
        ENVIRONMENT
    resources:
        mem_mb=growing(4000),
        runtime=growing(30, 0.01),
    params:
        options=options(CODES),
        code=code_of("describe-patches"),
    message:
        "Describe how every code is drawn"
    shell:
        "python -m cortex describe-patches --output {output.patches} --tokens {input.tokens} --images {input.images}"
        " {params.options} &> {log}"


rule describe_codes:
    input:
        grids=f"{RUN}/data/train/grids.npy",
        codebook=CODEBOOK,
        patches=rules.describe_patches.output.patches if PICTURES and not SPEC.scales else [],
    output:
        codes=f"{RUN}/codes.parquet",
    log:
        log_of("describe_codes"),
    group:
        "dictionary"
    conda:
        ENVIRONMENT
    resources:
        mem_mb=growing(4000, 8),
        runtime=growing(30, 0.1),
    params:
        options=options({"nearest": CONFIG.dictionary.nearest}, CONFIG.dictionary.kinds, SCALES),
        patches=lambda wildcards, input: options({"patches": input.patches or None}),
        code=code_of("describe-codes"),
    message:
        "Describe every code of the codebook"
    shell:
        "python -m cortex describe-codes --output {output.codes} --grids {input.grids} --codebook {input.codebook}"
        " {params.patches} {params.options} &> {log}"


rule choose_pairs:
    input:
        grids=f"{RUN}/data/train/grids.npy",
        frequent=rules.frequent_tokens.output.tokens,
    output:
        pairs=f"{RUN}/dictionary/pairs.parquet",
    log:
        log_of("choose_pairs"),
    conda:
        ENVIRONMENT
    resources:
        mem_mb=growing(4000, 8),
        runtime=growing(30, 0.1),
    params:
        options=options(CODES, {"pairs": CONFIG.dictionary.causes.pairs}, CONFIG.dictionary.kinds),
        code=code_of("choose-pairs"),
    message:
        "Choose the codes and classes whose causes are measured"
    shell:
        "python -m cortex choose-pairs --output {output.pairs} --grids {input.grids} --frequent-tokens {input.frequent}"
        " {params.options} &> {log}"


rule mask_codes:
    input:
        tokens=of_shards(TOKENS, "test"),
        images=of_shards(IMAGES, "test"),
        pairs=rules.choose_pairs.output.pairs,
        judge=JUDGE,
    output:
        rows=CAUSES.replace("{intervention}", "mask_codes"),
    log:
        log_of("mask_codes", "{judge}"),
    group:
        "evaluate"
    conda:
        ENVIRONMENT
    resources:
        mem_mb=growing(4000, 2, of=max),
        runtime=growing(60, 0.01),
        gpu=GPUS,
    params:
        options=options(IMAGES_PER_PAIR, CODES, BATCH, SEED, DEVICE),
        code=code_of("mask-codes", judge_of),
    message:
        "Judge images without one code: judge {wildcards.judge}"
    shell:
        "python -m cortex mask-codes --output {output.rows} --tokens {input.tokens} --images {input.images}"
        " --pairs {input.pairs} --judge {input.judge} {params.options} &> {log}"


rule place_codes:
    input:
        GENERATOR_FILES,
        tokens=of_shards(TOKENS, "test"),
        pairs=rules.choose_pairs.output.pairs,
        judge=JUDGE,
    output:
        rows=CAUSES.replace("{intervention}", "place_codes"),
    log:
        log_of("place_codes", "{judge}"),
    group:
        "evaluate"
    conda:
        ENVIRONMENT
    resources:
        mem_mb=growing(4000, 2.5, of=max),
        runtime=growing(60, 0.01),
        gpu=GPUS,
    params:
        options=options(IMAGES_PER_PAIR, GENERATOR, BATCH, SEED, DEVICE),
        bundled=BUNDLED_WEIGHTS,
        code=code_of("place-codes", judge_of, *FAMILIES),
    message:
        "Judge images of other classes with one code: judge {wildcards.judge}"
    shell:
        "python -m cortex place-codes --output {output.rows} --tokens {input.tokens} --pairs {input.pairs}"
        " --judge {input.judge} {params.options} &> {log}"


# Attributions and extractors with their columns. Ranks are those of the average over trainings, where there is one.
LOOKED_UP = [f"{attribution}/{name}" for attribution in METHODS for name in CONFIG.extractors]
RANKED = {name.rpartition("/")[0]: name for name in SHOWN + CONFIG.averaged_extractors()}


rule dictionary:
    input:
        grids=f"{RUN}/data/train/grids.npy",
        codebook=CODEBOOK,
        importance=[f"{RUN}/dictionary/{name}.parquet" for name in LOOKED_UP],
        concept=expand(CONCEPT_TOKENS, attribution=METHODS, extractor=RANKED.values()),
        masked=expand(CAUSES, intervention=INTERVENTIONS[:1], judge=JUDGES),
        placed=expand(CAUSES, intervention=INTERVENTIONS[1:], judge=JUDGES),
    output:
        dictionary=f"{RUN}/dictionary.parquet",
    log:
        log_of("dictionary"),
    conda:
        ENVIRONMENT
    resources:
        mem_mb=growing(4000, 8),
        runtime=growing(30, 0.1),
    params:
        options=options({"top_n": SHOWN_TOP_N, "rows": CONFIG.dictionary.rows}),
        explained=lambda wildcards, input: options(
            {
                "importance": name_paths(LOOKED_UP, input.importance) or None,
                "concept_tokens": name_paths(LOOKED_UP, input.concept) or None,
                "masked": list(input.masked) or None,
                "placed": list(input.placed) or None,
            }
        ),
        code=code_of("dictionary", "cortex.generators.codebook_only:FAMILY"),
    message:
        "Write the dictionary of the codebook"
    shell:
        "python -m cortex dictionary --output {output.dictionary} --grids {input.grids} --codebook {input.codebook}"
        " {params.explained} {params.options} &> {log}"


# What a run with extractors has of it.
DICTIONARY = [*rules.describe_codes.output, *rules.dictionary.output] if EXTRACTORS else []
