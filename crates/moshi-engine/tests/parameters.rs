//! The table of a session's numbers: each row reads and sets one field, and refuses what is out of its range.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a failure is the test's answer

use std::collections::HashSet;

use moshi_engine::{EngineError, PARAMETERS, Parameter, Range, SessionParams};

fn ends(parameter: &Parameter) -> (f64, f64) {
    match parameter.range {
        Range::Real(low, high) => (low, high),
        Range::Whole(high) => (0.0, f64::from(high)),
    }
}

#[test]
fn each_row_sets_the_number_that_it_reads_and_no_other() {
    for parameter in &PARAMETERS {
        let mut params = SessionParams::default();
        let (low, high) = ends(parameter);
        for value in [low, high] {
            (parameter.set)(&mut params, value);
            assert_eq!((parameter.get)(&params) as f32, value as f32, "{}", parameter.name);
        }
        (parameter.set)(&mut params, parameter.usual());
        assert_eq!(params, SessionParams::default(), "{}", parameter.name);
    }
}

#[test]
fn names_are_unique_and_defaults_and_sliders_lie_in_the_range() {
    let names: HashSet<_> = PARAMETERS.iter().map(|parameter| parameter.name).collect();
    let wires: HashSet<_> = PARAMETERS.iter().map(|parameter| parameter.wire).collect();
    assert_eq!((names.len(), wires.len()), (PARAMETERS.len(), PARAMETERS.len()));
    for parameter in &PARAMETERS {
        let slider = parameter.slider;
        for value in [parameter.usual(), slider.min, slider.max] {
            assert!(parameter.range.holds(value), "{}: {value}", parameter.name);
        }
        assert!((slider.min..=slider.max).contains(&parameter.usual()), "{}", parameter.name);
    }
}

#[test]
fn the_ends_are_allowed_and_what_lies_beyond_is_refused_by_name() {
    for parameter in &PARAMETERS {
        let (low, high) = ends(parameter);
        assert_eq!((parameter.check(low), parameter.check(high)), (Ok(()), Ok(())), "{}", parameter.name);
        for value in [low - 1.0, high + 1.0, f64::NAN, f64::INFINITY] {
            let Err(EngineError::Parameter { name, expected, .. }) = parameter.check(value) else {
                panic!("{} takes {value}", parameter.name);
            };
            assert_eq!((name, expected), (parameter.name, parameter.range.to_string()));
        }
    }
}

#[test]
fn an_error_repeats_a_number_as_it_was_written() {
    let text = |params: SessionParams| params.validate().unwrap_err().to_string();
    let hot = SessionParams { temperature: 10.1, ..SessionParams::default() };
    assert_eq!(text(hot), "temperature is 10.1; expected a number from 0 to 10");
    let weak = SessionParams { repetition_penalty: 0.05, ..SessionParams::default() };
    assert_eq!(text(weak), "repetition_penalty is 0.05; expected a number from 0.1 to 10");
    let many = SessionParams { top_k: 1_000_001, ..SessionParams::default() };
    assert_eq!(text(many), "top_k is 1000001; expected a whole number from 0 to 1000000");
}
