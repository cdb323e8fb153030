# The planted benchmark: grids with known ground truth, read and explained as the run's own are.

from cortex.explain import ATTRIBUTIONS, TIS
from cortex.extractors.config import trainings_of

PLANTED = CONFIG.studies["planted"]
PLANTED_DATA = f"{RUN}/studies/planted/{{variant}}"
PLANTED_NETWORK = lambda wildcards: of_package.network_of(settings_in(PLANTED.extractors, wildcards.extractor))
PLANTED_EXTRACTORS = trainings_of(PLANTED.extractors)


wildcard_constraints:
    variant="[a-z]+",


rule plant:
    output:
        shards=expand(f"{PLANTED_DATA}/{{split}}.tar", split=SPLITS, allow_missing=True),
        tokens=expand(f"{PLANTED_DATA}/{{split}}.parquet", split=SPLITS, allow_missing=True),
        train=f"{PLANTED_DATA}/train.npy",
        validation=f"{PLANTED_DATA}/validation.npy",
        codebook=f"{PLANTED_DATA}/codebook.safetensors",
        truth=f"{PLANTED_DATA}/truth.parquet",
        codes=f"{PLANTED_DATA}/codes.parquet",
        frequency=f"{PLANTED_DATA}/frequency.parquet",
    log:
        log_of("plant", "{variant}"),
    group:
        "plant"
    conda:
        ENVIRONMENT
    resources:
        mem_mb=growing(2000),
        runtime=growing(60),
    params:
        folder=lambda wildcards, output: os.path.dirname(output.codebook),
        options=options(
            PLANTED,
            {"height": SPEC.grid[0], "width": SPEC.grid[1], "channels": SPEC.channels},
            SEED,
            without=("study", "variants", "attributions", "searched_per_class", "extractors"),
        ),
        code=code_of("plant"),
    message:
        "Plant codes in grids: {wildcards.variant}"
    shell:
        "python -m cortex plant --folder {params.folder} --variant {wildcards.variant} {params.options} &> {log}"


rule train_planted:
    input:
        train=rules.plant.output.train,
        validation=rules.plant.output.validation,
        codebook=rules.plant.output.codebook,
    output:
        model=f"{PLANTED_DATA}/{{extractor}}/model.safetensors",
        history=f"{PLANTED_DATA}/{{extractor}}/history.parquet",
    log:
        log_of("train_planted", "{variant}/{extractor}"),
    conda:
        ENVIRONMENT
    resources:
        mem_mb=growing(
            4000,
            2,
            more=lambda wildcards: training_mb(settings_in(PLANTED.extractors, wildcards.extractor), PLANTED.classes),
        ),
        runtime=growing(60, 3),
        gpu=GPUS,
    params:
        options=lambda wildcards: options(
            {"classes": PLANTED.classes, "training": wildcards.extractor.partition("/")[2]},
            settings_in(PLANTED.extractors, wildcards.extractor),
            SEED,
            DEVICE,
            without=["gpus", "seeds"],
        ),
        code=code_of("train-extractor", PLANTED_NETWORK),
    message:
        "Train extractor {wildcards.extractor} on planted grids: {wildcards.variant}"
    shell:
        "python -m cortex train-extractor --output {output.model} --history {output.history} --train {input.train}"
        " --validation {input.validation} --codebook {input.codebook} {params.options} &> {log}"


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
        log_of("explain_planted", "{variant}/{extractor}"),
    conda:
        ENVIRONMENT
    resources:
        mem_mb=growing(4000, 1, of=max),
        runtime=growing(60, 0.1),
        gpu=GPUS,
    params:
        data=lambda wildcards, input: os.path.dirname(input.data[0]),
        folder=lambda wildcards, output: os.path.dirname(output.tokens),
        options=options(
            {"positions": PLANTED.positions, "searched_per_class": PLANTED.searched_per_class},
            PLANTED.attributions,
            {
                "importance": CONFIG.importance.scores().model_dump_json(),
                "search": CONFIG.codebook_search.model_dump_json(),
            },
            SEED,
            DEVICE,
        ),
        code=code_of(
            "explain-planted", PLANTED_NETWORK, *map(ATTRIBUTIONS.reference, [TIS, *PLANTED.attributions.methods])
        ),
    message:
        "Explain planted grids with {wildcards.extractor}: {wildcards.variant}"
    shell:
        "python -m cortex explain-planted --folder {params.folder} --data {params.data}"
        " --extractor {input.extractor} {params.options} &> {log}"


rule planted_metrics:
    input:
        expand(rules.plant.output, variant=PLANTED.variants),
        expand(rules.explain_planted.output, variant=PLANTED.variants, extractor=PLANTED_EXTRACTORS),
    output:
        metrics=f"{RUN}/metrics/planted.parquet",
        recommended=f"{RUN}/studies/planted/recommended.parquet",
    log:
        log_of("planted_metrics"),
    group:
        "metrics"
    conda:
        ENVIRONMENT
    resources:
        mem_mb=growing(1000, 8),
        runtime=growing(20),
    params:
        options=options(
            {
                "data": expand(PLANTED_DATA, variant=[v for v in PLANTED.variants for _ in PLANTED_EXTRACTORS]),
                "explained": expand(
                    f"{PLANTED_DATA}/{{extractor}}", variant=PLANTED.variants, extractor=PLANTED_EXTRACTORS
                ),
                "variants": [variant for variant in PLANTED.variants for _ in PLANTED_EXTRACTORS],
                "extractors": PLANTED_EXTRACTORS * len(PLANTED.variants),
                "codes": PLANTED.codes,
            },
            SEED,
        ),
        code=code_of("measure-planted"),
    message:
        "Compare the explanations of planted grids with the ground truth"
    shell:
        "python -m cortex measure-planted --output {output.metrics} --recommended {output.recommended} {params.options} &> {log}"


rule planted_kinds:
    input:
        expand(rules.plant.output, variant=PLANTED.variants),
    output:
        kinds=f"{RUN}/studies/planted/kinds.parquet",
    log:
        log_of("planted_kinds"),
    group:
        "metrics"
    conda:
        ENVIRONMENT
    resources:
        mem_mb=growing(2000, 8),
        runtime=growing(20),
    params:
        options=options(
            {
                "data": expand(PLANTED_DATA, variant=PLANTED.variants),
                "variants": PLANTED.variants,
                "codes": PLANTED.codes,
            },
            CONFIG.dictionary.kinds,
            SEED,
        ),
        code=code_of("score-kinds"),
    message:
        "Compare the kinds of planted codes with the ground truth"
    shell:
        "python -m cortex score-kinds --output {output.kinds} {params.options} &> {log}"


rule planted:
    input:
        rules.planted_metrics.output,
        rules.planted_kinds.output,


STUDY_FILES += [rules.planted_metrics.input, rules.planted_kinds.output]
