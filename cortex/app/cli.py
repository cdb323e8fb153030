"""The command line: one command a stage, each the typed, documented function that does the work."""

import importlib
import inspect
import logging
import os
import signal
import sys
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from cortex.core.errors import InputError, StoppedError, on_one_line
from cortex.core.registry import allowed_references

# Command → (module:function, its description). Modules are imported when their command runs: help stays fast.
COMMANDS: dict[str, dict[str, tuple[str, str]]] = {
    "run": {
        "run": ("cortex.app.run_workflow:run_workflow", "run the pipeline in this folder"),
    },
    "generate": {
        "train-generator": ("cortex.recipes.generator:train_generator", "train a generator of labelled pictures"),
        "generator-quality": ("cortex.recipes.quality:measure_quality", "let judges read a generator's pictures"),
        "convert-generator": (
            "cortex.generators.convert:convert_generator",
            "convert published checkpoints",
        ),
        "generate-shard": ("cortex.data.draw:generate_shard", "draw one shard of synthetic images"),
        "import": ("cortex.data.importing:import_split", "import grids and labels as a split's shards"),
        "write-tokenizer": (
            "cortex.generators.tokenizer:write_tokenizer",
            "give a generator's tokenizer other classes",
        ),
        "tokenize": ("cortex.data.tokenizing:tokenize_pictures", "encode labelled pictures as a split's shards"),
        "manifest": ("cortex.data.manifest:write_manifest", "list shards with their checksums"),
        "tokens": ("cortex.data.tokens:read_shard_tokens", "read a shard's keys, labels and tokens into a table"),
        "decode-images": ("cortex.data.decoded:decode_images", "decode a shard's images once for all judges"),
        "pack-grids": ("cortex.data.packed:pack_grids", "pack a split's grids into one array"),
        "export-codebook": ("cortex.extractors.codebook:export_codebook", "write the generator's codebook"),
    },
    "train": {
        "train-extractor": ("cortex.extractors.train:train_extractor", "train an information extractor"),
        "pretrained-extractor": (
            "cortex.extractors.pretrained:pretrained_extractor",
            "copy a pretrained extractor into a run",
        ),
        "import-extractor": ("cortex.extractors.authors_checkpoint:import_extractor", "convert an authors' checkpoint"),
        "train-judge": ("cortex.judges.train:train_judge", "train a judge on labelled pictures"),
        "pretrained-judge": ("cortex.judges.pretrained:pretrained_judge", "write a judge with published weights"),
    },
    "explain": {
        "importance": ("cortex.explain.scores:explain_shard", "compute the token importance of a shard's images"),
        "average-importance": ("cortex.explain.average:average_importance", "average importance over trainings"),
        "import-scores": ("cortex.explain.authors_scores:import_scores", "read the authors' tables of importance"),
        "concept-tokens": ("cortex.explain.concept_tokens:count_important", "find the concept tokens of every class"),
        "frequent-tokens": ("cortex.explain.concept_tokens:count_frequent", "find every class's most frequent tokens"),
        "codebook-search": (
            "cortex.explain.codebook_search:search_codebook",
            "search the codebook for a region's tokens",
        ),
        "edit": ("cortex.app.edit:edit_image", "change a region of a picture to another class"),
    },
    "evaluate": {
        "extractor-accuracy": ("cortex.evaluate.accuracy:rank_by_extractor", "rank images' labels by an extractor"),
        "judge-accuracy": ("cortex.evaluate.accuracy:rank_by_judge", "rank images' labels by a judge"),
        "image-level": ("cortex.evaluate.image_level:judge_images", "judge images without their important tokens"),
        "concept-level": ("cortex.evaluate.concept_level:judge_concepts", "judge images without concept tokens"),
        "codebook-level": ("cortex.evaluate.codebook_level:judge_search", "judge the results of a codebook search"),
        "reconstruction": (
            "cortex.evaluate.reconstruction:measure_reconstruction",
            "measure how well tokens show real pictures",
        ),
        "accuracy": ("cortex.evaluate.metrics:accuracy_at", "compute the top-k accuracy of extractors or judges"),
        "metrics": ("cortex.evaluate.metrics:mean_by", "average evaluation rows over images"),
        "comparisons": ("cortex.evaluate.comparisons:compare_all", "compare every method with its baselines"),
        "agreement": ("cortex.evaluate.agreement:measure_agreement", "measure how far trainings and extractors agree"),
        "validity": ("cortex.evaluate.validity:check_validity", "compare extractors and judges with guessing"),
    },
    "look up": {
        "mean-importance": ("cortex.dictionary.importance:mean_importance", "average the importance of every code"),
        "describe-patches": ("cortex.dictionary.patches:describe_patches", "describe how every code is drawn"),
        "describe-codes": ("cortex.dictionary.codes:describe_codes", "describe every code of the codebook"),
        "choose-pairs": (
            "cortex.dictionary.pairs:choose_pairs",
            "choose the codes and classes whose causes are measured",
        ),
        "mask-codes": ("cortex.dictionary.masks:mask_codes", "judge images without one code"),
        "place-codes": ("cortex.dictionary.placements:place_codes", "judge images of other classes with one code"),
        "dictionary": ("cortex.dictionary.table:write_dictionary", "write a row for every code and class"),
        "atlas": ("cortex.atlas.write:write_atlas", "write the atlas: pages to look up tokens, classes and images"),
        "show": ("cortex.atlas.show:show", "write a page of one token or class, with images from the whole test split"),
    },
    "study": {
        "study": ("cortex.studies.run:run_study", "compute a study for one extractor"),
        "study-metrics": ("cortex.studies.summary:summarise", "average a study's rows over images"),
    },
    "report": {
        "draw-samples": ("cortex.report.draw.images:draw_samples", "draw images of every class"),
        "draw-reconstruction": ("cortex.report.draw.images:draw_reconstruction", "draw pictures and decoded tokens"),
        "draw-training": ("cortex.report.draw.metrics:draw_training", "draw training curves"),
        "draw-importance": ("cortex.report.draw.images:draw_importance", "draw importance over images"),
        "draw-masking": ("cortex.report.draw.metrics:draw_masking", "draw the image-level metrics"),
        "draw-concept-level": ("cortex.report.draw.metrics:draw_concept_level", "draw the concept-level metrics"),
        "draw-codebook-level": ("cortex.report.draw.metrics:draw_codebook_level", "draw the codebook-level metrics"),
        "draw-search": ("cortex.report.draw.search:draw_search", "draw images before and after the codebook search"),
        "document": ("cortex.config.document:document", "write the reference of the config file"),
        "plan": ("cortex.app.plan:print_plan", "print the cost of a config before it runs"),
        "keep-results": ("cortex.app.kept_results:keep_results", "keep a run's results although code has changed"),
        "verify": ("cortex.app.verify:verify", "check that a run's files are whole"),
        "report": ("cortex.report.html:write_report", "write the self-contained HTML report"),
        "compare": ("cortex.compare.compare:compare_runs", "compare finished runs: tables and an HTML page"),
    },
}


# Commands whose settings depend on a name: the option that gives it, and the function that finds their class.
SETTINGS = {
    "train-extractor": ("--network", "cortex.extractors:extractor_settings"),
    "train-judge": ("--network", "cortex.judges:judge_settings"),
    "pretrained-judge": ("--network", "cortex.judges:judge_settings"),
    "study": ("--study", "cortex.studies:study_settings"),
}


Commands = dict[str, dict[str, tuple[str, str]]]


def all_commands(references: Sequence[str] = ()) -> Commands:
    """The commands by phase, with those of the registered studies, and of studies among some references."""
    from cortex.studies import study_commands

    return COMMANDS | {"study": COMMANDS["study"] | study_commands(references)}


def commands_for(name: str) -> Commands:
    """The commands by phase; those of studies from outside, too, where no other has the name."""
    found = all_commands()
    if any(name in phase for phase in found.values()):
        return found
    return all_commands(allowed_references())


def main(arguments: Sequence[str] | None = None, *, cpu_before: float = 0.0) -> int:
    """Run one command; its exit status: 0, 1 after an error of one line, 128 and the signal's number after a signal.

    Args:
        arguments: name of the command and its options; those of the process if not given.
        cpu_before: CPU time that another process spent on starting this one, in seconds.
    """
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    try:
        try:
            return _run(arguments, cpu_before)
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nobody reads what Python writes at its end
        return 128 + signal.SIGPIPE
    except KeyboardInterrupt:
        print("cortex: stopped", file=sys.stderr)
        return 128 + signal.SIGINT


def _run(arguments: list[str], cpu_before: float) -> int:
    if arguments[:1] == ["--config"]:
        try:
            if len(arguments) == 1:
                raise InputError("--config: no value; allowed: the config file of a run")
            _attribute("cortex.app.workflow:allow_config")(arguments[1])
        except (InputError, OSError) as error:
            print(f"cortex: error: {on_one_line(str(error))}", file=sys.stderr)
            return 1
        arguments = arguments[2:]
    commands = commands_for(arguments[0] if arguments else "")
    targets = {name: target for phase in commands.values() for name, (target, _) in phase.items()}
    if not arguments or arguments[0] not in targets:
        asked_for_help = not arguments or arguments[0] in ("-h", "--help")
        if not asked_for_help:
            print(f"cortex: error: no command {arguments[0]!r}\n", file=sys.stderr)
        print(_overview(commands), file=sys.stdout if asked_for_help else sys.stderr)
        return 0 if asked_for_help else 2
    command, *rest = arguments
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S", stream=sys.stderr)
    # The one counts the parameters of every GPT that is built, the other tells of its caches at the end.
    for name in ("taming", "torch"):
        logging.getLogger(name).setLevel(logging.WARNING)
    import tyro

    from cortex.app.job_cost import with_cost
    from cortex.app.sections import with_plain_options

    function = _attribute(targets[command])
    try:
        tyro.cli(
            with_plain_options(with_cost(command, function, cpu_before), _settings_of(command, rest)),
            prog=f"cortex {command}",
            args=_with_values(function, rest),
            config=(tyro.conf.FlagConversionOff, tyro.conf.OmitArgPrefixes),
        )
    except BrokenPipeError:
        raise
    except (InputError, OSError) as error:
        print(f"cortex {command}: error: {on_one_line(str(error))}", file=sys.stderr)
        return 1
    except StoppedError as stop:
        print(f"cortex {command}: stopped: {stop}", file=sys.stderr)
        return 128 + signal.SIGTERM
    return 0


def _attribute(reference: str) -> Any:
    module, _, attribute = reference.partition(":")
    return getattr(importlib.import_module(module), attribute)


def _with_values(function: Any, words: Sequence[str]) -> list[str]:
    """The words of a command line, in which an option that is yes or no may stand without a value: it is yes."""
    flags = {
        f"--{name.replace('_', '-')}"
        for name, parameter in inspect.signature(function).parameters.items()
        if parameter.annotation is bool
    }
    found = []
    for word, following in pairwise([*words, ""]):
        found += [word, "True"] if word in flags and following not in ("True", "False") else [word]
    return found


def _settings_of(command: str, arguments: Sequence[str]) -> Any:
    """The class of a command's settings, where it depends on the name of a network or study among the arguments."""
    if command not in SETTINGS:
        return None
    option, settings_of = SETTINGS[command]
    words = [word for argument in arguments for word in argument.split("=", 1)]
    name = dict(pairwise(words)).get(option)
    return None if name is None else _attribute(settings_of)(name)


def _overview(commands: Commands) -> str:
    lines = [
        "usage: cortex [--config FILE] COMMAND [options]",
        "",
        "cortex COMMAND --help explains a command; --config lets commands import the methods of your own that a config",
        "names.",
    ]
    for phase, of_phase in commands.items():
        lines += ["", phase]
        lines += [f"  {name:<22}{what}" for name, (_, what) in of_phase.items()]
    return "\n".join(lines)
