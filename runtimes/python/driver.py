# The entry of the Python driver. Started as `python3 -I -S -X utf8 driver.py`; everything else is
# in lib/. lib/ leads the path only while the driver imports itself, so that no module of the
# program can take its place.
import sys
from gc import disable
from marshal import loads

# Until boot.py turns it on again: what the driver makes while it starts, it keeps.
disable()
sys.path.insert(0, __file__.rpartition("/")[0] + "/lib")
try:
    with open(f"{sys.path[0]}/bundle.{sys.implementation.cache_tag}", "rb") as bundle:
        load, modules = loads(bundle.read())
except FileNotFoundError:
    pass
else:
    exec(load, {"modules": modules})
from belljar_driver import boot

del sys.path[0]
boot.main()
