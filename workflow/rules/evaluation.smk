# The final figure, and the quality of every step on the way.


rule evaluate:
    input:
        index="<results>/dataset/index.json",
        masks="<results>/masks.h5",
        truth="<results>/dataset/masks.h5",
    output:
        report="<results>/miou.txt",
        metrics="<results>/metrics.json",
        confusion="<results>/confusion.png",
    log:
        "<results>/logs/evaluate.log",
    benchmark:
        "<results>/benchmarks/evaluate.tsv"
    params:
        settings=settings.evaluate.model_dump_json(),
        code=code_digest("stages.evaluate"),
    shell:
        "python -m stages.evaluate --params {params.settings:q} --index {input.index:q}"
        " --masks {input.masks:q} --truth {input.truth:q} --report {output.report:q}"
        " --metrics {output.metrics:q} --confusion {output.confusion:q} 2>&1 | tee {log:q}"


rule audit:
    input:
        unpack(audited),
        index="<results>/dataset/index.json",
        truth="<results>/dataset/masks.h5",
    output:
        "<results>/quality.tsv",
    log:
        "<results>/logs/audit.log",
    benchmark:
        "<results>/benchmarks/audit.tsv"
    threads: cpus(64)
    params:
        settings=settings.audit.model_dump_json(),
        crf=settings.crf.model_dump_json(exclude={"restrict_to_tags"}),
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
    params:
        code=code_digest("stages.cam_curve"),
        options=lambda wildcards, input: options(input),
    shell:
        "python -m stages.cam_curve {params.options} --output {output.table:q}"
        " --picture {output.picture:q} 2>&1 | tee {log:q}"
