//! The JSON of Python's values: what a last expression shows of itself, labels, keys, and the kinds
//! of well-known packages.

use belljar_test_support::{STARTS, outcome};
use serde_json::{Value, json};

use crate::case::{case, check_all};

/// The packages of every case here and in `py_display.rs` that has any, so that one environment
/// serves them all.
const PACKAGES: [&str; 7] =
    ["pandas", "matplotlib", "plotly", "bokeh", "altair", "sympy", "beautifulsoup4"];

/// The outcome of a program that has those packages.
pub fn outcome_with_packages(code: &str, start: &str) -> Value {
    let flags: Vec<&str> = PACKAGES.iter().flat_map(|name| ["--package", name]).collect();
    outcome("python", code, &[&["--start", start, "--memory", "512MB"][..], &flags].concat())
}

/// The value of a program that has those packages, the same in both start modes.
#[track_caller]
fn value(code: &str) -> Value {
    let values = STARTS.map(|start| {
        let ended = outcome_with_packages(code, start);
        assert_eq!(ended["status"], "succeeded", "{start}: {ended:#}");
        ended
    });
    assert_eq!(values[0]["value"], values[1]["value"]);
    let texts = values[0]["results"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|result| result["type"] == "text/plain");
    json!({"value": values[0]["value"], "texts": texts.map(|result| result["data"].clone()).collect::<Vec<_>>()})
}

/// A program whose last line is null and is shown as this text.
fn shown(name: &'static str, code: &'static str, text: &str) -> crate::case::Case {
    case(name, code)
        .displays(json!([{"type": "text/plain", "data": text}]))
        .notes(&["its value is null"])
}

#[test]
fn a_last_expression_without_json_is_shown_and_never_fails_the_run() {
    let null = |name, code| case(name, code).notes(&["its value is null"]);
    check_all(
        "python",
        &[
            shown("an object", "class A:\n    def __repr__(self):\n        return 'A!'\nA()", "A!"),
            shown("a match", "import re\nre.match('a', 'ab')", "<re.Match object; span=(0, 1), match='a'>"),
            shown("an ellipsis", "...", "Ellipsis"),
            shown("a complex number", "(1+2j)**2", "(-3+4j)"),
            shown("complex numbers in a list", "[1j, 2]", "[1j, 2]"),
            shown("a class", "class A:\n    pass\nA", "<class '__main__.A'>"),
            shown("a file", "open('/dev/null')", "<_io.TextIOWrapper name='/dev/null' mode='r' encoding='utf-8'>"),
            shown("a cycle", "a = [1]\na.append(a)\na", "[1, [...]]"),
            shown("a value next to one without JSON", "class M:\n    def __repr__(self):\n        return 'M()'\n0.97, M()", "(0.97, M())"),
            shown("a repr that raises", "class A:\n    def __repr__(self):\n        1 / 0\nA()", "<A object; its repr raised ZeroDivisionError>"),
            shown(
                "an iterator of the program's own, which is not read",
                "class I:\n    def __iter__(self):\n        return self\n    def __next__(self):\n        print('read')\n        return 1\n    def __repr__(self):\n        return 'I'\nI()",
                "I",
            )
            .logs(&[]),
            shown(
                "an attribute called keys, which is not called",
                "class G:\n    keys = 'a'\n    def __getitem__(self, key):\n        return 1\n    def __repr__(self):\n        return 'G'\nG()",
                "G",
            ),
            shown(
                "a property that raises",
                "import dataclasses\n@dataclasses.dataclass\nclass D:\n    x: int\n    def __getattribute__(self, name):\n        if name == 'x':\n            raise OSError('gone')\n        return object.__getattribute__(self, name)\n    def __repr__(self):\n        return 'D'\nD(1)",
                "D",
            ),
            null("a function", "def f():\n    pass\nf"),
            null("a bound method", "[].append"),
            null("a thread", "import threading\nthreading.Thread()"),
            null("a module", "import os\nos"),
            null("an argument of a parser", "import argparse\nargparse.ArgumentParser().add_argument('--x')"),
            null("an asynchronous generator", "async def g():\n    yield 1\ng()"),
            null("a nesting of 100,000", "a = []\nfor _ in range(100000):\n    a = [a]\na"),
            null("an integer of 100,000 digits", "10 ** 100000"),
            case("too large a list shows its beginning", "['x' * 100] * 10000")
                .flags(&["--result-limit", "100K"])
                .notes(&["larger than result_bytes (102400 bytes); the beginning of its text is shown instead"]),
            case("an infinite iterator", "import itertools\nitertools.repeat('x' * 1000)")
                .flags(&["--result-limit", "100K"])
                .notes(&["larger than result_bytes"]),
            case("unittest", "import unittest\nunittest.main(argv=['x'], exit=False)").notes(&["a TestProgram, has no JSON form"]),
            case("rows of a query", "import sqlite3\nsqlite3.connect(':memory:').execute('select 1, 2')").gives(json!([[1, 2]])),
            case("iterators of the language are read", "[map(str, [1]), zip('a', 'b'), (x for x in 'ab'), reversed([1])]")
                .gives(json!([["1"], [["a", "b"]], ["a", "b"], [1]])),
        ],
    );
}

#[test]
fn what_is_handed_over_without_json_fails_the_run_with_its_path() {
    check_all(
        "python",
        &[
            case("by main", "def main():\n    return {'items': [1, {'f': main}]}").fails("ResultNotSerializable", &["$.items[1].f", "call it"]),
            case("by return", "return 1j").fails("ResultNotSerializable", &["real and imag", "at $"]),
            case("a file", "return [open('/dev/null')]").fails("ResultNotSerializable", &["what its read() returns", "$[0]"]),
            case("a coroutine inside", "async def f():\n    pass\nreturn {'a': f()}").fails("ResultNotSerializable", &["await it", "$.a"]),
            case("a key", "return {'a b': {object(): 1}}").fails("ResultNotSerializable", &["a key of type object", "$[\"a b\"]"]),
            case("too large", "def main():\n    return 'x' * 2000").flags(&["--result-limit", "1K"]).fails("ResultTooLarge", &["outputs/"]),
            case("an iterator of the program's own is read", "class I:\n    n = 0\n    def __iter__(self):\n        return self\n    def __next__(self):\n        self.n += 1\n        if self.n > 2:\n            raise StopIteration\n        return self.n\nreturn I()")
                .gives(json!([1, 2])),
        ],
    );
}

#[test]
fn every_key_has_a_text_and_none_is_lost() {
    check_all(
        "python",
        &[
            case(
                "the text that the key would have as a value",
                "import datetime, decimal, enum, pathlib, uuid\nclass E(enum.Enum):\n    A = 'a'\n\
                 return {datetime.date(2024, 1, 1): 1, datetime.timedelta(seconds=1): 2, b'hi': 3, pathlib.Path('/x'): 4, decimal.Decimal('1.10'): 5, uuid.UUID(int=0): 6,\n\
                  ('x', 2): 7, (1, (2, 'y')): 8, E.A: 9, frozenset({'q', 'p'}): 10, int: 11, float('nan'): 12, float('-inf'): 13}",
            )
            .gives(json!({
                "2024-01-01": 1, "1.0": 2, "aGk=": 3, "/x": 4, "1.10": 5, "00000000-0000-0000-0000-000000000000": 6,
                "x, 2": 7, "1, 2, y": 8, "a": 9, "p, q": 10, "int": 11, "NaN": 12, "-Infinity": 13,
            })),
            case("counters of pairs", "import collections\nreturn collections.Counter(zip('aab', 'xxy'))").gives(json!({"a, x": 2, "b, y": 1})),
            case("two keys with one text become pairs", "return {1: 'a', '1': 'b'}").gives(json!([[1, "a"], ["1", "b"]])),
            case("pairs of tuples", "return {'o': {('a', 'b'): 1, 'a, b': 2}}").gives(json!({"o": [[["a", "b"], 1], ["a, b", 2]]})),
            case("null and its word", "return {None: 1, 'null': 2, True: 3, 'true': 4}").gives(json!([[null, 1], ["null", 2], [true, 3], ["true", 4]])),
            case("columns of one name", "import sqlite3\nc = sqlite3.connect(':memory:')\nc.row_factory = sqlite3.Row\nc.execute('select 1 as a, 2 as a, 3 as b').fetchall()")
                .gives(json!([{"a": 1, "a.1": 2, "b": 3}])),
        ],
    );
}

#[test]
fn kinds_of_the_standard_library_have_their_json() {
    check_all(
        "python",
        &[
            case(
                "fields of data classes",
                "import dataclasses, typing\n@dataclasses.dataclass\nclass A:\n    x: int\n    seed: dataclasses.InitVar[int]\n    kind: typing.ClassVar[str] = 'k'\n    \
                 late: int = dataclasses.field(init=False)\n    def __post_init__(self, seed):\n        self.x += seed\nreturn [A(1, 2)]",
            )
            .gives(json!([{"x": 3}])),
            case(
                "collections",
                "import collections, types\nU = collections.UserList([1, {'a': 2}])\nreturn [U, collections.UserDict(a=U), collections.UserString('s'), collections.UserDict(b=1).keys(),\n\
                  collections.UserDict(b=1).items(), collections.UserDict(b=1).values(), types.MappingProxyType({'m': 1}), collections.ChainMap({'c': 1}), collections.deque([1])]",
            )
            .gives(json!([[1, {"a": 2}], {"a": [1, {"a": 2}]}, "s", ["b"], [["b", 1]], [1], {"m": 1}, {"c": 1}, [1]])),
            case(
                "XML and mail are text",
                "import xml.etree.ElementTree as ET, xml.dom.minidom as dom, email.message\nm = email.message.Message()\nm['To'] = 'x'\nm.set_payload('hi')\n\
                 return [ET.fromstring('<a id=\"1\"><b>1</b></a>'), ET.fromstring('<a><b/></a>'), ET.ElementTree(ET.fromstring('<c/>')), dom.parseString('<d/>').documentElement, m]",
            )
            .gives(json!(["<a id=\"1\"><b>1</b></a>", "<a><b /></a>", "<c />", "<d/>", "To: x\n\nhi"])),
            case(
                "protocols of packages",
                "class Tensor:\n    def tolist(self):\n        return [[1, 2]]\nclass Place:\n    __geo_interface__ = {'type': 'Point', 'coordinates': (1, 2)}\n\
                 class Column:\n    def to_pylist(self):\n        return [1, None]\nclass Model:\n    def model_dump(self):\n        return {'a': 1}\n\
                 class Row:\n    def keys(self):\n        return ['k']\n    def __getitem__(self, key):\n        return 5\nreturn [Tensor(), Place(), Column(), Model(), Row()]",
            )
            .gives(json!([[[1, 2]], {"type": "Point", "coordinates": [1, 2]}, [1, null], {"a": 1}, {"k": 5}])),
        ],
    );
}

const FRAME: &str = "import pandas as pd, numpy as np\ndf = pd.DataFrame({'city': ['Oslo', 'Rome', 'Oslo'], 'n': [1, 2, 3], 'x': [1.5, None, 2.5]})\n";

#[test]
fn labels_of_series_and_frames_are_kept() {
    let ended = value(&format!(
        "{FRAME}def main():\n    return {{
        'sum': df.groupby('city')['n'].sum(), 'two': df.groupby(['city', 'n'])['x'].sum(), 'counts': df.n.value_counts().sort_index(), 'nulls': df.isnull().sum(),
        'cut': pd.cut(df.n, [0, 2, 4]).value_counts(), 'days': pd.Series([1, 2], index=pd.to_datetime(['2024-01-01', '2024-01-02'])).resample('2D').sum(),
        'months': pd.Series([1], index=pd.period_range('2024-01', periods=1, freq='M')), 'twice': pd.Series([1, 2], index=['a', 'a'], name='v'),
        'none': pd.Series([1, 2], index=['a', None]), 'plain': pd.Series([1, 2]), 'filtered': df.n[df.n > 1], 'row': df.iloc[0], 'types': df.dtypes.astype(str),
        'describe': df[['n']].describe().loc[['count', 'max']], 'corr': df[['n', 'x']].corr(), 'cross': pd.crosstab(df.city, df.n), 'agg': df.groupby('city')[['n']].agg(['min', 'max']),
        'records': df, 'some': df[df.n > 2], 'same': pd.DataFrame([[1, 2]], columns=['a', 'a']), 'kept': df[['city']].set_index('city', drop=False),
        'collides': pd.DataFrame({{'a': [1]}}, index=pd.Index(['l'], name='a')), 'index': df.set_index('city').index, 'empty': df[df.n > 9], 'bare': pd.DataFrame(index=['r']),
        'columns': pd.DataFrame({{pd.Timestamp('2024-01-01'): [1]}}), 'dict': df.groupby(['city', 'n'])['x'].sum().to_dict(), 'nat': pd.Series(pd.to_datetime(['2024-01-01', None])).values,
        'structured': np.array([(1, 'a')], dtype=[('i', 'i4'), ('s', 'U1')]), 'dtype': np.dtype('int8'), 'categories': pd.Categorical(['u', 'v']),
    }}"
    ));
    let records = json!([{"city": "Oslo", "n": 1, "x": 1.5}, {"city": "Rome", "n": 2, "x": null}, {"city": "Oslo", "n": 3, "x": 2.5}]);
    let expected = json!({
        "sum": {"Oslo": 4, "Rome": 2},
        "two": [{"city": "Oslo", "n": 1, "x": 1.5}, {"city": "Oslo", "n": 3, "x": 2.5}, {"city": "Rome", "n": 2, "x": 0.0}],
        "counts": {"1": 1, "2": 1, "3": 1},
        "nulls": {"city": 0, "n": 0, "x": 1},
        "cut": {"(0, 2]": 2, "(2, 4]": 1},
        "days": {"2024-01-01T00:00:00": 3},
        "months": {"2024-01": 1},
        "twice": [{"index": "a", "v": 1}, {"index": "a", "v": 2}],
        "none": {"a": 1, "NaN": 2},
        "plain": [1, 2],
        "filtered": {"1": 2, "2": 3},
        "row": {"city": "Oslo", "n": 1, "x": 1.5},
        "describe": [{"index": "count", "n": 3.0}, {"index": "max", "n": 3.0}],
        "corr": [{"index": "n", "n": 1.0, "x": 1.0}, {"index": "x", "n": 1.0, "x": 1.0}],
        "cross": [{"city": "Oslo", "1": 1, "2": 0, "3": 1}, {"city": "Rome", "1": 0, "2": 1, "3": 0}],
        "agg": [{"city": "Oslo", "n, min": 1, "n, max": 3}, {"city": "Rome", "n, min": 2, "n, max": 2}],
        "records": records,
        "some": [{"index": 2, "city": "Oslo", "n": 3, "x": 2.5}],
        "same": [{"a": 1, "a.1": 2}],
        "kept": [{"city": "Oslo"}, {"city": "Rome"}, {"city": "Oslo"}],
        "collides": [{"index": "l", "a": 1}],
        "index": ["Oslo", "Rome", "Oslo"],
        "empty": [],
        "bare": [{"index": "r"}],
        "columns": [{"2024-01-01T00:00:00": 1}],
        "dict": {"Oslo, 1": 1.5, "Oslo, 3": 2.5, "Rome, 2": 0.0},
        "structured": [{"i": 1, "s": "a"}],
        "dtype": "int8",
        "categories": ["u", "v"],
    });
    for (name, expected) in expected.as_object().unwrap() {
        assert_eq!(ended["value"][name], *expected, "{name}");
    }
    assert_eq!(ended["value"]["types"]["n"], "int64");
    assert_eq!(ended["value"]["nat"][1], Value::Null);
}

#[test]
fn a_frame_or_series_as_the_last_expression_is_shown_as_a_table_too() {
    let series = value(&format!("{FRAME}df.groupby('city')['n'].sum()"));
    assert_eq!(series["value"], json!({"Oslo": 4, "Rome": 2}));
    assert_eq!(series["texts"], json!(["city\nOslo    4\nRome    2\nName: n, dtype: int64"]));
    let large = value(&format!(
        "{FRAME}pd.DataFrame({{'number': range(400_000), 'other': range(400_000)}})"
    ));
    assert_eq!(large["value"], Value::Null);
    assert!(large["texts"][0].as_str().unwrap().contains("[400000 rows x 2 columns]"), "{large}");
    let grouped = value(&format!("{FRAME}df.groupby('city')"));
    assert_eq!(grouped["value"], Value::Null);
    assert!(grouped["texts"][0].as_str().unwrap().contains("DataFrameGroupBy"), "{grouped}");
}

#[test]
fn values_of_well_known_packages_have_their_json() {
    let ended = value(
        "import sympy as sp
from bs4 import BeautifulSoup
x = sp.symbols('x')
soup = BeautifulSoup('<p><b>x</b><b>y</b></p>', 'html.parser')
def main():
    return {
        'sympy': sp.solve(x**2 - 4, x),
        'exact': [sp.Rational(1, 2), sp.sqrt(2), sp.Float(1.5), sp.N(sp.pi, 30), x**2 + 1, sp.Matrix([[1, x]]), sp.true, {x: 2}],
        'sets': [sp.FiniteSet(2), sp.Tuple(1, x), sp.oo, sp.Eq(x, 1)],
        'soup': soup.find_all('b'), 'text': soup.b.string,
    }",
    );
    let expected = json!({
        "sympy": [-2, 2],
        "exact": ["1/2", "sqrt(2)", 1.5, "3.14159265358979323846264338328", "x**2 + 1", [[1, "x"]], true, {"x": 2}],
        "sets": [[2], [1, "x"], "oo", "Eq(x, 1)"],
        "soup": ["<b>x</b>", "<b>y</b>"], "text": "x",
    });
    assert_eq!(ended["value"], expected);
    let found =
        value("from bs4 import BeautifulSoup\nBeautifulSoup('<b>x</b>', 'html.parser').find('b')");
    assert_eq!((&found["value"], &found["texts"]), (&json!("<b>x</b>"), &json!(["<b>x</b>"])));
}
