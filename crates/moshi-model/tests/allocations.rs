//! A step of the whole model, as a user loads it, asks for hardly any memory.

#![allow(clippy::unwrap_used)] // a failure is the test's answer

use std::num::NonZeroUsize;

use moshi_checkpoint::quantize::Quantize;
use moshi_checkpoint::{OpenOptions, Repository, Source};
use moshi_engine::{FRAME_SAMPLES, FrameInput, NO_ASIDE, RowOutput, RowStep, SessionSpec};
use moshi_model::{LoadOptions, load_model};
use moshi_testkit::Golden;

const STEPS: u64 = 40;

/// The list of a step's rows, and a word for each of the two. The layers, executors and kernels below ask for nothing: a
/// buffer of any of them would be asked for in each of a step's hundreds of operations.
const PER_STEP: u64 = 3;

#[test]
fn after_warm_up_a_step_allocates_neither_in_the_language_model_nor_in_the_codec() {
    let golden = Golden::TINY_MOSHI;
    let repository = Repository::open(&Source::Folder(golden.path("")), &OpenOptions::default(), &mut ()).unwrap();
    for quantize in [None, Some(Quantize::Q8), Some(Quantize::Q4)] {
        let options = LoadOptions { quantize, threads: Some(NonZeroUsize::MIN), ..LoadOptions::default() };
        let loaded = load_model(&repository, golden.name(), &options).unwrap();
        let mut model = loaded.model.new_rows(2).unwrap();
        (0..2).for_each(|row| model.open(row, &SessionSpec::default()).unwrap());
        let heard: Vec<f32> = (0..FRAME_SAMPLES).map(|i| 0.1 * (i as f32 * 0.05).sin()).collect();
        let mut said = vec![[0.0; FRAME_SAMPLES]; 2];
        let mut run = |steps: u64| {
            for _ in 0..steps {
                let [first, second] = &mut said[..] else { return };
                let mut steps = [(0, first), (1, second)].map(|(row, pcm_out)| RowStep {
                    row,
                    input: FrameInput::Pcm(&heard),
                    aside: &NO_ASIDE,
                    pcm_out,
                    output: RowOutput::default(),
                });
                model.step(&mut steps).unwrap();
            }
        };
        run(5);
        let asked = allocation_counter::measure(|| run(STEPS));
        assert!(asked.count_total <= PER_STEP * STEPS, "{quantize:?}: {asked:?}");
    }
}
