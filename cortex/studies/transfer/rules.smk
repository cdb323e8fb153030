# Transfer of codebook searches: searches that stay likely under the generator's prior, and all searches as extractors,
# judges and the prior read them.

TRANSFER = CONFIG.studies["transfer"]
WITH_PRIOR = EXTRACTORS if TRANSFER.prior_weights else []


rule search_with_prior:
    input:
        GENERATOR_FILES,
        tokens=of_shards(TOKENS, "test"),
        extractor=MODEL,
        codebook=CODEBOOK,
    output:
        tokens=f"{RUN}/studies/transfer/{{extractor}}.parquet",
    log:
        log_of("search_with_prior", "{extractor}"),
    priority: 1  # long, and others wait for it
    conda:
        ENVIRONMENT
    resources:
        mem_mb=growing(8000, 2.5, of=max),
        runtime=growing(480),
        gpu=GPUS,
    params:
        options=options(CONFIG.codebook_search, TRANSFER, GENERATOR, SEED, DEVICE, without=["study"]),
        bundled=BUNDLED_WEIGHTS,
        code=code_of("search-with-prior", network_of, *FAMILIES),
    message:
        "Search the codebook with {wildcards.extractor} and the generator's prior"
    shell:
        "python -m cortex search-with-prior --output {output.tokens} --tokens {input.tokens}"
        " --extractor {input.extractor} --codebook {input.codebook} {params.options} &> {log}"


rule transfer:
    input:
        GENERATOR_FILES,
        searches=expand(rules.codebook_search.output.tokens, extractor=EXTRACTORS)
        + expand(rules.search_with_prior.output.tokens, extractor=WITH_PRIOR),
        tokens=of_shards(TOKENS, "test"),
        extractors=expand(MODEL, extractor=EXTRACTORS),
        judges=expand(JUDGE, judge=JUDGES),
    output:
        metrics=f"{RUN}/metrics/transfer.parquet",
        rows=f"{RUN}/studies/transfer/readings.parquet",
    log:
        log_of("transfer"),
    priority: 1  # long, and others wait for it
    conda:
        ENVIRONMENT
    resources:
        mem_mb=growing(8000, 2.5, of=max),
        runtime=growing(240, 0.01),
        gpu=GPUS,
    params:
        searches=lambda wildcards, input: name_paths(EXTRACTORS + WITH_PRIOR, input.searches),
        extractors=lambda wildcards, input: name_paths(EXTRACTORS, input.extractors),
        judges=lambda wildcards, input: name_paths(JUDGES, input.judges),
        options=options(CONFIG.generator.sampling(), GENERATOR, BATCH, SEED, DEVICE),
        bundled=BUNDLED_WEIGHTS,
        code=code_of(
            "measure-transfer",
            *FAMILIES,
            *map(of_package.network_of, [*CONFIG.extractors.values(), *CONFIG.judges.values()]),
        ),
    message:
        "Measure the transfer of codebook searches to other extractors, the judges and the prior"
    shell:
        "python -m cortex measure-transfer --output {output.metrics} --rows {output.rows}"
        " --searches {params.searches} --tokens {input.tokens} --extractors {params.extractors}"
        " --judges {params.judges} {params.options} &> {log}"


STUDY_FILES += [rules.transfer.output, rules.transfer.input]
