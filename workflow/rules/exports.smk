# Artefacts in the formats of the published systems; nothing asks for these but you.


rule export:
    input:
        index="<results>/dataset/index.json",
        maps=lambda wildcards: exports()[wildcards.what][1],
    output:
        directory("<results>/export/{what}"),
    log:
        "<results>/logs/export/{what}.log",
    wildcard_constraints:
        what="|".join(map(re.escape, exports())),
    resources:
        mem_mb=memory(1000),
        runtime=minutes(60),
    params:
        what=lambda wildcards: exports()[wildcards.what][0],
        code=code_digest("stages.export"),
        options=lambda wildcards, input: options(input),
    shell:
        "python -m stages.export --what {params.what} {params.options} --folder {output:q}"
        " 2>&1 | tee {log:q}"


rule archive:
    input:
        index="<results>/dataset/index.json",
        masks=shards_of(f"rounds/{LAST_ROUND}/masks/test"),
    output:
        "<results>/comp6_test_cls.tar.gz",
    log:
        "<results>/logs/archive.log",
    resources:
        mem_mb=memory(1000),
        runtime=minutes(60),
    params:
        code=code_digest("stages.archive"),
        options=lambda wildcards, input: options(input),
    shell:
        "python -m stages.archive {params.options} --split test --output {output:q}"
        " 2>&1 | tee {log:q}"
