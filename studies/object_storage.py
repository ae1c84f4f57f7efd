"""The page on ten million faces at eight scales on object storage: costs, and what would break first.

Run as ``python -m studies.object_storage [--out FILE]``; nothing is uploaded. Its page is
benchmarks/results/object_storage.md.
"""

import re
from pathlib import Path
from textwrap import TextWrapper

import click

from fsrcache.store.spec import StoreSpec
from studies.big_store import Assumed, big_spec, counted, killed, naive_objects, trainer
from studies.command import StudyCommand

_NAMES = {"features": "features, fp16", "embeddings": "embeddings, fp16", "probabilities": "probabilities, fp32"}


@click.command(cls=StudyCommand)
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="File of the page, else standard output.")
def main(out: Path | None) -> None:
    """Count, simulate and write."""
    text = page(big_spec(), Assumed())
    if out is None:
        click.echo(text, nl=False)
    else:
        out.write_text(text)


def page(spec: StoreSpec, assumed: Assumed) -> str:
    """Return the page, in Markdown."""
    parts = (_head, _objects, _training, _resuming, _limits)
    blocks = "\n\n".join(part(spec, assumed) for part in parts).split("\n\n")
    return "\n\n".join(block if block[0] in "|#" else _filled(block) for block in blocks) + "\n"


def _filled(block: str) -> str:
    """Return a paragraph, or the items of a list, in lines of one length."""
    items = re.split(r"\n(?=\d+\. )", block)
    indent = "   " if re.match(r"\d+\. ", block) else ""
    lines = TextWrapper(120, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)
    return "\n".join(lines.fill(" ".join(item.split())) for item in items)


def _head(spec: StoreSpec, assumed: Assumed) -> str:
    a = assumed
    return f"""# {sum(spec.rows.values()):,} faces at {len(spec.scales)} scales on object storage

Counted from the layout's own functions (`StoreSpec`, `chunk_and_block`, `arrays`) and simulated over them; nothing was
uploaded, and no figure here was measured on a storage. Written by `python -m studies.object_storage`.

The store: {", ".join(f"{name} {count:,}" for name, count in spec.rows.items())} rows at scales {spec.scales[0]} to
{spec.scales[-1]}; {", ".join(f"{name} {width:,}" for name, width in spec.widths.items())} numbers a row, features and
embeddings in fp16. A chunk has {spec.chunk} rows, a block {spec.block:,}.

Assumed: a list call names {a.listed:,} keys; the first byte comes after {1e3 * a.latency:.0f} ms (median of a
log-normal distribution, sigma {a.spread}); a request then gives {a.request_rate / 1e6:.0f} MB/s, a machine's network
{a.total_rate / 1e9:.1f} GB/s; under one prefix {a.gets:,} reads and {a.puts:,} writes a second are served before the
storage says to slow down (what S3 documents); a trainer reads {a.samples:,} samples a second, each the features of a
face at two scales and its probabilities, with {a.memory >> 30} GiB of buffers and {a.requests} requests at once; an
extracting process makes {a.extracted:,.0f} feature rows a second."""


def _objects(spec: StoreSpec, assumed: Assumed) -> str:
    counts = counted(spec, assumed)
    rows = [
        f"| {_NAMES[name]} | {kind['objects']:,} | {_size(kind['object_bytes'])} | {_size(kind['bytes'])} |"
        for name, kind in counts["kinds"].items()
    ]
    for name, what in (("columns", "labels, ids, hashes"), ("metadata", "metadata")):
        each = counts[name]["bytes"] / counts[name]["objects"]
        rows.append(f"| {what} | {counts[name]['objects']:,} | {_size(each)} (mean) | {_size(counts[name]['bytes'])} |")
    table = "\n".join(rows)
    naive = naive_objects(spec)
    return f"""## Objects

| objects | number | size of one | together |
| --- | ---: | ---: | ---: |
{table}
| all | {counts["objects"]:,} | | {_size(counts["bytes"])} |

Listing everything takes {counts["list_calls"]} calls. Without shards, a chunk an object, there would be {naive:,}
objects and {-(-naive // assumed.listed):,} calls. A reader does not list at all: it reads the root,
{_size(counts["root_bytes"])} (a digest of every object is in it), and knows every key and the location of every row
from the spec."""


def _training(spec: StoreSpec, assumed: Assumed) -> str:
    reader = trainer(spec, assumed)
    low, _, small = reader["request_bytes"]
    verdict = "enough" if reader["samples_per_second"] >= assumed.samples else "not enough"
    return f"""## A trainer

The block-random reader asks for whole chunks: two of {_size(low)} and one of {_size(small)} for every {spec.chunk}
samples. At {assumed.samples:,} samples a second that is **{reader["requests_per_second"]:,.0f} requests a second**,
{reader["prefix_requests_per_second"]:,.0f} under the busiest prefix, and {_size(reader["bytes_per_second"])} a
second. One row a request would be {3 * assumed.samples:,} requests.

Simulated, {assumed.requests} requests at once reach {reader["samples_per_second"]:,.0f} samples a second, which is
{verdict}; one at a time, {reader["samples_per_second_one_request"]:,.0f}. Of every array {reader["resident"]:,}
chunks are shuffled together, {reader["resident"] * spec.chunk:,} rows; an epoch has {reader["pools"]} such pools. The
first is there after {reader["first_pool"]:.1f} s, the others are read while the one before is used. A resumed trainer
computes its position in the epoch and reads no earlier pool."""


def _resuming(spec: StoreSpec, assumed: Assumed) -> str:
    counts, cost = counted(spec, assumed), killed(spec, assumed)
    shards = sum(kind["objects"] for kind in counts["kinds"].values())
    lists, total = 2 * counts["list_calls"], counts["units"]
    hours = sum(spec.rows.values()) * len(spec.scales) / assumed.extracted / 3600
    return f"""## A kill, and the same command again

There are {total:,} units of work (a block at a scale), {_size(counts["unit_bytes"])} each in three objects. What a
killed process had finished is there; an upload that was under way is not, for an object appears whole or not at all.
Simulated over 1,000 random moments of {hours:.0f} hours, running it again redoes {cost["redone_rows"]:,.0f} rows
({cost["redone_rows_worst"]:,.0f} at worst:
a unit is uploaded while the next is made), {cost["redone_seconds"]:.1f} s of
the extractor and {_size(cost["redone_bytes"])}: {1e6 * cost["redone_share"]:.0f} millionths of the work. The block's
pictures are decoded again for the scales that are left. Before that it lists the store, {counts["list_calls"]} calls
({lists} with the listing at the end, about {lists * assumed.latency:.0f} s one after the other), and reads the
{counts["metadata"]["objects"]} metadata objects, {_size(counts["metadata"]["bytes"])}.

Completing reads the tail of every shard, {shards:,} small requests, once: {shards / 16 * assumed.latency:.0f} s with 16
at once. It is done by whoever finishes last, and done again if that one is killed."""


def _limits(spec: StoreSpec, assumed: Assumed) -> str:
    counts, reader = counted(spec, assumed), trainer(spec, assumed)
    by_network = assumed.total_rate / reader["bytes_per_second"]
    by_prefix = assumed.gets / reader["prefix_requests_per_second"]
    larger = 10 * sum(spec.rows.values())
    ten = counted(big_spec({name: 10 * count for name, count in spec.rows.items()}), assumed)
    small = reader["request_bytes"][2] / sum(reader["request_bytes"])
    return f"""## What would break first

1. **The network of the trainer's machine.** {_size(reader["bytes_per_second"])} a second is
   {reader["bytes_per_second"] / assumed.total_rate:.0%} of it: {by_network:.1f} such trainers on one machine. The
   layout keeps bytes low by fp16 and reads nothing unused but held-out rows; it does not compress, for features do
   not.
2. **Latency, where requests come one after another.** The answer is many at once (`ShuffledRows(requests=64)`) and a
   pool read ahead, not larger chunks: those would make fewer of them fit in memory, and the mixing worse.
3. **Requests under one prefix.** {by_prefix:.0f} trainers at one scale reach {assumed.gets:,} a second. Every array has
   a prefix of its own (`train/x4/features/c/`), so scales and outputs do not share a limit, and storages split a
   prefix that stays busy.
4. **The small arrays.** Probabilities cost a third of the requests and {small:.2%} of the bytes. A
   trainer that is short of requests reads them whole at its start, as it does labels:
   {_size(spec.rows["train"] * 4 * len(spec.classes))} a scale.
5. **The root.** It is rewritten once, at the end, and read once by every reader: {_size(counts["root_bytes"])}. A store
   of {larger:,} faces would have {ten["objects"]:,} objects, {ten["list_calls"]:,} list calls and a root of
   {_size(ten["root_bytes"])}, which is where digests would have to move out of it, into an object a split.
6. **Two writers of one block.** There is no lock: both write the same bytes, and the later one changes nothing.

Shards grow with the store, up to 64 chunks, so that blocks of the largest split stay near 1,024 as long as they can;
beyond that their number grows, not their size, which is what a kill costs."""


def _size(count: float) -> str:
    for unit, size in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count:.0f} B"


if __name__ == "__main__":
    main()
