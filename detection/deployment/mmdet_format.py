"""Writes a detector as a config and a checkpoint of mmdet, and runs them in mmdet.

Plain mmdet loads them if the backbone is one that mmdet has. Otherwise one module beside them
defines it, which needs nothing of this project.
"""

from pathlib import Path
from shutil import copyfile
from typing import Any

import mmdet
import torch
from mmdet.models import BaseDetector
from mmdet.registry import MODELS
from mmengine.config import Config, ConfigDict
from mmengine.runner import load_checkpoint
from numpy.typing import NDArray

from detection.backbones import architecture_backbone
from detection.deployment.exported import Exported, Found, Pixels, Request
from detection.deployment.torch_runner import TorchRunner
from detection.export import mmdet_config, with_import, write_checkpoint
from detection.exported_base import CHECKPOINT, DESCRIPTION
from detection.mmdet.plain_backbone import plain_backbone
from searchd.domain.errors import InvalidValueError
from searchd.spec.codecs import DETECTOR

CONFIG_FILE = "config.py"
MODULE = "searchd_backbone"
"""Name of the module that defines the backbone."""
_USAGE = """\
```
pip install {package}
{path}python -c "from mmdet.apis import init_detector, inference_detector; \
print(inference_detector(init_detector('config.py', 'checkpoint.pth', device='cpu'), 'IMAGE'))"
```

{needs} `searchd search submit` takes this folder as `base.export`."""


class MmdetRunner(TorchRunner):
    """Runs mmdet's `predict` on a detector that was built from the written files."""

    def __init__(self, config: Path, checkpoint: Path) -> None:
        # The backbone is registered already; a second copy of it could not be.
        read = Config.fromfile(config, import_custom_modules=False)
        model = MODELS.build(ConfigDict(read.model, _scope_="mmdet"))
        load_checkpoint(model, str(checkpoint), map_location="cpu", strict=True)
        super().__init__(model.eval())

    @property
    def software(self) -> str:
        """mmdet and its version."""
        return f"mmdet {mmdet.__version__}"

    def detect(self, images: Pixels) -> Found:
        """Detect on one image."""
        return super().detect(_bgr(images))

    def raw(self, images: Pixels) -> list[NDArray[Any]]:
        """Return the outputs of the one-stage head or the RPN."""
        return super().raw(_bgr(images))


def write(model: BaseDetector, folder: Path, request: Request) -> Exported:
    """Write `config.py`, `checkpoint.pth`, `detector.json` (which this project reads) and, if
    mmdet has no such backbone, `searchd_backbone.py`.

    Args:
        model: The detector in eval mode, on the CPU.
        folder: An existing folder.
        request: What is written.
    """
    detector = request.detector
    assert detector is not None  # workers know it
    config = mmdet_config(detector, request.class_names, request.resolution)
    plain = plain_backbone(detector.architecture)
    written = {name: folder / name for name in (CONFIG_FILE, CHECKPOINT, DESCRIPTION)}
    parts = [written[CONFIG_FILE], written[DESCRIPTION]]
    if plain is None:
        parts.append(folder / f"{MODULE}.py")
        copyfile(architecture_backbone.__file__, parts[-1])
        written[CONFIG_FILE].write_text(with_import(config, MODULE))
    else:
        config["model"]["backbone"] = plain
        written[CONFIG_FILE].write_text(Config(config).pretty_text)
    written[DESCRIPTION].write_bytes(DETECTOR.dump_json(detector, indent=2))
    write_checkpoint(model.state_dict(), written[CHECKPOINT], request.class_names)
    return Exported(
        model=written[CHECKPOINT],
        runner=MmdetRunner(written[CONFIG_FILE], written[CHECKPOINT]),
        parts=tuple(parts),
        usage=_usage(plain),
    )


def load(model: Path, *, num_threads: int) -> MmdetRunner:
    """Return what runs files that `write` wrote, with a number of threads for the whole process.

    Raises:
        InvalidValueError: The config beside the checkpoint is missing, or does not fit it.
    """
    torch.set_num_threads(num_threads)
    try:
        return MmdetRunner(model.with_name(CONFIG_FILE), model)
    except (FileNotFoundError, RuntimeError) as error:
        raise InvalidValueError(f"{model} cannot be loaded: {error}") from error


def _usage(plain: dict[str, Any] | None) -> str:
    if plain is not None:
        needs = f"Plain mmdet loads it: its backbone is mmdet's {plain['type']}-{plain['depth']}."
    else:
        needs = (
            f"mmdet has no such backbone; `{MODULE}.py` defines it, which must be in the folder or "
            "in PYTHONPATH. It needs torch and mmdet only."
        )
    path = "" if plain is not None else "PYTHONPATH=. "
    return _USAGE.format(package="onedl-mmdetection", path=path, needs=needs)


def _bgr(images: Pixels) -> Pixels:
    """Return RGB images as mmdet's pipelines read them."""
    return images[:, ::-1].copy()
