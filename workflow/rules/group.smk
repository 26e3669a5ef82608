# Group-wise mining: attention maps from groups of images that share their labels.


rule group:
    input:
        unpack(lambda wildcards: initial_weights("group", settings.group)),
        index="<results>/dataset/index.json",
    output:
        weights="<results>/group/weights.pt",
        log=report("<results>/group/log.tsv", caption="../report/training.rst"),
        maps="<results>/group/maps.h5",
    log:
        "<results>/logs/group.log",
    benchmark:
        "<results>/benchmarks/group.tsv"
    threads: cpus(run.training_processes * run.compute_threads)
    resources:
        mem_mb=training_memory(settings.group, images=settings.group.group_size),
        runtime=training_minutes(settings.group),
        gpu=run.training_processes,
    params:
        settings=settings.group.model_dump_json(),
        code=code_digest("stages.train_group"),
        options=lambda wildcards, input: options(input),
    shell:
        "${{SEEDBED_TRAIN:-python -m}} stages.train_group --params {params.settings:q} --code {params.code}"
        " {params.options} --weights {output.weights:q} --log {output.log:q}"
        " --maps {output.maps:q} 2>&1 | tee {log:q}"


rule group_cam:
    input:
        unpack(group_cam_inputs),
        index="<results>/dataset/index.json",
    output:
        "<results>/group/cam/{shard}.h5",
    log:
        "<results>/logs/group_cam/{shard}.log",
    benchmark:
        "<results>/benchmarks/group_cam/{shard}.tsv"
    threads: cpus(64)
    resources:
        mem_mb=inference_memory(settings.group),
        runtime=minutes(480),
        gpu=1,
    params:
        settings=settings.group_cam.model_dump_json(),
        group_size=settings.group.group_size,
        code=code_digest("stages.group_cam"),
        options=lambda wildcards, input: options(input),
    shell:
        "python -m stages.group_cam --params {params.settings:q} {params.options}"
        " --group-size {params.group_size} --shard {wildcards.shard} --output {output:q}"
        " --workers {threads} 2>&1 | tee {log:q}"
