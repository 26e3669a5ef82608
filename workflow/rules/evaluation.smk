# The final figure, the quality of every step on the way, and the page that shows them.


rule evaluate:
    input:
        index="<shared>/dataset/index.json",
        masks="<results>/masks.h5",
        truth="<shared>/dataset/masks.h5",
    output:
        report=report("<results>/miou.txt", caption="../report/miou.rst"),
        metrics="<results>/metrics.json",
        confusion=report("<results>/confusion.png", caption="../report/confusion.rst"),
    log:
        "<results>/logs/evaluate.log",
    benchmark:
        "<results>/benchmarks/evaluate.tsv"
    threads: ALL_CPUS
    resources:
        **LIGHT,
    params:
        **stage("evaluate", params=settings_json("evaluate")),
    shell:
        STAGE


rule audit:
    input:
        unpack(audit_inputs),
        index="<shared>/dataset/index.json",
        truth="<shared>/dataset/masks.h5",
    output:
        report("<results>/quality.tsv", caption="../report/quality.rst"),
    log:
        "<results>/logs/audit.log",
    benchmark:
        "<results>/benchmarks/audit.tsv"
    threads: ALL_CPUS
    resources:
        **PER_IMAGE,
    params:
        **stage(
            "audit",
            params=settings_json("audit"),
            crf=settings_json("crf", exclude={"restrict_to_tags"}),
        ),
    shell:
        STAGE


rule cam_curve:
    input:
        index="<shared>/dataset/index.json",
        truth="<shared>/dataset/masks.h5",
        cams=shards_of("cam"),
    output:
        "<results>/cam_curve.tsv",
        picture="<results>/cam_curve.png",
    log:
        "<results>/logs/cam_curve.log",
    resources:
        **LIGHT,
    params:
        **stage("cam_curve", tuning_every=lambda wildcards: block("audit").tuning_every or 0),
    shell:
        STAGE


rule jobs:
    output:
        "<results>/jobs.dot",
    log:
        "<results>/logs/jobs.log",
    localrule: True
    resources:
        **LIGHT,
    params:
        drawn=config_of_drawing(""),  # what counts: not where the data are
        config=lambda wildcards, output: config_of_drawing(DATA),
        snakefile=os.path.relpath(workflow.main_snakefile),
        targets=["results/quality.tsv", "results/miou.txt"],
    shell:
        # The page draws its picture; that of a run half done would tell when this was. Snakemake
        # lists the jobs in the order of a set: the hash seed makes it the same every time.
        "SEEDBED_DRAWING=1 PYTHONHASHSEED=0 snakemake --dag --forceall --snakefile {params.snakefile:q}"
        " --configfile <(echo {params.config:q})"
        " -- {params.targets:q} > {output:q} 2> {log:q}"


rule report:
    input:
        unpack(audit_inputs),
        unpack(report_inputs),
        index="<shared>/dataset/index.json",
        truth="<shared>/dataset/masks.h5",
        quality="<results>/quality.tsv",
        metrics="<results>/metrics.json",
        jobs="<results>/jobs.dot",
    output:
        report("<results>/report.html", caption="../report/report.rst"),
        files=directory("<results>/report_files"),
    log:
        "<results>/logs/report.log",
    threads: ALL_CPUS
    resources:
        **PER_IMAGE,
    params:
        **stage(
            "report",
            params=settings_json("report"),
            config=lambda wildcards: settings.model_dump_json(exclude={"run", "pathvars"}),
            paths={
                "benchmarks": f"{RESULTS}/benchmarks",
                "benchmarks_elsewhere": benchmarks_elsewhere,
            },
        ),
    shell:
        STAGE
