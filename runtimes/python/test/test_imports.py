"""Imports of a program are found without running any of it."""

import os
import unittest

from sandboxes import run


def find(code, **options):
    outcome = run(code, task="find_imports", **options)
    if outcome.error:
        raise AssertionError(outcome.error["stack"])
    return outcome.value


def imports(code, **options):
    return find(code, **options)["imports"]


def needed(code):
    return sorted(name for name, is_optional in imports(code).items() if not is_optional)


def additions(code):
    return sorted(find(code)["additions"])


class Imports(unittest.TestCase):
    def test_are_named_in_full(self):
        self.assertEqual(
            needed("import os, a.b as c\nfrom google.cloud.storage import Client\nfrom x import *"),
            ["a.b", "google.cloud.storage", "os", "x"],
        )

    def test_are_found_wherever_they_stand(self):
        for code in (
            "def f():\n  import a", "async def f():\n  import a", "class C:\n  def f(self):\n    import a", "if x:\n  pass\nelif y:\n  import a",
            "with x:\n  import a", "for x in y:\n  pass\nelse:\n  import a", "match x:\n  case 1:\n    import a", "while x: import a",
            "try:\n  pass\nexcept KeyError:\n  pass\nelse:\n  import a", "try:\n  pass\nfinally:\n  import a", "await f()\nimport a", "import a\nreturn 1",
        ):  # fmt: skip
            self.assertEqual(needed(code), ["a"], code)

    def test_are_found_in_both_start_modes(self):
        for start in ("exec", "fork"):
            self.assertEqual(imports("import a  # @add-package b", start=start), {"a": False})

    def test_by_call_are_found_where_the_name_is_written_out(self):
        for call in (
            "importlib.import_module('a.b')",
            "import_module('a.b')",
            "__import__('a.b')",
            "builtins.__import__(name='a.b')",
        ):
            self.assertEqual(needed(f"def f(x):\n  return [x, {{1: {call}}}]"), ["a.b"], call)
        for call in ("import_module(name)", "import_module(f'{a}')", "import_module('.a', 'b')", "import_module('no name')", "import_module()",
                     "__import__(1)", "importlib.util.find_spec('a')", "pytest.importorskip('a')", "other('a')"):  # fmt: skip
            self.assertEqual(needed(f"x = {call}; __import__"), [], call)

    def test_that_are_relative_are_the_programs_own(self):
        self.assertEqual(
            needed("from . import a\nfrom .b import c\nfrom .. import d\nimport e"), ["e"]
        )

    def test_for_type_checkers_alone_are_left_out(self):
        self.assertEqual(
            needed(
                "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n  import a\nelse:\n  import b"
            ),
            ["b", "typing"],
        )
        self.assertEqual(
            needed("import typing as t\nif t.TYPE_CHECKING:\n  import a\nelif x:\n  import b"),
            ["b", "typing"],
        )
        self.assertEqual(needed("if not TYPE_CHECKING:\n  import a\nelse:\n  import b"), ["a"])

    def test_are_optional_where_their_failure_is_caught(self):
        for caught in (
            "",
            " ImportError",
            " ModuleNotFoundError as e",
            " (KeyError, ImportError)",
            " Exception",
            " builtins.ImportError",
        ):
            code = f"try:\n  if x:\n    import a\nexcept{caught}:\n  import b\nelse:\n  import c"
            self.assertEqual(imports(code), {"a": True, "b": False, "c": False}, caught)
        for code in (
            "try:\n  import a\nexcept KeyError:\n  pass", "try:\n  import a\nfinally:\n  pass", "try:\n  import a\nexcept x[0]:\n  pass",
            "try:\n  def f():\n    import a\nexcept ImportError:\n  pass", "try:\n  import a\nexcept ImportError:\n  pass\nimport a",
        ):  # fmt: skip
            self.assertEqual(imports(code), {"a": False}, code)
        self.assertEqual(
            imports("try:\n  a = __import__('a')\nexcept ImportError:\n  a = None"), {"a": True}
        )

    def test_of_all_files_count(self):
        files = {
            "deep/er/helpers.py": "try:\n  import a\nexcept ImportError:\n  pass",
            "broken.py": "import broken\n(",
            "nul.py": "import nul\n\0",
        }
        self.assertEqual(imports("import a, b", files=files), {"a": False, "b": False})

    def test_are_found_in_the_encoding_that_a_file_declares(self):
        self.assertEqual(
            imports("# coding: latin-1\nimport größe".encode("latin-1")), {"größe": False}
        )

    def test_that_are_suppressed_or_looked_for_first_are_optional(self):
        for code in (
            "with contextlib.suppress(ImportError):\n  import a", "with open(x), suppress(KeyError, ModuleNotFoundError):\n  import a",
            "if find_spec('a'):\n  import a", "if importlib.util.find_spec('a') is not None:\n  import a", "if not find_spec('b') and x:\n  import a",
            "if 'a' in sys.modules:\n  import a",
        ):  # fmt: skip
            self.assertTrue(imports(code)["a"], code)
        for code in (
            "with suppress(KeyError):\n  import a",
            "if x:\n  import a",
            "if find_spec('a'):\n  pass\nelse:\n  import a",
        ):
            self.assertFalse(imports(code)["a"], code)


class OwnModules(unittest.TestCase):
    def own(self, code):
        return find(code)["own"]

    def test_are_those_whose_files_a_program_names(self):
        for text in (
            "'utils.py'",
            "'./lib/utils.py'",
            "f'{d}/utils.py'",
            "'cat > utils.py <<EOF'",
            "'utils.pyc'",
            "r'lib\\utils.py'",
        ):
            self.assertIn("utils", self.own(f"import utils\nopen({text}, 'w')"), text)
        for text in (
            "'https://example.org/utils.py'",
            "'/x/site-packages/utils.py'",
            "'utils.pytorch'",
            "'utils.txt'",
        ):
            self.assertNotIn("utils", self.own(f"import utils\nopen({text}, 'w')"), text)
        self.assertEqual(
            self.own("'as in utils.py'\nimport utils  # utils.py\ndef f():\n  'see utils.py'"), []
        )

    def test_are_those_that_a_program_puts_into_the_interpreter(self):
        for code in (
            "sys.modules['virt'] = m", "sys.modules['virt.sub'] = m", "modules.setdefault('virt', m)", "sys.modules.update({'virt': m})",
            "patch.dict('sys.modules', {'virt': m})", "patch.dict(sys.modules, {'virt': m})", "types.ModuleType('virt')",
            "importlib.util.spec_from_file_location('virt', p)", "sys.modules |= {'virt': m}", "sys.meta_path.append(F({'virt': 1}))",
        ):  # fmt: skip
            self.assertIn("virt", self.own(f"import virt\n{code}"), code)
        for code in ("print(sys.modules['virt'])", "d['virt'] = 1", "other.update({'virt': 1})"):
            self.assertNotIn("virt", self.own(f"import virt\n{code}"), code)

    def test_are_packages_whose_folders_a_program_makes(self):
        self.assertIn(
            "pkg",
            self.own(
                "import pkg\nos.makedirs('pkg')\nopen(os.path.join('pkg', '__init__.py'), 'w')"
            ),
        )


class Uses(unittest.TestCase):
    def test_are_attributes_names_and_strings(self):
        uses = find(
            "from pandas import read_excel\ndf.to_excel('x.xls', engine='xlsxwriter')\ncreate_engine('postgresql+psycopg2://x')"
        )["uses"]
        for use in (".read_excel", ".to_excel", "*.xls", '"xlsxwriter"', "postgresql+psycopg2://"):
            self.assertIn(use, uses)

    def test_are_bounded(self):
        code = (
            "import a\n"
            + "\n".join(f"a.b{n}" for n in range(10_000))
            + "\nx = '"
            + "y" * 1000
            + "'"
        )
        uses = find(code)["uses"]
        self.assertEqual((len(uses), max(map(len, uses)) < 70), (4000, True))


class Additions(unittest.TestCase):
    def test_are_what_comments_say(self):
        code = "#!/usr/bin/env python\n# @add-package name=1.2.3 \n#@add-package\tother\nx = 1  # @add-package after code\n## @add-package a b"
        self.assertEqual(additions(code), ["a b", "after code", "name=1.2.3", "other"])

    def test_are_not_what_is_no_comment_or_no_line_of_its_own(self):
        code = "'# @add-package a'\n'''\n# @add-package b\n'''\n# say @add-package c\n# @add-package\n# @add-packages d"
        self.assertEqual(additions(code), [])


class Nothing(unittest.TestCase):
    def test_of_the_program_is_run(self):
        attack = (
            "import os\nos.write(1, b'ran')\nprint('ran')\nopen('ran', 'w')\nraise SystemExit(7)"
        )
        ran = run(attack)
        self.assertEqual((ran.stdout, ran.exit_code), ("ranran\n", 7))
        found = run(
            attack,
            task="find_imports",
            files={
                "os.py": attack,
                "warnings.py": attack,
                "tokenize.py": attack + "# @add-package a",
            },
        )
        self.assertEqual((found.stdout, found.stderr, found.exit_code), ("", "", None))
        self.assertEqual(found.value["imports"], {"os": False})

    def test_hostile_keeps_an_answer_from_being_given(self):
        for hostile in (
            "[" * 5000 + "]" * 5000, "-" * 100_000 + "1", "a" + ".b" * 100_000, "a" + "()" * 20_000, "lambda:" * 5000 + "1", "not " * 20_000 + "a",
            "@a\n" * 100_000, "@a\n" * 20_000 + "def f(): pass", "if a:\n" + "".join(" " * n + "if a:\n" for n in range(1, 2000)), "f'" + "{f'" * 1000,
            "1" * 100_000, "'\\d'\n" * 1000, "a" + "+a" * 20_000,
        ):  # fmt: skip
            code = f"{hostile}\nimport hidden_after"
            with self.subTest(hostile[:20]):
                found = run("import a", task="find_imports", files={"hostile.py": code})
                self.assertIsNone(found.error)
                self.assertIn("a", found.value["imports"])
                self.assertEqual(found.stderr, "")

    def test_of_a_folder_is_opened_that_is_not_the_programs(self):
        found = run(
            "import a",
            task="find_imports",
            files={os.path.join("b", "c.py"): "import d"},
            env={"PYTHONPATH": "b"},
        )
        self.assertEqual(found.value["imports"], {"a": False, "d": False})


if __name__ == "__main__":
    unittest.main()
