//! The nesting depth of a program, measured before it is parsed: the parser recurses, and a stack
//! overflow aborts the process.
//!
//! A single pass over the bytes knows just enough of the grammar (strings, comments, templates,
//! regular expressions) to count what makes a recursive parser recurse: brackets, and chains
//! without brackets such as `!!!a`, `a => a => a` or `if (a) if (a)`. It protects the stack and
//! does not judge the program: it may be slightly off, and the limits leave room for that.

use oxc_ast::ast::{
    Expression, JSXMemberExpression, Program, TSImportTypeQualifier, TSType, TSTypeName,
};
use oxc_ast_visit::{Visit, walk};
use oxc_span::{GetSpan, Span};

use crate::dialect::Dialect;
use crate::error::line_and_column;
use crate::syntax::Syntax;

/// The maximum nesting for the parser, counted in brackets and links of chains. Measured with oxc
/// 0.146, optimised for size, on a stack of 8 MiB: the most expensive unit, a template in a
/// template, overflows at 3,700, and most others much later. V8 leaves 7 MiB of the stack.
const MAX_NESTING: u32 = 1_000;

/// The maximum depth of a tree that is walked. Chains such as `a + a + a` are parsed in a loop, but
/// make trees as deep as they are long.
pub(crate) const MAX_TREE_DEPTH: usize = 2_000;

/// Returns the line where a tree is too deep to be walked, if it is.
pub(crate) fn tree_too_deep(program: &Program<'_>) -> Option<u32> {
    let mut gauge = Gauge::default();
    gauge.visit_program(program);
    gauge.too_deep_at.map(|at| line_and_column(program.source_text, at as usize).0)
}

/// Walks a tree to a safe depth. The nesting of brackets is limited before, so this concerns what
/// the parser does in loops.
#[derive(Default)]
struct Gauge {
    depth: usize,
    too_deep_at: Option<u32>,
}

impl Gauge {
    fn enter(&mut self, span: Span, walk: impl FnOnce(&mut Self)) {
        if self.depth == MAX_TREE_DEPTH || self.too_deep_at.is_some() {
            self.too_deep_at.get_or_insert(span.start);
            return;
        }
        self.depth += 1;
        walk(self);
        self.depth -= 1;
    }
}

impl<'a> Visit<'a> for Gauge {
    fn visit_expression(&mut self, it: &Expression<'a>) {
        self.enter(it.span(), |gauge| walk::walk_expression(gauge, it));
    }

    fn visit_ts_type(&mut self, it: &TSType<'a>) {
        self.enter(it.span(), |gauge| walk::walk_ts_type(gauge, it));
    }

    fn visit_ts_type_name(&mut self, it: &TSTypeName<'a>) {
        self.enter(it.span(), |gauge| walk::walk_ts_type_name(gauge, it));
    }

    fn visit_ts_import_type_qualifier(&mut self, it: &TSImportTypeQualifier<'a>) {
        self.enter(it.span(), |gauge| walk::walk_ts_import_type_qualifier(gauge, it));
    }

    fn visit_jsx_member_expression(&mut self, it: &JSXMemberExpression<'a>) {
        self.enter(it.span, |gauge| walk::walk_jsx_member_expression(gauge, it));
    }
}

/// Returns the line where `source` is nested too deeply, if it is.
pub(crate) fn too_deep(source: &str, syntax: Syntax) -> Option<u32> {
    let angle_brackets = syntax.dialect == Dialect::TypeScript || syntax.jsx;
    let mut scanner =
        Scanner { bytes: source.as_bytes(), at: 0, angle_brackets, ..Scanner::default() };
    scanner.exceeds().then(|| line_and_column(source, scanner.at).0)
}

/// The kind of the last token, as far as it determines the meaning of the next one.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Previous {
    /// An operand follows: the start, an operator, an opening bracket, a keyword.
    #[default]
    Operator,
    /// An operand has ended.
    Operand,
    /// A closing brace, of a block or of an object.
    Brace,
    /// `if`, `for`, `while` or `with`, whose parentheses are followed by a statement.
    Control,
}

#[derive(Debug, Clone, Copy)]
enum Bracket {
    /// Parentheses. Those of `if (…)` are followed by a statement.
    Round {
        control: bool,
    },
    Square,
    Curly,
    /// An expression in a template: `${…}`.
    Template,
}

#[derive(Default)]
struct Scanner<'s> {
    bytes: &'s [u8],
    at: usize,
    angle_brackets: bool,
    /// The open brackets, each with the chain around it.
    open: Vec<(Bracket, u32, u32)>,
    /// The nesting around the innermost bracket.
    around: u32,
    /// The links of the chain within the innermost bracket.
    chain: u32,
    /// The chain that the last statement ended, which an `else` continues.
    ended: u32,
    previous: Previous,
    newline: bool,
    /// Whether this is the name of a `namespace a.b.c`, which the parser reads as nested
    /// namespaces.
    namespace: bool,
}

impl Scanner<'_> {
    fn exceeds(&mut self) -> bool {
        while let Some(&byte) = self.bytes.get(self.at) {
            self.token(byte);
            if self.around + self.chain > MAX_NESTING {
                return true;
            }
        }
        false
    }

    fn peek(&self, offset: usize) -> u8 {
        self.bytes.get(self.at + offset).copied().unwrap_or(0)
    }

    fn token(&mut self, byte: u8) {
        match byte {
            b'\n' | b'\r' => {
                self.newline = true;
                self.at += 1;
                return;
            }
            b' ' | b'\t' => {
                self.at += 1;
                return;
            }
            b'/' if self.peek(1) == b'/' => return self.skip_line(),
            b'/' if self.peek(1) == b'*' => return self.skip_comment(),
            _ => {}
        }
        let newline = std::mem::take(&mut self.newline);
        self.namespace &= byte == b'.' || !byte.is_ascii_punctuation();
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'_' | b'$' | b'\\' | 0x80.. => self.word(newline),
            b'0'..=b'9' => {
                self.new_statement_if(newline);
                self.skip_word();
                self.previous = Previous::Operand;
            }
            b'"' | b'\'' => {
                self.new_statement_if(newline);
                self.skip_string(byte);
                self.previous = Previous::Operand;
            }
            b'`' => {
                self.at += 1;
                self.template();
            }
            b'/' if self.angle_brackets && self.peek(1) == b'>' => {
                self.chain = self.chain.saturating_sub(1);
                self.at += 2;
                self.previous = Previous::Operand;
            }
            b'/' if !self.after_operand() => self.regular_expression(),
            b'(' => self.open(Bracket::Round { control: self.previous == Previous::Control }),
            b'[' => self.open(Bracket::Square),
            b'{' => self.open(Bracket::Curly),
            b')' | b']' | b'}' => self.close(),
            b';' | b',' => {
                self.at += 1;
                self.end_chain();
                self.previous = Previous::Operator;
            }
            _ => self.operator(byte, newline),
        }
    }

    fn after_operand(&self) -> bool {
        matches!(self.previous, Previous::Operand | Previous::Brace)
    }

    fn open(&mut self, bracket: Bracket) {
        self.open.push((bracket, self.chain, self.ended));
        self.around += self.chain + 1;
        (self.chain, self.ended) = (0, 0);
        self.previous = Previous::Operator;
        self.at += 1;
    }

    fn close(&mut self) {
        let byte = self.bytes[self.at];
        self.at += 1;
        let Some((bracket, chain, ended)) = self.open.pop() else { return };
        (self.chain, self.ended) = (chain, ended);
        self.around -= chain + 1;
        self.previous = match bracket {
            Bracket::Round { control: true } => Previous::Operator,
            Bracket::Template if byte == b'}' => return self.template(),
            Bracket::Curly => Previous::Brace,
            _ => Previous::Operand,
        };
    }

    fn end_chain(&mut self) {
        self.ended = std::mem::take(&mut self.chain);
    }

    /// Starts a new statement if this token cannot continue after an operand.
    fn new_statement_if(&mut self, newline: bool) {
        if self.previous == Previous::Brace || (newline && self.previous == Previous::Operand) {
            self.end_chain();
        }
    }

    fn word(&mut self, newline: bool) {
        let start = self.at;
        self.skip_word();
        let after_dot = start > 0 && self.bytes[start - 1] == b'.';
        let word = if after_dot { b"" } else { &self.bytes[start..self.at] };
        match word {
            b"else" => {
                self.chain += 1 + std::mem::take(&mut self.ended);
                self.previous = Previous::Operator;
            }
            b"in" | b"instanceof" | b"of" | b"as" | b"satisfies" | b"is" | b"catch"
            | b"finally" => self.previous = Previous::Operator,
            b"extends" => {
                self.chain += 1;
                self.previous = Previous::Operator;
            }
            b"if" | b"for" | b"while" | b"with" => {
                self.new_statement_if(newline);
                self.chain += 1;
                self.previous = Previous::Control;
            }
            b"do" | b"new" | b"typeof" | b"void" | b"delete" | b"await" | b"yield" | b"async"
            | b"keyof" | b"infer" | b"unique" | b"readonly" | b"asserts" => {
                self.new_statement_if(newline);
                // Any of these may be a name or the last word of a statement. Then one link too
                // many is counted.
                self.chain += 1;
                self.previous = Previous::Operator;
            }
            b"namespace" | b"module" => {
                self.new_statement_if(newline);
                self.namespace = true;
                self.previous = Previous::Operand;
            }
            b"return" | b"throw" | b"case" => {
                self.new_statement_if(newline);
                self.previous = Previous::Operator;
            }
            _ => {
                self.new_statement_if(newline);
                self.previous = Previous::Operand;
            }
        }
    }

    fn operator(&mut self, byte: u8, newline: bool) {
        let next = self.peek(1);
        let length = match (byte, next) {
            (b'=' | b'!', b'=') if self.peek(2) == b'=' => 3,
            (b'=', b'=' | b'>')
            | (b'!' | b'<' | b'>', b'=')
            | (b'*', b'*')
            | (b'?', b'.' | b'?')
            | (b'<', b'/') => 2,
            (b'+', b'+') | (b'-', b'-') => {
                // After an operand it is a postfix, and the operand stays one.
                let postfix = self.after_operand() && !newline;
                self.chain += u32::from(!postfix);
                self.at += 2;
                return;
            }
            _ => 1,
        };
        let closes_tag = (byte, next) == (b'<', b'/') && self.angle_brackets;
        let deeper = match byte {
            b'=' => next != b'=',
            b'?' => next != b'.',
            b'!' => next != b'=' && !self.after_operand() || newline,
            b':' | b'~' => true,
            b'.' => self.namespace,
            b'*' => next == b'*',
            b'+' | b'-' => !self.after_operand(),
            b'<' => self.angle_brackets && !closes_tag && next != b'=',
            _ => false,
        };
        if newline && matches!(byte, b'!' | b'~' | b'@' | b'#') {
            self.new_statement_if(newline);
        }
        self.chain += u32::from(deeper);
        if closes_tag {
            self.chain = self.chain.saturating_sub(1);
        }
        self.at += length;
        self.previous = match byte {
            b'!' if self.after_operand() && next != b'=' => Previous::Operand,
            _ => Previous::Operator,
        };
    }

    fn skip_word(&mut self) {
        while self.bytes.get(self.at).is_some_and(|byte| {
            byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$' | b'\\') || *byte >= 0x80
        }) {
            self.at += 1;
        }
    }

    fn skip_line(&mut self) {
        while !matches!(self.bytes.get(self.at), None | Some(b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn skip_comment(&mut self) {
        self.at += 2;
        while self.at < self.bytes.len() && !(self.bytes[self.at] == b'*' && self.peek(1) == b'/') {
            self.newline |= self.bytes[self.at] == b'\n';
            self.at += 1;
        }
        self.at += 2;
    }

    /// Skips to the closing quote or to the end of the line, because text in JSX contains
    /// apostrophes.
    fn skip_string(&mut self, quote: u8) {
        self.at += 1;
        while let Some(&byte) = self.bytes.get(self.at) {
            match byte {
                b'\\' => self.at += 2,
                b'\n' => return,
                _ => {
                    self.at += 1;
                    if byte == quote {
                        return;
                    }
                }
            }
        }
    }

    fn regular_expression(&mut self) {
        self.at += 1;
        let mut class = false;
        while let Some(&byte) = self.bytes.get(self.at) {
            match byte {
                b'\\' => self.at += 1,
                b'\n' => return,
                b'[' => class = true,
                b']' => class = false,
                b'/' if !class => break,
                _ => {}
            }
            self.at += 1;
        }
        self.at += 1;
        self.previous = Previous::Operand;
    }

    /// Skips the text of a template to its end or to the next `${`.
    fn template(&mut self) {
        while let Some(&byte) = self.bytes.get(self.at) {
            match byte {
                b'\\' => self.at += 2,
                b'`' => {
                    self.at += 1;
                    self.previous = Previous::Operand;
                    return;
                }
                b'$' if self.peek(1) == b'{' => {
                    self.at += 1;
                    return self.open(Bracket::Template);
                }
                _ => self.at += 1,
            }
        }
    }
}
