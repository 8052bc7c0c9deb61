//! Messages of `/api/chat` and the query string of a call: what is understood is said again in the same bytes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use moshi_protocol::{ChatParams, Message};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(message) = Message::decode(bytes, 1 << 16) {
        let again = message.to_bytes();
        assert_eq!(Message::decode(&again, 1 << 16).as_ref(), Ok(&message));
    }
    if let Ok(query) = std::str::from_utf8(bytes) {
        let _ = ChatParams::parse(query).map(|params| params.session_seed());
    }
});
