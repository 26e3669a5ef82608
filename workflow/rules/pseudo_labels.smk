# Pseudo labels from attention and saliency, or from class scores.


rule pseudo_labels:
    input:
        unpack(pseudo_label_inputs),
        index="<results>/dataset/index.json",
    output:
        masks="<results>/pseudo_labels.h5",
        folder=directory("<results>/pseudo_labels"),
        summary=report(
            "<results>/pseudo_labels.tsv", caption="../report/pseudo_labels.rst"
        ),
    log:
        "<results>/logs/pseudo_labels.log",
    benchmark:
        "<results>/benchmarks/pseudo_labels.tsv"
    threads: cpus(64)
    resources:
        mem_mb=memory(700, 600),
        runtime=minutes(120),
    params:
        settings=settings_json("pseudo_labels"),
        code=code_digest("stages.pseudo_labels"),
        options=lambda wildcards, input: options(input),
    shell:
        "python -m stages.pseudo_labels --params {params.settings:q} {params.options}"
        " --output {output.masks:q} --folder {output.folder:q} --summary {output.summary:q}"
        " --workers {threads} 2>&1 | tee {log:q}"
