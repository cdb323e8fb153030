# Sanity: extractors that are trained again on shuffled labels, for the generic rule of studies.


rule shuffle_labels:
    input:
        grids=f"{RUN}/data/train/grids.npy",
    output:
        grids=f"{RUN}/studies/sanity/shuffled/grids.npy",
    log:
        log_of("shuffle_labels"),
    conda:
        ENVIRONMENT
    resources:
        mem_mb=growing(1500, 4),
        runtime=growing(30, 0.1),
    params:
        seed=options(SEED),
        code=code_of("shuffle-labels"),
    message:
        "Shuffle the labels of the train split"
    shell:
        "python -m cortex shuffle-labels --output {output.grids} --grids {input.grids} {params.seed} &> {log}"


# By the extractor's own recipe, but the epoch is chosen by the shuffled labels themselves: by other labels it would be
# one of the first, which has learned nothing yet.
use rule train_extractor as train_shuffled with:
    input:
        train=rules.shuffle_labels.output.grids,
        validation=rules.shuffle_labels.output.grids,
        codebook=CODEBOOK,
    output:
        model=f"{RUN}/studies/sanity/shuffled/{{extractor}}/model.safetensors",
        history=f"{RUN}/studies/sanity/shuffled/{{extractor}}/history.parquet",
    log:
        log_of("train_shuffled", "{extractor}"),
    message:
        "Train extractor {wildcards.extractor} on shuffled labels"


STUDY_FILES += [
    file
    for extractor in EXTRACTORS
    if STUDIES["sanity"].extra(CONFIG.studies["sanity"], extractor)
    for file in expand(rules.train_shuffled.output, extractor=extractor) + rules.shuffle_labels.output
]
