# The entry of the Python driver. Started as `python3 -I driver.py`; everything else is in lib/.
# Its own folder leads the path only while the driver imports itself, so that no module of the program can take its place.
import sys

sys.path.insert(0, __file__.rpartition("/")[0] + "/lib")
from belljar_driver import boot

del sys.path[0]
boot.main()
