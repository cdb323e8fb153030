# Bias: the lean of neutral images to one of two groups. Groups are classes of the run.

from cortex.explain import ATTRIBUTIONS, TIS

BIAS = CONFIG.studies["bias"]
PAIR = f"{RUN}/studies/bias/{{first}}-{{second}}"
PAIR_NETWORK = of_package.network_of(BIAS.extractor)


rule train_pair:
    input:
        train=f"{RUN}/data/train/grids.npy",
        validation=f"{RUN}/data/validation/grids.npy",
        codebook=CODEBOOK,
    output:
        model=f"{PAIR}/model.safetensors",
        history=f"{PAIR}/history.parquet",
    log:
        log_of("train_pair", "{first}-{second}"),
    wildcard_constraints:
        first=r"\d+",
        second=r"\d+",
    conda:
        ENVIRONMENT
    resources:
        mem_mb=growing(4000, 2),
        runtime=growing(60, 0.1),
        gpu=GPUS,
    params:
        options=options({"classes": 2}, BIAS.extractor, SEED, DEVICE, without=["gpus", "seeds"]),
        code=code_of("train-extractor", PAIR_NETWORK),
    message:
        "Train an extractor to tell class {wildcards.first} from class {wildcards.second}"
    shell:
        "python -m cortex train-extractor --output {output.model} --history {output.history} --train {input.train}"
        " --validation {input.validation} --codebook {input.codebook} --labels {wildcards.first} {wildcards.second}"
        " {params.options} &> {log}"


rule bias_tokens:
    input:
        train=f"{RUN}/data/train/grids.npy",
        extractor=rules.train_pair.output.model,
        codebook=CODEBOOK,
    output:
        tokens=f"{PAIR}/tokens.parquet",
    log:
        log_of("bias_tokens", "{first}-{second}"),
    wildcard_constraints:
        first=r"\d+",
        second=r"\d+",
    conda:
        ENVIRONMENT
    resources:
        mem_mb=growing(4000, 1),
        runtime=growing(60, 0.1),
        gpu=GPUS,
    params:
        options=options({"top_n": BIAS.top_n, "tokens": BIAS.tokens}, CONFIG.importance.scores(), SEED, DEVICE),
        code=code_of("bias-tokens", PAIR_NETWORK, ATTRIBUTIONS.reference(TIS)),
    message:
        "Find the tokens of class {wildcards.first} and of class {wildcards.second}"
    shell:
        "python -m cortex bias-tokens --output {output.tokens} --train {input.train} --extractor {input.extractor}"
        " --codebook {input.codebook} --labels {wildcards.first} {wildcards.second} {params.options} &> {log}"


rule bias:
    input:
        GENERATOR_WEIGHTS,
        tokens=[f"{RUN}/studies/bias/{first}-{second}/tokens.parquet" for first, second in BIAS.pairs.items()],
        train=f"{RUN}/data/train/grids.npy",
        validation=f"{RUN}/data/validation/grids.npy",
        test=f"{RUN}/data/test/grids.npy",
    output:
        metrics=f"{RUN}/metrics/bias.parquet",
        counts=f"{RUN}/studies/bias/counts.parquet",
    log:
        log_of("bias"),
    conda:
        ENVIRONMENT
    resources:
        mem_mb=growing(2000, 1),
        runtime=growing(20, 0.1),
    params:
        options=options({"pairs": BIAS.pairs, "mixtures": BIAS.mixtures, "neutral": BIAS.neutral}, GENERATOR, SEED),
        bundled=BUNDLED_WEIGHTS,
        code=code_of("bias", FAMILY),
    message:
        "Measure the lean of neutral images to one of two groups"
    shell:
        "python -m cortex bias --output {output.metrics} --counts {output.counts} --tokens {input.tokens}"
        " --train {input.train} --validation {input.validation} --test {input.test} {params.options} &> {log}"


STUDY_FILES += [rules.bias.output, rules.bias.input]
