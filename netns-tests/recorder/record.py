"""record.py OUT_FOLDER CASE_FILE… [--only NAME]…: plays cases, and saves a transcript of each.

Without --only, those that have no transcript in OUT_FOLDER yet. NAME may hold `*`.
"""
import fnmatch, importlib.util, os, subprocess, sys, time, traceback
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from lab import Lab

def arguments(rest):
    files, only = [], []
    while rest:
        word = rest.pop(0)
        if word == "--only": only.append(rest.pop(0).replace("_", "-"))
        else: files.append(word)
    return files, only

def cases(path):
    spec = importlib.util.spec_from_file_location("cases", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    # Not what it imported from another file of cases.
    return [(name[5:].replace("_", "-"), play) for name, play in list(vars(module).items())
            if name.startswith("case_") and getattr(play, "__module__", "cases") == "cases"]

def main():
    out = sys.argv[1]
    files, only = arguments(sys.argv[2:])
    for module in ("ip_vs", "dummy"): subprocess.run(["modprobe", module], check=module == "ip_vs")
    bad, played = 0, 0
    for path in files:
        for name, play in cases(path):
            if only and not any(fnmatch.fnmatchcase(name, o) for o in only): continue
            if not only and os.path.exists(f"{out}/{name}.json"): continue
            start, lab, played = time.time(), None, played + 1
            try:
                lab = Lab(name, play.__doc__, **getattr(play, "lab", {}))
                play(lab)
                lab.save(out)
                print(f"ok   {lab.name} {len(lab.steps)} steps {time.time() - start:.1f}s", flush=True)
            except Exception:
                bad += 1
                print(f"FAIL {name}", flush=True)
                traceback.print_exc()
            finally:
                if lab: lab.close()
    if not played: print("record: nothing to play" + (" by that name" if only else ": every case has its transcript"), file=sys.stderr)
    sys.exit(bad > 0 or bool(only) and not played)

main()
