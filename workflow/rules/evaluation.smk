# The final figure, the quality of every step on the way, and the page that shows them.


rule evaluate:
    input:
        index="<results>/dataset/index.json",
        masks="<results>/masks.h5",
        truth="<results>/dataset/masks.h5",
    output:
        report=report("<results>/miou.txt", caption="../report/miou.rst"),
        metrics="<results>/metrics.json",
        confusion=report("<results>/confusion.png", caption="../report/confusion.rst"),
    log:
        "<results>/logs/evaluate.log",
    benchmark:
        "<results>/benchmarks/evaluate.tsv"
    threads: cpus(64)
    resources:
        mem_mb=memory(1000),
        runtime=minutes(60),
    params:
        settings=settings_json("evaluate"),
        code=code_digest("stages.evaluate"),
    shell:
        "python -m stages.evaluate --params {params.settings:q} --index {input.index:q}"
        " --masks {input.masks:q} --truth {input.truth:q} --report {output.report:q}"
        " --metrics {output.metrics:q} --confusion {output.confusion:q} --workers {threads}"
        " 2>&1 | tee {log:q}"


rule audit:
    input:
        unpack(audited),
        index="<results>/dataset/index.json",
        truth="<results>/dataset/masks.h5",
    output:
        report("<results>/quality.tsv", caption="../report/quality.rst"),
    log:
        "<results>/logs/audit.log",
    benchmark:
        "<results>/benchmarks/audit.tsv"
    threads: cpus(64)
    resources:
        mem_mb=memory(700, 600),
        runtime=minutes(120),
    params:
        settings=settings_json("audit"),
        crf=settings_json("crf", exclude={"restrict_to_tags"}),
        code=code_digest("stages.audit"),
        options=lambda wildcards, input: options(input),
    shell:
        "python -m stages.audit --params {params.settings:q} --crf {params.crf:q}"
        " {params.options} --output {output:q} --workers {threads} 2>&1 | tee {log:q}"


rule cam_curve:
    input:
        index="<results>/dataset/index.json",
        truth="<results>/dataset/masks.h5",
        cams=shards_of("cam"),
    output:
        table="<results>/cam_curve.tsv",
        picture="<results>/cam_curve.png",
    log:
        "<results>/logs/cam_curve.log",
    resources:
        mem_mb=memory(1000),
        runtime=minutes(60),
    params:
        code=code_digest("stages.cam_curve"),
        options=lambda wildcards, input: options(input),
    shell:
        "python -m stages.cam_curve {params.options} --output {output.table:q}"
        " --picture {output.picture:q} 2>&1 | tee {log:q}"


rule jobs:
    output:
        "<results>/jobs.dot",
    log:
        "<results>/logs/jobs.log",
    localrule: True
    resources:
        mem_mb=memory(1000),
        runtime=minutes(60),
    params:
        config=json.dumps(
            {
                **config,
                "run": {"data": run.data, "shards": 1},
                "pathvars": {"results": "results"},
            },
            sort_keys=True,
        ),
        snakefile=os.path.relpath(workflow.main_snakefile),
        targets=["results/quality.tsv", "results/miou.txt"],
    shell:
        # The page draws its picture; that of a run half done would tell when this was. Snakemake
        # lists the jobs in the order of a set: the hash seed makes it the same every time.
        "PYTHONHASHSEED=0 snakemake --dag --forceall --snakefile {params.snakefile:q}"
        " --configfile <(echo {params.config:q})"
        " -- {params.targets:q} > {output:q} 2> {log:q}"


rule report:
    input:
        unpack(audited),
        unpack(report_inputs),
        index="<results>/dataset/index.json",
        truth="<results>/dataset/masks.h5",
        quality="<results>/quality.tsv",
        metrics="<results>/metrics.json",
        jobs="<results>/jobs.dot",
    output:
        page=report("<results>/report.html", caption="../report/report.rst"),
        files=directory("<results>/report_files"),
    log:
        "<results>/logs/report.log",
    threads: cpus(64)
    resources:
        mem_mb=memory(700, 600),
        runtime=minutes(120),
    params:
        settings=settings_json("report"),
        config=settings.model_dump_json(exclude={"run"}),
        code=code_digest("stages.report"),
        options=lambda wildcards, input: options(input),
        benchmarks=f"{RESULTS}/benchmarks",
    shell:
        "python -m stages.report --params {params.settings:q} {params.options}"
        " --config {params.config:q} --benchmarks {params.benchmarks:q} --output {output.page:q}"
        " --files {output.files:q} --workers {threads} 2>&1 | tee {log:q}"
