"""Before the jobs are planned: what made the results that are there, and whether the data moved.

Each folder of the run has records of its own: results, and what is shared with other recipes.
"""

import hashlib
import json
import subprocess

from snakemake.logging import logger
from snakemake.persistence.file import FilePersistence
from snakemake.settings.enums import PersistenceBackend

from workflow.places import real_place_of
from workflow.provenance import INDEX, Provenance

# Rules that cannot work without images. Not those of the audit and the page, which come last: the
# score of a finished run can be had without.
READ_IMAGES = {"classifier", "group", "affinity", "random_walk", "seeds", "train", "predict", "crf"}
if not block("cam.maps"):
    READ_IMAGES.add("cam")
if not block("saliency.maps"):
    READ_IMAGES.add("saliency")


def mark_unknown(folder, provenance):
    """Treat artefacts without a record of their settings and code as changed.

    Only what the workflow would make; a warning tells of it.
    """
    makers = {
        path: maker
        for path in provenance.unknown
        for maker in workflow.rules
        if maker.is_producer(path)
    }
    for path, maker in makers.items():
        # Snakemake looks at the params only if all outputs of the job have a record.
        outputs, _ = maker.expand_output(maker.get_wildcards(path))
        provenance.mark_unknown(map(str, outputs))
    if makers:
        logger.warning(
            f"{and_more([*makers])}: settings and code unknown, as neither .snakemake nor "
            f"{folder}/provenance.json knows them; --touch accepts them as they are, --forceall "
            "makes them anew"
        )
    return [*makers]


def and_more(paths):
    """The first of several paths, and how many more there are."""
    return f"{paths[0]} and {len(paths) - 1} more" if len(paths) > 1 else paths[0]


def keep_unknown():
    """End a run that would overwrite such artefacts without being told to."""
    if workflow.dag_settings.forceall:
        return
    overwritten = {str(path) for job in workflow.dag.needrun_jobs() for path in job.output}
    if kept := [path for path in unknown if path in overwritten]:
        sys.exit(
            f"{and_more(kept)}: not overwritten, though nobody knows with what settings and code "
            "they were made; accept them with --touch, or make them anew with --forceall"
        )


def compare_data():
    """Tell whether the data, where they now lie, are those that the index was made from.

    Equal: the inputs of `convert` count as they are now. Not equal: `convert` has to run again,
    which ends the run if other recipes use the index.
    """
    place, provenance = real_place_of(DATA), records[SHARED]
    if INDEX not in provenance.entries or place in provenance.places:
        return
    image = first_image()
    if FETCHED or image is None or not os.path.exists(image):
        return
    logger.info(f"{DATA}: new place of the data, compared with {SHARED}/{INDEX}")
    ended = subprocess.run(compare_command(), text=True, capture_output=True, check=False)
    if ended.returncode:
        line = (ended.stderr.strip().splitlines() or ["convert failed"])[-1]
        if is_shared("convert"):
            sys.exit(f"{line}, into another folder: set pathvars.shared")
        logger.warning(line)
        provenance.mark_stale("dataset")
        return
    provenance.places.append(place)
    lists = [path for paths in made(convert_inputs)(None).values() for path in paths]
    provenance.accept_inputs("dataset", {path: sha256_of(path) for path in lists})


def first_image():
    """Where the first image of the index would lie now; None without an index on this machine."""
    if not os.path.exists(f"{SHARED}/{INDEX}"):
        return None
    with open(f"{SHARED}/{INDEX}", encoding="utf-8") as file:
        return data_path(json.load(file)["images"][0]["path"])


def require_images():
    """End a run with jobs that read images, if the data set is no longer there."""
    planned = {job.rule.name for job in workflow.dag.needrun_jobs()}
    reading = sorted(planned & READ_IMAGES)
    if FETCHED or "convert" in planned or not reading:
        return
    image = first_image()
    if image is None or os.path.exists(image):
        return
    if is_mini(block("convert")):
        target = devkit_lists(block("convert"))[0]
        remedy = f"make them again by the same command with {target} as its only target"
    else:
        remedy = "put the data set there, or set run.data to where it is"
    sys.exit(f"{image}: does not exist, and images are read by {', '.join(reading)}; {remedy}")


def compare_command():
    """The command that compares the data with the index."""
    given_files = chosen(convert_inputs(None), is_given=True)
    given_files.pop("from_config", None)
    return [
        *("env", *(f"{key}={value}" for key, value in ENVIRONMENT.items())),
        *(f"SEEDBED_WORKERS={len(os.sched_getaffinity(0))}", sys.executable, "-m"),
        *("stages.convert", "--compare", "--params", block("convert").model_dump_json()),
        *("--index", f"{SHARED}/{INDEX}", "--masks", f"{SHARED}/dataset/masks.h5"),
        *option_words(given_files),
    ]


def sha256_of(path):
    """The checksum of a file as Snakemake records it."""
    with open(path, "rb") as file:
        return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"


records, unknown = {}, []
if (
    workflow.is_main_process
    and not DRAWING  # of another results folder than the config's
    and workflow.workflow_settings.persistence_backend == PersistenceBackend.FILE
):
    for folder in dict.fromkeys(FOLDERS[name] for name in ("saliency", "shared", "results")):
        records[folder] = Provenance(folder, FilePersistence(nolock=True))
        records[folder].sync()
        unknown += mark_unknown(folder, records[folder])
    compare_data()


def keep_records():
    """Copy what Snakemake knows of the jobs that have run."""
    for folder, provenance in records.items():
        own = benchmarks_elsewhere() if folder == RESULTS else None
        provenance.sync(real_place_of(DATA), own)


onstart:
    if not workflow.touch:
        keep_unknown()
        require_images()


onsuccess:
    keep_records()


onerror:
    keep_records()
