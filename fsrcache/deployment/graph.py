"""A model as one network from pixels to probabilities, of operations that ONNX has."""

import copy

import torch
from torch import Tensor, nn

from fsrcache.deployment.bicubic import Resize
from fsrcache.deployment.weights import ExportedModel
from fsrcache.extractors.covpool import CovPoolFER, part_means, whiten
from fsrcache.extractors.extractor import LUMA
from fsrcache.faces.degrade import SCALE_FORM
from fsrcache.kernels.log_eig_products import log_eig_products
from fsrcache.models.generators.form import super_resolve
from fsrcache.spd import vech


class Pipeline(nn.Module):
    """Faces of any size to probabilities, as ``fsrcache.Model`` computes them.

        faces uint8 [N, 3, h, w] -> S x S, whitened -> convolutions [N, C, h', w'] -> covariance, mapped and ridged
        -> logarithm by products [N, D, D] -> vech [N, P], with the early features -> generator -> head
        -> softmax fp32 [N, K]

    Parameters
    ----------
    model
        The model; its extractor is a CovPoolFER. It is not changed.
    half
        Whether convolutions, generator and head compute in fp16.
    """

    def __init__(self, model: ExportedModel, *, half: bool = False) -> None:
        super().__init__()
        extractor: CovPoolFER = copy.deepcopy(model.extractor.module).cpu()
        self.grey = model.training["channels"] == 1
        self.resize = Resize(extractor.side, (model.training["degradation"] or SCALE_FORM).border)
        self.earlier, self.trunk = extractor.trunk[: extractor.last_stage], extractor.trunk[extractor.last_stage :]
        self.pool, self.head = extractor.pool, extractor.head
        self.generator = copy.deepcopy(model.generator).cpu()
        self.floor = extractor.logarithm.floor
        self.dtype = torch.float16 if half else torch.float32
        for part in (self.earlier, self.trunk, self.generator, self.head):
            part.to(self.dtype)

    def forward(self, faces: Tensor) -> Tensor:
        """Return probabilities fp32 [N, K] of faces uint8 [N, 3, h, w]."""
        pictures = whiten(self.resize(_luma(faces) if self.grey else faces))
        earlier = self.earlier(pictures.to(self.dtype))
        maps = self.trunk(earlier).float()
        features = vech(log_eig_products(self._covariance(maps), self.floor))
        read = (features.to(self.dtype), part_means(earlier).to(self.dtype))
        _, logits = self.head(super_resolve(self.generator, *read))
        probabilities: Tensor = logits.float().softmax(1)
        return probabilities

    def _covariance(self, maps: Tensor) -> Tensor:
        """Return ``bimap_covariance_pool`` [N, D, D] of maps [N, C, h', w'] by definition."""
        assert self.pool.bimap is not None
        weight = self.pool.bimap.weight
        centred = maps.flatten(2)
        centred = centred - centred.mean(2, keepdim=True)
        freedom = max(centred.shape[2] - 1, 1)
        mapped = weight @ centred
        ridge = self.pool.ridge * centred.square().sum((1, 2)) / freedom
        return mapped @ mapped.mT / freedom + ridge[:, None, None] * torch.eye(len(weight))


def _luma(faces: Tensor) -> Tensor:
    """Return Rec. 601's luma [N, 1, h, w] of RGB uint8 [N, 3, h, w], as Pillow's ``L``."""
    weights = torch.tensor(LUMA, dtype=torch.int32)[:, None, None]
    return ((faces.int() * weights).sum(1, keepdim=True, dtype=torch.int32) + (1 << 15)) // (1 << 16)
