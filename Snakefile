"""CORTEX: what do the discrete tokens of a vector-quantized image generator mean?

snakemake --cores all            the paper's method, to results/<run>/report.html
snakemake --cores all full       the studies of the config, too, to the same page
snakemake --list-target-rules    the parts that can be asked for alone
"""

from snakemake.utils import min_version

min_version("9.0")


# A --configfile replaces config.yaml; Snakemake would merge the two.
if not workflow.config_settings.configfiles:

    configfile: "config.yaml"


include: "rules/common.smk"
include: "rules/generate.smk"
include: "rules/train.smk"
include: "rules/explain.smk"
include: "rules/evaluate.smk"
include: "rules/dictionary.smk"
include: "rules/studies.smk"
include: "rules/figures.smk"
include: "rules/atlas.smk"
include: "rules/report.smk"


rule metrics:
    input:
        METRICS,
        shown_studies,


# Inputs of the report and of the metrics are asked for, too: Snakemake does not miss a deleted file whose results exist.
rule all:
    default_target: True
    input:
        METRICS,
        PAGE,
        rules.manifest.output,
        rules.manifest.input,
        expand(GRIDS, split=["train", "validation"]),
        [of_shards(TOKENS, split) for split in SPLITS],
        of_shards(IMAGES, "test") if JUDGES else [],
        expand(MODEL, extractor=EXTRACTORS),
        expand(rules.train_extractor.output, extractor=TRAINED_EXTRACTORS),
        expand(rules.train_judge.output, judge=TRAINED_JUDGES),
        rules.judges.input,
        [
            of_shards(expand(SCORES, attribution=METHODS, extractor=EXPLAINERS, allow_missing=True), split)
            for split in EXPLAINED
        ],
        expand(CONCEPT_TOKENS, attribution=METHODS, extractor=EXPLAINERS),
        expand(rules.codebook_search.output, extractor=EXTRACTORS),
        [rows for rows, _, _ in TABLES.values()],
        DICTIONARY,
        [rules.describe_codes.input, rules.dictionary.input] if DICTIONARY else [],
        rules.choose_pairs.output if DICTIONARY and INTERVENTIONS else [],
        ATLAS,
        GENERATOR_FILES,
        CODEBOOK,


rule full:
    input:
        rules.all.input,
        STUDY_TABLES,
        STUDY_FILES,


state(
    {
        "stages": {rule.name: stage for rule in workflow.rules if (stage := of_package.stage_of(rule.snakefile))},
        "page": f"{RUN}/report.html",
        "findings": f"{RUN}/findings.txt",
    }
)
