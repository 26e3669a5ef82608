# Artefacts in the formats of the published systems; nothing asks for these but you.


rule export:
    input:
        unpack(export_inputs),
        index="<shared>/dataset/index.json",
    output:
        folder=directory("<results>/export/{what}"),
    log:
        "<results>/logs/export/{what}.log",
    wildcard_constraints:
        what="|".join(map(re.escape, exports())),
    resources:
        **LIGHT,
    params:
        **stage(
            "export",
            what=lambda wildcards: exports()[wildcards.what][0],
            style=lambda wildcards: ("grey" if wildcards.what.startswith("masks-") else "palette"),
        ),
    shell:
        STAGE


rule archive:
    input:
        index="<shared>/dataset/index.json",
        masks=shards_of(f"rounds/{LAST_ROUND}/masks/test"),
    output:
        "<results>/comp6_test_cls.tar.gz",
    log:
        "<results>/logs/archive.log",
    resources:
        **LIGHT,
    params:
        **stage("archive", split="test"),
    shell:
        STAGE
