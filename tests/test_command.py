"""The `sac-seic` command as a real process: what nbs/tool/05_command.ipynb cannot test from the inside."""

import json
import os
import random
import re
import select
import signal
import subprocess
import sys
import time

import pytest
from PIL import Image, ImageDraw

COMMAND = [sys.executable, "-c", "from sac_seic.tool.command import main; main()"]


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    "A folder to work in: 24 images of two kinds in photos/, and a cache that all tests but one share."
    work, r = tmp_path_factory.mktemp("command"), random.Random(0)
    (work / "photos").mkdir()
    for i in range(24):
        image = Image.new("RGB", (96, 96), tuple(r.randint(150, 250) for _ in range(3)))
        draw, (x, y) = ImageDraw.Draw(image), (r.randint(5, 30), r.randint(5, 30))
        (draw.ellipse if i % 2 else draw.rectangle)((x, y, x + 60, y + 60), tuple(r.randint(0, 120) for _ in range(3)))
        image.save(work / "photos" / f"{i:02d}.png")
    return work


def environment(work, **more):
    kept = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "FORCE_COLOR", "CLICOLOR_FORCE", "COLUMNS", "PYTHONIOENCODING")}
    return {**kept, "SAC_SEIC_CACHE": str(work / "cache"), **more}


def sac_seic(work, *args, **more):
    done = subprocess.run([*COMMAND, *args], cwd=work, env=environment(work, **more), capture_output=True, timeout=300)
    assert b"Traceback" not in done.stdout + done.stderr, done.stderr.decode()
    return done


CLUSTER = ["cluster", "photos", "-k", "2", "--method", "kmeans-image"]


def test_help_imports_nothing_heavy(work):
    code = ("import sys\nfrom sac_seic.tool.command import app\ntry: app(['cluster', '--help'])\nexcept SystemExit: pass\n"
            "print(sorted({'torch', 'sklearn', 'matplotlib', 'PIL', 'scipy', 'faiss', 'pandas'} & set(sys.modules)))")
    done = subprocess.run([sys.executable, "-c", code], cwd=work, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_result_on_stdout_progress_on_stderr(work):
    done = sac_seic(work, *CLUSTER)
    assert done.returncode == 0, done.stderr.decode()
    assert b"words" in done.stdout and b"24 of 24 images clustered" in done.stdout
    assert b"Finding images: 24" in done.stderr and b"confidence" not in done.stderr
    assert b"\x1b" not in done.stdout + done.stderr


def test_reader_who_leaves(work):
    "`sac-seic … | head -0`: the results are written and nobody complains."
    (work / "sac-seic-out" / "run.json").unlink(missing_ok=True)
    process = subprocess.Popen([*COMMAND, *CLUSTER], cwd=work, env=environment(work), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.close()
    said = process.stderr.read()
    assert process.wait(timeout=300) == 0 and b"Traceback" not in said and b"BrokenPipe" not in said
    assert json.loads((work / "sac-seic-out" / "run.json").read_text(encoding="utf-8"))["images"]["clustered"] == 24


def test_nobody_listens_at_all(work):
    process = subprocess.Popen([*COMMAND, *CLUSTER], cwd=work, env=environment(work), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.close()
    process.stderr.close()
    assert process.wait(timeout=300) in (0, 1)


def test_ascii_only_terminal(work):
    (work / "odd").mkdir(exist_ok=True)
    for name in ("猫.png", "ünï.png"): (work / "odd" / name).write_bytes((work / "photos" / "00.png").read_bytes())
    (work / "odd" / "кот.png").write_bytes(b"no image")
    done = sac_seic(work, "cluster", "odd", "-k", "2", "--method", "kmeans-image", PYTHONIOENCODING="ascii")
    assert done.returncode == 0, done.stderr.decode()
    assert b"1 skipped" in done.stdout and done.stdout.isascii() and done.stderr.isascii()


@pytest.mark.skipif(sys.platform != "linux", reason="other systems allow no such names")
def test_names_that_are_no_utf8(work):
    folder = os.fsencode(work / "bytes")
    os.makedirs(folder, exist_ok=True)
    for i, name in enumerate([b"\xff\xfe.png", b"plain.png", b"bad\xe9.jpg"]):
        content = b"no image" if name.endswith(b"jpg") else (work / "photos" / f"{i:02d}.png").read_bytes()
        with open(os.path.join(folder, name), "wb") as file: file.write(content)
    done = sac_seic(work, "cluster", "bytes", "-k", "2", "--method", "kmeans-image", "--out", "bytes-out")
    assert done.returncode == 0, done.stderr.decode()
    assert r"bad\xe9.jpg" in done.stdout.decode()
    assert r"\xff\xfe.png" in (work / "bytes-out" / "assignments.csv").read_text(encoding="utf-8")


def test_unreadable_file_and_folder(work):
    (work / "locked").mkdir()
    for i in range(3): (work / "locked" / f"{i}.png").write_bytes((work / "photos" / f"{i:02d}.png").read_bytes())
    (work / "locked" / "0.png").chmod(0)
    if os.access(work / "locked" / "0.png", os.R_OK): pytest.skip("nothing is unreadable for the superuser")
    done = sac_seic(work, "cluster", "locked", "-k", "2", "--method", "kmeans-image")
    assert done.returncode == 0 and b"0.png: permission denied" in done.stdout
    (work / "locked").chmod(0o500)
    assert sac_seic(work, "cluster", "locked", "-k", "2", "--out", "locked/out").returncode == 2
    (work / "locked").chmod(0)
    assert sac_seic(work, "cluster", "locked", "-k", "2").returncode == 2
    (work / "locked").chmod(0o700)


@pytest.mark.parametrize("after", ["Finding images", "Loading models", "Embedding images"])
def test_true_interrupt(work, after):
    "SIGINT as soon as one stage is reported done, so in the next: models are loading, or images are being read or embedded."
    cache = work / f"fresh-{after.split()[0]}"
    process = subprocess.Popen([*COMMAND, "cluster", "photos", "-k", "2", "--out", f"out-{cache.name}"], cwd=work, text=True,
                               env=environment(work, SAC_SEIC_CACHE=str(cache)), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                               preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)) # a job in the background ignores it
    seen = ""
    while after not in seen:
        line = process.stderr.readline()
        assert line, seen
        seen += line
    process.send_signal(signal.SIGINT)
    stdout, rest = process.communicate(timeout=300)
    assert process.returncode == 130, rest
    assert "Stopped: " in rest and "same command again" in rest and "Traceback" not in rest and not stdout
    assert not (work / f"out-{cache.name}" / "run.json").exists()


def on_a_terminal(work, columns, command=CLUSTER, typed=b"", **more):
    "Run with stdout and stderr (and what is typed) on a pseudo-terminal of that width; return the exit code and everything it wrote."
    fcntl, pty, struct, termios = map(pytest.importorskip, ("fcntl", "pty", "struct", "termios"))
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    process = subprocess.Popen([*COMMAND, *command], cwd=work, env=environment(work, TERM="xterm-256color", **more),
                               stdin=theirs if typed else subprocess.DEVNULL, stdout=theirs, stderr=theirs)
    os.close(theirs)
    if typed: os.write(ours, typed)
    written, finished = b"", time.monotonic() + 300
    while time.monotonic() < finished:
        if not select.select([ours], [], [], 1)[0]: continue
        try: part = os.read(ours, 65536)
        except OSError: break  # the other side is closed
        if not part: break
        written += part
    os.close(ours)
    return process.wait(timeout=60), written.decode("utf-8", "replace")


COLOUR = re.compile(r"\x1b\[[0-9;]*(?:3[0-9]|9[0-7])[0-9;]*m")


@pytest.mark.parametrize("columns", [20, 100])
def test_terminal(work, columns):
    code, written = on_a_terminal(work, columns)
    assert code == 0 and "Traceback" not in written
    assert COLOUR.search(written) and "\x1b[?25h" in written  # bars in colour, and the cursor is back
    assert columns == 20 or "Finding images" in written


def test_no_color(work):
    code, written = on_a_terminal(work, 80, NO_COLOR="1")
    assert code == 0 and not COLOUR.search(written) and "words" in written


def test_without_a_number_a_terminal_is_asked(work):
    code, written = on_a_terminal(work, 80, ["cluster", "photos", "--method", "kmeans-image", "--out", "asked"], b"2\n")
    assert code == 0 and "How many clusters?" in written
    assert json.loads((work / "asked" / "run.json").read_text(encoding="utf-8"))["settings"]["n_clusters"] == 2


def test_without_a_number_and_a_terminal_it_looks_for_one(work):
    done = sac_seic(work, "cluster", "photos", "--method", "kmeans-image", "--out", "looked", "--json")
    said = json.loads(done.stdout)
    assert done.returncode == 0 and said["k"]["k"] == said["settings"]["n_clusters"] and said["k"]["why"]


def test_apply_asks_on_a_terminal(work):
    assert sac_seic(work, *CLUSTER, "--out", "planned").returncode == 0
    code, written = on_a_terminal(work, 80, ["apply", "planned", "sorted"], b"n\n")
    assert code == 0 and "Do it?" in written and not (work / "sorted").exists()
    code, written = on_a_terminal(work, 80, ["apply", "planned", "sorted"], b"y\n")
    assert code == 0 and len(list((work / "sorted").rglob("*.png"))) == 24
    assert sac_seic(work, "undo", "sorted").returncode == 0 and not (work / "sorted").exists()
