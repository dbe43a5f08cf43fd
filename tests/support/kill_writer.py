"""A small writer to kill: shards one after the other, and the index over them after each.

    python kill_writer.py RUN SHARDS [forever]

What it writes depends on the shard's number alone. With `forever` it keeps rewriting the index
when all shards are there, until it is killed. It imports no torch, so that it starts at once.
"""

import sys
from pathlib import Path

import numpy as np
from records import provenance, sample

from clusterpipe.cache import artifact
from clusterpipe.cache.run_directory import RunDirectory
from clusterpipe.cache.schema import Embeddings, Shard, Space
from clusterpipe.cache.shards import ShardStore, row_digests

ROWS = 40


def shard(number: int) -> Shard:
    record: Shard = sample(Shard, seed=number, m=ROWS, d=64, y=2, r=ROWS)
    features = np.random.default_rng(number).standard_normal((ROWS, 64)).astype(np.float32)
    names = np.array([f"{number:016x}{row:016x}" for row in range(ROWS)], dtype=object)
    known = {"weights": "w", "image": names, "row": row_digests(features)}
    return Shard(**{**vars(record), **known, "features": features})


def index(store: ShardStore) -> Embeddings:
    ledger = store.ledger()
    rows = store.rows(sorted(ledger.place, key=ledger.place.__getitem__), ledger)
    ids = store.content_ids(rows)
    folder = store.folder.parent.parent
    space = Space(
        features=rows,
        shard=np.array([path.relative_to(folder).as_posix() for path in ids], dtype=object),
        shard_id=np.array(list(ids.values()), dtype=object),
    )
    record: Embeddings = sample(Embeddings, seed=0, n=rows.shape[0])
    return Embeddings(**{**vars(record), "spaces": {"clip": space}})


def main(folder: str, shards: str, *forever: str) -> None:
    run = RunDirectory(Path(folder))
    store = ShardStore(run.shards("clip"))
    with run.locked():
        sys.stdout.write("started\n")
        sys.stdout.flush()
        while True:
            missing = sorted(set(range(int(shards))) - set(store.numbers()))
            if missing:
                store.append(shard(missing[0]), provenance())
            artifact.write(run.artifact(Embeddings), index(store), provenance())
            if not missing and not forever:
                return


if __name__ == "__main__":
    main(*sys.argv[1:])
