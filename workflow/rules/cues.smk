# From image labels to localisation cues: classifier, class activation maps, saliency, seeds.


rule classifier:
    input:
        unpack(initial_weights("classifier")),
        index="<results>/dataset/index.json",
    output:
        weights="<results>/classifier/weights.pt",
        log=report("<results>/classifier/log.tsv", caption="../report/training.rst"),
    log:
        "<results>/logs/classifier.log",
    benchmark:
        "<results>/benchmarks/classifier.tsv"
    threads: cpus(run.training_processes * run.compute_threads)
    resources:
        mem_mb=training_memory("classifier"),
        runtime=training_minutes("classifier"),
        gpu=run.training_processes,
    params:
        settings=settings_json("classifier"),
        code=code_digest("stages.train_classifier"),
        options=lambda wildcards, input: options(input),
    shell:
        "${{SEEDBED_TRAIN:-python -m}} stages.train_classifier --params {params.settings:q} --code {params.code}"
        " {params.options} --weights {output.weights:q} --log {output.log:q}"
        " 2>&1 | tee {log:q}"


rule cam:
    input:
        unpack(cam_inputs),
        index="<results>/dataset/index.json",
    output:
        "<results>/cam/{shard}.h5",
    log:
        "<results>/logs/cam/{shard}.log",
    benchmark:
        "<results>/benchmarks/cam/{shard}.tsv"
    threads: cpus(64)
    resources:
        mem_mb=inference_memory("classifier", unless_given="cam.maps"),
        runtime=minutes(480),
        gpu=1,
    params:
        settings=settings_json("cam"),
        code=code_digest("stages.cam"),
        options=lambda wildcards, input: options(input),
    shell:
        "python -m stages.cam --params {params.settings:q} {params.options}"
        " --shard {wildcards.shard} --output {output:q} --workers {threads} 2>&1 | tee {log:q}"


rule saliency:
    input:
        unpack(saliency_inputs),
        index="<results>/dataset/index.json",
    output:
        "<results>/saliency/{shard}.h5",
    log:
        "<results>/logs/saliency/{shard}.log",
    benchmark:
        "<results>/benchmarks/saliency/{shard}.tsv"
    threads: cpus(64)
    resources:
        mem_mb=memory(700, 600),
        runtime=minutes(120),
    params:
        settings=settings_json("saliency"),
        code=code_digest("stages.saliency"),
    shell:
        "python -m stages.saliency --params {params.settings:q} --index {input.index:q}"
        " --shard {wildcards.shard} --output {output:q} --workers {threads} 2>&1 | tee {log:q}"


rule seeds:
    input:
        unpack(seed_inputs),
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
        mem_mb=memory(1000),
        runtime=minutes(60),
    params:
        settings=settings_json("seeds"),
        code=code_digest("stages.seeds"),
        options=lambda wildcards, input: options(input),
    shell:
        "python -m stages.seeds --params {params.settings:q} {params.options}"
        " --cues {output.cues:q} --pickle {output.pickle:q} --preview {output.preview:q}"
        " 2>&1 | tee {log:q}"
