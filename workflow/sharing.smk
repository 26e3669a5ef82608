"""What recipes share: who else's artefacts a run uses, and that it changes none of them."""

from workflow.sharing import SHARED_RULES, first_difference, recorded_settings

SHARED = folder_of("shared")


def shareable(rule, inputs):
    """Input function of a rule whose artefacts recipes may share; refuses another's settings."""
    compared = []  # once for all shards

    def checked(wildcards):
        files = inputs(wildcards)
        if not compared and records and is_shared(rule):
            refuse_other_settings(rule, content_of(files))
            compared.append(rule)
        return files

    return checked


def is_shared(rule):
    """Whether a rule writes to a folder that is not the run's own."""
    return folder_of(SHARED_RULES[rule][0]) != folder_of("results")


def refuse_other_settings(rule, files_here):
    """End the run if a shared artefact was made with other settings, or from other files.

    files_here: the contents of the files that the config names, as `content_of` gives them.
    """
    pathvar, subfolder = SHARED_RULES[rule]
    folder = folder_of(pathvar)
    here = json.loads(block(rule).model_dump_json())
    for entry in records[folder].existing(subfolder):
        there, files_there = recorded_settings(entry["record"]["params"])
        different = there is not None and first_difference(there, here, rule)
        if files_there not in (None, files_here):
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
    makes_cam = needs_cam() and not block("cam").maps
    if makes_cam or any(item.weights == "classifier" for _, item in settings.trainings()):
        used.append("classifier")
    if needs_saliency():
        used.append("saliency")
    names = {"convert": "convert.tsv", "classifier": "classifier.tsv"}
    return [
        f"{folder_of(SHARED_RULES[rule][0])}/benchmarks/{names.get(rule, rule)}"
        for rule in sorted(used)
        if is_shared(rule)
    ]
