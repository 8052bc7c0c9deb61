//! A frame can be recorded: its calls are noted once for each number of rows, and replayed for a thousand frames while
//! sessions join, leave, start anew, are copied and fail, with the bits that direct calls give. This is what an executor
//! on a graphics card needs, and what it pays for, proved on the processor.

#![allow(clippy::unwrap_used)] // a failure is the test's answer

use std::num::NonZeroUsize;
use std::path::Path;

use moshi_checkpoint::quantize::Quantize;
use moshi_checkpoint::{OpenOptions, Repository, Source};
use moshi_cpu::Cpu;
use moshi_engine::{FRAME_SAMPLES, FrameInput, FrameModel, NO_ASIDE, RowOutput, RowStep, SessionParams, SessionSpec};
use moshi_model::{LoadOptions, Loaded, load_model_on};
use moshi_nn::Backend;
use moshi_testkit::{Counts, Golden, Recorder, damage_file, noise};
use tempfile::TempDir;

const ROWS: usize = 4;
const FRAMES: usize = 1_000;

/// The golden repository, in which whoever hears one code of the first codebook is lost.
fn damaged(golden: Golden) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for file in ["config.json", "model.safetensors", "mimi.safetensors", "mimi_config.json", "tokenizer.model"] {
        std::fs::copy(golden.path(file), folder.path().join(file)).unwrap();
    }
    let lm = folder.path().join("model.safetensors");
    damage_file(&lm, "emb.8.weight", 5, f32::NAN).unwrap();
    folder
}

fn load<B: Backend>(executor: B, folder: &Path, options: &LoadOptions) -> Loaded {
    let source = Source::Folder(folder.to_owned());
    let repository = Repository::open(&source, &OpenOptions::default(), &mut ()).unwrap();
    load_model_on(executor, &repository, "golden", options).unwrap()
}

/// Numbers that decide what happens next.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: usize) -> usize {
        self.0 += 1;
        (noise::bits(99, self.0) % n as u64) as usize
    }
}

/// What a frame of a row gave, to the bit.
type Said = (usize, bool, String, Option<String>, Vec<u32>);

/// The sessions of a script, on one model.
struct Play {
    model: Box<dyn FrameModel>,
    /// The seed of the session in each row that has one.
    open: [Option<u64>; ROWS],
    said: Vec<Said>,
}

impl Play {
    fn open(&mut self, row: usize, seed: u64) {
        let spec = SessionSpec::live(SessionParams { seed, ..SessionParams::default() });
        self.model.open(row, &spec).unwrap();
        self.open[row] = Some(seed);
    }

    /// A session joins, starts anew, leaves, or goes on as a copy in another row.
    fn change(&mut self, dice: &mut Dice) {
        let (row, other) = (dice.below(ROWS), dice.below(ROWS));
        match (dice.below(5), self.open[row], self.open[other]) {
            (0 | 1 | 4, _, _) => {
                let seed = dice.below(1 << 20) as u64;
                self.open(row, seed);
            }
            (2, Some(_), _) => {
                self.model.close(row);
                self.open[row] = None;
            }
            (3, _, Some(seed)) if row != other => {
                self.model.copy_row(other, row).unwrap();
                self.open[row] = Some(seed);
            }
            _ => {}
        }
    }

    /// A frame for some of the open rows; a row that fails leaves.
    fn frame(&mut self, dice: &mut Dice, at: usize) -> usize {
        let open: Vec<usize> = (0..ROWS).filter(|&row| self.open[row].is_some()).collect();
        let rows: Vec<usize> = open.into_iter().filter(|_| dice.below(8) > 0).collect();
        let heard: Vec<Vec<f32>> = rows
            .iter()
            .map(|&row| noise::signal((at * ROWS + row) as u64, FRAME_SAMPLES).iter().map(|x| 0.3 * x).collect())
            .collect();
        let mut said = vec![vec![0.0; FRAME_SAMPLES]; rows.len()];
        let mut steps: Vec<RowStep<'_>> = rows
            .iter()
            .zip(heard.iter().zip(&mut said))
            .map(|(&row, (pcm_in, pcm_out))| RowStep {
                row,
                input: FrameInput::Pcm(pcm_in),
                aside: &NO_ASIDE,
                pcm_out,
                output: RowOutput::default(),
            })
            .collect();
        self.model.step(&mut steps).unwrap();
        let outputs: Vec<RowOutput> = steps.into_iter().map(|step| step.output).collect();
        for ((row, output), said) in rows.iter().zip(outputs).zip(said) {
            if output.error.is_some() {
                self.open[*row] = None;
            }
            let bits = if output.audio { said.iter().map(|x| x.to_bits()).collect() } else { vec![] };
            self.said.push((*row, output.audio, output.text, output.error, bits));
        }
        rows.len()
    }
}

/// Plays the script; `after` hears how many rows each frame had.
fn play(loaded: &Loaded, frames: usize, mut after: impl FnMut(usize)) -> Vec<Said> {
    let model = loaded.model.new_rows(ROWS).unwrap();
    let mut play = Play { model, open: [None; ROWS], said: Vec::new() };
    let mut dice = Dice(0);
    for at in 0..frames {
        if dice.below(3) == 0 {
            play.change(&mut dice);
        }
        after(play.frame(&mut dice, at));
    }
    play.said
}

fn replayed_is_direct(golden: Golden, options: &LoadOptions, frames: usize) {
    let folder = damaged(golden);
    let direct = load(Cpu::new(NonZeroUsize::MIN), folder.path(), options);
    let recorder = Recorder::new(Cpu::new(NonZeroUsize::MIN));
    let recorded = load(recorder.clone(), folder.path(), options);
    let expected = play(&direct, frames, |_| {});
    let found = play(&recorded, frames, |_| {});
    let failed = expected.iter().filter(|said| said.3.is_some()).count();
    assert!(
        failed > frames / 100 && expected.len() > frames,
        "the script fails {failed} rows and steps {}",
        expected.len()
    );
    let differs = found.iter().zip(&expected).position(|(found, expected)| found != expected);
    assert_eq!((differs, found.len()), (None, expected.len()), "replayed and direct calls differ");
    let counts = recorder.counts();
    assert!(counts.recordings <= 3 * ROWS + 3, "a stretch is recorded once for each number of rows: {counts:?}");
}

#[test]
fn a_thousand_replayed_frames_have_the_bits_of_direct_calls() {
    let options = LoadOptions::default();
    replayed_is_direct(Golden::TINY_MOSHI, &options, FRAMES);
}

#[test]
fn so_have_those_of_integer_weights_and_of_a_model_with_other_options() {
    let quantized = LoadOptions { quantize: Some(Quantize::Q8), ..LoadOptions::default() };
    replayed_is_direct(Golden::TINY_MOSHI, &quantized, 200);
    let exact = LoadOptions { exact: true, ..LoadOptions::default() };
    replayed_is_direct(Golden::TINY_VARIANT, &exact, 200);
}

/// The price of a frame does not depend on who takes part.
#[test]
fn a_frame_waits_three_times_and_moves_what_it_must() {
    let recorder = Recorder::new(Cpu::new(NonZeroUsize::MIN));
    let loaded = load(recorder.clone(), &Golden::TINY_MOSHI.path(""), &LoadOptions::default());
    let mut model = loaded.model.new_rows(ROWS).unwrap();
    (0..ROWS).for_each(|row| model.open(row, &SessionSpec::live(SessionParams::default())).unwrap());
    let heard = noise::signal(1, FRAME_SAMPLES);
    let mut prices: Vec<Counts> = Vec::new();
    for at in 0..40 {
        let count = 1 + at % ROWS;
        let before = recorder.counts();
        let mut said = vec![0.0; count * FRAME_SAMPLES];
        let mut steps: Vec<RowStep<'_>> = said
            .chunks_exact_mut(FRAME_SAMPLES)
            .enumerate()
            .map(|(row, pcm_out)| RowStep {
                row,
                input: FrameInput::Pcm(&heard),
                aside: &NO_ASIDE,
                pcm_out,
                output: RowOutput::default(),
            })
            .collect();
        model.step(&mut steps).unwrap();
        prices.push(recorder.counts() - before);
    }
    let usual = prices[39];
    for (at, price) in prices.iter().enumerate().skip(2 * ROWS) {
        assert_eq!(*price, usual, "frame {at}");
    }
    assert_eq!((usual.replays, usual.waits, usual.recordings), (3, 3, 0), "encode, think, decode: {usual:?}");
    // Rows and status of each stretch, the depth transformer's rows, samples, tokens read and forced, codes said.
    assert_eq!(usual.uploads, 11, "{usual:?}");
    // A status a stretch, codes heard, tokens, samples.
    assert_eq!(usual.downloads, 6, "{usual:?}");
    assert_eq!(usual.launches, LAUNCHES, "{usual:?}");
}

/// Operations of a frame of the golden model. More of them cost a card more: about 3 us each if it is replayed.
const LAUNCHES: usize = 326;
