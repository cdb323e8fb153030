"""The command line: one command a stage, each the typed, documented function that does the work."""

import importlib
import logging
import signal
import sys
from collections.abc import Sequence

from cortex.core.errors import InputError, StoppedError

# Command → (module:function, what it does). Modules are imported when their command runs: help stays fast.
COMMANDS: dict[str, dict[str, tuple[str, str]]] = {
    "generate": {
        "train-generator": ("cortex.generators.taming.train:train_generator", "train the embedded digits generator"),
        "convert-generator": (
            "cortex.generators.taming.convert:convert_generator",
            "convert a taming-transformers folder",
        ),
        "generate-shard": ("cortex.data.draw:generate_shard", "draw one shard of synthetic images"),
        "import": ("cortex.data.importing:import_split", "make a split's shards of grids from elsewhere"),
        "manifest": ("cortex.data.manifest:write_manifest", "list shards with their checksums"),
        "decode-images": ("cortex.data.decoded:decode_images", "decode a shard's images once for all judges"),
        "pack-grids": ("cortex.data.packed:pack_grids", "pack a split's grids into one array"),
        "export-codebook": ("cortex.extractors.codebook:export_codebook", "write the generator's codebook"),
        "plant": ("cortex.studies.planted.plant:plant", "draw grids of which it is known what marks their class"),
    },
    "train": {
        "train-extractor": ("cortex.extractors.train:train_extractor", "train an information extractor"),
        "import-extractor": (
            "cortex.extractors.authors_checkpoint:import_extractor",
            "convert an extractor of the authors",
        ),
        "train-judge": ("cortex.judges.train:train_judge", "train a judge on real digits"),
        "pretrained-judge": ("cortex.judges.pretrained:pretrained_judge", "a judge that others trained on ImageNet"),
    },
    "explain": {
        "importance": ("cortex.explain.importance:explain_shard", "token importance of a shard's images"),
        "concept-tokens": ("cortex.explain.concept_tokens:count_important", "concept-level tokens of every label"),
        "frequent-tokens": ("cortex.explain.concept_tokens:count_frequent", "most frequent tokens of every label"),
        "attributions": ("cortex.explain.attributions:attribute_images", "other attributions beside the importance"),
        "codebook-search": ("cortex.explain.codebook_search:search_codebook", "tokens that turn a region into a class"),
        "explain-planted": (
            "cortex.studies.planted.explain:explain_planted",
            "explain planted grids as a run explains its own",
        ),
        "edit": ("cortex.app.edit:edit_image", "change a region of a picture to another class"),
        "bias-tokens": ("cortex.studies.bias.tokens:find_group_tokens", "concept-level tokens of two groups of images"),
    },
    "evaluate": {
        "extractor-accuracy": (
            "cortex.evaluate.accuracy:rank_by_extractor",
            "rank every image's label by an extractor",
        ),
        "judge-accuracy": ("cortex.evaluate.accuracy:rank_by_judge", "rank every image's label by a judge"),
        "image-level": ("cortex.evaluate.image_level:judge_images", "judge images without their important tokens"),
        "concept-level": ("cortex.evaluate.concept_level:judge_concepts", "judge images without concept-level tokens"),
        "codebook-level": ("cortex.evaluate.codebook_level:judge_search", "judge what the codebook search found"),
        "judge-attributions": (
            "cortex.studies.attributions.judged:judge_attributions",
            "judge images without what attributions point at",
        ),
        "rank-attributions": (
            "cortex.studies.attributions.judged:rank_attributions",
            "rank attributions by the area under their masking curves",
        ),
        "accuracy": ("cortex.evaluate.metrics:accuracy_at", "top-k accuracy of extractors or judges"),
        "metrics": ("cortex.evaluate.metrics:mean_by", "average evaluation rows over images"),
        "comparisons": ("cortex.evaluate.comparisons:compare_all", "compare every method with its baselines"),
        "measure-planted": (
            "cortex.studies.planted.measure:measure_planted",
            "hold what was found against what was planted",
        ),
    },
    "control": {
        "search-with-prior": (
            "cortex.studies.transfer.prior:search_with_prior",
            "codebook searches that stay likely under the generator's prior",
        ),
        "control-search": (
            "cortex.studies.transfer.search:control_search",
            "hold codebook searches against their controls",
        ),
        "shuffle-labels": ("cortex.studies.sanity.shuffled:shuffle_labels", "packed grids with shuffled labels"),
        "sanity": ("cortex.studies.sanity.randomise:randomise", "token importance by extractors that know nothing"),
        "stability": (
            "cortex.studies.stability.noise:measure_stability",
            "token importance of other noise, and of more",
        ),
        "combinations": (
            "cortex.studies.combinations.removal:measure_combinations",
            "what removing tokens costs, one by one and together",
        ),
        "control-metrics": ("cortex.studies.summary:summarise", "average a control's rows over images"),
        "bias": ("cortex.studies.bias.effect:measure_bias", "how far neutral images lean to one of two groups"),
    },
    "report": {
        "draw-samples": ("cortex.report.pictures:draw_samples", "draw images of every class"),
        "draw-training": ("cortex.report.curves:draw_training", "draw training curves"),
        "draw-importance": ("cortex.report.pictures:draw_importance", "draw importance over images"),
        "draw-tokens": ("cortex.report.pictures:draw_tokens", "draw what a class's tokens look like"),
        "draw-masking": ("cortex.report.curves:draw_masking", "draw the image-level metrics"),
        "draw-concept-level": ("cortex.report.curves:draw_concept_level", "draw the concept-level metrics"),
        "draw-codebook-level": ("cortex.report.curves:draw_codebook_level", "draw the codebook-level metrics"),
        "draw-search": ("cortex.report.decoded:draw_search", "draw images before and after the codebook search"),
        "plan": ("cortex.app.plan:print_plan", "what a config's run costs, before it is paid"),
        "verify": ("cortex.app.verify:verify", "check that a run's files are whole"),
        "report": ("cortex.report.html:write_report", "write the self-contained HTML report"),
    },
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; its exit status: 0, 1 after an error that was told in one line, 143 after SIGTERM."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    targets = {name: target for phase in COMMANDS.values() for name, (target, _) in phase.items()}
    if not arguments or arguments[0] not in targets:
        asked_for_help = not arguments or arguments[0] in ("-h", "--help")
        if not asked_for_help:
            print(f"cortex: error: no command {arguments[0]!r}\n", file=sys.stderr)
        print(_overview(), file=sys.stdout if asked_for_help else sys.stderr)
        return 0 if asked_for_help else 2
    command, *rest = arguments
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S", stream=sys.stderr)
    logging.getLogger("taming").setLevel(logging.WARNING)  # it counts the parameters of every GPT that is built
    module, _, function = targets[command].partition(":")
    import tyro

    try:
        tyro.cli(
            getattr(importlib.import_module(module), function),
            prog=f"cortex {command}",
            args=rest,
            config=(tyro.conf.FlagConversionOff,),
        )
    except (InputError, OSError) as error:
        print(f"cortex {command}: error: {error}", file=sys.stderr)
        return 1
    except StoppedError as stop:
        print(f"cortex {command}: stopped: {stop}", file=sys.stderr)
        return 128 + signal.SIGTERM
    return 0


def _overview() -> str:
    lines = ["usage: cortex COMMAND [options]      (cortex COMMAND --help explains one)"]
    for phase, commands in COMMANDS.items():
        lines += ["", phase]
        lines += [f"  {name:<20}{what}" for name, (_, what) in commands.items()]
    return "\n".join(lines)
