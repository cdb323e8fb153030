# Report: figures, each with its caption, then one self-contained page. The same figures and captions make Snakemake's
# own report: snakemake --report report.html

from cortex.report import page_fingerprint, settings_in_words


report: "../cortex/report/captions/workflow.rst"


EXPLAINED = ["train", "test"]
# Patches of a token come from train images, or from others where those are not kept.
KEPT = [split for split in SPLITS if getattr(CONFIG.data.images, split) != "none"]
PATCHES = of_shards(TAR, KEPT[0])[0] if PICTURES else None
SHOWN_LISTS = {"top_n": SHOWN_TOP_N, "tokens": CONFIG.concept_tokens.tokens}


FIGURES = dict(figures())


for name, figure in FIGURES.items():

    rule:
        name:
            f"draw_{name.replace('.', '_').replace('-', '_')}"
        input:
            figure.more,
            **figure.inputs,
        output:
            figure=report(
                f"{RUN}/figures/{name}.{figure.kind}",
                caption=f"../cortex/report/captions/{figure.caption or name}.rst",
                category=figure.category,
                labels={"figure": figure.label},
            ),
        log:
            log_of(f"draw_{name}"),
        group:
            "pictures"
        conda:
            ENVIRONMENT
        resources:
            mem_mb=growing(4000, 4, of=max),
            runtime=growing(20, 0.01),
            gpu=GPUS if figure.command == "search" else 0,
        params:
            command=f"draw-{figure.command}",
            options=figure.options,
            files=lambda wildcards, input, figure=figure: options(
                {file: input.get(file) for file in figure.inputs if input.get(file)}
            ),
            bundled=BUNDLED_WEIGHTS,
            code=code_of(f"draw-{figure.command}", *FAMILIES),
        message:
            f"Draw the figure {name}"
        shell:
            "python -m cortex {params.command} --output {output.figure} {params.files} {params.options} &> {log}"


rule report:
    input:
        GENERATOR_FILES,
        METRICS,
        studies=shown_studies,
        study_tables=study_tables,
        figures=[f"{RUN}/figures/{name}.{figure.kind}" for name, figure in FIGURES.items()],
        study_figures=lambda wildcards: [f"{RUN}/figures/{name}.png" for _, name in study_figures(wildcards)],
        histories=expand(rules.train_judge.output.history, judge=TRAINED_JUDGES),
        tokens=every(expand(CONCEPT_TOKENS, attribution=METHODS, allow_missing=True), EXPLAINERS),
        frequent=rules.frequent_tokens.output.tokens if EXTRACTORS else [],
        codes=rules.describe_codes.output.codes if EXTRACTORS else [],
        readings=expand(rules.judge_accuracy.output.rows, judge=JUDGES),
        manifest=rules.manifest.output.manifest,
        shard=PATCHES or [],
        scores=of_shards(every(first_method(SCORES), EXPLAINERS), "test"),
        images=of_shards(IMAGES, "test") if PICTURES else [],
        atlas=rules.atlas.output.page if EXTRACTORS else [],  # for the link alone
        changes=[path for path, *_ in evaluations("image_level")] if "image_level" in LEVELS else [],
    output:
        page=f"{RUN}/report.html",
        headlines=f"{RUN}/findings.txt",
    log:
        log_of("report"),
    conda:
        ENVIRONMENT
    resources:
        mem_mb=growing(2000),
        runtime=growing(10),
    params:
        options=options(
            {"run": RUN, "extractors": EXTRACTORS or None, "judges": JUDGES or None, "levels": list(LEVELS) or None},
            {"shard": PATCHES, "source": SOURCE},
            {**SHOWN_LISTS, "methods": METHODS} if EXTRACTORS else {},
            GENERATOR,
        ),
        # Functions of the wildcards alone: Snakemake keeps no record of parameters that depend on the input.
        studies=lambda wildcards: options(
            {"studies": of_package.study_words(CONFIG, with_page(shown_studies(wildcards))) or None},
            {"study_figures": ["=".join(figure) for figure in study_figures(wildcards)] or None},
        ),
        settings=settings_in_words(CONFIG.model_dump(mode="json")),
        bundled=BUNDLED_WEIGHTS,
        code=lambda wildcards: CODE.of("report", *FAMILIES, *with_page(shown_studies(wildcards)).values()),
        page=lambda wildcards: page_fingerprint(with_page(shown_studies(wildcards)).values()),
    message:
        "Write the report"
    shell:
        "python -m cortex report --output {output.page} --headlines {output.headlines} {params.options} {params.studies}"
        " --settings {params.settings:q} &> {log}"


# A run without extractors, such as one of bias alone, has no page.
PAGE = [rules.report.output, rules.report.input] if EXTRACTORS else []
