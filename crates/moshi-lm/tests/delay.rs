//! The delay line against the plain, unbounded table that defines it.

#![allow(clippy::unwrap_used)] // a failure is the test's answer

use std::collections::HashMap;
use std::sync::Arc;

use moshi_lm::delay::{Cell, DelayConfig, DelayError, DelayLine};
use moshi_nn::backend::{FREE, NOTHING};
use proptest::prelude::*;

/// In the table: drawn, and nothing afterwards.
const DROPPED: i32 = -9;

/// The definition: every column of every stream, kept for ever.
struct Table {
    config: DelayConfig,
    cells: HashMap<(usize, i64), i32>,
    step: i64,
}

impl Table {
    fn new(config: DelayConfig) -> Self {
        Self { config, cells: HashMap::new(), step: 0 }
    }

    /// One step; what was read, what was forced, and the frame that went out.
    fn step(&mut self, heard: &[i32], force: &[Cell], sampled: &[i32]) -> (Vec<i32>, Vec<i32>, Option<Vec<i32>>) {
        let (s, written) = (self.step, self.config.written);
        let delays: Vec<i64> = self.config.delays.iter().map(|&d| d as i64).collect();
        let max = delays.iter().copied().max().unwrap();
        for (i, &code) in heard.iter().enumerate() {
            self.cells.insert((written + i, s + delays[written + i]), code);
        }
        for (i, cell) in force.iter().enumerate() {
            match cell {
                Cell::Pending => {}
                Cell::Nothing => drop(self.cells.insert((i, s + 1 + delays[i]), -1)),
                Cell::Dropped => drop(self.cells.insert((i, s + 1 + delays[i]), DROPPED)),
                Cell::Token(t) => drop(self.cells.insert((i, s + 1 + delays[i]), *t)),
            }
        }
        let read = (0..delays.len())
            .map(|i| if s <= delays[i] { self.config.initial[i] } else { self.cells[&(i, s)] })
            .collect();
        // A stream's cell is free, or holds what was forced: a token, or nothing. What is dropped is drawn first.
        let cell = |i| match self.cells.get(&(i, s + 1)) {
            None | Some(&DROPPED) => FREE,
            Some(-1) => NOTHING,
            Some(&token) => token,
        };
        let forced = (0..written).map(cell).collect();
        for (i, &token) in sampled.iter().enumerate() {
            let cell = self.cells.entry((i, s + 1)).or_insert(token);
            *cell = if *cell == DROPPED { -1 } else { *cell };
        }
        let out = (s + 1 > max).then(|| (0..written).map(|i| self.cells[&(i, s + 1 - max + delays[i])]).collect());
        self.step += 1;
        (read, forced, out)
    }
}

fn step(
    line: &mut DelayLine,
    heard: &[i32],
    force: &[Cell],
    sampled: &[i32],
) -> (Vec<i32>, Vec<i32>, Option<Vec<i32>>) {
    let written = line.config().written;
    let (mut read, mut forced, mut out) = (vec![0; line.config().delays.len()], vec![0; written], vec![0; written]);
    line.hear(heard).unwrap();
    line.force(force).unwrap();
    line.read(&mut read).unwrap();
    line.forced(&mut forced).unwrap();
    line.write(sampled).unwrap();
    let emitted = line.emit(&mut out).unwrap();
    line.advance();
    (read, forced, emitted.then_some(out))
}

/// Values that tell stream, kind and step apart.
fn script(config: &DelayConfig, step: usize, choices: &[u8]) -> (Vec<i32>, Vec<Cell>, Vec<i32>) {
    let pick = |i: usize| choices[(step * 7 + i * 3) % choices.len()];
    let value = |kind: i32, i: usize| kind * 100_000 + step as i32 * 100 + i as i32;
    let heard = (0..config.heard()).map(|i| if pick(i) % 5 == 0 { -1 } else { value(1, i) }).collect();
    let force = (0..config.written)
        .map(|i| match pick(i + 50) % 6 {
            0 => Cell::Token(value(2, i)),
            1 => Cell::Nothing,
            3 => Cell::Dropped,
            _ => Cell::Pending,
        })
        .collect();
    (heard, force, (0..config.written).map(|i| value(3, i)).collect())
}

fn configs() -> impl Strategy<Value = DelayConfig> {
    (prop::collection::vec(0usize..6, 1..12), any::<prop::sample::Index>()).prop_map(|(delays, written)| {
        let initial = (0..delays.len()).map(|i| 900_000 + i as i32).collect();
        DelayConfig { written: 1 + written.index(delays.len()), delays, initial }
    })
}

proptest! {
    #[test]
    fn the_ring_is_the_unbounded_table(config in configs(), choices in prop::collection::vec(any::<u8>(), 1..40)) {
        let mut line = DelayLine::new(Arc::new(config.clone()));
        let mut table = Table::new(config.clone());
        for s in 0..40 {
            let (heard, force, sampled) = script(&config, s, &choices);
            prop_assert_eq!(step(&mut line, &heard, &force, &sampled), table.step(&heard, &force, &sampled), "step {}", s);
        }
    }

    #[test]
    fn reset_is_new_and_a_copy_goes_its_own_way(
        config in configs(), choices in prop::collection::vec(any::<u8>(), 1..40), at in 0usize..20,
    ) {
        let config = Arc::new(config);
        let fresh = DelayLine::new(config.clone());
        let mut line = fresh.clone();
        let run = |line: &mut DelayLine, from: usize, to: usize, choices: &[u8]| {
            (from..to).map(|s| {
                let (heard, force, sampled) = script(&config, s, choices);
                step(line, &heard, &force, &sampled)
            }).collect::<Vec<_>>()
        };
        run(&mut line, 0, at, &choices);
        let mut copy = fresh.clone();
        run(&mut copy, 0, 5, &[3]);
        copy.copy_from(&line).unwrap();
        let expected = run(&mut line.clone(), at, at + 20, &choices);
        run(&mut line, at, at + 7, &[1, 2]);
        prop_assert_eq!(run(&mut copy, at, at + 20, &choices), expected);
        line.reset();
        prop_assert_eq!(line, fresh);
    }
}

fn moshi() -> DelayConfig {
    let delays = [0, 0, 1, 1, 1, 1, 1, 1, 1, 0, 1, 1, 1, 1, 1, 1, 1].to_vec();
    DelayConfig { initial: (0..17).map(|i| if i == 0 { 32_000 } else { 2_048 }).collect(), delays, written: 9 }
}

#[test]
fn a_moshi_call_reads_initial_tokens_first_and_answers_at_the_second_step() {
    let mut line = DelayLine::new(Arc::new(moshi()));
    let sampled = |s: i32| (0..9).map(|i| s * 10 + i).collect::<Vec<_>>();
    let heard = |s: i32| (0..8).map(|i| 1000 + s * 10 + i).collect::<Vec<_>>();
    let (read, _, out) = step(&mut line, &heard(0), &[Cell::Pending; 9], &sampled(0));
    assert_eq!((read[0], &read[1..]), (32_000, &[2_048; 16][..]));
    assert_eq!(out, None);
    let (read, _, out) = step(&mut line, &heard(1), &[Cell::Pending; 9], &sampled(1));
    assert_eq!(
        read,
        [[0, 1].as_slice(), &[2_048; 7], &[1010], &[2_048; 7]].concat(),
        "the first frame heard is never read"
    );
    assert_eq!(out.unwrap(), [0, 1, 12, 13, 14, 15, 16, 17, 18]);
    let (read, _, _) = step(&mut line, &heard(2), &[Cell::Pending; 9], &sampled(2));
    assert_eq!(read[9..], [1020, 1011, 1012, 1013, 1014, 1015, 1016, 1017]);
}

#[test]
fn what_does_not_fit_is_refused_with_numbers() {
    let mut line = DelayLine::new(Arc::new(moshi()));
    assert_eq!(line.hear(&[1; 7]), Err(DelayError::Streams { what: "heard codes", expected: 8, found: 7 }));
    assert!(line.write(&[1; 17]).is_err() && line.force(&[]).is_err() && line.read(&mut [0; 3]).is_err());
    line.write(&[1; 9]).unwrap();
    line.advance();
    let early = line.emit(&mut [0; 9]).unwrap_err();
    assert_eq!(early, DelayError::Pending { stream: 2, column: 2, step: 1 }, "emitted before written");
    let unheard = line.read(&mut [0; 17]).unwrap_err();
    assert_eq!(unheard, DelayError::Pending { stream: 9, column: 1, step: 1 });
    assert!(unheard.to_string().contains("stream 9"));
    let other = DelayLine::new(Arc::new(DelayConfig { written: 3, ..moshi() }));
    assert!(line.copy_from(&other).is_err());
}
