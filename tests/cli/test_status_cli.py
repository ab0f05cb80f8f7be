"""dcejax-status on what real runs leave: several shards, a bad case, a rerun, a line cut short."""

import json

import commands
import scans

from dcejax.cli import status as command
from dcejax.runner.folder_status import of_folder


def status(folder, *words, **flags):
    return commands.call(command.main, folder, *words, **flags)


def test_shards_with_a_bad_case_and_what_is_missing(run_infer, tmp_path):
    for case in "abcd":
        scans.save_scan(tmp_path / "in" / f"{case}.nii.gz")
    (tmp_path / "in" / "b.nii.gz").write_bytes(b"no image")
    every, out = tmp_path / "in" / "*.nii.gz", tmp_path / "out"
    assert run_infer(input=every, output_dir=out, shard="0/2")[0] == 0
    code, text, _ = status(out, input=every)
    assert code == 1
    assert "missing           2" in text
    assert text.endswith("missing:\n  b\n  d\n")
    assert run_infer(input=every, output_dir=out, shard="1/2")[0] == 3
    assert run_infer(input=every, output_dir=out)[0] == 3  # skips what is done
    code, text, _ = status(out, "--json", input=every)
    assert code == 1
    found = json.loads(text)
    assert (found["done"], list(found["bad"]), found["failed"], found["missing"]) == (3, ["b"], {}, [])
    assert "not NIfTI or is damaged" in found["bad"]["b"]
    assert found["runs"] == 3
    scans.save_scan(tmp_path / "in" / "b.nii.gz")
    assert run_infer(input=every, output_dir=out)[0] == 0
    code, text, _ = status(out, input=every)
    assert code == 0
    assert text.startswith("done              4\nbad               0\n")


def test_rate_and_time_left(tmp_path):
    line = {"run": "a", "status": "done", "reason": "", "seconds": 1.0}
    text = "".join(
        json.dumps(line | {"case_id": f"c{i}", "time": f"2026-01-0{1 + i // 20}T10:{i:02d}:00+00:00"}) + "\n"
        for i in range(31)
    )
    (tmp_path / "cases.jsonl").write_text(text + '{"run": "a", "time"')
    found = of_folder(tmp_path, [f"c{i}" for i in range(121)])
    assert found.cases_per_hour == 60
    assert found.hours_left == 1.5
    assert found.damaged_lines == 1
    code, told, _ = status(tmp_path)
    assert code == 0
    assert "missing           unknown; give --input" in told
    assert "1, left out" in told


def test_bad_use(tmp_path):
    for words, message in (((tmp_path,), "expected the record of cases"), ((), "expected one folder of results")):
        code, _, err = commands.call(command.main, *words)
        assert code == 2
        assert message in err
