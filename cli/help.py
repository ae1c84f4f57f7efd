"""The examples at the end of every command's help."""

from typing import Any

import click

from fsrcache.cli.ranks import refuse_several

# Command, or fsrcache for the whole -> two examples: what each does, and the command line.
EXAMPLES = {
    "fsrcache": (
        ("What is recognised in a folder of faces:", "fsrcache data faces"),
        ("Whether this machine and the workspace are in order:", "fsrcache doctor"),
    ),
    "pretrain": (
        ("An extractor for faces of your own, in a workspace of its own:",
         "fsrcache pretrain --data faces --workspace mine"),
        ("How long it would take on FER2013, seen at every scale:",
         "fsrcache pretrain --data fer2013.csv --scales 1..8 --dry-run"),
    ),
    "import-tf": (
        ("The published network as an extractor; its classes are in the order of RAF-DB's folders:",
         "fsrcache import-tf model.ckpt-1000 --out covpool.safetensors "
         "--classes surprise,fear,disgust,happiness,sadness,anger,neutral"),
        ("One of two classes, and what was read of it for a script:",
         "fsrcache import-tf model.ckpt-1000 --out pain.safetensors --classes neutral,pain --json"),
    ),
    "extract": (
        ("FER2013 at full resolution and at a half to an eighth of it:",
         "fsrcache extract --data fer2013.csv --scales 2..8"),
        ("The same with a network of your own:",
         "fsrcache extract --data fer2013.csv --extractor network.onnx"),
    ),
    "info": (
        ("The workspace's store:", "fsrcache info"),
        ("One in object storage, for a script:", "fsrcache info s3://bucket/features.zarr --json"),
    ),
    "verify": (
        ("Whether the workspace's store is as it was written:", "fsrcache verify"),
        ("Remove what is damaged, for the next extract to write again:", "fsrcache verify --repair"),
    ),
    "train": (
        ("The settings that measure best, as the run default:", "fsrcache train"),
        ("The paper's settings but for the batch, as a run of another name:",
         "fsrcache train --name paper --preset paper --set batch=64"),
    ),
    "sweep": (
        ("Three weights of the L2 term with three seeds each:", "fsrcache sweep --set l2_weight=0,1,10 --seeds 3"),
        ("Widths and dropouts in every combination, two at once, and the table as CSV:",
         "fsrcache sweep --set generator.width=256,512 --set generator.dropout=0,0.1 --jobs 2 --csv table.csv"),
    ),
    "runs": (
        ("The runs of the workspace:", "fsrcache runs"),
        ("Those of another workspace, for a script:", "fsrcache runs --workspace mine --json"),
    ),
    "baselines": (
        ("The extractor, fine-tuned on faces of all scales:", "fsrcache baselines"),
        ("Every rival, with a second seed:", "fsrcache baselines --rows all --seed 1"),
    ),
    "evaluate": (
        ("The table and the figure of the run default:", "fsrcache evaluate"),
        ("Two seeds as one row, with recall and precision of every class:",
         "fsrcache evaluate --name seed0 --name seed1 --measures per_class"),
    ),
    "degrade": (
        ("The faces that the table reports, for another super-resolver:", "fsrcache degrade small --split test"),
        ("All faces at two scales, for re-fitted heads too:", "fsrcache degrade small --scales 2,4"),
    ),
    "report": (
        ("report.html on the run default:", "fsrcache report"),
        ("Two seeds as one row, in a file of another name:",
         "fsrcache report --name seed0 --name seed1 --out seeds.html"),
    ),
    "predict": (
        ("The faces of a photograph, in a table and drawn into it:",
         "fsrcache predict party.jpg --annotate answers"),
        ("Every tenth frame of a video, a line of JSON a frame:",
         "fsrcache predict clip.mp4 --every 10 --jsonl"),
    ),
    "export": (
        ("The run default, for other programs:", "fsrcache export model"),
        ("The same in int8, with a page that labels pictures in the browser:",
         "fsrcache export model --precision int8 --web"),
    ),
    "bench": (
        ("Whether every kernel works, in a minute:", "fsrcache bench kernels --quick"),
        ("Times of a training step, as numbers and as a picture:",
         "fsrcache bench step --out step.json --plot step.png"),
    ),
    "data": (
        ("What is recognised in a folder of faces:", "fsrcache data faces"),
        ("A face of every class at every scale, as a picture:",
         "fsrcache data fer2013.csv --sheet sheet.png --scales 1..8"),
    ),
    "draw": (
        ("700 drawn faces as folders of pictures:", "fsrcache draw faces"),
        ("More of them, of other people:", "fsrcache draw faces --count 4200 --seed 1"),
    ),
    "doctor": (
        ("This machine and ./fsr:", "fsrcache doctor"),
        ("Another workspace, for a script:", "fsrcache doctor --workspace mine --json"),
    ),
    "completion": (
        ("In bash, for good:",
         "fsrcache completion bash > ~/.local/share/bash-completion/completions/fsrcache"),
        ("In fish, for good:", "fsrcache completion fish > ~/.config/fish/completions/fsrcache.fish"),
    ),
}  # fmt: skip


class Command(click.Command):
    """A command whose help ends with its examples; torchrun starts it once, if its work is that of one process."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        assert self.name is not None
        refuse_several(self.name)
        return super().invoke(ctx)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Write the examples."""
        assert self.name is not None
        write_examples(self.name, formatter)


def write_examples(name: str, formatter: click.HelpFormatter) -> None:
    """Write the examples of a command; its lines are never folded, so that they can be copied."""
    with formatter.section("Examples"):
        for text, line in EXAMPLES[name]:
            formatter.write(f"  {text}\n    {line}\n")
