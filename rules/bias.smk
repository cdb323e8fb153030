# Bias: do neutral images lean to one of two groups? Groups are classes of the run.

PAIRS = CONFIG.bias.pairs


rule train_pair:
    input:
        train=f"{RUN}/data/train/grids.npy",
        validation=f"{RUN}/data/validation/grids.npy",
        codebook=rules.export_codebook.output.codebook,
    output:
        model=f"{RUN}/bias/{{first}}-{{second}}/model.safetensors",
        history=f"{RUN}/bias/{{first}}-{{second}}/history.parquet",
    log:
        f"{RUN}/logs/train_pair/{{first}}-{{second}}.log",
    benchmark:
        f"{RUN}/benchmarks/train_pair/{{first}}-{{second}}.tsv"
    wildcard_constraints:
        first=r"\d+",
        second=r"\d+",
    conda:
        "../envs/cortex.yaml"
    threads: 1
    resources:
        mem_mb=growing(4000, 2),
        runtime=growing(60, 0.1),
        gpu=GPUS,
    params:
        options=options(CONFIG.bias.extractor, without=["gpus"]),
        seed=options({"seed": CONFIG.seed}),
        device=CONFIG.device,
        code=code_fingerprint("cortex.extractors.train", network_module("cnn")),
    message:
        "Training an extractor to tell class {wildcards.first} from class {wildcards.second}"
    shell:
        "python -m cortex train-extractor --output {output.model} --history {output.history} --network cnn"
        " --train {input.train} --validation {input.validation} --codebook {input.codebook} --classes 2"
        " --labels {wildcards.first} {wildcards.second} {params.options} {params.seed}"
        " --device {params.device} &> {log}"


rule bias_tokens:
    input:
        train=f"{RUN}/data/train/grids.npy",
        extractor=rules.train_pair.output.model,
        codebook=rules.export_codebook.output.codebook,
    output:
        tokens=f"{RUN}/bias/{{first}}-{{second}}/tokens.parquet",
    log:
        f"{RUN}/logs/bias_tokens/{{first}}-{{second}}.log",
    benchmark:
        f"{RUN}/benchmarks/bias_tokens/{{first}}-{{second}}.tsv"
    wildcard_constraints:
        first=r"\d+",
        second=r"\d+",
    conda:
        "../envs/cortex.yaml"
    threads: 1
    resources:
        mem_mb=growing(4000, 1),
        runtime=growing(60, 0.1),
        gpu=GPUS,
    params:
        options=options({"top_n": CONFIG.bias.top_n, "tokens": CONFIG.bias.tokens, **dict(CONFIG.importance)}),
        seed=options({"seed": CONFIG.seed}),
        device=CONFIG.device,
        code=code_fingerprint("cortex.studies.bias.tokens", network_module("cnn")),
    message:
        "Tokens of class {wildcards.first} and of class {wildcards.second}"
    shell:
        "python -m cortex bias-tokens --output {output.tokens} --train {input.train} --extractor {input.extractor}"
        " --codebook {input.codebook} --labels {wildcards.first} {wildcards.second} {params.options}"
        " {params.seed} --device {params.device} &> {log}"


rule bias:
    input:
        GENERATOR_WEIGHTS,
        tokens=[f"{RUN}/bias/{first}-{second}/tokens.parquet" for first, second in PAIRS.items()],
        train=f"{RUN}/data/train/grids.npy",
        validation=f"{RUN}/data/validation/grids.npy",
        test=f"{RUN}/data/test/grids.npy",
    output:
        metrics=f"{RUN}/metrics/bias.parquet",
        counts=f"{RUN}/evaluation/bias.parquet",
    log:
        f"{RUN}/logs/metrics/bias.log",
    benchmark:
        f"{RUN}/benchmarks/metrics/bias.tsv"
    conda:
        "../envs/cortex.yaml"
    threads: 1
    resources:
        mem_mb=growing(2000, 1),
        runtime=growing(20, 0.1),
    params:
        pairs=options({"first": list(PAIRS), "second": list(PAIRS.values()), "mixtures": CONFIG.bias.mixtures}),
        options=options({"neutral": CONFIG.bias.neutral, "generator": WEIGHTS}),
        seed=options({"seed": CONFIG.seed}),
        embedded=EMBEDDED_WEIGHTS,
        code=code_fingerprint("cortex.studies.bias.effect"),
    message:
        "Do neutral images lean to one of two groups?"
    shell:
        "python -m cortex bias --output {output.metrics} --counts {output.counts} --tokens {input.tokens}"
        " --train {input.train} --validation {input.validation} --test {input.test} {params.pairs}"
        " {params.options} {params.seed} &> {log}"
