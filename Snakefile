"""CORTEX: what do the discrete tokens of a vector-quantized image generator mean?

snakemake --cores all            everything, to results/<run>/report.html
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


if CONFIG.planted is not None:

    include: "rules/planted.smk"


include: "rules/controls.smk"


if CONFIG.bias is not None:

    include: "rules/bias.smk"


if EXTRACTORS:

    include: "rules/report.smk"


# What the report and the metrics are made of is asked for too: Snakemake would not miss a file that was deleted, as
# long as what was made of it is there.
rule all:
    default_target: True
    input:
        [rules.report.output, rules.report.input, rules.metrics.input] if EXTRACTORS else TOPICS,
        rules.manifest.output,
        rules.manifest.input,
        expand(rules.pack_grids.output, split=["train", "validation"]),
        expand(rules.decode_images.output, shard=shards_of("test") if JUDGES else []),
        expand(rules.train_extractor.output, extractor=EXTRACTORS),
        expand(rules.train_judge.output, judge=TRAINED_JUDGES),
        rules.judges.input,
        expand(rules.importance.output, extractor=EXTRACTORS, split="train", shard=shards_of("train")),
        expand(rules.importance.output, extractor=EXTRACTORS, split="test", shard=shards_of("test")),
        expand(rules.codebook_search.output, extractor=EXTRACTORS),
        expand(rules.extractor_accuracy.output, extractor=EXTRACTORS),
        expand(rules.judge_accuracy.output, judge=JUDGES),
        expand(rules.image_level.output, extractor=EXTRACTORS, judge=JUDGES, shard=shards_of("test")),
        expand(rules.concept_level.output, extractor=EXTRACTORS, judge=JUDGES, shard=shards_of("test")),
        expand(rules.codebook_level.output, extractor=EXTRACTORS, judge=JUDGES),
        rules.planted_metrics.input if CONFIG.planted is not None else [],
        CONTROLS,
        [rules.bias.output, rules.bias.input] if CONFIG.bias is not None else [],
        GENERATOR_WEIGHTS,
        rules.export_codebook.output,
