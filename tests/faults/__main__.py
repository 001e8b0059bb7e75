"""All faults, as often as asked, in a folder that a second call goes on in::

    python tests/faults FOLDER [N] [KIND ...]

Each round is one line of ``FOLDER/rounds.jsonl``.  A round that is there is not done again, unless
it failed.  ``N`` is the number of random kills; the other kinds have theirs, or a share of it.
"""

from __future__ import annotations

import json
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cuts
import disk
import kills
import many
import mutants
import starts
from scene import Scene, make_scene

ROUNDS = "rounds.jsonl"


class Faults:
    """The kinds of fault on one scene, and what their rounds share."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.scene: Scene = make_scene(folder / "scene")
        many.register(self.scene)
        self._worker: mutants.Worker | None = None
        self._good: dict[str, str] = {}

    def mutant(self, scene: Scene, number: int) -> dict[str, Any]:
        self._worker = self._worker or mutants.Worker(scene)
        try:
            return mutants.mutant(scene, number, self._worker, self._good)
        except BaseException:
            # What broke one promise is not to break those of all rounds after it.
            self.close()
            raise

    def kinds(self, times: int) -> dict[str, tuple[int, Callable[[Scene, int], dict[str, Any]]]]:
        """How many rounds of each kind, and the round."""
        found = {
            "killed at a named point": (2 * len(kills.POINTS), kills.at_a_point),
            "killed at any time": (times, kills.at_a_time),
            "killed again and again": (max(1, times // 4), kills.again_and_again),
            "disk full": (disk.SIZES, disk.full),
            "corrupt tiles": (max(1, times * 5 // 2), self.mutant),
            "cut off": (cuts.POINTS, cuts.cut),
            "started at once": (max(3, times // 10), starts.at_once),
            "asleep": (max(1, times // 20), starts.asleep),
            "clock set": (max(4, times // 10), many.clock),
            "a slide that grows": (max(1, times // 40), many.grows),
            "batches at once": (max(3, times // 20), many.batches_at_once),
            "a poison slide": (1, many.poisoned),
            "workers killed": (max(1, times // 40), many.workers_die),
            "a thousand slides": (1, many.thousand),
        }
        if not disk.mountable(self.scene.folder / "disk"):
            del found["disk full"]
            sys.stderr.write("no file system can be mounted here: disks are never full\n")
        return found

    def close(self) -> None:
        if self._worker is not None:
            self._worker.end()
            self._worker = None


def main(folder: Path, times: int, only: list[str]) -> int:
    """Do what is not done yet; prints a table, and returns the number of broken promises."""
    folder.mkdir(parents=True, exist_ok=True)
    done = _done(folder / ROUNDS)
    faults = Faults(folder)
    kinds = {k: v for k, v in faults.kinds(times).items() if not only or k in only}
    try:
        with (folder / ROUNDS).open("a", encoding="utf-8") as record:
            for kind, (rounds, play) in kinds.items():
                for number in range(rounds):
                    if done.get((kind, number), {}).get("held"):
                        continue
                    facts = _played(play, faults.scene, number)
                    done[kind, number] = facts
                    record.write(json.dumps({"kind": kind, "round": number, **facts}) + "\n")
                    record.flush()
    finally:
        faults.close()
    return _table(done, kinds)


def _played(
    play: Callable[[Scene, int], dict[str, Any]], scene: Scene, number: int
) -> dict[str, Any]:
    began = time.monotonic()
    try:
        facts = {"held": True, **play(scene, number)}
    except Exception as error:  # noqa: BLE001  the next round may tell more
        facts = {"held": False, "why": f"{type(error).__name__}: {error}"}
        if not isinstance(error, AssertionError):
            facts["where"] = traceback.format_exc(limit=-3)
    return {**facts, "seconds": round(time.monotonic() - began, 2)}


def _done(path: Path) -> dict[tuple[str, int], dict[str, Any]]:
    if not path.exists():
        return {}
    rounds = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    return {(r["kind"], r["round"]): r for r in rounds}


def _table(done: dict[tuple[str, int], dict[str, Any]], kinds: dict[str, Any]) -> int:
    print(f"{'fault':28}{'rounds':>8}{'held':>8}{'broken':>8}{'seconds':>9}  also")
    broken = 0
    for kind in kinds:
        rounds = [facts for (k, _), facts in done.items() if k == kind]
        bad = [facts for facts in rounds if not facts["held"]]
        broken += len(bad)
        also = {
            key: sum(int(facts.get(key) or 0) for facts in rounds)
            for key in ("deaths", "tiles_reused", "decoder_errors", "raised", "starts")
            if any(key in facts for facts in rounds)
        }
        said = ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in also.items())
        spent = sum(facts["seconds"] for facts in rounds)
        print(f"{kind:28}{len(rounds):8}{len(rounds) - len(bad):8}{len(bad):8}{spent:9.0f}  {said}")
        for facts in bad[:5]:
            print(f"    {facts['why'][:200]}")
    return broken


if __name__ == "__main__":
    folder, times, *only = [*sys.argv[1:], *["faults", "200"][len(sys.argv) - 1 :]]
    sys.exit(min(1, main(Path(folder).absolute(), int(times), only)))
