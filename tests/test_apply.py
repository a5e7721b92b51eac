"""Acting on folders: killed at every call to the system, a full disk, vanished files, odd names; nothing lost, undo works."""

import errno
import json
import os
import shutil
import signal
import sys
from pathlib import Path, PureWindowsPath

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from sac_seic.data.images import ImageFolder, fashion_mnist_sample
from sac_seic.tool import apply as module
from sac_seic.tool.apply import LOG, Group, Plan, apply, make_plan, preview, read_plan, safe_name, undo, write_plan

posix = pytest.mark.skipif(os.name == "nt", reason="needs fork, links and names of any bytes")
FILES = {"a/x.jpg": b"one", "b/x.jpg": b"two", "b/y.jpg": b"three" * 1000, "z.jpg": b"", "keep.jpg": b"skipped"}
GROUPS = {"car": ["a/x.jpg", "b/x.jpg"], "T-shirt/top": ["b/y.jpg", "z.jpg"]}


def tree(root):
    "Every file and link below a folder, and what is in it."
    root = os.fspath(root)
    return {os.path.relpath(os.path.join(where, name), root): os.readlink(path) if os.path.islink(path := os.path.join(where, name)) else Path(path).read_bytes()
            for where, _, names in os.walk(root) for name in names}


def folders(root): return sorted(os.path.relpath(os.path.join(where, name), root) for where, names, _ in os.walk(root) for name in names)


def make(root, files=FILES):
    for name, content in files.items():
        path = os.path.join(root, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        Path(path).write_bytes(content)


def plan_of(root, groups=GROUPS, skip=("keep.jpg",)):
    return Plan(str(root), [Group(name, list(files), [None] * len(files)) for name, files in groups.items()], list(skip))


@pytest.fixture
def photos(tmp_path):
    make(tmp_path / "photos")
    return tmp_path / "photos"


SORTED = {"car/x.jpg": b"one", "car/x (2).jpg": b"two", "T-shirt-top/y.jpg": FILES["b/y.jpg"], "T-shirt-top/z.jpg": b""}
REST = {"move": {"keep.jpg"}, "copy": set(FILES), "link": set(FILES)}


def check_sorted(photos, dest, how):
    found = tree(dest)
    found.pop(LOG)
    if how == "link": found = {name: Path(target).read_bytes() for name, target in found.items()}
    assert found == SORTED and set(tree(photos)) == REST[how]


@pytest.mark.parametrize("how", ["copy", "move", "link"])
def test_there_and_back(photos, how):
    dest, before = photos.parent / "new" / "sorted", (tree(photos.parent), folders(photos.parent))
    shown = preview(plan_of(photos), dest, how)
    assert not dest.exists() and [a.to for a in shown.renamed] == ["car/x (2).jpg"] and shown.left == {}
    assert shown.folders == {"car": (2, 6), "T-shirt-top": (2, 5000)} and shown.needed == (5006 if how == "copy" else 0)
    assert apply(shown).done == 4
    check_sorted(photos, dest, how)
    again = preview(plan_of(photos), dest, how)
    assert not again.actions and len(again.already) == 4 and not again.left
    apply(again)
    check_sorted(photos, dest, how)
    done = undo(dest)
    assert (done.done, done.left, done.log) == (4, {}, None)
    assert (tree(photos.parent), folders(photos.parent)) == before


# ------------------------------------------------------------------ killed, or hit by an error, at every call to the system

_CALLS = {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.symlink", "os.utime"}
_trap = None


def _hook(event, args):
    if _trap is not None and event in _CALLS: _trap()


sys.addaudithook(_hook)


class Countdown:
    "Counts the calls to the system, and does something at one of them."
    def __init__(self, at, act): self.left, self.act = at, act
    def __call__(self):
        self.left -= 1
        if self.left == 0: self.act()


def killed(call, at):
    "Run in a process that is killed at its `at`-th call to the system; whether it came that far."
    global _trap
    child = os.fork()
    if not child:
        _trap = Countdown(at, lambda: os.kill(os.getpid(), signal.SIGKILL))
        try: call()
        except BaseException: os._exit(3)
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in (0, -signal.SIGKILL)
    return code != 0


@pytest.fixture
def no_waiting(monkeypatch): monkeypatch.setattr(os, "fsync", lambda handle: None)  # a killed process loses nothing that was written


def across_disks(monkeypatch, root):
    "As if every folder were a disk of its own."
    real = os.replace
    def replace(old, new):
        if os.path.dirname(old) != os.path.dirname(new): raise OSError(errno.EXDEV, "Invalid cross-device link")
        real(old, new)
    monkeypatch.setattr(os, "replace", replace)


@posix
@pytest.mark.parametrize("how", ["copy", "move", "link", "far"])
def test_killed_anywhere_it_goes_on_and_back(tmp_path, monkeypatch, no_waiting, how):
    if how == "far": across_disks(monkeypatch, tmp_path)
    way = "move" if how == "far" else how
    for at in range(1, 1000):
        root = tmp_path / str(at)
        photos, dest = root / "photos", root / "sorted"
        make(photos)
        def run(): apply(preview(plan_of(photos), dest, way))
        came = killed(run, at)
        everything = set(map(bytes.__hash__, (c for c in tree(root).values() if isinstance(c, bytes))))
        assert {hash(c) for c in FILES.values()} <= everything, "something is lost"
        if at % 2:
            run()
            check_sorted(photos, dest, way)
        if (dest / LOG).exists():
            killed(lambda: undo(dest), at // 2 + 1)
            if (dest / LOG).exists(): assert not undo(dest).left
        if dest.exists(): assert not os.listdir(dest)  # killed between making or emptying it, and the log
        assert tree(photos) == FILES
        shutil.rmtree(root)
        if not came: break
    assert 10 < at < 300


@posix
@pytest.mark.parametrize("how, code", [("copy", errno.ENOSPC), ("move", errno.EACCES), ("far", errno.EACCES)])
def test_an_error_anywhere(tmp_path, monkeypatch, no_waiting, how, code):
    "A full disk stops the run with a sentence, a forbidden file does not; the same again finishes it, and undo takes it back."
    global _trap
    if how == "far": across_disks(monkeypatch, tmp_path)
    way = "move" if how == "far" else how
    def fail(): raise OSError(code, os.strerror(code))
    for at in range(1, 1000):
        root = tmp_path / str(at)
        photos, dest = root / "photos", root / "sorted"
        make(photos)
        shown = preview(plan_of(photos), dest, way)
        _trap = Countdown(at, fail)
        try: done = apply(shown)
        except OSError as error: assert code == errno.ENOSPC and "nothing is lost" in str(error) or "Cannot write" in str(error)
        else: assert done.done + sum(map(len, done.left.values())) == 4
        came, _trap = _trap.left <= 0, None
        for content in FILES.values(): assert content in tree(root).values()
        if at % 2:
            apply(preview(plan_of(photos), dest, way))
            check_sorted(photos, dest, way)
        if (dest / LOG).exists():
            _trap = Countdown(at // 2 + 1, fail)
            try: undo(dest)
            except OSError: pass
            _trap = None
            if (dest / LOG).exists(): assert not undo(dest).left
        assert tree(photos) == FILES and not (dest.exists() and tree(dest))
        shutil.rmtree(root)
        if not came: break
    assert 10 < at < 300


@pytest.mark.parametrize("how", ["copy", "move"])
def test_the_log_is_cut_off_anywhere(tmp_path, monkeypatch, no_waiting, how):
    "The disk is full in the middle of a line of the log."
    class Full(Exception): pass
    write = module._Log.write
    for at in range(1, 100):
        root, number = tmp_path / str(at), 0
        photos, dest = root / "photos", root / "sorted"
        make(photos)
        def torn(log, **record):
            nonlocal number
            number += 1
            if number != at: return write(log, **record)
            log.file.write(json.dumps(record).encode()[:at])
            raise Full
        monkeypatch.setattr(module._Log, "write", torn)
        try: apply(preview(plan_of(photos), dest, how))
        except Full: pass
        came = number >= at
        monkeypatch.setattr(module._Log, "write", write)
        if at % 2:
            apply(preview(plan_of(photos), dest, how))
            check_sorted(photos, dest, how)
        assert not undo(dest).left and tree(photos) == FILES
        shutil.rmtree(root)
        if not came: break
    assert 10 < at < 99


@posix
def test_a_disk_that_fills_up(photos, monkeypatch):
    "The bytes of a picture do not fit."
    def full(source, part):
        Path(part).write_bytes(Path(source).read_bytes()[:2])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    dest, copy = photos.parent / "sorted", module._copy
    shown = preview(plan_of(photos), dest)
    monkeypatch.setattr(module, "_copy", lambda source, part: (full if source.endswith("y.jpg") else copy)(source, part))
    with pytest.raises(OSError, match=r"^Stopped after 2 of 4 files \(no space left on device\), and nothing is lost"): apply(shown)
    monkeypatch.undo()
    assert set(tree(dest)) == {LOG, "car/x.jpg", "car/x (2).jpg"}  # no half of a file
    apply(preview(plan_of(photos), dest))
    check_sorted(photos, dest, "copy")


@pytest.mark.parametrize("how", ["copy", "move", "link"])
def test_the_log_is_on_disk_before_each_step(photos, monkeypatch, how):
    "What would come after a power cut: when a file changes, the log says what is meant, and was flushed since it said so."
    dest, flushed, seen = photos.parent / "sorted", [""], []
    fsync = os.fsync
    def flush(handle):
        fsync(handle)
        flushed[0] = (dest / LOG).read_text()
    monkeypatch.setattr(os, "fsync", flush)
    def watched(do):
        def watch(*paths):
            target = os.fspath([p for p in paths if not isinstance(p, int)][-1])
            if target.startswith(f"{dest}/") and not target.endswith(".part"):
                seen.append(target)
                assert any(json.loads(line).get("to") == os.path.relpath(target, dest) for line in flushed[0].split("\n") if line)
            return do(*paths)
        return watch
    for name in "mkdir", "replace", "symlink": monkeypatch.setattr(os, name, watched(getattr(os, name)))
    claim = module._claim
    monkeypatch.setattr(module, "_claim", watched(claim))
    apply(preview(plan_of(photos), dest, how))
    assert len(set(seen)) == 6


@pytest.mark.skipif(not os.access("/dev/shm", os.W_OK), reason="no second file system")
def test_a_second_file_system(photos):
    dest = Path("/dev/shm") / f"sac-seic-{os.getpid()}"
    try:
        shown = preview(plan_of(photos), dest, "move")
        assert shown.needed == 5006
        apply(shown)
        check_sorted(photos, dest, "move")
        assert not undo(dest).left and tree(photos) == FILES and not dest.exists()
    finally: shutil.rmtree(dest, ignore_errors=True)


def test_a_copy_on_another_disk_that_went_wrong(photos, monkeypatch):
    across_disks(monkeypatch, photos.parent)
    digest = module._digest
    monkeypatch.setattr(module, "_digest", lambda path, afresh=False: "wrong" if path.endswith(".part") else digest(path))
    done = apply(preview(plan_of(photos), photos.parent / "sorted", "move"))
    assert list(done.left) == ["the copy on the other disk differs"] and done.done == 0 and tree(photos) == FILES
    assert set(tree(photos.parent / "sorted")) == {LOG}


# ------------------------------------------------------------------ what others did in the meantime

def test_a_source_that_vanished_or_changed(photos):
    dest = photos.parent / "sorted"
    shown = preview(plan_of(photos), dest)
    (photos / "a/x.jpg").unlink()
    (photos / "z.jpg").write_bytes(b"no longer empty")
    done = apply(shown)
    assert done.done == 2 and done.left == {"no such file or directory": ["a/x.jpg"], "changed since the preview": ["z.jpg"]}
    shown = preview(plan_of(photos), dest)
    assert shown.left == {"not there any more": ["a/x.jpg"]} and [a.name for a in shown.actions] == ["z.jpg"]
    apply(shown)
    assert tree(dest)["T-shirt-top/z.jpg"] == b"no longer empty"


def test_a_source_that_changes_while_it_is_copied(photos, monkeypatch):
    copy = module._copy
    def slow(source, part):
        digest = copy(source, part)
        if source.endswith("y.jpg"): Path(source).write_bytes(b"another")
        return digest
    monkeypatch.setattr(module, "_copy", slow)
    done = apply(preview(plan_of(photos), photos.parent / "sorted"))
    assert done.left == {"changed since the preview": ["b/y.jpg"]} and "T-shirt-top/y.jpg" not in tree(photos.parent / "sorted")


@pytest.mark.parametrize("how", ["move", "link"])
def test_a_source_that_changed_is_not_moved(photos, how):
    shown = preview(plan_of(photos), photos.parent / "sorted", how)
    (photos / "z.jpg").write_bytes(b"no longer empty")
    assert apply(shown).left == {"changed since the preview": ["z.jpg"]} and (photos / "z.jpg").exists()


@pytest.mark.parametrize("how", ["copy", "move"])
def test_nothing_is_overwritten(photos, how):
    dest = photos.parent / "sorted"
    make(dest, {"car/x.jpg": b"mine", "T-shirt-top": b"a file of this name"})
    shown = preview(plan_of(photos), dest, how)
    assert [a.to for a in shown.actions] == ["car/x (2).jpg", "car/x (3).jpg", "T-shirt-top (2)/y.jpg", "T-shirt-top (2)/z.jpg"]
    make(dest, {"car/x (2).jpg": b"mine, too"})  # after the preview
    assert apply(shown).done == 4
    found = tree(dest)
    assert found["car/x.jpg"] == b"mine" and found["car/x (2).jpg"] == b"mine, too"
    assert sorted(found[f"car/x ({n}).jpg"] for n in (3, 4)) == [b"one", b"two"]
    assert not undo(dest).left and tree(photos) == FILES
    assert set(tree(dest)) == {"car/x.jpg", "car/x (2).jpg", "T-shirt-top"}


def test_undo_keeps_what_changed(photos):
    dest = photos.parent / "sorted"
    apply(preview(plan_of(photos), dest))
    times = os.stat(dest / "car/x.jpg")
    (dest / "car/x.jpg").write_bytes(b"two")  # as long as before
    os.utime(dest / "car/x.jpg", ns=(times.st_atime_ns, times.st_mtime_ns))
    (dest / "car/new.jpg").write_bytes(b"new")
    done = undo(dest)
    assert done.left == {"changed since it was copied": ["car/x.jpg"]} and done.done == 3 and done.log.exists()
    assert set(tree(dest)) == {LOG, "car/x.jpg", "car/new.jpg"}
    (dest / "car/x.jpg").unlink()
    assert not undo(dest).left and set(tree(dest)) == {"car/new.jpg"}
    with pytest.raises(FileNotFoundError, match="nothing to undo"): undo(dest)


def test_undo_overwrites_nothing_at_the_old_place(photos):
    dest = photos.parent / "sorted"
    apply(preview(plan_of(photos), dest, "move"))
    shutil.rmtree(photos / "b")
    make(photos, {"a/x.jpg": b"another"})
    (dest / "car/x (2).jpg").write_bytes(b"edited")
    done = undo(dest)
    assert done.left == {"its old place is taken": ["car/x.jpg"]}
    assert tree(photos) == FILES | {"a/x.jpg": b"another", "b/x.jpg": b"edited"} and tree(dest)["car/x.jpg"] == b"one"


def test_undo_keeps_a_copy_that_is_the_only_one(photos):
    dest = photos.parent / "sorted"
    apply(preview(plan_of(photos), dest))
    (photos / "a/x.jpg").unlink()
    assert undo(dest).left == {"its original is gone": ["car/x.jpg"]} and (dest / "car/x.jpg").read_bytes() == b"one"


def test_undo_removes_no_moved_picture_for_a_copy_that_was_there_before(photos):
    dest, plan = photos.parent / "sorted", plan_of(photos, {"car": ["a/x.jpg"]})
    apply(preview(plan, dest))
    (dest / "car/x.jpg").unlink()
    apply(preview(plan, dest, "move"))
    make(photos, {"a/x.jpg": b"new"})
    assert undo(dest).left == {"its old place is taken": ["car/x.jpg"]} and (dest / "car/x.jpg").read_bytes() == b"one"
    (photos / "a/x.jpg").unlink()
    assert not undo(dest).left and tree(photos) == FILES and not dest.exists()


def test_sorted_twice_in_one_folder(photos):
    apply(preview(plan_of(photos), photos, "move"))
    apply(preview(plan_of(photos, {"autos": ["car/x.jpg", "car/x (2).jpg"]}), photos, "move"))
    assert set(tree(photos)) == {LOG, "keep.jpg", "autos/x.jpg", "autos/x (2).jpg", "T-shirt-top/y.jpg", "T-shirt-top/z.jpg"}
    assert not undo(photos).left and tree(photos) == FILES and not (photos / "car").exists()


class Cut(BaseException): pass


def test_a_new_picture_at_the_old_place(photos, monkeypatch):
    "Killed when a picture was on the other disk and gone from here, but the log did not say so yet; then another comes in its place."
    across_disks(monkeypatch, photos.parent)
    dest, end = photos.parent / "sorted", module._Log.end
    def cut(log, entry, how):
        if entry["do"] == "move": raise Cut
        end(log, entry, how)
    monkeypatch.setattr(module._Log, "end", cut)
    with pytest.raises(Cut): apply(preview(plan_of(photos), dest, "move"))
    monkeypatch.setattr(module._Log, "end", end)
    assert not (photos / "a/x.jpg").exists()
    make(photos, {"a/x.jpg": b"new"})
    assert undo(dest).left == {"its old place is taken": ["car/x.jpg"]}
    assert (dest / "car/x.jpg").read_bytes() == b"one" and (photos / "a/x.jpg").read_bytes() == b"new"


def test_a_log_that_was_cut_off_and_an_undo_that_was_cut_off(photos, monkeypatch):
    dest, do = photos.parent / "sorted", module._do
    apply(preview(plan_of(photos), dest, "move"))
    with open(dest / LOG, "a") as log: log.write('{"id": "x')
    done = []
    def cut(log, entry):
        if done: raise Cut
        done.append(do(log, entry))
    monkeypatch.setattr(module, "_do", cut)
    with pytest.raises(Cut): undo(dest)
    monkeypatch.setattr(module, "_do", do)
    assert not undo(dest).left and tree(photos) == FILES and not dest.exists()


def test_applied_with_other_groups(photos):
    dest = photos.parent / "sorted"
    apply(preview(plan_of(photos), dest, "move"))
    shown = preview(plan_of(photos, {"autos": ["a/x.jpg"]}), dest, "move")
    assert shown.left == {"moved by an earlier run": ["a/x.jpg"]} and not shown.actions


def test_a_copy_that_was_deleted_comes_again(photos):
    dest = photos.parent / "sorted"
    apply(preview(plan_of(photos), dest))
    (dest / "car/x.jpg").unlink()
    apply(preview(plan_of(photos), dest))
    check_sorted(photos, dest, "copy")


def test_an_edited_picture_is_copied_again(photos):
    apply(preview(plan_of(photos), photos.parent / "sorted"))
    make(photos, {"a/x.jpg": b"edited"})
    assert [a.to for a in preview(plan_of(photos), photos.parent / "sorted").actions] == ["car/x (3).jpg"]


@posix
def test_two_at_once(photos):
    dest = photos.parent / "sorted"
    dest.mkdir()
    with module._Log(dest), pytest.raises(ValueError, match="Another run is at work"): apply(preview(plan_of(photos), dest))


@posix
def test_a_moved_destination(photos):
    "The log's places hold in a folder that was renamed."
    apply(preview(plan_of(photos), photos.parent / "sorted", "move"))
    os.rename(photos.parent / "sorted", photos.parent / "elsewhere")
    assert not undo(photos.parent / "elsewhere").left and tree(photos) == FILES


@pytest.mark.parametrize("how", ["copy", "move"])
def test_a_destination_among_the_pictures(photos, how):
    for dest in (photos / "sorted", photos):
        shown = preview(plan_of(photos), dest, how)
        assert "lies among the pictures" in str(shown)
        apply(shown)
        assert all(tree(dest)[name] == content for name, content in SORTED.items())
        assert not preview(plan_of(photos), dest, how).actions
        assert not undo(dest).left and tree(photos) == FILES


def test_sorted_already(photos):
    shown = preview(plan_of(photos, {"a": ["a/x.jpg"], "b": ["b/x.jpg", "z.jpg"]}), photos, "move")
    assert shown.already == ["a/x.jpg", "b/x.jpg"] and [a.to for a in shown.actions] == ["b/z.jpg"]


# ------------------------------------------------------------------ links and names

@posix
def test_links_among_the_pictures(photos):
    make(photos.parent, {"elsewhere/secret.jpg": b"secret"})
    (photos / "out").symlink_to(photos.parent / "elsewhere")
    (photos / "in").symlink_to(photos / "a")
    (photos / "l.jpg").symlink_to(photos.parent / "elsewhere/secret.jpg")
    (photos / "gone.jpg").symlink_to("nowhere")
    (photos / "pipe.jpg").unlink(missing_ok=True)
    os.mkfifo(photos / "pipe.jpg")
    plan = plan_of(photos, {"g": ["out/secret.jpg", "in/x.jpg", "l.jpg", "gone.jpg", "pipe.jpg"]})
    shown = preview(plan, photos.parent / "sorted")
    assert [a.name for a in shown.actions] == ["in/x.jpg", "l.jpg"]
    assert shown.left == {"behind a link that leads out of the folder": ["out/secret.jpg"], "not there any more": ["gone.jpg"], "not a regular file": ["pipe.jpg"]}
    apply(shown)
    assert tree(photos.parent / "sorted")["g/l.jpg"] == b"secret"
    shown = preview(plan, photos.parent / "moved", "move")
    assert [a.name for a in shown.actions] == ["in/x.jpg"] and shown.left["a link, which can be copied but not moved"] == ["l.jpg"]


@posix
def test_a_link_where_the_groups_folder_would_be(photos):
    dest, trap = photos.parent / "sorted", photos.parent / "trap"
    dest.mkdir(), trap.mkdir()
    (dest / "car").symlink_to(trap)
    shown = preview(plan_of(photos), dest)
    assert {a.to.split("/")[0] for a in shown.actions} == {"car (2)", "T-shirt-top"}
    (dest / "T-shirt-top").symlink_to(trap)  # after the preview
    done = apply(shown)
    assert list(done.left) == ["something else has the folder's name"] and not os.listdir(trap)
    (dest / "car (2)").rename(dest / "x")
    (dest / "car (2)").symlink_to(dest / "x" / "..")
    undo(dest)


@posix
@settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_any_names(tmp_path_factory, no_waiting, data):
    "Any bytes in the files' names and any text in the groups': all arrive in folders of different names, and all come back."
    root = tmp_path_factory.mktemp("names")
    part = st.binary(min_size=1, max_size=8).map(lambda b: b.translate(None, b"/\0")).filter(lambda b: b.strip(b".") and not b.startswith(b"."))
    inside = st.lists(part, min_size=1, max_size=2, unique=True)
    names = data.draw(st.lists(st.tuples(inside, st.binary(max_size=3)), min_size=1, max_size=8))
    for parts, content in names:
        path = os.path.join(os.fsencode(root), b"photos", *(p + b".d" for p in parts[:-1]), parts[-1] + b".jpg")
        os.makedirs(os.path.dirname(path), exist_ok=True)
        if not os.path.exists(path): Path(os.fsdecode(path)).write_bytes(content)
    images = ImageFolder(root / "photos")
    labels = data.draw(st.lists(st.integers(0, 3), min_size=len(images), max_size=len(images)))
    groups = data.draw(st.lists(st.text(max_size=6) | st.sampled_from(["CON", "a/b", "..", "x" * 300, "\udcff"]), min_size=4, max_size=4))
    how = data.draw(st.sampled_from(["copy", "move", "link"]))
    write_plan(root / "plan.json", make_plan(root / "photos", images.names, labels, groups, np.ones(len(images))))
    before, shown = tree(root / "photos"), preview(read_plan(root / "plan.json"), root / "sorted", how)
    str(shown).encode()
    twins = [name for name in images.names if images.names.count(name) > 1]  # a byte 0xff, and the four letters \xff
    assert sorted(sum(shown.left.values(), [])) == sorted(twins)
    assert apply(shown).done == len(images) - len(twins) and not preview(read_plan(root / "plan.json"), root / "sorted", how).actions
    arrived = tree(root / "sorted")
    assert len(arrived) - 1 == len(images) - len(twins)
    assert len({name.casefold() for name in folders(root / "sorted")}) == len(folders(root / "sorted")) == len({a.to.split("/")[0] for a in shown.actions})
    if how == "move": assert sorted([c for n, c in arrived.items() if n != LOG] + list(tree(root / "photos").values())) == sorted(before.values())
    assert not undo(root / "sorted").left and tree(root / "photos") == before and not (root / "sorted").exists()
    shutil.rmtree(root)


@given(st.text(max_size=100) | st.sampled_from(["COM1.x", "nul .y", "aux", "con" + " " * 90, "...", "é" * 80]))
def test_any_folder_name(name):
    safe = safe_name(name)
    assert 0 < len(safe) <= 61 and len(os.fsencode(safe)) < 250 and safe.isprintable() and safe == safe.strip(". ")
    assert not set(safe) & set('<>:"/\\|?*') and safe_name(safe) == safe
    if hasattr(PureWindowsPath, "is_reserved"): assert not PureWindowsPath(safe).is_reserved()


@posix
def test_a_terminal_gets_no_escape(tmp_path):
    make(tmp_path, {"p/a\x1b[2J\n.jpg": b"x", "p/b.jpg": b"y"})
    plan = Plan(str(tmp_path / "p"), [Group("car\x1b[2J", ["a\x1b[2J\n.jpg", "no\x1b\n.jpg"], [0.9, 0.9])], [])
    text = str(preview(plan, tmp_path / "s\n")) + str(apply(preview(plan, tmp_path / "s\n")))
    assert "\x1b" not in text and r"\x1b" in text


# ------------------------------------------------------------------ plans

@pytest.mark.parametrize("name", ["../x", "/x", "a/../../x", "a/./x", "a//x", "", "x\0", "..", "a/"])
@pytest.mark.parametrize("where", ["files", "skip"])
def test_a_plan_that_reaches_out_is_refused(tmp_path, name, where):
    plan = Plan(str(tmp_path), [Group("g", [name], [None])] if where == "files" else [], [name] if where == "skip" else [])
    write_plan(tmp_path / "plan.json", plan)
    for read in (lambda: read_plan(tmp_path), lambda: preview(plan, tmp_path / "s")):
        with pytest.raises(ValueError, match="^The plan is refused, as .*: export it again.$"): read()


@pytest.mark.parametrize("content", ["", "[]", "3", "{}", '{"format": "sac_seic.plan 2"}', "[" * 100_000, "\xff",
                                     *(json.dumps({"format": "sac_seic.plan 1", "folder": "/x"} | bad) for bad in (
    {}, {"groups": 3}, {"groups": [3]}, {"groups": [{"name": 3, "files": []}]}, {"groups": [{"name": "x"}]}, {"groups": [], "folder": 3}, {"groups": [], "skip": [3]},
    {"groups": [{"name": "x", "files": ["a"]}]}, {"groups": [{"name": "x", "files": [{"file": 3}]}]}, {"groups": [{"name": "x", "files": [{"file": "a", "confidence": "b"}]}]}))])
def test_a_plan_that_is_none(tmp_path, content):
    (tmp_path / "plan.json").write_bytes(content.encode("latin-1"))
    with pytest.raises(ValueError, match=r"plan.json is .*\.$") as error: read_plan(tmp_path)
    assert "\n" not in str(error.value)


def test_a_plan_is_missing_or_has_no_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match="There is no plan"): read_plan(tmp_path)
    write_plan(tmp_path / "plan.json", plan_of("relative"))
    with pytest.raises(ValueError, match="does not say where"): preview(read_plan(tmp_path), tmp_path / "s")
    with pytest.raises(FileNotFoundError, match="is not there"): preview(read_plan(tmp_path, tmp_path / "none"), tmp_path / "s")
    make(tmp_path / "photos")
    assert len(preview(read_plan(tmp_path, tmp_path / "photos"), tmp_path / "s").actions) == 4
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError, match="is a file"): preview(plan_of(tmp_path / "photos"), tmp_path / "file")


def test_what_stays(photos):
    plan = Plan(str(photos), [Group("one", ["a/x.jpg", "b/x.jpg"], [0.9, 0.2]), Group("two", ["z.jpg", "b/y.jpg", "b/y.jpg"], [None, 1, 1]),
                              Group("", ["keep.jpg"], [1])], ["keep.jpg"])
    shown = preview(plan, photos.parent / "s", min_confidence=0.5)
    assert shown.left == {"less sure than 0.5": ["b/x.jpg"], "named more than once": ["b/y.jpg", "b/y.jpg"], "skipped": ["keep.jpg"]}
    assert [a.to for a in shown.actions] == ["one/x.jpg", "two/z.jpg"]
    assert not preview(plan, photos.parent / "s", min_size=2, min_confidence=0.5).actions


def test_times_stay(photos):
    os.utime(photos / "a/x.jpg", (1e9, 1e9))
    apply(preview(plan_of(photos), photos.parent / "s"))
    assert os.stat(photos.parent / "s/car/x.jpg").st_mtime == 1e9


def test_a_log_that_reaches_out_removes_nothing(photos, tmp_path):
    dest = tmp_path / "sorted"
    make(dest, {"x.jpg": b"x"})
    digest = module._digest(dest / "x.jpg")
    lines = [{"id": "a", "do": "copy", "from": "/x", "to": to, "size": 1, "mtime": 0} for to in ("../sorted/x.jpg", str(dest / "x.jpg"))]
    text = "".join(json.dumps(line) + "\n" + json.dumps({"id": "a", "is": "done", "hash": digest}) + "\n" for line in lines)
    (dest / LOG).write_text(text + "no json\n[]\n3\n")
    assert undo(dest).done == 0 and (dest / "x.jpg").exists()


def test_a_log_from_the_future(photos):
    dest = photos.parent / "s"
    make(dest, {LOG: b'{"format": "sac_seic.log 2"}\n'})
    with pytest.raises(ValueError, match="another version"): undo(dest)
    with pytest.raises(ValueError, match="another version"): preview(plan_of(photos), dest)


def test_many(tmp_path):
    "Two thousand files of one name, in one group."
    sample, n = fashion_mnist_sample(), 2000
    names = [f"{i}/IMG.jpg" for i in range(n)]
    make(tmp_path / "p", dict.fromkeys(names, b"x"))
    shown = preview(make_plan(tmp_path / "p", names, sample.labels * 0, ["g"], np.ones(n)), tmp_path / "s")
    assert len({a.to for a in shown.actions}) == n and shown.actions[-1].to == f"g/IMG ({n}).jpg"
