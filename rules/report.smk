# Report: figures, each with its caption, then one self-contained page. The same figures and captions make
# Snakemake's own report: snakemake --report report.html

from cortex.report import page_fingerprint, settings_in_words


report: "../cortex/report/captions/workflow.rst"


# The concept-level tokens to look at: the middle one of the top_n that are evaluated.
SHOWN_TOP_N = CONFIG.evaluation.concept_level.top_n[len(CONFIG.evaluation.concept_level.top_n) // 2]

# What a token looks like is drawn from train images, or from others where those are not kept.
SPLIT_WITH_IMAGES = next(split for split in SPLITS if getattr(CONFIG.data.images, split) != "none")


rule draw_samples:
    input:
        shards=shard_paths("test"),
    output:
        figure=report(
            f"{RUN}/figures/samples.png",
            caption="../cortex/report/captions/samples.rst",
            category="1 Images, extractors, judges",
            labels={"figure": "Generated images"},
        ),
    log:
        f"{RUN}/logs/draw_samples.log",
    benchmark:
        f"{RUN}/benchmarks/draw_samples.tsv"
    group:
        "pictures"
    conda:
        "../envs/cortex.yaml"
    threads: 1
    resources:
        mem_mb=growing(1000),
        runtime=growing(20, 0.005),
    params:
        code=code_fingerprint("cortex.report.pictures"),
    message:
        "Drawing samples of every class"
    shell:
        "python -m cortex draw-samples --output {output.figure} --shards {input.shards} &> {log}"


rule draw_training:
    input:
        extractors=expand(rules.train_extractor.output.history, extractor=EXTRACTORS),
        judges=expand(f"{RUN}/judges/{{judge}}/history.parquet", judge=TRAINED_JUDGES),
    output:
        figure=report(
            f"{RUN}/figures/training.svg",
            caption="../cortex/report/captions/training.rst",
            category="1 Images, extractors, judges",
            labels={"figure": "Training curves"},
        ),
    log:
        f"{RUN}/logs/draw_training.log",
    benchmark:
        f"{RUN}/benchmarks/draw_training.tsv"
    group:
        "pictures"
    conda:
        "../envs/cortex.yaml"
    threads: 1
    resources:
        mem_mb=growing(1000),
        runtime=growing(10),
    params:
        extractors=EXTRACTORS,
        judges=TRAINED_JUDGES,
        code=code_fingerprint("cortex.report.curves"),
    message:
        "Drawing training curves"
    shell:
        "python -m cortex draw-training --output {output.figure} --extractors {params.extractors}"
        " --extractor-histories {input.extractors} --judges {params.judges} --judge-histories {input.judges}"
        " &> {log}"


rule draw_importance:
    input:
        shard=shard_paths("test")[0],
        importance=[f"{RUN}/importance/{extractor}/test/{shards_of('test')[0]}.parquet" for extractor in EXTRACTORS],
    output:
        figure=report(
            f"{RUN}/figures/importance.png",
            caption="../cortex/report/captions/importance.rst",
            category="2 Which tokens",
            labels={"figure": "Token importance"},
        ),
    log:
        f"{RUN}/logs/draw_importance.log",
    benchmark:
        f"{RUN}/benchmarks/draw_importance.tsv"
    group:
        "pictures"
    conda:
        "../envs/cortex.yaml"
    threads: 1
    resources:
        mem_mb=growing(1000, 4, of=max),
        runtime=growing(10, 0.005),
    params:
        extractors=EXTRACTORS,
        code=code_fingerprint("cortex.report.pictures"),
    message:
        "Drawing token importance over images"
    shell:
        "python -m cortex draw-importance --output {output.figure} --shard {input.shard}"
        " --extractors {params.extractors} --importance {input.importance} &> {log}"


rule draw_tokens:
    input:
        shard=shard_paths(SPLIT_WITH_IMAGES)[0],
        tokens=expand(rules.concept_tokens.output.tokens, extractor=EXTRACTORS),
        frequency=rules.frequent_tokens.output.tokens,
    output:
        figure=report(
            f"{RUN}/figures/tokens.png",
            caption="../cortex/report/captions/tokens.rst",
            category="2 Which tokens",
            labels={"figure": "Concept-level tokens"},
        ),
    log:
        f"{RUN}/logs/draw_tokens.log",
    benchmark:
        f"{RUN}/benchmarks/draw_tokens.tsv"
    group:
        "pictures"
    conda:
        "../envs/cortex.yaml"
    threads: 1
    resources:
        mem_mb=growing(2000, 4, of=max),
        runtime=growing(20, 0.005),
    params:
        extractors=EXTRACTORS,
        top_n=options({"top_n": SHOWN_TOP_N}),
        code=code_fingerprint("cortex.report.pictures"),
    message:
        "Drawing concept-level tokens"
    shell:
        "python -m cortex draw-tokens --output {output.figure} --shards {input.shard} --frequency {input.frequency}"
        " --extractors {params.extractors} --tokens {input.tokens} {params.top_n} &> {log}"


rule draw_masking:
    input:
        metrics=f"{RUN}/metrics/image_level.parquet",
    output:
        by_n=report(
            f"{RUN}/figures/masking_by_n.svg",
            caption="../cortex/report/captions/masking_by_n.rst",
            category="3 Image level",
            labels={"figure": "Masking, by number of tokens"},
        ),
        by_area=report(
            f"{RUN}/figures/masking_by_area.svg",
            caption="../cortex/report/captions/masking_by_area.rst",
            category="3 Image level",
            labels={"figure": "Masking, by area"},
        ),
        by_brightness=report(
            f"{RUN}/figures/masking_by_brightness.svg",
            caption="../cortex/report/captions/masking_by_brightness.rst",
            category="3 Image level",
            labels={"figure": "Masking, by brightness"},
        ),
    log:
        f"{RUN}/logs/draw_masking.log",
    benchmark:
        f"{RUN}/benchmarks/draw_masking.tsv"
    group:
        "pictures"
    conda:
        "../envs/cortex.yaml"
    threads: 1
    resources:
        mem_mb=growing(1000, 8),
        runtime=growing(10),
    params:
        code=code_fingerprint("cortex.report.curves"),
    message:
        "Drawing masking curves"
    shell:
        "python -m cortex draw-masking --by-n {output.by_n} --by-area {output.by_area}"
        " --by-brightness {output.by_brightness} --metrics {input.metrics} &> {log}"


rule draw_concept_level:
    input:
        metrics=f"{RUN}/metrics/concept_level.parquet",
        comparisons=rules.comparisons.output.comparisons,
    output:
        figure=report(
            f"{RUN}/figures/concept_level.svg",
            caption="../cortex/report/captions/concept_level.rst",
            category="4 Concept level",
            labels={"figure": "Concept-level against frequent tokens"},
        ),
    log:
        f"{RUN}/logs/draw_concept_level.log",
    benchmark:
        f"{RUN}/benchmarks/draw_concept_level.tsv"
    group:
        "pictures"
    conda:
        "../envs/cortex.yaml"
    threads: 1
    resources:
        mem_mb=growing(1000, 8),
        runtime=growing(10),
    params:
        code=code_fingerprint("cortex.report.curves"),
    message:
        "Drawing concept-level masking"
    shell:
        "python -m cortex draw-concept-level --output {output.figure} --metrics {input.metrics}"
        " --comparisons {input.comparisons} &> {log}"


rule draw_codebook_level:
    input:
        metrics=f"{RUN}/metrics/codebook_level.parquet",
    output:
        figure=report(
            f"{RUN}/figures/codebook_level.svg",
            caption="../cortex/report/captions/codebook_level.rst",
            category="5 Codebook level",
            labels={"figure": "Probability before and after"},
        ),
    log:
        f"{RUN}/logs/draw_codebook_level.log",
    benchmark:
        f"{RUN}/benchmarks/draw_codebook_level.tsv"
    group:
        "pictures"
    conda:
        "../envs/cortex.yaml"
    threads: 1
    resources:
        mem_mb=growing(1000, 8),
        runtime=growing(10),
    params:
        code=code_fingerprint("cortex.report.curves"),
    message:
        "Drawing what the codebook search reached"
    shell:
        "python -m cortex draw-codebook-level --output {output.figure} --metrics {input.metrics} &> {log}"


rule draw_search:
    input:
        GENERATOR_WEIGHTS,
        shards=shard_paths("test"),
        search=expand(rules.codebook_search.output.tokens, extractor=EXTRACTORS),
        evaluations=expand(rules.codebook_level.output.rows, extractor=EXTRACTORS, allow_missing=True),
    output:
        figure=report(
            f"{RUN}/figures/codebook_search.{{judge}}.png",
            caption="../cortex/report/captions/codebook_search.rst",
            category="5 Codebook level",
            labels={"figure": "Images before and after, judge {judge}"},
        ),
    log:
        f"{RUN}/logs/draw_search/{{judge}}.log",
    benchmark:
        f"{RUN}/benchmarks/draw_search/{{judge}}.tsv"
    group:
        "pictures_decoded"
    conda:
        "../envs/cortex.yaml"
    threads: 1
    resources:
        mem_mb=growing(4000, 2.5, of=max),
        runtime=growing(20, 0.01),
        gpu=GPUS,
    params:
        extractors=EXTRACTORS,
        generator=options({"generator": WEIGHTS}),
        device=CONFIG.device,
        embedded=EMBEDDED_WEIGHTS,
        code=code_fingerprint("cortex.report.decoded"),
    message:
        "Drawing images before and after the codebook search, judge {wildcards.judge}"
    shell:
        "python -m cortex draw-search --output {output.figure} --shards {input.shards}"
        " --extractors {params.extractors} --search {input.search} --evaluations {input.evaluations}"
        " {params.generator} --device {params.device} &> {log}"


rule report:
    input:
        GENERATOR_WEIGHTS,
        figures=[
            *rules.draw_samples.output,
            *rules.draw_training.output,
            *rules.draw_importance.output,
            *rules.draw_tokens.output,
            *rules.draw_masking.output,
            *rules.draw_concept_level.output,
            *rules.draw_codebook_level.output,
            *expand(rules.draw_search.output.figure, judge=JUDGES),
        ],
        extractor_accuracy=f"{RUN}/metrics/extractor_accuracy.parquet",
        judge_accuracy=f"{RUN}/metrics/judge_accuracy.parquet",
        image_level=f"{RUN}/metrics/image_level.parquet",
        concept_level=f"{RUN}/metrics/concept_level.parquet",
        codebook_level=f"{RUN}/metrics/codebook_level.parquet",
        comparisons=rules.comparisons.output.comparisons,
        judge_histories=expand(f"{RUN}/judges/{{judge}}/history.parquet", judge=TRAINED_JUDGES),
        tokens=expand(rules.concept_tokens.output.tokens, extractor=EXTRACTORS),
        frequency=rules.frequent_tokens.output.tokens,
        manifest=rules.manifest.output.manifest,
        topics=TOPICS,
    output:
        page=f"{RUN}/report.html",
    log:
        f"{RUN}/logs/report.log",
    benchmark:
        f"{RUN}/benchmarks/report.tsv"
    conda:
        "../envs/cortex.yaml"
    threads: 1
    resources:
        mem_mb=growing(2000),
        runtime=growing(10),
    params:
        judges=JUDGES,
        trained_judges=TRAINED_JUDGES,
        extractors=EXTRACTORS,
        top_n=options({"top_n": SHOWN_TOP_N}),
        settings=settings_in_words(CONFIG.model_dump(mode="json")),
        generator=options({"generator": WEIGHTS}),
        topics=f"--topics {' '.join(TOPICS)}" if TOPICS else "",
        embedded=EMBEDDED_WEIGHTS,
        code=code_fingerprint("cortex.report.html"),
        page=page_fingerprint(),
    message:
        "Writing the report"
    shell:
        "python -m cortex report --output {output.page} --figures {input.figures}"
        " --extractor-accuracy {input.extractor_accuracy} --judge-accuracy {input.judge_accuracy}"
        " --image-level {input.image_level} --concept-level {input.concept_level}"
        " --codebook-level {input.codebook_level} --comparisons {input.comparisons} --judges {params.judges}"
        " --judge-histories {input.judge_histories} --trained-judges {params.trained_judges}"
        " --extractors {params.extractors} --tokens {input.tokens}"
        " --frequency {input.frequency} {params.top_n} --manifest {input.manifest}"
        " --settings {params.settings:q} {params.topics} {params.generator} &> {log}"
