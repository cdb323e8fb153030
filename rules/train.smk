# Train the information extractors on tokens, and the judges on real images.


rule train_extractor:
    input:
        train=f"{RUN}/data/train/grids.npy",
        validation=f"{RUN}/data/validation/grids.npy",
        codebook=rules.export_codebook.output.codebook,
    output:
        model=f"{RUN}/extractors/{{extractor}}/model.safetensors",
        history=f"{RUN}/extractors/{{extractor}}/history.parquet",
    log:
        f"{RUN}/logs/train_extractor/{{extractor}}.log",
    benchmark:
        f"{RUN}/benchmarks/train_extractor/{{extractor}}.tsv"
    conda:
        "../envs/cortex.yaml"
    threads: gpus_of
    resources:
        mem_mb=growing(4000, 6, times=gpus_of),
        runtime=growing(240, 3),
        gpu=GPUS and gpus_of,
    params:
        launch=lambda wildcards: (
            "python"
            if gpus_of(wildcards) == 1
            else f"python -m torch.distributed.run --standalone --nproc-per-node {gpus_of(wildcards)}"
        ),
        classes=options({"classes": len(GENERATOR.class_names)}),
        options=lambda wildcards: options(CONFIG.extractors.chosen()[wildcards.extractor], without=["gpus"]),
        seed=options({"seed": CONFIG.seed}),
        device=CONFIG.device,
        code=lambda wildcards: code_fingerprint("cortex.extractors.train", network_module(wildcards.extractor)),
    message:
        "Training extractor {wildcards.extractor}"
    shell:
        "{params.launch} -m cortex train-extractor --output {output.model} --history {output.history}"
        " --network {wildcards.extractor} --train {input.train} --validation {input.validation}"
        " --codebook {input.codebook} {params.classes} {params.options}"
        " {params.seed} --device {params.device} &> {log}"


rule train_judge:
    output:
        model=JUDGE_MODEL,
        history=f"{RUN}/judges/{{judge}}/history.parquet",
    log:
        f"{RUN}/logs/train_judge/{{judge}}.log",
    benchmark:
        f"{RUN}/benchmarks/train_judge/{{judge}}.tsv"
    wildcard_constraints:
        judge=one_of(TRAINED_JUDGES),
    conda:
        "../envs/cortex.yaml"
    threads: 1
    resources:
        mem_mb=growing(4000),
        runtime=growing(240),
        gpu=GPUS,
    params:
        options=lambda wildcards: options(CONFIG.judges[wildcards.judge]),
        device=CONFIG.device,
        code=code_fingerprint("cortex.judges.train"),
    message:
        "Training judge {wildcards.judge} on real digits"
    shell:
        "python -m cortex train-judge --output {output.model} --history {output.history} {params.options}"
        " --device {params.device} &> {log}"


rule pretrained_judge:
    input:
        lambda wildcards: CONFIG.judges[wildcards.judge].weights or [],
    output:
        model=JUDGE_MODEL,
    log:
        f"{RUN}/logs/pretrained_judge/{{judge}}.log",
    benchmark:
        f"{RUN}/benchmarks/pretrained_judge/{{judge}}.tsv"
    wildcard_constraints:
        judge=one_of(PRETRAINED_JUDGES),
    conda:
        "../envs/cortex.yaml"
    threads: 1
    resources:
        mem_mb=growing(4000),
        runtime=growing(30),
    params:
        options=lambda wildcards: options(CONFIG.judges[wildcards.judge]),
        code=code_fingerprint("cortex.judges.pretrained"),
    message:
        "Weights of the pretrained judge {wildcards.judge}"
    shell:
        "python -m cortex pretrained-judge --output {output.model} {params.options} &> {log}"


# Targets that can be asked for by name: snakemake --cores all cnn, … resnet, … transformer, … judges
for extractor in EXTRACTORS:

    rule:
        name:
            extractor
        input:
            f"{RUN}/extractors/{extractor}/model.safetensors",


rule judges:
    input:
        expand(JUDGE_MODEL, judge=JUDGES),
