# From image labels to localisation cues: classifier, class activation maps, saliency, seeds.


rule classifier:
    input:
        unpack(made(initial_weights("classifier"))),
        index="<results>/dataset/index.json",
    output:
        weights="<results>/classifier/weights.pt",
        log=report("<results>/classifier/log.tsv", caption="../report/training.rst"),
    log:
        "<results>/logs/classifier.log",
    benchmark:
        "<results>/benchmarks/classifier.tsv"
    threads: TRAINING_CPUS
    resources:
        **training("classifier"),
    params:
        **stage(
            "train_classifier",
            given=initial_weights("classifier"),
            params=settings_json("classifier"),
        ),
    shell:
        TRAINING


rule cam:
    input:
        unpack(made(cam_inputs)),
        index="<results>/dataset/index.json",
    output:
        "<results>/cam/{shard}.h5",
    log:
        "<results>/logs/cam/{shard}.log",
    benchmark:
        "<results>/benchmarks/cam/{shard}.tsv"
    threads: ALL_CPUS
    resources:
        **inference("classifier", unless_given="cam.maps"),
    params:
        **stage("cam", given=cam_inputs, params=settings_json("cam"), shard="{shard}"),
    shell:
        STAGE


rule saliency:
    input:
        unpack(made(saliency_inputs)),
        index="<results>/dataset/index.json",
    output:
        "<results>/saliency/{shard}.h5",
    log:
        "<results>/logs/saliency/{shard}.log",
    benchmark:
        "<results>/benchmarks/saliency/{shard}.tsv"
    threads: ALL_CPUS
    resources:
        **PER_IMAGE,
    params:
        **stage(
            "saliency", given=saliency_inputs, params=settings_json("saliency"), shard="{shard}"
        ),
    shell:
        STAGE


rule seeds:
    input:
        unpack(made(seeds_inputs)),
        index="<results>/dataset/index.json",
    output:
        cues="<results>/seeds/cues.h5",
        pickle="<results>/seeds/localization_cues.pickle",
        preview=directory("<results>/seeds/preview"),
    log:
        "<results>/logs/seeds.log",
    benchmark:
        "<results>/benchmarks/seeds.tsv"
    resources:
        **LIGHT,
    params:
        **stage("seeds", given=seeds_inputs, params=settings_json("seeds")),
    shell:
        STAGE
