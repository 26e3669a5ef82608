# Pseudo labels from attention and saliency, or from class scores.


rule pseudo_labels:
    input:
        unpack(made(pseudo_labels_inputs)),
        index="<shared>/dataset/index.json",
    output:
        "<results>/pseudo_labels.h5",
        folder=directory("<results>/pseudo_labels"),
        summary=report("<results>/pseudo_labels.tsv", caption="../report/pseudo_labels.rst"),
    log:
        "<results>/logs/pseudo_labels.log",
    benchmark:
        "<results>/benchmarks/pseudo_labels.tsv"
    threads: ALL_CPUS
    resources:
        **PER_IMAGE,
    params:
        **stage("pseudo_labels", given=pseudo_labels_inputs, params=settings_json("pseudo_labels")),
    shell:
        STAGE
