# Group-wise mining: attention maps from groups of images that share their labels.


rule group:
    input:
        unpack(initial_weights("group")),
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
        mem_mb=training_memory("group"),
        runtime=training_minutes("group"),
        gpu=run.training_processes,
    params:
        settings=settings_json("group"),
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
        mem_mb=inference_memory("group", unless_given="group_cam.maps"),
        runtime=minutes(480),
        gpu=1,
    params:
        settings=settings_json("group_cam"),
        group_size=lambda wildcards: (
            0 if block("group_cam").maps else block("group").group_size
        ),
        code=code_digest("stages.group_cam"),
        options=lambda wildcards, input: options(input),
    shell:
        "python -m stages.group_cam --params {params.settings:q} {params.options}"
        " --group-size {params.group_size} --shard {wildcards.shard} --output {output:q}"
        " --workers {threads} 2>&1 | tee {log:q}"
