//! Rich output of Python programs: `display`, notebook conventions, and libraries that would
//! otherwise open a window or a browser.

use belljar_test_support::STARTS;
use serde_json::{Value, json};

use crate::case::{case, check_all};
use crate::py_values::outcome_with_packages;

/// Returns the media types of the rich results of a program that has those packages, after checking
/// that both start modes give the same.
#[track_caller]
fn shown(code: &str) -> Vec<String> {
    let [first, second] = STARTS.map(|start| {
        let ended = outcome_with_packages(code, start);
        assert_eq!(
            (&ended["status"], &ended["value"]),
            (&json!("succeeded"), &Value::Null),
            "{start}: {code}: {ended:#}"
        );
        assert!(!ended["logs"].to_string().contains("belljar"), "{start}: {code}: {ended:#}");
        let results = ended["results"].as_array().cloned().unwrap_or_default();
        results
            .iter()
            .map(|result| result["type"].as_str().unwrap_or_default().to_owned())
            .collect::<Vec<String>>()
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
            case("a value without JSON", "class A:\n    def __repr__(self):\n        return 'A!'\ndisplay(A(), {1j: 2})")
                .displays(json!([{"type": "text/plain", "data": "A!"}, {"type": "text/plain", "data": "{1j: 2}"}])),
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
                .notes(&["F, has no JSON form"]),
            case("a picture without room", "class P:\n    def _repr_html_(self):\n        return '<b>' * 100000\n    def __repr__(self):\n        return 'P'\nP()")
                .flags(&["--output-limit", "10K"])
                .displays(json!([{"type": "text/plain", "data": "P"}]))
                .notes(&["output_bytes (10240 bytes) has no room", "P, has no JSON form"]),
        ],
    );
}

/// Runs several pieces of one program and compares what each of them shows.
#[track_caller]
fn check_pieces(setup: &str, pieces: &[(&str, usize)], media_type: &str) {
    let mut program = setup.to_owned();
    let mut expected = Vec::new();
    for (piece, count) in pieces {
        program.push_str(piece);
        program.push_str("\ndisplay('', type='text/x-end')\n");
        expected.extend(vec![media_type.to_owned(); *count]);
        expected.push("text/x-end".to_owned());
    }
    program.push_str("None\n");
    assert_eq!(shown(&program), expected, "{program}");
}

#[test]
fn each_figure_of_matplotlib_appears_once() {
    let plt = "import matplotlib.pyplot as plt\n";
    let pieces = [
        ("plt.plot([1])\nplt.show()\nplt.plot([2])\nplt.show()", 2),
        ("plt.plot([1])\nplt.savefig('a.png')\nplt.close()", 1),
        ("plt.plot([1])\nplt.savefig('a.png')\nplt.show()\nplt.savefig('b.png')\nplt.close()", 1),
        (
            "for n in range(2):\n    plt.plot([n])\n    plt.savefig(f'{n}.png')\n    plt.clf()\nplt.close()",
            2,
        ),
        ("fig, ax = plt.subplots()\nax.plot([1])\ndisplay(fig)\nplt.close(fig)", 1),
        ("fig, ax = plt.subplots()\nax.plot([1])\nfig.show()\nplt.close(fig)", 1),
        ("plt.plot([1])\nplt.show(block=False)\nplt.pause(0.001)\nplt.close()", 1),
        ("plt.plot([1])\nplt.savefig('outputs/a.png')\nplt.close()", 0),
        ("import io\nplt.plot([1])\nplt.savefig(io.BytesIO())\nplt.close()", 0),
        ("plt.figure()\nplt.show()", 0),
        (
            "from matplotlib.figure import Figure\nf = Figure()\nf.subplots().plot([1])\nf.savefig('c.png')",
            1,
        ),
        ("plt.switch_backend('svg')\nplt.plot([1])\nplt.show()", 1),
        (
            "import matplotlib\nmatplotlib.use('Agg')\nplt.plot([1])\nplt.show()\nplt.plot([2])\nplt.show()",
            2,
        ),
        ("plt.title('$\\\\frac{$')\nplt.show()", 0),
    ];
    check_pieces(plt, &pieces, PNG);
    for end in [
        "import matplotlib\nmatplotlib.use('Agg')\nimport matplotlib.pyplot as plt\nplt.hist([1, 2, 2, 3], bins=3)",
        "import matplotlib.pyplot as plt\nplt.bar(['a', 'b'], [1, 2])\nplt.xticks(rotation=45)",
        "import matplotlib.pyplot as plt\nplt.plot([1])\nplt.savefig('a.png')\nplt.boxplot([[1, 2, 3]])",
        "import matplotlib.pyplot as plt\nfig, axes = plt.subplots(1, 2)\naxes",
        "import matplotlib.pyplot as plt\nfig, ax = plt.subplots()\nax.plot([1])\ndef main():\n    return fig",
        "import pandas as pd\npd.DataFrame({'a': [1, 2], 'b': [3, 4]}).plot(subplots=True)",
    ] {
        assert_eq!(shown(end), [PNG], "{end}");
    }
}

#[test]
fn figures_of_libraries_that_open_a_browser_are_pages() {
    let plotly = "import plotly.graph_objects as go\nimport plotly.io as pio\nimport plotly.offline\nfig = go.Figure(go.Bar(x=['a'], y=[1]))\n";
    let bokeh = "from bokeh.plotting import figure, output_file, output_notebook, show\np = figure()\np.line([1], [2])\n";
    let altair = "import altair as alt\nchart = alt.Chart(alt.Data(values=[{'a': 1}])).mark_bar().encode(x='a:Q')\n";
    let pieces = [
        (plotly, 0),
        ("fig.show()", 1),
        ("pio.show(fig)", 1),
        ("fig.show(renderer='notebook')", 1),
        ("pio.renderers.default = 'browser'\nfig.show()", 1),
        ("plotly.offline.plot(fig, filename='p.html')", 1),
        ("display(fig)", 1),
        (bokeh, 0),
        ("show(p)", 1),
        ("output_notebook()\nshow(p)", 1),
        ("output_file('p.html')\nshow(p)", 1),
        ("display(p)", 1),
        (altair, 0),
        ("chart.show()", 1),
        ("display(chart)", 1),
    ];
    check_pieces("", &pieces, HTML);
    for end in [
        format!("{plotly}fig"),
        format!("{plotly}[fig]"),
        format!("{bokeh}p"),
        format!("{altair}chart"),
    ] {
        assert_eq!(shown(&end), [HTML], "{end}");
    }
}

#[test]
fn pictures_of_pillow_are_shown() {
    let image = "from PIL import Image\nimage = Image.new('RGB', (5, 5))\n";
    let pieces = [
        ("image.show()", 1),
        ("image.convert('CMYK').show(title='t')", 1),
        ("image.convert('F').show()", 1),
        ("from PIL import ImageShow\nImageShow.show(image)", 1),
        ("display(image)", 1),
        ("image.save('a.png')", 0),
    ];
    check_pieces(image, &pieces, PNG);
    assert_eq!(shown(&format!("{image}image")), [PNG]);
    assert_eq!(shown(&format!("{image}[image, image.convert('L')]")), [PNG, PNG]);
}

#[test]
fn no_warning_names_a_file_of_the_driver_and_each_is_a_warning() {
    check_all(
        "python",
        &[
            case("of syntax", "assert (1, 'always')\n2").gives(json!(2)).logs(&[(
                "warn",
                "/home/user/main.py:1: SyntaxWarning: assertion is always true, perhaps remove parentheses?\n  assert (1, 'always')",
            )]),
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
            case("a hook for errors", "import sys, traceback\nsys.excepthook = lambda kind, error, frames: print(traceback.extract_tb(frames)[0].filename)\n1 / 0")
                .fails("ZeroDivisionError", &["main.py\", line 3"])
                .logs(&[("info", "/home/user/main.py")]),
        ],
    );
    let glyphs = outcome_with_packages(
        "import matplotlib.pyplot as plt\nplt.title('\\u4f60')\nNone",
        "fork",
    );
    let logs = glyphs["logs"].to_string();
    assert!(logs.contains("missing from font") && !logs.contains("belljar"), "{glyphs:#}");
}
