# Controls of the codebook search: a variant that stays likely under the generator's prior, and how all searches read to
# those that they were not made with. Only where the config asks for them.


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
        code=lambda wildcards: code_fingerprint("cortex.controls.search_prior", network_module(wildcards.extractor)),
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
        code=code_fingerprint("cortex.controls.search", *map(network_module, EXTRACTORS)),
    message:
        "Do the codebook searches carry over?"
    shell:
        "python -m cortex control-search --output {output.metrics} --rows {output.rows}"
        " --searches {input.searches} {input.with_prior} --made-with {params.made_with}"
        " --shards {input.shards} --extractors {input.extractors} --extractor-names {params.extractors}"
        " --judges {input.judges} --judge-names {params.judges} {params.options} {params.batch}"
        " {params.seed} --device {params.device} &> {log}"


# What of these the run is asked for.
SEARCH_CONTROLS = [rules.control_search.output, rules.control_search.input] if CONFIG.controls.search else []
