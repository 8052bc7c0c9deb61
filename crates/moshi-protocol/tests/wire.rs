//! Messages and parameters as published clients and servers spell them, and everything else as an error.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that fails says so")]

use moshi_engine::{PARAMETERS, SessionParams};
use moshi_protocol::{
    ChatParams, CloseReason, Control, DEFAULT_MAX_MESSAGE, Message, MessageError, ModelVersions, Refusal,
    SessionMetadata,
};
use proptest::prelude::*;

fn decode(bytes: &[u8]) -> Result<Message<'_>, MessageError> {
    Message::decode(bytes, DEFAULT_MAX_MESSAGE)
}

#[test]
fn messages_have_the_published_bytes() {
    let cases: [(Message<'_>, &[u8]); 12] = [
        (Message::Handshake(None), &[0]),
        (Message::Handshake(Some(ModelVersions::default())), &[0; 9]),
        (Message::Handshake(Some(ModelVersions { protocol: 1, model: 0x0203 })), &[0, 1, 0, 0, 0, 3, 2, 0, 0]),
        (Message::Audio(b"OggS"), b"\x01OggS"),
        (Message::Audio(b""), b"\x01"),
        (Message::Text("h\u{e9}"), b"\x02h\xc3\xa9"),
        (Message::Control(Control::Start), &[3, 0]),
        (Message::Control(Control::Restart), &[3, 3]),
        (Message::Metadata("{}"), b"\x04{}"),
        (Message::Error("no"), b"\x05no"),
        (Message::Ping, &[6]),
        (Message::ColouredText { colour: 4, text: "a" }, b"\x07\x04a"),
    ];
    for (message, bytes) in cases {
        assert_eq!(message.to_bytes(), bytes, "{message:?}");
        assert_eq!(decode(bytes).unwrap(), message);
    }
}

#[test]
fn encoding_reuses_the_buffer() {
    let mut out = Vec::with_capacity(64);
    let place = out.as_ptr();
    Message::Text("first").encode(&mut out);
    Message::Audio(b"second").encode(&mut out);
    assert_eq!(out, b"\x01second");
    assert_eq!(out.as_ptr(), place);
}

#[test]
fn bad_messages_say_what_was_found_and_expected() {
    let text = |bytes: &[u8]| decode(bytes).unwrap_err().to_string();
    assert_eq!(decode(&[]), Err(MessageError::Empty));
    assert_eq!(text(&[9, 1]), "message type 9 is unknown; expected 0 (handshake) to 7 (coloured text)");
    assert_eq!(text(&[0, 1, 2]), "handshake message has a payload of 2 bytes; expected 0 or 8");
    assert_eq!(text(&[3]), "control message has a payload of 0 bytes; expected 1");
    assert!(text(&[3, 7]).starts_with("control byte 7 is unknown"));
    assert_eq!(text(b"\x02ab\xff"), "text message is not UTF-8: byte 2 of its text is the first bad one");
    assert_eq!(text(b"\x07"), "coloured text message has a payload of 0 bytes; expected a colour byte and its text");
    assert!(text(b"\x04{\"a\":").starts_with("metadata message is not JSON: EOF"));
    assert_eq!(Message::decode(&[1; 12], 11), Err(MessageError::TooLong { found: 12, limit: 11 }));
    assert!(Message::decode(&[1; 11], 11).is_ok());
}

#[test]
fn deeply_nested_metadata_is_an_error_and_not_a_stack_overflow() {
    let mut bytes = vec![4];
    bytes.extend(std::iter::repeat_n(b'[', 60_000));
    assert!(matches!(decode(&bytes), Err(MessageError::Json { .. })));
}

#[test]
fn the_published_clients_query_is_read() {
    let query = "text_temperature=0.7&text_topk=25&audio_temperature=0.8&audio_topk=250&pad_mult=0&text_seed=12\
                 &audio_seed=34&repetition_penalty_context=64&repetition_penalty=1&worker_auth_id=x&email=a%40b.c\
                 &image_url=&image_resolution=512&max_steps=4500";
    let found = ChatParams::parse(query).unwrap();
    let others = ChatParams { sampling: found.sampling, text_seed: Some(12), audio_seed: Some(34), ..found.clone() };
    assert_eq!((&found, found.max_steps), (&others, Some(4_500)));
    let mut params = SessionParams { top_p: 0.5, ..SessionParams::default() };
    found.sampling.apply(&mut params);
    let published = SessionParams { top_p: 0.5, ..SessionParams::default() };
    assert_eq!(params, published, "what was not asked for stays, and these are the published defaults");
    assert_eq!(found.sampling.get("top_p"), None);
}

#[test]
fn prompts_are_unescaped_and_empty_values_count_as_not_given() {
    let params = ChatParams::parse(
        "voice_prompt=NATF2.pt&text_prompt=You+are+kind%2C%20caf%C3%A9&seed=-1&text_topk=&text_seed=",
    )
    .unwrap();
    assert_eq!(params.voice_prompt.as_deref(), Some("NATF2.pt"));
    assert_eq!(params.text_prompt.as_deref(), Some("You are kind, caf\u{e9}"));
    assert_eq!((params.seed, params.sampling.get("text_topk"), params.text_seed), (None, None, None));
    assert_eq!(ChatParams::parse("audio_topk=1&audio_topk=25.0").unwrap().sampling.get("audio_topk"), Some(25.0));
}

#[test]
fn values_out_of_range_name_the_parameter_the_value_and_the_range() {
    let text = |query: &str| ChatParams::parse(query).unwrap_err().to_string();
    assert_eq!(
        text("audio_temperature=11"),
        "query parameter audio_temperature is \"11\"; expected a number from 0 to 10"
    );
    for bad in ["NaN", "inf", "-0.5", "warm", "1e40"] {
        assert!(text(&format!("text_temperature={bad}")).contains("text_temperature"), "{bad}");
    }
    for bad in ["-1", "2.5", "x", "99999999999999999999999999999999999999999999"] {
        assert!(text(&format!("text_topk={bad}")).contains("a whole number from 0 to 1000000"), "{bad}");
    }
    assert!(text("seed=-2").contains("or -1 for any"));
    assert!(text("repetition_penalty=0").contains("from 0.1 to 10"));
    assert!(text("repetition_penalty_context=257").contains("from 0 to 256"));
    let long = ChatParams::parse(&format!("text_prompt={}", "a".repeat(5_000))).unwrap_err();
    assert_eq!(long.found.len(), 64);
    assert!(text("voice_prompt=a%00b").contains("without control characters"));
}

#[test]
fn metadata_has_every_field_the_published_client_wants_and_every_number_of_a_session() {
    let json: serde_json::Value = serde_json::from_str(&SessionMetadata::default().to_json()).unwrap();
    for number in PARAMETERS.map(|parameter| parameter.wire) {
        assert!(json[number].is_number(), "{number}");
    }
    assert!(json["lm_model_file"].is_string() && json["instance_name"].is_string());
    for name in [
        "build_timestamp",
        "build_date",
        "git_branch",
        "git_timestamp",
        "git_date",
        "git_hash",
        "git_describe",
        "rustc_host_triple",
        "rustc_version",
        "cargo_target_triple",
    ] {
        assert!(json["build_info"][name].is_string(), "{name}");
    }
    assert_eq!(SessionMetadata::from_json("{\"new\": 1}").unwrap(), SessionMetadata::default());
}

#[test]
fn close_codes_are_distinct_and_fit_a_close_frame() {
    let codes: std::collections::BTreeSet<_> = CloseReason::ALL.iter().map(|r| r.code()).collect();
    let names: std::collections::BTreeSet<_> = CloseReason::ALL.iter().map(|r| r.name()).collect();
    assert_eq!((codes.len(), names.len()), (CloseReason::ALL.len(), CloseReason::ALL.len()));
    assert!(CloseReason::ALL.iter().all(|r| r.text().len() <= 123));
    let error = ChatParams::parse("text_topk=x").unwrap_err();
    let refusal: Refusal = serde_json::from_str(&Refusal::from(&error).to_json()).unwrap();
    assert_eq!((refusal.error.as_str(), refusal.retry_after), ("parameter", None));
    assert!(refusal.reason.contains("text_topk"));
    assert_eq!(Refusal::new(CloseReason::Full, Some(3)).error, "full");
}

fn any_message() -> impl Strategy<Value = Vec<u8>> {
    let text = ".{0,40}";
    prop_oneof![
        Just(Message::Handshake(None).to_bytes()),
        (any::<u32>(), any::<u32>()).prop_map(|(protocol, model)| Message::Handshake(Some(ModelVersions {
            protocol,
            model
        }))
        .to_bytes()),
        prop::collection::vec(any::<u8>(), 0..200).prop_map(|b| Message::Audio(&b).to_bytes()),
        text.prop_map(|t| Message::Text(&t).to_bytes()),
        text.prop_map(|t| Message::Error(&t).to_bytes()),
        text.prop_map(|t| Message::Metadata(&serde_json::Value::from(t).to_string()).to_bytes()),
        (any::<u8>(), text).prop_map(|(colour, text)| Message::ColouredText { colour, text: &text }.to_bytes()),
    ]
}

proptest! {
    #[test]
    fn every_message_comes_back_as_it_was_sent(bytes in any_message()) {
        prop_assert_eq!(decode(&bytes).unwrap().to_bytes(), bytes);
    }

    #[test]
    fn random_bytes_are_a_message_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        if let Ok(message) = decode(&bytes) {
            prop_assert_eq!(message.type_byte(), bytes[0]);
        }
    }

    #[test]
    fn mutated_messages_never_panic(bytes in any_message(), at in any::<prop::sample::Index>(), value in any::<u8>()) {
        let mut bytes = bytes;
        let at = at.index(bytes.len());
        bytes[at] = value;
        let _ = decode(&bytes).map(|m| m.to_bytes());
    }

    #[test]
    fn any_query_is_parameters_or_an_error(query in "[a-z_=&%+0-9.\\-\u{e9}]{0,80}", value in ".{0,20}") {
        let _ = ChatParams::parse(&query);
        for name in ["seed", "text_topk", "pad_mult", "voice_prompt"] {
            let _ = ChatParams::parse(&format!("{name}={value}"));
        }
    }
}
