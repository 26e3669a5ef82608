# The data set: made up if it is the default one, then brought to one form.


rule mini_dataset:
    output:
        expand(
            "{data}/mini-{{seed}}/VOCdevkit/VOC2012/ImageSets/Segmentation/{name}.txt",
            data=run.data,
            name=MINI_LISTS,
        ),
    log:
        "<results>/logs/mini-{seed}.log",
    resources:
        mem_mb=memory(1000),
        runtime=minutes(60),
    params:
        settings=settings_json("mini_dataset"),
        code=code_digest("stages.mini_dataset"),
        root=f"{run.data}/mini-{{seed}}",
    shell:
        "python -m stages.mini_dataset --params {params.settings:q} --root {params.root:q}"
        " --seed {wildcards.seed} 2>&1 | tee {log:q}"


rule convert:
    input:
        unpack(label_inputs),
        lists=convert_inputs,
    output:
        index="<results>/dataset/index.json",
        input_list="<results>/dataset/input_list.txt",
        masks="<results>/dataset/masks.h5",
        folder=directory("<results>/dataset/masks"),
        summary="<results>/dataset/summary.tsv",
    log:
        "<results>/logs/convert.log",
    benchmark:
        "<results>/benchmarks/convert.tsv"
    resources:
        mem_mb=memory(1000),
        runtime=minutes(60),
    params:
        settings=settings_json("convert"),
        code=code_digest("stages.convert"),
        options=lambda wildcards, input: options(label_inputs(wildcards)),
    shell:
        "python -m stages.convert --params {params.settings:q} {params.options}"
        " --index {output.index:q}"
        " --input-list {output.input_list:q} --masks {output.masks:q}"
        " --mask-folder {output.folder:q} --summary {output.summary:q} 2>&1 | tee {log:q}"
