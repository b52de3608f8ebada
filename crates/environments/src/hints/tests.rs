use belljar_protocol::RunError;

use super::*;

fn error(name: &str, message: &str) -> RunError {
    RunError { name: name.to_owned(), message: message.to_owned(), ..RunError::default() }
}

fn known(language: Language, decision: Decision) -> Known {
    let installed = vec![LockedPackage { name: "pandas".to_owned(), version: "3.0.0".to_owned() }];
    let own = OwnFiles::new(["main.py", "lib/helpers.py", "tools.js"], "main.py");
    Known {
        language,
        decision,
        own,
        missing: vec!["pandass".to_owned()],
        installed,
        unbuilt: vec!["sqlite3".to_owned(), "sharp".to_owned()],
    }
}

#[test]
fn a_missing_package_is_named_with_a_line_that_works() {
    for (name, message, requirement) in [
        ("ModuleNotFoundError", "No module named 'openpyxl'", "openpyxl"),
        ("ModuleNotFoundError", "No module named 'cv2'", "opencv-python-headless"),
        ("ModuleNotFoundError", "No module named 'pkg_resources'", "setuptools<81"),
        (
            "ImportError",
            "Missing optional dependency 'tabulate'.  Use pip or conda to install tabulate.",
            "tabulate",
        ),
        (
            "ImportError",
            "`Import openpyxl` failed.  Use pip or conda to install the openpyxl package.",
            "openpyxl",
        ),
        ("ImportError", "lxml not found, please install it", "lxml"),
        (
            "ImportError",
            "matplotlib is required for plotting when the default backend \"matplotlib\" is selected.",
            "matplotlib",
        ),
        (
            "ImportError",
            "sklearn needs to be installed in order to use this module",
            "scikit-learn",
        ),
        ("ImportError", "Plotly Express requires numpy to be installed.", "numpy"),
        (
            "ImportError",
            "email-validator is not installed, run `pip install 'pydantic[email]'`",
            "pydantic[email]",
        ),
        (
            "ImportError",
            "Please either conda or pip install as follows:\n\n  conda install dask\n  python -m pip install \"dask[array]\" --upgrade",
            "dask[array]",
        ),
        (
            "RuntimeError",
            "The starlette.testclient module requires the httpx package to be installed.\nYou can install this with:\n\n    $ pip install httpx\n",
            "httpx",
        ),
        (
            "ValueError",
            "Mime type rendering requires nbformat>=4.2.0 but it is not installed; pip install -U nbformat",
            "nbformat",
        ),
        (
            "FeatureNotFound",
            "Couldn't find a tree builder with the features you requested: lxml. Do you need to install a parser library?",
            "lxml",
        ),
    ] {
        let hint = known(Language::Python, Decision::Imports).hint(&error(name, message));
        assert_eq!(
            hint.as_deref(),
            Some(&*format!("add the line `# @add-package {requirement}` to install it")),
            "{message}"
        );
    }
    let node = known(Language::TypeScript, Decision::Imports);
    for message in [
        "Cannot find module 'chalk'\nRequire stack:",
        "Cannot find package 'chalk' imported from /home/user/main.js",
    ] {
        assert_eq!(
            node.hint(&error("Error", message)).as_deref(),
            Some("add the line `// @add-package chalk` to install it")
        );
    }
}

#[test]
fn an_error_that_is_about_no_package_has_no_hint() {
    for (name, message) in [
        ("ModuleNotFoundError", "No module named 'pandas.nothing'"),
        ("ModuleNotFoundError", "No module named 'distutils'"),
        ("ValueError", "x is required for y"),
        ("KeyError", "'openpyxl'"),
        ("ImportError", "cannot import name 'x' from 'pandas'"),
        ("ImportError", "pip install ../../etc; rm"),
        ("ImportError", ""),
    ] {
        assert_eq!(
            known(Language::Python, Decision::Imports).hint(&error(name, message)),
            None,
            "{message}"
        );
    }
    for message in ["Cannot find module './x'", "Cannot find module '/x'", "x is not defined"] {
        assert_eq!(
            known(Language::JavaScript, Decision::Imports).hint(&error("Error", message)),
            None,
            "{message}"
        );
    }
}

#[test]
fn what_decided_is_said() {
    let missing = error("ModuleNotFoundError", "No module named 'tabulate'");
    for (decision, words) in [
        (Decision::NoPackages, "remove --no-packages"),
        (Decision::SwitchedOff, "ask the operator to enable packages"),
        (Decision::Listed, "list tabulate too"),
        (Decision::Lock, "use a lock file that contains tabulate"),
        (Decision::Manifest(ManifestSource::RequirementsTxt), "add tabulate to requirements.txt"),
        (
            Decision::Manifest(ManifestSource::ScriptBlock),
            "add tabulate to the dependencies of the program's script block",
        ),
        (
            Decision::Manifest(ManifestSource::PackageJson),
            "add tabulate to the dependencies of package.json",
        ),
    ] {
        let hint = known(Language::Python, decision).hint(&missing).unwrap();
        assert!(hint.contains(words), "{hint}");
    }
}

#[test]
fn a_name_of_the_programs_own_or_of_no_registry_is_said_to_be() {
    let python = known(Language::Python, Decision::Imports);
    let hint = |message: &str| python.hint(&error("ModuleNotFoundError", message)).unwrap();
    assert!(
        hint("No module named 'pandass'")
            .contains("package `pandass` not found in any configured registry")
    );
    assert!(hint("No module named 'pandass'").contains("did you mean `pandas`"));
    assert!(hint("No module named 'helpers'").contains("not the program's own `helpers`"));
    let node = known(Language::JavaScript, Decision::Imports)
        .hint(&error("Error", "Cannot find package 'tools' imported from x"));
    assert!(node.unwrap().contains("by its path `./tools.js`"));
}

#[test]
fn the_cause_of_an_error_is_looked_at_too() {
    let mut outer = error("MyError", "it did not work");
    outer.cause = Some(Box::new(error("ModuleNotFoundError", "No module named 'openpyxl'")));
    assert!(
        known(Language::Python, Decision::Imports)
            .hint(&outer)
            .unwrap()
            .contains("# @add-package openpyxl")
    );
}

#[test]
fn an_error_for_want_of_an_install_script_says_so() {
    let hint = |message: &str, stack: &str| {
        let error = RunError { stack: stack.to_owned(), ..error("Error", message) };
        known(Language::JavaScript, Decision::Imports).hint(&error)
    };
    let of_sqlite = "Error\n    at bindings (/node_modules/bindings/bindings.js:126:9)\n    at Object.<anonymous> (/node_modules/sqlite3/lib/sqlite3-binding.js:1:37)";
    for (message, stack, package) in [
        (
            "Could not locate the bindings file. Tried:\n \u{2192} /node_modules/sqlite3/build/node_sqlite3.node",
            of_sqlite,
            "sqlite3",
        ),
        (
            "Cannot find module '../build/Release/sharp-linux-x64.node'\nRequire stack:\n- /node_modules/sharp/lib/sharp.js",
            "",
            "sharp",
        ),
        (
            "\nSomething went wrong installing the \"sharp\" module\n\nCannot find module",
            "",
            "sharp",
        ),
    ] {
        let hint = hint(message, stack).unwrap_or_default();
        assert!(
            hint.contains(&format!("allow the install script of {package}"))
                && hint.contains("allow_build"),
            "{message}: {hint}"
        );
    }
    assert_eq!(hint("x is not a function", of_sqlite), None, "an error of another kind");
    assert_eq!(
        hint("Could not locate the bindings file", "at /node_modules/other/x.js"),
        None,
        "another package"
    );
}
