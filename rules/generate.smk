# Draw class-balanced synthetic images with their token grids, and pack the grids for training.


rule train_generator:
    output:
        weights=f"{RUN}/generator/digits.safetensors",
        history=f"{RUN}/generator/history.parquet",
    log:
        f"{RUN}/logs/train_generator.log",
    benchmark:
        f"{RUN}/benchmarks/train_generator.tsv"
    conda:
        "../envs/cortex.yaml"
    threads: 2
    resources:
        mem_mb=growing(4000),
        runtime=growing(240),
    params:
        options=options(CONFIG.generator_training),
        code=code_fingerprint("cortex.generators.taming.train"),
    message:
        "Training the embedded digits generator anew (set generator.weights to use the result)"
    shell:
        "python -m cortex train-generator --output {output.weights} --history {output.history} {params.options}"
        " &> {log}"


# Of a folder of taming-transformers; without one there is nothing to convert.
if CONFIG.generator.folder:

    rule convert_generator:
        input:
            files=files_of(Path(CONFIG.generator.folder)),
            class_names=[CONFIG.generator.class_names] if CONFIG.generator.class_names else [],
        output:
            weights=WEIGHTS,
        log:
            f"{RUN}/logs/convert_generator.log",
        benchmark:
            f"{RUN}/benchmarks/convert_generator.tsv"
        conda:
            "../envs/cortex.yaml"
        threads: 1
        resources:
            mem_mb=growing(4000),
            runtime=growing(60),
        params:
            options=options({"folder": CONFIG.generator.folder, "class_names": CONFIG.generator.class_names}),
            code=code_fingerprint("cortex.generators.taming.convert"),
        message:
            "Converting the generator's checkpoint"
        shell:
            "python -m cortex convert-generator --output {output.weights} {params.options} &> {log}"


rule generate_shard:
    input:
        GENERATOR_WEIGHTS,
    output:
        tar=f"{RUN}/data/{{split}}/{{shard}}.tar",
    log:
        f"{RUN}/logs/generate_shard/{{split}}/{{shard}}.log",
    benchmark:
        f"{RUN}/benchmarks/generate_shard/{{split}}/{{shard}}.tsv"
    wildcard_constraints:
        split="|".join(split for split in SPLITS if split not in IMPORTS) or "none",
    conda:
        "../envs/cortex.yaml"
    threads: 1
    resources:
        mem_mb=growing(4000, 2.5),
        runtime=growing(120, 0.05),
        gpu=GPUS,
    params:
        samples=lambda wildcards: options(stretch_of(wildcards.split, int(wildcards.shard))),
        options=options(
            {
                "seed": CONFIG.seed,
                "classes": CLASSES,
                "batch_classes": CONFIG.generator.batch.classes,
                "batch_indices": CONFIG.generator.batch.indices,
                "temperature": CONFIG.generator.temperature,
                "top_k": CONFIG.generator.top_k,
                "top_p": CONFIG.generator.top_p,
                "generator": WEIGHTS,
                "precision": CONFIG.generator.precision,
                "step": CONFIG.generator.step,
            }
        ),
        images=lambda wildcards: image_options(wildcards.split),
        embedded=EMBEDDED_WEIGHTS,
        code=code_fingerprint("cortex.data.draw"),
    message:
        "Drawing shard {wildcards.shard} of the {wildcards.split} split"
    shell:
        "python -m cortex generate-shard --output {output.tar} --split {wildcards.split} {params.samples}"
        " {params.options} {params.images} &> {log}"


# A split that others made: all its shards at once, in the source's order.
for split, imported in IMPORTS.items():

    rule:
        name:
            f"import_{split}"
        input:
            GENERATOR_WEIGHTS,
            [imported.labels] if imported.labels else [],
            source=imported.source,
        output:
            shard_paths(split),
        log:
            f"{RUN}/logs/import/{split}.log",
        benchmark:
            f"{RUN}/benchmarks/import/{split}.tsv"
        conda:
            "../envs/cortex.yaml"
        threads: 1
        resources:
            mem_mb=growing(4000, 2.5, of=max),
            runtime=growing(240, 0.5),
            gpu=GPUS,
        params:
            folder=f"{RUN}/data/{split}",
            split=split,
            options=options(
                {
                    "labels": imported.labels,
                    "embeddings": imported.embeddings,
                    "classes": CLASSES,
                    "per_class": getattr(CONFIG.data.per_class, split),
                    "shard_size": CONFIG.data.shard_size,
                    "generator": WEIGHTS,
                }
            ),
            images=image_options(split),
            device=CONFIG.device,
            embeddings=lambda wildcards, imported=imported: embeddings_state(imported),
            code=code_fingerprint("cortex.data.importing"),
        message:
            "Importing the {params.split} split from {input.source}"
        shell:
            "python -m cortex import --output {params.folder} --split {params.split} --source {input.source:q}"
            " {params.options} {params.images} --device {params.device} &> {log}"


rule manifest:
    input:
        shards=[f"{RUN}/data/{split}/{shard}.tar" for split in SPLITS for shard in shards_of(split)],
    output:
        manifest=f"{RUN}/data/manifest.parquet",
    log:
        f"{RUN}/logs/manifest.log",
    benchmark:
        f"{RUN}/benchmarks/manifest.tsv"
    conda:
        "../envs/cortex.yaml"
    threads: 1
    resources:
        mem_mb=growing(1000),
        runtime=growing(30, 0.001),
    params:
        code=code_fingerprint("cortex.data.manifest"),
    message:
        "Listing all shards with their checksums"
    shell:
        "python -m cortex manifest --output {output.manifest} --shards {input.shards} &> {log}"


rule pack_grids:
    input:
        shards=lambda wildcards: shard_paths(wildcards.split),
    output:
        grids=f"{RUN}/data/{{split}}/grids.npy",
    log:
        f"{RUN}/logs/pack_grids/{{split}}.log",
    benchmark:
        f"{RUN}/benchmarks/pack_grids/{{split}}.tsv"
    conda:
        "../envs/cortex.yaml"
    threads: 1
    resources:
        mem_mb=growing(1000, 0.05),
        runtime=growing(30, 0.001),
    params:
        codes=options({"codes": GENERATOR.codes}),
        code=code_fingerprint("cortex.data.packed"),
    message:
        "Packing the grids of the {wildcards.split} split"
    shell:
        "python -m cortex pack-grids --output {output.grids} --shards {input.shards} {params.codes} &> {log}"


# Of the test split, which the judges look at: each image is decoded once for all of them and all masks.
rule decode_images:
    input:
        shard=f"{RUN}/data/test/{{shard}}.tar",
    output:
        images=f"{RUN}/data/test/images/{{shard}}.npy",
    log:
        f"{RUN}/logs/decode_images/{{shard}}.log",
    benchmark:
        f"{RUN}/benchmarks/decode_images/{{shard}}.tsv"
    conda:
        "../envs/cortex.yaml"
    threads: 1
    resources:
        mem_mb=growing(1000),
        runtime=growing(30, 0.01),
    params:
        code=code_fingerprint("cortex.data.decoded"),
    message:
        "Decoding the images of test shard {wildcards.shard}"
    shell:
        "python -m cortex decode-images --output {output.images} --shard {input.shard} &> {log}"


rule export_codebook:
    input:
        GENERATOR_WEIGHTS,
    output:
        codebook=f"{RUN}/generator/codebook.safetensors",
    log:
        f"{RUN}/logs/export_codebook.log",
    benchmark:
        f"{RUN}/benchmarks/export_codebook.tsv"
    conda:
        "../envs/cortex.yaml"
    threads: 1
    resources:
        mem_mb=growing(1000, 1.5),
        runtime=growing(20),
    params:
        options=options({"generator": WEIGHTS}),
        embedded=EMBEDDED_WEIGHTS,
        code=code_fingerprint("cortex.extractors.codebook"),
    message:
        "Writing the generator's codebook"
    shell:
        "python -m cortex export-codebook --output {output.codebook} {params.options} &> {log}"
