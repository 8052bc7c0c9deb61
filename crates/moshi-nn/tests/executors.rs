//! The executors pass the conformance suite; what only the processor promises is here too: the same bits on every
//! instruction set and thread count, and integers as near to the reference as they are fine.

#![allow(clippy::unwrap_used)] // a failure is the test's answer

use std::num::NonZeroUsize;

use moshi_candle::Candle;
use moshi_cpu::Cpu;
use moshi_cpu::cores::Cores;
use moshi_cpu::isa::Isa;
use moshi_nn::backend::{
    AttentionSpec, Backend, Column, ConvSpec, HeadRope, MatrixSpec, Padding, Precision, RingSpec, Rope, RopeLayout,
    Span, WindowSpec,
};
use moshi_nn::{Fault, FaultKind, HostWeight};
use moshi_testkit::executor::script::{script, script_in};
use moshi_testkit::{assert_close, backend_conformance};

backend_conformance!(candle, Candle::cpu(), Candle::cpu(), 0.0);
backend_conformance!(cpu, Cpu::new(NonZeroUsize::MIN), Candle::cpu(), 2e-6);
backend_conformance!(cpu_on_two_threads, Cpu::new(NonZeroUsize::new(2).unwrap()), Candle::cpu(), 2e-6);

#[test]
fn a_status_word_says_what_was_noted_first() {
    for kind in [FaultKind::Id, FaultKind::Logits, FaultKind::Vector] {
        for column in [0, 1, 32, 100_000] {
            let fault = Fault { kind, column };
            assert_eq!(Fault::from_word(fault.word()), Some(fault));
            let mut word = 0;
            fault.note(&mut word);
            Fault { kind: FaultKind::Id, column: 7 }.note(&mut word);
            assert_eq!(Fault::from_word(word), Some(fault));
        }
        assert!(Fault::from_word(Fault { kind, column: usize::MAX }.word()).is_some());
    }
    assert_eq!([0, -1, i32::MIN, 15].map(Fault::from_word), [None; 4]);
}

#[test]
fn fixed_point_is_as_near_to_the_reference_as_its_integers_are_fine() {
    for (precision, tolerance) in [(Precision::Fixed, 5e-4), (Precision::FixedNarrow, 3e-2)] {
        let expected = script(Candle::cpu(), 5, 40);
        let found = script_in(Cpu::new(NonZeroUsize::MIN), precision, 5, 40);
        for (step, ((what, found), (_, expected))) in found.iter().zip(&expected).enumerate() {
            let tolerance = match what.as_str() {
                "nearest_code" => 0.0,
                "sample" => continue, // a token may change where two were as likely
                _ => tolerance,
            };
            assert_close(&format!("{precision:?}, {what} ({step})"), found, expected, tolerance);
        }
    }
}

#[test]
fn every_instruction_set_and_thread_count_gives_the_same_bits() {
    let bits = |cores: Cores, precision: Precision| -> Vec<(String, Vec<u32>)> {
        let given = script_in(Cpu::on(cores), precision, 77, 25);
        given.into_iter().map(|(what, x)| (what, x.iter().map(|x| x.to_bits()).collect())).collect()
    };
    for precision in [Precision::Exact, Precision::Fast, Precision::Fixed, Precision::FixedNarrow] {
        let portable = bits(Cores::with_isa(Isa::Portable, NonZeroUsize::MIN).unwrap(), precision);
        for isa in Isa::available() {
            for threads in 1..4 {
                let found = bits(Cores::with_isa(isa, NonZeroUsize::new(threads).unwrap()).unwrap(), precision);
                assert!(found == portable, "{isa} on {threads} threads, {precision:?}");
            }
        }
    }
}

#[test]
fn operands_that_do_not_fit_are_named() {
    let b = Cpu::new(NonZeroUsize::MIN);
    let rope = Rope { max_period: 10_000.0, layout: RopeLayout::Interleaved };
    let attention = AttentionSpec { heads: 4, kv_heads: 2, head_dim: 12, context: 5, rope: Some(rope) };
    let mut rows = b.rows(2, &[HeadRope { head_dim: 12, rope }]).unwrap();
    b.put_rows(&mut rows, &[true; 2], &[0; 2], 2).unwrap();
    let w = b.matrix(&HostWeight::from_f32(2, 3, vec![0.0; 6]).unwrap(), None, MatrixSpec::default()).unwrap();
    let (x, mut y, mut ids) = (b.buf(6).unwrap(), b.buf(3).unwrap(), b.ids(2).unwrap());
    let error = b.linear(&rows, 1, &x, &w, &mut y).unwrap_err();
    assert_eq!(error.to_string(), "output of a product: expected 4 values, found 3");
    let conv = ConvSpec { kernel: 3, stride: 1, dilation: 1, elu_input: true };
    let spec = WindowSpec {
        rows: 2,
        channels: 48,
        history: 2,
        max_chunk: 1,
        padding: Padding::Zero,
        precision: Precision::Exact,
    };
    let mut window = b.window(&spec).unwrap();
    assert!(b.conv_step(&rows, 1, &x, &w, &conv, &mut window, &mut y).is_err());
    assert!(b.reset_window(&mut window, 2).is_err());
    let table = b.table(&HostWeight::from_f32(4, 1, vec![0.0; 4]).unwrap()).unwrap();
    b.upload_ids(&[3, 0], &mut ids).unwrap();
    let column = Column { index: 0, of: 1 };
    let error = b.embed(&rows, 1, &ids, column, &[&table], &mut y, &mut b.ids(1).unwrap()).unwrap_err();
    assert_eq!(error.to_string(), "status: expected 2, found 1");
    let spec = RingSpec { rows: 2, attention, max_chunk: 1, precision: Precision::Exact };
    let mut ring = b.ring(&spec).unwrap();
    let other = AttentionSpec { context: 4, ..attention };
    assert!(b.rope_append_attend(&rows, Span { first: 0, t: 1 }, &x, &other, &mut ring, &mut y).is_err());
    assert!(b.rope_append_attend(&rows, Span { first: 0, t: 2 }, &x, &attention, &mut ring, &mut y).is_err());
}
