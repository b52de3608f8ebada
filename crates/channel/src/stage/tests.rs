use super::*;
use crate::frame::encode_header;
use crate::sandbox::Annotation;
use proptest::prelude::*;

fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
    [&encode_header(kind, payload.len())[..], payload].concat()
}

const ALL: std::ops::RangeInclusive<u8> = 0..=255;
const NONE: Vec<()> = Vec::new();

fn importing() -> Importing {
    match Sealed::default().hear(&frame(kind::HOME, b""), vec![()], Lost::Nothing) {
        Ok(FromSealed::Home((), importing)) => importing,
        other => panic!("{other:?}"),
    }
}

fn active(output_bytes: u64) -> Active {
    match importing().hear(&frame(kind::READY, b""), Lost::Nothing) {
        Ok(FromImporting::Parked(parked)) => parked.activate(Limits { result_bytes: 100, output_bytes }),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_working_folder_comes_with_exactly_one_descriptor_and_alone() {
    for (bytes, descriptors, lost) in [
        (frame(kind::HOME, b""), 0, Lost::Nothing),
        (frame(kind::HOME, b""), 2, Lost::Nothing),
        (frame(kind::HOME, b""), 1, Lost::Descriptors),
        (frame(kind::HOME, b"").repeat(2), 1, Lost::Nothing),
        (frame(kind::HOME, b"")[..3].to_vec(), 1, Lost::Nothing),
        (frame(kind::FAULT, b"x"), 1, Lost::Nothing),
    ] {
        assert!(Sealed::default().hear(&bytes, vec![(); descriptors], lost).is_err(), "{bytes:?} {descriptors} {lost:?}");
    }
}

#[test]
fn each_stage_takes_its_own_kinds_and_no_other() {
    for kind in ALL {
        let bytes = frame(kind, &[1; 14][..if kind == kind::ANNOTATE { 14 } else { 0 }]);
        let descriptors = if kind == kind::HOME { vec![()] } else { NONE };
        assert_eq!(Sealed::default().hear(&bytes, descriptors, Lost::Nothing).is_ok(), [kind::HOME, kind::FAULT].contains(&kind), "{kind}");
        assert_eq!(importing().hear(&bytes, Lost::Nothing).is_ok(), [kind::READY, kind::FAULT].contains(&kind), "{kind}");
        let mut active = active(10);
        active.extend(&bytes, Lost::Nothing).unwrap();
        assert_eq!(active.next_message(0).is_ok(), Stage::Active.kinds().contains(&kind), "{kind}");
    }
}

#[test]
fn a_frame_out_of_its_stage_is_named() {
    let mut active = active(10);
    active.extend(&frame(kind::FAULT, b"forged"), Lost::Nothing).unwrap();
    assert_eq!(active.next_message(0).unwrap_err().to_string(), "a FAULT frame after it was activated");
}

#[test]
fn nothing_may_follow_the_word_that_it_is_parked() {
    let bytes = frame(kind::READY, b"").repeat(2);
    assert!(matches!(importing().hear(&bytes, Lost::Nothing), Err(Violation::More(Stage::Importing))));
}

#[test]
fn descriptors_are_refused_in_every_later_stage() {
    assert!(importing().hear(&frame(kind::READY, b""), Lost::Descriptors).is_err());
    assert!(active(10).extend(b"", Lost::Descriptors).is_err());
}

fn flood(kind: u8, payload: &[u8], output_bytes: u64, most: u64) -> Violation {
    let mut active = active(1_000);
    for _ in 0..most {
        active.extend(&frame(kind, payload), Lost::Nothing).unwrap();
        active.next_message(output_bytes).unwrap().unwrap();
    }
    active.extend(&frame(kind, payload), Lost::Nothing).unwrap();
    active.next_message(output_bytes).unwrap_err()
}

#[test]
fn more_frames_than_the_limits_account_for_end_the_run() {
    let annotation = Annotation { stream: 1, level: 1, offset: 0, length: 1 }.encode();
    assert_eq!(
        flood(kind::ANNOTATE, &annotation, 0, 10_000).to_string(),
        "more than 10000 ANNOTATE frames; a run with these limits has use for fewer"
    );
    flood(kind::ANNOTATE, &annotation, 500, 11_000);
    flood(kind::DENIED, b"{}", 0, 1_000);
    flood(kind::RESULT, b"", 0, 1_041);
    flood(kind::CALL, b"", 0, 1_000_000);
    assert!(matches!(flood(kind::DENIED, &vec![b'x'; 4 << 20], 0, 16), Violation::TooManyBytes { .. }));
}

proptest! {
    #[test]
    fn no_bytes_make_a_stage_panic(bytes in proptest::collection::vec(any::<u8>(), 0..100), descriptors in 0_usize..3, lost: bool) {
        let lost = if lost { Lost::Descriptors } else { Lost::Nothing };
        let _ = Sealed::default().hear(&bytes, vec![(); descriptors], lost);
        let _ = importing().hear(&bytes, lost);
        let mut active = active(10);
        if active.extend(&bytes, lost).is_ok() {
            while let Ok(Some(_)) = active.next_message(0) {}
        }
    }
}
