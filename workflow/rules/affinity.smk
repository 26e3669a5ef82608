# PSA: class scores teach a network which cells belong together; the maps walk among them.


rule affinity_scores:
    input:
        unpack(made(affinity_scores_inputs)),
        index="<shared>/dataset/index.json",
    output:
        "<results>/affinity/scores/{shard}.h5",
    log:
        "<results>/logs/affinity_scores/{shard}.log",
    benchmark:
        "<results>/benchmarks/affinity_scores/{shard}.tsv"
    threads: ALL_CPUS
    resources:
        **PER_IMAGE,
    params:
        **stage(
            "affinity_scores",
            given=affinity_scores_inputs,
            params=settings_json("affinity_scores"),
            shard="{shard}",
        ),
    shell:
        STAGE


rule affinity:
    input:
        unpack(made(initial_weights("affinity"))),
        index="<shared>/dataset/index.json",
        scores=shards_of("affinity/scores"),
    output:
        weights="<results>/affinity/weights.pt",
        log=report("<results>/affinity/log.tsv", caption="../report/training.rst"),
    log:
        "<results>/logs/affinity.log",
    benchmark:
        "<results>/benchmarks/affinity.tsv"
    threads: TRAINING_CPUS
    resources:
        **training("affinity"),
    params:
        **stage(
            "train_affinity", given=initial_weights("affinity"), params=settings_json("affinity")
        ),
    shell:
        TRAINING


rule random_walk:
    input:
        index="<shared>/dataset/index.json",
        cams="<shared>/cam/{shard}.h5",
        weights="<results>/affinity/weights.pt",
    output:
        "<results>/affinity/cam/{shard}.h5",
    log:
        "<results>/logs/random_walk/{shard}.log",
    benchmark:
        "<results>/benchmarks/random_walk/{shard}.tsv"
    threads: ALL_CPUS
    resources:
        **inference("affinity"),
    params:
        **stage("random_walk", params=settings_json("random_walk"), shard="{shard}"),
    shell:
        STAGE
