//! What a Python program shows: `display`, notebooks' habits, and the libraries that would open a window or a browser.

use serde_json::{Value, json};

use crate::belljar::{STARTS, outcome};
use crate::case::{case, check_all};

/// The packages of every case here that has any, so that one environment serves them all.
const PACKAGES: [&str; 6] = ["matplotlib", "pandas", "plotly", "bokeh", "altair", "pillow"];

/// The media types of the rich results of a program that has those packages, the same in both start modes.
#[track_caller]
fn shown(code: &str) -> Vec<String> {
    let flags: Vec<&str> = PACKAGES.iter().flat_map(|name| ["--package", name]).collect();
    let [first, second] = STARTS.map(|start| {
        let ended = outcome("python", code, &[&["--start", start, "--memory", "512MB"][..], &flags].concat());
        assert_eq!((&ended["status"], &ended["value"]), (&json!("succeeded"), &Value::Null), "{start}: {code}: {ended:#}");
        assert!(!ended["logs"].to_string().contains("belljar"), "{start}: {code}: {ended:#}");
        let results = ended["results"].as_array().cloned().unwrap_or_default();
        results.iter().map(|result| result["type"].as_str().unwrap_or_default().to_owned()).collect::<Vec<String>>()
    });
    assert_eq!(first, second, "{code}");
    first
}

const PNG: &str = "image/png";
const HTML: &str = "text/html";

#[test]
fn display_is_there_without_an_import_and_as_notebooks_have_it() {
    let html = "class H:\n    def _repr_html_(self):\n        return '<b>7</b>'\n";
    let html: &'static str = Box::leak(format!("{html}display(H(), {{'a': 1}})").into_boxed_str());
    check_all(
        "python",
        &[
            case("a builtin of several values", html)
                .displays(json!([{"type": "text/html", "data": "<b>7</b>"}, {"type": "application/json", "data": "{\"a\": 1}"}])),
            case("IPython's, without the package", "from IPython.display import display, HTML, Markdown, Latex, SVG, JSON\ndisplay(HTML('<b>7</b>'), Markdown('# t'), Latex('$x$'))\ndisplay(SVG('<svg></svg>'))\ndisplay(JSON({'a': 1}))")
                .displays(json!([
                    {"type": "text/html", "data": "<b>7</b>"}, {"type": "text/markdown", "data": "# t"}, {"type": "text/latex", "data": "$x$"},
                    {"type": "image/svg+xml", "data": "<svg></svg>"}, {"type": "application/json", "data": "{\"a\": 1}"},
                ])),
            case("IPython's of old", "from IPython.core.display import display, HTML\ndisplay(HTML('<i>'))").displays(json!([{"type": "text/html", "data": "<i>"}])),
            case("data of a media type", "from IPython.display import publish_display_data, display\npublish_display_data({'text/markdown': '*m*'})\ndisplay({'text/html': '<u>'}, raw=True)")
                .displays(json!([{"type": "text/markdown", "data": "*m*"}, {"type": "text/html", "data": "<u>"}])),
            case("an image of a file", "from IPython.display import Image\nopen('a.png', 'wb').write(b'\\x89PNG\\r\\n\\x1a\\n')\ndisplay(Image('a.png'))\ndisplay(Image(data=open('a.png', 'rb').read()))")
                .displays(json!([{"type": "image/png", "data": "iVBORw0KGgo="}, {"type": "image/png", "data": "iVBORw0KGgo="}])),
            case("no shell", "from IPython import get_ipython\nget_ipython()"),
            case("in a module of the program", "import shows").file("shows.py", "display('from a module')").displays(json!([{"type": "text/plain", "data": "from a module"}])),
            case("a page that is opened", "import webbrowser\nopen('p.html', 'w').write('<p>')\n[webbrowser.open('file:///home/user/p.html'), webbrowser.open('https://example.com')]")
                .gives(json!([true, false]))
                .displays(json!([{"type": "text/html", "data": "<p>"}])),
        ],
    );
}

#[test]
fn a_last_expression_that_has_a_picture_is_displayed() {
    check_all(
        "python",
        &[
            case("LaTeX alone", "class L:\n    def _repr_latex_(self):\n        return '$x$'\nL()").displays(json!([{"type": "text/latex", "data": "$x$"}])),
            case("JSON of its own", "class J:\n    def _repr_json_(self):\n        return {'a': 1}\nJ()").displays(json!([{"type": "application/json", "data": "{\"a\": 1}"}])),
            case("a bundle", "class B:\n    def _repr_mimebundle_(self, include=None, exclude=None):\n        return {'text/html': '<b>', 'text/plain': 'B'}\nB()")
                .displays(json!([{"type": "text/html", "data": "<b>"}, {"type": "text/plain", "data": "B"}])),
            case("one that shows itself", "class S:\n    def _ipython_display_(self):\n        display('itself')\nS()").displays(json!([{"type": "text/plain", "data": "itself"}])),
            case("items of a list", "class P:\n    def _repr_png_(self):\n        return b'\\x89PNG\\r\\n\\x1a\\n'\n[P(), P()]")
                .displays(json!([{"type": "image/png", "data": "iVBORw0KGgo="}, {"type": "image/png", "data": "iVBORw0KGgo="}])),
            case("one whose picture fails", "class F:\n    def _repr_svg_(self):\n        raise OSError('no dot')\n    def __repr__(self):\n        return 'F'\nF()")
                .displays(json!([{"type": "text/plain", "data": "F"}]))
                .notes(&["an F, has no JSON form"]),
            case("a picture without room", "class P:\n    def _repr_html_(self):\n        return '<b>' * 100000\n    def __repr__(self):\n        return 'P'\nP()")
                .flags(&["--output-limit", "10K"])
                .displays(json!([{"type": "text/plain", "data": "P"}]))
                .notes(&["output_bytes (10240 bytes) has no room", "a P, has no JSON form"]),
        ],
    );
}

#[test]
fn each_figure_of_matplotlib_appears_once() {
    let plt = "import matplotlib.pyplot as plt\n";
    for (code, pictures) in [
        ("plt.hist([1, 2, 2, 3], bins=3)", 1),
        ("plt.bar(['a', 'b'], [1, 2])\nplt.xticks(rotation=45)", 1),
        ("plt.boxplot([[1, 2, 3]])", 1),
        ("fig, axes = plt.subplots(1, 2)\naxes", 1),
        ("plt.plot([1])\nplt.show()\nplt.plot([2])\nplt.show()", 2),
        ("import matplotlib\nmatplotlib.use('Agg')\nplt.plot([1])\nplt.show()\nplt.plot([2])\nplt.show()", 2),
        ("plt.switch_backend('svg')\nplt.plot([1])\nplt.show()", 1),
        ("plt.plot([1])\nplt.savefig('a.png')\nplt.close()", 1),
        ("plt.plot([1])\nplt.savefig('a.png')\nplt.show()\nplt.savefig('b.png')", 1),
        ("for n in range(2):\n    plt.plot([n])\n    plt.savefig(f'{n}.png')\n    plt.clf()", 2),
        ("plt.plot([1])\nplt.savefig('outputs.png')\nplt.gcf()", 1),
        ("fig, ax = plt.subplots()\nax.plot([1])\ndisplay(fig)\nplt.close(fig)", 1),
        ("fig, ax = plt.subplots()\nax.plot([1])\ndef main():\n    return fig", 1),
        ("plt.plot([1])\nplt.show(block=False)\nplt.pause(0.001)\nplt.close()", 1),
        ("plt.figure()", 0),
        ("import pandas as pd\npd.DataFrame({'a': [1, 2], 'b': [3, 4]}).hist()", 1),
        ("import pandas as pd\npd.DataFrame({'a': [1, 2], 'b': [3, 4]}).plot(subplots=True)", 1),
    ] {
        assert_eq!(shown(&format!("{plt}{code}")), vec![PNG; pictures], "{code}");
    }
}

#[test]
fn figures_of_libraries_that_open_a_browser_are_pages() {
    let plotly = "import plotly.graph_objects as go\nimport plotly.io as pio\nfig = go.Figure(go.Bar(x=['a'], y=[1]))\n";
    let bokeh = "from bokeh.plotting import figure, output_file, output_notebook, show\np = figure()\np.line([1], [2])\n";
    let altair = "import altair as alt\nchart = alt.Chart(alt.Data(values=[{'a': 1}])).mark_bar().encode(x='a:Q')\n";
    for (library, ends) in [
        (plotly, &["fig.show()", "pio.renderers.default = 'browser'\npio.show(fig)", "fig.show(renderer='notebook')", "fig", "display(fig)", "[fig]"][..]),
        (bokeh, &["show(p)", "output_notebook()\nshow(p)", "output_file('p.html')\nshow(p)", "p"][..]),
        (altair, &["chart.show()", "display(chart)", "chart"][..]),
    ] {
        for end in ends {
            assert_eq!(shown(&format!("{library}{end}")), [HTML], "{end}");
        }
    }
}

#[test]
fn pillows_pictures_are_pictures() {
    for (end, pictures) in [
        ("image.show()", 1),
        ("image.convert('CMYK').show()", 1),
        ("image", 1),
        ("[image, image.convert('L')]", 2),
        ("display(image)", 1),
        ("image.save('a.png')", 0),
    ] {
        assert_eq!(shown(&format!("from PIL import Image\nimage = Image.new('RGB', (5, 5))\n{end}")), vec![PNG; pictures], "{end}");
    }
}

#[test]
fn no_warning_names_a_file_of_the_driver_and_each_is_a_warning() {
    check_all(
        "python",
        &[
            case("of syntax", "if 1 is 1:\n    x = 2\nx")
                .gives(json!(2))
                .logs(&[("warn", "/home/user/main.py:1: SyntaxWarning: \"is\" with a literal. Did you mean \"==\"?\n  if 1 is 1:")]),
            case("of syntax in a module", "import other").file("other.py", "assert (1, 'always')").logs(&[(
                "warn",
                "/home/user/other.py:1: SyntaxWarning: assertion is always true, perhaps remove parentheses?\n  assert (1, 'always')",
            )]),
            case("a coroutine that is never awaited", "async def f():\n    pass\nf()\nNone").logs(&[(
                "warn",
                "/home/user/main.py:3: RuntimeWarning: coroutine 'f' was never awaited\n  f()\nRuntimeWarning: Enable tracemalloc to get the object allocation traceback",
            )]),
            case("one that goes at the end", "async def f():\n    pass\nkept = f()\nNone").logs(&[(
                "warn",
                "sys:1: RuntimeWarning: coroutine 'f' was never awaited\nRuntimeWarning: Enable tracemalloc to get the object allocation traceback",
            )]),
            case("a hook for errors", "import sys, traceback\nsys.excepthook = lambda *error: traceback.print_exception(*error)\n1 / 0")
                .fails("ZeroDivisionError", &["main.py\", line 3"])
                .logs(&[("error", "Traceback (most recent call last):"), ("error", "  File \"/home/user/main.py\", line 3, in <module>"), ("error", "    1 / 0"), ("error", "    ~~^~~"), ("error", "ZeroDivisionError: division by zero")]),
        ],
    );
    let glyphs = outcome("python", "import matplotlib.pyplot as plt\nplt.title('\\u4f60')\nNone", &["--package", "matplotlib", "--package", "pandas"]);
    let logs = glyphs["logs"].to_string();
    assert!(logs.contains("missing from font") && !logs.contains("belljar"), "{glyphs:#}");
}
