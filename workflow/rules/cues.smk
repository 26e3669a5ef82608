# From image labels to localisation cues: classifier, class activation maps, saliency, seeds.


rule classifier:
    input:
        unpack(made(shareable("classifier", initial_weights("classifier")))),
        index="<shared>/dataset/index.json",
    output:
        weights="<shared>/classifier/weights.pt",
        log=report("<shared>/classifier/log.tsv", caption="../report/training.rst"),
    log:
        "<shared>/logs/classifier.log",
    benchmark:
        "<shared>/benchmarks/classifier.tsv"
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
        unpack(made(shareable("cam", cam_inputs))),
        index="<shared>/dataset/index.json",
    output:
        "<shared>/cam/{shard}.h5",
    log:
        "<shared>/logs/cam/{shard}.log",
    benchmark:
        "<shared>/benchmarks/cam/{shard}.tsv"
    threads: ALL_CPUS
    resources:
        **(PER_IMAGE if block("cam.maps") else inference("classifier")),
    params:
        **stage("cam", given=cam_inputs, params=settings_json("cam"), shard="{shard}"),
    shell:
        STAGE


rule saliency:
    input:
        unpack(made(shareable("saliency", saliency_inputs))),
        index="<shared>/dataset/index.json",
    output:
        "<saliency>/saliency/{shard}.h5",
    log:
        "<saliency>/logs/saliency/{shard}.log",
    benchmark:
        "<saliency>/benchmarks/saliency/{shard}.tsv"
    threads: ALL_CPUS
    resources:
        **(LEARNED if block("saliency.model") else PER_IMAGE),
    params:
        **stage(
            "saliency", given=saliency_inputs, params=settings_json("saliency"), shard="{shard}"
        ),
    shell:
        STAGE


rule seeds:
    input:
        unpack(made(seeds_inputs)),
        index="<shared>/dataset/index.json",
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
