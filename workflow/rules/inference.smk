# Predictions of a round, the CRF on them, and the final masks.


rule predict:
    input:
        index="<results>/dataset/index.json",
        weights="<results>/rounds/{round}/weights.pt",
    output:
        "<results>/rounds/{round}/predictions/{split}/{shard}.h5",
    log:
        "<results>/logs/predict/{round}-{split}-{shard}.log",
    benchmark:
        "<results>/benchmarks/predict/{round}-{split}-{shard}.tsv"
    threads: cpus(64)
    resources:
        mem_mb=inference_memory("rounds.{round}"),
        runtime=minutes(480),
        gpu=1,
    params:
        settings=settings_json("rounds.{round}.predict"),
        code=code_digest("stages.predict"),
    shell:
        "python -m stages.predict --params {params.settings:q} --index {input.index:q}"
        " --weights {input.weights:q} --round {wildcards.round} --split {wildcards.split}"
        " --shard {wildcards.shard} --output {output:q} --workers {threads} 2>&1 | tee {log:q}"


rule crf:
    input:
        index="<results>/dataset/index.json",
        predictions="<results>/rounds/{round}/predictions/{split}/{shard}.h5",
    output:
        "<results>/rounds/{round}/masks/{split}/{shard}.h5",
    log:
        "<results>/logs/crf/{round}-{split}-{shard}.log",
    benchmark:
        "<results>/benchmarks/crf/{round}-{split}-{shard}.tsv"
    threads: cpus(64)
    resources:
        mem_mb=memory(700, 600),
        runtime=minutes(120),
    params:
        settings=settings_json("rounds.{round}.crf"),
        code=code_digest("stages.crf"),
    shell:
        "python -m stages.crf --params {params.settings:q} --index {input.index:q}"
        " --predictions {input.predictions:q} --round {wildcards.round}"
        " --split {wildcards.split} --shard {wildcards.shard} --output {output:q}"
        " --workers {threads} 2>&1 | tee {log:q}"


rule masks:
    input:
        unpack(mask_inputs),
        index="<results>/dataset/index.json",
    output:
        masks="<results>/masks.h5",
        folder=directory("<results>/masks"),
    log:
        "<results>/logs/masks.log",
    benchmark:
        "<results>/benchmarks/masks.tsv"
    resources:
        mem_mb=memory(1000),
        runtime=minutes(60),
    params:
        split=lambda wildcards: block("evaluate").split,
        code=code_digest("stages.masks"),
        given=lambda wildcards, input: (
            f"--given '{input.given}'" if block("evaluate").masks else ""
        ),
        options=lambda wildcards, input: options(input),
    shell:
        "python -m stages.masks {params.options} {params.given} --split {params.split}"
        " --output {output.masks:q} --folder {output.folder:q} 2>&1 | tee {log:q}"
