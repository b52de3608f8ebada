//! Imports in Python programs: what was imported in advance is not to be seen before the program
//! asks for it.

use serde_json::json;

use crate::case::{case, check_all};

#[test]
fn what_a_program_sets_before_its_import_counts() {
    check_all(
        "python",
        &[
            case(
                "a variable that a package reads when it is imported",
                "import os\nos.environ['LOGURU_LEVEL'] = 'WARNING'\nfrom loguru import logger\nlogger.info('hidden')\n'done'",
            )
            .gives(json!("done"))
            .logs(&[]),
            case("set in one go", "import os; os.environ.update(LOGURU_AUTOINIT='False'); from loguru import logger; len(logger._core.handlers)").gives(json!(0)),
            case("set by a function", "import os\ndef set_up():\n    os.environ['LOGURU_AUTOINIT'] = '0'\nset_up()\nimport loguru\nlen(loguru.logger._core.handlers)").gives(json!(0)),
            case("given to the run", "from loguru import logger\nlen(logger._core.handlers)").flags(&["--env", "LOGURU_AUTOINIT=False"]).gives(json!(0)),
            case("set in a way that no text shows", "import os\nsetattr(os, 'unused', 1)\nexec(\"os.\" + \"environ['LOGURU_AUTOINIT'] = 'no'\")\nimport loguru\nlen(loguru.logger._core.handlers)").gives(json!(0)),
            case(
                "a native package's threads",
                "import os\nos.environ['OPENBLAS_NUM_THREADS'] = '1'\nimport numpy, ctypes\nlen(os.listdir('/proc/self/task'))",
            )
            .gives(json!(1)),
            case(
                "a module that is replaced",
                "import sys, types\nfake = types.ModuleType('humanize')\nfake.ordinal = lambda n: 'mine'\nsys.modules['humanize'] = fake\nimport humanize\nhumanize.ordinal(1)",
            )
            .gives(json!("mine")),
            case(
                "a module of the standard library that is patched",
                "import time\ntime.time = lambda: 86400.0\nfrom loguru import logger\nimport loguru._logger\n'patched'",
            )
            .gives(json!("patched")),
            case(
                "gevent's patches come before what they patch",
                "from gevent import monkey\nmonkey.patch_all()\nimport requests\nfrom urllib3.util.ssl_ import create_urllib3_context\ntype(create_urllib3_context()).__module__.partition('.')[0]",
            )
            .gives(json!("gevent")),
        ],
    );
}

#[test]
fn nothing_is_there_or_has_run_that_was_not_asked_for() {
    check_all(
        "python",
        &[
            case(
                "not in the table of modules",
                "import sys\nbefore = [name for name in ('humanize', 'humanize.time', 'numpy') if name in sys.modules]\nimport humanize\nimport numpy\n[before, 'humanize' in sys.modules, 'humanize.time' in sys.modules]",
            )
            .gives(json!([[], true, true])),
            case(
                "each comes with its own import",
                "import sys\nimport humanize\nfirst = 'loguru' in sys.modules\nimport loguru\n[first, 'loguru' in sys.modules, 'loguru._logger' in sys.modules]",
            )
            .gives(json!([false, true, true])),
            case(
                "what one imports of another comes along",
                "import pandas, sys\n[name in sys.modules for name in ('numpy', 'dateutil', 'numpy.linalg', 'pandas.core.frame')]",
            )
            .gives(json!([true, true, true, true])),
            case("found without being imported", "import importlib.util, sys\nspec = importlib.util.find_spec('humanize')\nhere = 'humanize' in sys.modules\nimport humanize\n[spec.origin == humanize.__file__, here, humanize.__spec__.name]")
                .gives(json!([true, false, "humanize"])),
            case("imported by name", "import importlib\nimportlib.import_module('humanize.time').naturaldelta(60)\n").gives(json!("a minute")),
            case("imported again", "import importlib, humanize\nimportlib.reload(humanize).ordinal(1)").gives(json!("1st")),
            case("pickled and back", "import pickle, numpy as np\npickle.loads(pickle.dumps(np.arange(3))).tolist()").gives(json!([0, 1, 2])),
            case("seeds are the run's", "import numpy as np\na = np.random.rand()\nnp.random.seed(1)\nb = np.random.rand()\na != b").gives(json!(true)),
        ],
    );
}

#[test]
fn the_path_decides_which_module_is_meant() {
    check_all(
        "python",
        &[
            case("a module next to the program", "import humanize\nhumanize.NAME")
                .file("humanize.py", "NAME = 'mine'")
                .gives(json!("mine")),
            case(
                "one in a folder that is put first",
                "import sys\nsys.path.insert(0, 'lib')\nimport humanize\nhumanize.NAME",
            )
            .file("lib/humanize.py", "NAME = 'mine'")
            .gives(json!("mine")),
            case("one in PYTHONPATH", "import humanize\nhumanize.NAME")
                .file("vendor/humanize/__init__.py", "NAME = 'vendored'")
                .flags(&["--env", "PYTHONPATH=/home/user/vendor"])
                .gives(json!("vendored")),
            case(
                "one that the program writes first",
                "open('humanize.py', 'w').write('NAME = 42')\nimport humanize\nhumanize.NAME",
            )
            .gives(json!(42)),
            case(
                "a package of the registry where the path has none first",
                "import sys\nsys.path.append('lib')\nimport humanize\nhumanize.ordinal(2)",
            )
            .file("lib/other.py", "1")
            .flags(&["--package", "humanize"])
            .gives(json!("2nd")),
        ],
    );
}
