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
include: "rules/report.smk"


rule all:
    default_target: True
    input:
        rules.report.output,
        rules.metrics.input,
        rules.manifest.output,
