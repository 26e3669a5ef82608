# PSA: class scores teach a network which cells belong together; the maps walk among them.


rule affinity_scores:
    input:
        unpack(affinity_score_inputs),
        index="<results>/dataset/index.json",
    output:
        "<results>/affinity/scores/{shard}.h5",
    log:
        "<results>/logs/affinity_scores/{shard}.log",
    benchmark:
        "<results>/benchmarks/affinity_scores/{shard}.tsv"
    threads: cpus(64)
    resources:
        mem_mb=memory(700, 600),
        runtime=minutes(120),
    params:
        settings=settings_json("affinity_scores"),
        code=code_digest("stages.affinity_scores"),
        options=lambda wildcards, input: options(input),
    shell:
        "python -m stages.affinity_scores --params {params.settings:q} {params.options}"
        " --shard {wildcards.shard} --output {output:q} --workers {threads} 2>&1 | tee {log:q}"


rule affinity:
    input:
        unpack(initial_weights("affinity")),
        index="<results>/dataset/index.json",
        scores=shards_of("affinity/scores"),
    output:
        weights="<results>/affinity/weights.pt",
        log=report("<results>/affinity/log.tsv", caption="../report/training.rst"),
    log:
        "<results>/logs/affinity.log",
    benchmark:
        "<results>/benchmarks/affinity.tsv"
    threads: cpus(run.training_processes * run.compute_threads)
    resources:
        mem_mb=training_memory("affinity"),
        runtime=training_minutes("affinity"),
        gpu=run.training_processes,
    params:
        settings=settings_json("affinity"),
        code=code_digest("stages.train_affinity"),
        options=lambda wildcards, input: options(input),
    shell:
        "${{SEEDBED_TRAIN:-python -m}} stages.train_affinity --params {params.settings:q} --code {params.code}"
        " {params.options} --weights {output.weights:q} --log {output.log:q}"
        " 2>&1 | tee {log:q}"


rule random_walk:
    input:
        index="<results>/dataset/index.json",
        cams="<results>/cam/{shard}.h5",
        weights="<results>/affinity/weights.pt",
    output:
        "<results>/affinity/cam/{shard}.h5",
    log:
        "<results>/logs/random_walk/{shard}.log",
    benchmark:
        "<results>/benchmarks/random_walk/{shard}.tsv"
    threads: cpus(64)
    resources:
        mem_mb=inference_memory("affinity"),
        runtime=minutes(480),
        gpu=1,
    params:
        settings=settings_json("random_walk"),
        code=code_digest("stages.random_walk"),
        options=lambda wildcards, input: options(input),
    shell:
        "python -m stages.random_walk --params {params.settings:q} {params.options}"
        " --shard {wildcards.shard} --output {output:q} --workers {threads} 2>&1 | tee {log:q}"
