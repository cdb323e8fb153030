# Evaluate: rows per image first, then the metrics, which are means of them, and comparisons with the baselines.


rule extractor_accuracy:
    input:
        tokens=of_shards(TOKENS, "test"),
        extractor=MODEL,
        codebook=CODEBOOK,
    output:
        rows=f"{RUN}/evaluation/extractor_accuracy/{{extractor}}.parquet",
    log:
        log_of("extractor_accuracy", "{extractor}"),
    group:
        "accuracy"
    conda:
        ENVIRONMENT
    resources:
        mem_mb=growing(4000, 1, of=max),
        runtime=growing(60, 0.01),
        gpu=GPUS,
    params:
        options=options({"split": "test"}, BATCH, DEVICE),
        code=code_of("extractor-accuracy", network_of),
    message:
        "Measure the accuracy of {wildcards.extractor} on the test split"
    shell:
        "python -m cortex extractor-accuracy --output {output.rows} --tokens {input.tokens}"
        " --extractor {input.extractor} --codebook {input.codebook} {params.options} &> {log}"


rule judge_accuracy:
    input:
        tokens=of_shards(TOKENS, "test"),
        images=of_shards(IMAGES, "test"),
        judge=JUDGE,
    output:
        rows=f"{RUN}/evaluation/judge_accuracy/{{judge}}.parquet",
    log:
        log_of("judge_accuracy", "{judge}"),
    group:
        "accuracy"
    conda:
        ENVIRONMENT
    resources:
        mem_mb=growing(4000, 2, of=max),
        runtime=growing(60, 0.01),
        gpu=GPUS,
    params:
        options=options({"split": "test"}, BATCH, DEVICE),
        code=code_of("judge-accuracy", judge_of),
    message:
        "Measure the accuracy of judge {wildcards.judge} on the test split"
    shell:
        "python -m cortex judge-accuracy --output {output.rows} --tokens {input.tokens} --images {input.images}"
        " --judge {input.judge} {params.options} &> {log}"


rule image_level:
    input:
        scores=SCORES.replace("{split}", "test"),
        images=IMAGES,
        judge=JUDGE,
    output:
        rows=ROWS.replace("{level}", "image_level"),
    log:
        log_of("image_level", "{attribution}/{extractor}/{judge}/{shard}"),
    wildcard_constraints:
        extractor=EXPLAINER,
    group:
        "evaluate"
    conda:
        ENVIRONMENT
    resources:
        mem_mb=growing(4000, 2),
        runtime=growing(60, 0.1),
        gpu=GPUS,
    params:
        options=options(CODES, CONFIG.evaluation.image_level, BATCH, SEED, DEVICE),
        code=code_of("image-level", judge_of),
    message:
        "Judge images without their important tokens:"
        " {wildcards.attribution}, {wildcards.extractor}, judge {wildcards.judge}"
    shell:
        "python -m cortex image-level --output {output.rows} --scores {input.scores} --images {input.images}"
        " --judge {input.judge} {params.options} &> {log}"


rule concept_level:
    input:
        tokens=f"{RUN}/data/test/{{shard}}.parquet",
        images=IMAGES,
        concept=rules.concept_tokens.output.tokens,
        frequent=rules.frequent_tokens.output.tokens,
        judge=JUDGE,
    output:
        rows=ROWS.replace("{level}", "concept_level"),
    log:
        log_of("concept_level", "{attribution}/{extractor}/{judge}/{shard}"),
    wildcard_constraints:
        extractor=EXPLAINER,
    group:
        "evaluate"
    conda:
        ENVIRONMENT
    resources:
        mem_mb=growing(4000, 2),
        runtime=growing(60, 0.1),
        gpu=GPUS,
    params:
        options=options(CODES, CONFIG.evaluation.concept_level, {"keep": CONFIG.concept_tokens.tokens}, BATCH, DEVICE),
        code=code_of("concept-level", judge_of),
    message:
        "Judge images without concept tokens:"
        " {wildcards.attribution}, {wildcards.extractor}, judge {wildcards.judge}"
    shell:
        "python -m cortex concept-level --output {output.rows} --tokens {input.tokens} --images {input.images}"
        " --concept-tokens {input.concept} --frequent-tokens {input.frequent} --judge {input.judge}"
        " {params.options} &> {log}"


rule codebook_level:
    input:
        GENERATOR_FILES,
        search=rules.codebook_search.output.tokens,
        tokens=of_shards(TOKENS, "test"),
        judge=JUDGE,
    output:
        rows=SEARCH_ROWS,
    log:
        log_of("codebook_level", "{extractor}/{judge}"),
    group:
        "evaluate"
    conda:
        ENVIRONMENT
    resources:
        mem_mb=growing(4000, 2.5, of=max),
        runtime=growing(60, 0.01),
        gpu=GPUS,
    params:
        options=options(GENERATOR, BATCH, DEVICE),
        bundled=BUNDLED_WEIGHTS,
        code=code_of("codebook-level", judge_of, *FAMILIES),
    message:
        "Judge the codebook search of {wildcards.extractor}: judge {wildcards.judge}"
    shell:
        "python -m cortex codebook-level --output {output.rows} --search {input.search} --tokens {input.tokens}"
        " --judge {input.judge} {params.options} &> {log}"


# Every table of metrics: its evaluation files, and the command that averages them, with its options.
NAMES = ("attributions", "extractors", "judges")
TABLES = {
    f"{kind}_accuracy": (
        [f"{RUN}/evaluation/{kind}_accuracy/{reader}.parquet" for reader in readers],
        "accuracy",
        options({"of": kind, "names": readers}, CONFIG.evaluation.accuracy),
    )
    for kind, readers in {"extractor": EXTRACTORS, "judge": JUDGES}.items()
    if readers
}
for level, how in LEVELS.items():
    rows, *names = map(list, zip(*evaluations(level)))
    TABLES[level] = rows, "metrics", f"{names_in_words(dict(zip(NAMES, names)))} {options(how)}"
if LEVELS:
    rows, *names = map(list, zip(*[each for level in LEVELS for each in evaluations(level)]))
    levels = {"levels": [level for level in LEVELS for _ in evaluations(level)]}
    TABLES["comparisons"] = rows, "comparisons", names_in_words(levels | dict(zip(NAMES, names)))


rule metrics_table:
    input:
        rows=lambda wildcards: TABLES[wildcards.table][0],
    output:
        metrics=f"{RUN}/metrics/{{table}}.parquet",
    log:
        log_of("metrics_table", "{table}"),
    wildcard_constraints:
        table=of_package.one_of(TABLES),
    group:
        "metrics"
    conda:
        ENVIRONMENT
    resources:
        mem_mb=growing(2000, 8),
        runtime=growing(20, 0.5),
    params:
        rows=lambda wildcards, input: in_words(input.rows),
        command=lambda wildcards: TABLES[wildcards.table][1],
        options=lambda wildcards: TABLES[wildcards.table][2],
        seed=options(SEED),
        code=lambda wildcards: CODE.of(TABLES[wildcards.table][1]),
    message:
        "Compute the metrics: {wildcards.table}"
    shell:
        "python -m cortex {params.command} --output {output.metrics} --tables {params.rows} {params.options}"
        " {params.seed} &> {log}"


COMPARED = [(method, extractor) for method in METHODS for extractor in EXTRACTORS]


rule agreement:
    input:
        scores=[
            path
            for method, extractor in COMPARED
            for path in expand(of_shards(SCORES, "test"), attribution=method, extractor=extractor)
        ],
        tokens=expand(CONCEPT_TOKENS, attribution=METHODS, extractor=EXTRACTORS),
    output:
        metrics=f"{RUN}/metrics/agreement.parquet",
    log:
        log_of("agreement"),
    group:
        "metrics"
    conda:
        ENVIRONMENT
    resources:
        mem_mb=growing(2000, 1),
        runtime=growing(20, 0.1),
    params:
        scores=lambda wildcards, input: in_words(input.scores),
        options=options(
            {"attributions": [method for method, _ in COMPARED], "extractors": [each for _, each in COMPARED]}, SEED
        ),
        code=code_of("agreement"),
    message:
        "Measure how far trainings and extractors agree"
    shell:
        "python -m cortex agreement --output {output.metrics} --scores {params.scores} --tokens {input.tokens}"
        " {params.options} &> {log}"


rule validity:
    input:
        extractor_ranks=expand(rules.extractor_accuracy.output.rows, extractor=EXTRACTORS),
        judge_ranks=expand(rules.judge_accuracy.output.rows, judge=JUDGES),
    output:
        metrics=f"{RUN}/metrics/validity.parquet",
    log:
        log_of("validity"),
    group:
        "metrics"
    conda:
        ENVIRONMENT
    resources:
        mem_mb=growing(2000),
        runtime=growing(20, 0.1),
    params:
        options=options(
            {
                "extractors": EXTRACTORS,
                "extractor_ranks": expand(rules.extractor_accuracy.output.rows, extractor=EXTRACTORS),
            },
            (
                {"judges": JUDGES, "judge_ranks": expand(rules.judge_accuracy.output.rows, judge=JUDGES)}
                if JUDGES
                else {}
            ),
            SEED,
        ),
        code=code_of("validity"),
    message:
        "Compare extractors and judges with guessing"
    shell:
        "python -m cortex validity --output {output.metrics} {params.options} &> {log}"


# Test images that are real pictures, beside their decoded tokens.
RECONSTRUCTED = SOURCE == "pictures" and SPEC.decodes and PICTURES

if RECONSTRUCTED:

    rule reconstruction:
        input:
            GENERATOR_FILES,
            tokens=of_shards(TOKENS, "test"),
            images=of_shards(IMAGES, "test"),
        output:
            metrics=f"{RUN}/metrics/reconstruction.parquet",
        log:
            log_of("reconstruction"),
        group:
            "metrics"
        conda:
            ENVIRONMENT
        resources:
            mem_mb=growing(4000),
            runtime=growing(60, 0.1),
            gpu=GPUS,
        params:
            options=options(GENERATOR, SEED, DEVICE),
            bundled=BUNDLED_WEIGHTS,
            code=code_of("reconstruction", *FAMILIES),
        message:
            "Measure how well the tokens show the pictures"
        shell:
            "python -m cortex reconstruction --output {output.metrics} --tokens {input.tokens} --images {input.images}"
            " {params.options} &> {log}"


# All tables of metrics. It takes two trainings, of one extractor or of two, to agree.
METRICS = [f"{RUN}/metrics/{table}.parquet" for table in TABLES]
METRICS += rules.validity.output if EXTRACTORS else []
METRICS += rules.reconstruction.output if RECONSTRUCTED else []
METRICS += rules.agreement.output if len(EXTRACTORS) > 1 else []
