"""Takes what `sac-seic reproduce` has found into nbs/reproduced, for the pages, and its times into the package.

    python tests/reproduced.py OUT [EXPERIMENT ...]

OUT is the command's folder. A data set with an image encoder replaces what nbs/reproduced had of it, once every row of
it has all its seeds; what OUT knows nothing of stays. The times are of one machine, whose speed (`probe`) is
measured with the first of them: on another machine, first delete sac_seic/experiments/seconds.csv."""

import argparse
import json
from pathlib import Path

import pandas as pd

ROOT = Path(__file__).resolve().parent.parent
PAGES, SHIPPED = ROOT / "nbs" / "reproduced", ROOT / "sac_seic" / "experiments" / "seconds.csv"


def merged(path: Path, new: pd.DataFrame, by: list[str], digits: str) -> pd.DataFrame:
    "The new lines, and of the old ones those of other settings."
    if path.exists():
        old = pd.read_csv(path, keep_default_na=True)
        known = set(map(tuple, new[by].to_numpy()))
        new = pd.concat([old[[tuple(x) not in known for x in old[by].to_numpy()]], new])
    new = new.sort_values(by, kind="stable")
    new.to_csv(path, index=False, float_format=digits)
    return new


def whole_settings(planned: list, folder: Path) -> list:
    "The part of a plan whose settings have run, bar rows that can't."
    from sac_seic.tool.runs import is_done
    some = {}
    for x in planned: some.setdefault((x[2].encoder, x[2].data), []).append(x)
    return [x for part in some.values() if sum(is_done(folder, y[2]) for y in part) > 0.97 * len(part) for x in part]


def times(planned: list, folder: Path) -> pd.DataFrame:
    "Seconds of processor time of every finished run."
    from sac_seic.tool.runs import kept_row
    rows = {run.key(): (run, row) for _, _, run in planned if (row := kept_row(folder, run))}
    return pd.DataFrame([{"cost": run.key(seed=False), "recipe": run.recipe.name, "encoder": run.encoder, "data": run.data,
                          "n": row["n"], "seconds": row["seconds"]} for run, row in rows.values()])


def main():
    ask = argparse.ArgumentParser(usage=__doc__)
    ask.add_argument("out", type=Path)
    ask.add_argument("experiments", nargs="*")
    asked = ask.parse_args()
    from sac_seic.tool.experiments import experiment_names, load_experiment, plan
    from sac_seic.tool.reproduce import SETTING, differences, summarise
    from sac_seic.tool.runs import probe
    PAGES.mkdir(exist_ok=True)
    folder, every = asked.out / "runs", []
    for name in asked.experiments or experiment_names():
        e = load_experiment(name)
        planned = whole_settings(plan(e), folder)
        if not planned: continue
        by = ["experiment", *SETTING]
        table = merged(PAGES / f"{name}.csv", summarise(e, planned, folder), by, "%.5f")
        gaps = differences(e, planned, folder)
        if len(gaps): merged(PAGES / f"{name}-differences.csv", gaps, by, "%.2f")
        took = times(planned, folder).assign(experiment=name, preset="mini")
        hours = took.groupby(by, sort=False).seconds.agg(runs="count", hours=lambda x: x.sum() / 3600).reset_index()
        merged(PAGES / "seconds.csv", hours, by, "%.4f")
        every.append(took)
        print(f"{name}: {len(table)} rows, {hours.hours.sum():.2f} hours of one core")
    took = pd.concat(every).drop_duplicates(["cost", "seconds"])
    took = took.groupby(["cost", "recipe", "encoder", "data", "n"], sort=False).seconds.mean().reset_index()
    if not SHIPPED.exists(): took = pd.concat([pd.DataFrame([{"cost": "probe", "seconds": probe()}]), took])
    merged(SHIPPED, took, ["cost"], "%.3f")


if __name__ == "__main__": main()
