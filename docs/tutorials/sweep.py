# %% [markdown]
# # A sweep that is killed in the middle
#
# Hours of work, and the machine goes away. A sweep writes finished blocks, and the same command
# goes on with what is missing. Here the process is killed with SIGKILL, which no program can
# catch. Needs `pip install "jaxeval[demo]"`.

# %%
import subprocess
import sys
import time
from pathlib import Path

import jaxeval as je

Path("sweep.toml").write_text("""\
data = { source = "digits", limit = 120 }
model = "digits"
output = "scores"
shard_size = 20
explainers = ["Saliency", "InputXGradient", "Random"]

[metrics.flipping]
class = "PixelFlipping"
n_steps = 8
baseline = [0.0, "mean"]

[metrics.Sparseness]
""")
command = [sys.executable, "-m", "jaxeval"]


def run(*arguments):
    done = subprocess.run([*command, *arguments], capture_output=True, text=True)
    print(done.stdout.strip() or done.stderr.strip())
    return done.returncode


# %% [markdown]
# First what it would cost; nothing is written.

# %%
assert run("run", "sweep.toml", "--dry-run") == 0

# %% [markdown]
# Started, and killed as soon as a block is finished:

# %%
process = subprocess.Popen([*command, "run", "sweep.toml", "--quiet"])
while not list(Path("scores/parts").glob("*.parquet")):
    assert process.poll() is None
    time.sleep(0.05)
process.kill()
process.wait()
before = {p.name: p.stat().st_mtime_ns for p in Path("scores/parts").glob("*.parquet")}
print(f"killed, exit code {process.returncode}, {len(before)} of 6 blocks are there")

# %%
assert run("status", "sweep.toml") == 0

# %% [markdown]
# The same command again. Blocks that are there are not computed again:

# %%
assert run("run", "sweep.toml", "--quiet") == 0
after = {p.name: p.stat().st_mtime_ns for p in Path("scores/parts").glob("*.parquet")}
assert len(after) == 6
assert all(after[name] == time_ for name, time_ in before.items())

# %%
results = je.Store("scores").results()
results

# %% [markdown]
# Scores are the same as if nothing had happened, as the random numbers of a sample depend on the
# seed and the sample alone. [Sweeps](../sweeps.md) has clusters, grids, and data of any size.
