# The planted benchmark: grids of which it is known what marks their class, read and explained as the run's own are.

PLANTED = CONFIG.planted
PLANTED_EXTRACTORS = PLANTED.extractors.chosen()
PLANTED_DATA = f"{RUN}/planted/{{variant}}"


wildcard_constraints:
    variant="plain|shortcut|shared|combination",


rule plant:
    output:
        shards=expand(f"{PLANTED_DATA}/{{split}}.tar", split=SPLITS, allow_missing=True),
        train=f"{PLANTED_DATA}/train.npy",
        validation=f"{PLANTED_DATA}/validation.npy",
        codebook=f"{PLANTED_DATA}/codebook.safetensors",
        truth=f"{PLANTED_DATA}/truth.parquet",
        codes=f"{PLANTED_DATA}/codes.parquet",
        frequency=f"{PLANTED_DATA}/frequency.parquet",
    log:
        f"{RUN}/logs/plant/{{variant}}.log",
    benchmark:
        f"{RUN}/benchmarks/plant/{{variant}}.tsv"
    group:
        "plant"
    conda:
        "../envs/cortex.yaml"
    threads: 1
    resources:
        mem_mb=growing(2000),
        runtime=growing(60),
    params:
        folder=lambda wildcards, output: os.path.dirname(output.codebook),
        options=options(PLANTED, without=("variants", "per_class", "attributions", "searched_per_class", "extractors")),
        images=options(PLANTED.per_class),
        grid=options(dict(zip(("height", "width"), GENERATOR.grid))),
        channels=GENERATOR.channels,
        seed=options({"seed": CONFIG.seed}),
        code=code_fingerprint("cortex.studies.planted.plant"),
    message:
        "Planting codes in grids: {wildcards.variant}"
    shell:
        "python -m cortex plant --folder {params.folder} --variant {wildcards.variant} {params.options} {params.images}"
        " {params.grid} --channels {params.channels} {params.seed} &> {log}"


rule train_planted:
    input:
        train=rules.plant.output.train,
        validation=rules.plant.output.validation,
        codebook=rules.plant.output.codebook,
    output:
        model=f"{PLANTED_DATA}/{{extractor}}/model.safetensors",
        history=f"{PLANTED_DATA}/{{extractor}}/history.parquet",
    log:
        f"{RUN}/logs/train_planted/{{variant}}/{{extractor}}.log",
    benchmark:
        f"{RUN}/benchmarks/train_planted/{{variant}}/{{extractor}}.tsv"
    conda:
        "../envs/cortex.yaml"
    threads: 1
    resources:
        mem_mb=growing(4000, 6),
        runtime=growing(60, 3),
        gpu=GPUS,
    params:
        classes=options({"classes": PLANTED.classes}),
        options=lambda wildcards: options(PLANTED_EXTRACTORS[wildcards.extractor], without=["gpus"]),
        seed=options({"seed": CONFIG.seed}),
        device=CONFIG.device,
        code=lambda wildcards: code_fingerprint("cortex.extractors.train", network_module(wildcards.extractor)),
    message:
        "Training extractor {wildcards.extractor} on planted grids: {wildcards.variant}"
    shell:
        "python -m cortex train-extractor --output {output.model} --history {output.history}"
        " --network {wildcards.extractor} --train {input.train} --validation {input.validation}"
        " --codebook {input.codebook} {params.classes} {params.options}"
        " {params.seed} --device {params.device} &> {log}"


rule explain_planted:
    input:
        data=rules.plant.output,
        extractor=rules.train_planted.output.model,
    output:
        importance=expand(
            f"{PLANTED_DATA}/{{extractor}}/{{split}}.parquet", split=["validation", "test"], allow_missing=True
        ),
        tokens=f"{PLANTED_DATA}/{{extractor}}/tokens.parquet",
        attributions=f"{PLANTED_DATA}/{{extractor}}/attributions.parquet",
        search=f"{PLANTED_DATA}/{{extractor}}/search.parquet",
    log:
        f"{RUN}/logs/explain_planted/{{variant}}/{{extractor}}.log",
    benchmark:
        f"{RUN}/benchmarks/explain_planted/{{variant}}/{{extractor}}.tsv"
    conda:
        "../envs/cortex.yaml"
    threads: 1
    resources:
        mem_mb=growing(4000, 1, of=max),
        runtime=growing(60, 0.1),
        gpu=GPUS,
    params:
        data=lambda wildcards, input: os.path.dirname(input.data[0]),
        folder=lambda wildcards, output: os.path.dirname(output.tokens),
        positions=options({"positions": PLANTED.positions}),
        importance=options(CONFIG.importance, without=["batch"]),
        importance_batch=options({"importance_batch": CONFIG.importance.batch}),
        attributions=options(
            {
                "methods": PLANTED.attributions.methods,
                "attributed_per_class": PLANTED.attributions.images_per_class,
                "integration_steps": PLANTED.attributions.steps,
            }
        ),
        region=options(CONFIG.codebook_search.region),
        search=options(CONFIG.codebook_search, without=("region", "pairs", "images_per_class", "record_every", "batch")),
        search_batch=options({"search_batch": CONFIG.codebook_search.batch}),
        images=options({"images_per_class": PLANTED.searched_per_class}),
        seed=options({"seed": CONFIG.seed}),
        device=CONFIG.device,
        code=lambda wildcards: code_fingerprint("cortex.studies.planted.explain", network_module(wildcards.extractor)),
    message:
        "Explaining planted grids with {wildcards.extractor}: {wildcards.variant}"
    shell:
        "python -m cortex explain-planted --folder {params.folder} --data {params.data} --extractor {input.extractor}"
        " {params.positions} {params.importance} {params.importance_batch}"
        " {params.attributions} {params.region} {params.search} {params.search_batch} {params.images}"
        " {params.seed} --device {params.device} &> {log}"


rule planted_metrics:
    input:
        expand(rules.plant.output, variant=PLANTED.variants),
        expand(rules.explain_planted.output, variant=PLANTED.variants, extractor=PLANTED_EXTRACTORS),
    output:
        metrics=f"{RUN}/metrics/planted.parquet",
    log:
        f"{RUN}/logs/metrics/planted.log",
    benchmark:
        f"{RUN}/benchmarks/metrics/planted.tsv"
    group:
        "metrics"
    conda:
        "../envs/cortex.yaml"
    threads: 1
    resources:
        mem_mb=growing(1000, 8),
        runtime=growing(20),
    params:
        data=expand(PLANTED_DATA, variant=[v for v in PLANTED.variants for _ in PLANTED_EXTRACTORS]),
        explained=expand(f"{PLANTED_DATA}/{{extractor}}", variant=PLANTED.variants, extractor=PLANTED_EXTRACTORS),
        variants=[variant for variant in PLANTED.variants for _ in PLANTED_EXTRACTORS],
        extractors=list(PLANTED_EXTRACTORS) * len(PLANTED.variants),
        codes=options({"codes": PLANTED.codes}),
        seed=options({"seed": CONFIG.seed}),
        code=code_fingerprint("cortex.studies.planted.measure"),
    message:
        "Metrics: what was found of what was planted"
    shell:
        "python -m cortex measure-planted --output {output.metrics} --data {params.data}"
        " --explained {params.explained} --variants {params.variants} --extractors {params.extractors}"
        " {params.codes} {params.seed} &> {log}"


rule planted:
    input:
        rules.planted_metrics.output,
