# Train the information extractors on tokens, and the judges on real images.


rule train_extractor:
    input:
        train=f"{RUN}/data/train/grids.npy",
        validation=f"{RUN}/data/validation/grids.npy",
        codebook=CODEBOOK,
    output:
        model=MODEL,
        history=f"{RUN}/extractors/{{extractor}}/history.parquet",
    log:
        log_of("train_extractor", "{extractor}"),
    wildcard_constraints:
        extractor=of_package.one_of(TRAINED_EXTRACTORS),
    conda:
        ENVIRONMENT
    threads: gpus_of
    resources:
        mem_mb=growing(4000, 2, times=gpus_of, more=lambda wildcards: training_mb(settings_of(wildcards.extractor))),
        runtime=growing(240, 3),
        gpu=GPUS and gpus_of,
    params:
        launch=lambda wildcards: of_package.launcher(gpus_of(wildcards)),
        classes=options({"classes": len(SPEC.class_names)}),
        options=lambda wildcards: options(settings_of(wildcards.extractor), without=["gpus", "seeds"]),
        seed=lambda wildcards: options(SEED, {"training": wildcards.extractor.partition("/")[2]}, DEVICE),
        code=code_of("train-extractor", network_of),
    message:
        "Train extractor {wildcards.extractor}"
    shell:
        "{params.launch} -m cortex train-extractor --output {output.model} --history {output.history}"
        " --train {input.train} --validation {input.validation} --codebook {input.codebook} {params.classes}"
        " {params.options} {params.seed} &> {log}"


rule pretrained_extractor:
    input:
        weights=lambda wildcards: settings_of(wildcards.extractor).weights[int(wildcards.extractor.partition("/")[2])],
        codebook=CODEBOOK,
    output:
        model=MODEL,
    log:
        log_of("pretrained_extractor", "{extractor}"),
    wildcard_constraints:
        extractor=of_package.one_of(set(EXTRACTORS) - set(TRAINED_EXTRACTORS)),
    conda:
        ENVIRONMENT
    resources:
        mem_mb=growing(2000, 3),
        runtime=growing(30),
    params:
        code=code_of("pretrained-extractor", network_of),
    message:
        "Write the weights of the pretrained extractor {wildcards.extractor}"
    shell:
        "python -m cortex pretrained-extractor --output {output.model} --weights {input.weights}"
        " --codebook {input.codebook} &> {log}"


rule train_judge:
    output:
        model=JUDGE,
        history=f"{RUN}/judges/{{judge}}/history.parquet",
    log:
        log_of("train_judge", "{judge}"),
    wildcard_constraints:
        judge=of_package.one_of(TRAINED_JUDGES),
    conda:
        ENVIRONMENT
    resources:
        mem_mb=growing(4000, more=judge_training_mb),
        runtime=growing(240),
        gpu=GPUS,
    params:
        options=lambda wildcards: options(CONFIG.judges[wildcards.judge], JUDGED, DEVICE),
        pictures=lambda wildcards: of_package.judge_files(CONFIG.judges[wildcards.judge]),
        code=code_of("train-judge", judge_of),
    message:
        "Train judge {wildcards.judge} on labelled pictures"
    shell:
        "python -m cortex train-judge --output {output.model} --history {output.history} {params.options} &> {log}"


rule pretrained_judge:
    input:
        lambda wildcards: CONFIG.judges[wildcards.judge].weights or [],
    output:
        model=JUDGE,
    log:
        log_of("pretrained_judge", "{judge}"),
    wildcard_constraints:
        judge=of_package.one_of(set(JUDGES) - set(TRAINED_JUDGES)),
    conda:
        ENVIRONMENT
    resources:
        mem_mb=growing(4000),
        runtime=growing(30),
    params:
        options=lambda wildcards: options(CONFIG.judges[wildcards.judge], JUDGED, without=["class_names"]),
        names=lambda wildcards: options({"class_names": getattr(CONFIG.judges[wildcards.judge], "class_names", None)}),
        bundled=lambda wildcards: of_package.judge_files(CONFIG.judges[wildcards.judge]),
        code=code_of("pretrained-judge", judge_of),
    message:
        "Write the weights of the pretrained judge {wildcards.judge}"
    shell:
        "python -m cortex pretrained-judge --output {output.model} {params.options} {params.names} &> {log}"


# Targets by name: snakemake --cores all cnn, … resnet, … transformer, … judges
for extractor in CONFIG.extractors:

    rule:
        name:
            extractor
        input:
            [expand(MODEL, extractor=each) for each in EXTRACTORS if each.startswith(f"{extractor}/")],


rule judges:
    input:
        expand(JUDGE, judge=JUDGES),
