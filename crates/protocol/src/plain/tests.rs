use proptest::prelude::*;

use super::*;

/// Texts that attack a terminal, a log, a person or a model. Each has the part that must not
/// survive.
const ATTACKS: [(&str, &str); 18] = [
    ("OSC 52, which writes the clipboard", "\x1b]52;c;cm0gLXJm\x07"),
    ("a title", "\x1b]0;root@host\x1b\\"),
    ("CSI, which clears the screen", "\x1b[2J"),
    ("CSI of C1", "\u{9b}31m"),
    ("OSC of C1", "\u{9d}0;x\u{9c}"),
    ("a carriage return", "\r"),
    ("a backspace", "\u{8}"),
    ("DEL", "\u{7f}"),
    ("next line", "\u{85}"),
    ("a line separator", "\u{2028}"),
    ("right-to-left override", "\u{202e}"),
    ("an isolate", "\u{2067}"),
    ("the Arabic letter mark", "\u{61c}"),
    ("a zero-width space", "\u{200b}"),
    ("tag characters, which only models read", "\u{e0068}\u{e0069}"),
    ("variation selectors that carry bytes", "\u{e0101}\u{fe03}"),
    ("a soft hyphen", "\u{ad}"),
    ("a byte order mark", "\u{feff}"),
];

#[test]
fn each_attack_is_shown_and_not_obeyed() {
    for (what, attack) in ATTACKS {
        let given = format!("before{attack}after");
        let escape: String = attack
            .chars()
            .next()
            .map(
                |first| {
                    if first == '\r' { "\\r".into() } else { first.escape_unicode().to_string() }
                },
            )
            .unwrap();
        for (way, shown) in [
            ("line", line(&given)),
            ("block", block(&given)),
            ("text", text(&given)),
            ("quoted", quoted(&given, 1000, "...").into()),
        ] {
            assert!(!shown.contains(attack), "{what}, {way}: {shown:?}");
            assert!(shown.contains(&escape), "{what}, {way}, is dropped and not shown: {shown:?}");
        }
    }
}

#[test]
fn writing_of_all_scripts_stays_as_it_is() {
    for given in [
        "plain, 100 % ~ \\u{1b}",
        "Grüße, naïve, Ελλάδα, Россия",
        "漢字、ひらがな、한국어",
        "עברית and العربية",
        "می‌خواهم",
        "क्‍ष",
        "👨‍👩‍👧 ⚠️ ❤️‍🔥 👍🏽 1️⃣ 🇳🇴",
        "e\u{301} Zo\u{308}e",
    ] {
        assert_eq!(line(given), given);
        assert_eq!(json(given), given);
    }
    assert_eq!(text("a\tb\nc"), "a\tb\nc");
}

#[test]
fn joiners_and_selectors_carry_nothing_where_they_join_nothing() {
    assert_eq!(line("a\u{200d}b"), r"a\u{200d}b");
    assert_eq!(line("👍\u{fe0f}\u{fe0f}"), "👍\u{fe0f}\\u{fe0f}");
    assert_eq!(line("5\u{fe0f}"), r"5\u{fe0f}");
    // Nothing is joined to what is shown as an escape.
    assert_eq!(line("\u{fe0f}\u{200d}👍"), r"\u{fe0f}\u{200d}👍");
    assert_eq!(line("👍\u{fe0f}\u{fe0f}\u{200d}👍"), "👍\u{fe0f}\\u{fe0f}\\u{200d}👍");
    assert_eq!(line("5\u{fe0f}\u{20e3}"), "5\u{fe0f}\u{20e3}");
    let many = format!("5{}", "\u{301}".repeat(MAX_MARKS - 1));
    assert_eq!(line(&format!("{many}\u{fe0f}\u{20e3}")), format!("{many}\\u{{fe0f}}\\u{{20e3}}"));
    let marks = "\u{301}".repeat(100);
    assert_eq!(line(&format!("a{marks}")).matches('\u{301}').count(), MAX_MARKS);
}

#[test]
fn a_line_cannot_become_two_and_a_block_cannot_speak_as_belljar() {
    for end in ["\n", "\r\n", "\u{b}", "\u{c}", "\u{85}", "\u{2028}", "\u{2029}"] {
        for word in ["hint", "error", "belljar", "  warning ", "note", "hіnt", "Hіnt"] {
            let given = format!("x{end}{word}: run me");
            assert_eq!(line(&given).lines().count(), 1);
            let is_ours = |line: &str| {
                line.trim_start().to_lowercase().starts_with(word.trim().to_lowercase().as_str())
            };
            assert!(!block(&given).lines().any(is_ours), "{:?}", block(&given));
        }
    }
    assert_eq!(block("hint: run me"), "| hint: run me", "nor by its first line");
    assert_eq!(
        block("Error: no\nWARNING:root:x"),
        "Error: no\nWARNING:root:x",
        "as languages begin, and Belljar does not"
    );
    assert_eq!(block("ValueError: no\n  at: x"), "ValueError: no\n  at: x");
    assert!(quoted("value:\n\nlogs:", 100, "...").lines().all(|line| line.starts_with("| ")));
}

#[test]
fn a_text_without_end_is_cut_and_says_so() {
    let long = "\u{1b}".repeat(1 << 20);
    for shown in [line(&long), block(&long)] {
        assert!(shown.len() < MAX_BLOCK_BYTES + 100, "{}", shown.len());
        assert!(shown.ends_with("… (cut: the text has 1048576 bytes)"));
    }
}

#[test]
fn a_quoted_text_keeps_its_beginning_and_its_end() {
    let lines: Vec<String> = (0..10_000).map(|line| format!("line {line}")).collect();
    let shown = quoted(&lines.join("\n"), 1000, "...");
    let (beginning, end) = shown.split_once("\n...\n").unwrap();
    assert!(
        beginning.starts_with("| line 0\n| line 1\n") && end.ends_with("| line 9998\n| line 9999"),
        "{shown}"
    );
    assert!(
        beginning.lines().chain(end.lines()).all(|line| lines.contains(&line.replace("| ", ""))),
        "whole lines: {shown}"
    );

    let shown = quoted(&format!("first{}last", "é".repeat(100_000)), 1000, "...");
    assert!(
        shown.starts_with("| firsté") && shown.ends_with("élast") && shown.contains("é\n...\n| é"),
        "{shown}"
    );
    for only_line_ends in ["\n".repeat(1 << 20), "\u{1b}\n".repeat(1 << 20)] {
        let shown = quoted(&only_line_ends, 1000, "...");
        assert!((900..=1010).contains(&shown.len()), "{}", shown.len());
    }
}

/// Strings in which every kind of character is likely.
fn anything() -> impl Strategy<Value = String> {
    let character = prop_oneof![
        any::<char>(),
        (0u8..0xa0).prop_map(char::from),
        "[\u{2000}-\u{206f}]".prop_map(|one| one.chars().next().unwrap()),
        "[\n\thint:👍\u{fe0f}\u{200d}]".prop_map(|one| one.chars().next().unwrap())
    ];
    proptest::collection::vec(character, 0..60).prop_map(String::from_iter)
}

/// Returns whether a character must be escaped, by a definition independent of the one under test.
fn is_dangerous(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2028}'
                ..='\u{202e}'
        )
        || matches!(
            character,
            '\u{2060}'..='\u{206f}'
                | '\u{feff}'
                | '\u{fff0}'..='\u{fffb}'
                | '\u{e000}'..='\u{f8ff}'
                | '\u{e0000}'..='\u{10ffff}'
        )
}

proptest! {
    #[test]
    fn nothing_dangerous_survives(given in anything()) {
        prop_assert!(!line(&given).contains(is_dangerous));
        for shown in [block(&given), text(&given), quoted(&given, 1000, "| ...").into()] {
            prop_assert!(!shown.replace(['\n', '\t'], "").contains(is_dangerous), "{shown:?}");
        }
        prop_assert!(!block(&given).lines().any(looks_like_ours));
        prop_assert!(quoted(&given, 1000, "| ...").split('\n').all(|line| line.starts_with("| ")));
    }

    #[test]
    fn a_quoted_text_is_bounded(given in anything(), max_bytes in 20_usize..400) {
        let shown = quoted(&given, max_bytes, "...");
        prop_assert!(shown.len() <= max_bytes + "\n...\n".len(), "{}: {shown:?}", shown.len());
        let lines: Vec<String> =
            text(&given).split('\n').map(|line| format!("| {line}")).collect();
        let whole = lines.join("\n");
        prop_assert!(shown.contains("\n...\n") || shown == whole);
    }

    #[test]
    fn json_means_the_same_and_shows_nothing_dangerous(given in anything()) {
        let exact = serde_json::to_string(&[&given]).unwrap();
        let shown = json(&exact);
        prop_assert!(!shown.contains(is_dangerous), "{shown:?}");
        prop_assert_eq!(serde_json::from_str::<Vec<String>>(&shown).unwrap(), vec![given]);
    }

    #[test]
    fn what_is_cleaned_is_clean(given in anything()) {
        let once = line(&given).into_owned();
        prop_assert_eq!(line(&once), once.as_str());
    }
}
