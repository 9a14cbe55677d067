"""The card of a pretrained model: how it was made and what it can do, from the folder of its run alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from training.journal import METRICS
from training.report import read_lines

CARD = "README.md"
SKILLS = {
    "point": 'place of a quoted text on a screen (`Where is "Save"?`)',
    "read": "text at a place on a screen, never seen before",
    "color": "colour of a thing on a screen",
    "order": "which of two quoted texts begins further left",
    "checked": "whether a named box is ticked",
    "tick": "whether the box at a place is ticked",
    "ticked": "place of the first ticked (or empty) box",
    "boxes": "what to click on a form of boxes, after a look at one after the other",
    "mend": "what to click once named and checked boxes were looked at, as the look says and not the picture",
    "sought": "whether to click in a list or to scroll it, after reading the item most like the named one",
    "turn": "which way to scroll a list on, after the look at its items",
    "way": "what follows from a look into a list, as the look says and not the picture: to click or where to scroll",
    "scrolled": "whether a list is at its top, at its end or between",
    "field": "place of the field that a caption names",
    "value": "what stands in the field that a caption names",
    "copy": "typing the one of two quoted texts that is asked for, without a picture",
    "absent": 'whether a text is on the screen (`Is "Save" here?`)',
    "locate": "place in the world (x, y, z) of a named thing, from two cameras",
    "side": "place in the world of the left or right one of two things of a kind",
    "spot": "place of a named thing in one camera's frame",
    "name": "thing at a place in the world",
    "aim": "arithmetic of a motion from hand to place, without a picture",
    "stroke": "the next motion of a push from hand, thing and goal, without a picture",
    "done": "whether a sub-goal of the task is held",
    "act": "what the expert would do now, word for word",
}


def write_card(run: Path, command: str) -> Path:
    """Write ``model/README.md`` of a pretraining run.

    Args:
        run: the run's folder, with ``config.json`` and ``metrics.jsonl``.
        command: the command line that makes the model again.
    """
    config: dict[str, Any] = json.loads((run / "config.json").read_text())
    rows = read_lines(run / METRICS)
    last = next(row for row in reversed(rows) if any(key.startswith("heldout/") for key in row))
    shape = config["shape"]
    scores = "\n".join(
        f"| {skill} | {what} | {last[f'heldout/{skill}/exact']:.0%} | {last[f'heldout/{skill}/near']:.0%} |"
        for skill, what in SKILLS.items()
        if f"heldout/{skill}/exact" in last
    )
    others = [f"{share:.0%} in {task}" for task, share in config["recipe"]["haste_in"].items()]
    spared = f" ({', '.join(others)})" if others else ""
    text = f"""# tiny-vlm

The base model that handeye ships: a `Qwen3VLForConditionalGeneration` ({shape["vision_depth"]} vision and
{shape["layers"]} text layers, widths {shape["vision_hidden"]} and {shape["hidden"]}), trained from random weights on
pictures from handeye's own worlds. It is small enough to learn on a laptop, and it opens with
`AutoModelForImageTextToText.from_pretrained`.

- **Command:** `{command}` (seed {config["seed"]}, {last["step"]} of {config["steps"]} steps)
- **Cost:** {last["seconds"] / 60:.0f} minutes; {last["cpu"] / 60:.0f} CPU minutes on each process, one process a core
- **Data:** generated without end from the train split: random screens and still scenes with questions from their scene
  graphs, and moments of scripted demonstrators at work in the tasks ({config["recipe"]["demos"]:.0%} of pictures;
  {config["recipe"]["haste"]:.0%} of their decisions are made in haste, which skips one{spared}). No data set, no other
  model.
- **Way:** {config["dense_steps"]} steps of dense perception alone (heads on the vision tokens, dropped here), then
  packed questions. Muon for matrices, AdamW for the rest.

Held-out scores at step {last["step"]} (words, colours, pairs, themes and phrasings of the held-out split; answers
forced token by token; *near* lets numbers be off by one bin):

| skill | question | exact | near |
|---|---|---|---|
{scores}

**Limits.** It knows handeye's screens at 128×128 pixels and its tabletop at two 96×96 cameras, the `compact` codec, and
nothing else: no language beyond the tasks' own, no photographs, no other resolution.
"""
    path = run / "model" / CARD
    path.write_text(text)
    return path
