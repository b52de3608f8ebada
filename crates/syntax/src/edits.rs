//! Edits of a text by position: insertions, and spans that are replaced by spaces so that nothing
//! after them moves.

use std::borrow::Cow;
use std::collections::HashSet;

/// An edit. Insertions have `start == end`.
#[derive(Debug)]
struct Edit {
    start: u32,
    end: u32,
    what: What,
}

#[derive(Debug)]
enum What {
    /// Text that belongs to the code that begins here. Of several, the last one added is the
    /// outermost and comes first.
    Before(Cow<'static, str>),
    /// Text that belongs to the code that ends here. Of several, the first one added is the
    /// innermost and comes first.
    After(Cow<'static, str>),
    /// Text that comes before all others that end here.
    Innermost(&'static str),
    /// Text that replaces the span.
    Instead(Cow<'static, str>),
    /// White space that replaces the span, with every line break kept. A semicolon comes first if
    /// the previous statement must not continue.
    Blank { semicolon: bool },
}

/// A set of edits of one text.
#[derive(Debug, Default)]
pub(crate) struct Edits {
    list: Vec<Edit>,
    /// The positions at which text was inserted after something.
    ended: HashSet<u32>,
    /// Whether the edits are sorted, so that no more can be added: the order of their addition is
    /// lost.
    is_sorted: bool,
}

impl Edits {
    pub(crate) fn insert_before(&mut self, at: u32, text: impl Into<Cow<'static, str>>) {
        self.list.push(Edit { start: at, end: at, what: What::Before(text.into()) });
    }

    pub(crate) fn insert_after(&mut self, at: u32, text: impl Into<Cow<'static, str>>) {
        self.ended.insert(at);
        self.list.push(Edit { start: at, end: at, what: What::After(text.into()) });
    }

    /// Inserts text after an expression whose statement may end there too, with text of its own
    /// after it.
    pub(crate) fn insert_innermost(&mut self, at: u32, text: &'static str) {
        self.list.push(Edit { start: at, end: at, what: What::Innermost(text) });
    }

    pub(crate) fn replace(&mut self, start: u32, end: u32, text: impl Into<Cow<'static, str>>) {
        self.list.push(Edit { start, end, what: What::Instead(text.into()) });
    }

    pub(crate) fn blank(&mut self, start: u32, end: u32) {
        if start < end {
            self.list.push(Edit { start, end, what: What::Blank { semicolon: false } });
        }
    }

    /// Replaces a whole statement or class member by spaces, leaving an empty one.
    pub(crate) fn blank_to_semicolon(&mut self, start: u32, end: u32) {
        self.list.push(Edit { start, end, what: What::Blank { semicolon: true } });
    }

    /// Adds a semicolon to the statement that ends where a blank does, unless text was added there,
    /// which ends it already.
    pub(crate) fn end_statement(&mut self, end: u32) {
        if self.ended.contains(&end) {
            return;
        }
        // The blank may be a few edits back, for example if a `!` precedes the type.
        for edit in self.list.iter_mut().rev().take(4) {
            if let What::Blank { semicolon } = &mut edit.what
                && edit.end == end
            {
                *semicolon = true;
                return;
            }
        }
    }

    /// Returns the number of edits. Those added later can be removed with [`Edits::truncate`].
    pub(crate) fn len(&self) -> usize {
        self.list.len()
    }

    pub(crate) fn truncate(&mut self, len: usize) {
        for edit in self.list.drain(len..) {
            self.ended.remove(&edit.start);
        }
    }

    /// Returns the edited text. An unchanged text is not copied.
    pub(crate) fn apply(mut self, source: &str) -> Cow<'_, str> {
        if self.list.is_empty() {
            return Cow::Borrowed(source);
        }
        self.sort();
        let added: usize = self.list.iter().map(|edit| edit.inserted().map_or(0, str::len)).sum();
        let mut out = String::with_capacity(source.len() + added);
        let mut position = 0;
        for edit in &self.list {
            let (start, end) = (edit.start as usize, edit.end as usize);
            // A blank inside a blank, such as a type argument in a member that is removed as a
            // whole.
            if end < position || (end == position && start < end) {
                continue;
            }
            let start = start.max(position);
            out.push_str(&source[position..start]);
            match &edit.what {
                What::Before(text) | What::After(text) | What::Instead(text) => out.push_str(text),
                What::Innermost(text) => out.push_str(text),
                What::Blank { semicolon } => blank(&source[start..end], *semicolon, &mut out),
            }
            position = end;
        }
        out.push_str(&source[position..]);
        Cow::Owned(out)
    }

    /// Returns the insertions as (offset in the unchanged text, length in UTF-16 code units) in
    /// order. None of them contains a line break.
    pub(crate) fn insertions(&mut self) -> Vec<(u32, u32)> {
        self.sort();
        self.list
            .iter()
            .filter_map(|edit| Some((edit.start, edit.inserted()?.encode_utf16().count() as u32)))
            .collect()
    }

    fn sort(&mut self) {
        if std::mem::replace(&mut self.is_sorted, true) {
            return;
        }
        let mut edits: Vec<(usize, Edit)> =
            std::mem::take(&mut self.list).into_iter().enumerate().collect();
        edits.sort_by_key(|(index, edit)| {
            let (rank, order) = match edit.what {
                What::Innermost(_) => (0, -1),
                What::After(_) => (0, *index as i64),
                What::Before(_) => (1, -(*index as i64)),
                // The widest come first, so that edits within them are skipped.
                What::Instead(_) | What::Blank { .. } => (2, -i64::from(edit.end)),
            };
            (edit.start, rank, order)
        });
        self.list = edits.into_iter().map(|(_, edit)| edit).collect();
    }
}

impl Edit {
    fn inserted(&self) -> Option<&str> {
        match &self.what {
            What::Before(text) | What::After(text) => Some(text),
            What::Innermost(text) => Some(text),
            What::Instead(_) | What::Blank { .. } => None,
        }
    }
}

/// Writes one space for each UTF-16 code unit, so that V8 counts the same columns.
fn blank(text: &str, semicolon: bool, out: &mut String) {
    for (index, c) in text.char_indices() {
        match c {
            _ if semicolon && index == 0 => out.push(';'),
            '\n' | '\r' | '\u{2028}' | '\u{2029}' => out.push(c),
            _ => out.extend(std::iter::repeat_n(' ', c.len_utf16())),
        }
    }
}
