# Evaluate: rows per image first, then the metrics, which are means of them, and comparisons with the baselines.


rule extractor_accuracy:
    input:
        shards=shard_paths("test"),
        extractor=rules.train_extractor.output.model,
        codebook=rules.export_codebook.output.codebook,
    output:
        rows=f"{RUN}/evaluation/extractor_accuracy/{{extractor}}.parquet",
    log:
        f"{RUN}/logs/extractor_accuracy/{{extractor}}.log",
    benchmark:
        f"{RUN}/benchmarks/extractor_accuracy/{{extractor}}.tsv"
    group:
        "accuracy"
    conda:
        "../envs/cortex.yaml"
    threads: 1
    resources:
        mem_mb=growing(4000, 1, of=max),
        runtime=growing(60, 0.01),
        gpu=GPUS,
    params:
        batch=options({"batch": CONFIG.evaluation.batch}),
        device=CONFIG.device,
        code=lambda wildcards: code_fingerprint("cortex.evaluate.accuracy", network_module(wildcards.extractor)),
    message:
        "Accuracy of {wildcards.extractor} on the test split"
    shell:
        "python -m cortex extractor-accuracy --output {output.rows} --shards {input.shards}"
        " --extractor {input.extractor} --codebook {input.codebook} {params.batch}"
        " --device {params.device} &> {log}"


rule judge_accuracy:
    input:
        shards=shard_paths("test"),
        images=expand(rules.decode_images.output.images, shard=shards_of("test")),
        judge=JUDGE_MODEL,
    output:
        rows=f"{RUN}/evaluation/judge_accuracy/{{judge}}.parquet",
    log:
        f"{RUN}/logs/judge_accuracy/{{judge}}.log",
    benchmark:
        f"{RUN}/benchmarks/judge_accuracy/{{judge}}.tsv"
    group:
        "accuracy"
    conda:
        "../envs/cortex.yaml"
    threads: 1
    resources:
        mem_mb=growing(4000, 2, of=max),
        runtime=growing(60, 0.01),
        gpu=GPUS,
    params:
        batch=options({"batch": CONFIG.evaluation.batch}),
        device=CONFIG.device,
        code=code_fingerprint("cortex.evaluate.accuracy"),
    message:
        "Does judge {wildcards.judge} read what the generator was asked for?"
    shell:
        "python -m cortex judge-accuracy --output {output.rows} --shards {input.shards} --images {input.images}"
        " --judge {input.judge} {params.batch} --device {params.device} &> {log}"


rule image_level:
    input:
        shard=f"{RUN}/data/test/{{shard}}.tar",
        images=rules.decode_images.output.images,
        importance=f"{RUN}/importance/{{extractor}}/test/{{shard}}.parquet",
        judge=JUDGE_MODEL,
    output:
        rows=f"{RUN}/evaluation/image_level/{{extractor}}/{{judge}}/{{shard}}.parquet",
    log:
        f"{RUN}/logs/image_level/{{extractor}}/{{judge}}/{{shard}}.log",
    benchmark:
        f"{RUN}/benchmarks/image_level/{{extractor}}/{{judge}}/{{shard}}.tsv"
    group:
        "evaluate_{extractor}"
    conda:
        "../envs/cortex.yaml"
    threads: 1
    resources:
        mem_mb=growing(4000, 2),
        runtime=growing(60, 0.1),
        gpu=GPUS,
    params:
        codes=options({"codes": GENERATOR.codes}),
        n=CONFIG.evaluation.image_level.n,
        batch=options({"batch": CONFIG.evaluation.batch}),
        seed=options({"seed": CONFIG.seed}),
        device=CONFIG.device,
        code=code_fingerprint("cortex.evaluate.image_level"),
    message:
        "Image level: judge {wildcards.judge} on {wildcards.extractor}'s tokens, test shard {wildcards.shard}"
    shell:
        "python -m cortex image-level --output {output.rows} --shard {input.shard} --images {input.images}"
        " --importance {input.importance} --judge {input.judge} {params.codes} --n {params.n} {params.batch}"
        " {params.seed} --device {params.device} &> {log}"


rule concept_level:
    input:
        shard=f"{RUN}/data/test/{{shard}}.tar",
        images=rules.decode_images.output.images,
        tokens=rules.concept_tokens.output.tokens,
        frequency=rules.frequent_tokens.output.tokens,
        judge=JUDGE_MODEL,
    output:
        rows=f"{RUN}/evaluation/concept_level/{{extractor}}/{{judge}}/{{shard}}.parquet",
    log:
        f"{RUN}/logs/concept_level/{{extractor}}/{{judge}}/{{shard}}.log",
    benchmark:
        f"{RUN}/benchmarks/concept_level/{{extractor}}/{{judge}}/{{shard}}.tsv"
    group:
        "evaluate_{extractor}"
    conda:
        "../envs/cortex.yaml"
    threads: 1
    resources:
        mem_mb=growing(4000, 2),
        runtime=growing(60, 0.1),
        gpu=GPUS,
    params:
        codes=options({"codes": GENERATOR.codes}),
        top_n=options({"top_n": CONFIG.evaluation.concept_level.top_n}),
        tokens=options({"keep": CONFIG.concept_tokens.tokens}),
        batch=options({"batch": CONFIG.evaluation.batch}),
        device=CONFIG.device,
        code=code_fingerprint("cortex.evaluate.concept_level"),
    message:
        "Concept level: judge {wildcards.judge} on {wildcards.extractor}'s tokens, test shard {wildcards.shard}"
    shell:
        "python -m cortex concept-level --output {output.rows} --shard {input.shard} --images {input.images}"
        " --tokens {input.tokens} --frequency {input.frequency} --judge {input.judge} {params.codes} {params.top_n}"
        " {params.tokens} {params.batch} --device {params.device} &> {log}"


rule codebook_level:
    input:
        GENERATOR_WEIGHTS,
        search=rules.codebook_search.output.tokens,
        shards=shard_paths("test"),
        judge=JUDGE_MODEL,
    output:
        rows=f"{RUN}/evaluation/codebook_level/{{extractor}}/{{judge}}.parquet",
    log:
        f"{RUN}/logs/codebook_level/{{extractor}}/{{judge}}.log",
    benchmark:
        f"{RUN}/benchmarks/codebook_level/{{extractor}}/{{judge}}.tsv"
    group:
        "evaluate_{extractor}"
    conda:
        "../envs/cortex.yaml"
    threads: 1
    resources:
        mem_mb=growing(4000, 2.5, of=max),
        runtime=growing(60, 0.01),
        gpu=GPUS,
    params:
        generator=options({"generator": WEIGHTS}),
        batch=options({"batch": CONFIG.evaluation.batch}),
        device=CONFIG.device,
        embedded=EMBEDDED_WEIGHTS,
        code=code_fingerprint("cortex.evaluate.codebook_level"),
    message:
        "Codebook level: judge {wildcards.judge} on {wildcards.extractor}'s search"
    shell:
        "python -m cortex codebook-level --output {output.rows} --search {input.search} --shards {input.shards}"
        " --judge {input.judge} {params.generator} {params.batch} --device {params.device} &> {log}"


rule accuracy_metrics:
    input:
        rows=lambda wildcards: [
            f"{RUN}/evaluation/{wildcards.reader}_accuracy/{name}.parquet" for name in READERS[wildcards.reader]
        ],
    output:
        metrics=f"{RUN}/metrics/{{reader}}_accuracy.parquet",
    log:
        f"{RUN}/logs/metrics/{{reader}}_accuracy.log",
    benchmark:
        f"{RUN}/benchmarks/metrics/{{reader}}_accuracy.tsv"
    wildcard_constraints:
        reader="extractor|judge",
    group:
        "metrics"
    conda:
        "../envs/cortex.yaml"
    threads: 1
    resources:
        mem_mb=growing(1000, 4),
        runtime=growing(10),
    params:
        names=lambda wildcards: READERS[wildcards.reader],
        k=CONFIG.evaluation.accuracy.k,
        seed=options({"seed": CONFIG.seed}),
        code=code_fingerprint("cortex.evaluate.metrics"),
    message:
        "Metrics: accuracy of every {wildcards.reader}"
    shell:
        "python -m cortex accuracy --output {output.metrics} --tables {input.rows} --of {wildcards.reader}"
        " --names {params.names} --k {params.k} {params.seed} &> {log}"


rule judged_metrics:
    input:
        rows=lambda wildcards: [path for path, _, _ in evaluations(wildcards.level)],
    output:
        metrics=f"{RUN}/metrics/{{level}}.parquet",
    log:
        f"{RUN}/logs/metrics/{{level}}.log",
    benchmark:
        f"{RUN}/benchmarks/metrics/{{level}}.tsv"
    wildcard_constraints:
        level="image_level|concept_level|codebook_level",
    group:
        "metrics"
    conda:
        "../envs/cortex.yaml"
    threads: 1
    resources:
        mem_mb=growing(1000, 8),
        runtime=growing(20),
    params:
        extractors=lambda wildcards: [extractor for _, extractor, _ in evaluations(wildcards.level)],
        judges=lambda wildcards: [judge for _, _, judge in evaluations(wildcards.level)],
        by=lambda wildcards: METRICS[wildcards.level]["by"],
        measures=lambda wildcards: METRICS[wildcards.level]["measures"],
        seed=options({"seed": CONFIG.seed}),
        code=code_fingerprint("cortex.evaluate.metrics"),
    message:
        "Metrics: {wildcards.level}"
    shell:
        "python -m cortex metrics --output {output.metrics} --tables {input.rows} --extractors {params.extractors}"
        " --judges {params.judges} --by {params.by} --measures {params.measures} {params.seed} &> {log}"


rule comparisons:
    input:
        rows=[path for level in METRICS for path, _, _ in evaluations(level)],
    output:
        comparisons=f"{RUN}/metrics/comparisons.parquet",
    log:
        f"{RUN}/logs/metrics/comparisons.log",
    benchmark:
        f"{RUN}/benchmarks/metrics/comparisons.tsv"
    group:
        "metrics"
    conda:
        "../envs/cortex.yaml"
    threads: 1
    resources:
        mem_mb=growing(2000, 8),
        runtime=growing(20, 0.5),
    params:
        levels=[level for level in METRICS for _ in evaluations(level)],
        extractors=[extractor for level in METRICS for _, extractor, _ in evaluations(level)],
        judges=[judge for level in METRICS for _, _, judge in evaluations(level)],
        seed=options({"seed": CONFIG.seed}),
        code=code_fingerprint("cortex.evaluate.comparisons"),
    message:
        "Comparisons with the baselines: differences, intervals, tests"
    shell:
        "python -m cortex comparisons --output {output.comparisons} --tables {input.rows} --levels {params.levels}"
        " --extractors {params.extractors} --judges {params.judges} {params.seed} &> {log}"


# Of a run of bias alone, there are no others.
rule metrics:
    input:
        TOPICS,
        [
            rules.comparisons.output,
            expand(f"{RUN}/metrics/{{reader}}_accuracy.parquet", reader=READERS),
            expand(f"{RUN}/metrics/{{level}}.parquet", level=METRICS),
        ]
        if EXTRACTORS
        else [],
