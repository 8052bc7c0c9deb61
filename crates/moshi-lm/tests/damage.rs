//! Data that is damaged for one row ends that row, whatever is damaged, and no other row's bits change for it.

#![allow(clippy::unwrap_used)] // a failure is the test's answer

use std::num::NonZeroUsize;

use moshi_candle::Candle;
use moshi_checkpoint::config::ModelConfig;
use moshi_cpu::Cpu;
use moshi_lm::{Lm, LmConfig, LmState, RowInput, RowSampling, SamplingParams};
use moshi_nn::{Backend, Fault, FaultKind, Precision, Rounded};
use moshi_testkit::{DamagedLine, Golden, RandomWeights, noise};

const ROWS: usize = 3;
const VICTIM: usize = 1;
const STEPS: usize = 24;

fn config(golden: Golden) -> LmConfig {
    ModelConfig::read(&golden.path("config.json")).unwrap().0.lm
}

fn lively(seed: u64) -> RowSampling {
    let stream = |temperature, top_k| SamplingParams { temperature, top_k, top_p: 0.95 };
    RowSampling {
        seed,
        text: stream(0.9, 25),
        audio: stream(1.1, 40),
        pad_mult: 0.5,
        repetition_penalty: 1.3,
        repetition_context: 8,
    }
}

/// What somebody says: any codes will do.
fn heard<B: Backend>(lm: &Lm<B>, speaker: usize, step: usize) -> Vec<i32> {
    let code = |q: usize| noise::bits(speaker as u64, (step * 64 + q) as u64) % lm.config().card as u64;
    (0..lm.heard()).map(|q| code(q) as i32).collect()
}

/// What a row made in a step.
#[derive(Debug, Clone, PartialEq)]
struct Made {
    sampled: Option<Vec<i32>>,
    frame: Option<Vec<i32>>,
    fault: Option<Fault>,
}

/// Steps all rows together, each hearing its own speaker from step `from[row]` of what that one says.
fn step<B: Backend>(lm: &Lm<B>, state: &mut LmState<B>, at: &[usize]) -> Vec<Made> {
    let codes: Vec<Vec<i32>> = at.iter().enumerate().map(|(row, &at)| heard(lm, row, at)).collect();
    let inputs = codes.iter().enumerate().map(|(row, heard)| RowInput { row, heard, forced: &[] });
    lm.step(state, &inputs.collect::<Vec<_>>()).unwrap();
    let made = |row| Made {
        sampled: state.sampled(row).map(<[i32]>::to_vec),
        frame: state.frame(row).map(<[i32]>::to_vec),
        fault: state.fault(row),
    };
    (0..at.len()).map(made).collect()
}

fn fresh<B: Backend>(lm: &Lm<B>, rows: usize) -> LmState<B> {
    let mut state = lm.init_state(rows).unwrap();
    (0..rows).for_each(|row| lm.set_sampling(&mut state, row, &lively(row as u64)).unwrap());
    state
}

fn run<B: Backend>(lm: &Lm<B>, steps: usize) -> Vec<Vec<Made>> {
    let mut state = fresh(lm, ROWS);
    (0..steps).map(|at| step(lm, &mut state, &[at; ROWS])).collect()
}

/// A line of a table that the victim alone reads, and the first step in which it does.
struct Line {
    table: String,
    line: usize,
    step: usize,
}

/// The first token of the victim, in stream `stream`, that no other row ever has there; from step 3 on.
fn own_token(made: &[Vec<Made>], stream: usize) -> Option<(usize, i32)> {
    let token = |step: usize, row: usize| made[step][row].sampled.as_ref().map(|tokens| tokens[stream]);
    let all = |row: usize| (0..made.len()).filter_map(move |step| token(step, row));
    let own = |wanted: i32| (0..ROWS).filter(|row| *row != VICTIM).all(|row| all(row).all(|t| t != wanted));
    let first = |t: i32| all(VICTIM).position(|other| other == t);
    (3..made.len())
        .find_map(|step| token(step, VICTIM).filter(|&t| own(t) && first(t) == Some(step)).map(|t| (step, t)))
}

/// Lines of every kind of table.
fn lines<B: Backend>(lm: &Lm<B>, made: &[Vec<Made>]) -> Vec<Line> {
    let mut lines = Vec::new();
    // A code that is heard at step s is read at step s + 1 + delay, but for the first frame.
    for q in 0..lm.heard() {
        let stream = lm.written() + q;
        let all = |row: usize| (0..STEPS).map(move |at| (at, row));
        let code = |(at, row): (usize, usize)| heard(lm, row, at)[q];
        let own = |c: i32| (0..ROWS).filter(|r| *r != VICTIM).all(|row| all(row).all(|at| code(at) != c));
        let first = |c: i32| all(VICTIM).position(|at| code(at) == c);
        let found = (4..STEPS - 6).find(|&at| own(code((at, VICTIM))) && first(code((at, VICTIM))) == Some(at));
        if let Some(at) = found {
            let line = code((at, VICTIM)) as usize;
            lines.push(Line {
                table: format!("emb.{}.weight", stream - 1),
                line,
                step: at + lm.config().delays[stream],
            });
            break;
        }
    }
    // What is drawn is read by the next codebook of the same step, and by the next step.
    if let Some((step, token)) = own_token(made, 0) {
        lines.push(Line { table: "depformer_text_emb.weight".to_owned(), line: token as usize, step });
        lines.push(Line { table: "text_emb.weight".to_owned(), line: token as usize, step: step + 1 });
    }
    let codebook = (0..lm.config().dep_q - 1).find_map(|k| own_token(made, 1 + k).map(|found| (k, found)));
    if let Some((k, (step, code))) = codebook {
        lines.push(Line { table: format!("depformer_emb.{k}.weight"), line: code as usize, step });
        lines.push(Line { table: format!("emb.{k}.weight"), line: code as usize, step: step + 1 });
    }
    lines
}

fn a_damaged_line_ends_the_row_that_reads_it<B: Backend>((backend, precision): (B, Precision)) {
    for golden in Golden::ALL {
        let (weights, config) = (golden.tensors("model.safetensors").unwrap(), config(golden));
        let sound = Lm::load(backend.clone(), &Rounded::new(&weights, precision), &config).unwrap();
        let made = run(&sound, STEPS);
        assert!(made.iter().flatten().all(|made| made.fault.is_none()));
        let lines = lines(&sound, &made);
        assert!(lines.len() >= 3, "{}: the test finds lines to damage", golden.name());
        for Line { table, line, step } in lines.into_iter().filter(|line| line.step < STEPS) {
            // The reference executor is slow.
            let values = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY];
            for value in values.into_iter().take(if backend.name() == "cpu" { 3 } else { 1 }) {
                let matrix = table.clone();
                let damaged = DamagedLine { inner: weights.clone(), matrix, line, value };
                let lm = Lm::load(backend.clone(), &Rounded::new(&damaged, precision), &config).unwrap();
                let what = format!("{} {table} line {line} is {value}", golden.name());
                ends_alone(&lm, &made, step, &what);
            }
        }
    }
}

/// The victim fails at `step_of_fault` without results, and is as fresh after a reset.
fn ends_alone<B: Backend>(lm: &Lm<B>, made: &[Vec<Made>], step_of_fault: usize, what: &str) {
    let mut state = fresh(lm, ROWS);
    for at in 0..STEPS {
        // Two steps after the fault the victim begins again, and hears what it heard first.
        let reset = step_of_fault + 2;
        if at == reset {
            lm.reset(&mut state, VICTIM).unwrap();
        }
        let mut times = [at; ROWS];
        times[VICTIM] = if at < reset { at } else { at - reset };
        let now = step(lm, &mut state, &times);
        for row in (0..ROWS).filter(|row| *row != VICTIM) {
            assert_eq!(now[row], made[at][row], "{what}: row {row} at step {at}");
        }
        let victim = &now[VICTIM];
        if at < step_of_fault {
            assert_eq!(*victim, made[at][VICTIM], "{what}: step {at}");
        } else if at == step_of_fault {
            assert_eq!(victim.fault.map(|f| f.kind), Some(FaultKind::Logits), "{what}: step {at}");
            assert_eq!((&victim.sampled, &victim.frame), (&None, &None));
        } else if at >= reset && at - reset < step_of_fault {
            assert_eq!(*victim, made[at - reset][VICTIM], "{what}: step {} after the reset", at - reset);
        }
    }
}

/// A text head that gives tokens without an embedding: which is drawn depends on the row.
fn a_token_without_an_embedding_ends_its_row<B: Backend>((backend, precision): (B, Precision)) {
    let config = config(Golden::TINY_VARIANT);
    let config = LmConfig { text_card_out: config.text_card + 12, ..config };
    let lm = Lm::load(backend, &Rounded::new(&RandomWeights::new(5, |_| false), precision), &config).unwrap();
    let together = run(&lm, STEPS);
    let mut ended = [None; ROWS];
    for (at, made) in together.iter().enumerate() {
        for (row, made) in made.iter().enumerate().filter(|(_, made)| made.fault.is_some()) {
            assert_eq!(made.sampled, None);
            ended[row].get_or_insert(at);
        }
        for made in made.iter().filter_map(|made| made.sampled.as_ref()) {
            assert!(made[0] <= config.text_card as i32);
        }
    }
    let firsts: Vec<Option<FaultKind>> =
        ended.iter().enumerate().map(|(row, at)| at.and_then(|at| together[at][row].fault).map(|f| f.kind)).collect();
    assert!(firsts.iter().flatten().all(|kind| *kind == FaultKind::Id), "{firsts:?}");
    assert!(ended.iter().any(Option::is_some) && ended.iter().any(|at| *at != ended[0]), "{ended:?}");
    // Alone, every row says the same and ends at the same step.
    for row in 0..ROWS {
        let mut state = lm.init_state(1).unwrap();
        lm.set_sampling(&mut state, 0, &lively(row as u64)).unwrap();
        for (at, together) in together.iter().enumerate().take(ended[row].map_or(STEPS, |at| at + 1)) {
            lm.step(&mut state, &[RowInput { row: 0, heard: &heard(&lm, row, at), forced: &[] }]).unwrap();
            let sampled = state.sampled(0).map(<[i32]>::to_vec);
            assert_eq!((sampled, state.fault(0)), (together[row].sampled.clone(), together[row].fault), "row {row}");
        }
    }
}

/// Weights that are damaged for everybody end every row with the same words, and no step.
fn a_damaged_head_ends_every_row<B: Backend>((backend, precision): (B, Precision)) {
    let weights = Golden::TINY_MOSHI.tensors("model.safetensors").unwrap();
    for (matrix, column) in [("text_linear.weight", 0), ("linears.0.weight", 1), ("linears.7.weight", 8)] {
        let damaged = DamagedLine { inner: weights.clone(), matrix: matrix.to_owned(), line: 7, value: f32::NAN };
        let lm = Lm::load(backend.clone(), &Rounded::new(&damaged, precision), &config(Golden::TINY_MOSHI)).unwrap();
        for made in run(&lm, 2).concat() {
            assert_eq!(made.fault, Some(Fault { kind: FaultKind::Logits, column }), "{matrix}");
            assert_eq!(made.sampled, None);
        }
    }
}

macro_rules! on_every_executor {
    ($($executor:ident: $backend:expr),* $(,)?) => {
        $(mod $executor {
            use super::*;

            #[test]
            fn a_damaged_line_ends_the_row_that_reads_it() {
                super::a_damaged_line_ends_the_row_that_reads_it($backend);
            }

            #[test]
            fn a_token_without_an_embedding_ends_its_row() {
                super::a_token_without_an_embedding_ends_its_row($backend);
            }

            #[test]
            fn a_damaged_head_ends_every_row() {
                super::a_damaged_head_ends_every_row($backend);
            }
        })*
    };
}

on_every_executor! {
    candle: (Candle::cpu(), Precision::Exact),
    cpu: (Cpu::new(NonZeroUsize::MIN), Precision::Exact),
    cpu_fast: (Cpu::new(NonZeroUsize::MIN), Precision::Fast),
    cpu_on_two_threads: (Cpu::new(NonZeroUsize::MIN.saturating_add(1)), Precision::Exact),
}
