# The data set: synthetic if it is the default one, then brought to one form.


rule mini_dataset:
    output:
        expand(
            data_path("mini-{{seed}}/VOCdevkit/VOC2012/ImageSets/Segmentation/{name}.txt"),
            name=MINI_LISTS,
        ),
    log:
        "<results>/logs/mini-{seed}.log",
    resources:
        **LIGHT,
    params:
        **stage(
            "mini_dataset",
            params=settings_json("mini_dataset"),
            paths={"root": data_path("mini-{seed}")},
            seed="{seed}",
        ),
    shell:
        STAGE


rule convert:
    input:
        unpack(made(shareable("convert", convert_inputs))),
    output:
        index="<shared>/dataset/index.json",
        input_list="<shared>/dataset/input_list.txt",
        masks="<shared>/dataset/masks.h5",
        mask_folder=directory("<shared>/dataset/masks"),
        summary="<shared>/dataset/summary.tsv",
    log:
        "<shared>/logs/convert.log",
    benchmark:
        "<shared>/benchmarks/convert.tsv"
    resources:
        **LIGHT,
    params:
        **stage("convert", given=convert_inputs, params=settings_json("convert")),
        **made_up_by(),
    shell:
        STAGE
