# What the config names, can be fetched, and is not there: a rule each, and only with `fetch: auto`.


for source in FETCHED:

    # A checkpoint: jobs that read the data are planned once they are there, as on any later run.
    checkpoint:
        name:
            f"fetch_{source.rule_name}"
        input:
            [data_path(tree.stamp) for tree in FETCHED if source.lies_in(tree)],
        output:
            data_path(source.stamp),
        log:
            f"<results>/logs/fetch_{source.rule_name}.log",
        retries: 2
        localrule: True
        resources:
            **LIGHT,
        params:
            path=source.path,
        shell:
            'python -m stages.fetch --path {params.path:q} --data "$SEEDBED_DATA" --stamp {output:q}'
            " 2>&1 | tee {log:q}"
