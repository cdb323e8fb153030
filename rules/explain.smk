# Explain: token importance of every image, concept-level tokens of every label, codebook search.


rule importance:
    input:
        shard=f"{RUN}/data/{{split}}/{{shard}}.tar",
        extractor=rules.train_extractor.output.model,
        codebook=rules.export_codebook.output.codebook,
    output:
        scores=f"{RUN}/importance/{{extractor}}/{{split}}/{{shard}}.parquet",
    log:
        f"{RUN}/logs/importance/{{extractor}}/{{split}}/{{shard}}.log",
    benchmark:
        f"{RUN}/benchmarks/importance/{{extractor}}/{{split}}/{{shard}}.tsv"
    group:
        "importance_{extractor}"
    conda:
        "../envs/cortex.yaml"
    threads: 1
    resources:
        mem_mb=growing(4000, 1),
        runtime=growing(60, 0.1),
        gpu=GPUS,
    params:
        options=options(CONFIG.importance),
        seed=options({"seed": CONFIG.seed}),
        device=CONFIG.device,
        code=lambda wildcards: code_fingerprint("cortex.explain.importance", network_module(wildcards.extractor)),
    message:
        "Token importance by {wildcards.extractor}: shard {wildcards.shard} of the {wildcards.split} split"
    shell:
        "python -m cortex importance --output {output.scores} --shard {input.shard} --extractor {input.extractor}"
        " --codebook {input.codebook} {params.options} {params.seed} --device {params.device} &> {log}"


rule concept_tokens:
    input:
        shards=shard_paths("train"),
        importance=[f"{RUN}/importance/{{extractor}}/train/{shard}.parquet" for shard in shards_of("train")],
    output:
        tokens=f"{RUN}/tokens/{{extractor}}.parquet",
    log:
        f"{RUN}/logs/concept_tokens/{{extractor}}.log",
    benchmark:
        f"{RUN}/benchmarks/concept_tokens/{{extractor}}.tsv"
    conda:
        "../envs/cortex.yaml"
    threads: 1
    resources:
        mem_mb=growing(2000, 4, of=max),
        runtime=growing(30, 0.001),
    params:
        codes=options({"codes": GENERATOR.codes}),
        options=options(CONFIG.concept_tokens),
        code=code_fingerprint("cortex.explain.concept_tokens"),
    message:
        "Concept-level tokens by {wildcards.extractor}"
    shell:
        "python -m cortex concept-tokens --output {output.tokens} --shards {input.shards}"
        " --importance {input.importance} {params.codes} {params.options} &> {log}"


rule frequent_tokens:
    input:
        grids=f"{RUN}/data/train/grids.npy",
    output:
        tokens=f"{RUN}/tokens/frequency.parquet",
    log:
        f"{RUN}/logs/frequent_tokens.log",
    benchmark:
        f"{RUN}/benchmarks/frequent_tokens.tsv"
    conda:
        "../envs/cortex.yaml"
    threads: 1
    resources:
        mem_mb=growing(1500, 4),
        runtime=growing(30, 0.1),
    params:
        codes=options({"codes": GENERATOR.codes}),
        tokens=options({"tokens": CONFIG.concept_tokens.tokens}),
        code=code_fingerprint("cortex.explain.concept_tokens"),
    message:
        "Most frequent tokens of every label"
    shell:
        "python -m cortex frequent-tokens --output {output.tokens} --grids {input.grids} {params.codes}"
        " {params.tokens} &> {log}"


rule codebook_search:
    input:
        shards=shard_paths("test"),
        extractor=rules.train_extractor.output.model,
        codebook=rules.export_codebook.output.codebook,
    output:
        tokens=f"{RUN}/codebook/{{extractor}}.parquet",
    log:
        f"{RUN}/logs/codebook_search/{{extractor}}.log",
    benchmark:
        f"{RUN}/benchmarks/codebook_search/{{extractor}}.tsv"
    priority: 1  # long, and others wait for it
    conda:
        "../envs/cortex.yaml"
    threads: 1
    resources:
        mem_mb=growing(4000, 1, of=max),
        runtime=growing(480),
        gpu=GPUS,
    params:
        pairs=options(
            {
                "sources": list(CONFIG.codebook_search.pairs),
                "targets": list(CONFIG.codebook_search.pairs.values()),
            }
        ),
        region=options(CONFIG.codebook_search.region),
        options=options(CONFIG.codebook_search, without=("pairs", "region")),
        seed=options({"seed": CONFIG.seed}),
        device=CONFIG.device,
        code=lambda wildcards: code_fingerprint("cortex.explain.codebook_search", network_module(wildcards.extractor)),
    message:
        "Codebook search with {wildcards.extractor}"
    shell:
        "python -m cortex codebook-search --output {output.tokens} --shards {input.shards}"
        " --extractor {input.extractor} --codebook {input.codebook} {params.pairs} {params.region}"
        " {params.options} {params.seed} --device {params.device} &> {log}"
