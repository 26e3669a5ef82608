# Rounds of segmentation training: what each is trained on, and the training.


rule targets:
    input:
        unpack(target_inputs),
        index="<results>/dataset/index.json",
    output:
        masks="<results>/rounds/{round}/targets.h5",
        folder=directory("<results>/rounds/{round}/targets"),
        selection=report(
            "<results>/rounds/{round}/selection.tsv", caption="../report/selection.rst"
        ),
    log:
        "<results>/logs/targets/{round}.log",
    benchmark:
        "<results>/benchmarks/targets/{round}.tsv"
    threads: cpus(64)
    resources:
        mem_mb=memory(700, 600),
        runtime=minutes(120),
    params:
        settings=lambda wildcards: (
            block(f"rounds.{wildcards.round}").targets().model_dump_json()
        ),
        code=code_digest("stages.targets"),
        options=lambda wildcards, input: options(input),
    shell:
        "python -m stages.targets --params {params.settings:q} --round {wildcards.round}"
        " {params.options} --output {output.masks:q} --folder {output.folder:q}"
        " --selection {output.selection:q} --workers {threads} 2>&1 | tee {log:q}"


rule train:
    input:
        unpack(supervision_of),
        index="<results>/dataset/index.json",
    output:
        weights="<results>/rounds/{round}/weights.pt",
        log=report("<results>/rounds/{round}/log.tsv", caption="../report/training.rst"),
        preview="<results>/rounds/{round}/preview.png",
    log:
        "<results>/logs/train/{round}.log",
    benchmark:
        "<results>/benchmarks/train/{round}.tsv"
    threads: cpus(run.training_processes * run.compute_threads)
    resources:
        mem_mb=training_memory("rounds.{round}"),
        runtime=training_minutes("rounds.{round}"),
        gpu=run.training_processes,
    params:
        settings=settings_json(
            "rounds.{round}",
            exclude={"masks", "mask_list", "selection", "predict", "crf"},
        ),
        code=code_digest("stages.train_round"),
        options=lambda wildcards, input: options(input),
    shell:
        "${{SEEDBED_TRAIN:-python -m}} stages.train_round --params {params.settings:q} --code {params.code}"
        " {params.options} --weights {output.weights:q} --log {output.log:q}"
        " --preview {output.preview:q} 2>&1 | tee {log:q}"
