"""The modules of pydensecrf on Seedbed's dense CRF, for programs that were written for it.

`import seedbed.crf.pydensecrf.densecrf as dcrf` stands for `import pydensecrf.densecrf as dcrf`,
and `seedbed.crf.pydensecrf.utils` for `pydensecrf.utils`.
Source of the interface: https://github.com/lucasb-eyer/pydensecrf.
"""
