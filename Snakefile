from snakemake.utils import min_version

min_version("9.27")


if not workflow.overwrite_configfiles:

    configfile: "config.yaml"


# For --sdm apptainer, with the packages of constraints.txt; `make install` needs no container.
container: "docker://python:3.11"


report: "workflow/report/workflow.rst"


include: "workflow/common.smk"
include: "workflow/commands.smk"
include: "workflow/resources.smk"
include: "workflow/inputs.smk"
include: "workflow/sharing.smk"
include: "workflow/rules/data.smk"
include: "workflow/rules/cues.smk"
include: "workflow/rules/group.smk"
include: "workflow/rules/affinity.smk"
include: "workflow/rules/pseudo_labels.smk"
include: "workflow/rules/rounds.smk"
include: "workflow/rules/inference.smk"
include: "workflow/rules/evaluation.smk"
include: "workflow/rules/exports.smk"
include: "workflow/records.smk"


rule all:
    default_target: True
    input:
        "<results>/miou.txt",
        "<results>/quality.tsv",
        "<results>/report.html",
