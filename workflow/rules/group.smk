# Group-WSSS: attention maps from groups of images that share their labels.


rule group:
    input:
        unpack(made(initial_weights("group"))),
        index="<shared>/dataset/index.json",
    output:
        weights="<results>/group/weights.pt",
        log=report("<results>/group/log.tsv", caption="../report/training.rst"),
        maps="<results>/group/maps.h5",
    log:
        "<results>/logs/group.log",
    benchmark:
        "<results>/benchmarks/group.tsv"
    threads: TRAINING_CPUS
    resources:
        **training("group"),
    params:
        **stage("train_group", given=initial_weights("group"), params=settings_json("group")),
    shell:
        TRAINING


rule group_cam:
    input:
        unpack(made(group_cam_inputs)),
        index="<shared>/dataset/index.json",
    output:
        "<results>/group/cam/{shard}.h5",
    log:
        "<results>/logs/group_cam/{shard}.log",
    benchmark:
        "<results>/benchmarks/group_cam/{shard}.tsv"
    threads: ALL_CPUS
    resources:
        **(PER_IMAGE if block("group_cam.maps") else inference("group")),
    params:
        **stage(
            "group_cam",
            given=group_cam_inputs,
            params=settings_json("group_cam"),
            group_size=group_size,
            shard="{shard}",
        ),
    shell:
        STAGE
