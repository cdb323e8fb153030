# Studies beside the method: those that the config names. A study states its computation for one extractor (rows), or
# has rules of its own. The target `full` asks for them, `all` does not.

STUDY_ROWS = f"{RUN}/studies/{{study}}/{{extractor}}.parquet"
STUDY_TABLES = [f"{RUN}/metrics/{study}.parquet" for study in STUDIES]
WITH_ROWS = [name for name, study in STUDIES.items() if study.rows]


rule study:
    input:
        scores=of_shards(first_method(SCORES.replace("{split}", "test")), "test"),
        extractor=MODEL,
        codebook=CODEBOOK,
        images=of_shards(IMAGES, "test") if JUDGES else [],
        extra=lambda wildcards: list(extra_inputs(wildcards).values()),
    output:
        rows=STUDY_ROWS,
    log:
        log_of("study", "{study}/{extractor}"),
    wildcard_constraints:
        study=of_package.one_of(WITH_ROWS),
    group:
        "studies"
    conda:
        ENVIRONMENT
    resources:
        mem_mb=growing(4000, 1, of=max),
        runtime=growing(120, 0.01),
        gpu=GPUS,
    params:
        options=lambda wildcards: options(
            {"study": CONFIG.studies[wildcards.study].study or wildcards.study},
            {"extra": [f"{name}={path}" for name, path in extra_inputs(wildcards).items()] or None},
            CONFIG.studies[wildcards.study].model_dump(exclude={"study", *STUDIES[wildcards.study].selecting}),
            {"importance": CONFIG.importance.scores().model_dump_json(), "attribution": METHODS[0]},
            {"inference_batch": CONFIG.evaluation.batch},
            SEED,
            DEVICE,
        ),
        code=code_of(
            "study", network_of, ATTRIBUTIONS.reference(METHODS[0]), lambda wildcards: STUDIES[wildcards.study].rows
        ),
    message:
        "Compute study {wildcards.study} for {wildcards.extractor}"
    shell:
        "python -m cortex study --output {output.rows} --scores {input.scores} --extractor {input.extractor}"
        " --codebook {input.codebook} --images {input.images} {params.options} &> {log}"


rule study_metrics:
    input:
        rows=expand(STUDY_ROWS, extractor=EXTRACTORS, allow_missing=True),
    output:
        metrics=f"{RUN}/metrics/{{study}}.parquet",
    log:
        log_of("study_metrics", "{study}"),
    wildcard_constraints:
        study=of_package.one_of(WITH_ROWS),
    group:
        "metrics"
    conda:
        ENVIRONMENT
    resources:
        mem_mb=growing(2000, 8),
        runtime=growing(20),
    params:
        options=lambda wildcards: options({"extractors": EXTRACTORS, "by": list(STUDIES[wildcards.study].by)}, SEED),
        code=code_of("study-metrics"),
    message:
        "Average the rows of study {wildcards.study}"
    shell:
        "python -m cortex study-metrics --output {output.metrics} --tables {input.rows} {params.options} &> {log}"


STUDY_FILES += expand(STUDY_ROWS, study=WITH_ROWS, extractor=EXTRACTORS)

for study in STUDIES.values():
    if study.rules is not None:

        include: str(study.rules)
