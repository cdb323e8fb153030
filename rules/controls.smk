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
            classes=options({"classes": CLASSES}),
            attributions=options(CONFIG.controls.attributions),
            importance=options(CONFIG.importance),
            seed=options({"seed": CONFIG.seed}),
            device=CONFIG.device,
            code=lambda wildcards: code_fingerprint("cortex.explain.attributions", network_module(wildcards.extractor)),
        message:
            "Attributions by {wildcards.extractor}, beside its token importance"
        shell:
            "python -m cortex attributions --output {output.scores} --shards {input.shards}"
            " --importance {input.importance} --extractor {input.extractor} --codebook {input.codebook}"
            " {params.classes} {params.attributions} {params.importance} {params.seed}"
            " --device {params.device} &> {log}"

    rule judged_attributions:
        input:
            scores=rules.attributions.output.scores,
            shards=shard_paths("test"),
            images=rules.judge_accuracy.input.images,
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
            mem_mb=growing(4000, 2, of=max),
            runtime=growing(60, 0.1),
            gpu=GPUS,
        params:
            codes=options({"codes": GENERATOR.codes}),
            n=CONFIG.evaluation.image_level.n,
            batch=options({"batch": CONFIG.evaluation.batch}),
            device=CONFIG.device,
            code=code_fingerprint("cortex.studies.attributions.judged"),
        message:
            "Attributions: judge {wildcards.judge} on those by {wildcards.extractor}"
        shell:
            "python -m cortex judge-attributions --output {output.rows} --scores {input.scores} --shards {input.shards}"
            " --images {input.images} --judge {input.judge} {params.codes} --n {params.n} {params.batch}"
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
            seed=options({"seed": CONFIG.seed}),
            code=code_fingerprint("cortex.studies.attributions.judged"),
        message:
            "Attributions: ranked by the area under their masking curves"
        shell:
            "python -m cortex rank-attributions --output {output.metrics} --tables {input.rows}"
            " --extractors {params.extractors} --judges {params.judges} {params.seed} &> {log}"

    CONTROLS += rules.ranked_attributions.input + expand(rules.attributions.output, extractor=EXTRACTORS)


SANITY, STABILITY, COMBINATIONS = CONFIG.controls.sanity, CONFIG.controls.stability, CONFIG.controls.combinations
# What the rows of a control, each of an image, are averaged by.
CONTROL_METRICS = {
    "sanity": ["test", "step", "layer", "measure", "n"],
    "stability": ["samples", "other_samples", "measure", "n"],
    "combinations": ["measure", "method", "n"],
}
CONTROLS += expand(
    f"{RUN}/controls/{{control}}/{{extractor}}.parquet",
    control=[control for control in CONTROL_METRICS if getattr(CONFIG.controls, control)],
    extractor=EXTRACTORS,
)


if SANITY and SANITY.shuffled:

    rule shuffle_labels:
        input:
            grids=f"{RUN}/data/train/grids.npy",
        output:
            grids=f"{RUN}/data/train/shuffled.npy",
        log:
            f"{RUN}/logs/shuffle_labels.log",
        benchmark:
            f"{RUN}/benchmarks/shuffle_labels.tsv"
        conda:
            "../envs/cortex.yaml"
        threads: 1
        resources:
            mem_mb=growing(1500, 4),
            runtime=growing(30, 0.1),
        params:
            seed=options({"seed": CONFIG.seed}),
            code=code_fingerprint("cortex.studies.sanity.shuffled"),
        message:
            "Shuffling the labels of the train split"
        shell:
            "python -m cortex shuffle-labels --output {output.grids} --grids {input.grids} {params.seed}" " &> {log}"

    # By the extractor's own recipe, but the epoch kept is the one that has learned most of the shuffled labels: with
    # others to validate on it would be one of the first, which has learned nothing yet.
    use rule train_extractor as train_shuffled with:
        input:
            train=rules.shuffle_labels.output.grids,
            validation=rules.shuffle_labels.output.grids,
            codebook=rules.export_codebook.output.codebook,
        output:
            model=f"{RUN}/controls/shuffled/{{extractor}}/model.safetensors",
            history=f"{RUN}/controls/shuffled/{{extractor}}/history.parquet",
        log:
            f"{RUN}/logs/train_shuffled/{{extractor}}.log",
        benchmark:
            f"{RUN}/benchmarks/train_shuffled/{{extractor}}.tsv"
        message:
            "Training extractor {wildcards.extractor} on shuffled labels"

    CONTROLS += expand(rules.train_shuffled.output, extractor=SANITY.shuffled)


if SANITY:

    rule sanity:
        input:
            shards=shard_paths("test"),
            importance=[f"{RUN}/importance/{{extractor}}/test/{shard}.parquet" for shard in shards_of("test")],
            extractor=rules.train_extractor.output.model,
            codebook=rules.export_codebook.output.codebook,
            shuffled=lambda wildcards: (
                rules.train_shuffled.output.model if wildcards.extractor in SANITY.shuffled else []
            ),
        output:
            rows=f"{RUN}/controls/sanity/{{extractor}}.parquet",
        log:
            f"{RUN}/logs/sanity/{{extractor}}.log",
        benchmark:
            f"{RUN}/benchmarks/sanity/{{extractor}}.tsv"
        group:
            "controls_{extractor}"
        conda:
            "../envs/cortex.yaml"
        threads: 1
        resources:
            mem_mb=growing(4000, 1, of=max),
            runtime=growing(120, 0.01),
            gpu=GPUS,
        params:
            shuffled=lambda wildcards, input: options({"shuffled": input.shuffled or None}),
            options=options(SANITY, without=["shuffled"]),
            importance=options(CONFIG.importance),
            seed=options({"seed": CONFIG.seed}),
            device=CONFIG.device,
            code=lambda wildcards: code_fingerprint(
                "cortex.studies.sanity.randomise", network_module(wildcards.extractor)
            ),
        message:
            "Sanity: token importance by {wildcards.extractor} with weights that know nothing"
        shell:
            "python -m cortex sanity --output {output.rows} --shards {input.shards} --importance {input.importance}"
            " --extractor {input.extractor} --codebook {input.codebook} {params.shuffled} {params.options}"
            " {params.importance} {params.seed} --device {params.device} &> {log}"


if STABILITY:

    rule stability:
        input:
            shards=shard_paths("test"),
            importance=[f"{RUN}/importance/{{extractor}}/test/{shard}.parquet" for shard in shards_of("test")],
            extractor=rules.train_extractor.output.model,
            codebook=rules.export_codebook.output.codebook,
        output:
            rows=f"{RUN}/controls/stability/{{extractor}}.parquet",
        log:
            f"{RUN}/logs/stability/{{extractor}}.log",
        benchmark:
            f"{RUN}/benchmarks/stability/{{extractor}}.tsv"
        group:
            "controls_{extractor}"
        conda:
            "../envs/cortex.yaml"
        threads: 1
        resources:
            mem_mb=growing(4000, 1, of=max),
            runtime=growing(120, 0.01),
            gpu=GPUS,
        params:
            options=options(STABILITY),
            importance=options(CONFIG.importance, without=["samples"]),
            seed=options({"seed": CONFIG.seed}),
            device=CONFIG.device,
            code=lambda wildcards: code_fingerprint(
                "cortex.studies.stability.noise", network_module(wildcards.extractor)
            ),
        message:
            "Stability: token importance by {wildcards.extractor} over noise"
        shell:
            "python -m cortex stability --output {output.rows} --shards {input.shards} --importance {input.importance}"
            " --extractor {input.extractor} --codebook {input.codebook} {params.options} {params.importance}"
            " {params.seed} --device {params.device} &> {log}"


if COMBINATIONS:

    rule combinations:
        input:
            shards=shard_paths("test"),
            importance=[f"{RUN}/importance/{{extractor}}/test/{shard}.parquet" for shard in shards_of("test")],
            extractor=rules.train_extractor.output.model,
            codebook=rules.export_codebook.output.codebook,
        output:
            rows=f"{RUN}/controls/combinations/{{extractor}}.parquet",
        log:
            f"{RUN}/logs/combinations/{{extractor}}.log",
        benchmark:
            f"{RUN}/benchmarks/combinations/{{extractor}}.tsv"
        group:
            "controls_{extractor}"
        conda:
            "../envs/cortex.yaml"
        threads: 1
        resources:
            mem_mb=growing(4000, 1, of=max),
            runtime=growing(120, 0.01),
            gpu=GPUS,
        params:
            options=options(COMBINATIONS),
            batch=options({"batch": CONFIG.evaluation.batch}),
            seed=options({"seed": CONFIG.seed}),
            device=CONFIG.device,
            code=lambda wildcards: code_fingerprint(
                "cortex.studies.combinations.removal", network_module(wildcards.extractor)
            ),
        message:
            "Combinations: removing tokens from what {wildcards.extractor} sees"
        shell:
            "python -m cortex combinations --output {output.rows} --shards {input.shards}"
            " --importance {input.importance} --extractor {input.extractor} --codebook {input.codebook}"
            " {params.options} {params.batch} {params.seed} --device {params.device} &> {log}"


rule control_metrics:
    input:
        rows=expand(f"{RUN}/controls/{{control}}/{{extractor}}.parquet", extractor=EXTRACTORS, allow_missing=True),
    output:
        metrics=f"{RUN}/metrics/{{control}}.parquet",
    log:
        f"{RUN}/logs/metrics/{{control}}.log",
    benchmark:
        f"{RUN}/benchmarks/metrics/{{control}}.tsv"
    wildcard_constraints:
        control=one_of(CONTROL_METRICS),
    group:
        "metrics"
    conda:
        "../envs/cortex.yaml"
    threads: 1
    resources:
        mem_mb=growing(2000, 8),
        runtime=growing(20),
    params:
        extractors=EXTRACTORS,
        by=lambda wildcards: CONTROL_METRICS[wildcards.control],
        seed=options({"seed": CONFIG.seed}),
        code=code_fingerprint("cortex.studies.summary"),
    message:
        "Metrics: {wildcards.control}"
    shell:
        "python -m cortex control-metrics --output {output.metrics} --tables {input.rows}"
        " --extractors {params.extractors} --by {params.by} {params.seed} &> {log}"


# Of the codebook search: a variant that stays likely under the generator's prior, and how all searches read to those that
# they were not made with.


# The extractors that search with the prior, too; none without weights for it.
WITH_PRIOR = EXTRACTORS if CONFIG.controls.search and CONFIG.controls.search.prior_weights else []


rule search_with_prior:
    input:
        GENERATOR_WEIGHTS,
        shards=shard_paths("test"),
        extractor=rules.train_extractor.output.model,
        codebook=rules.export_codebook.output.codebook,
    output:
        tokens=f"{RUN}/controls/search/{{extractor}}.parquet",
    log:
        f"{RUN}/logs/search_with_prior/{{extractor}}.log",
    benchmark:
        f"{RUN}/benchmarks/search_with_prior/{{extractor}}.tsv"
    priority: 1  # long, and others wait for it
    conda:
        "../envs/cortex.yaml"
    threads: 1
    resources:
        mem_mb=growing(8000, 2.5, of=max),
        runtime=growing(480),
        gpu=GPUS,
    params:
        pairs=rules.codebook_search.params.pairs,
        region=rules.codebook_search.params.region,
        options=rules.codebook_search.params.options,
        prior=options({"generator": WEIGHTS} | dict(CONFIG.controls.search or {})),
        seed=options({"seed": CONFIG.seed}),
        device=CONFIG.device,
        embedded=EMBEDDED_WEIGHTS,
        code=lambda wildcards: code_fingerprint("cortex.studies.transfer.prior", network_module(wildcards.extractor)),
    message:
        "Codebook search with {wildcards.extractor} that stays likely under the generator's prior"
    shell:
        "python -m cortex search-with-prior --output {output.tokens} --shards {input.shards}"
        " --extractor {input.extractor} --codebook {input.codebook} {params.pairs} {params.region}"
        " {params.options} {params.prior} {params.seed} --device {params.device} &> {log}"


rule control_search:
    input:
        GENERATOR_WEIGHTS,
        searches=expand(rules.codebook_search.output.tokens, extractor=EXTRACTORS),
        with_prior=expand(rules.search_with_prior.output.tokens, extractor=WITH_PRIOR),
        shards=shard_paths("test"),
        extractors=expand(rules.train_extractor.output.model, extractor=EXTRACTORS),
        judges=expand(JUDGE_MODEL, judge=JUDGES),
    output:
        metrics=f"{RUN}/metrics/search.parquet",
        rows=f"{RUN}/controls/search/readings.parquet",
    log:
        f"{RUN}/logs/control_search.log",
    benchmark:
        f"{RUN}/benchmarks/control_search.tsv"
    priority: 1  # long, and others wait for it
    conda:
        "../envs/cortex.yaml"
    threads: 1
    resources:
        mem_mb=growing(8000, 2.5, of=max),
        runtime=growing(240, 0.01),
        gpu=GPUS,
    params:
        made_with=EXTRACTORS + WITH_PRIOR,
        extractors=EXTRACTORS,
        judges=JUDGES,
        options=options(
            {
                "generator": WEIGHTS,
                "temperature": CONFIG.generator.temperature,
                "top_k": CONFIG.generator.top_k,
                "top_p": CONFIG.generator.top_p,
            }
        ),
        batch=options({"batch": CONFIG.evaluation.batch}),
        seed=options({"seed": CONFIG.seed}),
        device=CONFIG.device,
        embedded=EMBEDDED_WEIGHTS,
        code=code_fingerprint("cortex.studies.transfer.search", *map(network_module, EXTRACTORS)),
    message:
        "Do the codebook searches carry over?"
    shell:
        "python -m cortex control-search --output {output.metrics} --rows {output.rows}"
        " --searches {input.searches} {input.with_prior} --made-with {params.made_with}"
        " --shards {input.shards} --extractors {input.extractors} --extractor-names {params.extractors}"
        " --judges {input.judges} --judge-names {params.judges} {params.options} {params.batch}"
        " {params.seed} --device {params.device} &> {log}"


if CONFIG.controls.search:
    CONTROLS += [rules.control_search.output, rules.control_search.input]
