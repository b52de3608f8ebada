//! Changes to a text by position: insertions, and spans blanked with spaces so that nothing after them moves.

use std::borrow::Cow;
use std::collections::HashSet;

/// One change. Insertions have `start == end`.
#[derive(Debug)]
struct Edit {
    start: u32,
    end: u32,
    what: What,
}

#[derive(Debug)]
enum What {
    /// Text that belongs to what begins here; of several, the one added last is the outermost and comes first.
    Before(Cow<'static, str>),
    /// Text that belongs to what ends here; of several, the one added first is the innermost and comes first.
    After(Cow<'static, str>),
    /// The same, before all others that end here.
    Innermost(&'static str),
    /// Instead of what was there.
    Instead(Cow<'static, str>),
    /// Nothing but white space, with every line break kept; a semicolon first where the statement before must not go on.
    Blank { semicolon: bool },
}

/// A set of changes to one text.
#[derive(Debug, Default)]
pub(crate) struct Edits {
    list: Vec<Edit>,
    /// Where text was put after something.
    ended: HashSet<u32>,
    /// Set once no more edits are added: the order in which they were added is gone then.
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

    /// Puts text after an expression whose statement may end there as well, with text of its own after it.
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

    /// Blanks a whole statement or class member, leaving an empty one.
    pub(crate) fn blank_to_semicolon(&mut self, start: u32, end: u32) {
        self.list.push(Edit { start, end, what: What::Blank { semicolon: true } });
    }

    /// Ends with a semicolon the statement that ends where a blank does, unless text was added there, which ends it already.
    pub(crate) fn end_statement(&mut self, end: u32) {
        if self.ended.contains(&end) {
            return;
        }
        // A few further back: a `!` before a type, say.
        for edit in self.list.iter_mut().rev().take(4) {
            if let What::Blank { semicolon } = &mut edit.what
                && edit.end == end
            {
                *semicolon = true;
                return;
            }
        }
    }

    /// How many there are: what was added later can be taken back with [`Edits::truncate`].
    pub(crate) fn len(&self) -> usize {
        self.list.len()
    }

    pub(crate) fn truncate(&mut self, len: usize) {
        for edit in self.list.drain(len..) {
            self.ended.remove(&edit.start);
        }
    }

    /// The text with all changes made. An unchanged text is not copied.
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
            // A blank inside a blank, such as a type argument in a member that goes as a whole.
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

    /// The insertions as (offset in the unchanged text, length in UTF-16 code units), in order. None of them spans lines.
    pub(crate) fn insertions(&mut self) -> Vec<(u32, u32)> {
        self.sort();
        self.list.iter().filter_map(|edit| Some((edit.start, edit.inserted()?.encode_utf16().count() as u32))).collect()
    }

    fn sort(&mut self) {
        if std::mem::replace(&mut self.is_sorted, true) {
            return;
        }
        let mut edits: Vec<(usize, Edit)> = std::mem::take(&mut self.list).into_iter().enumerate().collect();
        edits.sort_by_key(|(index, edit)| {
            let (rank, order) = match edit.what {
                What::Innermost(_) => (0, -1),
                What::After(_) => (0, *index as i64),
                What::Before(_) => (1, -(*index as i64)),
                // The widest first, so that what lies within is skipped.
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

/// One space for each UTF-16 code unit, so that columns stay what V8 counts.
fn blank(text: &str, semicolon: bool, out: &mut String) {
    for (index, c) in text.char_indices() {
        match c {
            _ if semicolon && index == 0 => out.push(';'),
            '\n' | '\r' | '\u{2028}' | '\u{2029}' => out.push(c),
            _ => out.extend(std::iter::repeat_n(' ', c.len_utf16())),
        }
    }
}
