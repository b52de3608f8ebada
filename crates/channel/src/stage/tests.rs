use super::*;
use crate::frame::{encode_execution_header, encode_header};
use crate::sandbox::Annotation;
use proptest::prelude::*;

const RUNNING: ExecutionId = ExecutionId::FIRST;

/// Returns a frame, with the id of the running execution if it belongs to one.
fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
    if kind::is_of_execution(kind) {
        frame_of(RUNNING, kind, payload)
    } else {
        [&encode_header(kind, payload.len())[..], payload].concat()
    }
}

fn frame_of(execution: ExecutionId, kind: u8, payload: &[u8]) -> Vec<u8> {
    [&encode_execution_header(kind, execution, payload.len())[..], payload].concat()
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
        Ok(FromImporting::Parked(parked)) => {
            parked.activate(RUNNING, FrameLimits { result_bytes: 100, output_bytes })
        }
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
        assert!(
            Sealed::default().hear(&bytes, vec![(); descriptors], lost).is_err(),
            "{bytes:?} {descriptors} {lost:?}"
        );
    }
}

#[test]
fn each_stage_takes_its_own_kinds_and_no_other() {
    for kind in ALL {
        let bytes = frame(kind, &[1; 14][..if kind == kind::ANNOTATE { 14 } else { 0 }]);
        let descriptors = if kind == kind::HOME { vec![()] } else { NONE };
        assert_eq!(
            Sealed::default().hear(&bytes, descriptors, Lost::Nothing).is_ok(),
            [kind::HOME, kind::FAULT].contains(&kind),
            "{kind}"
        );
        assert_eq!(
            importing().hear(&bytes, Lost::Nothing).is_ok(),
            [kind::READY, kind::FAULT].contains(&kind),
            "{kind}"
        );
        assert_eq!(hear(&bytes).1.is_none(), Stage::Active.kinds().contains(&kind), "{kind}");
        let (heard, violation) = hear(&[frame(kind::EXECUTED, b"{}"), bytes.clone()].concat());
        assert_eq!(heard[0], SandboxMessage::Executed(b"{}".to_vec()));
        assert_eq!(violation.is_none(), kind == kind::GOODBYE, "{kind}");
        let goodbye = [frame(kind::EXECUTED, b"{}"), frame(kind::GOODBYE, b""), bytes].concat();
        assert_eq!(hear(&goodbye).1, Some(Violation::More(Stage::Over)), "{kind}");
    }
}

/// Returns the messages of an active sandbox that sends these bytes, and the violation that ends
/// it, if there is one.
fn hear(bytes: &[u8]) -> (Vec<SandboxMessage>, Option<Violation>) {
    let mut active = active(10);
    active.extend(bytes, Lost::Nothing).unwrap();
    let mut heard = Vec::new();
    loop {
        match active.next_message(0) {
            Ok(Some(message)) => heard.push(message),
            Ok(None) => return (heard, None),
            Err(violation) => return (heard, Some(violation)),
        }
    }
}

#[test]
fn a_frame_of_another_execution_is_refused() {
    let other = ExecutionId::new(2).unwrap();
    for &kind in Stage::Active.kinds() {
        let payload = &[1; 14][..if kind == kind::ANNOTATE { 14 } else { 0 }];
        let (heard, violation) = hear(&frame_of(other, kind, payload));
        assert_eq!(heard, []);
        let expected =
            Violation::OtherExecution { kind: name(kind).unwrap(), found: other, running: RUNNING };
        assert_eq!(violation, Some(expected), "{kind}");
    }
    let (_, violation) = hear(&frame_of(other, kind::EXECUTED, b"{}"));
    assert_eq!(
        violation.unwrap().to_string(),
        "an EXECUTED frame belongs to execution 2, but execution 1 is running"
    );
}

#[test]
fn a_frame_of_no_execution_is_refused() {
    for &kind in Stage::Active.kinds() {
        for content in [&b""[..], &[1, 0, 0], &[0; 4]] {
            let bytes = [&encode_header(kind, content.len())[..], content].concat();
            let (heard, violation) = hear(&bytes);
            assert_eq!(heard, []);
            assert_eq!(violation, Some(Violation::Frame(FrameError::Malformed(kind))));
        }
    }
}

#[test]
fn an_execution_ends_once_and_before_the_conversation() {
    let (executed, goodbye) = (frame(kind::EXECUTED, b"{}"), frame(kind::GOODBYE, b""));
    let ended = SandboxMessage::Executed(b"{}".to_vec());
    let in_order = [&executed[..], &goodbye].concat();
    assert_eq!(hear(&in_order), (vec![ended.clone(), SandboxMessage::Goodbye], None));

    let (heard, violation) = hear(&[&executed[..], &executed, &goodbye].concat());
    assert_eq!(heard, std::slice::from_ref(&ended));
    assert_eq!(
        violation.unwrap().to_string(),
        "an EXECUTED frame is not allowed after the execution has ended"
    );
    let (heard, violation) = hear(&[&goodbye[..], &executed].concat());
    assert_eq!(heard, []);
    assert_eq!(
        violation.unwrap().to_string(),
        "a GOODBYE frame is not allowed before the execution has ended"
    );
    let (heard, violation) = hear(&[&in_order[..], &goodbye].concat());
    assert_eq!(heard, [ended]);
    assert_eq!(
        violation.unwrap().to_string(),
        "unexpected data after the sandbox has said goodbye"
    );
}

#[test]
fn data_after_the_end_is_refused_however_it_arrives() {
    let in_order = [frame(kind::EXECUTED, b"{}"), frame(kind::GOODBYE, b"")].concat();
    let (heard, violation) = hear(&[&in_order[..], &[0]].concat());
    assert_eq!((heard.len(), violation), (1, Some(Violation::More(Stage::Over))));
    let mut active = active(10);
    active.extend(&in_order, Lost::Nothing).unwrap();
    active.next_message(0).unwrap();
    assert_eq!(active.next_message(0), Ok(Some(SandboxMessage::Goodbye)));
    assert_eq!(active.next_message(0), Ok(None));
    active.extend(&[0], Lost::Nothing).unwrap();
    assert_eq!(active.next_message(0), Err(Violation::More(Stage::Over)));
}

#[test]
fn a_frame_out_of_its_stage_is_named() {
    let mut active = active(10);
    active.extend(&frame(kind::FAULT, b"forged"), Lost::Nothing).unwrap();
    assert_eq!(
        active.next_message(0).unwrap_err().to_string(),
        "a FAULT frame is not allowed after the sandbox was activated"
    );
}

#[test]
fn nothing_may_follow_the_frame_that_reports_the_sandbox_as_parked() {
    let bytes = frame(kind::READY, b"").repeat(2);
    assert!(matches!(
        importing().hear(&bytes, Lost::Nothing),
        Err(Violation::More(Stage::Importing))
    ));
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
        "more than 10000 ANNOTATE frames"
    );
    flood(kind::ANNOTATE, &annotation, 500, 11_000);
    flood(kind::DENIED, b"{}", 0, 1_000);
    flood(kind::RESULT, b"", 0, 1_041);
    flood(kind::CALL, b"", 0, 1_000_000);
    assert!(matches!(
        flood(kind::DENIED, &vec![b'x'; 4 << 20], 0, 16),
        Violation::TooManyBytes { .. }
    ));
}

proptest! {
    #[test]
    fn no_bytes_make_a_stage_panic(
        bytes in proptest::collection::vec(any::<u8>(), 0..100),
        descriptors in 0_usize..3,
        lost: bool,
    ) {
        let lost = if lost { Lost::Descriptors } else { Lost::Nothing };
        let _ = Sealed::default().hear(&bytes, vec![(); descriptors], lost);
        let _ = importing().hear(&bytes, lost);
        let mut active = active(10);
        if active.extend(&bytes, lost).is_ok() {
            while let Ok(Some(_)) = active.next_message(0) {}
        }
    }
}
