//! Encoding and decoding of messages: expected far below a microsecond.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use moshi_protocol::{DEFAULT_MAX_MESSAGE, Message};

fn wire(c: &mut Criterion) {
    let audio = vec![7u8; 320];
    let mut out = Vec::new();
    c.bench_function("encode audio message of 320 bytes", |b| {
        b.iter(|| Message::Audio(black_box(&audio)).encode(&mut out));
    });
    let bytes = Message::Text("hello").to_bytes();
    c.bench_function("decode text message", |b| {
        b.iter(|| Message::decode(black_box(&bytes), DEFAULT_MAX_MESSAGE).is_ok());
    });
}

criterion_group!(benches, wire);
criterion_main!(benches);
