# Draw or import class-balanced images with their token grids; read the grids into tables.


rule train_generator:
    output:
        weights=f"{RUN}/generator/trained.safetensors",
        history=f"{RUN}/generator/history.parquet",
    log:
        log_of("train_generator"),
    conda:
        ENVIRONMENT
    threads: 2
    resources:
        mem_mb=growing(4000),
        runtime=growing(240),
    params:
        options=options(CONFIG.generator_training),
        code=code_of("train-generator"),
    message:
        "Train a generator of labelled pictures by generator_training (set generator.weights to use it)"
    shell:
        "python -m cortex train-generator --output {output.weights} --history {output.history} {params.options}"
        " &> {log}"


if CONFIG.generator.converts():

    rule convert_generator:
        input:
            files=of_package.origin_files(CONFIG.generator),
        output:
            weights=WEIGHTS,
        log:
            log_of("convert_generator"),
        conda:
            ENVIRONMENT
        resources:
            mem_mb=growing(4000),
            runtime=growing(60),
        params:
            options=options(
                {
                    name: getattr(CONFIG.generator, name)
                    for name in ("family", "folder", "weights", "class_names", "grid")
                }
            ),
            code=code_of("convert-generator", *FAMILIES),
        message:
            "Convert the generator's checkpoint"
        shell:
            "python -m cortex convert-generator --output {output.weights} {params.options} &> {log}"


if OWN_CLASSES:

    rule write_tokenizer:
        input:
            GENERATOR_WEIGHTS,
        output:
            weights=TOKENIZER,
        log:
            log_of("write_tokenizer"),
        conda:
            ENVIRONMENT
        resources:
            mem_mb=growing(4000),
            runtime=growing(60),
        params:
            options=options({"classes": SPEC.class_names}, TOKENIZED),
            bundled=BUNDLED_WEIGHTS,
            code=code_of("write-tokenizer", *FAMILIES),
        message:
            "Give the generator's tokenizer the classes of the pictures"
        shell:
            "python -m cortex write-tokenizer --output {output.weights} {params.options} &> {log}"


rule generate_shard:
    input:
        GENERATOR_FILES,
    output:
        tar=TAR,
    log:
        log_of("generate_shard", "{split}/{shard}"),
    wildcard_constraints:
        split="|".join(split for split in SPLITS if split not in IMPORTS) or "none",
    conda:
        ENVIRONMENT
    resources:
        mem_mb=growing(4000, 2.5),
        runtime=growing(120, 0.05),
        gpu=GPUS,
    params:
        samples=stretch_of,
        options=options(
            SEED,
            {"classes": CLASSES},
            {"batch_classes": CONFIG.generator.batch.classes, "batch_indices": CONFIG.generator.batch.indices},
            CONFIG.generator.sampling(),
            GENERATOR,
            {"precision": CONFIG.generator.precision, "step": CONFIG.generator.step},
        ),
        images=lambda wildcards: options(kept_images(wildcards.split)),
        bundled=BUNDLED_WEIGHTS,
        code=code_of("generate-shard", *FAMILIES),
    message:
        "Draw shard {wildcards.shard} of the {wildcards.split} split"
    shell:
        "python -m cortex generate-shard --output {output.tar} --split {wildcards.split} {params.samples}"
        " {params.options} {params.images} &> {log}"


# An imported split: all its shards at once, in the source's order.
for split, imported in IMPORTS.items():
    if split in TOKENIZED_SPLITS:
        continue

    rule:
        name:
            f"import_{split}"
        input:
            GENERATOR_FILES,
            [path for path in (imported.labels, imported.picture_file()) if path],
            source=imported.source,
        output:
            of_shards(TAR, split),
        log:
            log_of(f"import_{split}"),
        conda:
            ENVIRONMENT
        resources:
            mem_mb=growing(4000, 2.5, of=max),
            runtime=growing(240, 0.5),
            gpu=GPUS,
        params:
            options=options(
                {"output": f"{RUN}/data/{split}", "split": split, "labels": imported.labels},
                {"embeddings": imported.embeddings, "pictures": imported.pictures, "classes": CLASSES},
                {"per_class": getattr(CONFIG.data.per_class, split), "shard_size": CONFIG.data.shard_size},
                kept_images(split),
                GENERATOR,
                DEVICE,
            ),
            embeddings=lambda wildcards, imported=imported: of_package.embeddings_state(imported),
            bundled=BUNDLED_WEIGHTS,
            code=code_of("import", *FAMILIES),
        message:
            "Import a split from {input.source}"
        shell:
            "python -m cortex import --source {input.source:q} {params.options} &> {log}"


# A split of pictures that the generator's encoder reads.
for split, imported in TOKENIZED_SPLITS.items():

    rule:
        name:
            f"tokenize_{split}"
        input:
            GENERATOR_FILES,
            [imported.class_names] if imported.class_names else [],
        output:
            of_shards(TAR, split),
        log:
            log_of(f"tokenize_{split}"),
        conda:
            ENVIRONMENT
        resources:
            mem_mb=growing(4000),
            runtime=growing(240),
            gpu=GPUS,
        params:
            options=options(
                {"output": f"{RUN}/data/{split}", "images": imported.images, "class_names": imported.class_names},
                {"classes": SPEC.class_names, "labels": CLASSES},
                of_package.part_of(CONFIG, split),
                {"format": kept_images(split)["images"], "quality": kept_images(split)["quality"]},
                {"shard_size": CONFIG.data.shard_size},
                GENERATOR,
                DEVICE,
            ),
            pictures=lambda wildcards, imported=imported: of_package.pictures_state(imported.images),
            bundled=BUNDLED_WEIGHTS,
            code=code_of("tokenize", *FAMILIES),
        message:
            f"Encode the pictures of the {split} split"
        shell:
            "python -m cortex tokenize {params.options} &> {log}"


rule manifest:
    input:
        shards=[tar for split in SPLITS for tar in of_shards(TAR, split)],
    output:
        manifest=f"{RUN}/data/manifest.parquet",
    log:
        log_of("manifest"),
    conda:
        ENVIRONMENT
    resources:
        mem_mb=growing(1000),
        runtime=growing(30, 0.001),
    params:
        shards=lambda wildcards, input: in_words(input.shards),
        code=code_of("manifest"),
    message:
        "List all shards with their checksums"
    shell:
        "python -m cortex manifest --output {output.manifest} --shards {params.shards} &> {log}"


rule read_tokens:
    input:
        shard=TAR,
    output:
        tokens=TOKENS,
    log:
        log_of("read_tokens", "{split}/{shard}"),
    group:
        "read"
    conda:
        ENVIRONMENT
    resources:
        mem_mb=growing(1000, 0.1),
        runtime=growing(30, 0.001),
    params:
        options=options(CODES, SCALES),
        code=code_of("tokens"),
    message:
        "Read the tokens of shard {wildcards.shard} of the {wildcards.split} split"
    shell:
        "python -m cortex tokens --output {output.tokens} --shard {input.shard} {params.options} &> {log}"


rule pack_grids:
    input:
        tokens=lambda wildcards: of_shards(TOKENS, wildcards.split),
    output:
        grids=GRIDS,
    log:
        log_of("pack_grids", "{split}"),
    conda:
        ENVIRONMENT
    resources:
        mem_mb=growing(1000, 0.05),
        runtime=growing(30, 0.001),
    params:
        tokens=lambda wildcards, input: in_words(input.tokens),
        options=options(CODES),
        code=code_of("pack-grids"),
    message:
        "Pack the grids of the {wildcards.split} split"
    shell:
        "python -m cortex pack-grids --output {output.grids} --tokens {params.tokens} {params.options} &> {log}"


# Of the test split: each image is decoded once for all judges and all masks.
rule decode_images:
    input:
        shard=f"{RUN}/data/test/{{shard}}.tar",
    output:
        images=IMAGES,
    log:
        log_of("decode_images", "{shard}"),
    group:
        "read"
    conda:
        ENVIRONMENT
    resources:
        mem_mb=growing(1000),
        runtime=growing(30, 0.01),
    params:
        code=code_of("decode-images"),
    message:
        "Decode the images of test shard {wildcards.shard}"
    shell:
        "python -m cortex decode-images --output {output.images} --shard {input.shard} &> {log}"


rule export_codebook:
    input:
        GENERATOR_FILES,
    output:
        codebook=CODEBOOK,
    log:
        log_of("export_codebook"),
    conda:
        ENVIRONMENT
    resources:
        mem_mb=growing(1000, 1.5),
        runtime=growing(20),
    params:
        options=options(GENERATOR),
        bundled=BUNDLED_WEIGHTS,
        code=code_of("export-codebook", *FAMILIES),
    message:
        "Write the generator's codebook"
    shell:
        "python -m cortex export-codebook --output {output.codebook} {params.options} &> {log}"
