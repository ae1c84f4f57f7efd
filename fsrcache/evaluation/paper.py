"""The paper's Table 1: total accuracy in percent on RAF-DB's 3,068 test pictures (arXiv 2004.02234).

Not like for like, which is why it is only ever shown in grey: its FSR-FER row has a linear SVM re-fitted on
super-resolved training features of all scales, its bicubic and image rows an SVM fitted on full resolution only.
"""

from collections.abc import Mapping
from types import MappingProxyType

HR_ACCURACY = 87.0
TEST_PICTURES = 3068


def _by_scale(*accuracies: float | None) -> Mapping[int, float]:
    return MappingProxyType({scale: value for scale, value in enumerate(accuracies, 2) if value is not None})


TABLE_1: Mapping[str, Mapping[int, float]] = MappingProxyType(
    {
        "bicubic": _by_scale(84.518, 78.357, 72.686, 67.177, 60.495, 52.771, 40.264),
        "RCAN": _by_scale(85.756, 83.051, 80.932, None, None, None, 59.909),
        "Meta-SR": _by_scale(86.832, 83.703, 81.305, 61.408, 48.598, 43.644, 57.562),
        "Meta-SR re-trained": _by_scale(86.408, 83.963, 82.464, 65.971, 55.052, 49.153, 64.003),
        "FSR-FER": _by_scale(83.214, 81.226, 78.031, 75.196, 71.675, 68.872, 64.244),
        "FSR-FER w/o re-weighting": _by_scale(83.246, 81.169, 78.196, 74.739, 71.675, 68.774, 64.211),
    }
)
