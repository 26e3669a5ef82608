"""What recipes share: who else's artefacts a run uses, and that it changes none of them."""

import re

from workflow.sharing import SHARED_RULES, first_difference, recorded_settings

SHARED = FOLDERS["shared"]


def shareable(rule, inputs):
    """Input function of a rule whose artefacts recipes may share; refuses another's settings."""
    compared = []  # once for all shards

    def checked(wildcards):
        files = inputs(wildcards)
        if not compared and records and is_shared(rule) and not any(map(is_missing, FETCHED)):
            refuse_other_settings(rule, content_of(files))
            compared.append(rule)
        return files

    return checked


def is_shared(rule):
    """Whether a rule writes to a folder that is not the run's own."""
    return FOLDERS[SHARED_RULES[rule][0]] != RESULTS


def refuse_other_settings(rule, files_here):
    """End the run if a shared artefact was made with other settings, or from other files.

    files_here: the contents of the files that the config names, as `content_of` gives them.
    """
    pathvar, subfolder = SHARED_RULES[rule]
    folder = FOLDERS[pathvar]
    here, made_up = (json.loads(block(key).model_dump_json()) for key in (rule, "mini_dataset"))
    for name, entry in records[folder].existing(subfolder):
        shard = re.search(r"\d+-of-\d+", name)
        if shard and shard[0] not in SHARDS:
            continue  # of another run.shards: not read by this run
        there = recorded_settings(entry["record"]["params"])
        different = there.settings is not None and first_difference(there.settings, here, rule)
        if there.made_up is not None:
            different = different or first_difference(there.made_up, made_up, "mini_dataset")
        if there.content not in (None, files_here):
            different = different or f"other contents of the files that {rule} names"
        if different:
            sys.exit(
                f"{folder}/{subfolder}: shared by several recipes and made with {different}; set "
                f"pathvars.{pathvar} to another folder, or delete this one to make it anew for all"
            )


def benchmarks_elsewhere():
    """Benchmark files, or folders of them, of the rules whose artefacts this run shares."""
    used = ["convert"]
    if needs_cam():
        used.append("cam")
    if "classifier" in trainings_made():
        used.append("classifier")
    if needs_saliency():
        used.append("saliency")
    names = {"convert": "convert.tsv", "classifier": "classifier.tsv"}
    return [
        f"{FOLDERS[SHARED_RULES[rule][0]]}/benchmarks/{names.get(rule, rule)}"
        for rule in sorted(used)
        if is_shared(rule)
    ]
