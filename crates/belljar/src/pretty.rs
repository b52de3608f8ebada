//! JSON for people: values that fit are on one line, and longer ones have one member per line. The
//! text of strings and numbers and the order of members stay as they are.

/// The number of spaces of one level of indentation.
const STEP: usize = 2;

/// Formats compact, valid JSON for a terminal of this width.
pub fn format(json: &str, width: usize) -> String {
    let mut text = String::with_capacity(json.len() * 2);
    write(json, 0, 0, width, &mut text);
    text
}

/// Writes a value that begins after `before` columns.
fn write(json: &str, indent: usize, before: usize, width: usize, text: &mut String) {
    let is_container = json.starts_with(['[', '{']) && json.len() > 2;
    if !is_container {
        text.push_str(json);
        return;
    }
    if before + json.len() <= width {
        let line = one_line(json);
        if before + line.chars().count() <= width {
            text.push_str(&line);
            return;
        }
    }
    let members = members(&json[1..json.len() - 1]);
    text.push_str(&json[..1]);
    for (number, member) in members.iter().enumerate() {
        text.push('\n');
        text.push_str(&" ".repeat(indent + STEP));
        let (key, value) = key_and_value(json, member);
        let before = indent + STEP + key.chars().count() + 2;
        if !key.is_empty() {
            text.push_str(key);
            text.push_str(": ");
        }
        write(value, indent + STEP, before, width, text);
        if number + 1 < members.len() {
            text.push(',');
        }
    }
    text.push('\n');
    text.push_str(&" ".repeat(indent));
    text.push_str(&json[json.len() - 1..]);
}

/// Returns compact JSON with a space after each comma and colon.
fn one_line(json: &str) -> String {
    let mut line = String::with_capacity(json.len() + 16);
    let mut scan = Scan::default();
    for c in json.chars() {
        line.push(c);
        scan.pass(c);
        if !scan.is_in_string && matches!(c, ',' | ':') {
            line.push(' ');
        }
    }
    line
}

/// Splits the inside of an array or object at its top-level commas.
fn members(inside: &str) -> Vec<&str> {
    let (mut members, mut start, mut scan) = (Vec::new(), 0, Scan::default());
    for (at, c) in inside.char_indices() {
        scan.pass(c);
        if c == ',' && scan.depth == 0 && !scan.is_in_string {
            members.push(&inside[start..at]);
            start = at + 1;
        }
    }
    members.push(&inside[start..]);
    members
}

/// Splits the member of an object into key and value. A member of an array has an empty key.
fn key_and_value<'a>(container: &str, member: &'a str) -> (&'a str, &'a str) {
    if container.starts_with('[') {
        return ("", member);
    }
    let mut scan = Scan::default();
    let colon = member.char_indices().find(|(_, c)| {
        scan.pass(*c);
        *c == ':' && !scan.is_in_string
    });
    colon.map_or(("", member), |(at, _)| (&member[..at], &member[at + 1..]))
}

/// The state of a scan over JSON.
#[derive(Default)]
struct Scan {
    is_in_string: bool,
    is_escaped: bool,
    depth: usize,
}

impl Scan {
    fn pass(&mut self, c: char) {
        if self.is_in_string {
            match c {
                _ if self.is_escaped => self.is_escaped = false,
                '\\' => self.is_escaped = true,
                '"' => self.is_in_string = false,
                _ => {}
            }
            return;
        }
        match c {
            '"' => self.is_in_string = true,
            '[' | '{' => self.depth += 1,
            ']' | '}' => self.depth = self.depth.saturating_sub(1),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_that_fits_is_on_one_line() {
        for (json, shown) in [
            ("1.50", "1.50"),
            ("[]", "[]"),
            ("[1,2,3]", "[1, 2, 3]"),
            (r#"{"b":1,"a":[{},"x,y:z"]}"#, r#"{"b": 1, "a": [{}, "x,y:z"]}"#),
        ] {
            assert_eq!(format(json, 80), shown);
        }
    }

    #[test]
    fn a_longer_value_has_one_member_per_line() {
        let json = r#"{"z":[1,2],"a":{"quote\"":"a long text, with: signs","n":[100,200,300]}}"#;
        let shown = format(json, 30);
        let expected = "\
{
  \"z\": [1, 2],
  \"a\": {
    \"quote\\\"\": \"a long text, with: signs\",
    \"n\": [100, 200, 300]
  }
}";
        assert_eq!(shown, expected);
        let value: serde_json::Value = serde_json::from_str(json).unwrap();
        assert_eq!(serde_json::from_str::<serde_json::Value>(&shown).unwrap(), value);
    }
}
