//! Notebook habits in Python programs: what models have learned to write in other sandboxes.

use serde_json::json;

use crate::case::{case, check_all};

const NOTEBOOK: &str = "work in a notebook only";

#[test]
fn what_only_a_notebook_knows_is_left_out_with_a_note() {
    check_all(
        "python",
        &[
            case("a magic", "%matplotlib inline\nimport math\nmath.floor(2.5)").gives(json!(2)).notes(&["`%matplotlib inline` (line 1)"]),
            case("several, in one note", "%load_ext autoreload\n%autoreload 2\n%config InlineBackend.figure_format = 'retina'\n6 * 7")
                .gives(json!(42))
                .notes(&["`%load_ext autoreload` (line 1), `%autoreload 2` (line 2), `%config"]),
            case("a magic of a cell", "%%time\nx = 20\nx + 1").gives(json!(21)).notes(&["`%%time` (line 1)"]),
            case("a timed statement is run", "def f():\n    return 5\n%time y = f()\ny").gives(json!(5)).notes(&["`%time` (line 3)"]),
            case("a measured one is not", "ran = []\n%timeit -n 3 ran.append(1)\nlen(ran)").gives(json!(0)).notes(&[NOTEBOOK]),
            case("a shell line", "!ls -la\n'after'").gives(json!("after")).notes(&["`!ls -la` (line 1)"]),
            case("what a shell line is assigned to is empty", "files = !ls *.csv\nlen(files)").gives(json!(0)).notes(&["`files` is empty"]),
            case("a question", "s = 'abc'\ns?\n?s.upper\ns.upper()").gives(json!("ABC")).notes(&["`s?` (line 2), `?s.upper` (line 3)"]),
            case("in a block", "if True:\n    %matplotlib inline\nfor i in range(2):\n    !echo $i\ni").gives(json!(1)).notes(&[NOTEBOOK]),
            case("a cell of another language", "x = 1\n%%bash\necho it's here\nrm -rf /tmp/x\n# %%\nx + 1")
                .gives(json!(2))
                .notes(&["`%%bash` (line 2)"]),
            case("a file that a cell writes is written", "%%writefile helper.py\nVALUE = 7\n# %%\nimport helper\nhelper.VALUE")
                .gives(json!(7)),
            case("variables that a magic sets are set", "%env MODE=fast\nimport os\nos.environ['MODE']").gives(json!("fast")),
            case("get_ipython()", "get_ipython().run_line_magic('matplotlib', 'inline')\nget_ipython().system('ls')\n3")
                .gives(json!(3))
                .notes(&["`%matplotlib inline`", "`ls`"]),
            case(
                "a program that asks whether it is in a notebook",
                "try:\n    get_ipython()\n    where = 'notebook'\nexcept NameError:\n    where = 'script'\nwhere",
            )
            .gives(json!("script")),
        ],
    );
}

#[test]
fn text_that_only_looks_like_a_magic_stays() {
    check_all(
        "python",
        &[
            case(
                "in a string",
                "text = '''\n%matplotlib inline\n!ls\n>>> 1\n```\n'''\ntext.count('\\n')",
            )
            .gives(json!(5)),
            case("a continued operation", "x = (7\n  % 4)\ny = 9 \\\n  % 5\n[x, y]")
                .gives(json!([3, 4])),
            case(
                "with a magic elsewhere",
                "%matplotlib inline\ntext = \"\"\"\n%time x\n!no\"\"\"\ntext",
            )
            .gives(json!("\n%time x\n!no"))
            .notes(&[NOTEBOOK]),
            case(
                "a docstring of doctests",
                "def f():\n    '''\n    >>> f()\n    1\n    '''\n    return 1\nf()",
            )
            .gives(json!(1)),
            case("subscripts and annotations", "In = {}\nIn[1] = 2\nx: int = In[1]\nx")
                .gives(json!(2)),
        ],
    );
}

#[test]
fn lines_keep_their_numbers_whatever_is_left_out() {
    check_all(
        "python",
        &[
            case("an error after magics", "%matplotlib inline\n!ls\n\nraise ValueError('here')")
                .fails("ValueError", &["line 4", "here"])
                .notes(&[NOTEBOOK]),
            case("an error of syntax after them", "%load_ext x\na = 1\nb = = 2")
                .fails("SyntaxError", &["line 3"])
                .notes(&[NOTEBOOK]),
            case("an error within fences", "Sure:\n\n```python\nx = 1\n1 / 0\n```\n")
                .fails("ZeroDivisionError", &["line 5", "1 / 0"])
                .notes(&["fence"]),
            case("an error below prompts", ">>> x = 1\n>>> x.y\nTraceback\n")
                .fails("AttributeError", &["line 2", "x.y"])
                .notes(&["prompts"]),
            case("an error of a program that is indented", "    x = 1\n    raise KeyError('k')")
                .fails("KeyError", &["line 2"])
                .notes(&["indent"]),
        ],
    );
}

#[test]
fn a_program_is_found_in_what_a_chat_puts_around_it() {
    check_all(
        "python",
        &[
            case("fences", "```python\nx = 20\nx * 2 + 2\n```").gives(json!(42)).notes(&["fence"]),
            case("fences without a language", "```\n1 + 1\n```\n").gives(json!(2)).notes(&["fence"]),
            case("tildes", "~~~py\n1 + 2\n~~~").gives(json!(3)).notes(&["fence"]),
            case("words around them", "Here is the program.\n\n```python\nsum(range(4))\n```\n\nIt prints 6.")
                .gives(json!(6))
                .notes(&["fence"]),
            case("two blocks, and one of output", "```python\nx = 2\n```\nthen\n```python\nx + 2\n```\n```text\n4\n```")
                .gives(json!(4))
                .notes(&["fence"]),
            case("a fence that is never closed", "```python\n5").gives(json!(5)).notes(&["fence"]),
            case("one that was never opened", "6\n```").gives(json!(6)).notes(&["fence"]),
            case("prompts of Python", ">>> def f(n):\n...     return n + 1\n...\n>>> f(1)\n2\n>>> f(2)\n3")
                .gives(json!(3))
                .notes(&["`>>> `"]),
            case("prompts of IPython", "In [1]: x = 4\n\nIn [2]: for i in range(2):\n   ...:     x += i\n   ...:\n\nIn [3]: x\nOut[3]: 5")
                .gives(json!(5))
                .notes(&["In [1]"]),
            case("an indent of all lines", "\n    def f():\n        return 8\n\n    f()\n").gives(json!(8)).notes(&["indent"]),
            case("tabs", "\tx = 3\n\tif x:\n\t\ty = x * 3\n\ty").gives(json!(9)).notes(&["indent"]),
            case("of all lines but the first", "import math\n    x = math.floor(9.5)\n    x")
                .gives(json!(9))
                .notes(&["all lines but the first"]),
            case("spaces that do not break", "def f():\n\u{a0}\u{a0}\u{a0}\u{a0}return 7\nf()").gives(json!(7)).notes(&["word processor"]),
            case("quotation marks of a word processor", "x = \u{201c}a\u{201d}\nx.upper()").gives(json!("A")).notes(&["word processor"]),
            case("which stay within strings", "'\u{201c}a\u{a0}b\u{201d}'").gives(json!("\u{201c}a\u{a0}b\u{201d}")),
            case("fences within an indent, prompts within fences", "  ```pycon\n  >>> 5 + 5\n  10\n  ```")
                .gives(json!(10))
                .notes(&["fence", "prompts"]),
        ],
    );
}

#[test]
fn errors_of_habit_say_the_way_out() {
    let old = ["--runtime", "python@3.11"];
    check_all(
        "python",
        &[
            case("line breaks escaped twice", "import math\\nprint(math.pi)")
                .fails("SyntaxError", &["escaped once too often"]),
            case("input() without any", "name = input('Name: ')")
                .fails("EOFError", &["--stdin", "stdin"]),
            case("input() with some", "input('Name: ') + '!'").stdin("Ada\n").gives(json!("Ada!")),
            case("quotes within an f-string", "d = {'key': 1}\nf'{d['key']}'")
                .flags(&old)
                .fails("SyntaxError", &["Python 3.12", "3.11.", "python@3.12", "line 2"]),
            case("type parameters", "def first[T](x: list[T]) -> T:\n    return x[0]")
                .flags(&old)
                .fails("SyntaxError", &["Python 3.12", "--runtime"]),
            case("of a class", "class Box[T]:\n    pass")
                .flags(&old)
                .fails("SyntaxError", &["Python 3.12"]),
            case("a type statement", "type Pair = tuple[int, int]")
                .flags(&old)
                .fails("SyntaxError", &["Python 3.12"]),
            case(
                "exceptions without parentheses",
                "try:\n    pass\nexcept OSError, ValueError:\n    pass",
            )
            .flags(&old)
            .fails("SyntaxError", &["Python 3.14", "line 3"]),
            case("an f-string that is just wrong", "x = 1\nf'{x'")
                .flags(&old)
                .fails("SyntaxError", &["line 2"]),
        ],
    );
}

#[test]
fn commands_that_install_packages_count_as_comments_that_add_them() {
    check_all(
        "python",
        &[
            case("a shell line", "!pip install humanize\nimport humanize\nhumanize.intcomma(1000)").gives(json!("1,000")).notes(&["# @add-package humanize"]),
            case("a magic, quietly", "%pip install -q humanize\nimport humanize\nhumanize.ordinal(1)").gives(json!("1st")).notes(&["# @add-package humanize"]),
            case("a bare line with a version", "pip install humanize==4.9.0\nimport importlib.metadata as m\nm.version('humanize')")
                .gives(json!("4.9.0"))
                .notes(&["humanize==4.9.0"]),
            case(
                "subprocess",
                "import subprocess, sys\nsubprocess.check_call([sys.executable, '-m', 'pip', 'install', 'humanize'])\nimport humanize\nhumanize.intcomma(2000)",
            )
            .gives(json!("2,000"))
            .notes(&["`pip install humanize` did nothing"]),
            case("os.system", "import os\ncode = os.system('pip install humanize > /dev/null')\nimport humanize\n[code, humanize.ordinal(2)]")
                .gives(json!([0, "2nd"]))
                .notes(&["humanize is installed already"]),
            case(
                "a function of the program's own",
                "import subprocess, sys\ndef install(package):\n    subprocess.run([sys.executable, '-m', 'pip', 'install', package], check=True)\n\
                 for name in ['humanize']:\n    try:\n        __import__(name)\n    except ImportError:\n        install(name)\nimport humanize\nhumanize.ordinal(3)",
            )
            .gives(json!("3rd")),
            case("pip's own main", "import pip\npip.main(['install', 'humanize'])\nimport humanize\nhumanize.ordinal(4)")
                .gives(json!("4th"))
                .notes(&["humanize is installed already"]),
            case("get_ipython", "get_ipython().run_line_magic('pip', 'install humanize')\nimport humanize\nhumanize.ordinal(5)")
                .gives(json!("5th"))
                .notes(&["humanize is installed already"]),
            case("an install that makes no sense never fails", "!pip install --upgrade pip\n!pip install -r requirements.txt -e . git+https://x.invalid/y\n1")
                .gives(json!(1))
                .notes(&["left out"]),
            case("where packages are switched off", "!pip install humanize\ntry:\n    import humanize\nexcept ImportError as e:\n    got = e.name\ngot")
                .flags(&["--no-packages"])
                .gives(json!("humanize"))
                .notes(&["# @add-package humanize"]),
            case("with programs granted", "import subprocess\nsubprocess.run('pip install humanize', shell=True).returncode").flags(&["--exec"]).gives(json!(0)).notes(&["did nothing"]),
            case("any other command is the kernel's to refuse", "import subprocess\nsubprocess.run(['pipx-not-pip', 'install'])").fails("PermissionError", &["exec"]),
        ],
    );
}
