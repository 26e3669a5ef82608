# Predictions of a round, the CRF on them, and the final masks.


rule predict:
    input:
        index="<shared>/dataset/index.json",
        weights="<results>/rounds/{round}/weights.pt",
    output:
        "<results>/rounds/{round}/predictions/{split}/{shard}.h5",
    log:
        "<results>/logs/predict/{round}-{split}-{shard}.log",
    benchmark:
        "<results>/benchmarks/predict/{round}-{split}-{shard}.tsv"
    threads: ALL_CPUS
    resources:
        **inference("rounds.{round}"),
    params:
        **stage(
            "predict",
            params=settings_json("rounds.{round}.predict"),
            round="{round}",
            split="{split}",
            shard="{shard}",
        ),
    shell:
        STAGE


rule crf:
    input:
        index="<shared>/dataset/index.json",
        predictions="<results>/rounds/{round}/predictions/{split}/{shard}.h5",
    output:
        "<results>/rounds/{round}/masks/{split}/{shard}.h5",
    log:
        "<results>/logs/crf/{round}-{split}-{shard}.log",
    benchmark:
        "<results>/benchmarks/crf/{round}-{split}-{shard}.tsv"
    threads: ALL_CPUS
    resources:
        **PER_IMAGE,
    params:
        **stage(
            "crf",
            params=settings_json("rounds.{round}.crf"),
            round="{round}",
            split="{split}",
            shard="{shard}",
        ),
    shell:
        STAGE


rule masks:
    input:
        unpack(made(masks_inputs)),
        index="<shared>/dataset/index.json",
    output:
        "<results>/masks.h5",
        folder=directory("<results>/masks"),
    log:
        "<results>/logs/masks.log",
    benchmark:
        "<results>/benchmarks/masks.tsv"
    resources:
        **LIGHT,
    params:
        **stage("masks", given=masks_inputs, split=lambda wildcards: block("evaluate").split),
    shell:
        STAGE
