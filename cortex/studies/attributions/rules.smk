# Attributions: scores by every extractor, judged as at the image level, and ranked.

from cortex.explain import ATTRIBUTIONS, TIS

ATTRIBUTED = CONFIG.studies["attributions"]


rule attributions:
    input:
        tokens=of_shards(TOKENS, "test"),
        extractor=MODEL,
        codebook=CODEBOOK,
    output:
        scores=f"{RUN}/studies/attributions/{{extractor}}.parquet",
    log:
        log_of("attributions", "{extractor}"),
    conda:
        ENVIRONMENT
    resources:
        mem_mb=growing(4000, 1, of=max),
        runtime=growing(120, 0.1),
        gpu=GPUS,
    params:
        options=options(ATTRIBUTED, CONFIG.importance.scores(), SEED, DEVICE, without=["study"]),
        code=code_of("attributions", network_of, *map(ATTRIBUTIONS.reference, [TIS, *ATTRIBUTED.methods])),
    message:
        "Compute attributions by {wildcards.extractor}"
    shell:
        "python -m cortex attributions --output {output.scores} --tokens {input.tokens} --extractor {input.extractor}"
        " --codebook {input.codebook} {params.options} &> {log}"


rule judged_attributions:
    input:
        scores=rules.attributions.output.scores,
        tokens=of_shards(TOKENS, "test"),
        images=of_shards(IMAGES, "test"),
        judge=JUDGE,
    output:
        rows=f"{RUN}/studies/attributions/judged/{{extractor}}/{{judge}}.parquet",
    log:
        log_of("judged_attributions", "{extractor}/{judge}"),
    group:
        "evaluate"
    conda:
        ENVIRONMENT
    resources:
        mem_mb=growing(4000, 2, of=max),
        runtime=growing(60, 0.1),
        gpu=GPUS,
    params:
        options=options(CODES, CONFIG.evaluation.image_level, BATCH, DEVICE),
        code=code_of("judge-attributions", judge_of),
    message:
        "Judge images without the positions of highest score: {wildcards.extractor}, judge {wildcards.judge}"
    shell:
        "python -m cortex judge-attributions --output {output.rows} --scores {input.scores} --tokens {input.tokens}"
        " --images {input.images} --judge {input.judge} {params.options} &> {log}"


rule ranked_attributions:
    input:
        rows=expand(rules.judged_attributions.output.rows, extractor=EXTRACTORS, judge=JUDGES),
    output:
        metrics=f"{RUN}/metrics/attributions.parquet",
    log:
        log_of("ranked_attributions"),
    group:
        "metrics"
    conda:
        ENVIRONMENT
    resources:
        mem_mb=growing(2000, 8),
        runtime=growing(20),
    params:
        extractors=[extractor for extractor in EXTRACTORS for _ in JUDGES],
        judges=JUDGES * len(EXTRACTORS),
        seed=options(SEED),
        code=code_of("rank-attributions"),
    message:
        "Rank attributions by the area under their deletion curves"
    shell:
        "python -m cortex rank-attributions --output {output.metrics} --tables {input.rows}"
        " --extractors {params.extractors} --judges {params.judges} {params.seed} &> {log}"


STUDY_FILES += rules.ranked_attributions.input + expand(rules.attributions.output, extractor=EXTRACTORS)
