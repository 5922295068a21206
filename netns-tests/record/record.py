"""record.py OUT_FOLDER CASE_FILE... [--only NAME]: run every case_* function and save its transcript."""
import importlib.util, sys, time, traceback, inspect
import os
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from lab import Lab
out, files, only = sys.argv[1], [], None
a = sys.argv[2:]
while a:
    x = a.pop(0)
    if x == "--only": only = a.pop(0)
    else: files.append(x)
bad = 0
for path in files:
    spec = importlib.util.spec_from_file_location("cases", path); mod = importlib.util.module_from_spec(spec); spec.loader.exec_module(mod)
    for name, fn in list(vars(mod).items()):
        if not name.startswith("case_") or only and only not in name: continue
        if not only and os.path.exists(f"{out}/{name[5:].replace(chr(95), chr(45))}.json"): continue
        t = time.time()
        opts = getattr(fn, "lab", {})
        lab = None
        try:
            lab = Lab(name[5:].replace("_", "-"), fn.__doc__, **opts)
            fn(lab); lab.save(out); print(f"ok   {lab.name} {len(lab.steps)} steps {time.time()-t:.1f}s", flush=True)
        except Exception:
            bad += 1; print(f"FAIL {name}", flush=True); traceback.print_exc()
        finally: lab and lab.close()
sys.exit(bad > 0)
