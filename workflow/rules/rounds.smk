# Rounds of segmentation training: what each is trained on, and the training.


rule targets:
    input:
        unpack(made(targets_inputs)),
        index="<shared>/dataset/index.json",
    output:
        "<results>/rounds/{round}/targets.h5",
        folder=directory("<results>/rounds/{round}/targets"),
        selection=report(
            "<results>/rounds/{round}/selection.tsv", caption="../report/selection.rst"
        ),
    log:
        "<results>/logs/targets/{round}.log",
    benchmark:
        "<results>/benchmarks/targets/{round}.tsv"
    threads: ALL_CPUS
    resources:
        **PER_IMAGE,
    params:
        **stage("targets", given=targets_inputs, params=target_settings, round="{round}"),
    shell:
        STAGE


rule train:
    input:
        unpack(made(train_inputs)),
        unpack(made(initial_weights("rounds.{round}"))),
        index="<shared>/dataset/index.json",
    output:
        weights="<results>/rounds/{round}/weights.pt",
        log=report("<results>/rounds/{round}/log.tsv", caption="../report/training.rst"),
        preview="<results>/rounds/{round}/preview.png",
    log:
        "<results>/logs/train/{round}.log",
    benchmark:
        "<results>/benchmarks/train/{round}.tsv"
    threads: TRAINING_CPUS
    resources:
        **training("rounds.{round}"),
    params:
        **stage("train_round", given=initial_weights("rounds.{round}"), params=training_settings),
    shell:
        TRAINING
