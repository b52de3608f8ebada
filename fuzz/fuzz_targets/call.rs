//! The bytes that a program sends over the socket of a call: the header of a request and its body,
//! in arbitrary pieces. Nothing panics, the body that is read does not depend on how it was cut,
//! and no more bytes come out than went in.
#![no_main]

use belljar_channel::{
    BodyReader, CallRequest, LENGTH_BYTES, decode_header, encode_call_header, header_length,
};
use libfuzzer_sys::fuzz_target;

/// Returns the body, whether its end was seen, and the number of bytes after the end. `None` if the
/// pieces violate the protocol.
fn read<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Option<(Vec<u8>, bool, usize)> {
    let mut reader = BodyReader::default();
    let (mut body, mut after) = (Vec::new(), 0);
    for mut piece in pieces {
        while let Some(part) = reader.next_part(&mut piece).ok()? {
            body.extend_from_slice(part);
        }
        after += piece.len();
    }
    Some((body, reader.has_ended(), after))
}

// The first byte is the length of the pieces.
fuzz_target!(|data: &[u8]| {
    let Some((&piece, stream)) = data.split_first() else { return };
    let Some((length, rest)) = stream.split_first_chunk::<LENGTH_BYTES>() else { return };
    let Ok(length) = header_length(*length) else { return };
    let (json, body) = rest.split_at(length.min(rest.len()));
    if let Ok(request) = decode_header::<CallRequest>(json) {
        let written = encode_call_header(&request).expect("what was read can be written");
        assert_eq!(
            decode_header::<CallRequest>(&written[LENGTH_BYTES..]).expect("it can be read again"),
            request
        );
    }
    let whole = read(std::iter::once(body));
    assert_eq!(whole, read(body.chunks(usize::from(piece).max(1))));
    if let Some((parts, _, after)) = whole {
        assert!(parts.len() + after <= body.len());
    }
});
