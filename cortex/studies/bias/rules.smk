# Bias: the lean of neutral images to one of two groups. Groups are classes of the run, or thirds of every class by a
# property of the pictures.

from cortex.explain import ATTRIBUTIONS, TIS
from cortex.studies.bias.settings import PROPERTIES

BIAS = CONFIG.studies["bias"]
BIAS_DATA = f"{RUN}/studies/bias/{{groups}}"
BIAS_GROUPS = of_package.one_of(BIAS.names())
BIAS_NETWORK = of_package.network_of(BIAS.extractor)
BIAS_SETS = {name: getattr(BIAS, name) for name in ("property", "pairs", "mixtures", "neutral")}
GROUPED = {
    "groups": f"{BIAS_DATA}/groups.parquet",
    "train_groups": f"{BIAS_DATA}/train.npy",
    "validation_groups": f"{BIAS_DATA}/validation.npy",
}
if BIAS.property is None:

    rule group_classes:
        input:
            **{split: GRIDS.format(split=split) for split in SPLITS},
        output:
            **GROUPED,
        log:
            log_of("group_classes", "{groups}"),
        wildcard_constraints:
            groups=BIAS_GROUPS,
        conda:
            ENVIRONMENT
        resources:
            mem_mb=growing(1000, 1),
            runtime=growing(30, 0.01),
        params:
            options=lambda wildcards: options({"labels": wildcards.groups.split("-"), "neutral": BIAS.neutral}),
            code=code_of("group-classes"),
        message:
            "Group images by class: {wildcards.groups}"
        shell:
            "python -m cortex group-classes --output {output.groups} --train-groups {output.train_groups}"
            " --validation-groups {output.validation_groups} --train {input.train} --validation {input.validation}"
            " --test {input.test} {params.options} &> {log}"

else:

    DECODER_GPUS = GPUS if "none" in dict(CONFIG.data.images).values() else 0
    PROPERTY_VALUES = f"{RUN}/studies/bias/{BIAS.names()[0]}/{{split}}/{{shard}}.parquet"

    rule measure_property:
        input:
            GENERATOR_FILES,
            shard=TAR,
        output:
            values=PROPERTY_VALUES,
        log:
            log_of("measure_property", "{split}/{shard}"),
        group:
            "read"
        conda:
            ENVIRONMENT
        resources:
            mem_mb=growing(2000),
            runtime=growing(60, 0.1),
            gpu=DECODER_GPUS,
        params:
            options=options({"property": BIAS.property}, GENERATOR, DEVICE),
            bundled=BUNDLED_WEIGHTS,
            code=code_of("measure-property", PROPERTIES.reference(BIAS.property), *FAMILIES),
        message:
            f"Measure the {BIAS.names()[0]} of the images: shard {{wildcards.shard}} of the {{wildcards.split}} split"
        shell:
            "python -m cortex measure-property --output {output.values} --shard {input.shard} {params.options} &> {log}"

    rule group_by_property:
        input:
            **{split: GRIDS.format(split=split) for split in SPLITS},
            **{f"{split}_values": of_shards(PROPERTY_VALUES, split) for split in SPLITS},
        output:
            **GROUPED,
        log:
            log_of("group_by_property", "{groups}"),
        wildcard_constraints:
            groups=BIAS_GROUPS,
        conda:
            ENVIRONMENT
        resources:
            mem_mb=growing(1000, 1),
            runtime=growing(30, 0.01),
        params:
            code=code_of("group-by-property"),
        message:
            "Group the images of every class by {wildcards.groups}"
        shell:
            "python -m cortex group-by-property --output {output.groups} --train-groups {output.train_groups}"
            " --validation-groups {output.validation_groups} --train {input.train} --validation {input.validation}"
            " --test {input.test} --train-values {input.train_values} --validation-values {input.validation_values}"
            " --test-values {input.test_values} &> {log}"

    rule draw_bias_property:
        input:
            GENERATOR_FILES,
            values=of_shards(PROPERTY_VALUES, "test"),
            shards=of_shards(TAR, "test"),
        output:
            figure=report(
                f"{RUN}/figures/bias_property.png",
                caption="bias_property.rst",
                category="6 Studies",
                labels={"figure": f"Images by {BIAS.names()[0]}"},
            ),
        log:
            log_of("draw_bias_property"),
        group:
            "pictures"
        conda:
            ENVIRONMENT
        resources:
            mem_mb=growing(2000),
            runtime=growing(20, 0.1),
            gpu=DECODER_GPUS,
        params:
            options=options({"name": BIAS.names()[0]}, GENERATOR, DEVICE),
            bundled=BUNDLED_WEIGHTS,
            code=code_of("draw-property", *FAMILIES),
        message:
            f"Draw images by {BIAS.names()[0]}"
        shell:
            "python -m cortex draw-property --output {output.figure} --values {input.values} --shards {input.shards}"
            " {params.options} &> {log}"

    STUDY_FILES += rules.draw_bias_property.output


rule train_groups:
    input:
        train=GROUPED["train_groups"],
        validation=GROUPED["validation_groups"],
        codebook=CODEBOOK,
    output:
        model=f"{BIAS_DATA}/model.safetensors",
        history=f"{BIAS_DATA}/history.parquet",
    log:
        log_of("train_groups", "{groups}"),
    wildcard_constraints:
        groups=BIAS_GROUPS,
    conda:
        ENVIRONMENT
    resources:
        mem_mb=growing(4000, 2, more=lambda wildcards: training_mb(BIAS.extractor, classes=2)),
        runtime=growing(60, 0.1),
        gpu=GPUS,
    params:
        options=options({"classes": 2}, BIAS.extractor, SEED, DEVICE, without=["gpus", "seeds"]),
        code=code_of("train-extractor", BIAS_NETWORK),
    message:
        "Train an extractor to tell the groups apart: {wildcards.groups}"
    shell:
        "python -m cortex train-extractor --output {output.model} --history {output.history} --train {input.train}"
        " --validation {input.validation} --codebook {input.codebook} {params.options} &> {log}"


rule bias_tokens:
    input:
        train=GRIDS.format(split="train"),
        groups=GROUPED["groups"],
        extractor=rules.train_groups.output.model,
        codebook=CODEBOOK,
    output:
        tokens=f"{BIAS_DATA}/tokens.parquet",
    log:
        log_of("bias_tokens", "{groups}"),
    wildcard_constraints:
        groups=BIAS_GROUPS,
    conda:
        ENVIRONMENT
    resources:
        mem_mb=growing(4000, 1),
        runtime=growing(60, 0.1),
        gpu=GPUS,
    params:
        options=options({"top_n": BIAS.top_n, "tokens": BIAS.tokens}, CONFIG.importance.scores(), SEED, DEVICE),
        code=code_of("bias-tokens", BIAS_NETWORK, ATTRIBUTIONS.reference(TIS)),
    message:
        "Find the tokens of the groups: {wildcards.groups}"
    shell:
        "python -m cortex bias-tokens --output {output.tokens} --train {input.train} --groups {input.groups}"
        " --extractor {input.extractor} --codebook {input.codebook} {params.options} &> {log}"


rule bias:
    input:
        GENERATOR_FILES,
        **{split: GRIDS.format(split=split) for split in SPLITS},
        tokens=expand(rules.bias_tokens.output.tokens, groups=BIAS.names()),
        groups=expand(GROUPED["groups"], groups=BIAS.names()),
        histories=expand(rules.train_groups.output.history, groups=BIAS.names()),
    output:
        metrics=f"{RUN}/metrics/bias.parquet",
        counts=f"{RUN}/studies/bias/counts.parquet",
    log:
        log_of("bias"),
    conda:
        ENVIRONMENT
    resources:
        mem_mb=growing(2000, 2),
        runtime=growing(20, 0.1),
    params:
        options=options(BIAS_SETS, GENERATOR, SEED),
        bundled=BUNDLED_WEIGHTS,
        code=code_of("bias", *FAMILIES),
    message:
        "Measure the lean of neutral images to one of two groups"
    shell:
        "python -m cortex bias --output {output.metrics} --counts {output.counts} --tokens {input.tokens}"
        " --groups {input.groups} --histories {input.histories} --train {input.train}"
        " --validation {input.validation} --test {input.test} {params.options} &> {log}"


STUDY_FILES += [rules.bias.output, rules.bias.input]
