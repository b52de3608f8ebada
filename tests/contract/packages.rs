//! Packages that a program imports or asks for, and the modules of its own that no package takes
//! the place of.

use belljar_test_support::{outcome, run, said};
use serde_json::{Value, json};

use crate::case::{case, check_all};

const MINE: &str = "NAME = 'mine'\ndef double(x):\n    return 2 * x\n";

#[test]
fn a_strangers_package_never_takes_the_place_of_a_module_of_the_programs_own_in_python() {
    let cases = [
        case("in a folder on sys.path", "import sys\nsys.path.append('lib')\nimport helpers\nhelpers.NAME").file("lib/helpers.py", MINE),
        case("of a well-known name", "import sys\nsys.path.insert(0, 'lib')\nimport humanize\nhumanize.NAME").file("lib/humanize.py", MINE),
        case(
            "in the folder that it changes to",
            "import os, sys\nos.chdir('work')\nsys.path.insert(0, os.getcwd())\nimport config\nconfig.NAME",
        )
        .file("work/config.py", MINE),
        case("a package beneath src", "import sys\nsys.path.insert(0, 'src')\nfrom mypkg.core import NAME\nNAME")
            .file("src/mypkg/__init__.py", "")
            .file("src/mypkg/core.py", MINE),
        case("that it writes", "open('utils.py', 'w').write('def double(x): return 2*x\\n')\nfrom utils import double\ndouble(21) == 42 and 'mine'"),
        case("that it writes with pathlib", "from pathlib import Path\nPath('models.py').write_text('NAME = \"mine\"')\nimport models\nmodels.NAME"),
        case(
            "a package that it writes",
            "import os\nos.makedirs('toolkit')\nopen(os.path.join('toolkit', '__init__.py'), 'w').write('NAME = \"mine\"')\nimport toolkit\ntoolkit.NAME",
        ),
        case("in sys.modules", "import sys, types\nm = types.ModuleType('virt_kq')\nm.NAME = 'mine'\nsys.modules['virt_kq'] = m\nimport virt_kq\nvirt_kq.NAME"),
        case(
            "loaded by its path",
            "import importlib.util\nspec = importlib.util.spec_from_file_location('plugin', 'deep/er/plugin.py')\nm = importlib.util.module_from_spec(spec)\nspec.loader.exec_module(m)\nm.NAME",
        )
        .file("deep/er/plugin.py", MINE),
        case("on PYTHONPATH", "import m_kq\nm_kq.NAME").file("vendor/m_kq.py", MINE).flags(&["--env", "PYTHONPATH=/home/user/vendor"]),
        case("of a site folder", "import site\nsite.addsitedir('extra')\nimport common\ncommon.NAME").file("extra/common.py", MINE),
        case(
            "of a finder of its own",
            "import sys, types\nfrom importlib.machinery import ModuleSpec\nclass F:\n    def find_spec(self, name, path=None, target=None):\n        return ModuleSpec(name, self) if name == 'virtual' else None\n    def create_module(self, spec):\n        return types.ModuleType(spec.name)\n    def exec_module(self, module):\n        module.NAME = 'mine'\nsys.meta_path.append(F())\nimport virtual\nvirtual.NAME",
        ),
    ];
    check_all("python", &cases.map(|case| case.gives(json!("mine"))));
}

#[test]
fn nothing_is_installed_for_a_name_of_the_programs_own() {
    let folder = tempfile::tempdir().unwrap();
    let granted = folder.path().join("libs");
    std::fs::create_dir(&granted).unwrap();
    std::fs::write(granted.join("lib_kq.py"), MINE).unwrap();
    let own = folder.path().join("own.py");
    std::fs::write(&own, MINE).unwrap();
    let (granted, own) = (granted.to_str().unwrap(), own.to_str().unwrap());
    let file = |name: &str| format!("--file={name}={own}");
    for (language, code, flags) in [
        (
            "python",
            "import sys\nsys.path.insert(0, 'lib')\nimport humanize\nhumanize.NAME",
            vec![file("lib/humanize.py")],
        ),
        (
            "python",
            "open('utils.py', 'w').write('NAME = \"mine\"')\nimport utils\nutils.NAME",
            vec![],
        ),
        (
            "python",
            &*format!("import sys\nsys.path.append('{granted}')\nimport lib_kq\nlib_kq.NAME"),
            vec![format!("--read={granted}")],
        ),
        (
            "python",
            "try:\n    import helpers\nexcept ImportError:\n    pass\n'mine'",
            vec![file("a/b/helpers.py")],
        ),
        ("javascript", "try { require('helpers') } catch {}\n'mine'", vec![file("lib/helpers.js")]),
    ] {
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        let ended = outcome(language, code, &flags);
        assert_eq!(
            (&ended["value"], &ended["sandbox"]["environment"]),
            (&json!("mine"), &Value::Null),
            "{code}: {ended}"
        );
    }
}

#[test]
fn a_strangers_package_never_takes_the_place_of_a_file_of_the_programs_own_in_javascript() {
    let tsconfig = r#"{"compilerOptions": {/* here */ "baseUrl": ".", "paths": {"@lib/*": ["lib/*"], "settings": ["./lib/settings.ts"]}}}"#;
    for (code, files) in [
        (
            "import { n } from 'src/b'; export default n;",
            [("src/b.ts", "export const n = 4"), ("tsconfig.json", tsconfig)],
        ),
        (
            "import { n } from '@lib/b'; export default n;",
            [("lib/b.ts", "export const n = 4"), ("tsconfig.json", tsconfig)],
        ),
        (
            "import { n } from 'settings'; export default n;",
            [("lib/settings.ts", "export const n = 4"), ("tsconfig.json", tsconfig)],
        ),
        (
            "import { n } from 'utils/b'; export default n;",
            [("utils/b.ts", "export const n = 4"), ("data.json", "{}")],
        ),
        (
            "import { n } from 'one'; export default n;",
            [("packages/one/index.js", ""), ("packages/one/package.json", r#"{"name": "one"}"#)],
        ),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let mut command = run(["--language", "typescript", "--eval", code, "--json"]);
        for (index, (name, content)) in files.iter().enumerate() {
            let path = folder.path().join(index.to_string());
            std::fs::write(&path, content).unwrap();
            command.arg("--file").arg(format!("{name}={}", path.display()));
        }
        let ended = said(&mut command).outcome();
        assert_eq!(
            ended["sandbox"]["environment"],
            Value::Null,
            "nothing is installed: {code}: {ended}"
        );
        assert_ne!(ended["status"], "refused", "{code}: {ended}");
    }
}

#[test]
fn a_name_that_no_registry_has_is_said_where_the_import_is_reached() {
    check_all(
        "python",
        &[
            case("in a function that is not called", "def never():\n    import zq_not_there_1\n1").gives(json!(1)),
            case("suppressed", "import contextlib\nwith contextlib.suppress(ImportError):\n    import zq_not_there_2\n1").gives(json!(1)),
            case("looked for", "from importlib.util import find_spec\nif find_spec('zq_not_there_3'):\n    import zq_not_there_3\n1")
                .gives(json!(1)),
            case("in a branch", "DEBUG = False\nif DEBUG:\n    import zq_not_there_4\n1").gives(json!(1)),
            case("next to a package that exists", "def never():\n    import zq_not_there_5\nimport humanize\nhumanize.intcomma(1000)")
                .gives(json!("1,000")),
            case("reached", "import pandass_zq")
                .fails("ModuleNotFoundError", &["package `pandass-zq` not found in any configured registry", "it was not installed"]),
            case("near another", "import humanise_").fails("ModuleNotFoundError", &["No module named 'humanise_'"]),
        ],
    );
    check_all(
        "javascript",
        &[
            case(
                "in a function that is not called",
                "function never() { require('zq-not-there-1') }\n1",
            )
            .gives(json!(1)),
            case("reached", "require('expresss-zz')").fails(
                "Error",
                &[
                    "package `expresss-zz` not found in any configured registry",
                    "it was not installed",
                ],
            ),
        ],
    );
}

#[test]
fn packages_that_calls_of_a_library_need_come_along() {
    check_all(
        "python",
        &[
            case(
                "to_excel, read_excel and to_markdown",
                "import pandas as pd\ndf = pd.DataFrame({'a': [1, 2]})\ndf.to_excel('x.xlsx', index=False)\nback = pd.read_excel('x.xlsx')\n[int(back.a.sum()), '|' in df.to_markdown()]",
            )
            .flags(&["--timeout", "60s", "--cpu", "30s", "--memory", "512MB"])
            .gives(json!([3, true])),
            case("a parser for BeautifulSoup", "from bs4 import BeautifulSoup\nBeautifulSoup('<p>x</p>', 'lxml').p.text").gives(json!("x")),
            case("EmailStr", "from pydantic import BaseModel, EmailStr\nclass M(BaseModel):\n    e: EmailStr\nM(e='a@example.org').e").gives(json!("a@example.org")),
            case("qrcode.make", "import qrcode\nqrcode.make('x').size[0] > 10").gives(json!(true)),
            case("pkg_resources", "import pkg_resources\npkg_resources.parse_version('1.10') > pkg_resources.parse_version('1.9')").gives(json!(true)),
        ],
    );
}

#[test]
fn a_listed_package_is_added_to_what_the_program_needs() {
    let code = "import humanize\nimport importlib.metadata as m\n[humanize.intcomma(1000), m.version('tabulate')]";
    check_all(
        "python",
        &[
            case("to its imports", code).flags(&["--package", "tabulate==0.9.0"]).gives(json!(["1,000", "0.9.0"])),
            case("to a manifest", code)
                .file("requirements.txt", "humanize\n")
                .flags(&["--package", "tabulate==0.9.0"])
                .gives(json!(["1,000", "0.9.0"])),
            case(
                "and its version counts",
                "# /// script\n# dependencies = ['humanize==4.9.0']\n# ///\nimport importlib.metadata as m\nm.version('humanize')",
            )
            .flags(&["--package", "humanize==4.8.0"])
            .gives(json!("4.8.0")),
            case("or is all that there is", "import humanize")
                .flags(&["--package", "tabulate", "--only-packages"])
                .fails("ModuleNotFoundError", &["list humanize too", "only the listed packages are installed"]),
        ],
    );
    check_all(
        "javascript",
        &[case(
            "to its imports",
            "[require('lodash').chunk([1, 2], 1).length, require('ms')('1s')]",
        )
        .flags(&["--package", "ms@2.1.3"])
        .gives(json!([2, 1000]))],
    );
}

#[test]
fn the_hint_for_a_missing_package_works_as_written() {
    let missing = outcome("python", "__import__('tab' + 'ulate').tabulate([[1]])", &[]);
    let hint = missing["error"]["hint"].as_str().unwrap();
    let line = hint.split('`').nth(1).unwrap_or_default();
    assert_eq!(line, "# @add-package tabulate", "{missing}");
    let ended = outcome(
        "python",
        &format!("{line}\n__import__('tab' + 'ulate').tabulate([[1]]) != ''"),
        &[],
    );
    assert_eq!(ended["value"], true, "{ended}");
    let missing = outcome("javascript", "require('m' + 's')", &[]);
    assert!(
        missing["error"]["hint"].as_str().unwrap().contains("`// @add-package ms`"),
        "{missing}"
    );
}

#[test]
fn names_of_imports_are_understood_as_packages() {
    check_all(
        "python",
        &[
            case("in requirements.txt", "import yaml\nyaml.safe_load('a: 1')")
                .file("requirements.txt", "yaml\n")
                .gives(json!({"a": 1}))
                .notes(&["installed pyyaml, the package that provides the import yaml"]),
            case(
                "as a listed package",
                "import dateutil.parser\ndateutil.parser.parse('2024-01-02').day",
            )
            .flags(&["--package", "dateutil"])
            .gives(json!(2))
            .notes(&["installed python-dateutil"]),
        ],
    );
}

#[test]
fn a_version_is_not_silently_an_old_one_for_want_of_a_wheel() {
    let refused = outcome("python", "import hydra", &[]);
    assert_eq!(
        (&refused["status"], &refused["error"]["name"]),
        (&json!("refused"), &json!("PackageNeedsBuild")),
        "{refused}"
    );
    let message = refused["error"]["message"].as_str().unwrap();
    assert!(message.contains("needs antlr4-python3-runtime, which has no wheel"), "{message}");
    assert!(
        message.contains("hydra-core==0."),
        "the one that can be asked for is named: {message}"
    );
    // Nearer ones are installed, and a note says it.
    let noted = outcome("python", "def never():\n    import rouge_score", &[]);
    let said = format!("{}{}", noted["notes"], noted["error"]);
    assert!(said.contains("rouge-score") && said.contains("has no wheel"), "{noted}");
    let asked = outcome(
        "python",
        "import importlib.metadata as m\nm.version('rouge-score')",
        &["--package", "rouge-score==0.0.4"],
    );
    assert_eq!(asked["value"], "0.0.4", "what is asked for is installed: {asked}");
}

#[test]
fn what_an_install_script_would_have_made_is_said_to_be_missing() {
    let ended = outcome("javascript", "require('sqlite3')", &[]);
    let hint = ended["error"]["hint"].as_str().unwrap_or_default();
    assert!(hint.contains("install script of sqlite3") && hint.contains("allow_build"), "{ended}");
}
