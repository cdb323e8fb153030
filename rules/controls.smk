# Controls: can the explanations be trusted? What the config does not ask for has no rules.

# What the controls' tables are made of, for rule all.
CONTROLS = []


if CONFIG.controls.attributions:

    rule attributions:
        input:
            shards=shard_paths("test"),
            importance=[f"{RUN}/importance/{{extractor}}/test/{shard}.parquet" for shard in shards_of("test")],
            extractor=rules.train_extractor.output.model,
            codebook=rules.export_codebook.output.codebook,
        output:
            scores=f"{RUN}/controls/attributions/{{extractor}}.parquet",
        log:
            f"{RUN}/logs/attributions/{{extractor}}.log",
        benchmark:
            f"{RUN}/benchmarks/attributions/{{extractor}}.tsv"
        conda:
            "../envs/cortex.yaml"
        threads: 1
        resources:
            mem_mb=growing(4000, 1, of=max),
            runtime=growing(120, 0.1),
            gpu=GPUS,
        params:
            classes=CLASSES,
            attributions=options(CONFIG.controls.attributions),
            importance=options(CONFIG.importance),
            seed=CONFIG.seed,
            device=CONFIG.device,
            code=lambda wildcards: code_fingerprint("cortex.explain.attributions", network_module(wildcards.extractor)),
        message:
            "Attributions by {wildcards.extractor}, beside its token importance"
        shell:
            "python -m cortex attributions --output {output.scores} --shards {input.shards}"
            " --importance {input.importance} --extractor {input.extractor} --codebook {input.codebook}"
            " --classes {params.classes} {params.attributions} {params.importance} --seed {params.seed}"
            " --device {params.device} &> {log}"

    rule judged_attributions:
        input:
            scores=rules.attributions.output.scores,
            shards=shard_paths("test"),
            judge=JUDGE_MODEL,
        output:
            rows=f"{RUN}/evaluation/attributions/{{extractor}}/{{judge}}.parquet",
        log:
            f"{RUN}/logs/judged_attributions/{{extractor}}/{{judge}}.log",
        benchmark:
            f"{RUN}/benchmarks/judged_attributions/{{extractor}}/{{judge}}.tsv"
        group:
            "evaluate_{extractor}"
        conda:
            "../envs/cortex.yaml"
        threads: 1
        resources:
            mem_mb=growing(4000, 6, of=max),
            runtime=growing(60, 0.1),
            gpu=GPUS,
        params:
            codes=GENERATOR.codes,
            n=CONFIG.evaluation.image_level.n,
            batch=CONFIG.evaluation.batch,
            device=CONFIG.device,
            code=code_fingerprint("cortex.evaluate.attributions"),
        message:
            "Attributions: judge {wildcards.judge} on those by {wildcards.extractor}"
        shell:
            "python -m cortex judge-attributions --output {output.rows} --scores {input.scores} --shards {input.shards}"
            " --judge {input.judge} --codes {params.codes} --n {params.n} --batch {params.batch}"
            " --device {params.device} &> {log}"

    rule ranked_attributions:
        input:
            rows=expand(rules.judged_attributions.output.rows, extractor=EXTRACTORS, judge=JUDGES),
        output:
            metrics=f"{RUN}/metrics/attributions.parquet",
        log:
            f"{RUN}/logs/metrics/attributions.log",
        benchmark:
            f"{RUN}/benchmarks/metrics/attributions.tsv"
        group:
            "metrics"
        conda:
            "../envs/cortex.yaml"
        threads: 1
        resources:
            mem_mb=growing(2000, 8),
            runtime=growing(20),
        params:
            extractors=[extractor for extractor in EXTRACTORS for _ in JUDGES],
            judges=JUDGES * len(EXTRACTORS),
            seed=CONFIG.seed,
            code=code_fingerprint("cortex.evaluate.attributions"),
        message:
            "Attributions: ranked by the area under their masking curves"
        shell:
            "python -m cortex rank-attributions --output {output.metrics} --tables {input.rows}"
            " --extractors {params.extractors} --judges {params.judges} --seed {params.seed} &> {log}"

    CONTROLS += rules.ranked_attributions.input + expand(rules.attributions.output, extractor=EXTRACTORS)
