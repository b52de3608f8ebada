use proptest::prelude::*;

use super::*;

fn request(json: &str) -> Result<CallRequest, CallProtocolError> {
    decode_header(json.as_bytes())
}

fn encoded_body(chunks: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for chunk in chunks {
        bytes.extend_from_slice(&chunk_header(chunk.len()));
        bytes.extend_from_slice(chunk);
    }
    bytes.extend_from_slice(&END_OF_BODY);
    bytes
}

/// Reads a body that arrives in pieces of these lengths, in turn. Returns the data, whether the
/// body has ended, and the number of bytes that the reader has left unread.
fn read_body(bytes: &[u8], pieces: &[usize]) -> Result<(Vec<u8>, bool, usize), CallProtocolError> {
    let mut reader = BodyReader::default();
    let (mut body, mut rest, mut unread) = (Vec::new(), bytes, 0);
    for &piece in pieces.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (mut now, later) = rest.split_at(piece.min(rest.len()));
        rest = later;
        while let Some(part) = reader.next_part(&mut now)? {
            body.extend_from_slice(part);
        }
        unread += now.len();
    }
    Ok((body, reader.has_ended(), unread))
}

#[test]
fn requests_are_read_as_the_drivers_write_them() {
    let upload = |content_type: Option<&str>| CallRequest::Upload {
        name: "a/b".into(),
        content_type: content_type.map(Into::into),
    };
    assert_eq!(
        request(r#"{"op":"upload","name":"a/b","content_type":null}"#).unwrap(),
        upload(None)
    );
    assert_eq!(
        request(r#"{"op":"upload","name":"a/b","content_type":"text/csv"}"#).unwrap(),
        upload(Some("text/csv"))
    );
    assert_eq!(
        request(r#"{"op":"download","name":"x"}"#).unwrap(),
        CallRequest::Download { name: "x".into() }
    );
    assert_eq!(
        request(r#"{"op":"list","prefix":""}"#).unwrap(),
        CallRequest::List { prefix: String::new() }
    );
    assert_eq!(
        request(r#"{"op":"delete","name":"x"}"#).unwrap(),
        CallRequest::Delete { name: "x".into() }
    );
}

#[test]
fn other_requests_are_refused() {
    for bad in [
        "",
        "null",
        "{}",
        r#"{"op":"format"}"#,
        r#"{"op":"upload"}"#,
        r#"{"op":"download","name":7}"#,
        r#"{"op":"delete","name":"x","force":true}"#,
        r#"{"op":"list","prefix":""} x"#,
    ] {
        assert!(matches!(request(bad), Err(CallProtocolError::Malformed(_))), "{bad}");
    }
}

#[test]
fn lengths_are_refused_before_what_they_announce_arrives() {
    assert!(matches!(header_length([0; 4]), Err(CallProtocolError::HeaderLength(0))));
    assert!(matches!(header_length([255; 4]), Err(CallProtocolError::HeaderLength(u32::MAX))));
    assert_eq!(header_length(chunk_header(MAX_CALL_HEADER_BYTES)).unwrap(), MAX_CALL_HEADER_BYTES);
    let too_long = chunk_header(MAX_CHUNK_BYTES + 1);
    assert!(matches!(read_body(&too_long, &[4]), Err(CallProtocolError::ChunkLength(_))));
}

#[test]
fn answers_are_written_as_the_drivers_read_them() {
    let text = |answer: &CallAnswer<ObjectHead>| {
        String::from_utf8(encode_call_header(answer).unwrap().split_off(LENGTH_BYTES)).unwrap()
    };
    let head = ObjectHead {
        size_bytes: 3,
        content_type: "text/plain".into(),
        sha256: "ab".into(),
        md5: "cd".into(),
    };
    assert_eq!(
        text(&CallAnswer::Ok(head)),
        r#"{"ok":{"size_bytes":3,"content_type":"text/plain","sha256":"ab","md5":"cd"}}"#
    );
    let error = CallError::new(CallErrorName::NotFound, "there is no object x");
    assert_eq!(
        text(&CallAnswer::Error(error)),
        r#"{"error":{"name":"NotFound","message":"there is no object x"}}"#
    );
}

#[test]
fn a_header_holds_any_error_and_nothing_longer_than_its_bound() {
    let error = CallError::new(CallErrorName::StorageError, "\u{1}ä".repeat(MAX_CALL_HEADER_BYTES));
    assert!(
        encode_call_header(&CallAnswer::<()>::Error(error)).unwrap().len()
            <= LENGTH_BYTES + MAX_CALL_HEADER_BYTES
    );
    assert!(encode_call_header(&"x".repeat(MAX_CALL_HEADER_BYTES)).is_err());
}

#[test]
fn a_body_that_is_cut_anywhere_has_not_ended() {
    let bytes = encoded_body(&[b"abc".to_vec(), b"defg".to_vec()]);
    for length in 0..bytes.len() {
        assert!(!read_body(&bytes[..length], &[3]).unwrap().1, "cut at {length}");
    }
    assert_eq!(read_body(&bytes, &[3]).unwrap(), (b"abcdefg".to_vec(), true, 0));
}

#[test]
fn a_list_of_any_length_fits_its_chunks() {
    let mut writer = ListWriter::default();
    assert_eq!(writer.finish(), None);
    let records: Vec<String> =
        (0..3000).map(|number| format!("{number}{}", "x".repeat(1000))).collect();
    let mut chunks: Vec<Vec<u8>> =
        records.iter().filter_map(|record| writer.push(record).unwrap()).collect();
    chunks.extend(writer.finish());
    assert!(chunks.len() > 1 && chunks.iter().all(|chunk| chunk.len() <= MAX_CHUNK_BYTES));
    let read: Vec<String> = chunks
        .iter()
        .flat_map(|chunk| serde_json::from_slice::<Vec<String>>(chunk).unwrap())
        .collect();
    assert_eq!(read, records);
    assert!(writer.push(&"x".repeat(MAX_CHUNK_BYTES)).is_err());
}

proptest! {
    #[test]
    fn a_request_is_read_as_it_was_written(name: String, content_type: Option<String>, op in 0..4) {
        let request = match op {
            0 => CallRequest::Upload { name, content_type },
            1 => CallRequest::Download { name },
            2 => CallRequest::List { prefix: name },
            _ => CallRequest::Delete { name },
        };
        let bytes = encode_call_header(&request).unwrap();
        let (length, json) = bytes.split_first_chunk().unwrap();
        prop_assert_eq!(header_length(*length).unwrap(), json.len());
        prop_assert_eq!(decode_header::<CallRequest>(json).unwrap(), request);
    }

    #[test]
    fn no_header_makes_the_reader_panic(json in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = decode_header::<CallRequest>(&json);
    }

    #[test]
    fn a_body_survives_any_fragmentation(
        chunks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..64), 0..10),
        pieces in proptest::collection::vec(1_usize..40, 1..20),
        after in proptest::collection::vec(any::<u8>(), 0..10),
    ) {
        let bytes = [encoded_body(&chunks), after.clone()].concat();
        let (body, ended, unread) = read_body(&bytes, &pieces).unwrap();
        prop_assert_eq!(body, chunks.concat());
        prop_assert!(ended);
        prop_assert_eq!(unread, after.len());
    }

    #[test]
    fn arbitrary_bytes_never_give_more_than_arrived(
        bytes in proptest::collection::vec(any::<u8>(), 0..300),
        piece in 1_usize..50,
    ) {
        if let Ok((body, _, unread)) = read_body(&bytes, &[piece]) {
            prop_assert!(body.len() + unread <= bytes.len());
        }
    }
}
