# Scales: images without the contributions of some tokens, read by all judges.

SCALED = CONFIG.studies["scales"]


rule ablated_scales:
    input:
        GENERATOR_FILES,
        scores=of_shards(first_method(SCORES.replace("{split}", "test")), "test"),
        judges=expand(JUDGE, judge=JUDGES),
    output:
        rows=f"{RUN}/studies/scales/{{extractor}}.parquet",
    log:
        log_of("ablated_scales", "{extractor}"),
    conda:
        ENVIRONMENT
    resources:
        mem_mb=growing(8000, 2.5, of=max),
        runtime=growing(240, 0.01),
        gpu=GPUS,
    params:
        judges=lambda wildcards, input: name_paths(JUDGES, input.judges),
        options=options(SCALED, GENERATOR, BATCH, SEED, DEVICE, without=["study"]),
        bundled=BUNDLED_WEIGHTS,
        code=code_of("ablate-scales", *FAMILIES, *map(of_package.network_of, CONFIG.judges.values())),
    message:
        "Judge images without the contributions of some tokens: {wildcards.extractor}"
    shell:
        "python -m cortex ablate-scales --output {output.rows} --scores {input.scores} --judges {params.judges}"
        " {params.options} &> {log}"


rule scales_metrics:
    input:
        rows=expand(rules.ablated_scales.output.rows, extractor=EXTRACTORS),
    output:
        metrics=f"{RUN}/metrics/scales.parquet",
    log:
        log_of("scales_metrics"),
    group:
        "metrics"
    conda:
        ENVIRONMENT
    resources:
        mem_mb=growing(2000, 8),
        runtime=growing(20),
    params:
        options=options({"extractors": EXTRACTORS, "by": ["measure", "judge", "removed", "scale", "side", "n"]}, SEED),
        code=code_of("study-metrics"),
    message:
        "Average the changes by scale"
    shell:
        "python -m cortex study-metrics --output {output.metrics} --tables {input.rows} {params.options} &> {log}"


STUDY_FILES += rules.scales_metrics.input
